//! What a caller wants of one job.

use std::time::Duration;

use sortie_work::Lane;

use crate::time::Time;

/// When a job is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Join {
    /// With its last answer; a chunk that cannot be answered fails the job.
    #[default]
    All,
    /// When this share of the items is answered and `soft_wait` has passed since, or with the last
    /// answer; fails when that share cannot be reached.
    Coverage {
        /// From 0 to 1.
        min: f64,
        /// How long the rest is waited for.
        soft_wait: Duration,
    },
    /// With the last answer or at the deadline, with what is there; fails only with nothing.
    Deadline,
}

/// What a caller wants of one job.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobOptions {
    /// One instant for the whole job; each attempt gets what remains.
    pub deadline: Time,
    /// When it is done.
    pub join: Join,
    /// Which queue it waits in.
    pub lane: Lane,
    /// Whose share of the servers it draws on: any number that names the tenant. What a server refuses one tenant it
    /// may have time for from another.
    pub tenant: u64,
    /// Whether late attempts may be hedged. Without, jobs are cut into fewer chunks: each is another
    /// chance to meet a straggler.
    pub hedging: bool,
    /// Whether the job stays whole, where no limit forces it to be cut.
    pub whole: bool,
}

impl JobOptions {
    /// An interactive job, hedged, that wants every answer by `deadline`.
    #[must_use]
    pub fn by(deadline: Time) -> Self {
        Self { deadline, join: Join::All, lane: Lane::Interactive, tenant: 0, hedging: true, whole: false }
    }

    /// The same with another join policy.
    #[must_use]
    pub fn join(mut self, join: Join) -> Self {
        self.join = join;
        self
    }

    /// The same in another lane.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// The same of another tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: u64) -> Self {
        self.tenant = tenant;
        self
    }

    /// The same with hedging on or off.
    #[must_use]
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.hedging = hedging;
        self
    }

    /// The same, kept whole: for what a gateway cuts, or what must be one answer.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }
}
