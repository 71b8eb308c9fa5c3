//! Cuts items into padded batches.
//!
//! Sorted by length, longest first, so that a batch holds like lengths; then cut
//! where the whole costs least, by dynamic programming over the cuts:
//!
//! `cost(batch) = run_cost + rows × longest`, `best(i) = min over j of best(j) + cost(j..i)`.
//!
//! Every item is in exactly one batch. A batch of more than one row never holds
//! more padded tokens than the limit.

/// What one run costs beside its tokens, in tokens: about 2 ms where a token of a
/// small model takes 30 µs on two cores. Keeps odd lengths from running alone.
pub(crate) const RUN_COST_TOKENS: usize = 64;

/// The same on a GPU: about half a millisecond of launches where a token takes a fifth of a microsecond.
pub(crate) const GPU_RUN_COST_TOKENS: usize = 2_048;

/// What bounds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Most padded tokens (rows × longest).
    pub(crate) tokens: usize,
    /// Most rows.
    pub(crate) rows: usize,
    /// What one run costs beside its tokens, in tokens.
    pub(crate) run_cost: usize,
    /// Only items of one length ride together.
    pub(crate) equal_lengths: bool,
}

/// Items that run together, by their index in the lengths planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PaddedBatch {
    /// Longest first.
    pub(crate) items: Vec<usize>,
    /// Length of the longest.
    pub(crate) longest: usize,
}

/// Plans batches over items of these lengths.
pub(crate) fn plan(lengths: &[usize], limits: BatchLimits) -> Vec<PaddedBatch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Stable, so that like lengths keep their order.
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));

    // best[i]: least cost of the first i items, and where the last batch of them starts.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for end in 1..=order.len() {
        let mut least = (usize::MAX, end - 1);
        for start in (0..end).rev() {
            let longest = lengths[order[start]];
            let rows = end - start;
            let padded = rows.saturating_mul(longest);
            if rows > 1 && (padded > limits.tokens || rows > limits.rows) {
                break;
            }
            if limits.equal_lengths && longest != lengths[order[end - 1]] {
                break;
            }
            let cost = best[start].0.saturating_add(limits.run_cost).saturating_add(padded);
            if cost < least.0 {
                least = (cost, start);
            }
        }
        best.push(least);
    }

    let mut batches = Vec::new();
    let mut end = order.len();
    while end > 0 {
        let start = best[end].1;
        batches.push(PaddedBatch { items: order[start..end].to_vec(), longest: lengths[order[start]] });
        end = start;
    }
    batches.reverse();
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = BatchLimits> {
        (1usize..2000, 1usize..40, any::<bool>()).prop_map(|(tokens, rows, equal_lengths)| BatchLimits {
            tokens,
            rows,
            run_cost: RUN_COST_TOKENS,
            equal_lengths,
        })
    }

    fn cost(batches: &[PaddedBatch]) -> usize {
        batches.iter().map(|b| RUN_COST_TOKENS + b.items.len() * b.longest).sum()
    }

    proptest! {
        #[test]
        fn every_item_rides_once_and_no_limit_is_passed(lengths in prop::collection::vec(1usize..600, 0..120), limits in limits()) {
            let batches = plan(&lengths, limits);
            let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.items.clone()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for b in &batches {
                prop_assert_eq!(b.longest, b.items.iter().map(|&i| lengths[i]).max().unwrap());
                prop_assert!(b.items.len() == 1 || (b.items.len() * b.longest <= limits.tokens && b.items.len() <= limits.rows));
                prop_assert!(!limits.equal_lengths || b.items.iter().all(|&i| lengths[i] == b.longest));
            }
        }

        #[test]
        fn costs_no_more_than_one_by_one_or_filling_up(lengths in prop::collection::vec(1usize..600, 1..120), limits in limits()) {
            let batches = plan(&lengths, BatchLimits { equal_lengths: false, ..limits });
            let alone: usize = lengths.iter().map(|l| l + RUN_COST_TOKENS).sum();
            prop_assert!(cost(&batches) <= alone);
            let mut sorted = lengths.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let (mut greedy, mut rows, mut longest) = (0, 0, 0);
            for l in sorted {
                if rows > 0 && ((rows + 1) * longest > limits.tokens || rows == limits.rows) {
                    greedy += RUN_COST_TOKENS + rows * longest;
                    rows = 0;
                }
                if rows == 0 {
                    longest = l;
                }
                rows += 1;
            }
            greedy += RUN_COST_TOKENS + rows * longest;
            prop_assert!(cost(&batches) <= greedy, "{} {}", cost(&batches), greedy);
        }
    }

    #[test]
    fn short_texts_do_not_pay_for_a_long_one() {
        let batches = plan(
            &[8, 512, 8, 8],
            BatchLimits { tokens: 4096, rows: 100, run_cost: RUN_COST_TOKENS, equal_lengths: false },
        );
        assert_eq!(
            batches,
            [PaddedBatch { items: vec![1], longest: 512 }, PaddedBatch { items: vec![0, 2, 3], longest: 8 }]
        );
    }
}
