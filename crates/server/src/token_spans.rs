//! From scored tokens to labelled stretches of text.
//!
//! *None*: one span a token, under its full label. *Simple*: neighbouring tokens
//! of one entity are joined. A label is `B-x`, `I-x` or `x`; its entity is `x`.
//! `B-x` starts a span, `I-x` and `x` go on with a span of `x` or start one. A
//! token that continues a word goes with the word's first token, whatever its own
//! label says. A span's score is the mean over its tokens of the best score that
//! any label of its entity has there.
//!
//! Special tokens, the second text of a pair and ignored labels make no span and
//! end the one before them.

use sortie_engine::TokenDetail;
use sortie_proto::v1::Span;

/// Whether tokens are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// One span a token.
    None,
    /// One span an entity.
    Simple,
}

/// A model's labels, read once.
#[derive(Clone, Debug)]
pub(crate) struct Labels<'a> {
    all: Vec<Label<'a>>,
}

#[derive(Clone, Debug)]
struct Label<'a> {
    full: &'a str,
    entity: &'a str,
    begins: bool,
    ignored: bool,
}

/// The label that means "nothing here" where the caller names none.
const OUTSIDE: &str = "O";

impl<'a> Labels<'a> {
    /// `ignored` holds full labels or entities; empty means `O`.
    pub(crate) fn new(labels: &'a [String], ignored: &[String]) -> Self {
        let is_ignored = |full: &str, entity: &str| {
            if ignored.is_empty() { full == OUTSIDE } else { ignored.iter().any(|i| i == full || i == entity) }
        };
        let all = labels
            .iter()
            .map(|full| {
                let (begins, entity) = match (full.strip_prefix("B-"), full.strip_prefix("I-")) {
                    (Some(entity), _) => (true, entity),
                    (_, Some(entity)) => (false, entity),
                    _ => (false, full.as_str()),
                };
                Label { full, entity, begins, ignored: is_ignored(full, entity) }
            })
            .collect();
        Self { all }
    }

    /// Number of labels.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Best score of any label of `entity` in one token's row.
    fn entity_score(&self, row: &[f32], entity: &str) -> f32 {
        let of_it = self.all.iter().zip(row).filter(|(label, _)| label.entity == entity);
        of_it.map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max)
    }
}

/// A span that still grows.
struct OpenSpan<'a> {
    entity: &'a str,
    start: usize,
    end: usize,
    sum: f32,
    tokens: u32,
}

impl OpenSpan<'_> {
    fn close(self, spans: &mut Vec<Span>) {
        spans.push(span(self.entity, self.start, self.end, self.sum / self.tokens as f32));
    }
}

/// Spans of one text, in text order. `scores` has a row of [`Labels::len`] numbers a token.
pub(crate) fn spans(details: &[TokenDetail], scores: &[f32], labels: &Labels<'_>, joining: Joining) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<OpenSpan<'_>> = None;
    // Whether the word under way made no span, so that its other pieces make none either.
    let mut silent_word = false;
    for (detail, row) in details.iter().zip(scores.chunks_exact(labels.len().max(1))) {
        let best = argmax(row).and_then(|i| labels.all.get(i));
        let Some(label) = best.filter(|_| !detail.special && !detail.second) else {
            open.take().into_iter().for_each(|o| o.close(&mut spans));
            silent_word = false;
            continue;
        };
        if joining == Joining::None {
            if !label.ignored {
                let score = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                spans.push(span(label.full, detail.start, detail.end, score));
            }
            continue;
        }
        if detail.continues && silent_word {
            continue;
        }
        let joins =
            |o: &OpenSpan<'_>| detail.continues || (!label.begins && !label.ignored && o.entity == label.entity);
        match &mut open {
            Some(o) if joins(o) => {
                o.end = o.end.max(detail.end);
                o.sum += labels.entity_score(row, o.entity);
                o.tokens += 1;
            }
            _ => {
                open.take().into_iter().for_each(|o| o.close(&mut spans));
                silent_word = label.ignored;
                open = (!label.ignored).then(|| OpenSpan {
                    entity: label.entity,
                    start: detail.start,
                    end: detail.end,
                    sum: labels.entity_score(row, label.entity),
                    tokens: 1,
                });
            }
        }
    }
    open.into_iter().for_each(|o| o.close(&mut spans));
    spans
}

fn span(label: &str, start: usize, end: usize, score: f32) -> Span {
    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { label: label.to_owned(), start: place(start), end: place(end), score }
}

/// Place of the largest number; the first of equals.
fn argmax(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, x) in row.iter().enumerate() {
        if best.is_none_or(|(_, b)| *x > b) {
            best = Some((i, *x));
        }
    }
    best.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

    fn names(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|l| (*l).to_owned()).collect()
    }

    /// Tokens of five bytes, six apart. `label` gets 0.9, the rest 0.01; a leading `#` continues
    /// the word and a `!` is a special token.
    fn text(tokens: &[&str]) -> (Vec<TokenDetail>, Vec<f32>) {
        let mut details = Vec::new();
        let mut scores = Vec::new();
        for (i, token) in tokens.iter().enumerate() {
            let label = token.trim_start_matches('#');
            let start = i * 6;
            details.push(TokenDetail {
                token: String::new(),
                start,
                end: start + 5,
                special: label == "!",
                second: false,
                continues: token.starts_with('#'),
            });
            scores.extend(LABELS.iter().map(|l| if *l == label { 0.9 } else { 0.01 }));
        }
        (details, scores)
    }

    fn found(tokens: &[&str], joining: Joining, ignored: &[&str]) -> Vec<(String, u32, u32)> {
        let (details, scores) = text(tokens);
        let labels = names(&LABELS);
        let labels = Labels::new(&labels, &names(ignored));
        spans(&details, &scores, &labels, joining).into_iter().map(|s| (s.label, s.start, s.end)).collect()
    }

    fn simple(tokens: &[&str]) -> Vec<(String, u32, u32)> {
        found(tokens, Joining::Simple, &[])
    }

    fn s(label: &str, start: u32, end: u32) -> (String, u32, u32) {
        (label.to_owned(), start, end)
    }

    #[test]
    fn b_starts_and_i_goes_on() {
        assert_eq!(simple(&["!", "B-PER", "I-PER", "O", "B-LOC", "!"]), [s("PER", 6, 17), s("LOC", 24, 29)]);
    }

    #[test]
    fn a_second_b_starts_another_span() {
        assert_eq!(simple(&["B-PER", "B-PER", "I-PER"]), [s("PER", 0, 5), s("PER", 6, 17)]);
    }

    #[test]
    fn i_of_another_entity_starts_a_span() {
        assert_eq!(simple(&["B-PER", "I-LOC", "I-LOC"]), [s("PER", 0, 5), s("LOC", 6, 17)]);
    }

    #[test]
    fn a_word_piece_never_splits_off() {
        assert_eq!(simple(&["B-PER", "#O", "#B-LOC", "I-PER"]), [s("PER", 0, 23)]);
        assert_eq!(simple(&["O", "#B-PER", "O"]), []);
        assert_eq!(simple(&["O", "#B-PER", "B-PER"]), [s("PER", 12, 17)]);
    }

    #[test]
    fn a_special_token_ends_a_span() {
        assert_eq!(simple(&["B-PER", "!", "I-PER"]), [s("PER", 0, 5), s("PER", 12, 17)]);
    }

    #[test]
    fn without_joining_each_token_is_a_span() {
        let got = found(&["B-PER", "#I-PER", "O"], Joining::None, &[]);
        assert_eq!(got, [s("B-PER", 0, 5), s("I-PER", 6, 11)]);
    }

    #[test]
    fn named_labels_are_ignored_instead_of_o() {
        let got = found(&["B-PER", "O", "B-LOC"], Joining::Simple, &["PER"]);
        assert_eq!(got, [s("O", 6, 11), s("LOC", 12, 17)]);
    }

    #[test]
    fn plain_labels_join_while_they_stay_the_same() {
        let labels = names(&["O", "DATE"]);
        let labels = Labels::new(&labels, &[]);
        let (details, _) = text(&["O", "O", "O"]);
        let got = spans(&details, &[0.1, 0.9, 0.3, 0.7, 0.9, 0.1], &labels, Joining::Simple);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].start, got[0].end), (0, 11));
        assert!((got[0].score - 0.8).abs() < 1e-6, "mean of 0.9 and 0.7, got {}", got[0].score);
    }

    #[test]
    fn the_second_text_of_a_pair_makes_no_span() {
        let (mut details, scores) = text(&["B-PER", "B-LOC"]);
        details[1].second = true;
        let labels = names(&LABELS);
        assert_eq!(spans(&details, &scores, &Labels::new(&labels, &[]), Joining::Simple).len(), 1);
    }

    proptest! {
        #[test]
        fn spans_come_in_order_and_never_overlap(picks in prop::collection::vec((0usize..5, any::<bool>()), 0..40)) {
            let tokens: Vec<String> = picks.iter().map(|(l, c)| format!("{}{}", if *c { "#" } else { "" }, LABELS[*l])).collect();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            for joining in [Joining::None, Joining::Simple] {
                let got = found(&tokens, joining, &[]);
                prop_assert!(got.windows(2).all(|w| w[0].2 <= w[1].1));
                prop_assert!(got.iter().all(|s| s.1 < s.2 && s.0 != "O"));
            }
        }
    }
}
