//! Drives a job: carries out the actions of [`sortie_dispatch::Job`] and reports their outcome to it.
//!
//! Everything of a job happens inside its one future: attempts are polled side by
//! side, none is a task of its own. Dropping the future therefore drops the
//! attempts, each of which resets its HTTP/2 stream, at which the server lets go of
//! the chunk. An attempt that loses its race is dropped the same way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    future::{AbortHandle, BoxFuture},
    stream::FuturesUnordered,
};
use sortie_dispatch::{
    Action, Amount, AnswerReport, AttemptId, AttemptKind, Event, FailReason, Failure, FleetEvent, Job, Missing,
    SendAttempt,
};
use sortie_proto::v1;
use tokio::time::{Instant, sleep_until};
use tracing::{Span, debug, debug_span, field::Empty};

use super::{
    attempt::{Attempt, AttemptOutcome, AttemptRecord, EndedAttempt, RunningAttempt},
    chunked::{ChunkAnswer, ChunkedRpc},
    merge::{Merge, ReceivedAnswer},
    plan::ItemSizes,
    stream::AnswerQueue,
};
use crate::{
    error::Error,
    failure,
    metadata::{self, JobMetadata},
    metrics,
    probe::probe,
    report::LostAttempt,
    state::ClientState,
};

/// The request of a job, the same for every attempt.
pub(crate) struct JobRequest<R: ChunkedRpc> {
    pub(crate) rpc: R,
    pub(crate) model: String,
    pub(crate) text: v1::TextOptions,
    pub(crate) metadata: JobMetadata,
    pub(crate) sizes: ItemSizes,
    /// When the call was made.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Where the answers of a streaming call go; a call that is awaited whole has none.
    pub(crate) answers: Option<AnswerQueue<R::Output>>,
}

/// An answer that fits its request. It is held until the job says whether it is the first for its chunk.
struct ValidAnswer<R: ChunkedRpc> {
    attempt: AttemptId,
    sent: AttemptRecord,
    answer: ChunkAnswer<R::Head, R::Value>,
    elapsed: Duration,
    /// Of the load report that came along.
    epoch: Option<u64>,
}

/// An attempt under way, and how it is given up.
struct UnderWay {
    handle: AbortHandle,
    sent: AttemptRecord,
}

/// How the job ended.
enum JobOutcome {
    Finished,
    Failed(FailReason, Option<AttemptId>),
}

/// A job and what is under way for it.
pub(crate) struct JobDriver<R: ChunkedRpc> {
    state: Arc<ClientState>,
    request: JobRequest<R>,
    job: Job,
    merge: Merge<R>,
    wake: Instant,
    attempts: FuturesUnordered<RunningAttempt<R::Response>>,
    under_way: HashMap<AttemptId, UnderWay>,
    probes: FuturesUnordered<BoxFuture<'static, Event>>,
    chunks: HashMap<usize, Span>,
    failures: HashMap<AttemptId, Error>,
    valid_answer: Option<ValidAnswer<R>>,
    /// The chunks that it was cut into are counted.
    counted: bool,
}

impl<R: ChunkedRpc> JobDriver<R> {
    pub(crate) fn new(state: Arc<ClientState>, request: JobRequest<R>, job: Job, merge: Merge<R>) -> Self {
        Self {
            wake: request.deadline,
            state,
            request,
            job,
            merge,
            attempts: FuturesUnordered::new(),
            under_way: HashMap::new(),
            probes: FuturesUnordered::new(),
            chunks: HashMap::new(),
            failures: HashMap::new(),
            valid_answer: None,
            counted: false,
        }
    }

    /// Carries out the job's actions until it is over.
    pub(crate) async fn drive(mut self) -> Result<(R, Merge<R>), Error> {
        let mut event = Event::Start;
        loop {
            let now = self.state.now();
            let actions = self.job.handle(&mut self.state.fleet(), now, event);
            self.count_chunks();
            let mut outcome = None;
            for action in actions {
                outcome = self.act(action)?.or(outcome);
            }
            // An answer that the job did not want came second.
            if let Some(ValidAnswer { sent, elapsed, .. }) = self.valid_answer.take() {
                self.lost_attempt(sent, elapsed, "second");
            }
            match outcome {
                Some(JobOutcome::Finished) => {
                    let rest: Vec<_> = self.under_way.drain().map(|(_, attempt)| attempt.sent).collect();
                    rest.into_iter().for_each(|sent| self.given_up(sent));
                    return Ok((self.request.rpc, self.merge));
                }
                Some(JobOutcome::Failed(reason, cause)) => return Err(self.error_of_job(reason, cause)),
                None => {}
            }
            event = self.next().await;
        }
    }

    /// Counts the chunks that the job is cut into, once: at its start, or when probes have come back.
    fn count_chunks(&mut self) {
        if self.counted || self.job.chunk(0).is_none() {
            return;
        }
        self.counted = true;
        let tokens: Vec<u64> = (0..).map_while(|index| self.job.chunk(index)).map(|chunk| chunk.tokens).collect();
        Span::current().record("chunks", tokens.len());
        debug!(chunks = tokens.len(), "planned");
        metrics::plan(R::NAME, tokens.into_iter());
    }

    /// Waits for what happens next.
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                Some(ended) = self.attempts.next() => {
                    // Attempts that were given up end as nothing.
                    if let Ok(ended) = ended {
                        return self.ended(ended);
                    }
                }
                Some(event) = self.probes.next() => return event,
                () = sleep_until(self.wake) => {
                    // Set again where it still holds.
                    self.wake = self.request.deadline;
                    return Event::Tick;
                }
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<Option<JobOutcome>, Error> {
        match action {
            Action::Send(order) => self.send(order),
            Action::Cancel { attempt, reason } => {
                if let Some(UnderWay { handle, sent }) = self.under_way.remove(&attempt) {
                    debug!(attempt = attempt.0, %reason, "given up");
                    metrics::cancelled(reason);
                    handle.abort();
                    self.given_up(sent);
                }
            }
            Action::Probe { probe: number, endpoint, work, purpose } => {
                let within = self.state.fleet().config().health.probe_timeout;
                let call = probe(&self.state, endpoint, self.request.model.clone(), work, within);
                self.probes.push(Box::pin(async move {
                    let outcome = call.await;
                    metrics::probe(purpose, outcome.is_ok());
                    match outcome {
                        Ok(report) => Event::ProbeAnswered { probe: number, report },
                        Err(failure) => Event::ProbeFailed { probe: number, failure },
                    }
                }));
            }
            Action::HedgeSkipped { attempt, reason } => {
                debug!(attempt = attempt.0, %reason, "late, and not hedged");
                metrics::hedge_skipped(reason);
            }
            Action::ChunkAnswered { chunk, attempt } => self.answered(chunk, attempt)?,
            Action::Split { chunk, halves } => debug!(chunk, ?halves, "tried again as two"),
            Action::ChunkLost { chunk, reason, cause } => self.lost(chunk, reason, cause),
            Action::WakeAt(time) => self.wake = self.state.instant_of(time).min(self.request.deadline),
            Action::PollFleet => self.state.tell(FleetEvent::Tick),
            Action::Finish(coverage) => {
                self.merge.cost(&coverage);
                return Ok(Some(JobOutcome::Finished));
            }
            Action::Fail { reason, cause, .. } => return Ok(Some(JobOutcome::Failed(reason, cause))),
            // An action of a later version that this driver never causes.
            _ => {}
        }
        Ok(None)
    }

    /// Sends a chunk to a server.
    fn send(&mut self, order: SendAttempt) {
        let SendAttempt { attempt, chunk, endpoint, number, deadline, kind, rescue, reason, .. } = order;
        let JobRequest { rpc, model, text, metadata, .. } = &self.request;
        let cut = self.job.chunk(chunk);
        let indices = cut.map(|chunk| chunk.items.as_slice()).unwrap_or_default();
        let amount = cut.map_or(Amount::default(), |chunk| Amount { tokens: chunk.tokens, work: chunk.work });
        let tokens = amount.tokens;
        let parent =
            self.chunks.entry(chunk).or_insert_with(|| debug_span!("chunk", chunk, items = indices.len(), tokens));
        let server = self.state.server(endpoint);
        let address = server.as_ref().map(|server| server.address().to_owned()).unwrap_or_default();
        let span = debug_span!(
            parent: &*parent, "attempt", number, endpoint = address, %kind, rescue, %reason, outcome = Empty
        );
        metrics::sent(reason);
        let items = indices.iter().filter_map(|&index| rpc.items().get(index)).cloned().collect();
        let attempt = Attempt::<R> {
            id: attempt,
            sent: AttemptRecord { chunk, number, kind, address, began: self.request.started.elapsed() },
            server,
            message: rpc.request(model, text.clone(), items),
            model: model.clone(),
            amount,
            rescue,
            metadata: metadata.clone(),
            deadline: self.state.instant_of(deadline).min(self.request.deadline),
            span,
        };
        let (id, sent) = (attempt.id, attempt.sent.clone());
        let (running, handle) = attempt.start();
        self.attempts.push(running);
        self.under_way.insert(id, UnderWay { handle, sent });
    }

    /// Notes an attempt that is not waited for any longer.
    fn given_up(&mut self, sent: AttemptRecord) {
        let elapsed = self.request.started.elapsed().saturating_sub(sent.began);
        self.lost_attempt(sent, elapsed, "given_up");
    }

    /// Notes an attempt whose answer does not count.
    fn lost_attempt(&mut self, sent: AttemptRecord, elapsed: Duration, outcome: &'static str) {
        let chunk = self.job.chunk(sent.chunk);
        self.merge.lost(LostAttempt {
            items: chunk.map_or(0, |chunk| chunk.items.len()),
            estimated_tokens: chunk.map_or(0, |chunk| chunk.tokens),
            endpoint: sent.address,
            attempt: sent.number,
            hedge: sent.kind == AttemptKind::Hedge,
            began: sent.began,
            elapsed,
            outcome,
        });
    }

    /// Turns the end of an attempt into an event for the job.
    fn ended(&mut self, ended: EndedAttempt<R::Response>) -> Event {
        let EndedAttempt { attempt, sent, outcome, elapsed, span } = ended;
        self.under_way.remove(&attempt);
        let report = match &outcome {
            AttemptOutcome::Response(response) => metadata::report(response.metadata()),
            AttemptOutcome::Status(status) => metadata::report(status.metadata()),
            AttemptOutcome::Unsent(_) | AttemptOutcome::TimedOut => None,
        };
        let chunk = self.job.chunk(sent.chunk);
        let indices = chunk.map(|chunk| chunk.items.as_slice()).unwrap_or_default();
        let (failure, error) = match outcome {
            AttemptOutcome::Response(response) => {
                let in_windows = self.request.rpc.stride().is_some();
                let answer = R::open(response.into_inner(), indices.len());
                match answer.and_then(|answer| answer.check(indices.len(), in_windows)) {
                    Ok(answer) => {
                        span.record("outcome", "ok");
                        metrics::attempt(R::NAME, sent.kind, "ok", elapsed);
                        let texts = self.request.sizes.texts(indices, &answer);
                        let learned = AnswerReport { batches: answer.batches(), report, texts };
                        let epoch = report.map(|report| report.epoch);
                        self.valid_answer = Some(ValidAnswer { attempt, sent, answer, elapsed, epoch });
                        return Event::Answered { attempt, answer: learned };
                    }
                    Err(malformed) => failure::malformed(malformed),
                }
            }
            AttemptOutcome::Status(status) => failure::of_status(status),
            AttemptOutcome::Unsent(error) => failure::unsent(error),
            AttemptOutcome::TimedOut => failure::deadline(),
        };
        let word = if failure == Failure::Transport { "transport" } else { error.kind().as_str() };
        span.record("outcome", word);
        metrics::attempt(R::NAME, sent.kind, word, elapsed);
        let error = error.with_endpoint(sent.address.clone()).with_job_indices(R::ITEMS, indices);
        debug!(parent: &span, ?failure, %error, "attempt failed");
        self.lost_attempt(sent, elapsed, word);
        self.failures.insert(attempt, error);
        Event::Failed { attempt, failure, report }
    }

    /// A chunk has its answer.
    fn answered(&mut self, chunk: usize, attempt: AttemptId) -> Result<(), Error> {
        let Some(valid) = self.valid_answer.take_if(|valid| valid.attempt == attempt) else { return Ok(()) };
        self.chunks.remove(&chunk);
        let cut = self.job.chunk(valid.sent.chunk);
        let received = ReceivedAnswer {
            sent: &valid.sent,
            indices: cut.map(|chunk| chunk.items.as_slice()).unwrap_or_default(),
            expected_tokens: cut.map_or(0, |chunk| chunk.tokens),
            elapsed: valid.elapsed,
            epoch: valid.epoch,
        };
        let taken = match &self.request.answers {
            None => self.merge.take(received, valid.answer),
            Some(answers) => {
                let answer = self.merge.pass(&self.request.rpc, received, valid.answer);
                answer.map(|answer| answers.lock().push_back(answer))
            }
        };
        taken.map_err(|error| error.with_attempts(self.job.coverage().attempts))
    }

    /// A chunk will have no answer, and the job goes on without it.
    fn lost(&mut self, chunk: usize, reason: Missing, cause: Option<AttemptId>) {
        self.chunks.remove(&chunk);
        let Some(indices) = self.job.chunk(chunk).map(|chunk| chunk.items.as_slice()) else { return };
        let failure = cause.and_then(|cause| self.failures.get(&cause));
        match (reason, failure) {
            (Missing::Failed, Some(error)) => {
                let reason = error.reason().map_or_else(|| error.kind().reason(), str::to_owned);
                self.merge.missing(indices, &reason, error.message());
            }
            (Missing::Failed, None) => self.merge.missing(indices, "FAILED", "no server answered for the item"),
            _ => self.merge.missing(indices, "OUT_OF_TIME", "the call was done before the item's answer came"),
        }
    }

    /// The error that a failed job ends with.
    fn error_of_job(&mut self, reason: FailReason, cause: Option<AttemptId>) -> Error {
        let attempts = self.job.coverage().attempts;
        debug!(%reason, attempts, "job failed");
        let error = cause.and_then(|cause| self.failures.remove(&cause)).unwrap_or_else(|| failure::of_job(reason));
        error.with_attempts(attempts)
    }
}
