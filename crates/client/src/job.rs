//! Runs a call that is cut: the transport around [`sortie_dispatch::Job`].
//!
//! Everything of a job happens inside its one future: attempts are polled side by
//! side, none is a task of its own. Dropping the future therefore drops the
//! attempts, each of which resets its HTTP/2 stream, at which the server lets go of
//! the part.

use std::{future::Future, pin::Pin};

use futures::{StreamExt as _, stream::FuturesUnordered};
use sortie_dispatch::{Action, AttemptId, Event, FailReason, Job, JobOptions, ModelId, Plan, Send as Attempt, Time};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Response, Status};
use tracing::{Instrument as _, debug, debug_span, info_span};

use crate::{
    call::CallOptions,
    client::Client,
    error::{Error, ErrorKind},
    failure,
    gather::{Gather, Sent},
    metadata::{self, JobMetadata},
    scatter::Scatter,
    size::Sizes,
};

/// An attempt that ended: with a response, a refusal, or out of time.
struct Ended<T> {
    attempt: AttemptId,
    sent: Sent,
    outcome: Result<Response<T>, Option<Status>>,
    rtt: std::time::Duration,
}

type InFlight<T> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended<T>> + Send>>>;

/// Runs a call.
pub(crate) async fn run<R: Scatter>(rpc: R, client: Client, options: CallOptions) -> Result<R::Output, Error> {
    if rpc.items().is_empty() {
        let message = format!("{} is empty; send at least one", R::ITEMS);
        return Err(Error::invalid(R::ITEMS, "EMPTY_LIST", message));
    }
    rpc.check()?;
    let started = Instant::now();
    let (_, deadline) = client.deadline(&options);
    let mut metadata = client.metadata(&options)?;
    let job_id = options.job_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    metadata.job_id = Some(metadata::value("job_id", &job_id)?);
    let model = client.model_of(&options).to_owned();
    let span = info_span!("job", rpc = R::NAME, job = job_id, model, items = rpc.items().len());

    let run = async move {
        client.acquaint(&model, deadline).await;
        let wants = JobOptions::by(client.time_of(deadline));
        let (model_id, sizes, plan) = cut(&client, &rpc, &model, &options, &wants)?;
        debug!(chunks = plan.chunks.len(), "planned");
        let mut gather = Gather::new(&rpc, job_id, options.revisions);
        gather.oversized(&plan.oversized, &sizes);
        let job = Job::new(model_id, plan, wants);
        let driver = Driver { client, rpc, model, options, metadata, deadline, sizes, job, gather };
        let (rpc, gather) = driver.drive().await?;
        gather.finish(rpc, started.elapsed())
    };
    run.instrument(span).await
}

/// Measures a call and cuts it.
fn cut<R: Scatter>(
    client: &Client,
    rpc: &R,
    model: &str,
    options: &CallOptions,
    wants: &JobOptions,
) -> Result<(ModelId, Sizes, Plan), Error> {
    let mut fleet = client.fleet().lock();
    let id = fleet.model(model, R::WORK);
    let sizes = Sizes::measure(rpc, options.text.max_length, |bytes, ids| fleet.estimate(id, bytes, ids));
    let limit = fleet.config().limits.max_message_bytes;
    if sizes.shared().bytes >= limit {
        let bytes = sizes.shared().bytes;
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the query has {bytes} bytes; a message may have {limit}"),
        ));
    }
    let plan = fleet.plan(id, sizes.items(), sizes.shared(), wants, client.now());
    Ok((id, sizes, plan))
}

struct Driver<R: Scatter> {
    client: Client,
    rpc: R,
    model: String,
    options: CallOptions,
    metadata: JobMetadata,
    deadline: Instant,
    sizes: Sizes,
    job: Job,
    gather: Gather<R>,
}

impl<R: Scatter> Driver<R> {
    /// Does what the job says until it is over.
    async fn drive(mut self) -> Result<(R, Gather<R>), Error> {
        let mut in_flight: InFlight<R::Response> = FuturesUnordered::new();
        let mut refusals = Vec::new();
        let mut event = Event::Start;
        loop {
            let mut wake = self.deadline;
            for action in self.handle(event) {
                match action {
                    Action::Send(attempt) => in_flight.push(self.send(attempt)),
                    Action::WakeAt(time) => wake = self.client.instant_of(time),
                    Action::Finish(coverage) => {
                        self.gather.attempts(coverage.attempts);
                        return Ok((self.rpc, self.gather));
                    }
                    Action::Fail { reason, cause, .. } => return Err(self.refuse(reason, cause, refusals)),
                    // An action of a later version that this driver never causes.
                    _ => {}
                }
            }
            event = tokio::select! {
                Some(ended) = in_flight.next() => self.ended(ended, &mut refusals)?,
                () = sleep_until(wake) => Event::Tick,
            };
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let now = self.now();
        self.job.handle(&mut self.client.fleet().lock(), now, event)
    }

    fn now(&self) -> Time {
        self.client.now()
    }

    /// An attempt, on its way.
    fn send(&self, send: Attempt) -> Pin<Box<dyn Future<Output = Ended<R::Response>> + Send>> {
        let Attempt { attempt, chunk, endpoint, number, .. } = send;
        let chosen = self.job.chunk(chunk);
        let places = chosen.map(|chunk| chunk.items.as_slice()).unwrap_or_default();
        let tokens = chosen.map_or(0, |chunk| chunk.tokens);
        let items = places.iter().filter_map(|&place| self.rpc.items().get(place)).cloned().collect();
        let message = self.rpc.request(&self.model, self.options.text.to_wire(), items);
        let started = Instant::now();
        let remaining = self.deadline.saturating_duration_since(started);
        let request = self.metadata.request(message, number, remaining);
        let address = self.client.address(endpoint.0 as usize);
        let span = debug_span!("attempt", chunk, number, endpoint = address, items = places.len(), tokens);
        let sent = Sent { chunk, number, address };
        let lease = self.client.connection(endpoint.0 as usize);
        let deadline = self.deadline;
        let call = async move {
            let outcome = match lease {
                // The lease lives as long as the call.
                Ok(lease) => match timeout_at(deadline, R::send(lease.stub(), request)).await {
                    Ok(outcome) => outcome.map_err(Some),
                    Err(_) => Err(None),
                },
                Err(error) => Err(Some(Status::from_error(Box::new(error)))),
            };
            Ended { attempt, sent, outcome, rtt: started.elapsed() }
        };
        Box::pin(call.instrument(span))
    }

    /// Learns from an attempt that ended, and tells what it means to the job. An error ends the job.
    fn ended(&mut self, ended: Ended<R::Response>, refusals: &mut Vec<(AttemptId, Error)>) -> Result<Event, Error> {
        let Ended { attempt, sent, outcome, rtt } = ended;
        let report = match &outcome {
            Ok(response) => metadata::report(response.metadata()),
            Err(status) => status.as_ref().and_then(|status| metadata::report(status.metadata())),
        };
        let chunk = self.job.chunk(sent.chunk);
        let places = chunk.map(|chunk| chunk.items.as_slice()).unwrap_or_default();
        let (failure, error) = match outcome {
            Ok(response) => match R::open(response.into_inner(), places.len()) {
                Ok(answer) => {
                    let learned = sortie_dispatch::Answer { report, ..self.sizes.learn(places, &answer) };
                    let expected = chunk.map_or(0, |chunk| chunk.tokens);
                    match self.gather.take(&sent, places, expected, rtt, answer) {
                        Ok(Ok(())) => return Ok(Event::Answered { attempt, answer: learned }),
                        Ok(Err(malformed)) => failure::malformed(malformed),
                        Err(error) => return Err(error.with_attempts(self.job.coverage().attempts)),
                    }
                }
                Err(malformed) => failure::malformed(malformed),
            },
            Err(Some(status)) => failure::refused(status),
            Err(None) => failure::late(),
        };
        let error = error.with_endpoint(sent.address).renumbered(R::ITEMS, places);
        debug!(endpoint = error.endpoint(), chunk = sent.chunk, number = sent.number, ?failure, %error, "attempt failed");
        refusals.push((attempt, error));
        Ok(Event::Failed { attempt, failure, report })
    }

    /// The error that a failed job ends with.
    fn refuse(&self, reason: FailReason, cause: Option<AttemptId>, mut refusals: Vec<(AttemptId, Error)>) -> Error {
        debug!(%reason, "job failed");
        let place = refusals.iter().position(|(attempt, _)| Some(*attempt) == cause);
        let error = place.map_or_else(Error::deadline, |place| refusals.swap_remove(place).1);
        error.with_attempts(self.job.coverage().attempts)
    }
}
