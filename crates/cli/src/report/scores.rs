//! Rerank and similarity: documents in score order.

use serde::Serialize;
use sortie_proto::ranking::by_score;

use super::{ItemRow, ResultRows, score};
use crate::screen::Screen;

/// What is said once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ScoreHead {
    /// `cross_encoder`, `logit_difference`, `cosine`, `maxsim`, `mean_maxsim`, or empty where the server did not say.
    pub(crate) scoring: &'static str,
}

/// One document. Rows come best first, equal scores in input order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ScoreRow {
    /// Place in the order, from 1.
    pub(crate) rank: usize,
    /// Its score.
    pub(crate) score: f32,
    #[serde(flatten)]
    pub(crate) item: ItemRow,
}

impl ScoreRow {
    /// Ranks scored items and keeps the best `top`.
    pub(crate) fn ranked(mut scored: Vec<(f32, ItemRow)>, top: Option<usize>) -> Vec<Self> {
        scored.sort_by(|a, b| by_score(a.0, b.0).then(a.1.index.cmp(&b.1.index)));
        scored.truncate(top.unwrap_or(usize::MAX));
        scored.into_iter().enumerate().map(|(place, (score, item))| Self { rank: place + 1, score, item }).collect()
    }
}

impl ResultRows<ScoreHead> for ScoreRow {
    fn table(_: &ScoreHead, rows: &[Self], screen: Screen) -> String {
        let named = if rows.iter().any(|row| row.item.id.is_some()) { "id" } else { "index" };
        screen.table(
            ["rank", "score", named, "tokens", "text"],
            &[0, 1, 3],
            rows.iter().map(|row| {
                [row.rank.to_string(), score(row.score), row.item.name(), row.item.size(), row.item.label.clone()]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(index: usize) -> ItemRow {
        ItemRow { index, label: format!("document {index}"), tokens: 7, ..ItemRow::default() }
    }

    #[test]
    fn best_first_equals_in_input_order() {
        let rows = ScoreRow::ranked(vec![(0.5, item(0)), (0.9, item(1)), (0.5, item(2)), (-1.0, item(3))], Some(3));
        let order: Vec<_> = rows.iter().map(|row| (row.rank, row.item.index)).collect();
        assert_eq!(order, [(1, 1), (2, 0), (3, 2)]);
    }

    #[test]
    fn documented_names() {
        let row = &ScoreRow::ranked(vec![(0.25, item(4))], None)[0];
        let json = serde_json::to_value(row).unwrap();
        let expect = serde_json::json!({"rank": 1, "score": 0.25, "index": 4, "tokens": 7, "truncated": false});
        assert_eq!(json, expect);
    }

    #[test]
    fn ids_head_the_column_where_given() {
        let row = ItemRow { id: Some("x9".into()), truncated: true, ..item(0) };
        let rows = ScoreRow::ranked(vec![(1.0, row)], None);
        let table = ScoreRow::table(&ScoreHead { scoring: "cosine" }, &rows, Screen::default());
        assert!(table.contains("id") && table.contains("x9") && table.contains("7 (cut)"), "{table}");
    }
}
