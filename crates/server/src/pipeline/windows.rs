//! Texts that are read in windows: what a request asked for, and what came of the windows of each item.

use sortie_engine::{Output, Truncation, WindowScore, mean_of_windows};
use sortie_proto::v1;

use super::{Item, TextRules, enum_value};
use crate::errors::ServeError;

/// [`v1::Windows`], checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowRule {
    /// Tokens that neighbours share.
    pub(crate) stride: usize,
    /// What becomes of the windows' scores; `None` where the request did not say.
    pub(crate) score: Option<WindowScore>,
}

/// Checks the windows asked for beside the other rules for texts.
pub(crate) fn window_rule(windows: Option<v1::Windows>, rules: &TextRules) -> Result<Option<WindowRule>, ServeError> {
    let Some(windows) = windows else { return Ok(None) };
    if rules.fit.truncation == Truncation::LongestFirst {
        let message = "nothing is cut where texts are read in windows; leave it out";
        return Err(ServeError::bad_field("options.truncation", message));
    }
    if rules.fit.side.is_some() {
        let message = "neither end is cut where texts are read in windows; leave it out";
        return Err(ServeError::bad_field("options.truncation_side", message));
    }
    let score = match enum_value("windows.score", windows.score)? {
        v1::WindowScore::Unspecified => None,
        v1::WindowScore::Max => Some(WindowScore::Max),
        v1::WindowScore::First => Some(WindowScore::First),
        v1::WindowScore::Mean => Some(WindowScore::Mean),
    };
    Ok(Some(WindowRule { stride: windows.stride as usize, score }))
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

#[cfg(test)]
mod tests {
    use sortie_engine::EncodeOptions;

    use super::*;

    fn rules(fit: EncodeOptions) -> TextRules {
        TextRules { fit, prompt: None }
    }

    fn item(outputs: [Output; 2]) -> Item {
        let [output, later] = outputs;
        Item { windows: Some(ItemWindows { tokens: vec![3, 1], later: vec![later] }), ..Item::of(output) }
    }

    #[test]
    fn windows_exclude_what_would_cut() {
        let asked = Some(v1::Windows { stride: 2, score: 0 });
        let cut = EncodeOptions { truncation: Truncation::LongestFirst, ..EncodeOptions::default() };
        assert!(window_rule(asked, &rules(cut)).unwrap_err().to_string().contains("options.truncation"));
        let end = EncodeOptions { side: Some(sortie_engine::TruncationSide::Left), ..EncodeOptions::default() };
        assert!(window_rule(asked, &rules(end)).unwrap_err().to_string().contains("options.truncation_side"));
        let rule = window_rule(asked, &rules(EncodeOptions::default())).unwrap().unwrap();
        assert_eq!((rule.stride, rule.score), (2, None));
        assert!(window_rule(None, &rules(cut)).unwrap().is_none());
    }

    #[test]
    fn a_text_has_the_score_and_the_vector_of_its_windows() {
        let logit = |output: &Output| match output {
            Output::Logits(logits) => logits[0],
            _ => f32::NAN,
        };
        let scored = item([Output::Logits(vec![1.0]), Output::Logits(vec![5.0])]);
        assert_eq!(scored.score(WindowScore::Mean, logit), 2.0);
        assert_eq!((scored.score(WindowScore::Max, logit), scored.window_count()), (5.0, 2));
        let mut joined = item([Output::Embedding(vec![1.0, 0.0]), Output::Embedding(vec![0.0, 1.0])]);
        joined.join_vectors(false);
        assert_eq!(joined.output, Output::Embedding(vec![0.75, 0.25]));
        let mut unit = item([Output::Embedding(vec![1.0, 0.0]), Output::Embedding(vec![1.0, 0.0])]);
        unit.join_vectors(true);
        assert_eq!(unit.output, Output::Embedding(vec![1.0, 0.0]));
    }
}
