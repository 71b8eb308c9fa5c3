//! What a job keeps of its chunks and attempts.

use std::collections::BTreeMap;

use crate::{
    action::{AttemptKind, HedgeSkipped},
    endpoint::InFlightGuard,
    fleet::AttemptTimes,
    ids::{AttemptId, EndpointId, ProbeId},
    plan::Chunk,
    time::Time,
};

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkPhase {
    /// It has no attempt under way.
    Waiting {
        /// And gets none before.
        not_before: Time,
    },
    /// It has one or more.
    Running,
    /// It is answered.
    Done,
    /// Two others took its place.
    Split,
    /// It will have no answer.
    Lost,
}

/// A chunk.
#[derive(Debug)]
pub(super) struct ChunkState {
    pub(super) chunk: Chunk,
    pub(super) phase: ChunkPhase,
    /// What its next attempt is.
    pub(super) next: AttemptKind,
    /// Attempts, hedges not counted.
    pub(super) attempts: u32,
    /// The number of its newest attempt; hedges count.
    pub(super) newest: u32,
    pub(super) hedges: u32,
    /// Servers that it was sent to.
    pub(super) tried: Vec<EndpointId>,
    /// Servers whose process or connection did not outlive it.
    pub(super) deaths: u32,
    pub(super) faults: u32,
    pub(super) free_retry: bool,
    /// Whether it came of a split: then it is not split again.
    pub(super) is_half: bool,
    pub(super) last_failure: Option<AttemptId>,
    /// Probes under way before a hedge.
    pub(super) round: Option<ProbeRound>,
}

impl ChunkState {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self {
            chunk,
            phase: ChunkPhase::Waiting { not_before: Time::default() },
            next: AttemptKind::First,
            attempts: 0,
            newest: 0,
            hedges: 0,
            tried: Vec::new(),
            deaths: 0,
            faults: 0,
            free_retry: true,
            is_half: false,
            last_failure: None,
            round: None,
        }
    }
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct AttemptState {
    pub(super) chunk: usize,
    pub(super) endpoint: EndpointId,
    pub(super) kind: AttemptKind,
    pub(super) in_flight: InFlightGuard,
    pub(super) sent: Time,
    /// Service and round trip as predicted, in microseconds.
    pub(super) predicted_us: f64,
    /// The queue before it, too.
    pub(super) finish_us: f64,
    /// When it is looked at again: past its trigger, or when a hedge may have become worth it.
    pub(super) check_at: Option<Time>,
    /// Whether it counts as late: it is past its trigger, or its server is silent.
    pub(super) late: bool,
    /// What was last said of it.
    pub(super) skipped: Option<HedgeSkipped>,
}

impl AttemptState {
    pub(super) fn elapsed_us(&self, now: Time) -> f64 {
        (now - self.sent).as_secs_f64() * 1e6
    }

    pub(super) fn times(&self, now: Time) -> AttemptTimes {
        AttemptTimes { us: self.elapsed_us(now), predicted_us: self.predicted_us, finish_us: self.finish_us }
    }
}

/// Probes that are out together.
#[derive(Debug)]
pub(super) struct ProbeRound {
    pub(super) asked: BTreeMap<ProbeId, EndpointId>,
    pub(super) answered: Vec<EndpointId>,
    pub(super) began: Time,
    pub(super) until: Time,
}

impl ProbeRound {
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.asked.is_empty() || now >= self.until
    }
}
