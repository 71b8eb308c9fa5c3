//! Products described to cublasLt.
//!
//! cublasLt counts by columns: a row-major matrix (rows × columns) is to it a matrix of
//! (columns × rows). So `Y = X·W + b` is asked for as `Yᵀ = Wᵀ·Xᵀ`, nothing is
//! turned round, and the bias lies along the rows of what cublasLt calls the result.
//! Several products of one launch are a batch to it, whose `X` is the same throughout.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use super::{ALIGNED, Apart, Epilogue, Formats, Handle, Operands, ProductKey, ProductSizes, Products, WORKSPACE};
use crate::{
    cuda::{CudaError, runtime::Status},
    onnx::Elem,
};

/// `CUBLAS_COMPUTE_32F`: sums in f32.
const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F`: what factors are.
const F32: c_int = 0;
/// `CUBLASLT_MATMUL_DESC_EPILOGUE`, `…_BIAS_POINTER`, `…_BIAS_BATCH_STRIDE` and `…_BIAS_DATA_TYPE`.
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;
const BIAS_APART: c_int = 10;
const BIAS_TYPE: c_int = 26;
/// `CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT` and `…_STRIDED_BATCH_OFFSET`.
const COUNT: c_int = 5;
const APART: c_int = 6;
/// `CUBLASLT_MATMUL_DESC_TRANSA` and `CUBLAS_OP_T`.
const TURN_A: c_int = 3;
const TURNED: c_int = 1;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`, `…_REDUCTION_SCHEME_MASK`, then least alignments of A, B, C and D.
const PREFER_WORKSPACE: c_int = 1;
const PREFER_REDUCTIONS: c_int = 3;
const PREFER_ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// `cudaDataType_t`.
fn format(elem: Elem) -> c_int {
    match elem {
        // CUDA_R_16F
        Elem::F16 => 2,
        // CUDA_R_16BF
        Elem::BF16 => 14,
        _ => F32,
    }
}

/// On what multiple of bytes the rows of a matrix start, at most [`ALIGNED`].
fn alignment(columns: usize, elem: Elem) -> u32 {
    1 << (columns * elem.bytes()).trailing_zeros().min(ALIGNED.ilog2())
}

/// `cublasLtEpilogue_t`.
fn number(epilogue: Epilogue) -> c_int {
    match epilogue {
        // CUBLASLT_EPILOGUE_DEFAULT
        Epilogue::Plain => 1,
        // CUBLASLT_EPILOGUE_BIAS
        Epilogue::Bias => 4,
        // CUBLASLT_EPILOGUE_GELU_BIAS: the tanh form.
        Epilogue::BiasGelu => 36,
    }
}

/// `cublasLtMatmulAlgo_t`: opaque.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Algorithm([u64; 8]);

#[cfg(test)]
impl Algorithm {
    /// One that no library knows.
    pub(super) fn numbered(number: u64) -> Self {
        Self([number; 8])
    }
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Heuristic {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
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
pub(super) struct Product<'a> {
    of: &'a Products,
    product: Described,
    weight: Described,
    x: Described,
    y: Described,
    /// Of the weight, `X`, and the result twice.
    alignments: [u32; 4],
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl<'a> Product<'a> {
    /// Describes `kind`. `apart` counts where it is several products.
    pub(super) fn new(
        of: &'a Products,
        kind: ProductKey,
        bias: *const c_void,
        apart: Apart,
    ) -> Result<Self, CudaError> {
        let lt = &of.lt;
        let matrix = |elem: Elem, rows: usize, columns: usize, apart: usize| {
            let mut at = ptr::null_mut();
            // SAFETY: writes one pointer. Rows and columns as cublasLt counts them; a column is without gaps.
            let status =
                unsafe { (lt.layout_create)(&mut at, format(elem), columns as u64, rows as u64, columns as i64) };
            of.check("cublasLtMatrixLayoutCreate", status)?;
            let made = Described { at, destroy: lt.layout_destroy };
            if kind.count > 1 {
                let (count, apart) = (kind.count as c_int, apart as i64);
                let set = |which, value: *const c_void, bytes| {
                    // SAFETY: the value is read now, and is as long as is said.
                    let status = unsafe { (lt.layout_set)(made.at, which, value, bytes) };
                    of.check("cublasLtMatrixLayoutSetAttribute", status)
                };
                set(COUNT, ptr::from_ref(&count).cast(), size_of::<c_int>())?;
                set(APART, ptr::from_ref(&apart).cast(), size_of::<i64>())?;
            }
            Ok(made)
        };
        let ProductSizes { rows, inner, columns } = kind.sizes;
        let Formats { from, to } = kind.formats;
        let weight = match kind.turned {
            false => matrix(from, inner, columns, apart.weight)?,
            true => matrix(from, columns, inner, apart.weight)?,
        };
        // One for all.
        let x = matrix(from, rows, inner, 0)?;
        let y = matrix(to, rows, columns, apart.y)?;
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer.
        of.check("cublasLtMatmulDescCreate", unsafe { (lt.product_create)(&mut at, COMPUTE_F32, F32) })?;
        let product = Described { at, destroy: lt.product_destroy };
        let weight_row = if kind.turned { inner } else { columns };
        let alignments =
            [alignment(weight_row, from), alignment(inner, from), alignment(columns, to), alignment(columns, to)];
        let made = Self { of, product, weight, x, y, alignments };
        if kind.turned {
            made.set(TURN_A, &TURNED)?;
        }
        made.set(EPILOGUE, &number(kind.epilogue))?;
        if kind.epilogue == Epilogue::Plain {
            return Ok(made);
        }
        made.set(BIAS_TYPE, &format(to))?;
        made.set(BIAS_POINTER, &bias)?;
        if kind.count > 1 {
            made.set(BIAS_APART, &(apart.bias as i64))?;
        }
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
    pub(super) fn choose(&self) -> Result<Algorithm, CudaError> {
        let found = self.heuristics(1, None)?;
        found.first().copied().ok_or(CudaError::NoCall("product of this size with what follows it"))
    }

    /// Those that it proposes and that take each sum whole, the one that it expects to be the fastest first.
    pub(super) fn candidates(&self, most: usize) -> Result<Vec<Algorithm>, CudaError> {
        // CUBLASLT_REDUCTION_SCHEME_NONE
        self.heuristics(most, Some(0))
    }

    /// The number of the family of kernels that one is of: `CUBLASLT_ALGO_CONFIG_ID`.
    pub(super) fn family(&self, algorithm: &Algorithm) -> Result<c_int, CudaError> {
        const ID: c_int = 0;
        let (mut id, mut written): (c_int, usize) = (0, 0);
        // SAFETY: writes one number of the length that is said.
        let status = unsafe {
            (self.of.lt.config)(algorithm, ID, ptr::from_mut(&mut id).cast(), size_of::<c_int>(), &mut written)
        };
        self.of.check("cublasLtMatmulAlgoConfigGetAttribute", status)?;
        Ok(id)
    }

    fn heuristics(&self, most: usize, reductions: Option<u32>) -> Result<Vec<Algorithm>, CudaError> {
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
        let workspace = WORKSPACE as u64;
        set(PREFER_WORKSPACE, ptr::from_ref(&workspace).cast(), size_of::<u64>())?;
        for (which, alignment) in PREFER_ALIGNMENTS.into_iter().zip(&self.alignments) {
            set(which, ptr::from_ref(alignment).cast(), size_of::<u32>())?;
        }
        if let Some(reductions) = reductions {
            set(PREFER_REDUCTIONS, ptr::from_ref(&reductions).cast(), size_of::<u32>())?;
        }
        let (mut found, mut count) = (vec![Heuristic::default(); most], 0);
        // SAFETY: room for as many results as are asked for; all descriptions live.
        let status = unsafe {
            (lt.heuristic)(
                of.handle,
                self.product.at,
                self.weight.at,
                self.x.at,
                self.y.at,
                self.y.at,
                preference.at,
                c_int::try_from(most).unwrap_or(c_int::MAX),
                found.as_mut_ptr(),
                &mut count,
            )
        };
        of.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        found.truncate(usize::try_from(count).unwrap_or(0));
        if let [one] = &found[..] {
            of.check("cublasLtMatmulAlgoGetHeuristic", one.state)?;
        }
        Ok(found.iter().filter(|h| h.state == 0 && h.workspace <= WORKSPACE).map(|h| h.algorithm).collect())
    }

    /// # Safety
    /// That of [`Products::bias_gelu`], for every product described.
    pub(super) unsafe fn run(&self, at: Operands, algorithm: &Algorithm, stream: *mut c_void) -> Result<(), CudaError> {
        let of = self.of;
        let zero = 0.0_f32;
        // SAFETY: by the contract; the factors are read before the call returns.
        let status = unsafe {
            (of.lt.run)(
                of.handle,
                self.product.at,
                ptr::from_ref(&at.factor).cast(),
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
