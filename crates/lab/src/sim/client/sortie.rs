//! The real thing: a [`Fleet`] and its [`Job`]s, driven as the client library drives them.
//!
//! Invariant: every action that dispatch asks for is carried out, in its order; of several wakes that
//! a job asks for the last one counts.

use std::{collections::HashMap, time::Duration};

use sortie_dispatch::{
    Action, AnswerReport, AttemptId, AttemptKind, EndpointId, Event, Failure, Fleet, FleetAction, FleetEvent, ItemSize,
    Job, JobOptions, LoadReport, ModelId, ProbeId, Resource, SharedSize, Time,
};

use super::{
    action::{ClientTotals, Failed, JobId, ServerEvent, SimAction},
    wake::Wake,
};
use crate::{
    Strategy,
    baseline::{ChunkItem, ClientAction, SendKind},
    sim::scenario::Scenario,
    stats::Spent,
};

/// The one model of the simulated fleet.
const MODEL: &str = "model";

/// A client that dispatch thinks for.
#[derive(Debug)]
pub(crate) struct Sortie {
    fleet: Fleet,
    model: ModelId,
    jobs: HashMap<JobId, SortieJob>,
    /// Servers by the fleet's numbers, and the other way round.
    servers: Vec<usize>,
    endpoints: HashMap<usize, EndpointId>,
    fleet_wake: Wake,
    deadline: Duration,
    hedging: bool,
    largest_job: u64,
}

#[derive(Debug)]
struct SortieJob {
    job: Job,
    /// Tokens of each item.
    items: Box<[u32]>,
    /// Server of each attempt.
    sent: Vec<usize>,
    wake: Wake,
}

impl Sortie {
    pub(super) fn new(scenario: &Scenario, strategy: Strategy, seed: u64) -> Self {
        let mut fleet = Fleet::new(scenario.config(strategy), scenario.servers, seed);
        let model = fleet.model(MODEL, Resource::Device);
        let number = |server: usize| EndpointId(u32::try_from(server).unwrap_or(u32::MAX));
        Self {
            fleet,
            model,
            jobs: HashMap::new(),
            servers: (0..scenario.servers).collect(),
            endpoints: (0..scenario.servers).map(|server| (server, number(server))).collect(),
            fleet_wake: Wake::default(),
            deadline: scenario.deadline,
            hedging: scenario.hedging,
            largest_job: 0,
        }
    }

    pub(super) fn meet(&mut self, server: usize, report: LoadReport, now: Duration) {
        if let Some(&endpoint) = self.endpoints.get(&server) {
            self.fleet.report(endpoint, self.model, report, Time::from_start(now));
        }
    }

    pub(super) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<SimAction>) {
        let time = Time::from_start(now);
        self.largest_job = self.largest_job.max(items.iter().map(|item| item.work).sum());
        let options = JobOptions::by(time + self.deadline).hedging(self.hedging);
        let plan = self.fleet.plan(self.model, items, SharedSize::default(), &options, time);
        let job = Job::new(self.model, plan, options);
        let items = items.iter().map(|item| u32::try_from(item.tokens).unwrap_or(u32::MAX)).collect();
        self.jobs.insert(id, SortieJob { job, items, sent: Vec::new(), wake: Wake::default() });
        self.handle(id, Event::Start, now, out);
    }

    pub(super) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        reply: Result<AnswerReport, Failed>,
        now: Duration,
        out: &mut Vec<SimAction>,
    ) {
        let event = match reply {
            Ok(answer) => Event::Answered { attempt, answer },
            Err(Failed { failure, report }) => Event::Failed { attempt, failure, report },
        };
        self.handle(id, event, now, out);
    }

    pub(super) fn probed(
        &mut self,
        job: Option<JobId>,
        probe: ProbeId,
        reply: Result<LoadReport, Failure>,
        now: Duration,
        out: &mut Vec<SimAction>,
    ) {
        match (job, reply) {
            (Some(id), Ok(report)) => self.handle(id, Event::ProbeAnswered { probe, report }, now, out),
            (Some(id), Err(failure)) => self.handle(id, Event::ProbeFailed { probe, failure }, now, out),
            (None, Ok(report)) => self.handle_fleet(FleetEvent::ProbeAnswered { probe, report }, now, out),
            (None, Err(failure)) => self.handle_fleet(FleetEvent::ProbeFailed { probe, failure }, now, out),
        }
    }

    pub(super) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<SimAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        match open.wake.ring(now) {
            Ok(()) => self.handle(id, Event::Tick, now, out),
            Err(later) => out.extend(later.map(|at| SimAction::Client(ClientAction::Wake { job: id, at }))),
        }
    }

    pub(super) fn tick_fleet(&mut self, now: Duration, out: &mut Vec<SimAction>) {
        match self.fleet_wake.ring(now) {
            Ok(()) => self.handle_fleet(FleetEvent::Tick, now, out),
            Err(later) => out.extend(later.map(|at| SimAction::WakeFleet { at })),
        }
    }

    pub(super) fn server_event(&mut self, server: usize, event: ServerEvent, now: Duration, out: &mut Vec<SimAction>) {
        if event == ServerEvent::Joined {
            let endpoint = self.fleet.add(Time::from_start(now));
            // Numbers are given in order.
            self.servers.resize(endpoint.0 as usize, usize::MAX);
            self.servers.push(server);
            self.endpoints.insert(server, endpoint);
            return self.handle_fleet(FleetEvent::Tick, now, out);
        }
        let Some(&endpoint) = self.endpoints.get(&server) else { return };
        let event = match event {
            ServerEvent::Connected => FleetEvent::Connected(endpoint),
            ServerEvent::Disconnected => FleetEvent::Disconnected(endpoint),
            ServerEvent::Removed | ServerEvent::Joined => FleetEvent::Removed(endpoint),
        };
        self.handle_fleet(event, now, out);
    }

    fn handle(&mut self, id: JobId, event: Event, now: Duration, out: &mut Vec<SimAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let actions = open.job.handle(&mut self.fleet, Time::from_start(now), event);
        let (mut over, mut poll) = (false, false);
        for action in actions {
            match action {
                Action::Send(send) => {
                    let Some(chunk) = open.job.chunk(send.chunk) else { continue };
                    let item = |&place: &usize| Some(ChunkItem { place, tokens: *open.items.get(place)? });
                    let items = chunk.items.iter().filter_map(item).collect();
                    let server = self.servers.get(send.endpoint.0 as usize).copied().unwrap_or(usize::MAX);
                    open.sent.resize(send.attempt.0 as usize, usize::MAX);
                    open.sent.push(server);
                    // As on the wire: a rescue waits with first attempts.
                    let number = if send.rescue { 1 } else { send.number };
                    let (attempt, deadline) = (send.attempt.0, send.deadline.since_start());
                    let kind = match send.kind {
                        AttemptKind::First => SendKind::First,
                        AttemptKind::Hedge => SendKind::Hedge,
                        _ => SendKind::Retry,
                    };
                    let send = ClientAction::Send { job: id, attempt, server, items, number, deadline, kind };
                    out.push(SimAction::Client(send));
                }
                Action::Cancel { attempt, .. } => {
                    let server = open.sent.get(attempt.0 as usize).copied().unwrap_or(usize::MAX);
                    out.push(SimAction::Client(ClientAction::Cancel { job: id, attempt: attempt.0, server }));
                }
                Action::Probe { probe, endpoint, work, .. } => {
                    let server = self.servers.get(endpoint.0 as usize).copied().unwrap_or(usize::MAX);
                    out.push(SimAction::Probe { job: Some(id), probe, server, work });
                }
                Action::WakeAt(at) => {
                    let at = open.wake.set(at.since_start());
                    out.extend(at.map(|at| SimAction::Client(ClientAction::Wake { job: id, at })));
                }
                Action::PollFleet => poll = true,
                Action::Finish(_) => {
                    over = true;
                    out.push(SimAction::Client(ClientAction::End { job: id, failed: None }));
                }
                Action::Fail { reason, .. } => {
                    over = true;
                    out.push(SimAction::Client(ClientAction::End { job: id, failed: Some(reason) }));
                }
                // Words for traces.
                _ => {}
            }
        }
        if over {
            self.jobs.remove(&id);
        }
        if poll {
            self.handle_fleet(FleetEvent::Tick, now, out);
        }
    }

    fn handle_fleet(&mut self, event: FleetEvent, now: Duration, out: &mut Vec<SimAction>) {
        for action in self.fleet.handle(Time::from_start(now), event) {
            match action {
                FleetAction::Probe { probe, endpoint, .. } => {
                    let server = self.servers.get(endpoint.0 as usize).copied().unwrap_or(usize::MAX);
                    out.push(SimAction::Probe { job: None, probe, server, work: 0 });
                }
                FleetAction::WakeAt(at) => {
                    let at = self.fleet_wake.set(at.since_start());
                    out.extend(at.map(|at| SimAction::WakeFleet { at }));
                }
                _ => {}
            }
        }
    }

    pub(super) fn shunned(&self, now: Duration) -> (usize, usize) {
        let stats = self.fleet.stats(Time::from_start(now));
        stats.fold((0, 0), |(suspects, out), server| {
            (suspects + usize::from(server.suspect), out + usize::from(server.ejected))
        })
    }

    pub(super) fn tally(&self, now: Duration) -> ClientTotals {
        let counters = self.fleet.counters();
        let config = &self.fleet.config().budget;
        let spent = Spent {
            first: counters.tokens,
            hedges: counters.hedge_tokens,
            retries: counters.retry_tokens,
            free: counters.free_retry_tokens,
        };
        // The burst is in jobs of median size, as the client knows it; the largest one is no less.
        let burst = config.burst_jobs * config.median_job.max(self.largest_job) as f64;
        // However little there is, one retry a while is let through.
        let floor = (now.as_secs_f64() / config.floor.as_secs_f64() + 1.0) * self.largest_job as f64;
        let over = |spent: u64, allowed: f64| spent.saturating_sub(allowed as u64);
        let hedges = over(spent.hedges, burst / 2.0 + config.hedge_share * spent.first as f64);
        let shares = config.hedge_share + config.retry_share;
        let both = over(spent.hedges + spent.retries, burst + floor + shares * spent.first as f64);
        ClientTotals {
            spent,
            overspent: hedges + both,
            hedges: counters.hedges,
            hedges_won: counters.hedges_won,
            probes: counters.probes,
            suspicions: counters.suspicions,
            ejections: counters.ejected_failing + counters.ejected_slow,
            in_flight: self.fleet.stats(Time::from_start(now)).map(|stats| stats.in_flight_tokens).sum(),
            rho: self.fleet.load(),
        }
    }
}
