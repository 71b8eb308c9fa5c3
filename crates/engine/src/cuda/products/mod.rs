//! One matrix product with its bias and GELU inside, by cublasLt.
//!
//! cublasLt counts by columns: a row-major matrix (rows × columns) is to it a matrix of
//! (columns × rows). So `Y = X·W + b` is asked for as `Yᵀ = Wᵀ·Xᵀ`, nothing is
//! turned round, and the bias lies along the rows of what cublasLt calls the result.
//!
//! The library is the one that ONNX Runtime's provider uses, opened by name after it was
//! loaded. Which of its kernels serves a product is asked once a size and kept. A run
//! takes memory from nobody and waits for nothing, so it can be captured in a CUDA graph.
//! Constants and signatures are those of `cublasLt.h` of CUDA 13.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use libloading::{Library, Symbol};
use parking_lot::Mutex;

use super::{
    Cuda, CudaError,
    runtime::{DeviceMemory, Status, calls},
};

#[cfg(test)]
mod tests;

/// cublasLt, loaded before by [`super::libraries::preload`].
const LIBRARY: &str = "libcublasLt.so.13";

/// Memory that kernels may use for partial sums: what NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;

/// `CUBLAS_COMPUTE_32F`: sums in f32.
const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F` and `CUDA_R_16F`.
const F32: c_int = 0;
const F16: c_int = 2;
/// `CUBLASLT_MATMUL_DESC_EPILOGUE`, `…_BIAS_POINTER` and `…_BIAS_DATA_TYPE`.
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;
const BIAS_TYPE: c_int = 26;
/// `CUBLASLT_EPILOGUE_GELU_BIAS`: the tanh form of GELU over product and bias.
const GELU_BIAS: c_int = 36;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`, then least alignments of A, B, C and D.
const PREFER_WORKSPACE: c_int = 1;
const PREFER_ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// Tensors of the arena start on more than this; rows of a multiple of eight f16 keep it.
pub(crate) const ALIGNED: usize = 16;

/// `cublasLtMatmulAlgo_t`: opaque.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Algorithm([u64; 8]);

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Heuristic {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

type Handle = *mut c_void;

calls! { Lt:
    create c"cublasLtCreate" (*mut Handle)
    destroy c"cublasLtDestroy" (Handle)
    product_create c"cublasLtMatmulDescCreate" (*mut Handle, c_int, c_int)
    product_destroy c"cublasLtMatmulDescDestroy" (Handle)
    product_set c"cublasLtMatmulDescSetAttribute" (Handle, c_int, *const c_void, usize)
    layout_create c"cublasLtMatrixLayoutCreate" (*mut Handle, c_int, u64, u64, i64)
    layout_destroy c"cublasLtMatrixLayoutDestroy" (Handle)
    preference_create c"cublasLtMatmulPreferenceCreate" (*mut Handle)
    preference_destroy c"cublasLtMatmulPreferenceDestroy" (Handle)
    preference_set c"cublasLtMatmulPreferenceSetAttribute" (Handle, c_int, *const c_void, usize)
    heuristic c"cublasLtMatmulAlgoGetHeuristic" (Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Heuristic, *mut c_int)
    run c"cublasLtMatmul" (Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void, Handle, *mut c_void, Handle, *const Algorithm, *mut c_void, usize, *mut c_void)
}

/// Sizes of `Y (rows × columns) = X (rows × inner) · W (inner × columns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

/// Where the operands of a product lie on the device, all f16 and row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub(crate) x: *const c_void,
    pub(crate) weight: *const c_void,
    pub(crate) bias: *const c_void,
    pub(crate) y: *mut c_void,
}

/// cublasLt's calls, once a process: the library is never closed.
static OPENED: OnceLock<Opened> = OnceLock::new();

type StatusName = unsafe extern "C" fn(Status) -> *const c_char;

#[derive(Clone, Copy)]
struct Opened {
    lt: Lt,
    status_name: StatusName,
}

impl Opened {
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
    /// What the workspace is part of; kept as long as it is used.
    _memory: Option<DeviceMemory>,
    /// By size that was chosen for: steps of rows, and very sizes that a step's choice did not fit.
    chosen: Mutex<HashMap<Sizes, Algorithm>>,
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
        let Opened { lt, status_name } = Opened::once()?;
        let memory = cuda.device_memory(number, WORKSPACE)?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes one pointer.
        check(status_name, "cublasLtCreate", unsafe { (lt.create)(&mut handle) })?;
        Ok(Self {
            lt,
            status_name,
            handle,
            workspace: memory.address(),
            _memory: Some(memory),
            chosen: Mutex::default(),
        })
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), CudaError> {
        check(self.status_name, call, status)
    }

    /// Whether there is a kernel for such a product.
    pub(crate) fn serves(&self, sizes: Sizes) -> Result<(), CudaError> {
        // Any address will do for the bias: nothing runs.
        Product::new(self, sizes, self.workspace)?.choose().map(drop)
    }

    /// Queues `Y = gelu(X·W + b)`, GELU in its tanh form, on `stream`.
    ///
    /// # Safety
    /// The operands are device memory of these sizes, starting on [`ALIGNED`] bytes, and stay as they are until the
    /// stream's work is done. No two products of one `Products` run at once on different streams.
    pub(crate) unsafe fn bias_gelu(&self, sizes: Sizes, at: Operands, stream: *mut c_void) -> Result<(), CudaError> {
        let product = Product::new(self, sizes, at.bias)?;
        let near = Sizes { rows: near(sizes.rows), ..sizes };
        let known = {
            let chosen = self.chosen.lock();
            chosen.get(&sizes).or_else(|| chosen.get(&near)).copied()
        };
        let algorithm = match known {
            Some(algorithm) => algorithm,
            None => {
                let algorithm = Product::new(self, near, at.bias)?.choose()?;
                self.chosen.lock().insert(near, algorithm);
                algorithm
            }
        };
        // SAFETY: by the contract.
        let run = |algorithm: &Algorithm| unsafe { product.run(at, algorithm, stream) };
        match run(&algorithm) {
            // A kernel chosen for a few rows more may not take exactly these.
            Err(_) if near != sizes => {
                let own = product.choose()?;
                run(&own)?;
                self.chosen.lock().insert(sizes, own);
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

/// A description that cublasLt made and takes back.
struct Described {
    at: Handle,
    destroy: unsafe extern "C" fn(Handle) -> Status,
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: made by the matching call and not used after.
        #[expect(unsafe_code, reason = "a foreign call")]
        let _ = unsafe { (self.destroy)(self.at) };
    }
}

/// One product, described to cublasLt.
struct Product<'a> {
    of: &'a Products,
    product: Described,
    weight: Described,
    x: Described,
    y: Described,
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl<'a> Product<'a> {
    fn new(of: &'a Products, sizes: Sizes, bias: *const c_void) -> Result<Self, CudaError> {
        let lt = &of.lt;
        let matrix = |rows: usize, columns: usize| {
            let mut at = ptr::null_mut();
            // SAFETY: writes one pointer. Rows and columns as cublasLt counts them; a column is without gaps.
            let status = unsafe { (lt.layout_create)(&mut at, F16, columns as u64, rows as u64, columns as i64) };
            of.check("cublasLtMatrixLayoutCreate", status)?;
            Ok(Described { at, destroy: lt.layout_destroy })
        };
        let Sizes { rows, inner, columns } = sizes;
        let (weight, x, y) = (matrix(inner, columns)?, matrix(rows, inner)?, matrix(rows, columns)?);
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer.
        of.check("cublasLtMatmulDescCreate", unsafe { (lt.product_create)(&mut at, COMPUTE_F32, F32) })?;
        let product = Described { at, destroy: lt.product_destroy };
        let made = Self { of, product, weight, x, y };
        made.set(EPILOGUE, &GELU_BIAS)?;
        made.set(BIAS_TYPE, &F16)?;
        made.set(BIAS_POINTER, &bias)?;
        Ok(made)
    }

    fn set<T>(&self, attribute: c_int, value: &T) -> Result<(), CudaError> {
        // SAFETY: the value is read now, and is as long as is said.
        let status = unsafe {
            (self.of.lt.product_set)(self.product.at, attribute, ptr::from_ref(value).cast(), size_of::<T>())
        };
        self.of.check("cublasLtMatmulDescSetAttribute", status)
    }

    /// The kernel that cublasLt expects to be the fastest.
    fn choose(&self) -> Result<Algorithm, CudaError> {
        let (of, lt) = (self.of, &self.of.lt);
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer.
        of.check("cublasLtMatmulPreferenceCreate", unsafe { (lt.preference_create)(&mut at) })?;
        let preference = Described { at, destroy: lt.preference_destroy };
        let set = |attribute: c_int, value: *const c_void, bytes: usize| {
            // SAFETY: the value is read now, and is as long as is said.
            let status = unsafe { (lt.preference_set)(preference.at, attribute, value, bytes) };
            of.check("cublasLtMatmulPreferenceSetAttribute", status)
        };
        let (workspace, aligned) = (WORKSPACE as u64, ALIGNED as u32);
        set(PREFER_WORKSPACE, ptr::from_ref(&workspace).cast(), size_of::<u64>())?;
        for alignment in PREFER_ALIGNMENTS {
            set(alignment, ptr::from_ref(&aligned).cast(), size_of::<u32>())?;
        }
        let (mut found, mut count) = (Heuristic::default(), 0);
        // SAFETY: room for the one result that is asked for; all descriptions live.
        let status = unsafe {
            (lt.heuristic)(
                of.handle,
                self.product.at,
                self.weight.at,
                self.x.at,
                self.y.at,
                self.y.at,
                preference.at,
                1,
                &mut found,
                &mut count,
            )
        };
        of.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        of.check("cublasLtMatmulAlgoGetHeuristic", found.state)?;
        if count < 1 || found.workspace > WORKSPACE {
            return Err(CudaError::NoCall("product of this size with bias and GELU"));
        }
        Ok(found.algorithm)
    }

    /// # Safety
    /// That of [`Products::bias_gelu`].
    unsafe fn run(&self, at: Operands, algorithm: &Algorithm, stream: *mut c_void) -> Result<(), CudaError> {
        let of = self.of;
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: by the contract; the factors are read before the call returns.
        let status = unsafe {
            (of.lt.run)(
                of.handle,
                self.product.at,
                ptr::from_ref(&one).cast(),
                at.weight,
                self.weight.at,
                at.x,
                self.x.at,
                ptr::from_ref(&zero).cast(),
                at.y.cast_const(),
                self.y.at,
                at.y,
                self.y.at,
                algorithm,
                of.workspace,
                WORKSPACE,
                stream,
            )
        };
        of.check("cublasLtMatmul", status)
    }
}
