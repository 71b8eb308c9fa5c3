//! Long inputs go out as several jobs, a few at a time, with a progress bar.
//!
//! Invariant: jobs are consecutive, none is empty, together they are the whole
//! input; answers are put together in input order whatever order they came in.

use std::{future::Future, io::IsTerminal, ops::Range};

use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{exit::CommandFailure, read::InputItem};

/// Items of one job. Four batches or more a server on a small fleet, and few
/// enough that a lost job is no great loss; servers take more in one request.
pub(crate) const JOB_ITEMS: usize = 1_024;

/// Bytes of one job: half of gRPC's usual message limit, since a job on one
/// server is one message.
pub(crate) const JOB_BYTES: usize = 2 << 20;

/// Jobs under way at once: while one is answered the next is being sent.
const AT_ONCE: usize = 2;

/// Cuts `items` into jobs. A single item larger than the limit goes alone.
pub(crate) fn cut(items: &[InputItem]) -> Vec<Range<usize>> {
    let mut jobs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, item) in items.iter().enumerate() {
        if place > start && (place - start == JOB_ITEMS || bytes + item.bytes() > JOB_BYTES) {
            jobs.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += item.bytes();
    }
    if start < items.len() {
        jobs.push(start..items.len());
    }
    jobs
}

/// Sends every job with `send` and returns the answers in input order, each
/// with the place of its first item. The first failure ends the rest.
pub(crate) async fn each<'a, T, F>(
    items: &'a [InputItem],
    quiet: bool,
    send: impl Fn(&'a [InputItem]) -> F,
) -> Result<Vec<(usize, T)>, CommandFailure>
where
    F: Future<Output = Result<T, CommandFailure>>,
{
    let jobs = cut(items);
    let bar = bar(items.len() as u64, jobs.len() > 1 && !quiet);
    let jobs = jobs.into_iter().map(|job| {
        let (start, length) = (job.start, job.len() as u64);
        let answer = send(&items[job]);
        let bar = bar.clone();
        async move {
            let answer = answer.await?;
            bar.inc(length);
            Ok((start, answer))
        }
    });
    let answers = stream::iter(jobs).buffered(AT_ONCE).try_collect().await;
    bar.finish_and_clear();
    answers
}

/// A bar on standard error where somebody sees it.
fn bar(items: u64, wanted: bool) -> ProgressBar {
    if !wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(items);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_bounded_and_cover_everything() {
        let small: Vec<InputItem> = (0..2_500).map(|i| InputItem::text(i.to_string())).collect();
        assert_eq!(cut(&small), [0..1_024, 1_024..2_048, 2_048..2_500]);
        let big = InputItem::text("x".repeat(JOB_BYTES));
        let items = [InputItem::text("a"), big.clone(), InputItem::text("b"), big];
        assert_eq!(cut(&items), [0..1, 1..2, 2..3, 3..4]);
        assert!(cut(&[]).is_empty());
    }

    #[tokio::test]
    async fn answers_come_in_input_order() {
        let items: Vec<InputItem> = (0..3_000).map(|i| InputItem::text(i.to_string())).collect();
        // The first job ends last.
        let second = tokio::sync::Notify::new();
        let answers = each(&items, true, |job| {
            let first = job[0].label() == "0";
            let second = &second;
            async move {
                if first {
                    second.notified().await
                } else {
                    second.notify_one()
                }
                Ok(job.len())
            }
        });
        assert_eq!(answers.await.unwrap(), [(0, 1_024), (1_024, 1_024), (2_048, 952)]);
    }

    #[tokio::test]
    async fn one_failure_ends_the_rest() {
        let items: Vec<InputItem> = (0..3_000).map(|i| InputItem::text(i.to_string())).collect();
        let answer: Result<Vec<(usize, ())>, _> =
            each(&items, true, |_| async { Err(CommandFailure::usage("no")) }).await;
        assert_eq!(answer.unwrap_err().message, "no");
    }
}
