//! One item's answer, made of what came of its sequences.

use std::sync::Arc;

use sortie_engine::{ItemFault, Output, TokenDetail, WindowScore, WordPlaces, mean_of_windows};
use sortie_frontend::ServeError;
use sortie_proto::v1;

use super::tokenize_task::{TokenizeResult, TokenizedItem};
use crate::item_refusal::ItemRefusal;

/// One item's answer.
#[derive(Debug)]
pub(crate) struct Item {
    /// That of its first window where it was read in windows.
    pub(crate) output: Output,
    /// Its windows, where they were asked for.
    pub(crate) windows: Option<ItemWindows>,
    /// Tokens used, specials included.
    pub(crate) tokens: usize,
    pub(crate) truncated: bool,
    /// One a token where the reading was [`InputKind::Detailed`] and the input a text.
    pub(crate) details: Vec<TokenDetail>,
    /// Its token ids where the reading was [`InputKind::Detailed`].
    pub(crate) ids: Vec<u32>,
    /// Its words where the reading was [`InputKind::Labelled`].
    pub(crate) places: Option<Arc<WordPlaces>>,
}

impl Item {
    /// An item of which nothing is known but its answer.
    pub(crate) fn of(output: Output) -> Self {
        Self { output, windows: None, tokens: 0, truncated: false, details: Vec::new(), ids: Vec::new(), places: None }
    }

    /// The same without the numbers that came of it, once they have been used.
    pub(crate) fn without_output(self) -> Self {
        let windows = self.windows.map(|windows| ItemWindows { later: Vec::new(), ..windows });
        Self { output: Output::Logits(Vec::new()), windows, ..self }
    }
}

/// An item that was read in windows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ItemWindows {
    /// Tokens of the text in each window, the first among them.
    pub(crate) tokens: Vec<usize>,
    /// What came of each window but the first.
    pub(crate) later: Vec<Output>,
}

impl Item {
    /// Windows it was read in; 1 where none were asked for.
    pub(crate) fn window_count(&self) -> usize {
        self.windows.as_ref().map_or(1, |windows| windows.tokens.len())
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.output).chain(self.windows.iter().flat_map(|windows| &windows.later))
    }

    /// Its score: that of its output, or that which `by` makes of its windows'.
    pub(crate) fn score(&self, by: WindowScore, score: impl Fn(&Output) -> f32) -> f32 {
        let Some(windows) = &self.windows else { return score(&self.output) };
        let scores: Vec<f32> = self.outputs().map(score).collect();
        by.of(&scores, &windows.tokens).unwrap_or(f32::NAN)
    }

    /// Makes one vector of its windows' vectors: their mean by tokens, scaled to length 1 if `unit`.
    pub(crate) fn join_vectors(&mut self, unit: bool) {
        let Some(windows) = &self.windows else { return };
        let vectors: Vec<&[f32]> = self
            .outputs()
            .filter_map(|output| match output {
                Output::Embedding(vector) => Some(vector.as_slice()),
                _ => None,
            })
            .collect();
        let [_, _, ..] = vectors.as_slice() else { return };
        let Some(mut mean) = mean_of_windows(&vectors, &windows.tokens) else { return };
        let length = mean.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if unit && length > 0.0 {
            mean.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        self.output = Output::Embedding(mean);
    }
}

/// One a request item.
pub(crate) type Items = Vec<Result<Item, ItemRefusal>>;

/// Puts outputs, one a queued sequence, back among the items that were refused before the device.
pub(super) fn merge(
    results: Vec<TokenizeResult>,
    outputs: Vec<Result<Output, ItemFault>>,
) -> Result<Items, ServeError> {
    // A run that failed for everything is the server's fault, not the items'.
    if let Some(Err(ItemFault::Run(message))) = outputs.first()
        && outputs.iter().all(|o| matches!(o, Err(ItemFault::Run(_))))
    {
        return Err(ServeError::RunFailed(message.clone()));
    }
    let mut outputs: Vec<_> = outputs.into_iter().map(Some).collect();
    let mut items = Vec::with_capacity(results.len());
    for result in results {
        items.push(match result {
            Err(refusal) => Err(refusal),
            Ok(made) => {
                let given = made.queued.clone().map(|at| outputs.get_mut(at).and_then(Option::take));
                let Some(given) = given.collect::<Option<Vec<_>>>() else {
                    return Err(ServeError::Internal("the scheduler gave too few answers".to_owned()));
                };
                item(made, given)?
            }
        });
    }
    Ok(items)
}

/// An item of what came of its sequences, all of which must have an answer.
fn item(made: TokenizedItem, given: Vec<Result<Output, ItemFault>>) -> Result<Result<Item, ItemRefusal>, ServeError> {
    let mut outputs = match given.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(outputs) => outputs.into_iter(),
        Err(fault) => return Ok(Err(ItemRefusal::from(&fault))),
    };
    let Some(output) = outputs.next() else {
        return Err(ServeError::Internal("an item was queued without a sequence".to_owned()));
    };
    let windows = made.window_tokens.map(|tokens| ItemWindows { tokens, later: outputs.collect() });
    Ok(Ok(Item {
        output,
        windows,
        tokens: made.tokens,
        truncated: made.truncated,
        details: made.details,
        ids: made.kept.ids,
        places: made.kept.places,
    }))
}

/// The contract's per-item facts.
pub(crate) fn item_info(items: &[Result<Item, ItemRefusal>]) -> v1::ItemInfo {
    v1::ItemInfo {
        tokens: items.iter().map(|i| i.as_ref().map_or(0, |i| u32::try_from(i.tokens).unwrap_or(u32::MAX))).collect(),
        truncated: items.iter().map(|i| i.as_ref().is_ok_and(|i| i.truncated)).collect(),
        errors: items.iter().enumerate().filter_map(|(n, i)| i.as_ref().err().map(|e| e.at(n))).collect(),
        windows: if items.iter().flatten().any(|item| item.windows.is_some()) {
            let count = |item: &Item| u32::try_from(item.window_count()).unwrap_or(u32::MAX);
            items.iter().map(|item| item.as_ref().map_or(0, count)).collect()
        } else {
            Vec::new()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(at: usize, tokens: usize, truncated: bool) -> TokenizeResult {
        let kept = sortie_engine::Sequence::default();
        Ok(TokenizedItem { tokens, truncated, details: vec![], queued: at..at + 1, window_tokens: None, kept })
    }

    #[test]
    fn outputs_go_back_to_their_places() {
        let results = vec![made(1, 3, false), Err(ItemRefusal::unsupported("x")), made(0, 4, true)];
        let outputs = vec![Err(ItemFault::NonFinite), Ok(Output::Logits(vec![1.0]))];
        let items = merge(results, outputs).unwrap();
        let info = item_info(&items);
        assert_eq!((info.tokens, info.truncated), (vec![3, 0, 0], vec![false, false, false]));
        let errors: Vec<_> = info.errors.iter().map(|e| (e.index, e.reason.as_str())).collect();
        assert_eq!(errors, [(1, "UNSUPPORTED_INPUT"), (2, "NON_FINITE_OUTPUT")]);
    }

    #[test]
    fn windows_go_back_to_their_item_and_one_that_failed_fails_it() {
        let windows = |result: TokenizeResult| {
            result.map(|made| {
                let queued = made.queued.start..made.queued.start + 2;
                TokenizedItem { queued, window_tokens: Some(vec![5, 2]), ..made }
            })
        };
        let results = vec![windows(made(1, 3, false)), made(0, 4, false), windows(made(3, 9, false))];
        let logits = |x: f32| Ok(Output::Logits(vec![x]));
        let outputs = vec![logits(0.0), logits(1.0), logits(2.0), logits(3.0), Err(ItemFault::NonFinite)];
        let items = merge(results, outputs).unwrap();
        let first = items[0].as_ref().unwrap();
        assert_eq!(first.output, Output::Logits(vec![1.0]));
        let windows = ItemWindows { tokens: vec![5, 2], later: vec![Output::Logits(vec![2.0])] };
        assert_eq!(first.windows, Some(windows));
        let info = item_info(&items);
        assert_eq!((info.windows, info.errors[0].index), (vec![2, 1, 0], 2));
    }

    #[test]
    fn a_run_that_failed_for_everything_is_the_jobs_error() {
        let results = vec![made(0, 3, false), made(1, 4, true)];
        let outputs = vec![Err(ItemFault::Run("a".into())), Err(ItemFault::Run("b".into()))];
        assert_eq!(merge(results, outputs).unwrap_err(), ServeError::RunFailed("a".into()));
    }

    #[test]
    fn too_few_outputs_are_noticed() {
        assert!(matches!(merge(vec![made(0, 1, false)], vec![]), Err(ServeError::Internal(_))));
    }

    fn windowed(outputs: [Output; 2]) -> Item {
        let [output, later] = outputs;
        Item { windows: Some(ItemWindows { tokens: vec![3, 1], later: vec![later] }), ..Item::of(output) }
    }

    #[test]
    fn a_text_has_the_score_and_the_vector_of_its_windows() {
        let logit = |output: &Output| match output {
            Output::Logits(logits) => logits[0],
            _ => f32::NAN,
        };
        let scored = windowed([Output::Logits(vec![1.0]), Output::Logits(vec![5.0])]);
        assert_eq!(scored.score(WindowScore::Mean, logit), 2.0);
        assert_eq!((scored.score(WindowScore::Max, logit), scored.window_count()), (5.0, 2));
        let mut joined = windowed([Output::Embedding(vec![1.0, 0.0]), Output::Embedding(vec![0.0, 1.0])]);
        joined.join_vectors(false);
        assert_eq!(joined.output, Output::Embedding(vec![0.75, 0.25]));
        let mut unit = windowed([Output::Embedding(vec![1.0, 0.0]), Output::Embedding(vec![1.0, 0.0])]);
        unit.join_vectors(true);
        assert_eq!(unit.output, Output::Embedding(vec![1.0, 0.0]));
    }
}
