//! What is known of the servers, shared by all jobs of a client: costs, work in
//! flight, reports, who is reachable, and what retries may spend.
//!
//! The backlog of a server is this client's own work there, plus what its last
//! report said of strangers': `own + e^(−age/τ) · max(0, drain − own then − age)`.
//! Reports correct own work, they never replace it; without any, own work is all
//! there is.
//!
//! Invariant: tokens of an attempt are in flight until its [`Ticket`] is dropped,
//! however it ended.

use std::{collections::HashMap, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    action::FleetAction,
    budget::Budget,
    config::Config,
    cost::{Batch, Cost, ServerCost},
    endpoint::{Endpoint, Heard, Served, Ticket},
    estimate::TokenRatio,
    event::{FleetEvent, Texts},
    options::JobOptions,
    place::{self, Candidate},
    plan::{self, Item, Plan, Shared},
    prior::Prior,
    report::{Limits, Report},
    time::Time,
};

/// A server, by its place in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// A model and the kind of work asked of it, as [`Fleet::model`] numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(u32);

/// What servers spend on tokens; costs of different kinds do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Work {
    /// Runs of the model.
    Device,
    /// Making token ids only.
    Tokenizer,
}

#[derive(Debug)]
struct Model {
    name: String,
    work: Work,
    prior: Prior,
    ratio: TokenRatio,
}

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct EndpointStats {
    /// Whether it is picked like any other.
    pub ready: bool,
    /// Tokens in flight there.
    pub in_flight_tokens: u64,
    /// Name, cost and batches seen of each model.
    pub models: Vec<(String, Cost, u64)>,
}

/// The servers of a client.
#[derive(Debug)]
pub struct Fleet {
    config: Config,
    endpoints: Vec<Endpoint>,
    models: Vec<Model>,
    names: HashMap<(String, Work), ModelId>,
    budget: Budget,
    rng: StdRng,
}

impl Fleet {
    /// A fleet of `endpoints` servers that nothing is known of. The same seed makes the same choices.
    #[must_use]
    pub fn new(config: Config, endpoints: usize, seed: u64) -> Self {
        let budget = Budget::new(&config.budget);
        let endpoints = (0..endpoints).map(|_| Endpoint::default()).collect();
        let rng = StdRng::seed_from_u64(seed);
        Self { config, endpoints, models: Vec::new(), names: HashMap::new(), budget, rng }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of a model and a kind of work; the same each time.
    pub fn model(&mut self, name: &str, work: Work) -> ModelId {
        if let Some(&id) = self.names.get(&(name.to_owned(), work)) {
            return id;
        }
        let id = ModelId(u32::try_from(self.models.len()).unwrap_or(u32::MAX));
        let belief = match work {
            Work::Device => self.config.cost.prior,
            Work::Tokenizer => self.config.cost.tokenizer_prior,
        };
        let ratio = TokenRatio::new(&self.config);
        self.models.push(Model { name: name.to_owned(), work, prior: Prior::new(belief), ratio });
        self.names.insert((name.to_owned(), work), id);
        id
    }

    fn state(&self, model: ModelId) -> Option<&Model> {
        self.models.get(model.0 as usize)
    }

    fn served(&mut self, endpoint: EndpointId, model: ModelId) -> Option<(&Config, &mut Served, &mut Model)> {
        let state = self.models.get_mut(model.0 as usize)?;
        let served = self.endpoints.get_mut(endpoint.0 as usize)?.served.entry(model).or_default();
        Some((&self.config, served, state))
    }

    /// Tokens of a sequence made of `bytes` of text and of `ids` ready ones.
    #[must_use]
    pub fn estimate(&self, model: ModelId, bytes: u64, ids: u64) -> u64 {
        self.state(model).map_or(1, |state| state.ratio.estimate(bytes, ids))
    }

    /// The name that a model was numbered by.
    #[must_use]
    pub fn model_name(&self, model: ModelId) -> Option<&str> {
        self.state(model).map(|state| state.name.as_str())
    }

    /// Discovery names another server. Numbers are never given twice: a server that comes back is new.
    pub fn add(&mut self, _now: Time) -> EndpointId {
        let id = EndpointId(u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX));
        self.endpoints.push(Endpoint::default());
        id
    }

    /// Takes an event of the fleet and says what is to be done.
    pub fn handle(&mut self, now: Time, event: FleetEvent) -> Vec<FleetAction> {
        match event {
            FleetEvent::Disconnected(endpoint) => self.lost(endpoint, now),
            FleetEvent::Connected(endpoint) => self.reached(endpoint),
            FleetEvent::Removed(endpoint) => {
                if let Some(endpoint) = self.endpoints.get_mut(endpoint.0 as usize) {
                    endpoint.removed = true;
                }
            }
            FleetEvent::Tick | FleetEvent::ProbeAnswered { .. } | FleetEvent::ProbeFailed { .. } => {}
        }
        Vec::new()
    }

    /// Texts that were answered and not cut had so many tokens.
    pub(crate) fn saw_texts(&mut self, model: ModelId, texts: Texts) {
        if let Some(state) = self.models.get_mut(model.0 as usize) {
            state.ratio.observe(texts.bytes, texts.tokens, texts.items);
        }
    }

    /// A server said what a request may hold, and how much of a sequence the model reads (0: no word).
    pub fn set_limits(&mut self, endpoint: EndpointId, model: ModelId, limits: Limits, max_length: u64) {
        if let Some((_, served, state)) = self.served(endpoint, model) {
            served.limits = limits.or(served.limits);
            state.ratio.set_max_length(max_length);
        }
    }

    /// A server answered with batches that ran.
    pub(crate) fn saw_batches(
        &mut self,
        endpoint: EndpointId,
        model: ModelId,
        batches: impl IntoIterator<Item = Batch>,
        now: Time,
    ) {
        if let Some((config, served, state)) = self.served(endpoint, model) {
            for batch in batches {
                served.cost.observe(config, &mut state.prior, batch, now);
            }
        }
    }

    /// A server reported its load.
    pub fn report(&mut self, endpoint: EndpointId, model: ModelId, report: Report, now: Time) {
        let own = self.own_us(endpoint, now);
        let Some((config, served, state)) = self.served(endpoint, model) else { return };
        served.limits = report.limits.or(served.limits);
        if served.heard.is_some_and(|heard| heard.epoch != report.epoch) {
            served.cost = ServerCost::default();
        }
        if state.work == Work::Device {
            served.cost.told(config, &mut state.prior, report.cost, now);
        }
        let strangers_us = (report.drain.as_secs_f64() * 1e6 - own).max(0.0);
        served.heard = Some(Heard { at: now, epoch: report.epoch, strangers_us });
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.0 as usize) {
            endpoint.reach.set_draining(report.draining);
        }
    }

    /// A server answered, whatever it said.
    pub(crate) fn reached(&mut self, endpoint: EndpointId) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.0 as usize) {
            endpoint.reach.succeed();
        }
    }

    /// A server could not be reached, or is stopping.
    pub(crate) fn lost(&mut self, endpoint: EndpointId, now: Time) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.0 as usize) {
            endpoint.reach.fail(&self.config, now);
        }
    }

    /// A server asked to be left alone for `wait`.
    pub(crate) fn pushed_back(&mut self, endpoint: EndpointId, now: Time, wait: Duration) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.0 as usize) {
            endpoint.reach.push_back(&self.config, now, wait);
        }
    }

    /// Own work in flight on a server, in microseconds.
    fn own_us(&self, endpoint: EndpointId, now: Time) -> f64 {
        let Some(endpoint) = self.endpoints.get(endpoint.0 as usize) else { return 0.0 };
        let work = |(model, served): (&ModelId, &Served)| {
            let state = self.state(*model).filter(|state| state.work == Work::Device)?;
            Some(served.in_flight() as f64 * served.cost.cost(&self.config, &state.prior, now).b_us)
        };
        endpoint.served.iter().filter_map(work).sum()
    }

    fn backlog_us(&self, id: EndpointId, now: Time) -> f64 {
        let Some(endpoint) = self.endpoints.get(id.0 as usize) else { return 0.0 };
        self.own_us(id, now) + endpoint.strangers_us(self.config.place.report_decay, now)
    }

    fn candidate(&self, id: EndpointId, model: ModelId, now: Time) -> Option<Candidate> {
        let (endpoint, state) = (self.endpoints.get(id.0 as usize)?, self.state(model)?);
        let served = endpoint.served.get(&model);
        let cost = served.map_or(state.prior.cost(), |served| served.cost.cost(&self.config, &state.prior, now));
        let mut limits = served.map(|served| served.limits).unwrap_or_default().or(self.config.limits);
        limits.max_message_bytes = limits.max_message_bytes.min(self.config.limits.max_message_bytes);
        Some(Candidate { endpoint: id, cost, backlog_us: self.backlog_us(id, now), limits })
    }

    /// Servers that may get work: the ready ones, or all where none is.
    fn usable(&self, now: Time) -> Vec<EndpointId> {
        let ids = || (0..).map(EndpointId).zip(&self.endpoints).filter(|(_, endpoint)| !endpoint.removed);
        let ready = ids().filter(|(_, endpoint)| endpoint.reach.is_ready(now));
        let ready: Vec<_> = ready.map(|(id, _)| id).collect();
        if ready.is_empty() { ids().map(|(id, _)| id).collect() } else { ready }
    }

    /// Some of `servers`, enough to place `wanted` chunks, as they stand.
    fn candidates(&mut self, servers: Vec<EndpointId>, wanted: usize, model: ModelId, now: Time) -> Vec<Candidate> {
        let drawn = place::draw(&self.config, &mut self.rng, servers, wanted);
        drawn.into_iter().filter_map(|id| self.candidate(id, model, now)).collect()
    }

    /// Cuts a job for the servers as they stand.
    #[must_use]
    pub fn plan(&mut self, model: ModelId, items: &[Item], shared: Shared, _options: &JobOptions, now: Time) -> Plan {
        self.budget.job(&self.config.budget, items.iter().map(|item| item.tokens).sum());
        let wanted = self.config.plan.max_chunks.min(items.len());
        let candidates = self.candidates(self.usable(now), wanted, model, now);
        plan::plan(&self.config, items, shared, &candidates)
    }

    /// Picks a server for `tokens` more, among those that `allowed` lets through.
    pub(crate) fn pick(
        &mut self,
        model: ModelId,
        tokens: u64,
        now: Time,
        allowed: impl Fn(EndpointId) -> bool,
    ) -> Option<EndpointId> {
        let mut servers = self.usable(now);
        servers.retain(|id| allowed(*id));
        let candidates = self.candidates(servers, 1, model, now);
        place::best(&mut self.rng, &candidates, tokens)
    }

    /// Whether a server is picked like any other.
    pub(crate) fn is_ready(&self, endpoint: EndpointId, now: Time) -> bool {
        self.endpoints.get(endpoint.0 as usize).is_some_and(|endpoint| endpoint.reach.is_ready(now))
    }

    /// Counts tokens as in flight.
    pub(crate) fn begin(&mut self, endpoint: EndpointId, model: ModelId, tokens: u64) -> Ticket {
        match self.served(endpoint, model) {
            Some((_, served, _)) => served.begin(tokens),
            // No such server or model: nobody else counts there.
            None => Served::default().begin(tokens),
        }
    }

    /// Tokens were dispatched for the first time.
    pub(crate) fn deposit(&mut self, tokens: u64) {
        self.budget.deposit(&self.config.budget, tokens);
    }

    /// Asks for the tokens of a retry.
    pub(crate) fn withdraw(&mut self, tokens: u64, now: Time) -> bool {
        self.budget.retry(&self.config.budget, tokens, now)
    }

    /// A wait before attempt number `attempt` + 1: `backoff · 2^(attempt − 1)`, full jitter.
    pub(crate) fn backoff(&mut self, attempt: u32) -> Duration {
        crate::reach::backoff(&mut self.rng, self.config.retry.backoff, self.config.retry.max_backoff, attempt)
    }

    /// Tokens that hedges may still take.
    #[must_use]
    pub fn hedge_budget(&self) -> u64 {
        self.budget.for_hedges()
    }

    /// Asks for the tokens of a hedge.
    pub fn withdraw_hedge(&mut self, tokens: u64) -> bool {
        self.budget.hedge(tokens)
    }

    /// Tokens that retries may still take.
    #[must_use]
    pub fn retry_budget(&self) -> u64 {
        self.budget.for_retries()
    }

    /// What is known of each server, in their order.
    pub fn stats(&self, now: Time) -> impl Iterator<Item = EndpointStats> {
        self.endpoints.iter().map(move |endpoint| {
            let model = |(id, served): (&ModelId, &Served)| {
                let state = self.state(*id).filter(|state| state.work == Work::Device)?;
                let cost = served.cost.cost(&self.config, &state.prior, now);
                Some((state.name.clone(), cost, served.cost.samples()))
            };
            let mut models: Vec<_> = endpoint.served.iter().filter_map(model).collect();
            models.sort_by(|a, b| a.0.cmp(&b.0));
            EndpointStats { ready: endpoint.reach.is_ready(now), in_flight_tokens: endpoint.in_flight(), models }
        })
    }
}
