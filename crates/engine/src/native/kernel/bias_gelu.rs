//! The operator that runs a product with bias and GELU as one kernel on CUDA:
//! x (rows × inner), weight (inner × columns), bias (columns), all f16
//! → gelu(x·weight + bias) in f16, sums and GELU in f32, GELU in its tanh form.
//!
//! See [`super::gpu`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::{TensorElementType::Float16, TensorValueType},
};

use super::{
    gpu::{CUDA_PROVIDER, aligned, sizes, stream},
    operator::input,
};
use crate::cuda::{Operands, Products};

/// Name of the operator.
pub(crate) const BIAS_GELU: &str = "MatMulBiasGelu";

/// The operator, running on `products`.
pub(super) struct BiasGelu {
    pub(super) products: Arc<Products>,
}

impl Operator for BiasGelu {
    type Kernel<'attr> = BiasGeluKernel;

    fn name(&self) -> &str {
        BIAS_GELU
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float16), OperatorInput::required(Float16), OperatorInput::required(Float16)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float16)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(BiasGeluKernel { products: Arc::clone(&self.products) })
    }
}

pub(super) struct BiasGeluKernel {
    products: Arc<Products>,
}

impl Kernel for BiasGeluKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        // A panic that reached ONNX Runtime would end the process.
        catch_unwind(AssertUnwindSafe(|| self.multiply(context)))
            .unwrap_or_else(|_| Err(Error::new(format!("{BIAS_GELU} panicked"))))
    }
}

impl BiasGeluKernel {
    fn multiply(&self, context: &ComputeContext) -> Result<()> {
        let tensor = |i| input(context, i)?.downcast::<TensorValueType<f16>>();
        let (x, weight, bias) = (tensor(0)?, tensor(1)?, tensor(2)?);
        let sizes = sizes(BIAS_GELU, x.shape(), weight.shape(), bias.shape()).map_err(Error::new)?;
        let y = context.output(0, [sizes.rows, sizes.columns])?.ok_or_else(|| Error::new("no output"))?;
        let y = y.downcast::<TensorValueType<f16>>()?;
        let at = Operands {
            factor: 1.0,
            x: x.data_ptr(),
            weight: weight.data_ptr(),
            bias: bias.data_ptr(),
            y: y.data_ptr().cast_mut(),
        };
        aligned(BIAS_GELU, [at.x, at.weight, at.bias, at.y.cast_const()])?;
        let stream = stream(BIAS_GELU, context)?;
        // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
        // the stream is done with them, as for every kernel of ONNX Runtime; a session runs on one stream.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { self.products.bias_gelu(sizes, at, stream) }.map_err(|e| Error::new(e.to_string()))
    }
}
