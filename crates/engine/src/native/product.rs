//! The operator that runs a product with bias and GELU as one kernel on CUDA:
//! x (rows × inner), weight (inner × columns), bias (columns), all f16
//! → gelu(x·weight + bias) in f16, sums and GELU in f32, GELU in its tanh form.
//!
//! ONNX Runtime places it on its CUDA provider, hands it device memory and the stream its
//! own kernels run on. A session whose graph names it must be given its [`domain`].

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::{TensorElementType::Float16, TensorValueType},
};

use super::{
    builder::SORTIE,
    operators::input,
    projection::{QueryKeyValue, Reserve},
};
use crate::cuda::{ALIGNED, Operands, Products, Sizes};

/// Name of the operator.
pub(crate) const BIAS_GELU: &str = "MatMulBiasGelu";

/// ONNX Runtime's name for its CUDA provider.
pub(super) const CUDA_PROVIDER: &str = "CUDAExecutionProvider";

/// Whether a product of these sizes keeps every row of its matrices aligned.
pub(crate) fn takes(inner: usize, columns: usize) -> bool {
    [inner, columns].iter().all(|n| n % (ALIGNED / size_of::<f16>()) == 0)
}

/// The domain with this operator and [`super::projection`]'s, running on `products`.
pub(crate) fn domain(products: Products) -> Result<OperatorDomain> {
    let products = Arc::new(products);
    OperatorDomain::new(SORTIE)?
        .add(BiasGelu { products: Arc::clone(&products) })?
        .add(QueryKeyValue { products })?
        .add(Reserve { provider: Some(CUDA_PROVIDER) })
}

struct BiasGelu {
    products: Arc<Products>,
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

struct BiasGeluKernel {
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
        let sizes = sizes(x.shape(), weight.shape(), bias.shape()).map_err(Error::new)?;
        let y = context.output(0, [sizes.rows, sizes.columns])?.ok_or_else(|| Error::new("no output"))?;
        let y = y.downcast::<TensorValueType<f16>>()?;
        let at =
            Operands { x: x.data_ptr(), weight: weight.data_ptr(), bias: bias.data_ptr(), y: y.data_ptr().cast_mut() };
        aligned(BIAS_GELU, [at.x, at.weight, at.bias, at.y.cast_const()])?;
        let stream = stream(BIAS_GELU, context)?;
        // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
        // the stream is done with them, as for every kernel of ONNX Runtime; a session runs on one stream.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { self.products.bias_gelu(sizes, at, stream) }.map_err(|e| Error::new(e.to_string()))
    }
}

/// Whether tensors lie as kernels of cublasLt want them.
pub(super) fn aligned(operator: &str, tensors: impl IntoIterator<Item = *const c_void>) -> Result<()> {
    let aligned = |p: *const c_void| !p.is_null() && p.addr().is_multiple_of(ALIGNED);
    if tensors.into_iter().all(aligned) {
        Ok(())
    } else {
        Err(Error::new(format!("{operator}: a tensor is not aligned")))
    }
}

/// The stream that ONNX Runtime's own kernels run on.
pub(super) fn stream(operator: &str, context: &ComputeContext) -> Result<*mut c_void> {
    // Without one it would run on CUDA's default stream, unordered with ONNX Runtime's own kernels.
    let stream = context.stream()?.ok_or_else(|| Error::new(format!("{operator}: no stream")))?;
    Ok(stream.as_ptr().cast())
}

/// The sizes of a product, from its operands' shapes.
pub(super) fn sizes(x: &[i64], weight: &[i64], bias: &[i64]) -> Result<Sizes, String> {
    match (x, weight, bias) {
        (&[rows, inner], &[from, columns], &[width])
            if from == inner && width == columns && [rows, inner, columns].iter().all(|&n| n > 0) =>
        {
            Ok(Sizes { rows: rows as usize, inner: inner as usize, columns: columns as usize })
        }
        _ => Err(format!("{BIAS_GELU}: {x:?}·{weight:?} + {bias:?} does not fit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_must_fit() {
        assert_eq!(sizes(&[5, 64], &[64, 160], &[160]).unwrap(), Sizes { rows: 5, inner: 64, columns: 160 });
        for (x, w, b) in [
            (&[5, 64][..], &[32, 160][..], &[160][..]),
            (&[5, 64], &[64, 160], &[64]),
            (&[5, 64, 1], &[64, 160], &[160]),
            (&[0, 64], &[64, 160], &[160]),
            (&[5, 64], &[64, 160], &[1, 160]),
        ] {
            assert!(sizes(x, w, b).is_err(), "{x:?} {w:?} {b:?}");
        }
    }

    #[test]
    fn rows_that_would_not_be_aligned_are_left_to_onnx_runtime() {
        assert!(takes(384, 1536) && takes(64, 160));
        assert!(!takes(384, 1532) && !takes(36, 64));
    }
}
