//! What a driver tells: of a job ([`Event`]) and of the fleet ([`FleetEvent`]).
//!
//! Invariant: every attempt that [`crate::Action::Send`] named ends in exactly one of
//! `Answered` and `Failed`, or in an [`crate::Action::Cancel`]; of an attempt that is over,
//! events change nothing. The same holds for probes, whose answers may also stay away.

use std::time::Duration;

use crate::{
    batch::BatchSample,
    ids::{AttemptId, EndpointId, ProbeId},
    report::LoadReport,
};

/// Why an attempt or a probe failed, as far as it matters what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection could not be made, or ended before the answer did (UNAVAILABLE of the transport,
    /// REFUSED_STREAM, reset).
    Transport,
    /// The server takes no work, and said so.
    Unavailable,
    /// The server has too much work, and did none for this attempt.
    Overloaded {
        /// When it may be asked again.
        pushback: Pushback,
        /// How long the work ahead of it would have taken, if it says.
        queue: Option<Duration>,
    },
    /// The server failed in a way that another may not.
    Internal,
    /// The time was up.
    Deadline,
    /// Every server would say the same.
    Fatal,
}

/// When a server that refused may be asked again (`grpc-retry-pushback-ms`, gRFC A6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushback {
    /// It does not say.
    #[default]
    Unsaid,
    /// After so long.
    After(Duration),
    /// Not again for this chunk: waiting cannot help there. Another server may take it.
    Never,
}

/// What an answer says beside its numbers. All of it may be missing: an old server, or a proxy that
/// strips trailers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerReport {
    /// The batches the chunk rode in.
    pub batches: Vec<BatchSample>,
    /// The load report among the trailers.
    pub report: Option<LoadReport>,
    /// Sizes of the texts that were answered and not cut.
    pub texts: Texts,
}

/// Texts and the tokens they had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Bytes of text in all.
    pub bytes: u64,
    /// Tokens in all, specials included.
    pub tokens: u64,
    /// Sequences.
    pub items: u64,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The job starts.
    Start,
    /// A moment that [`crate::Action::WakeAt`] named has come.
    Tick,
    /// An attempt was answered.
    Answered {
        /// The attempt.
        attempt: AttemptId,
        /// What its answer says.
        answer: AnswerReport,
    },
    /// An attempt failed.
    Failed {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        failure: Failure,
        /// The load report among the trailers, which errors carry too.
        report: Option<LoadReport>,
    },
    /// A probe of this job ([`crate::Action::Probe`]) was answered.
    ProbeAnswered {
        /// The probe.
        probe: ProbeId,
        /// Its answer.
        report: LoadReport,
    },
    /// A probe of this job failed, or nobody waits for it any longer.
    ProbeFailed {
        /// The probe.
        probe: ProbeId,
        /// Why.
        failure: Failure,
    },
    /// The caller wants no answer any more. (Dropping the job is as good, but says no `Cancel`s.)
    Cancelled,
}

/// What happened to the fleet, whatever jobs there are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FleetEvent {
    /// A moment that [`crate::FleetAction::WakeAt`] named has come, or [`crate::Action::PollFleet`] asked
    /// for it.
    Tick,
    /// A connection to a server stands.
    Connected(EndpointId),
    /// No connection to a server stands, any more or yet: it is not ready until one does.
    Disconnected(EndpointId),
    /// Discovery no longer names a server: it gets nothing new; what it has runs on.
    Removed(EndpointId),
    /// A probe of the fleet ([`crate::FleetAction::Probe`]) was answered.
    ProbeAnswered {
        /// The probe.
        probe: ProbeId,
        /// Its answer.
        report: LoadReport,
    },
    /// A probe of the fleet failed, or nobody waits for it any longer.
    ProbeFailed {
        /// The probe.
        probe: ProbeId,
        /// Why.
        failure: Failure,
    },
}
