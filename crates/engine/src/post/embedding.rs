//! Token states to a finished dense vector, in this order: pool, dense layers,
//! cut to the first `dimensions` (Matryoshka), scale to length 1, check.
//!
//! A `Normalize` module in a folder is `normalize = true`: it stands last there too.

use super::{all_finite, dense::Dense, pool};
use crate::item::{EmbedSpec, ItemFault};

/// Lengths below this divide as if they were this, as torch's `normalize` has it:
/// a vector of zeros stays one.
const LEAST_LENGTH: f64 = 1e-12;

/// Pools row-major `states` (tokens × `hidden`) and finishes the vector.
///
/// # Errors
/// As [`finish`].
pub(crate) fn embed(states: &[f32], hidden: usize, spec: &EmbedSpec, dense: &[Dense]) -> Result<Vec<f32>, ItemFault> {
    finish(pool(states, hidden, spec.pooling), spec, dense)
}

/// Finishes a pooled vector: dense layers, cut, length 1.
///
/// # Errors
/// [`ItemFault::NonFinite`]; [`ItemFault::WrongWant`] where more dimensions are
/// asked for than there are, or none; a dense layer of another size.
pub(crate) fn finish(pooled: Vec<f32>, spec: &EmbedSpec, dense: &[Dense]) -> Result<Vec<f32>, ItemFault> {
    let mut vector = pooled;
    for layer in dense {
        vector = layer.apply(&vector)?;
    }
    if let Some(keep) = spec.dimensions {
        if keep == 0 || keep > vector.len() {
            return Err(ItemFault::WrongWant("as many dimensions as are asked for"));
        }
        vector.truncate(keep);
    }
    if spec.normalize {
        normalize(&mut vector);
    }
    all_finite(&vector)?;
    Ok(vector)
}

#[expect(clippy::cast_possible_truncation, reason = "lies in -1..=1; rounding to f32 is meant")]
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt().max(LEAST_LENGTH);
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        post::{DenseActivation, cosine},
        task::Pooling,
    };

    fn spec(normalize: bool, dimensions: Option<usize>) -> EmbedSpec {
        EmbedSpec { pooling: Pooling::Mean, normalize, dimensions }
    }

    fn length(v: &[f32]) -> f64 {
        v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    }

    proptest! {
        #[test]
        fn normalised_vectors_have_length_one_and_keep_their_direction(v in prop::collection::vec(-1e30f32..1e30, 1..40)) {
            prop_assume!(length(&v) > 1e-6);
            let done = finish(v.clone(), &spec(true, None), &[]).unwrap();
            prop_assert!((length(&done) - 1.0).abs() < 1e-5);
            prop_assert!(cosine(&v, &done) > 0.999_99);
        }

        #[test]
        fn the_cut_comes_before_normalising(v in prop::collection::vec(0.5f32..9.0, 2..40), at in any::<prop::sample::Index>()) {
            let keep = 1 + at.index(v.len());
            let raw = finish(v.clone(), &spec(false, Some(keep)), &[]).unwrap();
            prop_assert_eq!(&raw[..], &v[..keep]);
            let done = finish(v.clone(), &spec(true, Some(keep)), &[]).unwrap();
            prop_assert!((length(&done) - 1.0).abs() < 1e-5);
            let too_many = spec(true, Some(v.len() + 1));
            prop_assert!(matches!(finish(v.clone(), &too_many, &[]), Err(ItemFault::WrongWant(_))));
        }

        #[test]
        fn a_bad_number_is_a_fault(mut v in prop::collection::vec(-9f32..9.0, 1..20), normalize in any::<bool>(), at in any::<prop::sample::Index>()) {
            let at = at.index(v.len());
            v[at] = f32::NAN;
            prop_assert_eq!(finish(v, &spec(normalize, None), &[]), Err(ItemFault::NonFinite));
        }
    }

    #[test]
    fn pool_then_dense_then_cut() {
        let swap = Dense {
            inputs: 2,
            outputs: 2,
            weight: vec![0.0, 1.0, 1.0, 0.0],
            bias: Some(vec![0.0, 10.0]),
            activation: DenseActivation::Identity,
        };
        // Mean of (1,2) and (3,6) is (2,4); swapped with the bias (4,12); cut to (4).
        let states = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(embed(&states, 2, &spec(false, None), std::slice::from_ref(&swap)).unwrap(), [4.0, 12.0]);
        assert_eq!(embed(&states, 2, &spec(false, Some(1)), std::slice::from_ref(&swap)).unwrap(), [4.0]);
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(finish(vec![0.0; 4], &spec(true, None), &[]).unwrap(), [0.0; 4]);
    }
}
