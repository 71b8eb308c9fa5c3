//! Norms, gates, and heads normed and rotated, by our own kernels.

use std::{marker::PhantomData, ptr, sync::Arc};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    super::{gpu::CUDA_PROVIDER, packed_attention::AttentionAttributes},
    FINISHED_HEADS, GATE, KernelNumber, OperatorGpu, add_norm, attribute, failed, given, guarded, int, maybe,
    norm_code, norm_place, once, output, place_of, stream,
};
use crate::cuda::{GateLaunch, HeadsLaunch, KernelHandle, NormKernel, NormLaunch};

macro_rules! operator {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub(super) struct $name<T> {
            gpu: Arc<OperatorGpu>,
            of: PhantomData<T>,
        }

        impl<T> $name<T> {
            pub(super) fn new(gpu: &Arc<OperatorGpu>) -> Self {
                Self { gpu: Arc::clone(gpu), of: PhantomData }
            }
        }
    };
}

operator! {
    /// Adds to the stream, and norms it for the next part.
    CudaAddNorm
}
operator! {
    /// An activation, or a gate.
    CudaGate
}
operator! {
    /// Norms and rotates heads.
    CudaHeads
}

/// A norm by its number in an attribute.
fn norm_kind(context: &KernelContext<'_>, name: &str) -> NormKernel {
    match context.get::<i64>(name) {
        Some(norm_code::LAYER) => NormKernel::Layer,
        Some(norm_code::RMS) => NormKernel::Rms,
        _ => NormKernel::Nothing,
    }
}

impl<T: KernelNumber> Operator for CudaAddNorm<T> {
    type Kernel<'attr> = CudaAddNormKernel<T>;

    fn name(&self) -> &str {
        add_norm(T::ELEM)
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..norm_place::ALL).map(|i| {
            if i == norm_place::SUM { OperatorInput::required(Float32) } else { OperatorInput::optional(Float32) }
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32), OperatorOutput::required(T::TYPE)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(CudaAddNormKernel {
            handle: None,
            gpu: Arc::clone(&self.gpu),
            kind: norm_kind(context, attribute::KIND),
            given_kind: norm_kind(context, attribute::GIVEN_KIND),
            eps: context.get(attribute::EPS).unwrap_or(0.0),
            given_eps: context.get(attribute::GIVEN_EPS).unwrap_or(0.0),
            of: PhantomData,
        })
    }
}

pub(super) struct CudaAddNormKernel<T> {
    handle: Option<KernelHandle>,
    gpu: Arc<OperatorGpu>,
    kind: NormKernel,
    given_kind: NormKernel,
    eps: f32,
    given_eps: f32,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaAddNormKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let name = add_norm(T::ELEM);
        guarded(name, || {
            let sum = given::<f32>(context, norm_place::SUM)?;
            let [rows, width] = sum.matrix(name)?;
            let part = |i| maybe::<f32>(context, i);
            let (added, gamma, beta) = (part(norm_place::GIVEN)?, part(norm_place::GAMMA)?, part(norm_place::BETA)?);
            let (given_gamma, given_beta) = (part(norm_place::GIVEN_GAMMA)?, part(norm_place::GIVEN_BETA)?);
            let as_wide =
                [&gamma, &beta, &given_gamma, &given_beta].into_iter().flatten().all(|t| t.numbers() == width);
            let as_large = added.as_ref().is_none_or(|added| added.shape == sum.shape);
            let weighed = gamma.is_some() == (self.kind != NormKernel::Nothing)
                && given_gamma.is_some() == (self.given_kind != NormKernel::Nothing);
            if !as_wide || !as_large || !weighed {
                return Err(Error::new(format!(
                    "{name}: what is added or multiplied does not fit {rows} rows of {width}"
                )));
            }
            let (sum_out, read) = (output::<f32>(context, 0, [rows, width])?, output::<T>(context, 1, [rows, width])?);
            if rows == 0 {
                return Ok(());
            }
            let launch = NormLaunch {
                given: place_of(added.as_ref()),
                sum: sum.at,
                given_gamma: place_of(given_gamma.as_ref()),
                given_beta: place_of(given_beta.as_ref()),
                gamma: place_of(gamma.as_ref()),
                beta: place_of(beta.as_ref()),
                sum_out,
                read,
                width: int(width)?,
                kind: self.kind,
                given_kind: self.given_kind,
                eps: self.eps,
                given_eps: self.given_eps,
            };
            let kernels = self.gpu.kernels;
            let kernel = once(&mut self.handle, || kernels.norm(T::ELEM, width))?;
            let stream = stream(name, context)?;
            // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
            // the stream is done with them, as for every kernel of ONNX Runtime.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe { kernels.add_norm(kernel, &launch, rows, stream) }.map_err(|e| failed(&e))
        })
    }
}

impl<T: KernelNumber> Operator for CudaGate<T> {
    type Kernel<'attr> = CudaGateKernel<T>;

    fn name(&self) -> &str {
        GATE
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(T::TYPE)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(T::TYPE)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let act = context.get::<i64>(attribute::ACT).ok_or_else(|| Error::new("Gate has no attribute act"))?;
        Ok(CudaGateKernel {
            handle: None,
            gpu: Arc::clone(&self.gpu),
            act: int(usize::try_from(act).unwrap_or(usize::MAX))?,
            gated: context.get::<i64>(attribute::GATED) == Some(1),
            scale: context.get(attribute::FACTOR).unwrap_or(1.0),
            of: PhantomData,
        })
    }
}

pub(super) struct CudaGateKernel<T> {
    handle: Option<KernelHandle>,
    gpu: Arc<OperatorGpu>,
    act: i32,
    gated: bool,
    scale: f32,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaGateKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(GATE, || {
            let x = given::<T>(context, 0)?;
            let [rows, columns] = x.matrix(GATE)?;
            if self.gated && columns % 2 != 0 {
                return Err(Error::new(format!("{GATE}: {columns} columns are no two halves")));
            }
            let width = if self.gated { columns / 2 } else { columns };
            let y = output::<T>(context, 0, [rows, width])?;
            if rows == 0 {
                return Ok(());
            }
            let launch = GateLaunch {
                x: x.at,
                y,
                numbers: i64::try_from(rows * width).unwrap_or(i64::MAX),
                width: int(width)?,
                act: self.act,
                gated: self.gated.into(),
                scale: self.scale,
            };
            let kernels = self.gpu.kernels;
            let kernel = once(&mut self.handle, || kernels.gate(T::ELEM))?;
            let stream = stream(GATE, context)?;
            // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
            // the stream is done with them, as for every kernel of ONNX Runtime.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe { kernels.activate(kernel, T::ELEM, &launch, stream) }.map_err(|e| failed(&e))
        })
    }
}

/// Places of the inputs of [`FINISHED_HEADS`].
pub(crate) mod heads_place {
    pub(crate) const QKV: usize = 0;
    pub(crate) const CUMULATIVE: usize = 1;
    pub(crate) const ROTATION: usize = 2;
    pub(crate) const NORMS: usize = 3;
}

impl<T: KernelNumber> Operator for CudaHeads<T> {
    type Kernel<'attr> = CudaHeadsKernel<T>;

    fn name(&self) -> &str {
        FINISHED_HEADS
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(T::TYPE),
            OperatorInput::required(Int32),
            OperatorInput::optional(Float32),
            OperatorInput::optional(Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(T::TYPE)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(CudaHeadsKernel {
            handle: None,
            gpu: Arc::clone(&self.gpu),
            attributes: AttentionAttributes::read(context)?,
            of: PhantomData,
        })
    }
}

pub(super) struct CudaHeadsKernel<T> {
    handle: Option<KernelHandle>,
    gpu: Arc<OperatorGpu>,
    attributes: AttentionAttributes,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaHeadsKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(FINISHED_HEADS, || {
            let (qkv, cumulative) =
                (given::<T>(context, heads_place::QKV)?, given::<i32>(context, heads_place::CUMULATIVE)?);
            let rotation = maybe::<f32>(context, heads_place::ROTATION)?;
            let norms = maybe::<f32>(context, heads_place::NORMS)?;
            let AttentionAttributes { heads, kv_heads, norm_eps, .. } = self.attributes;
            let [tokens, width] = qkv.matrix(FINISHED_HEADS)?;
            let size = width / (heads + 2 * kv_heads);
            let positions = rotation.as_ref().map_or(0, |table| table.numbers() / size.max(1));
            let whole = size * (heads + 2 * kv_heads) == width
                && norms.as_ref().is_none_or(|norms| norms.numbers() == 2 * size)
                && rotation.as_ref().is_none_or(|table| size % 2 == 0 && table.numbers() == positions * size);
            if !whole {
                return Err(Error::new(format!("{FINISHED_HEADS}: tables do not fit heads of {size}")));
            }
            let out = output::<T>(context, 0, [tokens, width])?;
            let sequences = cumulative.numbers().saturating_sub(1);
            if tokens == 0 || sequences == 0 {
                return Ok(());
            }
            let launch = HeadsLaunch {
                qkv: qkv.at,
                out,
                cumulative: cumulative.at,
                rotation: rotation.map_or(ptr::null(), |t| t.at),
                norms: norms.map_or(ptr::null(), |t| t.at),
                sequences: int(sequences)?,
                heads: int(heads)?,
                kv_heads: int(kv_heads)?,
                size: int(size)?,
                positions: int(positions)?,
                eps: norm_eps,
            };
            let kernels = self.gpu.kernels;
            let kernel = once(&mut self.handle, || kernels.heads(T::ELEM))?;
            let stream = stream(FINISHED_HEADS, context)?;
            // SAFETY: as for every kernel of ONNX Runtime, of the sizes just checked.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe { kernels.finish_heads(kernel, &launch, tokens, stream) }.map_err(|e| failed(&e))
        })
    }
}
