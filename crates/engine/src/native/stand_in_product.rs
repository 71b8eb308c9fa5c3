//! The product with bias and GELU inside, done on the processor for tests: same name and inputs as
//! [`super::product`]'s, so that a graph written for CUDA can be run without a GPU. Sums in f64, rounded once.

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::Float16,
};

use super::{
    operators::input,
    product::{BIAS_GELU, sizes},
};

pub(super) struct StandInProduct;

impl Operator for StandInProduct {
    type Kernel<'attr> = StandInProductKernel;

    fn name(&self) -> &str {
        BIAS_GELU
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float16), OperatorInput::required(Float16), OperatorInput::required(Float16)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float16)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(StandInProductKernel)
    }
}

pub(super) struct StandInProductKernel;

impl Kernel for StandInProductKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (x, weight, bias) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let up = |numbers: &[f16]| numbers.iter().map(|n| n.to_f64()).collect::<Vec<f64>>();
        let ((xs, x), (ws, weight), (bs, bias)) =
            (x.try_extract_tensor::<f16>()?, weight.try_extract_tensor::<f16>()?, bias.try_extract_tensor::<f16>()?);
        let sizes = sizes(xs, ws, bs).map_err(Error::new)?;
        let (x, weight, bias) = (up(x), up(weight), up(bias));
        let mut y = context.output(0, [sizes.rows, sizes.columns])?.ok_or_else(|| Error::new("no output"))?;
        let (_, y) = y.try_extract_tensor_mut::<f16>()?;
        for (x, y) in x.chunks_exact(sizes.inner).zip(y.chunks_exact_mut(sizes.columns)) {
            let mut sums = bias.clone();
            for (x, row) in x.iter().zip(weight.chunks_exact(sizes.columns)) {
                sums.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
            }
            y.iter_mut().zip(sums).for_each(|(y, z)| *y = f16::from_f64(tanh_gelu(z)));
        }
        Ok(())
    }
}

/// `z/2 · (1 + tanh(√(2/π) · (z + 0.044715·z³)))`.
fn tanh_gelu(z: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3));
    0.5 * z * (1.0 + inner.tanh())
}
