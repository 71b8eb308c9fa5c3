//! Keeps absurdly long texts from being tokenized whole.
//!
//! A text is tokenized from growing heads until there are tokens to spare. The
//! first tokens of a head equal the first tokens of the whole text because a head
//! ends where words end, and because the last [`SPARE_TOKENS`] of it, the only
//! ones whose neighbours were cut off, are never used:
//!
//! ```text
//! bytes:  (limit + SPARE_TOKENS) · FIRST_BYTES_PER_TOKEN, then ×GROWTH, up to
//!         max(limit · LAST_BYTES_PER_TOKEN, LEAST_LAST_HEAD)
//! done:   at limit + SPARE_TOKENS tokens, or at the end of the text
//! ```
//!
//! Past the last head the text is something else than language (a token would have
//! to span [`LAST_BYTES_PER_TOKEN`] bytes): tokens found by then are all it gets,
//! and it counts as truncated.

use std::{iter::successors, mem::replace};

/// Bytes looked at first for each token wanted. English takes 4–5 bytes a token, source code 3, Chinese 3–4.5:
/// one round is enough for text, and a megabyte document costs no more than a long page.
const FIRST_BYTES_PER_TOKEN: usize = 16;

/// Bytes looked at for each token wanted before giving up.
const LAST_BYTES_PER_TOKEN: usize = 128;

/// Least size of the last head: no text under half a megabyte loses anything. The crate normalizes 1–2 MB/s, so that
/// the worst text, one endless word, takes under half a second.
const LEAST_LAST_HEAD: usize = 512 << 10;

/// How much longer each head is than the one before: all heads together cost little more than the last.
const GROWTH: usize = 8;

/// Tokens at the end of a head that are not trusted. WordPiece makes at most 100 tokens of one word (its
/// `max_input_chars_per_word`), and merges reach no further than their word.
pub(super) const SPARE_TOKENS: usize = 128;

/// How far past its size a head may reach to end at the end of a word. A word cut after so many bytes is far beyond
/// WordPiece's `max_input_chars_per_word`, so that its beginning is `[UNK]` just as the whole is.
const WORD_BYTES: usize = 4096;

/// Up to so many bytes a text that must fit is counted to its last token, so that the error tells its true length.
pub(super) const COUNTED_BYTES: usize = 256 << 10;

/// Growing heads of `text`, for as many as `limit` tokens: the last is the whole text, or all that is looked at.
pub(super) fn heads(text: &str, limit: usize) -> impl Iterator<Item = Head<'_>> {
    let last = limit.saturating_mul(LAST_BYTES_PER_TOKEN).max(LEAST_LAST_HEAD);
    let first = limit.saturating_add(SPARE_TOKENS).saturating_mul(FIRST_BYTES_PER_TOKEN).min(last);
    let sizes = successors(Some(first), move |&size| (size < last).then(|| size.saturating_mul(GROWTH).min(last)));
    let all = sizes.map(move |size| {
        let head = head(text, size);
        let whole = head.len() == text.len();
        Head { text: head, whole, last: whole || size == last }
    });
    let mut ended = false;
    all.take_while(move |head| !replace(&mut ended, head.last))
}

/// The beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'t> {
    /// Its text.
    pub(super) text: &'t str,
    /// Whether it is all of the text.
    pub(super) whole: bool,
    /// Whether no longer one follows.
    pub(super) last: bool,
}

/// The beginning of `text` of about `size` bytes: it ends before the first run of whitespace that starts at or after
/// `size`, or in the middle of a word longer than [`WORD_BYTES`], always on a character boundary.
fn head(text: &str, size: usize) -> &str {
    if text.len() <= size {
        return text;
    }
    let from = text.floor_char_boundary(size);
    // Whitespace at the very place belongs to a run that may have begun before it.
    let mut in_run = text[..from].ends_with(char::is_whitespace);
    let most = text.floor_char_boundary(size.saturating_add(WORD_BYTES));
    for (at, c) in text[from..most].char_indices() {
        let space = c.is_whitespace();
        if space && !in_run {
            return &text[..from + at];
        }
        in_run = space;
    }
    &text[..most]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_before_the_next_whitespace() {
        assert_eq!(head("aa bb cc", 4), "aa bb");
        assert_eq!(head("aa bb cc", 3), "aa bb");
        assert_eq!(head("aa bb cc", 2), "aa");
        assert_eq!(head("aa   bb cc", 3), "aa   bb");
        assert_eq!(head("aa bb cc", 7), "aa bb cc");
        assert_eq!(head("aa bb cc", 100), "aa bb cc");
    }

    #[test]
    fn an_endless_word_is_cut_far_behind_its_beginning() {
        let text = "ü".repeat(10 * WORD_BYTES);
        let cut = head(&text, 11);
        assert!(cut.len() >= WORD_BYTES && cut.len() <= WORD_BYTES + 11);
    }

    #[test]
    fn whatever_the_text_only_its_beginning_is_looked_at() {
        for unit in ["a", " ", "word ", "漢"] {
            let text = unit.repeat((50 << 20) / unit.len());
            let all: Vec<Head<'_>> = heads(&text, 512).collect();
            let bytes: usize = all.iter().map(|h| h.text.len()).sum();
            assert!(bytes < 2 * LEAST_LAST_HEAD, "{bytes} bytes of {unit:?}");
            assert!(all[0].text.len() < 16 << 10, "{}", all[0].text.len());
            let end = all.last().unwrap();
            assert!(end.last && !end.whole && end.text.len() >= LEAST_LAST_HEAD);
        }
    }

    #[test]
    fn a_short_text_is_its_own_only_head() {
        let whole = |text| vec![Head { text, whole: true, last: true }];
        assert_eq!(heads("", 512).collect::<Vec<_>>(), whole(""));
        assert_eq!(heads("a b", 512).collect::<Vec<_>>(), whole("a b"));
        assert_eq!(heads("a b", usize::MAX).collect::<Vec<_>>(), whole("a b"));
    }

    proptest! {
        #[test]
        fn a_head_is_a_beginning_and_never_ends_in_a_word(text in "[ a-cü漢\n]{0,60}", size in 0usize..80) {
            let cut = head(&text, size);
            prop_assert!(text.starts_with(cut));
            prop_assert!(cut.len() == text.len() || cut.len() + 3 >= size);
            let rest = &text[cut.len()..];
            prop_assert!(rest.is_empty() || rest.starts_with(char::is_whitespace));
        }
    }
}
