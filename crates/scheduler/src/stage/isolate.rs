//! A batch failed: halves of it are run until the item at fault is alone.
//!
//! One bad item among `n` costs about `2·log2 n` more runs. Where nothing at all
//! succeeds the search ends after [`patience`] runs: then it is the device.
//! Out of memory is cut the same way; there the halves are expected to succeed.
//!
//! Invariants: every unit ends in one group; units are never run again after they succeeded.

use crate::{
    backend::RunError,
    core::Taken,
    shared::{Batch, tokens},
};

/// What came of the pieces.
pub(super) struct Pieces<U, R> {
    /// Units with what the device gave, or why it gave nothing.
    pub(super) groups: Vec<(U, Result<R, Given>)>,
    /// The device was lost on the way; these units were not answered.
    pub(super) lost: Option<(U, String)>,
}

/// Why units were given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It failed alone, while others may have succeeded.
    Alone(String),
    /// It needs more memory than there is.
    TooLarge(String),
    /// Nothing of the batch succeeded.
    All(String),
}

/// Failed runs of a batch of `n` units, none of which succeeded, before it is given up.
fn patience(n: usize) -> u32 {
    2 * (usize::BITS - n.leading_zeros()) + 4
}

/// Cuts `units`, which failed as a whole with `error`, and runs the pieces.
pub(super) fn isolate<T, R>(
    units: Vec<Taken<T>>,
    error: RunError,
    mut run: impl FnMut(&Vec<Taken<T>>) -> Result<R, RunError>,
    mut out_of_memory: impl FnMut(u64),
) -> Pieces<Vec<Taken<T>>, R> {
    let patience = patience(units.len());
    let mut pieces = Pieces { groups: Vec::new(), lost: None };
    // Pieces that failed, with why; the last one is cut next.
    let mut failed = vec![(units, error)];
    let (mut failures, mut successes) = (1, 0);
    while let Some((mut piece, error)) = failed.pop() {
        let (why, memory) = match error {
            RunError::DeviceLost(why) => {
                for (rest, _) in failed {
                    piece.extend(rest);
                }
                pieces.lost = Some((piece, why));
                return pieces;
            }
            RunError::OutOfMemory(why) => (why, true),
            RunError::Failed(why) => (why, false),
        };
        if memory {
            out_of_memory(tokens(&piece));
        }
        if piece.len() <= 1 {
            let given = if memory { Given::TooLarge(why) } else { Given::Alone(why) };
            pieces.groups.push((piece, Err(given)));
            continue;
        }
        if failures >= patience && successes == 0 {
            pieces.groups.push((piece, Err(Given::All(why))));
            continue;
        }
        let second = piece.split_off(half(&piece));
        let mut halves = vec![second, piece];
        while let Some(part) = halves.pop() {
            match run(&part) {
                Ok(raw) => {
                    successes += 1;
                    pieces.groups.push((part, Ok(raw)));
                }
                Err(error) => {
                    failures += 1;
                    let lost = matches!(error, RunError::DeviceLost(_));
                    failed.push((part, error));
                    if lost {
                        // Those that did not run are lost with it.
                        let unrun = halves.drain(..).map(|rest| (rest, RunError::Failed(String::new())));
                        failed.splice(0..0, unrun);
                    }
                }
            }
        }
    }
    pieces
}

/// Where a piece of at least two units is cut: as near to half of its tokens as can be.
fn half<T>(piece: &[Taken<T>]) -> usize {
    let all = tokens(piece);
    let mut sum = 0;
    let at = piece.iter().position(|unit| {
        sum += unit.tokens as u64;
        2 * sum >= all
    });
    at.map_or(1, |at| at + 1).clamp(1, piece.len().saturating_sub(1).max(1))
}

/// How many units of a batch somebody still waits for: those whose part is not over.
pub(super) fn wanted<B: crate::backend::Backend>(batch: &Batch<B>) -> usize {
    batch.iter().filter(|unit| !unit.item.part.is_over()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(sizes: &[usize]) -> Vec<Taken<usize>> {
        sizes.iter().enumerate().map(|(i, tokens)| Taken { part: 0, index: i, tokens: *tokens, item: i }).collect()
    }

    fn failed() -> RunError {
        RunError::Failed("bad".to_owned())
    }

    proptest! {
        #[test]
        fn every_unit_ends_in_one_group_and_only_the_poison_fails(
            sizes in prop::collection::vec(1usize..100, 2..64), poison in any::<prop::sample::Index>(),
        ) {
            let poison = poison.index(sizes.len());
            let mut runs = 0;
            let run = |piece: &Vec<Taken<usize>>| {
                runs += 1;
                if piece.iter().any(|unit| unit.item == poison) { Err(failed()) } else { Ok(()) }
            };
            let pieces = isolate(units(&sizes), failed(), run, |_| {});
            prop_assert!(pieces.lost.is_none());
            let mut seen: Vec<usize> = Vec::new();
            for (group, given) in &pieces.groups {
                seen.extend(group.iter().map(|unit| unit.item));
                if let Err(given) = given {
                    prop_assert_eq!(given, &Given::Alone("bad".to_owned()));
                    prop_assert!(group.len() == 1 && group[0].item == poison);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sizes.len()).collect::<Vec<_>>());
            // Halves of tokens, not of units: the depth is bounded by the units all the same.
            prop_assert!(runs <= 2 * sizes.len(), "{runs} runs");
        }

        #[test]
        fn a_device_that_fails_everything_is_not_tried_for_ever(n in 32usize..500) {
            let mut runs = 0;
            let pieces = isolate::<usize, ()>(units(&vec![1; n]), failed(), |_| { runs += 1; Err(failed()) }, |_| {});
            prop_assert!(runs <= patience(n) + 2, "{runs} runs");
            prop_assert_eq!(pieces.groups.iter().map(|(group, _)| group.len()).sum::<usize>(), n);
        }

        #[test]
        fn a_loss_on_the_way_returns_what_was_not_answered(n in 2usize..64, at in 0usize..8) {
            let mut runs = 0;
            let run = |_: &Vec<Taken<usize>>| {
                runs += 1;
                if runs > at { Err(RunError::DeviceLost("gone".to_owned())) } else if runs % 2 == 0 { Ok(()) } else { Err(failed()) }
            };
            let pieces = isolate(units(&vec![1; n]), failed(), run, |_| {});
            let answered: usize = pieces.groups.iter().map(|(group, _)| group.len()).sum();
            let lost = pieces.lost.map_or(0, |(units, _)| units.len());
            prop_assert_eq!(answered + lost, n);
        }

        #[test]
        fn memory_is_told_of_every_piece_that_did_not_fit(sizes in prop::collection::vec(1usize..50, 2..40)) {
            const FITS: u64 = 60;
            let mut told = Vec::new();
            let run = |piece: &Vec<Taken<usize>>| {
                if tokens(piece) > FITS { Err(RunError::OutOfMemory("full".to_owned())) } else { Ok(()) }
            };
            let first = RunError::OutOfMemory("full".to_owned());
            let pieces = isolate(units(&sizes), first, run, |tokens| told.push(tokens));
            prop_assert!(pieces.groups.iter().all(|(_, given)| given.is_ok()));
            prop_assert!(told.iter().skip(1).all(|tokens| *tokens > FITS));
        }
    }
}
