//! The reports of a command's jobs as one: rows, failures and timings by place in the input.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant},
};

use sortie_client::{ErrorKind, Report, RevisionPolicy};

use crate::{
    exit::CommandFailure,
    failure,
    read::InputItem,
    report::{ChunkRow, CommandReport, ItemFailure, ItemRow, Timings},
    split,
};

/// Reason of an item that a server passed over without a reason.
const NO_ANSWER: &str = "NO_ANSWER";

/// Everything a command's jobs answered, in input order.
#[derive(Debug)]
pub(crate) struct CollectedAnswers<H, V> {
    /// What each job says once, of the first that says anything.
    head: Option<H>,
    values: Vec<Option<V>>,
    jobs: Vec<(usize, Report)>,
    elapsed: Duration,
}

/// One job's answer: what is said once, a value an item, what happened.
pub(crate) type JobAnswer<H, V> = (Option<H>, Vec<Option<V>>, Report);

/// Sends `items` with `send`, in several jobs where they are many. The client holds each job to
/// `revisions`; here all of them together are.
pub(crate) async fn gather<'a, H, V, F>(
    items: &'a [InputItem],
    quiet: bool,
    revisions: RevisionPolicy,
    send: impl Fn(&'a [InputItem]) -> F,
) -> Result<CollectedAnswers<H, V>, CommandFailure>
where
    F: Future<Output = Result<JobAnswer<H, V>, CommandFailure>>,
{
    let started = Instant::now();
    let seen = RefCell::new(BTreeSet::new());
    let answers = split::each(items, quiet, |slice| {
        let (answer, seen) = (send(slice), &seen);
        async move {
            let answer = answer.await?;
            if revisions == RevisionPolicy::Fail {
                same_revision(&mut seen.borrow_mut(), &answer.2)?;
            }
            Ok(answer)
        }
    });
    let answers = answers.await?;
    let mut all = CollectedAnswers {
        head: None,
        values: Vec::with_capacity(items.len()),
        jobs: Vec::new(),
        elapsed: started.elapsed(),
    };
    for (start, (head, values, report)) in answers {
        all.head = all.head.or(head);
        all.values.extend(values);
        all.jobs.push((start, report));
    }
    Ok(all)
}

/// Fails once jobs were answered by more than one revision, as the client does within a job.
fn same_revision(seen: &mut BTreeSet<String>, job: &Report) -> Result<(), CommandFailure> {
    seen.extend(job.revisions.iter().cloned());
    if seen.len() < 2 {
        return Ok(());
    }
    let names: Vec<&str> = seen.iter().map(String::as_str).collect();
    let message = format!("chunks were answered by revisions {}", names.join(" and "));
    Err(CommandFailure::new(failure::exit(ErrorKind::MixedRevisions), message))
}

impl<H, V> CollectedAnswers<H, V> {
    /// What is said once.
    pub(crate) fn head(&mut self) -> Option<H> {
        self.head.take()
    }

    /// Makes the report: `row` turns a value into a row, or into nothing where there is none.
    pub(crate) fn report<G, R>(
        self,
        items: &[InputItem],
        head: G,
        timings: bool,
        mut row: impl FnMut(&InputItem, ItemRow, V) -> Option<R>,
    ) -> CommandReport<G, R> {
        let mut errors = self.errors(items);
        let mut results = Vec::with_capacity(items.len());
        let told: HashSet<usize> = errors.iter().map(|error| error.index).collect();
        let facts = self.jobs.iter().flat_map(|(_, job)| {
            let windows = job.windows.iter().copied().map(Some).chain(std::iter::repeat(None));
            job.tokens.iter().copied().zip(job.truncated.iter().copied()).zip(windows)
        });
        let facts: Vec<((u32, bool), Option<u32>)> = facts.collect();
        for (index, (item, value)) in items.iter().zip(self.values).enumerate() {
            let ((tokens, truncated), windows) = facts.get(index).copied().unwrap_or_default();
            let facts = ItemRow { index, id: item.id.clone(), tokens, truncated, windows, label: item.label() };
            match value.and_then(|value| row(item, facts, value)) {
                Some(row) => results.push(row),
                None if told.contains(&index) => {}
                None => errors.push(ItemFailure {
                    index,
                    id: item.id.clone(),
                    reason: NO_ANSWER.to_owned(),
                    message: "the server gave no answer for this item".to_owned(),
                }),
            }
        }
        errors.sort_by_key(|error| error.index);
        let mut revisions: Vec<&str> = Vec::new();
        for revision in self.jobs.iter().flat_map(|(_, job)| &job.revisions) {
            if !revisions.contains(&revision.as_str()) {
                revisions.push(revision);
            }
        }
        CommandReport {
            model: self.jobs.first().map(|(_, job)| job.model.clone()).unwrap_or_default(),
            model_revision: revisions.join(","),
            mixed_revisions: revisions.len() > 1,
            head,
            results,
            errors,
            timings: timings.then(|| time(&self.jobs, self.elapsed)),
        }
    }

    fn errors(&self, items: &[InputItem]) -> Vec<ItemFailure> {
        let of_job = |(start, job): &(usize, Report)| {
            let start = *start;
            let failure = |error: &sortie_client::ItemError| ItemFailure {
                index: start + error.index,
                id: items.get(start + error.index).and_then(|item| item.id.clone()),
                reason: error.reason.clone(),
                message: error.message.clone(),
            };
            job.errors.iter().map(failure).collect::<Vec<_>>()
        };
        self.jobs.iter().flat_map(of_job).collect()
    }
}

fn time(jobs: &[(usize, Report)], elapsed: Duration) -> Timings {
    let chunk = |chunk: &sortie_client::ChunkReport| ChunkRow {
        endpoint: chunk.endpoint.clone(),
        replica: chunk.replica.clone(),
        items: chunk.items,
        tokens: chunk.tokens,
        attempt: chunk.attempt,
        queue_us: us(chunk.queue),
        tokenize_us: us(chunk.tokenize),
        compute_us: us(chunk.compute),
        server_us: us(chunk.total),
        elapsed_us: us(chunk.elapsed),
    };
    Timings {
        total_us: us(elapsed),
        attempts: jobs.iter().map(|(_, job)| job.attempts).sum(),
        chunks: jobs.iter().flat_map(|(_, job)| job.chunks.iter().map(chunk)).collect(),
    }
}

/// Whole microseconds.
pub(crate) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tokens: &[u32], revision: &str) -> Report {
        let mut job = Report::default();
        job.tokens = tokens.to_vec();
        job.truncated = vec![false; tokens.len()];
        job.revisions = vec![revision.to_owned()];
        job.attempts = 2;
        job
    }

    #[tokio::test]
    async fn jobs_become_one_report_in_input_order() {
        let mut items: Vec<InputItem> = (0..split::JOB_ITEMS + 2).map(|i| InputItem::text(i.to_string())).collect();
        let last = items.len() - 1;
        items[last].id = Some("last".into());
        let all = gather(&items, true, RevisionPolicy::Flag, |slice| async move {
            let first = slice[0].label() == "0";
            let tokens: Vec<u32> = (0..slice.len() as u32).collect();
            let report = job(&tokens, if first { "old" } else { "new" });
            let mut values: Vec<Option<usize>> = slice.iter().map(|item| item.label().parse().ok()).collect();
            if first {
                values[7] = None;
            }
            Ok(((!first).then_some("head"), values, report))
        });
        let mut all = all.await.unwrap();
        assert_eq!(all.head(), Some("head"));
        let report = all.report(&items, (), true, |_, item, value| Some((item, value)));
        assert!(report.results.iter().all(|(item, value)| item.index == *value));
        assert_eq!(report.results.len(), items.len() - 1);
        assert_eq!(
            report.results.last().map(|(item, _)| (item.tokens, item.id.clone())),
            Some((1, Some("last".into())))
        );
        // An item without a value and without a reason is reported as such.
        assert_eq!(report.errors.iter().map(|e| (e.index, e.reason.as_str())).collect::<Vec<_>>(), [(7, NO_ANSWER)]);
        assert_eq!((report.model_revision.as_str(), report.mixed_revisions), ("old,new", true));
        assert_eq!(report.timings.map(|timings| timings.attempts), Some(4));
    }
}
