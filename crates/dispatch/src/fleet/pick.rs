//! Servers as candidates, and the choice among them.
//!
//! A server's backlog is this client's own work there, plus what its last report said of
//! other clients', aged, plus a part of the fleet's usual backlog while it is new. Reports
//! correct own work, they never replace it; without any, own work is all there is.
//!
//! Excluded are servers that the chunk was tried on, that are ejected or suspect, that
//! have a chunk of the same job, or as many attempts as they may. Where that leaves none, rules are dropped, strictest
//! first, as far as the kind of attempt allows ([`PickTier::of`]). Never picked is a server that has said itself that
//! it cannot answer in time.

use std::time::Duration;

use rand::{RngExt as _, seq::SliceRandom as _};

use super::{EndpointId, Fleet, ModelId, Resource};
use crate::{
    action::{AttemptKind, PlaceReason},
    endpoint::{Endpoint, QueueClass},
    options::JobOptions,
    place::{self, Candidate},
    time::Time,
};

/// Draws before a large fleet is looked through whole for a server that may be picked.
const DRAWS: usize = 24;

/// What a chunk wants of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickRequest<'a> {
    pub(crate) model: ModelId,
    /// Its work in tokens.
    pub(crate) work: u64,
    pub(crate) kind: AttemptKind,
    /// Servers that the chunk was tried on.
    pub(crate) tried: &'a [EndpointId],
    /// Servers that have a chunk of the job.
    pub(crate) siblings: &'a [EndpointId],
    /// When its answer is worthless.
    pub(crate) deadline: Time,
    /// How servers queue it.
    pub(crate) queue_class: QueueClass,
}

impl PickRequest<'_> {
    /// That of a chunk that no server has had, in a job that has no other.
    pub(crate) fn of(model: ModelId, work: u64, kind: AttemptKind, options: &JobOptions) -> Self {
        let queue_class = QueueClass { lane: options.lane, tenant: options.tenant };
        Self { model, work, kind, tried: &[], siblings: &[], deadline: options.deadline, queue_class }
    }
}

/// What a server must be, each rule including the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PickTier {
    /// Anything.
    Any,
    /// Not tried for the chunk.
    Untried,
    /// And ready, and not ejected.
    Up,
    /// And not suspect.
    Trusted,
    /// And without a chunk of the job.
    Free,
    /// And with no more attempts than it may have.
    Uncapped,
}

impl PickTier {
    /// The tiers that the request for a chunk may come down to, strictest first.
    fn of(kind: AttemptKind, alone: bool) -> &'static [Self] {
        match kind {
            // It waits for a server to be free of its siblings, if there are any.
            AttemptKind::First if !alone => &[Self::Uncapped, Self::Free],
            AttemptKind::First => &[Self::Uncapped, Self::Free, Self::Up, Self::Untried],
            AttemptKind::Hedge => &[Self::Uncapped, Self::Free, Self::Trusted],
            AttemptKind::Retry | AttemptKind::FreeRetry => {
                &[Self::Uncapped, Self::Free, Self::Trusted, Self::Up, Self::Untried, Self::Any]
            }
        }
    }

    fn reason(self, scanned: bool) -> PlaceReason {
        match self {
            Self::Uncapped | Self::Free if scanned => PlaceReason::Scanned,
            Self::Uncapped | Self::Free => PlaceReason::PowerOfTwo,
            Self::Trusted => PlaceReason::SharedWithSibling,
            Self::Up => PlaceReason::Suspect,
            Self::Untried => PlaceReason::NotReady,
            Self::Any => PlaceReason::TriedBefore,
        }
    }
}

impl Fleet {
    /// Microseconds that a token of work takes on a server's device.
    pub(super) fn own_token_us(&self, endpoint: EndpointId, model: ModelId, now: Time) -> f64 {
        let Some(state) = self.state(model).filter(|state| state.resource == Resource::Device) else { return 0.0 };
        let served = self.endpoint(endpoint).and_then(|endpoint| endpoint.served(model));
        served.map_or(state.prior.cost(), |served| served.cost.cost(&self.config, &state.prior, now)).b_us
    }

    /// Own work in flight on a server, in microseconds.
    pub(super) fn own_us(&self, id: EndpointId, now: Time) -> f64 {
        let Some(endpoint) = self.endpoint(id) else { return 0.0 };
        let work = endpoint.models().map(|(model, served)| match served.in_flight() {
            0 => 0.0,
            work => work as f64 * self.own_token_us(id, model, now),
        });
        work.sum()
    }

    fn backlog_us(&self, id: EndpointId, endpoint: &Endpoint, now: Time) -> f64 {
        let usual = self.load.external_load_us();
        let newness = endpoint.newness(self.config.health.slow_start, now);
        self.own_us(id, now)
            + endpoint.external_load_us(self.config.place.report_decay, usual, now)
            + newness * self.usual_backlog_us
    }

    /// A server as it stands.
    pub(crate) fn candidate(&self, id: EndpointId, model: ModelId, now: Time) -> Option<Candidate> {
        let (endpoint, state) = (self.endpoint(id)?, self.state(model)?);
        let served = endpoint.served(model);
        let cost = served.map_or(state.prior.cost(), |served| served.cost.cost(&self.config, &state.prior, now));
        let mut limits = served.map(|served| served.limits).unwrap_or_default().or(self.config.limits);
        limits.max_message_bytes = limits.max_message_bytes.min(self.config.limits.max_message_bytes);
        let backlog_us = self.backlog_us(id, endpoint, now);
        Some(Candidate { endpoint: id, cost, backlog_us, round_trip_us: self.round_trip_us(), limits })
    }

    /// Whether suspicion counts: not where most of the fleet is suspect.
    pub(super) fn suspicion_counts(&self) -> bool {
        self.suspects as f64 <= self.config.health.max_suspects * self.members.len() as f64
    }

    /// Whether a server is to be had under a rule.
    fn may(&self, tier: PickTier, id: EndpointId, request: &PickRequest<'_>, now: Time) -> bool {
        let Some(endpoint) = self.endpoint(id) else { return false };
        let asks = |of: PickTier| tier >= of;
        if self.is_too_busy(id, request, now) {
            return false;
        }
        !(asks(PickTier::Untried) && self.config.place.exclusion && request.tried.contains(&id))
            && !(asks(PickTier::Up) && (!endpoint.readiness.is_ready(now) || endpoint.ejection.is_out()))
            && !(asks(PickTier::Trusted) && endpoint.suspicion.is_suspect() && self.suspicion_counts())
            && !(asks(PickTier::Free) && request.siblings.contains(&id))
            && !(asks(PickTier::Uncapped) && endpoint.is_full(self.config.place.unknown_in_flight))
    }

    /// Time that a server takes for a chunk itself.
    pub(super) fn service(&self, id: EndpointId, request: &PickRequest<'_>, now: Time) -> Duration {
        let us = self.candidate(id, request.model, now).map_or(0.0, |server| server.service_us(request.work as f64));
        Duration::try_from_secs_f64(us / 1e6).unwrap_or(Duration::MAX)
    }

    /// Whether a server cannot answer a chunk in time, by its own last refusal and what it reported since. Its queue
    /// may have grown, but it is not served faster than time passes.
    fn is_too_busy(&self, id: EndpointId, request: &PickRequest<'_>, now: Time) -> bool {
        let until = self
            .endpoint(id)
            .and_then(|endpoint| endpoint.busy_until(request.queue_class))
            .filter(|until| *until > now);
        until.is_some_and(|until| until + self.service(id, request, now) > request.deadline)
    }

    /// Whether no server can answer a chunk in time, by their own words.
    pub(crate) fn all_too_busy(&self, request: &PickRequest<'_>, now: Time) -> bool {
        !self.members.is_empty() && self.members.iter().all(|&id| self.is_too_busy(id, request, now))
    }

    /// Whether a server may get a chunk of a plan that was made for it.
    pub(crate) fn is_open(&self, id: EndpointId, request: &PickRequest<'_>, now: Time) -> bool {
        self.may(PickTier::Free, id, request, now)
    }

    /// Up to `wanted` servers under a rule, drawn at random; of a fleet small enough all.
    fn draw(&mut self, tier: PickTier, wanted: usize, request: &PickRequest<'_>, now: Time) -> Vec<EndpointId> {
        let count = self.members.len();
        if count > self.config.place.scan_limit.max(2 * wanted) {
            let mut drawn = Vec::with_capacity(wanted);
            for _ in 0..wanted + DRAWS {
                let place = self.rng.random_range(0..count);
                let Some(&id) = self.members.get(place) else { continue };
                if !drawn.contains(&id) && self.may(tier, id, request, now) {
                    drawn.push(id);
                    if drawn.len() == wanted {
                        return drawn;
                    }
                }
            }
        }
        let mut all: Vec<_> = self.members.iter().copied().filter(|&id| self.may(tier, id, request, now)).collect();
        if count > self.config.place.scan_limit && all.len() > wanted {
            all.shuffle(&mut self.rng);
            all.truncate(wanted);
        }
        all
    }

    /// Servers for up to `wanted` chunks of a new job: all of a small fleet, two a chunk of a large one.
    /// Where the strict rules leave none, whoever there is.
    pub(super) fn open_servers(
        &mut self,
        wanted: usize,
        model: ModelId,
        options: &JobOptions,
        now: Time,
    ) -> Vec<EndpointId> {
        let request = PickRequest::of(model, 0, AttemptKind::First, options);
        let drawn = PickTier::of(AttemptKind::First, true).iter().map(|&tier| self.draw(tier, wanted, &request, now));
        drawn.into_iter().find(|drawn| !drawn.is_empty()).unwrap_or_default()
    }

    /// The server that would answer a chunk first, and why it was that.
    pub(crate) fn pick(&mut self, request: &PickRequest<'_>, now: Time) -> Option<(Candidate, PlaceReason)> {
        let scanned = self.members.len() <= self.config.place.scan_limit;
        for &tier in PickTier::of(request.kind, request.siblings.is_empty()) {
            let drawn = self.draw(tier, 2, request, now);
            if let Some(best) = self.best_of(&drawn, request, now) {
                return Some((best, tier.reason(scanned)));
            }
        }
        None
    }

    /// The one of `servers` that would answer a chunk first.
    pub(crate) fn best_of(
        &mut self,
        servers: &[EndpointId],
        request: &PickRequest<'_>,
        now: Time,
    ) -> Option<Candidate> {
        let candidates: Vec<_> = servers.iter().filter_map(|&id| self.candidate(id, request.model, now)).collect();
        place::best(&mut self.rng, &candidates, request.work)
    }

    /// Servers to ask before a hedge of a fleet too large to be looked at whole.
    pub(crate) fn draw_for_hedge(&mut self, request: &PickRequest<'_>, now: Time) -> Vec<EndpointId> {
        self.draw(PickTier::Trusted, self.config.hedge.reprobes, request, now)
    }

    /// Whether the fleet is looked at whole.
    pub(crate) fn is_small(&self) -> bool {
        self.members.len() <= self.config.place.scan_limit
    }
}
