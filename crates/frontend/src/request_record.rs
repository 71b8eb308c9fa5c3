//! One request's count, spans, place on the page and log line, from its headers to its end, whatever the end: answered,
//! refused, or dropped because the caller went away.

use std::sync::Arc;

use sortie_page::{PageJob, RecentJobs};
use sortie_proto::code::code_name;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{context::RequestContext, logs, traces::Traces};

/// The reason of refusals that are not ours: tonic's own, such as an RPC that is not known.
const NO_REASON: &str = "TRANSPORT";

/// Counts a request when it ends; CANCELLED when dropped before.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    rpc: &'static str,
    context: RequestContext,
    traces: Option<Arc<Traces>>,
    /// Where it is told as a job, if it is one.
    jobs: Option<Arc<RecentJobs>>,
    code: Code,
}

impl RequestRecord {
    /// A request begins.
    pub(crate) fn begin(
        rpc: &'static str,
        context: RequestContext,
        traces: Option<Arc<Traces>>,
        jobs: Option<Arc<RecentJobs>>,
    ) -> Self {
        context.metrics.in_flight.inc();
        Self { rpc, context, traces, jobs, code: Code::Cancelled }
    }

    /// The request as the page shows it: what the process knows of it, and nothing that its caller wrote.
    fn job(&self) -> PageJob {
        let (items, tokens) = self.context.size();
        PageJob {
            rpc: self.rpc,
            model: self.context.model_name().to_owned(),
            code: code_name(self.code),
            items,
            tokens,
            took: self.context.arrived.elapsed(),
            attempts: self.context.take_attempts(),
            attempts_left_out: 0,
        }
    }

    /// It ended with this refusal, or none.
    pub(crate) fn end(mut self, refusal: Option<&Status>) {
        self.code = refusal.map_or(Code::Ok, Status::code);
        let Some(status) = refusal else { return };
        let details = status.get_error_details();
        let reason = details.error_info().map_or(NO_REASON, |info| info.reason.as_str());
        self.context.metrics.refused(self.context.model_name(), reason);
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let requests = &self.context.metrics;
        requests.ended(self.rpc, self.context.model_name(), self.code, self.context.arrived.elapsed());
        requests.in_flight.dec();
        if let Some(traces) = &self.traces {
            traces.record(self.rpc, &self.context, self.context.stages(), self.code);
        }
        if let Some(jobs) = &self.jobs {
            jobs.ended(self.job());
        }
        logs::request(self.rpc, &self.context, self.code);
    }
}
