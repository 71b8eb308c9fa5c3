//! Jobs of a baseline: their chunks, and the attempts of each.

use std::time::Duration;

use super::{
    action::{ChunkItem, SendKind},
    rules::Cut,
};

/// A job that is not over.
#[derive(Debug)]
pub(super) struct OpenJob {
    pub(super) began: Duration,
    pub(super) chunks: Vec<OpenChunk>,
    pub(super) attempts: Vec<OpenAttempt>,
    /// Chunks without an answer.
    pub(super) left: usize,
}

#[derive(Debug)]
pub(super) struct OpenChunk {
    pub(super) items: Box<[ChunkItem]>,
    pub(super) tokens: u64,
    pub(super) done: bool,
    /// Attempts, hedges not counted.
    pub(super) tries: u32,
    pub(super) hedged: bool,
}

#[derive(Debug)]
pub(super) struct OpenAttempt {
    pub(super) chunk: usize,
    pub(super) server: usize,
    pub(super) sent: Duration,
    pub(super) live: bool,
    pub(super) kind: SendKind,
    /// When it counts as late; never where nothing is hedged.
    pub(super) late_at: Duration,
}

impl OpenJob {
    /// Servers that a chunk was sent to.
    pub(super) fn tried(&self, chunk: usize) -> Vec<usize> {
        self.attempts.iter().filter(|attempt| attempt.chunk == chunk).map(|attempt| attempt.server).collect()
    }

    /// Whether an attempt of a chunk is under way.
    pub(super) fn is_racing(&self, chunk: usize) -> bool {
        self.attempts.iter().any(|attempt| attempt.live && attempt.chunk == chunk)
    }
}

/// The chunks of a job whose items have so many tokens each.
pub(super) fn cut(tokens: impl Iterator<Item = u64>, cut: Cut) -> Vec<OpenChunk> {
    let mut items: Vec<ChunkItem> = tokens
        .enumerate()
        .map(|(place, tokens)| ChunkItem { place, tokens: u32::try_from(tokens).unwrap_or(u32::MAX) })
        .collect();
    let size = match cut {
        Cut::Whole => items.len(),
        Cut::Items(size) => size.min(items.len()),
        Cut::Chunks(chunks) => {
            items.sort_by_key(|item| std::cmp::Reverse(item.tokens));
            return even(&items, chunks).into_iter().map(chunk).collect();
        }
    };
    items.chunks(size.max(1)).map(|items| chunk(items.to_vec())).collect()
}

/// Each item to the bin with the fewest tokens.
fn even(items: &[ChunkItem], chunks: usize) -> Vec<Vec<ChunkItem>> {
    let mut bins: Vec<(u64, Vec<ChunkItem>)> = vec![(0, Vec::new()); chunks.min(items.len())];
    for item in items {
        if let Some(bin) = bins.iter_mut().min_by_key(|bin| bin.0) {
            bin.0 += u64::from(item.tokens);
            bin.1.push(*item);
        }
    }
    bins.into_iter().map(|(_, items)| items).collect()
}

fn chunk(items: Vec<ChunkItem>) -> OpenChunk {
    let tokens = items.iter().map(|item| u64::from(item.tokens)).sum();
    OpenChunk { items: items.into(), tokens, done: false, tries: 0, hedged: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_chunk() {
        let sizes = [5, 1, 9, 3, 3];
        for (how, chunks) in
            [(Cut::Whole, 1), (Cut::Items(2), 3), (Cut::Items(usize::MAX), 1), (Cut::Chunks(2), 2), (Cut::Chunks(9), 5)]
        {
            let cut = cut(sizes.into_iter(), how);
            assert_eq!(cut.len(), chunks, "{how:?}");
            let mut places: Vec<usize> = cut.iter().flat_map(|chunk| &chunk.items).map(|item| item.place).collect();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3, 4], "{how:?}");
            assert_eq!(cut.iter().map(|chunk| chunk.tokens).sum::<u64>(), 21, "{how:?}");
        }
        let even = cut(sizes.into_iter(), Cut::Chunks(2));
        assert_eq!(even.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [10, 11]);
    }
}
