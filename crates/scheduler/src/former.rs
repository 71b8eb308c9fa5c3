//! What goes in the next batch. Pure: sizes and ranks in, picks out.
//!
//! Parts are taken in the order of their [`Rank`]: interactive before bulk, first
//! attempts before hedges, least slack, arrival. Of each part the largest unit
//! that still fits is taken first, so a later unit that fits may pass one that
//! does not. The *lead*, the first unit of the batch, is taken whatever its size:
//! it belongs to the first part in order or, where some part was passed over by
//! [`PASS_LIMIT`] batches in a row, to the one passed over longest.
//!
//! Invariants: the picks of one part have falling positions; their sum is within
//! the budget or there is one pick; any waiting part leads within
//! `PASS_LIMIT + parts` batches; an ageing part takes one unit of a batch ahead
//! of its turn, so bulk work never shuts out interactive work.

use crate::admission::Lane;

/// Batches in a row that may pass a part over before it leads one. One unit in
/// 32 batches costs urgent work a few percent at most, and bounds every wait.
pub(crate) const PASS_LIMIT: u32 = 32;

/// Place in the order; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Interactive before bulk.
    pub(crate) lane: Lane,
    /// First attempts before hedges.
    pub(crate) hedge: bool,
    /// Deadline less the work still to do, in nanoseconds on any common clock.
    pub(crate) slack: i128,
    /// Earlier arrivals have smaller numbers.
    pub(crate) arrival: u64,
}

/// A part as the former sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    /// Its place in the order.
    pub(crate) rank: Rank,
    /// Batches in a row that took nothing of it.
    pub(crate) passed: u32,
    /// Tokens of each waiting unit, ascending, at least one.
    pub(crate) sizes: &'a [usize],
}

/// One unit of the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Index into the parts.
    pub(crate) part: usize,
    /// Index into its sizes.
    pub(crate) unit: usize,
}

/// Chooses the next batch, of at most `budget` tokens.
pub(crate) fn choose(parts: &[Waiting<'_>], budget: usize) -> Vec<Pick> {
    let mut order: Vec<usize> = (0..parts.len()).filter(|p| !parts[*p].sizes.is_empty()).collect();
    order.sort_unstable_by_key(|p| parts[*p].rank);
    let Some(lead) = lead(parts, &order) else { return Vec::new() };
    let last = parts[lead].sizes.len() - 1;
    let mut picks = vec![Pick { part: lead, unit: last }];
    let mut left = budget.saturating_sub(parts[lead].sizes[last]);
    for part in order {
        let sizes = parts[part].sizes;
        // What is taken of a part shrinks what is left, so positions only fall.
        let mut end = if part == lead { last } else { sizes.len() };
        while left > 0 {
            end = sizes[..end].partition_point(|size| *size <= left);
            if end == 0 {
                break;
            }
            end -= 1;
            left -= sizes[end];
            picks.push(Pick { part, unit: end });
        }
    }
    picks
}

/// The part whose largest unit goes first.
fn lead(parts: &[Waiting<'_>], order: &[usize]) -> Option<usize> {
    let first = *order.first()?;
    // `max_by_key` keeps the last of equals; the order is walked from its end so
    // that it keeps the most urgent.
    let aged = order.iter().rev().copied().max_by_key(|p| parts[*p].passed).filter(|p| parts[*p].passed >= PASS_LIMIT);
    Some(aged.unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rank(lane: Lane, hedge: bool, slack: i128, arrival: u64) -> Rank {
        Rank { lane, hedge, slack, arrival }
    }

    #[test]
    fn order_is_lane_then_attempt_then_slack_then_arrival() {
        let ranks = [
            rank(Lane::Bulk, true, 0, 0),
            rank(Lane::Bulk, false, 0, 1),
            rank(Lane::Interactive, true, 0, 2),
            rank(Lane::Interactive, false, 9, 3),
            rank(Lane::Interactive, false, 5, 5),
            rank(Lane::Interactive, false, 5, 4),
        ];
        let parts: Vec<_> = ranks.iter().map(|r| Waiting { rank: *r, passed: 0, sizes: &[1] }).collect();
        let taken: Vec<_> = choose(&parts, 6).iter().map(|p| p.part).collect();
        assert_eq!(taken, [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_unit_that_fits_passes_one_that_does_not() {
        let parts = [
            Waiting { rank: rank(Lane::Interactive, false, 0, 0), passed: 0, sizes: &[6] },
            Waiting { rank: rank(Lane::Interactive, false, 0, 1), passed: 0, sizes: &[5] },
            Waiting { rank: rank(Lane::Interactive, false, 0, 2), passed: 0, sizes: &[4] },
        ];
        let taken: Vec<_> = choose(&parts, 10).iter().map(|p| p.part).collect();
        assert_eq!(taken, [0, 2]);
    }

    #[test]
    fn an_aged_part_leads_with_one_unit_only() {
        let parts = [
            Waiting { rank: rank(Lane::Interactive, false, 0, 0), passed: 0, sizes: &[4, 4] },
            Waiting { rank: rank(Lane::Bulk, false, 0, 1), passed: PASS_LIMIT, sizes: &[2, 2] },
        ];
        let picks = choose(&parts, 10);
        assert_eq!(picks, [Pick { part: 1, unit: 1 }, Pick { part: 0, unit: 1 }, Pick { part: 0, unit: 0 }]);
    }

    proptest! {
        #[test]
        fn picks_are_distinct_and_within_budget(
            parts in prop::collection::vec(
                (any::<bool>(), any::<bool>(), 0i128..5, 0u32..64, prop::collection::vec(1usize..40, 0..8)), 0..8),
            budget in 1usize..64,
        ) {
            let sizes: Vec<Vec<usize>> = parts.iter().map(|p| { let mut s = p.4.clone(); s.sort_unstable(); s }).collect();
            let waiting: Vec<_> = parts.iter().zip(&sizes).enumerate().map(|(i, (p, sizes))| Waiting {
                rank: rank(if p.0 { Lane::Bulk } else { Lane::Interactive }, p.1, p.2, i as u64), passed: p.3, sizes,
            }).collect();
            let picks = choose(&waiting, budget);
            let total: usize = picks.iter().map(|p| sizes[p.part][p.unit]).sum();
            prop_assert!(total <= budget || picks.len() == 1);
            prop_assert_eq!(picks.is_empty(), sizes.iter().all(Vec::is_empty));
            let mut seen: Vec<_> = picks.iter().map(|p| (p.part, p.unit)).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), picks.len());
            // Nothing that still fits is left behind, unless the lead went alone.
            let left = budget.saturating_sub(total);
            let taken = |part, unit| picks.contains(&Pick { part, unit });
            for (part, sizes) in sizes.iter().enumerate() {
                for (unit, size) in sizes.iter().enumerate() {
                    prop_assert!(taken(part, unit) || *size > left);
                }
                let of_part: Vec<_> = picks.iter().filter(|p| p.part == part).map(|p| p.unit).collect();
                prop_assert!(of_part.windows(2).all(|w| w[0] > w[1]));
            }
        }
    }
}
