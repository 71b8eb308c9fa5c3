//! The Dense module of sentence-transformers: `y = f(W x + b)`, with a residual `y + x` or `y + R x` where the folder
//! has one.

use super::{activation::sigmoid, dot::dot};
use crate::item::ItemFault;

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenseActivation {
    /// Nothing.
    Identity,
    /// tanh.
    Tanh,
    /// max(0, x).
    Relu,
    /// x Φ(x), by the error function.
    Gelu,
    /// x σ(x).
    Silu,
    /// σ(x).
    Sigmoid,
    /// x where it is above zero, a hundredth of it else.
    LeakyRelu,
    /// x where it is above zero, eˣ − 1 else.
    Elu,
}

/// One dense layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dense {
    /// Length of the vectors it takes.
    pub(crate) inputs: usize,
    /// Length of the vectors it gives.
    pub(crate) outputs: usize,
    /// Row-major (outputs × inputs).
    pub(crate) weight: Vec<f32>,
    /// One number an output.
    pub(crate) bias: Option<Vec<f32>>,
    /// What follows the product.
    pub(crate) activation: DenseActivation,
    /// What is added last.
    pub(crate) residual: Residual,
}

/// What a dense layer adds to its result.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Residual {
    /// Nothing.
    #[default]
    None,
    /// Its input, which has as many numbers as its result.
    Input,
    /// A product of its input: row-major (outputs × inputs).
    Product(Vec<f32>),
}

impl Dense {
    /// Applies the layer to a vector of `inputs` numbers.
    ///
    /// # Errors
    /// When the vector has another length.
    pub(crate) fn apply(&self, x: &[f32]) -> Result<Vec<f32>, ItemFault> {
        if x.len() != self.inputs || self.inputs == 0 {
            return Err(ItemFault::Run(format!(
                "a dense layer takes {} numbers, it was given {}",
                self.inputs,
                x.len()
            )));
        }
        let bias = |i: usize| self.bias.as_ref().and_then(|b| b.get(i)).copied().unwrap_or(0.0);
        let rows = self.weight.chunks_exact(self.inputs).take(self.outputs);
        let mut y: Vec<f32> = rows.enumerate().map(|(i, row)| self.activation.of(dot(row, x) + bias(i))).collect();
        match &self.residual {
            Residual::None => {}
            Residual::Input => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
            Residual::Product(weight) => {
                y.iter_mut().zip(weight.chunks_exact(self.inputs)).for_each(|(y, row)| *y += dot(row, x));
            }
        }
        Ok(y)
    }
}

impl DenseActivation {
    /// By torch's class path, for example `torch.nn.modules.activation.Tanh`, with torch's default arguments.
    pub(crate) fn named(path: &str) -> Option<Self> {
        let name = path.strip_prefix("torch.nn.")?.rsplit('.').next()?;
        Some(match name {
            "Identity" => DenseActivation::Identity,
            "Tanh" => DenseActivation::Tanh,
            "ReLU" => DenseActivation::Relu,
            "GELU" => DenseActivation::Gelu,
            "SiLU" => DenseActivation::Silu,
            "Sigmoid" => DenseActivation::Sigmoid,
            "LeakyReLU" => DenseActivation::LeakyRelu,
            "ELU" => DenseActivation::Elu,
            _ => return None,
        })
    }

    fn of(self, x: f32) -> f32 {
        match self {
            DenseActivation::Identity => x,
            DenseActivation::Tanh => x.tanh(),
            // Not f32::max, which would hide a NaN.
            DenseActivation::Relu if x < 0.0 => 0.0,
            DenseActivation::Relu => x,
            DenseActivation::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            DenseActivation::Silu => x * sigmoid(x),
            DenseActivation::Sigmoid => sigmoid(x),
            DenseActivation::LeakyRelu if x < 0.0 => 0.01 * x,
            DenseActivation::Elu if x < 0.0 => x.exp_m1(),
            DenseActivation::LeakyRelu | DenseActivation::Elu => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer() -> impl Strategy<Value = (Dense, Vec<f32>)> {
        (1usize..40, 1usize..6).prop_flat_map(|(inputs, outputs)| {
            let of = |n| prop::collection::vec(-3f32..3.0, n..=n);
            let activation = prop::sample::select(vec![
                DenseActivation::Identity,
                DenseActivation::Tanh,
                DenseActivation::Relu,
                DenseActivation::Gelu,
                DenseActivation::Silu,
                DenseActivation::Sigmoid,
                DenseActivation::LeakyRelu,
                DenseActivation::Elu,
            ]);
            (of(inputs * outputs), prop::option::of(of(outputs)), of(inputs), activation).prop_map(
                move |(weight, bias, x, activation)| {
                    (Dense { inputs, outputs, weight, bias, activation, residual: Residual::None }, x)
                },
            )
        })
    }

    proptest! {
        #[test]
        fn is_the_plain_product((dense, x) in layer()) {
            let y = dense.apply(&x).unwrap();
            prop_assert_eq!(y.len(), dense.outputs);
            for (o, &y) in y.iter().enumerate() {
                let z: f64 = (0..dense.inputs).map(|i| f64::from(dense.weight[o * dense.inputs + i]) * f64::from(x[i])).sum::<f64>()
                    + dense.bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
                let want = match dense.activation {
                    DenseActivation::Identity => z,
                    DenseActivation::Tanh => z.tanh(),
                    DenseActivation::Relu => z.max(0.0),
                    DenseActivation::Gelu => 0.5 * z * (1.0 + libm::erf(z / 2f64.sqrt())),
                    DenseActivation::Silu => z / (1.0 + (-z).exp()),
                    DenseActivation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
                    DenseActivation::LeakyRelu => if z < 0.0 { 0.01 * z } else { z },
                    DenseActivation::Elu => if z < 0.0 { z.exp() - 1.0 } else { z },
                };
                prop_assert!((f64::from(y) - want).abs() < 2e-4, "{} {}", y, want);
            }
        }

        #[test]
        fn another_length_is_a_fault((dense, mut x) in layer()) {
            x.push(0.0);
            prop_assert!(matches!(dense.apply(&x), Err(ItemFault::Run(_))));
        }
    }

    #[test]
    fn a_residual_adds_the_input_or_its_product() {
        let plain = Dense {
            inputs: 2,
            outputs: 2,
            weight: vec![1.0, 0.0, 0.0, 1.0],
            bias: None,
            activation: DenseActivation::Relu,
            residual: Residual::None,
        };
        assert_eq!(plain.apply(&[3.0, -2.0]).unwrap(), [3.0, 0.0]);
        let with = Dense { residual: Residual::Input, ..plain.clone() };
        assert_eq!(with.apply(&[3.0, -2.0]).unwrap(), [6.0, -2.0]);
        let product = Dense { residual: Residual::Product(vec![0.0, 1.0, 1.0, 0.0]), ..plain };
        assert_eq!(product.apply(&[3.0, -2.0]).unwrap(), [1.0, 3.0]);
    }
}
