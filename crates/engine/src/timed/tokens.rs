//! Tokens without a tokenizer: their number from the bytes, their text as one hash.
//!
//! The first id is the text's FNV-1a hash, the rest are zero: as cheap as it gets, and the score can still be told from
//! the ids alone. Order matters to the score, lengths do too.

/// Bytes a token stands for: the usual ratio of English text.
const BYTES_PER_TOKEN: usize = 4;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// See [`FNV_OFFSET`].
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The first `stop` ids of `text`, and whether there are more.
pub(crate) fn first_ids(text: &str, stop: usize) -> (Vec<u32>, bool) {
    let all = text.len().div_ceil(BYTES_PER_TOKEN).max(1);
    let mut ids = vec![0; all.min(stop)];
    if let Some(first) = ids.first_mut() {
        let hash = text.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        *first = (hash >> 32) as u32 ^ hash as u32;
    }
    (ids, all > stop)
}

/// A sequence's score: its ids hashed onto -8 to 8, the range of a usual reranker's logits.
pub(super) fn score(ids: &[u32]) -> f32 {
    let hash = ids.iter().fold(FNV_OFFSET, |hash, &id| (hash ^ u64::from(id)).wrapping_mul(FNV_PRIME));
    // The upper 24 bits fit an f32 exactly.
    (hash >> 40) as f32 / (1_u32 << 20) as f32 - 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_tokens() {
        for (bytes, stop, tokens, more) in [(0, 9, 1, false), (4, 9, 1, false), (5, 9, 2, false), (400, 9, 9, true)] {
            let (ids, rest) = first_ids(&"x".repeat(bytes), stop);
            assert_eq!((ids.len(), rest), (tokens, more), "{bytes} bytes");
        }
    }

    #[test]
    fn texts_and_their_order_make_the_score() {
        let ids = |text| first_ids(text, 64).0;
        let pair = |a, b| score(&[ids(a), ids(b)].concat());
        assert_eq!(pair("query", "document"), pair("query", "document"));
        assert_ne!(pair("query", "document"), pair("query", "documenu"));
        assert_ne!(pair("query", "document"), pair("document", "query"));
        assert!((-8.0..8.0).contains(&pair("", "")));
    }
}
