//! The items that engines are given, and batches of them in arrival order.

use anyhow::Context as _;

/// Tokens of 200 query–document pairs: log-normal around 140 with σ 0.55, cut to
/// 16…512, drawn once with a fixed seed. Mean 161, largest 421, 32,182 in all.
const RERANK_LENGTHS: &str = include_str!("../data/rerank_lengths.json");

/// `[CLS]` and `[SEP]` of the BERT vocabularies.
const CLS: u32 = 101;
const SEP: u32 = 102;

/// Whole words start about here in BERT's English vocabulary; below are specials and single characters.
const FIRST_WORD: u32 = 1_996;
const LAST_WORD: u32 = 29_611;

/// Token ids of the 200 pairs: `[CLS]`, words picked by a fixed generator, `[SEP]`.
///
/// # Errors
/// When the committed lengths cannot be read.
pub fn rerank_items() -> anyhow::Result<Vec<Vec<u32>>> {
    let lengths: Vec<usize> = serde_json::from_str(RERANK_LENGTHS).context("data/rerank_lengths.json")?;
    let mut state = 7_u64;
    let mut word = || {
        // Knuth's MMIX generator; its high bits are good enough to pick words.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let span = u64::from(LAST_WORD - FIRST_WORD);
        FIRST_WORD + u32::try_from((state >> 33) % span).unwrap_or(0)
    };
    let item = |length: usize| {
        let mut ids = vec![CLS];
        ids.extend((2..length).map(|_| word()));
        ids.push(SEP);
        ids
    };
    Ok(lengths.into_iter().map(item).collect())
}

/// Cuts `lengths` into batches in arrival order: as many as fit `most` tokens, at least one.
#[must_use]
pub fn batches_in_order(lengths: &[usize], most: usize) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        if at > start && tokens + length > most {
            batches.push(start..at);
            (start, tokens) = (at, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        batches.push(start..lengths.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_the_one_described() {
        let items = rerank_items().unwrap();
        let lengths: Vec<_> = items.iter().map(Vec::len).collect();
        assert_eq!(lengths.len(), 200);
        assert_eq!(lengths.iter().sum::<usize>(), 32_182);
        assert_eq!(lengths.iter().max(), Some(&421));
        assert!(items.iter().all(|ids| ids.first() == Some(&CLS) && ids.last() == Some(&SEP)));
        assert_eq!(rerank_items().unwrap(), items, "the same on each run");
    }

    #[test]
    fn batches_cover_all_and_keep_the_limit() {
        let lengths = [5, 5, 5, 20, 1, 1];
        assert_eq!(batches_in_order(&lengths, 10), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(batches_in_order(&lengths, 1_000).first(), Some(&(0..6)));
        assert_eq!(batches_in_order(&[], 10), []);
    }
}
