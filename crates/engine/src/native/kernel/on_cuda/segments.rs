//! Rows of each sequence reduced to one, by our own kernel.

use std::sync::Arc;

use ort::{
    Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    super::{
        gpu::CUDA_PROVIDER,
        segments::{SEGMENT_MAX, SEGMENT_MEAN, SEGMENT_SUM, TWICE},
    },
    OperatorGpu, failed, given, guarded, int, once, output, stream,
};
use crate::cuda::{KernelHandle, Reduction, SegmentsLaunch};

/// Their names.
pub(super) const ALL: [&str; 3] = [SEGMENT_MEAN, SEGMENT_MAX, SEGMENT_SUM];

/// One of the processor's reductions on CUDA.
pub(super) struct CudaSegments {
    pub(super) name: &'static str,
    pub(super) gpu: Arc<OperatorGpu>,
}

impl Operator for CudaSegments {
    type Kernel<'attr> = CudaSegmentsKernel;

    fn name(&self) -> &str {
        self.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let reduction = match self.name {
            SEGMENT_MEAN => Reduction::Mean,
            SEGMENT_MAX => Reduction::Max,
            _ if context.get::<i64>(TWICE) == Some(1) => Reduction::LogLog,
            _ => Reduction::Log,
        };
        Ok(CudaSegmentsKernel { handle: None, name: self.name, gpu: Arc::clone(&self.gpu), reduction })
    }
}

pub(super) struct CudaSegmentsKernel {
    handle: Option<KernelHandle>,
    name: &'static str,
    gpu: Arc<OperatorGpu>,
    reduction: Reduction,
}

impl Kernel for CudaSegmentsKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(self.name, || {
            let (x, cumulative) = (given::<f32>(context, 0)?, given::<i32>(context, 1)?);
            let [_, width] = x.matrix(self.name)?;
            let sequences = cumulative.numbers().saturating_sub(1);
            let y = output::<f32>(context, 0, [sequences, width])?;
            if sequences == 0 {
                return Ok(());
            }
            let launch =
                SegmentsLaunch { x: x.at, cumulative: cumulative.at, y, width: int(width)?, reduction: self.reduction };
            let kernels = self.gpu.kernels;
            let kernel = once(&mut self.handle, || kernels.segments())?;
            let stream = stream(self.name, context)?;
            // SAFETY: as for every kernel of ONNX Runtime, of the sizes just checked.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe { kernels.reduce(kernel, &launch, sequences, stream) }.map_err(|e| failed(&e))
        })
    }
}
