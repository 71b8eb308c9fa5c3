//! Attention by our own kernels.

use std::{marker::PhantomData, sync::Arc};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    super::{
        gpu::CUDA_PROVIDER,
        packed_attention::{AttentionAttributes, place},
    },
    DEVICE_ATTENTION, KernelNumber, OperatorGpu, failed, given, guarded, int, maybe, once, output, place_of, stream,
};
use crate::{
    cuda::{AttentionLaunch, Depth, Extra, KernelHandle, SightCode},
    native::family::Sight,
};

/// The processor's attention on CUDA: see [`place`] for what it takes. Bias, rotation and norms are left out here; they come
/// before.
pub(super) struct CudaAttention<T> {
    gpu: Arc<OperatorGpu>,
    of: PhantomData<T>,
}

impl<T> CudaAttention<T> {
    pub(super) fn new(gpu: &Arc<OperatorGpu>) -> Self {
        Self { gpu: Arc::clone(gpu), of: PhantomData }
    }
}

impl<T: KernelNumber> Operator for CudaAttention<T> {
    type Kernel<'attr> = CudaAttentionKernel<T>;

    fn name(&self) -> &str {
        DEVICE_ATTENTION
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..place::ALL).map(|i| match i {
            place::QKV => OperatorInput::required(T::TYPE),
            place::CUMULATIVE => OperatorInput::required(Int32),
            place::KEYS | place::COLUMNS => OperatorInput::optional(Int32),
            place::BIAS | place::MET_BY_QUERIES | place::MET_BY_KEYS => OperatorInput::optional(T::TYPE),
            _ => OperatorInput::optional(Float32),
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(T::TYPE)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(CudaAttentionKernel {
            handle: None,
            gpu: Arc::clone(&self.gpu),
            attributes: AttentionAttributes::read(context)?,
            of: PhantomData,
        })
    }
}

pub(super) struct CudaAttentionKernel<T> {
    handle: Option<KernelHandle>,
    gpu: Arc<OperatorGpu>,
    attributes: AttentionAttributes,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaAttentionKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(DEVICE_ATTENTION, || self.attend(context))
    }
}

impl<T: KernelNumber> CudaAttentionKernel<T> {
    fn attend(&mut self, context: &ComputeContext) -> Result<()> {
        let bad = |what: &str| Err(Error::new(format!("{DEVICE_ATTENTION}: {what}")));
        if [place::BIAS, place::ROTATION, place::NORMS].iter().any(|&i| context.input(i).is_ok_and(|x| x.is_some())) {
            return bad("biases, rotations and norms come before it on CUDA");
        }
        let AttentionAttributes { heads, kv_heads, scale, sight, .. } = self.attributes;
        let (qkv, cumulative) = (given::<T>(context, place::QKV)?, given::<i32>(context, place::CUMULATIVE)?);
        let keys = maybe::<i32>(context, place::KEYS)?;
        let by_distance = maybe::<f32>(context, place::BY_DISTANCE)?;
        let met_by_queries = maybe::<T>(context, place::MET_BY_QUERIES)?;
        let met_by_keys = maybe::<T>(context, place::MET_BY_KEYS)?;
        let columns = maybe::<i32>(context, place::COLUMNS)?;
        let [tokens, width] = qkv.matrix(DEVICE_ATTENTION)?;
        let size = width / (heads + 2 * kv_heads);
        if size * (heads + 2 * kv_heads) != width {
            return bad("width is not that of its heads");
        }
        let sequences = cumulative.numbers().saturating_sub(1);
        if keys.as_ref().is_some_and(|keys| keys.numbers() != sequences) {
            return bad("numbers of keys are not one a sequence");
        }
        let table = met_by_queries.as_ref().or(met_by_keys.as_ref());
        let (extra, reach, vectors) = match (&by_distance, table, &columns) {
            (None, None, None) => (Extra::Nothing, 0, 0),
            (Some(numbers), None, None) if numbers.numbers() % heads == 0 => {
                (Extra::Numbers, numbers.numbers() / heads / 2, 0)
            }
            (None, Some(table), Some(columns)) if table.numbers() % (heads * size) == 0 => {
                (Extra::Vectors, columns.numbers() / 2, table.numbers() / (heads * size))
            }
            _ => return bad("tables of distances do not fit"),
        };
        let Some(depth) = Depth::of(size, extra) else {
            return bad("heads are larger than any kernel's");
        };
        let out = output::<T>(context, 0, [tokens, heads * size])?;
        if tokens == 0 || sequences == 0 {
            return Ok(());
        }
        let (sight, radius) = match sight {
            Sight::All => (SightCode::All, 0),
            Sight::Causal => (SightCode::Causal, 0),
            Sight::Window(radius) => (SightCode::Window, int(radius)?),
        };
        let launch = AttentionLaunch {
            qkv: qkv.at,
            out,
            cumulative: cumulative.at,
            keys: place_of(keys.as_ref()),
            by_distance: place_of(by_distance.as_ref()),
            met_by_queries: place_of(met_by_queries.as_ref()),
            met_by_keys: place_of(met_by_keys.as_ref()),
            columns: place_of(columns.as_ref()),
            tokens: int(tokens)?,
            sequences: int(sequences)?,
            heads: int(heads)?,
            kv_heads: int(kv_heads)?,
            size: int(size)?,
            sight,
            radius,
            reach: int(reach)?,
            vectors: int(vectors)?,
            scale: scale.unwrap_or_else(|| 1.0 / (size as f32).sqrt()),
        };
        let kernels = self.gpu.kernels;
        let kernel = once(&mut self.handle, || kernels.attention(T::ELEM, depth, extra))?;
        let stream = stream(DEVICE_ATTENTION, context)?;
        // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until the
        // stream is done with them, as for every kernel of ONNX Runtime.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { kernels.attend(kernel, T::ELEM, &launch, stream) }.map_err(|e| failed(&e))
    }
}
