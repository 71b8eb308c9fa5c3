//! Steps beside products: activations and norms, without a branch a number, so that the compiler makes vectors of them.
//!
//! Sums of a row are made in 32 parts that are then added in one order, whatever vectors there are.

/// What stands between the two products of a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// `x·Φ(x)`, by the error function within 2e-7.
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x·σ(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

/// How a row is normed.
#[derive(Clone, Debug, PartialEq)]
pub struct RowNorm {
    /// What each number is multiplied by.
    pub weight: Vec<f32>,
    /// What is added then; empty where nothing is.
    pub bias: Vec<f32>,
    /// Whether the mean is taken off first, as layer norm does and RMS norm does not.
    pub is_centred: bool,
    /// Added to the mean square.
    pub eps: f32,
}

/// Numbers handled side by side.
const LANES: usize = 32;

/// Norms a row in place.
#[inline(always)]
pub(crate) fn norm(row: &mut [f32], norm: &RowNorm) {
    let count = row.len() as f32;
    if norm.is_centred {
        let mean = sum(row, |x, sum| sum + x) / count;
        row.iter_mut().for_each(|x| *x -= mean);
    }
    let share = 1.0 / (sum(row, |x, sum| x.mul_add(x, sum)) / count + norm.eps).sqrt();
    if norm.bias.is_empty() {
        row.iter_mut().zip(&norm.weight).for_each(|(x, weight)| *x = *x * share * weight);
    } else {
        let both = norm.weight.iter().zip(&norm.bias);
        row.iter_mut().zip(both).for_each(|(x, (weight, bias))| *x = (*x * share).mul_add(*weight, *bias));
    }
}

#[inline(always)]
fn sum(row: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut parts = [0.0; LANES];
    let (pieces, last) = row.as_chunks::<LANES>();
    for piece in pieces {
        for (part, x) in parts.iter_mut().zip(piece) {
            *part = add(*x, *part);
        }
    }
    for (part, x) in parts.iter_mut().zip(last) {
        *part = add(*x, *part);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            parts[i] += parts[i + width];
        }
    }
    parts[0]
}

/// Applies `act` to each; where `is_rough`, for numbers that are rounded to bf16 or int8 then, GELU is made within 2e-5 of a
/// number's size.
#[inline(always)]
pub(crate) fn act<const N: usize>(act: Act, is_rough: bool, numbers: &mut [f32; N]) {
    match act {
        Act::Gelu if is_rough => numbers.iter_mut().for_each(|x| *x = rough_gelu(*x)),
        Act::Gelu => numbers.iter_mut().for_each(|x| *x = gelu(*x)),
        Act::GeluTanh => numbers.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
        Act::Relu => numbers.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
        Act::Silu => numbers.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
        Act::Tanh => numbers.iter_mut().for_each(|x| *x = tanh(*x)),
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `x·Φ(x)`, `Φ(x) − ½` by a polynomial over `x²`, held where it is off by 1.1e-5 from its limit.
#[inline(always)]
fn rough_gelu(x: f32) -> f32 {
    const MOST: f32 = 4.25;
    const SHARES: [f32; 9] = [
        5.564_763e-11,
        -5.327_686e-9,
        2.255_406e-7,
        -5.626_392e-6,
        9.341_837e-5,
        -1.108_559_2e-3,
        9.815_966e-3,
        -6.634_448e-2,
        0.398_902_33,
    ];
    let held = if x < MOST { x } else { MOST };
    let held = if held > -MOST { held } else { -MOST };
    let square = held * held;
    let mut p = SHARES[0];
    for c in &SHARES[1..] {
        p = p.mul_add(square, *c);
    }
    x * p.mul_add(held, 0.5)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6;
    const CUBE: f32 = 0.044_715;
    0.5 * x * (1.0 + tanh(ROOT * (x + CUBE * x * x * x)))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The error function within 2e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut p: f32 = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p.mul_add(t, c);
    }
    (1.0 - p * t * exp(-size * size)).copysign(x)
}

/// `exp(x)`, relative error below 3e-7, NaN kept. Below −80 it is held at 2e-35, above 88 at 2e38.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding and taking it away rounds to a whole number, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // What it gives is then no denormal after a few factors: processors take a hundred steps for one.
    const LEAST: f32 = -80.0;
    const MOST: f32 = 88.0;
    // Not min and max: they may drop a NaN.
    let x = if x < LEAST { LEAST } else { x };
    let x = if x > MOST { MOST } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p: f32 = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, c);
    }
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(kind: Act, x: f32) -> f32 {
        let mut numbers = [x];
        act(kind, false, &mut numbers);
        numbers[0]
    }

    fn rough(x: f32) -> f32 {
        let mut numbers = [x];
        act(Act::Gelu, true, &mut numbers);
        numbers[0]
    }

    /// The error function by its series and, far out, its limit.
    fn true_erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    proptest! {
        #[test]
        fn activations_are_those_of_f64(x in -30.0_f32..30.0) {
            let wide = f64::from(x);
            let cube = 0.797_884_560_802_865_4 * (wide + 0.044_715 * wide.powi(3));
            for (kind, truth) in [
                (Act::Gelu, 0.5 * wide * (1.0 + true_erf(wide / 2.0_f64.sqrt()))),
                (Act::GeluTanh, 0.5 * wide * (1.0 + cube.tanh())),
                (Act::Relu, wide.max(0.0)),
                (Act::Silu, wide / (1.0 + (-wide).exp())),
                (Act::Tanh, wide.tanh()),
            ] {
                let error = (f64::from(one(kind, x)) - truth).abs();
                prop_assert!(error < 6e-7 * wide.abs().max(1.0), "{kind:?} of {x}: {error}");
                if kind == Act::Gelu {
                    let error = (f64::from(rough(x)) - truth).abs();
                    prop_assert!(error < 2e-5 * wide.abs(), "rough GELU of {x}: {error}");
                }
            }
        }

        #[test]
        fn norms_are_those_of_f64(
            row in prop::collection::vec(-9.0_f32..9.0, 2..100), is_centred: bool, has_bias: bool,
        ) {
            let weight: Vec<f32> = (0..row.len()).map(|i| 0.5 + i as f32 / 100.0).collect();
            let bias = if has_bias { weight.iter().map(|x| x - 1.0).collect() } else { Vec::new() };
            let rule = RowNorm { weight, bias, is_centred, eps: 1e-5 };
            let wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let count = wide.len() as f64;
            let mean = if is_centred { wide.iter().sum::<f64>() / count } else { 0.0 };
            let square = wide.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let mut given = row.clone();
            norm(&mut given, &rule);
            for (i, x) in given.iter().enumerate() {
                let share = (square + f64::from(rule.eps)).sqrt();
                let truth = (wide[i] - mean) / share * f64::from(rule.weight[i])
                    + rule.bias.get(i).map_or(0.0, |&b| f64::from(b));
                prop_assert!((f64::from(*x) - truth).abs() < 2e-4, "{i}: {x} is not {truth}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for kind in [Act::Gelu, Act::GeluTanh, Act::Relu, Act::Silu, Act::Tanh] {
            assert!(one(kind, f32::NAN).is_nan(), "{kind:?}");
            assert!(rough(f32::NAN).is_nan() && rough(f32::INFINITY) == f32::INFINITY);
            let far = one(kind, f32::INFINITY);
            assert!(if kind == Act::Tanh { far == 1.0 } else { far == f32::INFINITY }, "{kind:?} {far}");
        }
    }
}
