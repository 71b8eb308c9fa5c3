//! From scores of words and labels to stretches of a text, as the package `gliner` chooses them: whatever is above a threshold,
//! the best first, without those that overlap. Source: its `decoder.py`.
//!
//! | | two stretches may |
//! | --- | --- |
//! | as a rule | not share a word |
//! | `nested` | lie one within the other |
//! | `multi_label` | be the same, under two labels |

/// Scores above it are found where a caller names no threshold: the package's own default.
pub const DEFAULT_THRESHOLD: f32 = 0.5;

/// Most candidates of a text that the best are chosen from. No useful threshold leaves a hundredth of them; a threshold of 0
/// would leave hundreds of millions.
pub const MAX_CANDIDATES: usize = 1 << 18;

/// Raw scores of one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanScores {
    /// Words of the text.
    pub words: usize,
    /// Labels.
    pub labels: usize,
    /// Words in the longest stretch; `None` where words are scored in place of stretches.
    pub width: Option<usize>,
    /// Row-major (words × widths × labels) logits of the stretch that starts with a word and has so many; those past the
    /// text's end are 0. Without a width (words × labels × 3): as the first word of a stretch, its last, one within.
    pub values: Vec<f32>,
}

/// Which stretches are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanRules {
    /// Only scores above it count.
    pub threshold: f32,
    /// A stretch may lie within another.
    pub nested: bool,
    /// A stretch may have several labels.
    pub multi_label: bool,
}

impl Default for SpanRules {
    fn default() -> Self {
        Self { threshold: DEFAULT_THRESHOLD, nested: false, multi_label: false }
    }
}

/// A stretch of words with a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundSpan {
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
    /// Number of its label.
    pub label: usize,
    /// From 0 to 1; of scored words the least that counts.
    pub score: f32,
}

/// A threshold leaves more than [`MAX_CANDIDATES`] of a text's stretches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_CANDIDATES} stretches are above the threshold: raise it, or send fewer labels")]
pub struct TooManyCandidates;

impl SpanScores {
    /// Numbers of a text with so many words and labels.
    pub(crate) fn count(words: usize, labels: usize, width: Option<usize>) -> usize {
        words * labels * width.unwrap_or(3)
    }

    /// The stretches that are chosen, in the order of their first words; of those with the same one the best first.
    ///
    /// # Errors
    /// Where too many are above the threshold.
    pub fn spans(&self, rules: &SpanRules) -> Result<Vec<FoundSpan>, TooManyCandidates> {
        let mut found = match self.width {
            Some(width) => self.stretches(width, rules.threshold)?,
            None => self.between_words(rules.threshold)?,
        };
        // Both sorts are stable: of equal ones the first that was found goes first.
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut chosen_so_far = ChosenSpans::new(self.words);
        found.retain(|span| chosen_so_far.takes(span, rules));
        found.sort_by_key(|span| span.first);
        Ok(found)
    }

    /// Every stretch whose score is above the threshold.
    fn stretches(&self, width: usize, threshold: f32) -> Result<Vec<FoundSpan>, TooManyCandidates> {
        let mut found = Vec::new();
        for (row, logits) in self.values.chunks_exact(self.labels.max(1)).enumerate() {
            let (first, last) = (row / width, row / width + row % width);
            if last >= self.words {
                continue;
            }
            for (label, &logit) in logits.iter().enumerate() {
                push(&mut found, FoundSpan { first, last, label, score: sigmoid(logit) }, threshold)?;
            }
        }
        Ok(found)
    }

    /// Every stretch whose first word, last word and words within are above the threshold.
    fn between_words(&self, threshold: f32) -> Result<Vec<FoundSpan>, TooManyCandidates> {
        let score = |word: usize, label: usize, which: usize| {
            sigmoid(self.values.get((word * self.labels + label) * 3 + which).copied().unwrap_or(f32::NEG_INFINITY))
        };
        let mut found = Vec::new();
        for first in 0..self.words {
            for label in 0..self.labels {
                let start = score(first, label, 0);
                if start <= threshold {
                    continue;
                }
                let mut least = start;
                for last in first..self.words {
                    let within = score(last, label, 2);
                    if within < threshold {
                        break;
                    }
                    least = least.min(within);
                    let end = score(last, label, 1);
                    if end > threshold {
                        push(&mut found, FoundSpan { first, last, label, score: least.min(end) }, f32::NEG_INFINITY)?;
                    }
                }
            }
        }
        Ok(found)
    }
}

fn push(found: &mut Vec<FoundSpan>, span: FoundSpan, threshold: f32) -> Result<(), TooManyCandidates> {
    if span.score > threshold {
        if found.len() == MAX_CANDIDATES {
            return Err(TooManyCandidates);
        }
        found.push(span);
    }
    Ok(())
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The stretches that were chosen so far, by their ends.
struct ChosenSpans {
    /// Of those that end with a word, the least first word.
    least_first: Vec<usize>,
    /// Of those that start with a word, the greatest last word; `None` where none does.
    greatest_last: Vec<Option<usize>>,
    /// First and last word of the one that a word is in, where none may share one.
    owner: Vec<Option<(usize, usize)>>,
    /// All of them.
    chosen: std::collections::HashSet<(usize, usize)>,
}

impl ChosenSpans {
    fn new(words: usize) -> Self {
        Self {
            least_first: vec![usize::MAX; words],
            greatest_last: vec![None; words],
            owner: vec![None; words],
            chosen: std::collections::HashSet::new(),
        }
    }

    /// Takes a stretch in, unless it overlaps what is there.
    fn takes(&mut self, span: &FoundSpan, rules: &SpanRules) -> bool {
        let (first, last) = (span.first, span.last);
        let place = (first, last);
        if self.chosen.contains(&place) {
            return rules.multi_label && (rules.nested || self.owner[first] == Some(place));
        }
        let overlaps = if rules.nested {
            // One that ends within and starts before, or starts within and ends behind.
            (first..last).any(|word| self.least_first[word] < first)
                || (first + 1..=last).any(|word| self.greatest_last[word].is_some_and(|other| other > last))
        } else {
            self.owner[first..=last].iter().any(Option::is_some)
        };
        if overlaps {
            return false;
        }
        self.least_first[last] = self.least_first[last].min(first);
        self.greatest_last[first] = self.greatest_last[first].max(Some(last));
        self.owner[first..=last].fill(Some(place));
        self.chosen.insert(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The package's rule for two stretches, word for word.
    fn overlap(a: &FoundSpan, b: &FoundSpan, rules: &SpanRules) -> bool {
        if (a.first, a.last) == (b.first, b.last) {
            return !rules.multi_label;
        }
        let apart = a.first > b.last || b.first > a.last;
        let within = (a.first <= b.first && a.last >= b.last) || (b.first <= a.first && b.last >= a.last);
        !(apart || rules.nested && within)
    }

    /// Compares every candidate with everything that was chosen.
    fn slowly(mut all: Vec<FoundSpan>, rules: &SpanRules) -> Vec<FoundSpan> {
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut chosen: Vec<FoundSpan> = Vec::new();
        for span in all {
            if !chosen.iter().any(|other| overlap(&span, other, rules)) {
                chosen.push(span);
            }
        }
        chosen.sort_by_key(|span| span.first);
        chosen
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_what_comparing_all_with_all_leaves(
            words in 0usize..9, labels in 1usize..4, width in 1usize..5, of_words: bool, nested: bool, multi_label: bool,
            numbers in prop::collection::vec(-3i8..4, 9 * 4 * 5),
        ) {
            let width = (!of_words).then_some(width);
            let values: Vec<f32> = numbers.iter().map(|&x| f32::from(x)).take(SpanScores::count(words, labels, width)).collect();
            let scores = SpanScores { words, labels, width, values };
            let rules = SpanRules { threshold: 0.4, nested, multi_label };
            let all = match width {
                Some(width) => scores.stretches(width, 0.4).unwrap(),
                None => scores.between_words(0.4).unwrap(),
            };
            prop_assert!(all.iter().all(|s| s.first <= s.last && s.last < words && s.score > 0.4));
            prop_assert_eq!(scores.spans(&rules).unwrap(), slowly(all, &rules));
        }
    }

    #[test]
    fn a_threshold_that_leaves_next_to_everything_is_refused() {
        let (words, labels) = (512, 64);
        let values = vec![0.0; SpanScores::count(words, labels, Some(12))];
        let scores = SpanScores { words, labels, width: Some(12), values };
        let rules = |threshold| SpanRules { threshold, ..SpanRules::default() };
        assert_eq!(scores.spans(&rules(0.0)), Err(TooManyCandidates));
        assert_eq!(scores.spans(&rules(0.5)), Ok(Vec::new()), "a score must be above the threshold");
    }
}
