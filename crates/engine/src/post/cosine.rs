//! `cosine(a, b) = a·b / (|a| |b|)`, summed in f64 and held to -1..=1.

/// Cosine similarity. 0 where either vector is all zero; numbers beyond the
/// shorter vector's length are ignored.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (mut dot, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x), f64::from(y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 {
        return 0.0;
    }
    // Two roots, not the root of a product: squares of f32 fit f64, their product need not.
    to_f32((dot / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0))
}

#[expect(clippy::cast_possible_truncation, reason = "lies in -1..=1; rounding to f32 is meant")]
fn to_f32(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        prop::collection::vec((-1e18f32..1e18, -1e-18f32..1e-18), 1..48).prop_map(|v| v.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn is_bounded_symmetric_and_blind_to_scale((a, b) in vectors(), k in 0.001f32..1000.0) {
            let c = cosine(&a, &b);
            prop_assert!((-1.0..=1.0).contains(&c));
            prop_assert_eq!(c.to_bits(), cosine(&b, &a).to_bits());
            let scaled: Vec<f32> = a.iter().map(|x| x * k).collect();
            prop_assert!((c - cosine(&scaled, &b)).abs() < 1e-5);
        }

        #[test]
        fn a_vector_is_like_itself_and_unlike_its_opposite((a, _) in vectors()) {
            prop_assume!(a.iter().any(|x| *x != 0.0));
            prop_assert!((cosine(&a, &a) - 1.0).abs() < 1e-6);
            let minus: Vec<f32> = a.iter().map(|x| -x).collect();
            prop_assert!((cosine(&a, &minus) + 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
        assert_eq!(cosine(&[], &[]), 0.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
        assert!((cosine(&[1.0, 1.0], &[1.0, 0.0]) - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-7);
        assert_eq!(cosine(&[f32::MAX; 64], &[f32::MAX; 64]), 1.0);
    }
}
