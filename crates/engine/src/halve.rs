//! Finds the item that spoils a batch by running halves of it.
//!
//! An item that fails alone fails; its batch-mates get their answers. A batch too
//! large for the device's memory is halved the same way. Where the device itself is
//! lost no half can help, and all fail.

use crate::{
    cuda::RunFault,
    item::{ItemFault, Output, WorkItem},
};

/// Answers of one batch, one an item.
pub(crate) type Answers = Vec<Result<Output, ItemFault>>;

/// Runs `items` by `run`, in halves where it fails.
pub(crate) fn halving(items: &[&WorkItem], run: &mut dyn FnMut(&[&WorkItem]) -> Result<Answers, RunFault>) -> Answers {
    match run(items) {
        Ok(answers) => answers,
        Err(RunFault::Failed(e) | RunFault::OutOfMemory(e)) if items.len() > 1 => {
            tracing::warn!(items = items.len(), error = %e, "a batch failed; trying its halves");
            let (left, right) = items.split_at(items.len() / 2);
            let mut answers = halving(left, run);
            answers.extend(halving(right, run));
            answers
        }
        Err(e) => items.iter().map(|_| Err(ItemFault::Run(e.to_string()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::item::{Sequence, Want};

    fn items(n: usize) -> Vec<WorkItem> {
        let item = |i| WorkItem { sequence: Sequence { ids: vec![i], ..Sequence::default() }, want: Want::Logits };
        (0..n as u32).map(item).collect()
    }

    fn answers(items: &[&WorkItem]) -> Answers {
        items.iter().map(|i| Ok(Output::Logits(vec![i.sequence.ids[0] as f32]))).collect()
    }

    proptest! {
        #[test]
        fn only_what_spoils_a_batch_fails(bad in prop::collection::vec(any::<bool>(), 1..40)) {
            let all = items(bad.len());
            let got = halving(&all.iter().collect::<Vec<_>>(), &mut |part| {
                let spoilt = part.iter().any(|i| bad[i.sequence.ids[0] as usize]);
                if spoilt { Err(RunFault::Failed("no".into())) } else { Ok(answers(part)) }
            });
            for (i, answer) in got.iter().enumerate() {
                match answer {
                    Ok(Output::Logits(v)) => prop_assert!(!bad[i] && v[0] == i as f32),
                    _ => prop_assert!(bad[i]),
                }
            }
            prop_assert_eq!(got.len(), bad.len());
        }

        #[test]
        fn what_is_too_much_at_once_passes_in_pieces(n in 1usize..64, room in 1usize..8) {
            let all = items(n);
            let got = halving(&all.iter().collect::<Vec<_>>(), &mut |part| {
                if part.len() > room { Err(RunFault::OutOfMemory("full".into())) } else { Ok(answers(part)) }
            });
            prop_assert!(got.len() == n && got.iter().all(Result::is_ok));
        }
    }

    #[test]
    fn a_lost_device_is_not_tried_again() {
        let all = items(8);
        let mut runs = 0;
        let got = halving(&all.iter().collect::<Vec<_>>(), &mut |_| {
            runs += 1;
            Err(RunFault::DeviceLost("gone".into()))
        });
        assert!(runs == 1 && got.iter().all(Result::is_err));
    }
}
