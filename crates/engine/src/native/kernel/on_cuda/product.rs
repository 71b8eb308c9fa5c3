//! Products of any format by cublasLt.

use std::{ffi::c_void, marker::PhantomData, sync::Arc};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::Float32,
};

use super::{
    super::gpu::CUDA_PROVIDER, KernelNumber, OperatorGpu, PRODUCT, WIDE_PRODUCT, attribute, failed, given, guarded,
    int, maybe, once, output, place_of, stream,
};
use crate::{
    cuda::{DotsLaunch, FEW_COLUMNS, Formats, KernelHandle, Operands, ProductSizes},
    onnx::Elem,
};

/// `factor·x·weight + bias`.
pub(super) struct CudaProduct<T> {
    gpu: Arc<OperatorGpu>,
    wide: bool,
    of: PhantomData<T>,
}

impl<T> CudaProduct<T> {
    pub(super) fn new(gpu: &Arc<OperatorGpu>, wide: bool) -> Self {
        Self { gpu: Arc::clone(gpu), wide, of: PhantomData }
    }
}

impl<T: KernelNumber> Operator for CudaProduct<T> {
    type Kernel<'attr> = CudaProductKernel<T>;

    fn name(&self) -> &str {
        if self.wide { WIDE_PRODUCT } else { PRODUCT }
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let bias = if self.wide { Float32 } else { T::TYPE };
        [OperatorInput::required(T::TYPE), OperatorInput::required(T::TYPE), OperatorInput::optional(bias)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(if self.wide { Float32 } else { T::TYPE })]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let factor = context.get(attribute::FACTOR).unwrap_or(1.0);
        let turned = context.get::<i64>(attribute::TURNED) == Some(1);
        Ok(CudaProductKernel {
            gpu: Arc::clone(&self.gpu),
            wide: self.wide,
            factor,
            turned,
            few: None,
            of: PhantomData,
        })
    }
}

pub(super) struct CudaProductKernel<T> {
    gpu: Arc<OperatorGpu>,
    wide: bool,
    factor: f32,
    turned: bool,
    few: Option<KernelHandle>,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaProductKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(PRODUCT, || {
            let (x, weight) = (given::<T>(context, 0)?, given::<T>(context, 1)?);
            let bias = if self.wide { maybe::<f32>(context, 2)? } else { maybe::<T>(context, 2)? };
            let ([rows, inner], stored) = (x.matrix(PRODUCT)?, weight.matrix(PRODUCT)?);
            let [from, columns] = if self.turned { [stored[1], stored[0]] } else { stored };
            if from != inner || bias.as_ref().is_some_and(|bias| bias.numbers() != columns) {
                return Err(Error::new(format!("{PRODUCT}: {:?}·{:?} does not fit", x.shape, weight.shape)));
            }
            let shape = [rows, columns];
            let y = if self.wide { output::<f32>(context, 0, shape)? } else { output::<T>(context, 0, shape)? };
            if rows == 0 {
                return Ok(());
            }
            let formats = Formats { from: T::ELEM, to: if self.wide { Elem::F32 } else { T::ELEM } };
            let at = Operands { factor: self.factor, x: x.at, weight: weight.at, bias: place_of(bias.as_ref()), y };
            let stream = stream(PRODUCT, context)?;
            if T::ELEM == Elem::F32 && columns <= FEW_COLUMNS && !self.turned {
                return self.few_columns(&at, [rows, inner, columns], stream);
            }
            // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
            // the stream is done with them, as for every kernel of ONNX Runtime; a session runs on one stream.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe {
                self.gpu.products.product(ProductSizes { rows, inner, columns }, formats, self.turned, at, stream)
            }
            .map_err(|e| failed(&e))
        })
    }
}

impl<T: KernelNumber> CudaProductKernel<T> {
    /// The last product of a head, by our own kernel.
    fn few_columns(&mut self, at: &Operands, [rows, inner, columns]: [usize; 3], stream: *mut c_void) -> Result<()> {
        let kernels = self.gpu.kernels;
        let kernel = once(&mut self.few, || kernels.dots())?;
        let launch = DotsLaunch {
            x: at.x,
            weight: at.weight,
            bias: at.bias,
            y: at.y,
            inner: int(inner)?,
            columns: int(columns)?,
            factor: at.factor,
        };
        // SAFETY: as for cublasLt's, in f32.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { kernels.multiply(kernel, &launch, rows, stream) }.map_err(|e| failed(&e))
    }
}
