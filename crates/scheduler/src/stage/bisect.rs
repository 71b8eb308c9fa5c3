//! A batch failed: halves of it are run until the item at fault is alone.
//!
//! One bad item among `n` costs about `2·log2 n` more runs. Where nothing at all
//! succeeds the search ends after [`max_failures`] runs: then it is the device.
//! Out of memory is cut the same way; there the halves are expected to succeed.
//!
//! Invariants: every item ends in one group; items are never run again after they succeeded.

use crate::{
    backend::RunError,
    core::BatchItem,
    shared::{FormedBatch, tokens},
};

/// What came of the groups that a batch was cut into.
pub(super) struct BisectResult<U, R> {
    /// Items with what the device gave, or why it gave nothing.
    pub(super) groups: Vec<(U, Result<R, BisectFailure>)>,
    /// The device was lost on the way; these items were not answered.
    pub(super) lost: Option<(U, String)>,
}

/// Why items were given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BisectFailure {
    /// It failed alone, while others may have succeeded.
    Alone(String),
    /// It needs more memory than there is.
    TooLarge(String),
    /// Nothing of the batch succeeded.
    All(String),
}

/// Failed runs of a batch of `n` items, none of which succeeded, before it is given up.
fn max_failures(n: usize) -> u32 {
    2 * (usize::BITS - n.leading_zeros()) + 4
}

/// Cuts `items`, which failed as a whole with `error`, and runs the groups.
pub(super) fn bisect<T, R>(
    items: Vec<BatchItem<T>>,
    error: RunError,
    mut run: impl FnMut(&Vec<BatchItem<T>>) -> Result<R, RunError>,
    mut out_of_memory: impl FnMut(u64),
) -> BisectResult<Vec<BatchItem<T>>, R> {
    let max_failures = max_failures(items.len());
    let mut result = BisectResult { groups: Vec::new(), lost: None };
    // Groups that failed, with why; the last one is cut next.
    let mut failed = vec![(items, error)];
    let (mut failures, mut successes) = (1, 0);
    while let Some((mut group, error)) = failed.pop() {
        let (why, memory) = match error {
            RunError::DeviceLost(why) => {
                for (rest, _) in failed {
                    group.extend(rest);
                }
                result.lost = Some((group, why));
                return result;
            }
            RunError::OutOfMemory(why) => (why, true),
            RunError::Failed(why) => (why, false),
        };
        if memory {
            out_of_memory(tokens(&group));
        }
        if group.len() <= 1 {
            let failure = if memory { BisectFailure::TooLarge(why) } else { BisectFailure::Alone(why) };
            result.groups.push((group, Err(failure)));
            continue;
        }
        if failures >= max_failures && successes == 0 {
            result.groups.push((group, Err(BisectFailure::All(why))));
            continue;
        }
        let second = group.split_off(half(&group));
        let mut halves = vec![second, group];
        while let Some(group) = halves.pop() {
            match run(&group) {
                Ok(raw) => {
                    successes += 1;
                    result.groups.push((group, Ok(raw)));
                }
                Err(error) => {
                    failures += 1;
                    let lost = matches!(error, RunError::DeviceLost(_));
                    failed.push((group, error));
                    if lost {
                        // Those that did not run are lost with it.
                        let unrun = halves.drain(..).map(|rest| (rest, RunError::Failed(String::new())));
                        failed.splice(0..0, unrun);
                    }
                }
            }
        }
    }
    result
}

/// Where a group of at least two items is cut: as near to half of its tokens as can be.
fn half<T>(group: &[BatchItem<T>]) -> usize {
    let all = tokens(group);
    let mut sum = 0;
    let at = group.iter().position(|item| {
        sum += item.tokens as u64;
        2 * sum >= all
    });
    at.map_or(1, |at| at + 1).clamp(1, group.len().saturating_sub(1).max(1))
}

/// How many items of a batch somebody still waits for: those whose chunk is not over.
pub(super) fn live_items<B: crate::backend::Backend>(batch: &FormedBatch<B>) -> usize {
    batch.iter().filter(|item| !item.item.chunk.is_over()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(sizes: &[usize]) -> Vec<BatchItem<usize>> {
        sizes
            .iter()
            .enumerate()
            .map(|(i, tokens)| BatchItem { chunk: 0, index: i, tokens: *tokens, work: *tokens as u64, item: i })
            .collect()
    }

    fn failed() -> RunError {
        RunError::Failed("bad".to_owned())
    }

    proptest! {
        #[test]
        fn every_item_ends_in_one_group_and_only_the_poison_fails(
            sizes in prop::collection::vec(1usize..100, 2..64), poison in any::<prop::sample::Index>(),
        ) {
            let poison = poison.index(sizes.len());
            let mut runs = 0;
            let run = |group: &Vec<BatchItem<usize>>| {
                runs += 1;
                if group.iter().any(|item| item.item == poison) { Err(failed()) } else { Ok(()) }
            };
            let result = bisect(items(&sizes), failed(), run, |_| {});
            prop_assert!(result.lost.is_none());
            let mut seen: Vec<usize> = Vec::new();
            for (group, failure) in &result.groups {
                seen.extend(group.iter().map(|item| item.item));
                if let Err(failure) = failure {
                    prop_assert_eq!(failure, &BisectFailure::Alone("bad".to_owned()));
                    prop_assert!(group.len() == 1 && group[0].item == poison);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sizes.len()).collect::<Vec<_>>());
            // Halves of tokens, not of items: the depth is bounded by the items all the same.
            prop_assert!(runs <= 2 * sizes.len(), "{runs} runs");
        }

        #[test]
        fn a_device_that_fails_everything_is_not_tried_for_ever(n in 32usize..500) {
            let mut runs = 0;
            let result = bisect::<usize, ()>(items(&vec![1; n]), failed(), |_| { runs += 1; Err(failed()) }, |_| {});
            prop_assert!(runs <= max_failures(n) + 2, "{runs} runs");
            prop_assert_eq!(result.groups.iter().map(|(group, _)| group.len()).sum::<usize>(), n);
        }

        #[test]
        fn a_loss_on_the_way_returns_what_was_not_answered(n in 2usize..64, at in 0usize..8) {
            let mut runs = 0;
            let run = |_: &Vec<BatchItem<usize>>| {
                runs += 1;
                if runs > at { Err(RunError::DeviceLost("gone".to_owned())) } else if runs % 2 == 0 { Ok(()) } else { Err(failed()) }
            };
            let result = bisect(items(&vec![1; n]), failed(), run, |_| {});
            let answered: usize = result.groups.iter().map(|(group, _)| group.len()).sum();
            let lost = result.lost.map_or(0, |(items, _)| items.len());
            prop_assert_eq!(answered + lost, n);
        }

        #[test]
        fn memory_is_told_of_every_group_that_did_not_fit(sizes in prop::collection::vec(1usize..50, 2..40)) {
            const FITS: u64 = 60;
            let mut told = Vec::new();
            let run = |group: &Vec<BatchItem<usize>>| {
                if tokens(group) > FITS { Err(RunError::OutOfMemory("full".to_owned())) } else { Ok(()) }
            };
            let first = RunError::OutOfMemory("full".to_owned());
            let result = bisect(items(&sizes), first, run, |tokens| told.push(tokens));
            prop_assert!(result.groups.iter().all(|(_, failure)| failure.is_ok()));
            prop_assert!(told.iter().skip(1).all(|tokens| *tokens > FITS));
        }
    }
}
