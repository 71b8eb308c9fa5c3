//! Classify and tag: labels with scores.

use serde::Serialize;
use sortie_proto::ranking;

use super::{ItemRow, ResultRows, score};
use crate::screen::Screen;

/// Labels that a table shows of each input.
const SHOWN: usize = 5;

/// What is said once of a classification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClassHead {
    /// Labels, in the order of every row's scores.
    pub(crate) labels: Vec<String>,
    /// What was done to the logits: `raw`, `sigmoid` or `softmax`.
    pub(crate) activation: &'static str,
}

/// One classified input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClassRow {
    #[serde(flatten)]
    pub(crate) item: ItemRow,
    /// The label with the highest score.
    pub(crate) label: String,
    /// That score.
    pub(crate) score: f32,
    /// One score a label.
    pub(crate) scores: Vec<f32>,
}

impl ClassRow {
    /// Finds the best label; `None` where there are no scores.
    pub(crate) fn new(item: ItemRow, labels: &[String], scores: Vec<f32>) -> Option<Self> {
        let best = ranking::first(&scores)?;
        let label = labels.get(best).cloned().unwrap_or_default();
        Some(Self { item, label, score: *scores.get(best)?, scores })
    }
}

impl ResultRows<ClassHead> for ClassRow {
    fn table(head: &ClassHead, rows: &[Self], screen: Screen) -> String {
        screen.table(
            ["input", "tokens", "scores", "text"],
            &[1],
            rows.iter().map(|row| {
                let mut scored: Vec<_> = head.labels.iter().zip(&row.scores).collect();
                scored.sort_by(|a, b| ranking::by_score(*a.1, *b.1));
                let more = if scored.len() > SHOWN { ", …" } else { "" };
                let shown = scored.iter().take(SHOWN).map(|(label, s)| format!("{label} {}", score(**s)));
                let shown = format!("{}{more}", shown.collect::<Vec<_>>().join(", "));
                [row.item.name(), row.item.size(), shown, row.item.label.clone()]
            }),
        )
    }
}

/// What is said once of tags.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TagHead {
    /// Labels, in the order of token scores.
    pub(crate) labels: Vec<String>,
}

/// One tagged input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TagRow {
    #[serde(flatten)]
    pub(crate) item: ItemRow,
    /// In text order.
    pub(crate) spans: Vec<SpanRow>,
    /// A row of label scores a token, special tokens included, with `--token-scores`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) token_scores: Vec<Vec<f32>>,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SpanRow {
    /// Its label.
    pub(crate) label: String,
    /// First byte in the UTF-8 text.
    pub(crate) start: usize,
    /// One past its last byte.
    pub(crate) end: usize,
    /// Mean score of the label over the span's tokens.
    pub(crate) score: f32,
    /// The span itself; empty where the bytes are not a stretch of the text.
    pub(crate) text: String,
}

impl ResultRows<TagHead> for TagRow {
    fn table(_: &TagHead, rows: &[Self], screen: Screen) -> String {
        let spans = rows.iter().flat_map(|row| row.spans.iter().map(move |span| (row, span)));
        screen.table(
            ["input", "label", "score", "bytes", "text"],
            &[2],
            spans.map(|(row, span)| {
                let bytes = format!("{}..{}", span.start, span.end);
                [row.item.name(), span.label.clone(), score(span.score), bytes, span.text.clone()]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_label_leads() {
        let labels = ["no", "yes"].map(str::to_owned);
        let row = ClassRow::new(ItemRow::default(), &labels, vec![0.1, 0.9]).unwrap();
        assert_eq!((row.label.as_str(), row.score), ("yes", 0.9));
        let head = ClassHead { labels: labels.to_vec(), activation: "softmax" };
        let table = ClassRow::table(&head, &[row], Screen::default());
        assert!(table.contains("yes 0.9000, no 0.1000"), "{table}");
        assert!(ClassRow::new(ItemRow::default(), &labels, vec![]).is_none());
    }

    #[test]
    fn spans_are_rows() {
        let span = SpanRow { label: "PER".to_owned(), start: 3, end: 6, score: 0.5, text: "Ada".to_owned() };
        let row = TagRow { item: ItemRow::default(), spans: vec![span.clone(), span], token_scores: vec![] };
        let table = TagRow::table(&TagHead { labels: vec![] }, &[row], Screen::default());
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("3..6"), "{table}");
    }
}
