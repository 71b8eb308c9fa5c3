//! Products with bias, and GELU, inside, done on the processor for tests: same names and inputs as
//! [`super::bias_gelu`]'s and [`super::query_key_value`]'s, so that a graph written for CUDA can be run without a GPU.
//! Sums in f64, rounded once.

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::Float16,
};

use super::{
    bias_gelu::BIAS_GELU,
    gpu,
    operator::input,
    query_key_value::{self, QUERY_KEY_VALUE},
    reserve::GAPS,
};
use crate::cuda::ProductSizes;

/// One of the two operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StandInProduct {
    BiasGelu,
    QueryKeyValue,
}

impl StandInProduct {
    fn operands(self) -> usize {
        if self == Self::BiasGelu { 3 } else { 3 + GAPS }
    }

    fn results(self) -> usize {
        if self == Self::BiasGelu { 1 } else { 3 }
    }
}

impl Operator for StandInProduct {
    type Kernel<'attr> = StandInProduct;

    fn name(&self) -> &str {
        match self {
            Self::BiasGelu => BIAS_GELU,
            Self::QueryKeyValue => QUERY_KEY_VALUE,
        }
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..self.operands()).map(|_| OperatorInput::required(Float16)).collect::<Vec<_>>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        (0..self.results()).map(|_| OperatorOutput::required(Float16)).collect::<Vec<_>>()
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(*self)
    }
}

impl Kernel for StandInProduct {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (x, weight, bias) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let up = |numbers: &[f16]| numbers.iter().map(|n| n.to_f64()).collect::<Vec<f64>>();
        let ((xs, x), (ws, weight), (bs, bias)) =
            (x.try_extract_tensor::<f16>()?, weight.try_extract_tensor::<f16>()?, bias.try_extract_tensor::<f16>()?);
        let sizes = match self {
            Self::BiasGelu => gpu::sizes(BIAS_GELU, xs, ws, bs),
            Self::QueryKeyValue => query_key_value::sizes(xs, ws, bs),
        };
        let ProductSizes { rows, inner, columns } = sizes.map_err(Error::new)?;
        let (x, weight, bias) = (up(x), up(weight), up(bias));
        // CUDA's adds them or not by where results lie.
        if *self == Self::QueryKeyValue && bias.iter().skip(columns).any(|b| *b != 0.0) {
            return Err(Error::new("keys and values have a bias"));
        }
        let each = weight.chunks_exact(inner * columns).zip(bias.chunks_exact(columns));
        for (i, (weight, bias)) in each.enumerate() {
            let mut y = context.output(i, [rows, columns])?.ok_or_else(|| Error::new("no output"))?;
            let (_, y) = y.try_extract_tensor_mut::<f16>()?;
            for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(columns)) {
                let mut sums = bias.to_vec();
                for (x, row) in x.iter().zip(weight.chunks_exact(columns)) {
                    sums.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
                }
                let last = |z| if *self == Self::BiasGelu { tanh_gelu(z) } else { z };
                y.iter_mut().zip(sums).for_each(|(y, z)| *y = f16::from_f64(last(z)));
            }
        }
        Ok(())
    }
}

/// `z/2 · (1 + tanh(√(2/π) · (z + 0.044715·z³)))`.
fn tanh_gelu(z: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3));
    0.5 * z * (1.0 + inner.tanh())
}
