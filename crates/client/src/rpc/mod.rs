//! One file a call: what it is asked with, what its methods set, what it answers.

pub(crate) mod classify;
pub(crate) mod detokenize;
pub(crate) mod embed;
pub(crate) mod embed_tokens;
pub(crate) mod models;
pub(crate) mod rerank;
pub(crate) mod similarity;
pub(crate) mod sparse;
pub(crate) mod tag;
pub(crate) mod tokenize;
pub(crate) mod vectors;

use sortie_proto::ranking::by_score;

/// A call that is cut over servers is run by [`crate::job`].
macro_rules! chunked {
    ($kind:ty) => {
        impl crate::call::Sealed for $kind {}

        impl crate::call::Rpc for $kind {
            type Output = <Self as crate::job::chunked::ChunkedRpc>::Output;

            async fn run(
                self,
                client: crate::client::Client,
                options: crate::options::CallOptions,
            ) -> Result<Self::Output, crate::error::Error> {
                crate::job::run(self, client.state(), options).await
            }
        }
    };
}
pub(crate) use chunked;

/// A score, unless it is a failed item's NaN.
pub(crate) fn finite(score: f32) -> Option<f32> {
    score.is_finite().then_some(score)
}

/// A failed item's row is NaN.
pub(crate) fn finite_row(row: Vec<f32>) -> Option<Vec<f32>> {
    row.iter().all(|x| x.is_finite()).then_some(row)
}

/// Places of the scores, best first, equal ones in request order; failed ones never.
pub(crate) fn ranking(scores: &[Option<f32>]) -> Vec<(usize, f32)> {
    let mut ranked: Vec<_> = scores.iter().enumerate().filter_map(|(i, score)| Some((i, (*score)?))).collect();
    ranked.sort_by(|a, b| by_score(a.1, b.1));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server says `order` by the same rule: whoever splits a job ranks like whoever does not.
    #[test]
    fn scores_of_zero_are_equal_whatever_their_sign() {
        let scores = [-0.0, 0.0, f32::NAN, -0.0, 1.0];
        let ours: Vec<_> = ranking(&scores.map(finite)).into_iter().map(|(index, _)| index as u32).collect();
        assert_eq!(ours, sortie_proto::ranking::best(&scores, scores.len()));
        assert_eq!(ours, [4, 0, 1, 3]);
    }
}
