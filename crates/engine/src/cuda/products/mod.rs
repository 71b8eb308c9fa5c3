//! Matrix products with their bias, and GELU, inside, by cublasLt.
//!
//! `X·W` and `X·W + b` in any format, `gelu(X·W + b)` in f16, and `X·W₀ + b`, `X·W₁`, `X·W₂` of one `X`, the three spread
//! over launches by where their results lie ([`spread`]).
//!
//! The library is the one that ONNX Runtime's provider uses, opened by name after it was
//! loaded. Which of its kernels serves a product is asked once and kept; all that serve one give a row
//! the same bits ([`same_bits`]), but for those of several products in one launch. A run
//! takes memory from nobody and waits for nothing, so it can be captured in a CUDA graph.
//! Constants and signatures are those of `cublasLt.h` of CUDA 13.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::{Arc, OnceLock},
};

use libloading::{Library, Symbol};
use parking_lot::Mutex;

use super::{
    Cuda, CudaError,
    runtime::{DeviceMemory, Status, calls},
};
use crate::onnx::Elem;

mod described;
mod same_bits;
mod spread;
#[cfg(test)]
mod tests;

use described::{Algorithm, Heuristic, Product};

/// cublasLt, loaded before by [`super::libraries::preload`].
const LIBRARY: &str = "libcublasLt.so.13";

/// Memory that kernels may use for partial sums: what NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Bytes of a number of the products that are asked for together.
const NUMBER: usize = size_of::<half::f16>();

/// Tensors of the arena start on more than this; rows of a multiple of eight f16 keep it.
pub(crate) const ALIGNED: usize = 16;

type Handle = *mut c_void;

calls! { Lt:
    create c"cublasLtCreate" (*mut Handle)
    destroy c"cublasLtDestroy" (Handle)
    product_create c"cublasLtMatmulDescCreate" (*mut Handle, c_int, c_int)
    product_destroy c"cublasLtMatmulDescDestroy" (Handle)
    product_set c"cublasLtMatmulDescSetAttribute" (Handle, c_int, *const c_void, usize)
    layout_create c"cublasLtMatrixLayoutCreate" (*mut Handle, c_int, u64, u64, i64)
    layout_destroy c"cublasLtMatrixLayoutDestroy" (Handle)
    layout_set c"cublasLtMatrixLayoutSetAttribute" (Handle, c_int, *const c_void, usize)
    preference_create c"cublasLtMatmulPreferenceCreate" (*mut Handle)
    preference_destroy c"cublasLtMatmulPreferenceDestroy" (Handle)
    preference_set c"cublasLtMatmulPreferenceSetAttribute" (Handle, c_int, *const c_void, usize)
    heuristic c"cublasLtMatmulAlgoGetHeuristic" (Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Heuristic, *mut c_int)
    config c"cublasLtMatmulAlgoConfigGetAttribute" (*const Algorithm, c_int, *mut c_void, usize, *mut usize)
    run c"cublasLtMatmul" (Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void, Handle, *mut c_void, Handle, *const Algorithm, *mut c_void, usize, *mut c_void)
}

/// Sizes of `Y (rows × columns) = X (rows × inner) · W (inner × columns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProductSizes {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

/// What is done to sums before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Epilogue {
    /// Nothing.
    Plain,
    /// The bias is added.
    Bias,
    /// The bias is added, then GELU taken in its tanh form.
    BiasGelu,
}

/// Formats of a product's operands. Sums are in f32 whichever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Formats {
    /// Of `X` and `W`.
    pub(crate) from: Elem,
    /// Of the bias and `Y`: the same, or f32.
    pub(crate) to: Elem,
}

impl Formats {
    /// All f16.
    pub(crate) const HALF: Self = Self { from: Elem::F16, to: Elem::F16 };
}

/// What kernels are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ProductKey {
    sizes: ProductSizes,
    formats: Formats,
    epilogue: Epilogue,
    /// The weight is stored turned round: (columns × inner).
    turned: bool,
    /// Products of one `X` in the launch.
    count: usize,
}

impl ProductKey {
    /// The kind that is chosen for in its place: of as many rows as a choice holds for.
    fn near(self) -> Self {
        Self { sizes: ProductSizes { rows: near(self.sizes.rows), ..self.sizes }, ..self }
    }
}

/// Where the operands of a product lie on the device, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    /// What the product is multiplied by, before the bias is added.
    pub(crate) factor: f32,
    pub(crate) x: *const c_void,
    pub(crate) weight: *const c_void,
    pub(crate) bias: *const c_void,
    pub(crate) y: *mut c_void,
}

/// How far it is from one product's operand to the next one's, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Apart {
    weight: usize,
    bias: usize,
    y: usize,
}

/// Products of one `X` that are asked for together: queries, keys and values.
pub(crate) const TOGETHER: usize = 3;

/// Rows up to which three products in one launch pay. At 2,048 rows and fewer one launch instead of two saves 2 to 4 µs;
/// at 16,384 it saves nothing, and two leave the bias out where there is none (one H100; between them this is a guess).
pub(crate) const FEW_ROWS: usize = 4_096;

/// cublasLt's calls, once a process: the library is never closed.
static OPENED: OnceLock<CublasLt> = OnceLock::new();

type StatusName = unsafe extern "C" fn(Status) -> *const c_char;

#[derive(Clone, Copy)]
struct CublasLt {
    lt: Lt,
    status_name: StatusName,
}

impl CublasLt {
    fn once() -> Result<Self, CudaError> {
        if let Some(opened) = OPENED.get() {
            return Ok(*opened);
        }
        // SAFETY: NVIDIA's libraries do nothing at load that needs care of ours; it is loaded already.
        #[expect(unsafe_code, reason = "a foreign library")]
        let library = unsafe { Library::new(LIBRARY) }
            .map_err(|e| CudaError::NoLibrary { path: LIBRARY.into(), says: e.to_string() })?;
        let lt = Lt::of(&library)?;
        // SAFETY: the signature is that of cublasLt.h.
        #[expect(unsafe_code, reason = "a foreign call")]
        let status_name: Symbol<'_, StatusName> =
            unsafe { library.get(c"cublasLtGetStatusName") }.map_err(|_| CudaError::NoCall("cublasLtGetStatusName"))?;
        let opened = Self { lt, status_name: *status_name };
        // Its calls are kept for good, and so is it.
        std::mem::forget(library);
        Ok(*OPENED.get_or_init(|| opened))
    }
}

/// cublasLt on one device, for one session, whose runs follow each other on one stream.
pub(crate) struct Products {
    lt: Lt,
    status_name: StatusName,
    handle: Handle,
    workspace: *mut c_void,
    /// Where it runs; `None` in tests.
    device: Option<(Cuda, u32)>,
    /// What the workspace is part of; kept as long as it is used.
    _memory: Option<DeviceMemory>,
    /// By what was chosen for: steps of rows, and very sizes that a step's choice did not fit.
    chosen: Mutex<HashMap<ProductKey, Algorithm>>,
    /// Kernels of the products that were run, whose number of rows is 0 here.
    same_bits: Mutex<HashMap<ProductKey, Arc<same_bits::SameBits>>>,
    /// Launches of several that failed, by steps of rows, and are made one by one since.
    refused: Mutex<HashSet<ProductKey>>,
}

// SAFETY: cublasLt's handle may be used by any thread; the memory's address is only passed on.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Send for Products {}
// SAFETY: as above; the map has its own lock.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Sync for Products {}

impl std::fmt::Debug for Products {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Products").field("chosen", &self.chosen.lock().len()).finish_non_exhaustive()
    }
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl Products {
    /// Opens cublasLt on GPU `number` and reserves its workspace.
    pub(crate) fn open(cuda: &Cuda, number: u32) -> Result<Self, CudaError> {
        let CublasLt { lt, status_name } = CublasLt::once()?;
        let memory = cuda.device_memory(number, WORKSPACE)?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes one pointer.
        check(status_name, "cublasLtCreate", unsafe { (lt.create)(&mut handle) })?;
        Ok(Self {
            lt,
            status_name,
            handle,
            workspace: memory.address(),
            device: Some((cuda.clone(), number)),
            _memory: Some(memory),
            chosen: Mutex::default(),
            same_bits: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), CudaError> {
        check(self.status_name, call, status)
    }

    /// Whether there is a kernel for such a product, and for `count` of one `X` in a launch.
    pub(crate) fn serves(
        &self,
        sizes: ProductSizes,
        formats: Formats,
        epilogue: Epilogue,
        count: usize,
    ) -> Result<(), CudaError> {
        let ProductSizes { rows, inner, columns } = sizes;
        let apart = Apart { weight: inner * columns, bias: columns, y: rows * columns };
        // Any address will do for the bias: nothing runs.
        let key = ProductKey { sizes, formats, epilogue, turned: false, count };
        Product::new(self, key, self.workspace, apart)?.choose().map(drop)
    }

    /// Queues `Y = gelu(X·W + b)`, GELU in its tanh form, on `stream`.
    ///
    /// # Safety
    /// The operands are device memory of these sizes, starting on [`ALIGNED`] bytes, and stay as they are until the
    /// stream's work is done. No two products of one `Products` run at once on different streams.
    pub(crate) unsafe fn bias_gelu(
        &self,
        sizes: ProductSizes,
        at: Operands,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let kind = ProductKey { sizes, formats: Formats::HALF, epilogue: Epilogue::BiasGelu, turned: false, count: 1 };
        // SAFETY: by the contract.
        unsafe { self.run(kind, at, Apart::default(), stream) }
    }

    /// Queues `Y = factor·X·W`, or `+ b` where there is a bias, on `stream`.
    ///
    /// # Safety
    /// That of [`Self::bias_gelu`], the operands in these formats, the weight turned round where it is said to be; `at.bias` is
    /// not looked at where it is null.
    pub(crate) unsafe fn product(
        &self,
        sizes: ProductSizes,
        formats: Formats,
        turned: bool,
        at: Operands,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let epilogue = if at.bias.is_null() { Epilogue::Plain } else { Epilogue::Bias };
        // SAFETY: by the contract.
        unsafe { self.run(ProductKey { sizes, formats, epilogue, turned, count: 1 }, at, Apart::default(), stream) }
    }

    /// Queues `Y₀ = X·W₀ + b`, `Y₁ = X·W₁`, `Y₂ = X·W₂` on `stream`: weights lie end to end from `at.weight` on, and
    /// results where `ys` says. The bias lies at `at.bias`, and zeros for the other two behind it.
    ///
    /// # Safety
    /// That of [`Self::bias_gelu`], for all of them; `at.y` is not looked at.
    pub(crate) unsafe fn query_key_value(
        &self,
        sizes: ProductSizes,
        at: Operands,
        ys: [*mut c_void; TOGETHER],
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let (matrix, row) = (sizes.inner * sizes.columns, sizes.columns);
        for launch in spread::launches(ys.map(|y| y.addr()), sizes.rows <= FEW_ROWS) {
            let Some(&y) = ys.get(launch.first) else { continue };
            let at = Operands { weight: at.weight.wrapping_byte_add(launch.first * matrix * NUMBER), y, ..at };
            let apart = Apart { weight: matrix, bias: row, y: launch.apart / NUMBER };
            let epilogue = if launch.bias() { Epilogue::Bias } else { Epilogue::Plain };
            let kind = ProductKey { sizes, formats: Formats::HALF, epilogue, turned: false, count: launch.count };
            if launch.count == 1 || !self.refused.lock().contains(&kind.near()) {
                // SAFETY: by the contract; weights and biases lie end to end, and results as the launch says.
                match unsafe { self.run(kind, at, apart, stream) } {
                    Ok(()) => continue,
                    Err(why) if launch.count == 1 => return Err(why),
                    Err(error) => {
                        tracing::warn!(?kind, %error, "a launch of several products failed; one by one from now on");
                        self.refused.lock().insert(kind.near());
                    }
                }
            }
            for i in 0..launch.count {
                let at = Operands {
                    weight: at.weight.wrapping_byte_add(i * apart.weight * NUMBER),
                    bias: at.bias.wrapping_byte_add(i * apart.bias * NUMBER),
                    y: at.y.wrapping_byte_add(i * apart.y * NUMBER),
                    ..at
                };
                // SAFETY: as above.
                unsafe { self.run(ProductKey { count: 1, ..kind }, at, Apart::default(), stream) }?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// That of [`Self::bias_gelu`], for every product of the launch.
    unsafe fn run(&self, kind: ProductKey, at: Operands, apart: Apart, stream: *mut c_void) -> Result<(), CudaError> {
        let product = Product::new(self, kind, at.bias, apart)?;
        if let (Some((cuda, number)), 1) = (&self.device, kind.count) {
            let algorithm = self.same_bits((cuda, *number), kind, stream)?.of(kind.sizes.rows);
            // SAFETY: by the contract.
            return unsafe { product.run(at, &algorithm, stream) };
        }
        let near = kind.near();
        let known = {
            let chosen = self.chosen.lock();
            chosen.get(&kind).or_else(|| chosen.get(&near)).copied()
        };
        let algorithm = match known {
            Some(algorithm) => algorithm,
            None => {
                // Results of a few rows more would lie further apart; a kernel does not ask how far.
                let apart = Apart { y: apart.y.max(near.sizes.rows * near.sizes.columns), ..apart };
                let algorithm = Product::new(self, near, at.bias, apart)?.choose()?;
                self.chosen.lock().insert(near, algorithm);
                algorithm
            }
        };
        // SAFETY: by the contract.
        let run = |algorithm: &Algorithm| unsafe { product.run(at, algorithm, stream) };
        match run(&algorithm) {
            // A kernel chosen for a few rows more, or results that lie otherwise, may not take exactly these.
            Err(first) => {
                let own = product.choose().map_err(|_| first)?;
                run(&own)?;
                self.chosen.lock().insert(kind, own);
                Ok(())
            }
            done => done,
        }
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: made by us and not used after; a lost context fails here, and nothing can be done.
        #[expect(unsafe_code, reason = "a foreign call")]
        let _ = unsafe { (self.lt.destroy)(self.handle) };
    }
}

/// Rows up to which a choice holds: steps of a sixteenth of the next power of two, at least 64.
fn near(rows: usize) -> usize {
    const LEAST: usize = 64;
    rows.next_multiple_of((rows.next_power_of_two() / 16).max(LEAST))
}

fn check(name: StatusName, call: &'static str, status: Status) -> Result<(), CudaError> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: cublasLt returns a static string for every status, known or not.
    #[expect(unsafe_code, reason = "a foreign call")]
    let text = unsafe { name(status) };
    let says = if text.is_null() {
        String::new()
    } else {
        // SAFETY: not null, and ended with a zero.
        #[expect(unsafe_code, reason = "a foreign string")]
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    Err(CudaError::Product { call, code: status, says })
}
