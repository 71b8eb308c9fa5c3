//! Norms of one vector: to length 1, and layer norm.

/// Lengths below this divide as if they were this, as torch's `normalize` has it:
/// a vector of zeros stays one.
const LEAST_LENGTH: f64 = 1e-12;

/// Added to the variance of a layer norm: torch's default, which sentence-transformers' LayerNorm always has.
pub(crate) const LAYER_NORM_EPS: f64 = 1e-5;

/// Scales a vector to length 1.
#[expect(clippy::cast_possible_truncation, reason = "lies in -1..=1; rounding to f32 is meant")]
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt().max(LEAST_LENGTH);
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
}

/// `(x − mean) / √(variance + eps) · weight + bias`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerNorm {
    /// One number a dimension.
    pub(crate) weight: Vec<f32>,
    /// One number a dimension.
    pub(crate) bias: Vec<f32>,
}

impl LayerNorm {
    /// Applies it to a vector of as many numbers as it has weights.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    pub(crate) fn apply(&self, vector: &mut [f32]) {
        #[expect(clippy::cast_precision_loss, reason = "dimensions are far below 2^52")]
        let share = 1.0 / vector.len().max(1) as f64;
        let mean = vector.iter().map(|&x| f64::from(x)).sum::<f64>() * share;
        let variance = vector.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() * share;
        let scale = 1.0 / (variance + LAYER_NORM_EPS).sqrt();
        for (x, (w, b)) in vector.iter_mut().zip(self.weight.iter().zip(&self.bias)) {
            *x = ((f64::from(*x) - mean) * scale * f64::from(*w) + f64::from(*b)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_norm_has_mean_zero_and_variance_one_before_its_weights() {
        let mut v = [1.0, 2.0, 3.0, 4.0];
        LayerNorm { weight: vec![1.0; 4], bias: vec![0.0; 4] }.apply(&mut v);
        // Variance 1.25: (1 - 2.5) / sqrt(1.25001).
        assert!((v[0] + 1.341_635_4).abs() < 1e-6 && (v[3] - 1.341_635_4).abs() < 1e-6, "{v:?}");
        let mut v = [1.0, 3.0];
        LayerNorm { weight: vec![2.0, 0.5], bias: vec![10.0, -1.0] }.apply(&mut v);
        assert!((v[0] - 8.000_01).abs() < 1e-4 && (v[1] + 0.500_002_5).abs() < 1e-4, "{v:?}");
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut zeros = [0.0; 4];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 4]);
    }
}
