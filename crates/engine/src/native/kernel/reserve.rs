//! The operator that keeps gaps in the memory of ONNX Runtime's arena occupied:
//! x (rows × columns) → [`GAPS`] results of that size, or of one row where x has more than [`FEW_ROWS`], f16, which
//! nobody writes or reads.
//!
//! Queries, keys and values of few rows are made by one launch where they follow each other in memory. The
//! arena gives the smallest gap that is large enough, and what ran before leaves some of just that
//! size behind: results would lie in them, away from each other. This takes these gaps before, and they are free again
//! after. It computes nothing; where results lie apart all the same they take two launches or three.

use std::panic::{AssertUnwindSafe, catch_unwind};

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::{TensorElementType::Float16, TensorValueType},
};

use super::operator::input;
use crate::cuda::FEW_ROWS;

/// Name of the operator.
pub(crate) const RESERVE: &str = "Reserve";

/// Gaps that are taken: one was seen in a warm arena, two or three where layers of other shapes had left theirs.
pub(crate) const GAPS: usize = 4;

/// Rows of a gap for `rows` rows: of many, which are never made by one launch, none is worth the memory.
fn gap(rows: i64) -> i64 {
    if rows > FEW_ROWS as i64 { 1 } else { rows }
}

/// The operator.
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
            let rows = gap(rows);
            (0..GAPS)
                .try_for_each(|i| context.output(i, [rows, columns])?.map(drop).ok_or_else(|| Error::new("no output")))
        }))
        .unwrap_or_else(|_| Err(Error::new(format!("{RESERVE} panicked"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_taken_for_few_rows_alone() {
        let few = FEW_ROWS as i64;
        assert_eq!([1, 128, few, few + 1, 32_182].map(gap), [1, 128, few, 1, 1]);
    }
}
