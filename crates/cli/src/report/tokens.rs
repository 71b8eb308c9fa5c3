//! Tokenize: what the model reads.

use serde::Serialize;

use super::{ItemRow, ResultRows};
use crate::screen::Screen;

/// Nothing is said once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TokenHead {}

/// One tokenized input; all lists have one entry a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TokenRow {
    /// `tokens` in JSON is the list below, so the count is `token_count`.
    pub(crate) index: usize,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<serde_json::Value>,
    /// Tokens, specials included.
    pub(crate) token_count: usize,
    /// Whether it was cut to fit.
    pub(crate) truncated: bool,
    /// Vocabulary ids.
    pub(crate) ids: Vec<u32>,
    /// Segments.
    pub(crate) type_ids: Vec<u32>,
    /// Vocabulary entries.
    pub(crate) tokens: Vec<String>,
    /// First byte of each token in its text.
    pub(crate) starts: Vec<usize>,
    /// One past its last byte.
    pub(crate) ends: Vec<usize>,
    /// Whether it is a special one.
    pub(crate) special: Vec<bool>,
}

impl ResultRows<TokenHead> for TokenRow {
    fn table(_: &TokenHead, rows: &[Self], screen: Screen) -> String {
        let name = |row: &Self| {
            let item = ItemRow { index: row.index, id: row.id.clone(), ..ItemRow::default() };
            item.name()
        };
        let tokens = rows.iter().flat_map(|row| (0..row.ids.len()).map(move |place| (row, place)));
        screen.table(
            ["input", "place", "id", "type", "token", "bytes"],
            &[1, 2, 3],
            tokens.map(|(row, place)| {
                let number = |list: &[u32]| list.get(place).map_or("-".to_owned(), u32::to_string);
                let byte = |list: &[usize]| list.get(place).map_or("-".to_owned(), usize::to_string);
                let special = row.special.get(place) == Some(&true);
                let bytes =
                    if special { "-".to_owned() } else { format!("{}..{}", byte(&row.starts), byte(&row.ends)) };
                let token = row.tokens.get(place).cloned().unwrap_or_default();
                [name(row), place.to_string(), number(&row.ids), number(&row.type_ids), token, bytes]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_token() {
        let row = TokenRow {
            index: 0,
            id: None,
            token_count: 2,
            truncated: false,
            ids: vec![101, 7592],
            type_ids: vec![0, 0],
            tokens: vec!["[CLS]".to_owned(), "hello".to_owned()],
            starts: vec![0, 0],
            ends: vec![0, 5],
            special: vec![true, false],
        };
        let table = TokenRow::table(&TokenHead {}, &[row], Screen::default());
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("7592") && table.contains("0..5"), "{table}");
    }
}
