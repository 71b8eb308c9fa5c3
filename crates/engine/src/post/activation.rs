//! Logits to scores.
//!
//! `sigmoid(x) = 1 / (1 + e^-x)` each on its own;
//! `softmax(x)_i = e^(x_i - max) / sum_j e^(x_j - max)` over a row of labels.
//! Finite logits, however large, give finite scores in 0..=1.

/// How logits become scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They stay logits.
    #[default]
    Raw,
    /// Each on its own.
    Sigmoid,
    /// Over the labels of a row; a row sums to 1.
    Softmax,
}

/// Turns logits into scores in place. `scores` is row-major (rows × `labels`);
/// a last row that is not full is taken as it is.
pub fn activate(scores: &mut [f32], labels: usize, activation: Activation) {
    match activation {
        Activation::Raw => {}
        Activation::Sigmoid => scores.iter_mut().for_each(|x| *x = sigmoid(*x)),
        Activation::Softmax if labels == 0 => {}
        Activation::Softmax => scores.chunks_mut(labels).for_each(softmax),
    }
}

/// Never raises e to a positive power, so nothing overflows.
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    // The largest gave e^0, so the sum is at least 1.
    row.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn scores_are_probabilities_however_large_the_logits(
            logits in prop::collection::vec(prop_oneof![-50f32..50.0, Just(1e30), Just(-1e30), Just(f32::MAX), Just(f32::MIN)], 1..60),
            labels in 1usize..8,
        ) {
            for activation in [Activation::Sigmoid, Activation::Softmax] {
                let mut scores = logits.clone();
                activate(&mut scores, labels, activation);
                prop_assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)), "{:?} {:?}", activation, scores);
            }
            let mut scores = logits.clone();
            activate(&mut scores, labels, Activation::Softmax);
            for row in scores.chunks(labels) {
                prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{:?}", row);
            }
        }

        #[test]
        fn order_is_kept(a in -30f32..30.0, b in -30f32..30.0) {
            for activation in [Activation::Raw, Activation::Sigmoid, Activation::Softmax] {
                let mut scores = [a, b];
                activate(&mut scores, 2, activation);
                prop_assert!((a <= b) == (scores[0] <= scores[1]) || (scores[0] - scores[1]).abs() < 1e-6);
            }
        }

        #[test]
        fn two_way_softmax_is_the_sigmoid_of_the_difference(a in -20f32..20.0, b in -20f32..20.0) {
            let mut scores = [a, b];
            activate(&mut scores, 2, Activation::Softmax);
            prop_assert!((scores[0] - sigmoid(a - b)).abs() < 1e-6);
        }
    }

    #[test]
    fn known_values() {
        let mut s = [0.0, 1.0, -1.0];
        activate(&mut s, 3, Activation::Sigmoid);
        assert!((s[0] - 0.5).abs() < 1e-7 && (s[1] - 0.731_058_6).abs() < 1e-6 && (s[2] - 0.268_941_4).abs() < 1e-6);
        let mut s = [3.0, 1.0, 7.0];
        activate(&mut s, 3, Activation::Raw);
        assert_eq!(s, [3.0, 1.0, 7.0]);
        activate(&mut s, 0, Activation::Softmax);
        assert_eq!(s, [3.0, 1.0, 7.0], "no labels, nothing to do");
        activate(&mut s, 1, Activation::Softmax);
        assert_eq!(s, [1.0, 1.0, 1.0], "a row of one label is sure of it");
    }
}
