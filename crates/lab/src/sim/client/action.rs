//! What clients and the world say to each other.

use std::time::Duration;

use sortie_dispatch::{Failure, LoadReport, ProbeId};

use crate::{baseline::ClientAction, stats::Spent};

/// A job, by its number within a run.
pub(crate) type JobId = u32;

/// Whose probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeOrigin {
    pub(crate) client: u32,
    /// None for the fleet's own.
    pub(crate) job: Option<JobId>,
    pub(crate) probe: ProbeId,
}

/// Something that a client does to the world.
#[derive(Debug)]
pub(crate) enum SimAction {
    /// What every client does.
    Client(ClientAction),
    /// Asks for a report.
    Probe { job: Option<JobId>, probe: ProbeId, server: usize, work: u64 },
    /// Wants to be woken for the fleet.
    WakeFleet { at: Duration },
}

/// An attempt that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// The server's report, which errors of its own carry as well as answers.
    pub(crate) report: Option<LoadReport>,
}

impl From<Failure> for Failed {
    /// One that no server speaks of.
    fn from(failure: Failure) -> Self {
        Self { failure, report: None }
    }
}

/// News of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    Connected,
    Disconnected,
    Joined,
    Removed,
}

/// What a client did in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientTotals {
    pub(crate) spent: Spent,
    pub(crate) overspent: u64,
    pub(crate) hedges: u64,
    pub(crate) hedges_won: u64,
    pub(crate) probes: u64,
    pub(crate) suspicions: u64,
    pub(crate) ejections: u64,
    pub(crate) in_flight: u64,
    pub(crate) rho: f64,
}
