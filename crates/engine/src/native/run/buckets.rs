//! Shapes that small batches are brought to, so that a CUDA graph captured for a
//! shape serves every batch that fits it.
//!
//! A bucket is (tokens, sequences, longest). A batch of `t` tokens in `s` sequences
//! fits where `s ≤ sequences`, its longest ≤ `longest` and `t + (sequences − s) ≤
//! tokens`: the rest is filled with sequences nobody asked for, each of at least one
//! token and at most `longest`. The grid is fixed and small: one captured graph a
//! bucket, made at warm-up.
//!
//! Of those that fit the one with the fewest tokens is taken, then the shortest
//! `longest`, then the fewest sequences: products cost by token, attention by length.

/// A shape that a graph is captured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bucket {
    pub(crate) tokens: usize,
    pub(crate) longest: usize,
    pub(crate) sequences: usize,
}

/// Tokens of buckets. Steps of a quarter to a half: filling costs less than the launches it saves.
/// Past the last a batch keeps the device busy for longer than its launches take.
const TOKENS: [usize; 11] = [32, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 2_048];

/// Longest sequences of buckets.
const LONGEST: [usize; 4] = [64, 128, 256, 512];

/// Sequences of buckets.
const SEQUENCES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Most buckets of a grid: each costs a capture at warm-up and its nodes in device memory.
pub(crate) const MOST_BUCKETS: usize = 128;

/// The buckets that are captured, in the order they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid(Vec<Bucket>);

impl Grid {
    /// The grid for a model whose longest sequence is `longest`.
    pub(crate) fn new(longest: usize) -> Self {
        let mut lengths: Vec<usize> = LONGEST.iter().copied().filter(|&l| l < longest).collect();
        lengths.push(longest.min(LONGEST[LONGEST.len() - 1]));
        lengths.dedup();
        let mut all = Vec::new();
        for tokens in TOKENS {
            for &longest in &lengths {
                for sequences in SEQUENCES {
                    let bucket = Bucket { tokens, longest, sequences };
                    if bucket.is_useful() {
                        all.push(bucket);
                    }
                }
            }
        }
        all.sort();
        // The smallest batches gain most; what is cut off runs eagerly.
        all.truncate(MOST_BUCKETS);
        Self(all)
    }

    /// Without buckets of more than `tokens`.
    #[cfg(test)]
    pub(crate) fn up_to(mut self, tokens: usize) -> Self {
        self.0.retain(|b| b.tokens <= tokens);
        self
    }

    /// Every bucket, with the number its graph is known by.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Bucket)> + '_ {
        self.0.iter().copied().enumerate()
    }

    /// The bucket for sequences of these lengths, and how long the fillers are.
    pub(crate) fn fit(&self, lengths: &[usize]) -> Option<(usize, Bucket, Vec<usize>)> {
        let tokens: usize = lengths.iter().sum();
        let longest = lengths.iter().copied().max()?;
        let (number, bucket) = self.iter().find(|(_, b)| b.holds(tokens, lengths.len(), longest))?;
        Some((number, bucket, bucket.fillers(tokens, lengths.len())))
    }
}

impl Bucket {
    /// Whether its tokens can be spread over its sequences, and a batch would want it:
    /// neither more sequences than it has room for at eight tokens each, nor a `longest`
    /// that no sequence in it can reach.
    fn is_useful(self) -> bool {
        /// Shorter texts than this on average are too rare to keep graphs for.
        const SHORT: usize = 8;
        self.sequences * self.longest >= self.tokens
            && self.sequences * SHORT <= self.tokens
            && (self.longest <= self.tokens || self.longest == LONGEST[0])
    }

    fn holds(self, tokens: usize, sequences: usize, longest: usize) -> bool {
        let Some(more) = self.sequences.checked_sub(sequences) else { return false };
        let Some(fill) = self.tokens.checked_sub(tokens) else { return false };
        longest <= self.longest && fill >= more && fill <= more * self.longest
    }

    /// Lengths of the fillers of a batch that it [holds](Self::holds), as even as can be:
    /// attention costs the square of each.
    fn fillers(self, tokens: usize, sequences: usize) -> Vec<usize> {
        let more = self.sequences.saturating_sub(sequences);
        let fill = self.tokens.saturating_sub(tokens);
        if more == 0 {
            return Vec::new();
        }
        (0..more).map(|i| fill / more + usize::from(i < fill % more)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grid_is_bounded_and_without_doubles() {
        for longest in [16, 77, 128, 384, 512, 514, 8_192] {
            let grid = Grid::new(longest);
            let all: Vec<_> = grid.iter().map(|(_, b)| b).collect();
            assert!(!all.is_empty() && all.len() <= MOST_BUCKETS, "{longest}: {}", all.len());
            assert!(all.windows(2).all(|w| w[0] < w[1]), "{longest}");
            assert!(all.iter().all(|b| b.longest <= longest), "{longest}: a filler would have no position");
        }
    }

    #[test]
    fn one_usual_pair_fits_closely() {
        let grid = Grid::new(512);
        let (_, bucket, fill) = grid.fit(&[128]).unwrap();
        assert_eq!((bucket, fill.len()), (Bucket { tokens: 128, longest: 128, sequences: 1 }, 0));
        let (_, bucket, fill) = grid.fit(&[120]).unwrap();
        assert_eq!((bucket.tokens, bucket.sequences, fill), (128, 2, vec![8]));
        assert!(grid.fit(&[512; 5]).is_none(), "past the grid");
        assert!(grid.fit(&[]).is_none());
    }

    proptest! {
        #[test]
        fn what_fits_fills_its_bucket_exactly(lengths in prop::collection::vec(1usize..513, 1..40), longest in prop::sample::select(vec![128usize, 384, 512])) {
            let lengths: Vec<usize> = lengths.into_iter().map(|n| n.min(longest)).collect();
            let grid = Grid::new(longest);
            if let Some((number, bucket, fill)) = grid.fit(&lengths) {
                prop_assert_eq!(grid.iter().nth(number), Some((number, bucket)));
                prop_assert_eq!(lengths.len() + fill.len(), bucket.sequences);
                prop_assert_eq!(lengths.iter().chain(&fill).sum::<usize>(), bucket.tokens);
                prop_assert!(lengths.iter().chain(&fill).all(|&n| n >= 1 && n <= bucket.longest));
            }
        }

        #[test]
        fn short_batches_fit(lengths in prop::collection::vec(8usize..60, 1..5)) {
            prop_assert!(Grid::new(512).fit(&lengths).is_some(), "{lengths:?}");
        }
    }
}
