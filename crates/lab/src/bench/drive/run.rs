//! One job of a baseline: what it wants done is done, and what comes of it is told.
//!
//! Invariant: a job that is given up by its caller leaves nothing in flight.

use std::{collections::BTreeSet, future::Future, time::Duration};

use futures::{
    StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};
use sortie_dispatch::{FailReason, Failure};
use tokio::time::sleep_until;

use super::baseline::BaselineDriver;
use crate::{
    baseline::{ChunkItem, ClientAction, SendKind},
    bench::{
        jobs::BenchJob,
        record::{AnsweredJob, BenchJobEnd},
        wire::{WireFailure, WireReply},
    },
};

/// The number of an attempt, and what it came to.
type AttemptResult = (u32, Result<WireReply, WireFailure>);

/// A job under way.
pub(super) struct JobRun<'a> {
    driver: &'a BaselineDriver,
    id: u32,
    job: &'a BenchJob,
    calls: FuturesUnordered<Abortable<BoxFuture<'a, AttemptResult>>>,
    /// By the number of the attempt.
    sent: Vec<SentAttempt>,
    /// When the baseline wants to be called.
    wakes: BTreeSet<Duration>,
    /// What the last failed attempt met.
    met: Option<WireFailure>,
    /// A number a document.
    values: Vec<Option<f32>>,
    answered: AnsweredJob,
}

struct SentAttempt {
    items: Box<[ChunkItem]>,
    server: usize,
    kind: SendKind,
    abort: AbortHandle,
}

impl<'a> JobRun<'a> {
    pub(super) fn new(driver: &'a BaselineDriver, job: &'a BenchJob) -> Self {
        Self {
            driver,
            id: driver.next_job(),
            job,
            calls: FuturesUnordered::new(),
            sent: Vec::new(),
            wakes: BTreeSet::new(),
            met: None,
            values: vec![None; job.documents.len()],
            answered: AnsweredJob::default(),
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self) -> BenchJobEnd {
        let (driver, id) = (self.driver, self.id);
        let mut actions = Vec::new();
        driver.baseline.lock().submit(id, driver.tokens(self.job), driver.began.elapsed(), &mut actions);
        loop {
            for action in actions.drain(..) {
                if let Some(end) = self.apply(action) {
                    return end;
                }
            }
            tokio::select! {
                Some(call) = self.calls.next() => {
                    // What was cancelled says nothing.
                    let Ok((attempt, result)) = call else { continue };
                    let reply = self.record(attempt, result);
                    driver.baseline.lock().reply(id, attempt, reply, driver.began.elapsed(), &mut actions);
                }
                () = wait(driver, self.wakes.first().copied()) => {
                    let now = driver.began.elapsed();
                    self.wakes.retain(|at| *at > now);
                    driver.baseline.lock().tick(id, now, &mut actions);
                }
            }
        }
    }

    /// Does it; how the job ended, if it did.
    fn apply(&mut self, action: ClientAction) -> Option<BenchJobEnd> {
        match action {
            ClientAction::Send { attempt, server, items, number, deadline, kind, .. } => {
                let (driver, job, sent) = (self.driver, self.job, items.clone());
                let call = async move { (attempt, driver.request(job, &sent, server, number, deadline).await) }.boxed();
                let (call, abort) = futures::future::abortable(call);
                self.calls.push(call);
                self.sent.push(SentAttempt { items, server, kind, abort });
                self.answered.hedges += u64::from(kind == SendKind::Hedge);
                self.answered.retries += u64::from(kind == SendKind::Retry);
            }
            ClientAction::Cancel { attempt, .. } => {
                self.sent.get(attempt as usize).into_iter().for_each(|sent| sent.abort.abort());
            }
            ClientAction::Wake { at, .. } => {
                self.wakes.insert(at);
            }
            ClientAction::End { failed: None, .. } => {
                let mut answered = std::mem::take(&mut self.answered);
                answered.judge(&self.values, self.job, &self.driver.pool);
                return Some(BenchJobEnd::Answered(answered));
            }
            ClientAction::End { failed: Some(reason), .. } => {
                let met = self.met.take().filter(|_| reason != FailReason::Deadline);
                return Some(BenchJobEnd::Failed(met.unwrap_or_else(WireFailure::deadline).word));
            }
        }
        None
    }

    /// Takes what an attempt came to down.
    fn record(&mut self, attempt: u32, result: Result<WireReply, WireFailure>) -> Result<(), Failure> {
        let reply = match result {
            Ok(reply) => reply,
            Err(met) => {
                let failure = met.failure;
                self.met = Some(met);
                return Err(failure);
            }
        };
        let Some(sent) = self.sent.get(attempt as usize) else { return Ok(()) };
        let answered = &mut self.answered;
        let counted = || sent.items.iter().map(|item| u64::from(item.tokens)).sum();
        let tokens = reply.tokens.unwrap_or_else(counted);
        answered.tokens += tokens;
        if let Some(server) = self.driver.servers.get(sent.server) {
            *answered.servers.entry(server.address().to_owned()).or_default() += tokens;
        }
        answered.chunks += 1;
        answered.hedges_won += u64::from(sent.kind == SendKind::Hedge);
        answered.twice += reply.twice;
        answered.truncated += reply.truncated;
        answered.misplaced += usize::from(reply.unsorted);
        for (value, item) in reply.values.iter().zip(&sent.items) {
            if let Some(place) = self.values.get_mut(item.place) {
                *place = *value;
            }
        }
        Ok(())
    }
}

impl Drop for JobRun<'_> {
    fn drop(&mut self) {
        self.driver.baseline.lock().abandon(self.id);
    }
}

/// Waits until then, or for ever.
fn wait(driver: &BaselineDriver, at: Option<Duration>) -> impl Future<Output = ()> + use<> {
    let at = at.and_then(|at| driver.began.checked_add(at));
    async move {
        match at {
            Some(at) => sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}
