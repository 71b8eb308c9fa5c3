//! Where the tokens of a sequence stand in the table of positions and segments.

/// How places are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PositionSegments {
    /// Position of a sequence's first token.
    pub(crate) first: usize,
    /// Segments of the model, at least one.
    pub(crate) segments: usize,
    /// In RoBERTa's families: an id that is not counted, and has the position before the first.
    pub(crate) pad: Option<u32>,
    /// Positions have rows of their own; without, a place is the segment alone.
    pub(crate) counts: bool,
    /// An id that is not taken for a sequence's last token; where there is no other, its first is.
    pub(crate) passed_over: Option<u32>,
}

impl PositionSegments {
    /// Positions of a sequence's first tokens in the first segment.
    pub(crate) fn run(self, tokens: usize) -> impl Iterator<Item = i32> {
        let step = if self.counts { self.segments as i32 } else { 0 };
        let first = self.first as i32 * step;
        (0..tokens as i32).map(move |i| first + i * step)
    }

    /// Positions of ids among which `pad` stands.
    pub(crate) fn around(self, pad: u32, ids: &[u32]) -> impl Iterator<Item = i32> {
        let mut counted = self.run(ids.len());
        let apart = (self.first.saturating_sub(1) * self.segments) as i32;
        ids.iter().map(move |&id| if id == pad { apart } else { counted.next().unwrap_or(apart) })
    }
}
