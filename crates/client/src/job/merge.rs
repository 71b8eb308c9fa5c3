//! Merges the answers of chunks, in request order.
//!
//! Invariant: a value is where its item was in the request; one that is missing is
//! `None` and has an error with that index.

use std::time::Duration;

use sortie_dispatch::{AttemptKind, Coverage};
use sortie_proto::v1;

use super::{
    attempt::AttemptRecord,
    chunked::{ChunkAnswer, ChunkedRpc, MergedAnswer},
    plan::ItemSizes,
    stream::PartialAnswer,
};
use crate::{
    error::{Error, ErrorKind},
    options::RevisionPolicy,
    report::{ChunkReport, ItemError, LostAttempt, Report},
};

/// The answer of an attempt as the client sees it: when it came, and for which items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedAnswer<'a> {
    pub(crate) sent: &'a AttemptRecord,
    pub(crate) indices: &'a [usize],
    pub(crate) expected_tokens: u64,
    pub(crate) elapsed: Duration,
    /// Of the load report that came along.
    pub(crate) epoch: Option<u64>,
}

/// The answers that have come so far, merged.
#[derive(Debug)]
pub(crate) struct Merge<R: ChunkedRpc> {
    head: Option<R::Head>,
    values: Vec<Option<R::Value>>,
    report: Report,
    revisions: RevisionPolicy,
}

impl<R: ChunkedRpc> Merge<R> {
    /// An empty merge for `count` items.
    pub(crate) fn new(count: usize, job_id: String, revisions: RevisionPolicy) -> Self {
        let mut report = Report { job_id, ..Report::default() };
        report.tokens.resize(count, 0);
        report.truncated.resize(count, false);
        Self { head: None, values: Vec::new(), report, revisions }
    }

    /// Marks items that no request can hold as failed.
    pub(crate) fn oversized(&mut self, indices: &[usize], sizes: &ItemSizes) {
        for &index in indices {
            let bytes = sizes.bytes_of(index);
            let message = format!("the item has {bytes} bytes, more than a request can hold");
            self.report.errors.push(ItemError { index, reason: "TEXT_TOO_LARGE".to_owned(), message });
        }
    }

    /// Marks items that will have no answer, with the reason.
    pub(crate) fn missing(&mut self, indices: &[usize], reason: &str, message: &str) {
        let error = |&index: &usize| ItemError { index, reason: reason.to_owned(), message: message.to_owned() };
        self.report.errors.extend(indices.iter().map(error));
    }

    /// Copies to the report how many attempts, hedges and extra tokens the job took.
    pub(crate) fn cost(&mut self, coverage: &Coverage) {
        self.report.attempts = coverage.attempts;
        self.report.retries = coverage.retries;
        self.report.hedges = coverage.hedges;
        self.report.hedges_won = coverage.hedges_won;
        self.report.extra_tokens = coverage.extra_tokens;
        self.report.free_tokens = coverage.free_tokens;
    }

    /// Notes an attempt whose answer does not count.
    pub(crate) fn lost(&mut self, attempt: LostAttempt) {
        self.report.lost.push(attempt);
    }

    /// Merges the answer of a chunk, which [`ChunkAnswer::check`] has found to fit. An error ends the job.
    pub(crate) fn take(
        &mut self,
        received: ReceivedAnswer<'_>,
        answer: ChunkAnswer<R::Head, R::Value>,
    ) -> Result<(), Error> {
        let ChunkAnswer { head, values, items, chunk } = answer;
        let values = without_failed_items(values, &items);
        self.note(received, &head, &items, &chunk, |index| values.get(index).is_some_and(Option::is_some))?;
        self.head.get_or_insert(head);
        self.values.resize_with(self.report.tokens.len(), || None);
        for (&index, value) in received.indices.iter().zip(values) {
            if let Some(slot) = self.values.get_mut(index) {
                *slot = value;
            }
        }
        Ok(())
    }

    /// Turns the answer of a chunk into a result of its own for a streaming caller, and keeps only its report.
    pub(crate) fn pass(
        &mut self,
        rpc: &R,
        received: ReceivedAnswer<'_>,
        answer: ChunkAnswer<R::Head, R::Value>,
    ) -> Result<PartialAnswer<R::Output>, Error> {
        let mut own = Self::new(received.indices.len(), self.report.job_id.clone(), self.revisions);
        let indices: Vec<usize> = (0..received.indices.len()).collect();
        let (head, items, chunk) = (answer.head.clone(), answer.items.clone(), answer.chunk.clone());
        own.take(ReceivedAnswer { indices: &indices, ..received }, answer)?;
        self.note(received, &head, &items, &chunk, |index| own.values.get(index).is_some_and(Option::is_some))?;
        self.head.get_or_insert(head);
        own.report.attempts = 1;
        Ok(PartialAnswer { indices: received.indices.to_vec(), answer: rpc.finish(own.into_merged(received.elapsed)) })
    }

    /// Adds the facts of an answer (tokens, errors, revision, times) to the report.
    fn note(
        &mut self,
        received: ReceivedAnswer<'_>,
        head: &R::Head,
        items: &v1::ItemInfo,
        chunk: &v1::ChunkInfo,
        answered: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        self.revision(chunk)?;
        if let Some(first) = self.head.as_ref().filter(|first| *first != head) {
            let message = format!("chunks of the job differ: {first:?} and {head:?}");
            return Err(Error::new(ErrorKind::MixedRevisions, message).with_endpoint(&received.sent.address));
        }
        for (at, &index) in received.indices.iter().enumerate() {
            if !answered(at) {
                self.report.errors.push(failure(at, index, items));
                continue;
            }
            if let (Some(slot), Some(&tokens)) = (self.report.tokens.get_mut(index), items.tokens.get(at)) {
                *slot = tokens;
            }
            if let Some(&windows) = items.windows.get(at) {
                let counts = &mut self.report.windows;
                counts.resize(self.report.tokens.len(), 0);
                if let Some(slot) = counts.get_mut(index) {
                    *slot = windows;
                }
            }
            if let (Some(slot), Some(&cut)) = (self.report.truncated.get_mut(index), items.truncated.get(at)) {
                *slot = cut;
            }
        }
        self.report.chunks.push(chunk_report(received, chunk, items));
        if self.report.model.is_empty() {
            self.report.model.clone_from(&chunk.model);
        }
        Ok(())
    }

    fn revision(&mut self, chunk: &v1::ChunkInfo) -> Result<(), Error> {
        let revision = &chunk.model_revision;
        if revision.is_empty() || self.report.revisions.contains(revision) {
            return Ok(());
        }
        self.report.revisions.push(revision.clone());
        if self.revisions == RevisionPolicy::Fail && self.report.mixed_revisions() {
            let message = format!("chunks were answered by revisions {}", self.report.revisions.join(" and "));
            return Err(Error::new(ErrorKind::MixedRevisions, message));
        }
        Ok(())
    }

    /// The report as it stands.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// The report alone, for a job whose answers were passed on.
    pub(crate) fn into_report(mut self, elapsed: Duration) -> Report {
        self.report.errors.sort_by_key(|error| error.index);
        self.report.elapsed = elapsed;
        self.report
    }

    /// The answers of all items, in request order.
    pub(crate) fn into_merged(mut self, elapsed: Duration) -> MergedAnswer<R::Head, R::Value> {
        self.values.resize_with(self.report.tokens.len(), || None);
        let (head, values) = (self.head.take(), std::mem::take(&mut self.values));
        MergedAnswer { head, values, report: self.into_report(elapsed) }
    }
}

/// The values, with `None` in place of those whose items the answer lists as failed.
fn without_failed_items<V>(mut values: Vec<Option<V>>, items: &v1::ItemInfo) -> Vec<Option<V>> {
    for error in &items.errors {
        if let Some(value) = values.get_mut(error.index as usize) {
            *value = None;
        }
    }
    values
}

/// Why an item has no value: it was at `at` in its chunk and is at `index` in the job.
fn failure(at: usize, index: usize, items: &v1::ItemInfo) -> ItemError {
    match items.errors.iter().find(|error| error.index as usize == at) {
        Some(error) => ItemError { index, reason: error.reason.clone(), message: error.message.clone() },
        None => ItemError {
            index,
            reason: "NON_FINITE_OUTPUT".to_owned(),
            message: "the answer is not a finite number".to_owned(),
        },
    }
}

fn chunk_report(received: ReceivedAnswer<'_>, chunk: &v1::ChunkInfo, items: &v1::ItemInfo) -> ChunkReport {
    let ReceivedAnswer { sent, indices, expected_tokens, elapsed, epoch } = received;
    let counted = items.tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    ChunkReport {
        endpoint: sent.address.clone(),
        replica: chunk.replica.clone(),
        revision: chunk.model_revision.clone(),
        epoch,
        items: indices.len(),
        tokens: if chunk.tokens > 0 { chunk.tokens } else { counted },
        estimated_tokens: expected_tokens,
        attempt: sent.number,
        hedge: sent.kind == AttemptKind::Hedge,
        queue: Duration::from_micros(chunk.queue_us),
        tokenize: Duration::from_micros(chunk.tokenize_us),
        compute: Duration::from_micros(chunk.compute_us),
        total: Duration::from_micros(chunk.total_us),
        began: sent.began,
        elapsed,
        batches: super::chunked::batches(chunk).collect(),
    }
}
