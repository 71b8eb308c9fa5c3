//! Late interaction: a query and a document as one vector a token each, compared by the best match of each query token.
//!
//! `MaxSim(Q, D) = Σ over q of max over d of q·d`; MeanMaxSim divides the sum by the number of query vectors.

use super::dot::dot;
use crate::item::TokenVectors;

/// How token vectors are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LateSimilarity {
    /// The sum over the query's vectors.
    #[default]
    MaxSim,
    /// Their mean.
    MeanMaxSim,
}

impl LateSimilarity {
    /// The library's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LateSimilarity::MaxSim => "maxsim",
            LateSimilarity::MeanMaxSim => "meanmaxsim",
        }
    }
}

/// Score of `document` for `query`. A document without vectors scores 0, as does a query without any.
///
/// `None` where their vectors have different numbers of dimensions.
#[must_use]
pub fn late_similarity(query: &TokenVectors, document: &TokenVectors, by: LateSimilarity) -> Option<f32> {
    if query.dimensions != document.dimensions {
        return None;
    }
    if query.values.is_empty() || document.values.is_empty() {
        return Some(0.0);
    }
    let best = |q: &[f32]| document.rows().map(|d| dot(q, d)).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = query.rows().map(|q| f64::from(best(q))).sum();
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let score = match by {
        LateSimilarity::MaxSim => sum,
        LateSimilarity::MeanMaxSim => sum / query.rows().len() as f64,
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    Some(score as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(rows: &[[f32; 2]]) -> TokenVectors {
        TokenVectors { dimensions: 2, values: rows.concat(), tokens: (0..rows.len() as u32).collect() }
    }

    #[test]
    fn the_best_match_of_each_query_token_is_summed() {
        let (query, document) = (vectors(&[[1.0, 0.0], [0.0, 2.0]]), vectors(&[[0.5, 0.5], [3.0, -1.0], [0.0, 1.0]]));
        assert_eq!(late_similarity(&query, &document, LateSimilarity::MaxSim), Some(5.0));
        assert_eq!(late_similarity(&query, &document, LateSimilarity::MeanMaxSim), Some(2.5));
    }

    #[test]
    fn nothing_scores_nothing_and_widths_must_agree() {
        let (some, none) = (vectors(&[[1.0, 0.0]]), vectors(&[]));
        assert_eq!(late_similarity(&some, &none, LateSimilarity::MaxSim), Some(0.0));
        assert_eq!(late_similarity(&none, &some, LateSimilarity::MeanMaxSim), Some(0.0));
        let other = TokenVectors { dimensions: 3, values: vec![1.0; 3], tokens: vec![0] };
        assert_eq!(late_similarity(&some, &other, LateSimilarity::MaxSim), None);
    }
}
