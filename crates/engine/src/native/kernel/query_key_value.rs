//! The operator that makes queries, keys and values on CUDA, each a matrix of its own:
//! x (rows × inner), weight (3 × inner × columns), bias (3 × columns) and what
//! [`super::reserve`] gives, all f16 → `x·weight₀ + bias₀`, `x·weight₁`, `x·weight₂`, each
//! (rows × columns), sums in f32. The other two rows of the bias are zeros: [`graph::self_attention`](super::super::graph::self_attention)
//! says why none is needed.
//!
//! ONNX Runtime's packed attention takes three matrices without bias as they are. One matrix
//! with a bias, which one product would give, it first takes apart: as many bytes read and
//! written again, a tenth of a layer's time.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
};

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::{TensorElementType::Float16, TensorValueType},
};

use super::{
    super::family::Encoder,
    gpu::{self, CUDA_PROVIDER},
    operator::input,
    reserve::GAPS,
};
use crate::cuda::{Operands, ProductSizes, Products, TOGETHER};

/// Name of the operator.
pub(crate) const QUERY_KEY_VALUE: &str = "QueryKeyValue";

/// Head sizes that every attention kernel of ONNX Runtime which takes three matrices as they are can do.
const HEAD_STEP: usize = 8;

/// Whether the layers of an encoder can have it.
pub(crate) fn takes(e: &Encoder) -> bool {
    e.plain_heads().is_some_and(|heads| takes_heads(e.hidden, heads))
}

fn takes_heads(hidden: usize, heads: usize) -> bool {
    gpu::takes(hidden, hidden) && (hidden / heads.max(1)).is_multiple_of(HEAD_STEP)
}

/// The operator, running on `products`.
pub(super) struct QueryKeyValue {
    pub(super) products: Arc<Products>,
}

impl Operator for QueryKeyValue {
    type Kernel<'attr> = QueryKeyValueKernel;

    fn name(&self) -> &str {
        QUERY_KEY_VALUE
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..3 + GAPS).map(|_| OperatorInput::required(Float16))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        (0..TOGETHER).map(|_| OperatorOutput::required(Float16))
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(QueryKeyValueKernel { products: Arc::clone(&self.products) })
    }
}

pub(super) struct QueryKeyValueKernel {
    products: Arc<Products>,
}

impl Kernel for QueryKeyValueKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        // A panic that reached ONNX Runtime would end the process.
        catch_unwind(AssertUnwindSafe(|| self.multiply(context)))
            .unwrap_or_else(|_| Err(Error::new(format!("{QUERY_KEY_VALUE} panicked"))))
    }
}

impl QueryKeyValueKernel {
    fn multiply(&self, context: &ComputeContext) -> Result<()> {
        let tensor = |i| input(context, i)?.downcast::<TensorValueType<f16>>();
        let (x, weight, bias) = (tensor(0)?, tensor(1)?, tensor(2)?);
        let sizes = sizes(x.shape(), weight.shape(), bias.shape()).map_err(Error::new)?;
        let mut ys = [ptr::null_mut::<c_void>(); TOGETHER];
        for (i, y) in ys.iter_mut().enumerate() {
            let given = context.output(i, [sizes.rows, sizes.columns])?.ok_or_else(|| Error::new("no output"))?;
            *y = given.downcast::<TensorValueType<f16>>()?.data_ptr().cast_mut();
        }
        let at = Operands {
            factor: 1.0,
            x: x.data_ptr(),
            weight: weight.data_ptr(),
            bias: bias.data_ptr(),
            y: ptr::null_mut(),
        };
        let all = [at.x, at.weight, at.bias].into_iter().chain(ys.iter().map(|y| y.cast_const()));
        gpu::aligned(QUERY_KEY_VALUE, all)?;
        let stream = gpu::stream(QUERY_KEY_VALUE, context)?;
        // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
        // the stream is done with them, as for every kernel of ONNX Runtime; a session runs on one stream.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { self.products.query_key_value(sizes, at, ys, stream) }.map_err(|e| Error::new(e.to_string()))
    }
}

/// The sizes of each product, from the operands' shapes.
pub(super) fn sizes(x: &[i64], weight: &[i64], bias: &[i64]) -> Result<ProductSizes, String> {
    match (weight, bias) {
        (&[count, inner, columns], &[biases, width]) if count == TOGETHER as i64 && biases == count => {
            gpu::sizes(QUERY_KEY_VALUE, x, &[inner, columns], &[width])
        }
        _ => Err(format!("{QUERY_KEY_VALUE}: weights {weight:?} and biases {bias:?} are not those of three products")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_must_fit() {
        let fits = sizes(&[5, 64], &[3, 64, 64], &[3, 64]).unwrap();
        assert_eq!(fits, ProductSizes { rows: 5, inner: 64, columns: 64 });
        for (x, w, b) in [
            (&[5, 64][..], &[3, 32, 64][..], &[3, 64][..]),
            (&[5, 64], &[3, 64, 64], &[192]),
            (&[5, 64], &[64, 192], &[3, 64]),
            (&[5, 64], &[2, 64, 64], &[2, 64]),
            (&[0, 64], &[3, 64, 64], &[3, 64]),
        ] {
            assert!(sizes(x, w, b).is_err(), "{x:?} {w:?} {b:?}");
        }
    }

    #[test]
    fn heads_that_no_kernel_takes_apart_are_left_to_one_product() {
        assert!(takes_heads(384, 12) && takes_heads(64, 8));
        // Heads of 12, of 20, and rows that would not be aligned.
        assert!(!takes_heads(48, 4) && !takes_heads(80, 4) && !takes_heads(36, 1));
    }
}
