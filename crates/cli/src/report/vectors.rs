//! Embed, embed-tokens and sparse: vectors, shown by their first numbers.

use serde::Serialize;
use sortie_proto::ranking::by_score;

use super::{ItemRow, ResultRows, score};
use crate::screen::Screen;

/// Numbers of a vector that a table shows.
const SHOWN: usize = 6;

/// What is said once of dense vectors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct VectorHead {
    /// Numbers in each vector.
    pub(crate) dimensions: usize,
}

/// One dense vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct VectorRow {
    #[serde(flatten)]
    pub(crate) item: ItemRow,
    /// Its numbers.
    pub(crate) vector: Vec<f32>,
}

impl ResultRows<VectorHead> for VectorRow {
    fn table(head: &VectorHead, rows: &[Self], screen: Screen) -> String {
        screen.table(
            ["input", "tokens", "dims", "vector", "text"],
            &[1, 2],
            rows.iter().map(|row| {
                let first = row.vector.iter().take(SHOWN).map(|x| score(*x)).collect::<Vec<_>>().join(" ");
                let more = if row.vector.len() > SHOWN { " …" } else { "" };
                let dims = head.dimensions.to_string();
                [row.item.name(), row.item.size(), dims, format!("{first}{more}"), row.item.label.clone()]
            }),
        )
    }
}

/// Matrices of token vectors say nothing once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MatrixHead {}

/// One text's token vectors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MatrixRow {
    #[serde(flatten)]
    pub(crate) item: ItemRow,
    /// One a token that has a vector.
    pub(crate) vectors: Vec<Vec<f32>>,
    /// The place of each one's token in its sequence.
    pub(crate) places: Vec<u32>,
}

impl ResultRows<MatrixHead> for MatrixRow {
    fn table(_: &MatrixHead, rows: &[Self], screen: Screen) -> String {
        screen.table(
            ["input", "tokens", "vectors", "dims", "text"],
            &[1, 2, 3],
            rows.iter().map(|row| {
                let dims = row.vectors.first().map_or(0, Vec::len).to_string();
                [row.item.name(), row.item.size(), row.vectors.len().to_string(), dims, row.item.label.clone()]
            }),
        )
    }
}

/// Sparse vectors say nothing once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SparseHead {}

/// One sparse vector; `indices` ascend, `weights` go with them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SparseRow {
    #[serde(flatten)]
    pub(crate) item: ItemRow,
    /// Vocabulary ids.
    pub(crate) indices: Vec<u32>,
    /// Their weights.
    pub(crate) weights: Vec<f32>,
}

impl ResultRows<SparseHead> for SparseRow {
    fn table(_: &SparseHead, rows: &[Self], screen: Screen) -> String {
        screen.table(
            ["input", "tokens", "entries", "heaviest (id:weight)", "text"],
            &[1, 2],
            rows.iter().map(|row| {
                let mut entries: Vec<_> = row.indices.iter().zip(&row.weights).collect();
                entries.sort_by(|a, b| by_score(*a.1, *b.1));
                let more = if entries.len() > SHOWN { " …" } else { "" };
                let first = entries.iter().take(SHOWN).map(|(id, w)| format!("{id}:{w:.2}")).collect::<Vec<_>>();
                let shown = format!("{}{more}", first.join(" "));
                [row.item.name(), row.item.size(), entries.len().to_string(), shown, row.item.label.clone()]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_first_numbers() {
        let row = VectorRow { item: ItemRow::default(), vector: vec![0.5; 384] };
        let table = VectorRow::table(&VectorHead { dimensions: 384 }, &[row], Screen::default());
        assert!(table.contains("384") && table.contains("0.5000 …"), "{table}");
    }

    #[test]
    fn sparse_entries_come_heaviest_first() {
        let row = SparseRow { item: ItemRow::default(), indices: vec![3, 9], weights: vec![0.5, 2.0] };
        let table = SparseRow::table(&SparseHead {}, &[row], Screen::default());
        assert!(table.contains("9:2.00 3:0.50"), "{table}");
    }
}
