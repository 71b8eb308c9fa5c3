//! The operators that make queries, keys and values on CUDA, each a matrix of its own.
//!
//! `QueryKeyValue`: x (rows × inner), weight (3 × inner × columns), bias (3 × columns) and
//! what [`Reserve`] gives, all f16 → three of (rows × columns), `x·weightᵢ + biasᵢ`, sums in f32.
//! The second and third bias are zeros: see [`super::self_attention`].
//!
//! ONNX Runtime's packed attention takes three matrices without bias as they are. One matrix
//! with a bias, which one product would give, it first takes apart: as many bytes read and
//! written again, a tenth of a layer's time.
//!
//! Three results of few rows that follow each other in memory are written by one launch. ONNX Runtime's
//! arena gives the smallest gap that is large enough, and what ran before leaves some of just that
//! size behind: results would lie in them, away from each other. `Reserve` takes these gaps before,
//! and they are free again after. It computes nothing. Where results lie apart all the same it is two launches.

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
    arch::Encoder,
    operators::input,
    product::{self, CUDA_PROVIDER},
};
use crate::cuda::{FEW_ROWS, Operands, Products, Sizes, TOGETHER};

/// Name of the operator that makes them.
pub(crate) const QUERY_KEY_VALUE: &str = "QueryKeyValue";
/// Name of the operator that keeps gaps in memory occupied.
pub(crate) const RESERVE: &str = "Reserve";
/// How many: one was seen in a warm arena, two or three where layers of other shapes had left theirs.
pub(crate) const GAPS: usize = 4;

/// Head sizes that every attention kernel of ONNX Runtime which takes three matrices as they are can do.
const HEAD_STEP: usize = 8;

/// Whether the layers of an encoder can have it.
pub(crate) fn takes(e: &Encoder) -> bool {
    product::takes(e.hidden, e.hidden) && (e.hidden / e.heads.max(1)).is_multiple_of(HEAD_STEP)
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
        let at = Operands { x: x.data_ptr(), weight: weight.data_ptr(), bias: bias.data_ptr(), y: ptr::null_mut() };
        let all = [at.x, at.weight, at.bias].into_iter().chain(ys.iter().map(|y| y.cast_const()));
        product::aligned(QUERY_KEY_VALUE, all)?;
        let stream = product::stream(QUERY_KEY_VALUE, context)?;
        // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
        // the stream is done with them, as for every kernel of ONNX Runtime; a session runs on one stream.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe { self.products.query_key_value(sizes, at, ys, stream) }.map_err(|e| Error::new(e.to_string()))
    }
}

/// x (rows × columns) → [`GAPS`] results of that size that nobody writes or reads; of one row where x has many.
pub(super) struct Reserve {
    /// Where it runs; the processor if nothing is said.
    pub(super) provider: Option<&'static str>,
}

impl Operator for Reserve {
    type Kernel<'attr> = ReserveKernel;

    fn name(&self) -> &str {
        RESERVE
    }

    fn execution_provider_type(&self) -> Option<&str> {
        self.provider
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float16)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        (0..GAPS).map(|_| OperatorOutput::required(Float16))
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(ReserveKernel)
    }
}

pub(super) struct ReserveKernel;

impl Kernel for ReserveKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        // A panic that reached ONNX Runtime would end the process.
        catch_unwind(AssertUnwindSafe(|| {
            let x = input(context, 0)?.downcast::<TensorValueType<f16>>()?;
            let &[rows, columns] = &x.shape()[..] else { return Err(Error::new("a matrix is expected")) };
            let rows = if rows > FEW_ROWS as i64 { 1 } else { rows };
            (0..GAPS)
                .try_for_each(|i| context.output(i, [rows, columns])?.map(drop).ok_or_else(|| Error::new("no output")))
        }))
        .unwrap_or_else(|_| Err(Error::new(format!("{RESERVE} panicked"))))
    }
}

/// The sizes of each product, from the operands' shapes.
pub(super) fn sizes(x: &[i64], weight: &[i64], bias: &[i64]) -> Result<Sizes, String> {
    match (weight, bias) {
        (&[count, inner, columns], &[biases, width]) if count == TOGETHER as i64 && biases == count => {
            product::sizes(x, &[inner, columns], &[width])
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
        assert_eq!(fits, Sizes { rows: 5, inner: 64, columns: 64 });
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
}
