//! What is known of the servers, shared by all jobs of a client: costs, work in
//! flight, reports, load, who may be picked, and what retries and hedges may spend.
//!
//! | module | part |
//! |---|---|
//! | `learn` | what answers, failures and reports teach |
//! | `pick` | servers as candidates, and the choice among them |
//! | `cut` | plans for the fleet as it stands |
//! | `watch` | probes of suspects and of the ejected, servers that come and go |
//! | `stats` | what is known, for people |
//!
//! One fleet is shared by putting it behind one mutex. Every call is arithmetic on what is
//! in memory, some microseconds long, and never waits; a lock of its own for every server
//! would have to be taken for each of them in every choice.
//!
//! Invariant: tokens of an attempt are in flight until its [`InFlightGuard`] is dropped, however it
//! ended. Numbers of servers are never given twice, so none goes stale.

mod cut;
mod learn;
mod pick;
mod stats;
mod watch;

use std::{collections::HashMap, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};
use sortie_work::{SequenceRule, TextSize, TokenRatio, WorkCurve};

use crate::{
    backoff::Backoff,
    config::{DispatchConfig, HealthConfig},
    endpoint::{Endpoint, EndpointModel, InFlightGuard},
    ids::{EndpointId, ModelId, ProbeId},
    latency::Latencies,
    plan::Contention,
    prior::Prior,
    retry_budget::RetryBudget,
    time::Time,
    utilization::FleetLoad,
};

pub(crate) use learn::AttemptTimes;
pub(crate) use pick::PickRequest;
pub use stats::{DispatchCounters, EndpointSnapshot};

/// What servers spend on tokens; costs of different kinds do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Runs of the model.
    Device,
    /// Making token ids only.
    Tokenizer,
}

#[derive(Debug)]
struct ModelFacts {
    name: String,
    resource: Resource,
    prior: Prior,
    ratio: TokenRatio,
    sequences: SequenceRule,
    curve: WorkCurve,
    latencies: Latencies,
    contention: Contention,
}

impl ModelFacts {
    /// What the model makes of texts whose caller wants sequences of at most `most` tokens.
    fn sequences_of(&self, most: u64) -> SequenceRule {
        SequenceRule { longest: self.sequences.longest.min(most), ..self.sequences }
    }
}

/// The servers of a client.
#[derive(Debug)]
pub struct Fleet {
    config: DispatchConfig,
    /// By number; none where discovery took it away.
    endpoints: Vec<Option<Box<Endpoint>>>,
    /// Numbers of those that are there.
    members: Vec<EndpointId>,
    models: Vec<ModelFacts>,
    names: HashMap<(String, Resource), ModelId>,
    budget: RetryBudget,
    load: FleetLoad,
    /// Work that a server has, own and others', on average, in microseconds.
    usual_backlog_us: f64,
    round_trip_us: Option<f64>,
    suspects: usize,
    out: usize,
    /// Servers that are to be asked something now or later.
    watched: Vec<EndpointId>,
    joined: Vec<(EndpointId, ModelId)>,
    /// Whether there is something to do that no timer was set for.
    dirty: bool,
    probes: u64,
    pending: HashMap<ProbeId, watch::PendingProbe>,
    counters: DispatchCounters,
    rng: StdRng,
}

impl Fleet {
    /// A fleet of `endpoints` servers that nothing is known of. The same seed makes the same choices.
    #[must_use]
    pub fn new(config: DispatchConfig, endpoints: usize, seed: u64) -> Self {
        let mut fleet = Self {
            budget: RetryBudget::new(&config.budget),
            config,
            endpoints: Vec::new(),
            members: Vec::new(),
            models: Vec::new(),
            names: HashMap::new(),
            load: FleetLoad::default(),
            usual_backlog_us: 0.0,
            round_trip_us: None,
            suspects: 0,
            out: 0,
            watched: Vec::new(),
            joined: Vec::new(),
            dirty: false,
            probes: 0,
            pending: HashMap::new(),
            counters: DispatchCounters::default(),
            rng: StdRng::seed_from_u64(seed),
        };
        (0..endpoints).for_each(|_| {
            fleet.join(None);
        });
        fleet
    }

    fn join(&mut self, joined: Option<Time>) -> EndpointId {
        let id = EndpointId(u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX));
        self.endpoints.push(Some(Box::new(Endpoint::new(joined))));
        self.members.push(id);
        id
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &DispatchConfig {
        &self.config
    }

    /// The number of a model and a kind of work; the same each time.
    pub fn model(&mut self, name: &str, resource: Resource) -> ModelId {
        if let Some(&id) = self.names.get(&(name.to_owned(), resource)) {
            return id;
        }
        let id = ModelId(u32::try_from(self.models.len()).unwrap_or(u32::MAX));
        let belief = match resource {
            Resource::Device => self.config.cost.prior,
            Resource::Tokenizer => self.config.cost.tokenizer_prior,
        };
        self.models.push(ModelFacts {
            name: name.to_owned(),
            resource,
            prior: Prior::new(belief),
            ratio: TokenRatio::new(self.config.cost.tokens_per_byte),
            sequences: SequenceRule { specials: self.config.cost.special_tokens, longest: u64::MAX },
            curve: WorkCurve::default(),
            latencies: Latencies::default(),
            contention: Contention::default(),
        });
        self.names.insert((name.to_owned(), resource), id);
        id
    }

    /// The name that a model was numbered by.
    #[must_use]
    pub fn model_name(&self, model: ModelId) -> Option<&str> {
        self.state(model).map(|state| state.name.as_str())
    }

    /// Tokens of the sequence that a text becomes, which the caller wants cut after `most`.
    #[must_use]
    pub fn estimate(&self, model: ModelId, text: TextSize, most: u64) -> u64 {
        self.state(model).map_or(1, |state| state.ratio.sequence(text, state.sequences_of(most)))
    }

    /// Tokens of all windows of at most `most` tokens that a text is read in, each with `beside` in it and `stride`
    /// tokens of the one before.
    #[must_use]
    pub fn estimate_windows(&self, model: ModelId, text: TextSize, beside: TextSize, stride: u64, most: u64) -> u64 {
        self.state(model).map_or(1, |state| state.ratio.windows(text, beside, stride, state.sequences_of(most)))
    }

    /// What a sequence of a model counts as where time is reckoned.
    #[must_use]
    pub fn curve(&self, model: ModelId) -> WorkCurve {
        self.state(model).map_or(WorkCurve::default(), |state| state.curve)
    }

    /// Tokens of the longest sequence that a model reads of a caller who wants it cut after `most`.
    #[must_use]
    pub fn longest(&self, model: ModelId, most: u64) -> u64 {
        self.state(model).map_or(most, |state| state.sequences_of(most).longest)
    }

    fn state(&self, model: ModelId) -> Option<&ModelFacts> {
        self.models.get(model.0 as usize)
    }

    fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id.0 as usize)?.as_deref()
    }

    fn server(&mut self, id: EndpointId) -> Option<(&HealthConfig, &mut Endpoint)> {
        Some((&self.config.health, self.endpoints.get_mut(id.0 as usize)?.as_deref_mut()?))
    }

    fn served(
        &mut self,
        endpoint: EndpointId,
        model: ModelId,
    ) -> Option<(&DispatchConfig, &mut EndpointModel, &mut ModelFacts)> {
        let state = self.models.get_mut(model.0 as usize)?;
        let endpoint = self.endpoints.get_mut(endpoint.0 as usize)?.as_deref_mut()?;
        Some((&self.config, endpoint.served_mut(model), state))
    }

    /// Counts an attempt as in flight.
    pub(crate) fn begin(&mut self, endpoint: EndpointId, model: ModelId, work: u64, now: Time) -> InFlightGuard {
        let us = self.own_token_us(endpoint, model, now) * work as f64;
        self.load.sent(&self.config.load, us, now);
        if let Some((_, server)) = self.server(endpoint) {
            server.last_used = Some(now);
        }
        match self.served(endpoint, model) {
            Some((_, served, _)) => served.begin(work),
            // No such server or model: nobody else counts there.
            None => EndpointModel::default().begin(work),
        }
    }

    /// Work of a chunk was answered.
    pub(crate) fn deposit(&mut self, work: u64) {
        self.budget.answered(&self.config.budget, work);
    }

    /// Asks for the work of a retry.
    pub(crate) fn pay_retry(&mut self, work: u64, now: Time) -> bool {
        self.budget.retry(&self.config.budget, work, now)
    }

    /// Asks for the work of a hedge.
    pub(crate) fn pay_hedge(&mut self, work: u64) -> bool {
        self.budget.hedge(work)
    }

    /// A wait before attempt number `attempt` + 1: `backoff · 2^(attempt − 1)`, full jitter.
    pub(crate) fn backoff(&mut self, attempt: u32) -> Duration {
        let retry = &self.config.retry;
        Backoff { base: retry.backoff, limit: retry.max_backoff }.full_jitter(attempt, &mut self.rng)
    }

    /// A number for a probe.
    pub(crate) fn next_probe(&mut self) -> ProbeId {
        self.probes += 1;
        self.counters.probes += 1;
        ProbeId(self.probes)
    }

    /// Microseconds to a server and back.
    pub(crate) fn round_trip_us(&self) -> f64 {
        self.round_trip_us.unwrap_or(self.config.plan.round_trip.as_secs_f64() * 1e6)
    }

    /// How long an attempt may take before it is late.
    pub(crate) fn late_after(&self, model: ModelId, predicted_us: f64) -> Duration {
        let hedge = &self.config.hedge;
        let trigger = self.state(model).map_or(hedge.cold_trigger, |state| state.latencies.trigger(hedge));
        Duration::try_from_secs_f64(trigger * predicted_us / 1e6).unwrap_or(Duration::MAX).max(hedge.floor)
    }

    /// Microseconds of work that a server still has, by a report of after `since`.
    pub(crate) fn queue_wait_left_us(&self, id: EndpointId, since: Time, now: Time) -> Option<f64> {
        self.endpoint(id)?.queue_wait_left_us(since, self.config.health.overdue, now)
    }

    /// ρ: served tokens over tokens that could be served, as this client knows it.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.load.rho()
    }
}
