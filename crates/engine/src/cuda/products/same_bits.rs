//! Kernels that give a row the same bits, however many rows there are.
//!
//! What a row of a product comes to depends on the order in which its sum is taken. cublasLt takes other kernels for few rows than
//! for many, and some of them cut the sum in parts: a text's score would then depend on who else asked. So no kernel may cut
//! sums here, and of those that it proposes for a step of rows, or for a few rows more, the first is taken whose bits are those of
//! the kernel for full batches: each is run once on numbers in which any other order shows. Where none agrees, the kernel for full batches serves.
//!
//! The choice hangs on the library and the architecture, not on timings. It is made when a product is first wanted, once a process
//! and device, and takes the longer the larger the product is.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::c_void,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;

use super::{
    Operands, ProductKey, ProductSizes, Products,
    described::{Algorithm, Product},
    near,
};
use crate::{
    cuda::{Cuda, CudaError},
    onnx::Elem,
};

/// Rows of the batches whose kernel the others must agree with.
const FULL: usize = 16_384;
/// Rows up to which kernels are chosen by their number; more take the kernel for full batches.
const MOST: usize = 65_536;
/// Kernels that cublasLt is asked for, in the order of what it expects of them.
const CANDIDATES: usize = 100;
/// Steps up to here may also have what is proposed for more rows, up to here: past it, sums are not cut.
const NEARBY: usize = 512;
/// Rows that kernels are compared on.
const COMPARED: usize = 512;

/// The kernels of one product.
#[derive(Debug)]
pub(super) struct SameBits {
    /// By the rows that each is for at most.
    by_rows: BTreeMap<usize, Algorithm>,
    full: Algorithm,
}

impl SameBits {
    /// The kernel for so many rows.
    pub(super) fn of(&self, rows: usize) -> Algorithm {
        self.by_rows.range(rows..).next().map_or(self.full, |(_, algorithm)| *algorithm)
    }

    /// Chooses among what is `proposed` for each step of rows. `agrees` says whether a kernel, run on so many rows, gives the bits
    /// of `full`.
    ///
    /// Those of `full`'s family come first (`related` says which are), and of them what is proposed for a few rows more before the
    /// second choice for a step: where cublasLt would cut the sums of few rows, what it proposes instead is of an older family
    /// and slow (one H200, 128 rows × 3,072 × 768 in f16: 24 µs, then 74; what it proposes for 192 to 320 rows does the same in
    /// 6.7).
    fn choose(
        full: Algorithm,
        proposed: &BTreeMap<usize, Vec<Algorithm>>,
        related: impl Fn(&Algorithm) -> bool,
        mut agrees: impl FnMut(&Algorithm, usize) -> bool,
    ) -> Self {
        let mut known: HashMap<(Algorithm, usize), bool> = HashMap::new();
        let mut by_rows = BTreeMap::new();
        for &rows in proposed.keys() {
            let compared = rows.min(COMPARED);
            let nearby: Vec<&Vec<Algorithm>> =
                proposed.range(rows..=rows.max(NEARBY)).map(|(_, there)| there).collect();
            let places = nearby.iter().map(|there| there.len()).max().unwrap_or(0);
            let in_order = || (0..places).flat_map(|place| nearby.iter().filter_map(move |there| there.get(place)));
            let mut tried = in_order().filter(|algorithm| related(algorithm)).chain(in_order());
            let chosen = tried
                .find(|algorithm| *known.entry((**algorithm, compared)).or_insert_with(|| agrees(algorithm, compared)));
            if chosen.is_none() && !agrees(&full, compared) {
                tracing::warn!(rows, "a product of so few rows may come out otherwise than among more");
            }
            // For want of another.
            by_rows.insert(rows, chosen.copied().unwrap_or(full));
        }
        Self { by_rows, full }
    }
}

/// Steps of rows that kernels are chosen for.
fn steps() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(near(1)), |&rows| Some(near(rows + 1))).take_while(|&rows| rows <= MOST)
}

type KnownKernels = HashMap<(u32, ProductKey), Arc<SameBits>>;

/// By device and product, whose number of rows is 0 here.
static KNOWN: LazyLock<Mutex<KnownKernels>> = LazyLock::new(Mutex::default);

impl Products {
    /// The kernels of a product, chosen now if they are not known. `stream` has no work that a wait would hold up for long, and
    /// is not being captured.
    pub(super) fn same_bits(
        &self,
        (cuda, number): (&Cuda, u32),
        kind: ProductKey,
        stream: *mut c_void,
    ) -> Result<Arc<SameBits>, CudaError> {
        let kind = ProductKey { sizes: ProductSizes { rows: 0, ..kind.sizes }, ..kind };
        // Asked for at every launch: no session waits there for what another one has to find out.
        if let Some(there) = self.same_bits.lock().get(&kind) {
            return Ok(Arc::clone(there));
        }
        let made = self.same_bits_of_process((cuda, number), kind, stream)?;
        self.same_bits.lock().insert(kind, Arc::clone(&made));
        Ok(made)
    }

    /// The same for a product that this session has not had yet.
    fn same_bits_of_process(
        &self,
        (cuda, number): (&Cuda, u32),
        kind: ProductKey,
        stream: *mut c_void,
    ) -> Result<Arc<SameBits>, CudaError> {
        // Sessions that start together wait for the first.
        let mut known = KNOWN.lock();
        if let Some(there) = known.get(&(number, kind)) {
            return Ok(Arc::clone(there));
        }
        let trial = Trial::new(self, cuda, number, kind, stream)?;
        let propose = |rows: usize| trial.described(rows).and_then(|p| p.candidates(CANDIDATES));
        let full = *propose(FULL)?.first().ok_or(CudaError::NoCall("product of this size with whole sums"))?;
        let reference = trial.run(&full, COMPARED)?;
        let proposed = steps().map(|rows| Ok((rows, propose(rows)?))).collect::<Result<BTreeMap<_, _>, CudaError>>()?;
        // A kernel that cannot run agrees with nobody.
        let agrees = |algorithm: &Algorithm, rows| trial.run(algorithm, rows).is_ok_and(|b| reference.starts_with(&b));
        let described = trial.described(FULL)?;
        let family = described.family(&full)?;
        let related = |algorithm: &Algorithm| described.family(algorithm).is_ok_and(|other| other == family);
        let made = SameBits::choose(full, &proposed, related, |algorithm, rows| {
            // Fewer rows than the step's take the kernel too.
            let fewer = if rows <= near(1) { 1 } else { rows - 1 };
            agrees(algorithm, rows) && agrees(algorithm, fewer)
        });
        let others = made.by_rows.values().filter(|algorithm| **algorithm != full).count();
        tracing::debug!(?kind, steps = made.by_rows.len(), others, "kernels that agree");
        let made = Arc::new(made);
        known.insert((number, kind), Arc::clone(&made));
        Ok(made)
    }
}

/// Made-up operands of a product on the device.
struct Trial<'a> {
    products: &'a Products,
    cuda: &'a Cuda,
    kind: ProductKey,
    stream: *mut c_void,
    memory: crate::cuda::runtime::DeviceMemory,
    places: [usize; 4],
    back: crate::cuda::Pinned,
}

impl<'a> Trial<'a> {
    fn new(
        products: &'a Products,
        cuda: &'a Cuda,
        number: u32,
        kind: ProductKey,
        stream: *mut c_void,
    ) -> Result<Self, CudaError> {
        let ProductSizes { inner, columns, .. } = kind.sizes;
        let (from, to) = (kind.formats.from, kind.formats.to);
        let sizes = [
            COMPARED * inner * from.bytes(),
            inner * columns * from.bytes(),
            columns * to.bytes(),
            COMPARED * columns * to.bytes(),
        ];
        let mut places = [0; 4];
        let mut end = 0;
        for (place, size) in places.iter_mut().zip(sizes) {
            *place = end;
            end += size.next_multiple_of(256);
        }
        let memory = cuda.device_memory(number, end)?;
        let mut random = TrialNumbers(0x9e37_79b9_7f4a_7c15);
        let mut numbers = Vec::with_capacity(places[3]);
        for (place, size, elem) in [(places[0], sizes[0], from), (places[1], sizes[1], from), (places[2], sizes[2], to)]
        {
            numbers.resize(place, 0);
            while numbers.len() < place + size {
                random.push(elem, &mut numbers);
            }
        }
        let mut up = cuda.pinned(numbers.len())?;
        up.bytes_mut()[..numbers.len()].copy_from_slice(&numbers);
        let back = cuda.pinned(sizes[3])?;
        // SAFETY: both are that long, and stay until the stream was waited for.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe {
            cuda.copy_on(stream, up.bytes().as_ptr().cast(), memory.address(), numbers.len())?;
        }
        cuda.wait_for(stream)?;
        Ok(Self { products, cuda, kind, stream, memory, places, back })
    }

    fn place(&self, i: usize) -> *mut c_void {
        self.memory.address().wrapping_byte_add(self.places[i])
    }

    /// The product with so many rows.
    fn described(&self, rows: usize) -> Result<Product<'a>, CudaError> {
        let kind = ProductKey { sizes: ProductSizes { rows, ..self.kind.sizes }, ..self.kind };
        Product::new(self.products, kind, self.place(2), Default::default())
    }

    /// What a kernel gives for the first `rows` rows.
    fn run(&self, algorithm: &Algorithm, rows: usize) -> Result<Vec<u8>, CudaError> {
        let operands =
            Operands { factor: 1.0, x: self.place(0), weight: self.place(1), bias: self.place(2), y: self.place(3) };
        let bytes = rows * self.kind.sizes.columns * self.kind.formats.to.bytes();
        let product = self.described(rows)?;
        // SAFETY: the operands are reserved for more rows; the session's stream has its products alone.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe {
            product.run(operands, algorithm, self.stream)?;
            self.cuda.copy_on(self.stream, self.place(3), self.back.bytes().as_ptr().cast_mut().cast(), bytes)?;
        }
        self.cuda.wait_for(self.stream)?;
        Ok(self.back.bytes()[..bytes].to_vec())
    }
}

/// Numbers between −1 and 1 whose products do not add up exactly.
struct TrialNumbers(u64);

impl TrialNumbers {
    fn push(&mut self, elem: Elem, to: &mut Vec<u8>) {
        // Knuth's multiplier; the upper bits are the better ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = ((self.0 >> 40) as f32 / (1_u32 << 23) as f32) - 1.0;
        match elem {
            Elem::F16 => to.extend(half::f16::from_f32(x).to_le_bytes()),
            Elem::BF16 => to.extend(half::bf16::from_f32(x).to_le_bytes()),
            _ => to.extend(x.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithm(number: u64) -> Algorithm {
        Algorithm::numbered(number)
    }

    #[test]
    fn the_first_that_agrees_is_taken_and_each_is_tried_once() {
        let mut tried = Vec::new();
        let proposed = [(64, vec![1, 2]), (128, vec![2]), (1_024, vec![1])];
        let proposed = proposed.map(|(rows, list)| (rows, list.into_iter().map(algorithm).collect())).into();
        let full = algorithm(9);
        let made = SameBits::choose(
            full,
            &proposed,
            |_| true,
            |a, rows| {
                tried.push((*a, rows));
                *a == algorithm(2) || *a == full
            },
        );
        assert_eq!([1, 64, 65, 128, 129, 5_000].map(|rows| made.of(rows)), [2, 2, 2, 2, 9, 9].map(algorithm));
        let both = [(1, 64), (2, 64), (2, 128), (1, 512), (9, 512)];
        assert_eq!(tried, both.map(|(number, rows)| (algorithm(number), rows)));
    }

    #[test]
    fn first_choices_for_a_few_rows_more_come_before_second_choices() {
        let proposed = [(64, vec![1, 4]), (128, vec![2]), (192, vec![3, 5]), (1_024, vec![6])];
        let proposed = proposed.map(|(rows, list)| (rows, list.into_iter().map(algorithm).collect())).into();
        let agree = |list: &'static [u64]| move |a: &Algorithm, _: usize| list.iter().any(|n| *a == algorithm(*n));
        let made = SameBits::choose(algorithm(9), &proposed, |_| true, agree(&[3, 4, 5, 6, 9]));
        assert_eq!([64, 128, 192, 1_024].map(|rows| made.of(rows)), [3, 3, 3, 6].map(algorithm));
        let made = SameBits::choose(algorithm(9), &proposed, |_| true, agree(&[6, 9]));
        assert_eq!(made.of(64), algorithm(9), "what is for many more rows is no choice for few");
        let family = |a: &Algorithm| *a == algorithm(5);
        let made = SameBits::choose(algorithm(9), &proposed, family, agree(&[1, 3, 5, 9]));
        assert_eq!(made.of(64), algorithm(5), "the family comes first, whatever its place");
        let made = SameBits::choose(algorithm(9), &proposed, family, agree(&[1, 3, 9]));
        assert_eq!(made.of(64), algorithm(1), "others come after it");
    }

    #[test]
    fn steps_cover_every_number_of_rows() {
        let steps: Vec<usize> = steps().collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1] && near(w[0] + 1) == w[1]));
        assert_eq!((steps[0], steps[steps.len() - 1], steps.len()), (64, MOST, 16 + 8 * 6));
    }

    #[test]
    fn numbers_are_on_both_sides_of_zero_and_differ() {
        let mut bytes = Vec::new();
        let mut random = TrialNumbers(1);
        (0..1_000).for_each(|_| random.push(Elem::F32, &mut bytes));
        let numbers: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert!(numbers.iter().all(|x| x.abs() <= 1.0));
        let mean = numbers.iter().sum::<f32>() / 1_000.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
