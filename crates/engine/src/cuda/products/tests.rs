//! What cublasLt is asked, with calls of ours in the place of its own.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// What was asked, and what the next products answer.
#[derive(Default)]
struct Seen {
    layouts: Vec<(c_int, u64, u64, i64)>,
    batched: Vec<(c_int, u64)>,
    set: Vec<(c_int, u64)>,
    preferred: Vec<(c_int, u64)>,
    choices: usize,
    runs: Vec<(usize, usize, usize)>,
    answers: Vec<Status>,
    alive: i64,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn seen<R>(f: impl FnOnce(&mut Seen) -> R) -> R {
    SEEN.with_borrow_mut(f)
}

/// Descriptions are numbered from one; none is ever read through.
#[expect(unsafe_code, reason = "the caller's place for a handle")]
unsafe fn made(at: *mut Handle) -> Status {
    seen(|s| s.alive += 1);
    // SAFETY: the caller's own variable.
    unsafe { at.write(ptr::without_provenance_mut(1)) };
    0
}

/// A value of four or eight bytes.
#[expect(unsafe_code, reason = "the caller's value")]
unsafe fn value(at: *const c_void, bytes: usize) -> u64 {
    // SAFETY: the caller says how long it is.
    unsafe {
        match bytes {
            4 => u64::from(at.cast::<u32>().read_unaligned()),
            8 => at.cast::<u64>().read_unaligned(),
            other => panic!("an attribute of {other} bytes"),
        }
    }
}

#[expect(unsafe_code, reason = "calls of the foreign form")]
mod calls {
    use super::*;

    pub(super) unsafe extern "C" fn create(at: *mut Handle) -> Status {
        // SAFETY: the caller's own variable.
        unsafe { made(at) }
    }
    pub(super) unsafe extern "C" fn destroy(_: Handle) -> Status {
        seen(|s| s.alive -= 1);
        0
    }
    pub(super) unsafe extern "C" fn product(at: *mut Handle, compute: c_int, scale: c_int) -> Status {
        assert_eq!((compute, scale), (68, 0), "sums and factors in f32");
        // SAFETY: the caller's own variable.
        unsafe { made(at) }
    }
    pub(super) unsafe extern "C" fn set(_: Handle, which: c_int, at: *const c_void, bytes: usize) -> Status {
        // SAFETY: the caller says how long it is.
        let v = unsafe { value(at, bytes) };
        seen(|s| s.set.push((which, v)));
        0
    }
    pub(super) unsafe extern "C" fn layout(at: *mut Handle, kind: c_int, rows: u64, columns: u64, ld: i64) -> Status {
        seen(|s| s.layouts.push((kind, rows, columns, ld)));
        // SAFETY: the caller's own variable.
        unsafe { made(at) }
    }
    pub(super) unsafe extern "C" fn batch(_: Handle, which: c_int, at: *const c_void, bytes: usize) -> Status {
        // SAFETY: the caller says how long it is.
        let v = unsafe { value(at, bytes) };
        seen(|s| s.batched.push((which, v)));
        0
    }
    pub(super) unsafe extern "C" fn prefer(_: Handle, which: c_int, at: *const c_void, bytes: usize) -> Status {
        // SAFETY: the caller says how long it is.
        let v = unsafe { value(at, bytes) };
        seen(|s| s.preferred.push((which, v)));
        0
    }
    pub(super) unsafe extern "C" fn heuristic(
        _: Handle,
        _: Handle,
        _: Handle,
        _: Handle,
        _: Handle,
        _: Handle,
        _: Handle,
        asked: c_int,
        found: *mut Heuristic,
        count: *mut c_int,
    ) -> Status {
        assert_eq!(asked, 1, "without a device none is tried");
        seen(|s| s.choices += 1);
        // SAFETY: the caller's own variables.
        unsafe {
            found.write(Heuristic::default());
            count.write(1);
        }
        0
    }
    pub(super) unsafe extern "C" fn run(
        _: Handle,
        _: Handle,
        one: *const c_void,
        a: *const c_void,
        _: Handle,
        b: *const c_void,
        _: Handle,
        zero: *const c_void,
        c: *const c_void,
        _: Handle,
        d: *mut c_void,
        _: Handle,
        _: *const Algorithm,
        _: *mut c_void,
        workspace: usize,
        _: *mut c_void,
    ) -> Status {
        // SAFETY: factors are f32 in the host's memory.
        let factors = unsafe { (one.cast::<f32>().read(), zero.cast::<f32>().read()) };
        assert_eq!(factors, (1.0, 0.0));
        assert_eq!((c.addr(), workspace), (d.addr(), WORKSPACE));
        seen(|s| {
            s.runs.push((a.addr(), b.addr(), d.addr()));
            s.answers.pop().unwrap_or(0)
        })
    }
    pub(super) unsafe extern "C" fn config(
        _: *const Algorithm,
        _: c_int,
        _: *mut c_void,
        _: usize,
        _: *mut usize,
    ) -> Status {
        0
    }
    pub(super) unsafe extern "C" fn name(_: Status) -> *const c_char {
        c"CUBLAS_STATUS_NOT_SUPPORTED".as_ptr()
    }
}

fn products() -> Products {
    let lt = Lt {
        create: calls::create,
        destroy: calls::destroy,
        product_create: calls::product,
        product_destroy: calls::destroy,
        product_set: calls::set,
        layout_create: calls::layout,
        layout_destroy: calls::destroy,
        layout_set: calls::batch,
        preference_create: calls::create,
        preference_destroy: calls::destroy,
        preference_set: calls::prefer,
        heuristic: calls::heuristic,
        config: calls::config,
        run: calls::run,
    };
    seen(|s| *s = Seen { alive: 1, ..Seen::default() });
    let workspace = ptr::without_provenance_mut(0x1000);
    Products {
        lt,
        status_name: calls::name,
        handle: ptr::null_mut(),
        workspace,
        device: None,
        _memory: None,
        chosen: Mutex::default(),
        same_bits: Mutex::default(),
        refused: Mutex::default(),
    }
}

fn run(products: &Products, rows: usize) -> Result<(), CudaError> {
    let at = |n| ptr::without_provenance_mut::<c_void>(n);
    let operands = Operands { factor: 1.0, x: at(0x10), weight: at(0x20), bias: at(0x30), y: at(0x40) };
    // SAFETY: the calls are those above, which read nothing.
    #[expect(unsafe_code, reason = "nothing lies at these addresses, and nothing looks")]
    unsafe {
        products.bias_gelu(ProductSizes { rows, inner: 384, columns: 1536 }, operands, ptr::null_mut())
    }
}

#[test]
fn structures_are_as_long_as_in_the_header() {
    assert_eq!((size_of::<Algorithm>(), size_of::<Heuristic>()), (64, 96));
}

#[test]
fn the_product_is_asked_for_turned_round() {
    let products = products();
    run(&products, 128).unwrap();
    seen(|s| {
        // Weight, inputs, result: (columns × inner) · (inner × rows) = (columns × rows), each column without gaps.
        assert_eq!(s.layouts[..3], [(2, 1536, 384, 1536), (2, 384, 128, 384), (2, 1536, 128, 1536)]);
        assert_eq!(s.set[..3], [(7, 36), (26, 2), (8, 0x30)]);
        assert_eq!(s.preferred, [(1, 32 << 20), (5, 16), (6, 16), (7, 16), (8, 16)]);
        assert_eq!(s.runs, [(0x20, 0x10, 0x40)], "weight first, then inputs");
    });
    drop(products);
    assert_eq!(seen(|s| s.alive), 0, "a description was not given back");
}

/// Asks for queries, keys and values with results at these addresses.
fn run_each(products: &Products, rows: usize, ys: [usize; TOGETHER]) {
    let at = |n| ptr::without_provenance_mut::<c_void>(n);
    let operands = Operands { factor: 1.0, x: at(0x10), weight: at(0x1000), bias: at(0x100), y: ptr::null_mut() };
    let sizes = ProductSizes { rows, inner: 16, columns: 16 };
    // SAFETY: as in `run`.
    #[expect(unsafe_code, reason = "nothing lies at these addresses, and nothing looks")]
    unsafe {
        products.query_key_value(sizes, operands, ys.map(at), ptr::null_mut()).unwrap();
    }
}

#[test]
fn three_results_at_one_distance_are_one_launch() {
    let products = products();
    run_each(&products, 64, [0x8000, 0x9000, 0xa000]);
    seen(|s| {
        assert_eq!(s.runs, [(0x1000, 0x10, 0x8000)]);
        // Bias alone; its kind; where it lies; and how far the next one is.
        assert_eq!(s.set[..4], [(7, 4), (26, 2), (8, 0x100), (10, 16)]);
        // Of weights, of the one input, of results: three, and so many numbers apart; to be chosen for and to be run.
        let once = [(5, 3), (6, 256), (5, 3), (6, 0), (5, 3), (6, 0x800)];
        assert_eq!(s.batched, [once, once].concat());
    });
    drop(products);
    assert_eq!(seen(|s| s.alive), 0, "a description was not given back");
}

#[test]
fn results_anywhere_each_get_their_own_weight_and_queries_their_bias() {
    let products = products();
    // Keys and values follow each other; queries lie behind both.
    run_each(&products, 64, [0xf000, 0x8000, 0x9000]);
    seen(|s| {
        assert_eq!(s.runs, [(0x1000, 0x10, 0xf000), (0x1000 + 512, 0x10, 0x8000)]);
        // Described twice, to be chosen for and to be run: queries with bias, then the others with nothing.
        let epilogues: Vec<u64> = s.set.iter().filter(|(which, _)| *which == 7).map(|(_, e)| *e).collect();
        assert_eq!(epilogues, [4, 4, 1, 1]);
        assert!(s.set.iter().filter(|(which, _)| *which == 8).all(|(_, at)| *at == 0x100));
    });
    // One launch of two was chosen for apart from one of one.
    assert_eq!(seen(|s| s.choices), 2);
}

/// Bytes of one weight in `run_each`.
const WEIGHT: usize = 512;

#[test]
fn whichever_lie_together_get_their_own_weights() {
    let of = |rows, ys: [usize; TOGETHER]| {
        let products = products();
        run_each(&products, rows, ys);
        // Numbers from a weight to the next, of what is chosen for and of what is run.
        let steps: Vec<u64> = seen(|s| s.batched.chunks(6).map(|one| one[1].1).collect());
        (seen(|s| s.runs.iter().map(|&(w, _, y)| (w - 0x1000, y)).collect::<Vec<_>>()), steps)
    };
    // Queries and keys; then values.
    for ys in [[0x8000, 0xa000, 0x9000], [0x9000, 0xa000, 0x8000]] {
        let (runs, steps) = of(64, ys);
        assert_eq!(runs, [(0, ys[0]), (2 * WEIGHT, ys[2])]);
        // Two of weights, inputs and results each: to be chosen for, and to be run.
        assert_eq!(steps, [256, 256]);
    }
    // None follows another.
    assert_eq!(of(64, [0xa000, 0x9000, 0x8000]).0, [(0, 0xa000), (WEIGHT, 0x9000), (2 * WEIGHT, 0x8000)]);
    // Few rows still, and one more: queries alone.
    assert_eq!(of(FEW_ROWS, [0x8000, 0x9000, 0xa000]).0, [(0, 0x8000)]);
    assert_eq!(of(FEW_ROWS + 1, [0x8000, 0x9000, 0xa000]).0, [(0, 0x8000), (WEIGHT, 0x9000)]);
    assert_eq!(of(FEW_ROWS + 1, [0x8000, 0xa000, 0x9000]).0.len(), 3);
}

#[test]
fn a_choice_is_asked_for_as_far_apart_as_more_rows_would_lie() {
    let products = products();
    // 65 rows are chosen for as 128, whose results would overlap 65 rows apart.
    run_each(&products, 65, [0x8000, 0x8000 + 65 * 32, 0x8000 + 2 * 65 * 32]);
    let asked = |s: &Seen, at: usize| (s.layouts[at].2, s.batched[at / 3 * 6 + 5].1);
    seen(|s| assert_eq!((asked(s, 2), asked(s, 5)), ((65, 65 * 16), (128, 128 * 16))));
}

#[test]
fn a_launch_of_several_that_fails_is_made_one_by_one() {
    const NOT_SUPPORTED: Status = 15;
    let products = products();
    // Both tries at all three.
    seen(|s| s.answers = vec![NOT_SUPPORTED, NOT_SUPPORTED]);
    run_each(&products, 64, [0x8000, 0x9000, 0xa000]);
    seen(|s| {
        let made: Vec<_> = s.runs.iter().skip(2).map(|&(w, _, y)| (w - 0x1000, y)).collect();
        assert_eq!(made, [(0, 0x8000), (WEIGHT, 0x9000), (2 * WEIGHT, 0xa000)]);
        let biases: Vec<u64> = s.set.iter().filter(|(which, _)| *which == 8).map(|(_, at)| *at).collect();
        assert!(biases.ends_with(&[0x100 + 64]), "{biases:x?}");
        s.runs.clear();
    });
    // It is not tried again, with about as many rows neither.
    run_each(&products, 63, [0x8000, 0x9000, 0xa000]);
    assert_eq!(seen(|s| s.runs.len()), 3);
}

#[test]
fn one_choice_serves_sizes_that_are_near() {
    let products = products();
    for rows in [16_000, 15_900, 16_000, 15_950] {
        run(&products, rows).unwrap();
    }
    assert_eq!(seen(|s| (s.choices, s.runs.len())), (1, 4));
    run(&products, 300).unwrap();
    assert_eq!(seen(|s| s.choices), 2);
}

#[test]
fn a_choice_that_does_not_fit_is_made_anew_for_the_very_size() {
    const NOT_SUPPORTED: Status = 15;
    let products = products();
    seen(|s| s.answers = vec![NOT_SUPPORTED]);
    run(&products, 100).unwrap();
    assert_eq!(seen(|s| (s.choices, s.runs.len())), (2, 2));
    // It is kept.
    run(&products, 100).unwrap();
    assert_eq!(seen(|s| (s.choices, s.runs.len())), (2, 3));
    // Of a size that was chosen for, too; where that does not fit either, that is said.
    seen(|s| s.answers = vec![NOT_SUPPORTED, NOT_SUPPORTED]);
    let why = run(&products, 128).unwrap_err().to_string();
    assert_eq!(why, "cublasLtMatmul failed: CUBLAS failure 15: CUBLAS_STATUS_NOT_SUPPORTED");
}

proptest! {
    #[test]
    fn a_choice_holds_for_few_rows_more(rows in 1usize..70_000) {
        let near = near(rows);
        prop_assert!(near >= rows && near - rows < 64.max(rows / 8 + 1), "{rows} to {near}");
        prop_assert_eq!(super::near(near), near);
    }
}
