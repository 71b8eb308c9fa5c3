//! A call that is cut over several servers: it is measured, planned, sent in attempts ([`drive`]) and merged
//! ([`merge`]).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`chunked`] | what a kind of call implements so that it can be cut into chunks |
//! | [`plan`] | how large a call's items are, and how it is cut |
//! | [`drive`] | carries out what dispatch decides |
//! | [`attempt`] | one call to one server |
//! | [`merge`] | the chunks' answers in request order |
//! | [`stream`] | the chunks' answers as they come |

mod attempt;
pub(crate) mod chunked;
mod drive;
mod merge;
mod plan;
mod stream;

use std::sync::Arc;

use sortie_dispatch::{Job, JobOptions};
use tokio::time::Instant;
use tracing::{Instrument as _, field::Empty, info_span};

use chunked::{ChunkedRpc, MergedAnswer};
use drive::{JobDriver, JobRequest};
use merge::Merge;
use stream::AnswerQueue;
pub use stream::{AnswerStream, PartialAnswer};

use crate::{
    error::Error,
    first_contact, metadata, metrics,
    options::{CallOptions, Join},
    state::ClientState,
};

/// Runs a call to its result.
pub(crate) async fn run<R: ChunkedRpc>(
    rpc: R,
    state: &Arc<ClientState>,
    options: CallOptions,
) -> Result<R::Output, Error> {
    let (rpc, merged) = run_merged(rpc, state, options).await?;
    Ok(rpc.finish(merged))
}

/// Runs a call to the answers of its items, of which nothing is made yet.
pub(crate) async fn run_merged<R: ChunkedRpc>(
    rpc: R,
    state: &Arc<ClientState>,
    options: CallOptions,
) -> Result<(R, MergedAnswer<R::Head, R::Value>), Error> {
    let started = Instant::now();
    let (rpc, merge) = run_chunked(rpc, state, options, None, started).await?;
    Ok((rpc, merge.into_merged(started.elapsed())))
}

/// A call whose answers go out as they come.
pub(crate) fn stream<R: ChunkedRpc>(rpc: R, state: Arc<ClientState>, options: CallOptions) -> AnswerStream<R::Output> {
    let answers = AnswerQueue::default();
    let queue = Arc::clone(&answers);
    let job = async move {
        let started = Instant::now();
        let (_, merge) = run_chunked(rpc, &state, options, Some(queue), started).await?;
        Ok(merge.into_report(started.elapsed()))
    };
    AnswerStream::new(Box::pin(job), answers)
}

/// The id of a job whose caller gave none.
pub(crate) fn new_job_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

async fn run_chunked<R: ChunkedRpc>(
    rpc: R,
    state: &Arc<ClientState>,
    options: CallOptions,
    answers: Option<AnswerQueue<R::Output>>,
    started: Instant,
) -> Result<(R, Merge<R>), Error> {
    if rpc.items().is_empty() {
        let message = format!("{} is empty; send at least one", R::ITEMS);
        return Err(Error::invalid(R::ITEMS, "EMPTY_LIST", message));
    }
    rpc.check()?;
    check(&options)?;
    let model = state.defaults().model_of(&options).to_owned();
    let job_id = options.job_id.clone().unwrap_or_else(new_job_id);
    let job_value = metadata::value("job_id", &job_id)?;
    let span = info_span!(
        "job",
        rpc = R::NAME,
        job = job_id,
        model,
        items = rpc.items().len(),
        chunks = Empty,
        attempts = Empty,
        outcome = Empty
    );
    let run = async move {
        let (_, deadline) = state.defaults().deadline_of(&options);
        let mut metadata = state.defaults().metadata_of(&options).await?;
        metadata.job_id = Some(job_value);
        first_contact::ensure_described(state, &model, deadline).await?;
        let hedging = options.hedging.unwrap_or(state.defaults().hedging);
        let wants = JobOptions::by(state.time_of(deadline)).join(options.join).lane(metadata.lane).hedging(hedging);
        let wants = wants.tenant(metadata.tenant_number());
        let wants = plan::kept_whole(state, &rpc, &model, wants);
        let (model_id, sizes, plan) = plan::cut(state, &rpc, &model, &options, &wants)?;
        let mut merge = Merge::new(rpc.items().len(), job_id, options.revisions);
        merge.oversized(&plan.oversized, &sizes);
        let job = Job::new(model_id, plan, wants);
        let text = options.text.to_wire();
        let request = JobRequest { rpc, model, text, metadata, sizes, started, deadline, answers };
        JobDriver::new(Arc::clone(state), request, job, merge).drive().await
    };
    let outcome = run.instrument(span.clone()).await;
    let elapsed = started.elapsed();
    match &outcome {
        Ok((_, merge)) => {
            let report = merge.report();
            let word = if report.coverage() < 1.0 { "partial" } else { "ok" };
            span.record("attempts", report.attempts).record("outcome", word);
            metrics::job(R::NAME, word, elapsed, Some(report));
        }
        Err(error) => {
            span.record("attempts", error.attempts()).record("outcome", error.kind().as_str());
            metrics::job(R::NAME, error.kind().as_str(), elapsed, None);
        }
    }
    outcome
}

/// Refuses options that make no sense.
pub(crate) fn check(options: &CallOptions) -> Result<(), Error> {
    match options.join {
        Join::Coverage { min, .. } if !(0.0..=1.0).contains(&min) => {
            let message = format!("join: coverage of {min} is not between 0 and 1");
            Err(Error::invalid("join", "BAD_COVERAGE", message))
        }
        _ => Ok(()),
    }
}
