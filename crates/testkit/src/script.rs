//! What a scripted server does with its next calls, and what it saw of them.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sortie_proto::{metadata as keys, orca::OrcaLoadReport};
use tonic::{Status, metadata::MetadataMap};

use crate::gate::Gate;

/// How a call is met.
#[derive(Clone)]
pub(crate) enum ReplyOutcome {
    Answer,
    Refuse(Arc<dyn Fn() -> Status + Send + Sync>),
    HangUp,
}

/// What to do with one call.
#[derive(Clone)]
#[must_use]
pub struct Reply {
    pub(crate) outcome: ReplyOutcome,
    pub(crate) gate: Option<Gate>,
    pub(crate) item_errors: Vec<(u32, String, String)>,
    pub(crate) revision: Option<String>,
    pub(crate) one_too_few: bool,
    pub(crate) report: Option<OrcaLoadReport>,
}

impl Reply {
    fn of(outcome: ReplyOutcome) -> Self {
        Self { outcome, gate: None, item_errors: Vec::new(), revision: None, one_too_few: false, report: None }
    }

    /// Answer it.
    pub fn answer() -> Self {
        Self::of(ReplyOutcome::Answer)
    }

    /// Refuse it with this status.
    pub fn refuse(status: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        Self::of(ReplyOutcome::Refuse(Arc::new(status)))
    }

    /// Cut every connection, in the middle of the call.
    pub fn hang_up() -> Self {
        Self::of(ReplyOutcome::HangUp)
    }

    /// Wait at a gate first.
    pub fn gated(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Fail this item of the answer.
    pub fn item_error(mut self, index: u32, reason: &str, message: &str) -> Self {
        self.item_errors.push((index, reason.to_owned(), message.to_owned()));
        self
    }

    /// Say that another revision of the model answered.
    pub fn revision(mut self, revision: &str) -> Self {
        self.revision = Some(revision.to_owned());
        self
    }

    /// Leave the last item out of the answer.
    pub fn one_too_few(mut self) -> Self {
        self.one_too_few = true;
        self
    }

    /// Send a load report along.
    pub fn report(mut self, report: OrcaLoadReport) -> Self {
        self.report = Some(report);
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            ReplyOutcome::Answer => "answer",
            ReplyOutcome::Refuse(_) => "refuse",
            ReplyOutcome::HangUp => "hang up",
        };
        f.debug_struct("Reply").field("outcome", &outcome).field("gated", &self.gate.is_some()).finish_non_exhaustive()
    }
}

/// A call as it arrived.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecordedCall {
    /// The RPC, as the contract names it.
    pub rpc: &'static str,
    /// The model asked for.
    pub model: String,
    /// The items that are texts.
    pub texts: Vec<String>,
    /// `sortie-job-id`.
    pub job_id: String,
    /// `sortie-attempt`.
    pub attempt: String,
    /// `sortie-lane`.
    pub lane: String,
    /// `sortie-tenant`.
    pub tenant: String,
    /// `authorization`.
    pub authorization: String,
    /// `traceparent`.
    pub traceparent: String,
    /// `user-agent`.
    pub user_agent: String,
    /// `grpc-encoding`.
    pub encoding: String,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
}

impl RecordedCall {
    pub(crate) fn new(rpc: &'static str, model: &str, texts: Vec<String>, map: &MetadataMap) -> Self {
        let get = |key: &str| map.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Self {
            rpc,
            model: model.to_owned(),
            texts,
            job_id: get(keys::JOB_ID),
            attempt: get(keys::ATTEMPT),
            lane: get(keys::LANE),
            tenant: get(keys::TENANT),
            authorization: get("authorization"),
            traceparent: get("traceparent"),
            user_agent: get("user-agent"),
            encoding: get("grpc-encoding"),
            timeout: timeout(&get("grpc-timeout")),
        }
    }
}

/// Reads a `grpc-timeout`.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Replies to come, and calls that came.
#[derive(Debug, Default)]
pub(crate) struct Script {
    next: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
    again: Mutex<Option<Reply>>,
    calls: Mutex<Vec<RecordedCall>>,
    first_contacts: Mutex<Vec<RecordedCall>>,
}

impl Script {
    pub(crate) fn push(&self, reply: Reply) {
        self.next.lock().push_back(reply);
    }

    pub(crate) fn always(&self, reply: Reply) {
        *self.always.lock() = Some(reply);
    }

    pub(crate) fn again(&self, reply: Reply) {
        *self.again.lock() = Some(reply);
    }

    /// How a call of this attempt is met.
    pub(crate) fn take(&self, attempt: &str) -> Reply {
        if !matches!(attempt, "" | "1")
            && let Some(reply) = self.again.lock().clone()
        {
            return reply;
        }
        let next = self.next.lock().pop_front();
        next.or_else(|| self.always.lock().clone()).unwrap_or_else(Reply::answer)
    }

    pub(crate) fn record(&self, call: RecordedCall) {
        self.calls.lock().push(call);
    }

    pub(crate) fn calls(&self) -> Vec<RecordedCall> {
        self.calls.lock().clone()
    }

    pub(crate) fn record_first_contact(&self, call: RecordedCall) {
        self.first_contacts.lock().push(call);
    }

    pub(crate) fn first_contacts(&self) -> Vec<RecordedCall> {
        self.first_contacts.lock().clone()
    }
}
