//! One job of a baseline: what it wants done is done, and what comes of it is told.
//!
//! Invariant: a job that is given up by its caller leaves nothing in flight.

use std::{collections::BTreeSet, future::Future, time::Duration};

use futures::{
    StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};
use sortie_dispatch::{FailReason, Failure, Pushback};
use sortie_proto::{code::code_name, v1::RerankResponse};
use tokio::time::sleep_until;
use tonic::{Code, Status};

use super::baseline::BaselineDriver;
use crate::{
    baseline::{ChunkItem, ClientAction, SendKind},
    bench::{
        jobs::BenchJob,
        record::{AnsweredJob, BenchJobEnd},
    },
};

/// The word for a job whose deadline passed.
const DEADLINE: &str = "DEADLINE_EXCEEDED";

/// The number of an attempt, and what it came to.
type AttemptResult = (u32, Result<RerankResponse, Status>);

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
    status: Option<Status>,
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
            status: None,
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
                return Some(BenchJobEnd::Answered(std::mem::take(&mut self.answered)));
            }
            ClientAction::End { failed: Some(reason), .. } => {
                let word = self.status.as_ref().filter(|_| reason != FailReason::Deadline);
                return Some(BenchJobEnd::Failed(word.map_or(DEADLINE, |status| code_name(status.code())).to_owned()));
            }
        }
        None
    }

    /// Takes what an attempt came to down.
    fn record(&mut self, attempt: u32, result: Result<RerankResponse, Status>) -> Result<(), Failure> {
        let response = match result {
            Ok(response) => response,
            Err(status) => {
                let failure = failure(status.code());
                self.status = Some(status);
                return Err(failure);
            }
        };
        let Some(sent) = self.sent.get(attempt as usize) else { return Ok(()) };
        let (driver, answered) = (self.driver, &mut self.answered);
        let tokens = response.chunk.as_ref().map_or(0, |chunk| chunk.tokens);
        answered.tokens += tokens;
        if let Some(server) = driver.servers.get(sent.server) {
            *answered.servers.entry(server.address().to_owned()).or_default() += tokens;
        }
        answered.chunks += 1;
        answered.hedges_won += u64::from(sent.kind == SendKind::Hedge);
        for (place, item) in sent.items.iter().enumerate() {
            let score = response.scores.get(place).filter(|score| score.is_finite());
            match score.zip(self.job.documents.get(item.place)) {
                Some((score, &document)) => {
                    answered.wrong += usize::from(!driver.pool.agrees(self.job.query, document, *score));
                }
                None => answered.missing += 1,
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

/// A code as the rules of baselines have it.
fn failure(code: Code) -> Failure {
    match code {
        Code::Unavailable => Failure::Unavailable,
        Code::ResourceExhausted => Failure::Overloaded { pushback: Pushback::Unsaid, queue: None },
        Code::DeadlineExceeded => Failure::Deadline,
        _ => Failure::Internal,
    }
}
