//! Operators of ours on CUDA for any encoder: products by cublasLt, and what our own kernels do between them.
//!
//! | operator | inputs → outputs |
//! | --- | --- |
//! | [`PRODUCT`] | x (rows × inner), weight (inner × columns), [bias (columns)] → factor·x·weight + bias, in the format of x |
//! | [`WIDE_PRODUCT`] | the same, bias and result in f32 |
//! | [`DEVICE_ATTENTION`] | what the processor's takes, but for bias, rotation and norms → the same |
//! | [`FINISHED_HEADS`] | qkv (tokens × width), cumulative, [rotation], [norms] → the same size, heads normed and rotated |
//! | [`add_norm`] | [given], sum (rows × width) f32, [γ, β of given], [γ, [β]] → sum f32, what is read |
//! | [`GATE`] | x (rows × width, or twice that: gates, then what they gate) → (rows × width) |
//! | [`ROUTED`] | x (rows × width), router (experts × width) f32, [bias (experts) f32] → numbers of the chosen (rows × chosen), rising; their shares f32; slots (row · chosen + place) in the order of their experts; where each expert's begin (experts + 1) |
//! | [`EXPERTS`] | x, up (experts × width × inner), down (experts × inner × width), shares, order, starts → (rows × width), and two pieces of memory |
//! | [`SEGMENT_MEAN`](super::SEGMENT_MEAN) and the others | the processor's, f32 |
//!
//! All but the last take f16, bf16 and f32. Each has a stand-in on the processor for tests: [`super::stand_in_cuda`].

mod attention;
mod experts;
mod product;
mod rows;
mod segments;

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use half::{bf16, f16};
use ort::{
    Error, Result,
    operator::{ComputeContext, OperatorDomain},
    value::{PrimitiveTensorElementType, TensorElementType, TensorValueType, ValueRef},
};

use self::{
    attention::CudaAttention,
    experts::{CudaExperts, CudaRouted},
    product::CudaProduct,
    rows::{CudaAddNorm, CudaGate, CudaHeads},
    segments::CudaSegments,
};
use super::{gpu, operator::input};
use crate::{
    cuda::{CudaError, KernelHandle, Kernels, Products},
    onnx::Elem,
};

/// Names of the operators.
pub(crate) const PRODUCT: &str = "Product";
pub(crate) const WIDE_PRODUCT: &str = "WideProduct";
/// The processor's [`ATTENTION`](super::ATTENTION), its tables laid out otherwise: vectors of distances are (heads × columns ×
/// size), and none is scaled.
pub(crate) const DEVICE_ATTENTION: &str = "DeviceAttention";
pub(crate) const FINISHED_HEADS: &str = "FinishedHeads";
pub(crate) const GATE: &str = "Gate";
pub(crate) const ROUTED: &str = "RoutedExperts";
pub(crate) const EXPERTS: &str = "Experts";

#[cfg(test)]
pub(crate) use experts::{experts_place, routed_place};

/// Name of the operator that adds to the stream and norms it: of several with the same inputs, the one that gives `elem`.
pub(crate) fn add_norm(elem: Elem) -> &'static str {
    match elem {
        Elem::F16 => "AddNormF16",
        Elem::BF16 => "AddNormBf16",
        _ => "AddNormF32",
    }
}

/// Their attributes, beside those of attention.
pub(crate) mod attribute {
    /// What a product is multiplied by; 1 where it is missing.
    pub(crate) const FACTOR: &str = "factor";
    /// 1 where the weight is stored turned round.
    pub(crate) const TURNED: &str = "turned";
    /// Numbers of [`norm_code`](super::norm_code), of the stream and of what is given.
    pub(crate) const KIND: &str = "kind";
    pub(crate) const GIVEN_KIND: &str = "given_kind";
    /// Their epsilons.
    pub(crate) const EPS: &str = "eps";
    pub(crate) const GIVEN_EPS: &str = "given_eps";
    /// Number of an activation, as `Act` of `rows.cuh` has them.
    pub(crate) const ACT: &str = "act";
    /// 1 where the second half of a row is gated by the first.
    pub(crate) const GATED: &str = "gated";
    /// Experts that read a token.
    pub(crate) const CHOSEN: &str = "chosen";
}

/// Places of the inputs of [`add_norm`].
pub(crate) mod norm_place {
    pub(crate) const GIVEN: usize = 0;
    pub(crate) const SUM: usize = 1;
    pub(crate) const GIVEN_GAMMA: usize = 2;
    pub(crate) const GIVEN_BETA: usize = 3;
    pub(crate) const GAMMA: usize = 4;
    pub(crate) const BETA: usize = 5;
    /// How many there are.
    pub(crate) const ALL: usize = 6;
}

/// Norms as attributes and kernels number them.
pub(crate) mod norm_code {
    #[cfg(test)]
    pub(crate) const NOTHING: i64 = 0;
    pub(crate) const LAYER: i64 = 1;
    pub(crate) const RMS: i64 = 2;
}

/// A format that the operators take.
pub(in super::super) trait KernelNumber:
    PrimitiveTensorElementType + std::fmt::Debug + Copy + Send + Sync + 'static
{
    const ELEM: Elem;
    const TYPE: TensorElementType;
}

impl KernelNumber for f16 {
    const ELEM: Elem = Elem::F16;
    const TYPE: TensorElementType = TensorElementType::Float16;
}

impl KernelNumber for bf16 {
    const ELEM: Elem = Elem::BF16;
    const TYPE: TensorElementType = TensorElementType::Bfloat16;
}

impl KernelNumber for f32 {
    const ELEM: Elem = Elem::F32;
    const TYPE: TensorElementType = TensorElementType::Float32;
}

/// What the operators run on.
#[derive(Debug)]
pub(crate) struct OperatorGpu {
    pub(crate) products: Arc<Products>,
    pub(crate) kernels: Kernels,
}

/// Adds all of them.
pub(super) fn add(domain: OperatorDomain, gpu: &Arc<OperatorGpu>) -> Result<OperatorDomain> {
    let domain = add_format::<f16>(domain, gpu)?;
    let domain = add_format::<bf16>(domain, gpu)?;
    let domain = add_format::<f32>(domain, gpu)?;
    segments::ALL.into_iter().try_fold(domain, |domain, name| domain.add(CudaSegments { name, gpu: Arc::clone(gpu) }))
}

fn add_format<T: KernelNumber>(domain: OperatorDomain, gpu: &Arc<OperatorGpu>) -> Result<OperatorDomain> {
    let domain = domain.add(CudaProduct::<T>::new(gpu, false))?;
    let domain = if T::ELEM == Elem::F32 { domain } else { domain.add(CudaProduct::<T>::new(gpu, true))? };
    domain
        .add(CudaAttention::<T>::new(gpu))?
        .add(CudaHeads::<T>::new(gpu))?
        .add(CudaAddNorm::<T>::new(gpu))?
        .add(CudaGate::<T>::new(gpu))?
        .add(CudaRouted::<T>::new(gpu))?
        .add(CudaExperts::<T>::new(gpu))
}

/// Runs an operator's body; a panic that reached ONNX Runtime would end the process.
fn guarded(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(Error::new(format!("{name} panicked"))))
}

fn failed(error: &CudaError) -> Error {
    Error::new(error.to_string())
}

/// A tensor on the device: where it lies, and its shape.
struct DeviceTensor {
    at: *const c_void,
    shape: Vec<usize>,
}

impl DeviceTensor {
    fn of<T: PrimitiveTensorElementType + std::fmt::Debug>(value: ValueRef<'_>) -> Result<Self> {
        let tensor = value.downcast::<TensorValueType<T>>()?;
        let shape = tensor.shape().iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        Ok(Self { at: tensor.data_ptr(), shape })
    }

    /// Numbers in it.
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows and columns of a matrix.
    fn matrix(&self, operator: &str) -> Result<[usize; 2]> {
        match self.shape[..] {
            [rows, columns] if columns > 0 => Ok([rows, columns]),
            _ => Err(Error::new(format!("{operator}: {:?} is no matrix", self.shape))),
        }
    }
}

/// Input `i`, which must be there.
fn given<T: PrimitiveTensorElementType + std::fmt::Debug>(context: &ComputeContext, i: usize) -> Result<DeviceTensor> {
    DeviceTensor::of::<T>(input(context, i)?)
}

/// Input `i`, which may be left out.
fn maybe<T: PrimitiveTensorElementType + std::fmt::Debug>(
    context: &ComputeContext,
    i: usize,
) -> Result<Option<DeviceTensor>> {
    context.input(i)?.map(DeviceTensor::of::<T>).transpose()
}

/// Where an input lies; null where it is left out.
fn place_of(tensor: Option<&DeviceTensor>) -> *const c_void {
    tensor.map_or(std::ptr::null(), |t| t.at)
}

/// Where output `i` of this shape lies.
fn output<T: PrimitiveTensorElementType + std::fmt::Debug>(
    context: &ComputeContext,
    i: usize,
    shape: [usize; 2],
) -> Result<*mut c_void> {
    let value = context.output(i, shape)?.ok_or_else(|| Error::new(format!("output {i} is missing")))?;
    Ok(value.downcast::<TensorValueType<T>>()?.data_ptr().cast_mut())
}

/// A count as kernels take it.
fn int(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::new(format!("{n} is more than a kernel counts to")))
}

/// A kernel that is looked up when an operator runs for the first time.
fn once(
    slot: &mut Option<KernelHandle>,
    find: impl FnOnce() -> std::result::Result<KernelHandle, CudaError>,
) -> Result<KernelHandle> {
    match slot {
        Some(known) => Ok(*known),
        None => Ok(*slot.insert(find().map_err(|e| failed(&e))?)),
    }
}

/// The stream that an operator runs on.
fn stream(operator: &str, context: &ComputeContext) -> Result<*mut c_void> {
    gpu::stream(operator, context)
}
