//! How many tokens of each text are kept.
//!
//! `room` is what the specials leave of the limit. Which end of a text is cut changes no count.

use super::{Truncation, piece::Piece};
use crate::error::InputError;

/// What stays of a text or a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Tokens kept of the first text.
    pub(super) first: usize,
    /// Tokens kept of the second; 0 for a single text.
    pub(super) second: usize,
    /// Whether any token was cut.
    pub(super) truncated: bool,
    /// The last tokens of each text are kept, not the first.
    pub(super) left: bool,
}

impl Kept {
    /// The `n` ids of a text that are kept.
    pub(super) fn of<'a>(&self, ids: &'a [u32], n: usize) -> &'a [u32] {
        if self.left { &ids[ids.len() - n..] } else { &ids[..n] }
    }
}

/// Fits the pieces and `specials` into `limit` by `rule`.
pub(super) fn fit(
    a: &Piece,
    b: Option<&Piece>,
    limit: usize,
    specials: usize,
    rule: Truncation,
) -> Result<Kept, InputError> {
    let room = limit.saturating_sub(specials);
    let (n1, n2) = (a.ids.len(), b.map_or(0, |b| b.ids.len()));
    let more = a.more || b.is_some_and(|b| b.more);
    let too_long = n1 + n2 > room || more;
    let (first, second) = match rule {
        Truncation::Error if too_long => {
            return Err(InputError::TooLong { tokens: n1 + n2 + specials, limit });
        }
        Truncation::DocumentOnly if b.is_some() => {
            let left = room.checked_sub(n1).filter(|&left| !a.more && (left > 0 || n2 == 0));
            let Some(left) = left else {
                return Err(InputError::QueryTooLong { tokens: n1 + specials, limit });
            };
            (n1, n2.min(left))
        }
        _ if b.is_some() => longest_first(n1, n2, room),
        _ => (n1.min(room), 0),
    };
    Ok(Kept { first, second, truncated: more || first < n1 || second < n2, left: false })
}

/// The `longest_first` rule of `tokenizers`: the shorter text stays whole if it takes no more than half of the room;
/// otherwise each gets half, and an odd token goes to the longer one (to the second where both are equal).
fn longest_first(n1: usize, n2: usize, room: usize) -> (usize, usize) {
    if n1 + n2 <= room {
        return (n1, n2);
    }
    let swap = n1 > n2;
    let short = n1.min(n2);
    let (short, long) = if short <= room / 2 { (short, room - short) } else { (room / 2, room - room / 2) };
    if swap { (long, short) } else { (short, long) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::{
        Encoding, TruncationDirection, TruncationParams, TruncationStrategy, utils::truncation::truncate_encodings,
    };

    use super::*;

    fn piece(n: usize, more: bool) -> Piece {
        Piece { ids: vec![7; n], more, encoding: None }
    }

    fn encoding(n: usize) -> Encoding {
        Encoding::new(
            vec![7; n],
            vec![0; n],
            vec!["x".to_owned(); n],
            vec![None; n],
            vec![(0, 0); n],
            vec![0; n],
            vec![1; n],
            Vec::new(),
            Default::default(),
        )
    }

    fn kept(first: usize, second: usize, truncated: bool) -> Result<Kept, InputError> {
        Ok(Kept { first, second, truncated, left: false })
    }

    #[test]
    fn the_document_alone_is_cut() {
        let rule = Truncation::DocumentOnly;
        assert_eq!(fit(&piece(5, false), Some(&piece(9, false)), 16, 3, rule), kept(5, 8, true));
        assert_eq!(fit(&piece(5, false), Some(&piece(8, false)), 16, 3, rule), kept(5, 8, false));
        assert_eq!(fit(&piece(13, false), Some(&piece(0, false)), 16, 3, rule), kept(13, 0, false));
        let full = Err(InputError::QueryTooLong { tokens: 16, limit: 16 });
        assert_eq!(fit(&piece(13, false), Some(&piece(1, false)), 16, 3, rule), full);
        let over = Err(InputError::QueryTooLong { tokens: 17, limit: 16 });
        assert_eq!(fit(&piece(14, false), Some(&piece(0, false)), 16, 3, rule), over);
    }

    #[test]
    fn a_text_that_goes_on_is_truncated_though_its_tokens_fit() {
        assert_eq!(fit(&piece(4, true), None, 16, 2, Truncation::DocumentOnly), kept(4, 0, true));
        let error = Err(InputError::TooLong { tokens: 6, limit: 16 });
        assert_eq!(fit(&piece(4, true), None, 16, 2, Truncation::Error), error);
    }

    #[test]
    fn no_truncation_means_an_error() {
        let error = Err(InputError::TooLong { tokens: 17, limit: 16 });
        assert_eq!(fit(&piece(7, false), Some(&piece(7, false)), 16, 3, Truncation::Error), error);
        assert_eq!(fit(&piece(7, false), Some(&piece(6, false)), 16, 3, Truncation::Error), kept(7, 6, false));
    }

    proptest! {
        #[test]
        fn longest_first_is_the_reference_rule(n1 in 0usize..40, n2 in 0usize..40, room in 0usize..50) {
            let rule = TruncationParams {
                direction: TruncationDirection::Right,
                max_length: room,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            };
            let (a, b) = truncate_encodings(encoding(n1), Some(encoding(n2)), &rule).unwrap();
            prop_assert_eq!(longest_first(n1, n2, room), (a.len(), b.unwrap().len()));
        }
    }
}
