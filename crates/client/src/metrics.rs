//! What is counted, through the `metrics` facade: nothing where the program installs no
//! recorder. `docs/client.md` lists the names.
//!
//! Labels have few values: RPC names, reasons and outcomes of this crate. Endpoints are
//! no labels; [`crate::Client::stats`] has what is known of each.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use sortie_dispatch::{AttemptKind, CancelReason, HedgeSkipped, PlaceReason, ProbePurpose};

use crate::report::Report;

const JOBS: &str = "sortie_client_jobs_total";
const JOB_SECONDS: &str = "sortie_client_job_seconds";
const JOB_COVERAGE: &str = "sortie_client_job_coverage_ratio";
const CHUNKS: &str = "sortie_client_job_chunks";
const CHUNK_TOKENS: &str = "sortie_client_chunk_tokens";
const ATTEMPTS: &str = "sortie_client_attempts_total";
const ATTEMPT_SECONDS: &str = "sortie_client_attempt_seconds";
const PLACEMENTS: &str = "sortie_client_placements_total";
const CANCELS: &str = "sortie_client_cancels_total";
const HEDGES_SKIPPED: &str = "sortie_client_hedges_skipped_total";
const WON: &str = "sortie_client_hedges_won_total";
const TOKENS: &str = "sortie_client_tokens_total";
const EXTRA: &str = "sortie_client_extra_tokens_total";
const PROBES: &str = "sortie_client_probes_total";
const CONNECTS: &str = "sortie_client_connects_total";
const STREAMS_FULL: &str = "sortie_client_streams_full_total";

/// Tells the recorder what the names mean.
pub(crate) fn describe() {
    describe_counter!(JOBS, "jobs by rpc and outcome");
    describe_histogram!(JOB_SECONDS, Unit::Seconds, "time from a call to its answer, by rpc");
    describe_histogram!(JOB_COVERAGE, "answered share of a job's items, by rpc");
    describe_histogram!(CHUNKS, "chunks that a job was cut into, by rpc");
    describe_histogram!(CHUNK_TOKENS, "estimated tokens of a chunk, by rpc");
    describe_counter!(ATTEMPTS, "attempts by rpc, kind (first, retry, free_retry, hedge) and outcome");
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "time from an attempt's sending to its end, by rpc and kind");
    describe_counter!(PLACEMENTS, "attempts by why their server was chosen");
    describe_counter!(CANCELS, "attempts given up, by why");
    describe_counter!(HEDGES_SKIPPED, "late attempts that were not hedged, by why");
    describe_counter!(WON, "hedges whose answer came first");
    describe_counter!(TOKENS, "estimated tokens of first attempts");
    describe_counter!(EXTRA, "estimated tokens sent beyond first attempts; kind free are those of free retries");
    describe_counter!(PROBES, "probes by purpose and outcome");
    describe_counter!(CONNECTS, "connections made and failed, by outcome");
    describe_counter!(STREAMS_FULL, "calls refused here because every stream of a server was taken");
}

/// A job is over.
pub(crate) fn job(rpc: &'static str, outcome: &'static str, elapsed: Duration, report: Option<&Report>) {
    counter!(JOBS, "rpc" => rpc, "outcome" => outcome).increment(1);
    histogram!(JOB_SECONDS, "rpc" => rpc).record(elapsed);
    if let Some(report) = report {
        histogram!(JOB_COVERAGE, "rpc" => rpc).record(report.coverage());
        counter!(WON).increment(report.hedges_won.into());
        counter!(EXTRA, "kind" => "free").increment(report.free_tokens);
        counter!(EXTRA, "kind" => "paid").increment(report.extra_tokens.saturating_sub(report.free_tokens));
    }
}

/// A job was cut.
pub(crate) fn plan(rpc: &'static str, chunks: impl ExactSizeIterator<Item = u64>) {
    histogram!(CHUNKS, "rpc" => rpc).record(chunks.len() as f64);
    let tokens = histogram!(CHUNK_TOKENS, "rpc" => rpc);
    let mut sum = 0;
    for chunk in chunks {
        tokens.record(chunk as f64);
        sum += chunk;
    }
    counter!(TOKENS).increment(sum);
}

/// An attempt was sent.
pub(crate) fn sent(reason: PlaceReason) {
    counter!(PLACEMENTS, "reason" => reason.as_str()).increment(1);
}

/// An attempt ended.
pub(crate) fn attempt(rpc: &'static str, kind: AttemptKind, outcome: &'static str, elapsed: Duration) {
    counter!(ATTEMPTS, "rpc" => rpc, "kind" => kind.as_str(), "outcome" => outcome).increment(1);
    histogram!(ATTEMPT_SECONDS, "rpc" => rpc, "kind" => kind.as_str()).record(elapsed);
}

/// An attempt was given up.
pub(crate) fn cancelled(reason: CancelReason) {
    counter!(CANCELS, "reason" => reason.as_str()).increment(1);
}

/// A late attempt was not hedged.
pub(crate) fn hedge_skipped(reason: HedgeSkipped) {
    counter!(HEDGES_SKIPPED, "reason" => reason.as_str()).increment(1);
}

/// A probe ended.
pub(crate) fn probe(purpose: ProbePurpose, answered: bool) {
    let outcome = if answered { "answered" } else { "failed" };
    counter!(PROBES, "purpose" => purpose.as_str(), "outcome" => outcome).increment(1);
}

/// A connection was made, or was not.
pub(crate) fn connect(made: bool) {
    counter!(CONNECTS, "outcome" => if made { "made" } else { "failed" }).increment(1);
}

/// Every stream of a server was taken.
pub(crate) fn streams_full() {
    counter!(STREAMS_FULL).increment(1);
}
