//! The events between clients and servers, and what came of them.
//!
//! ```text
//! Arrive → client plans → Reach (one way) → the server's queue → BatchEnds
//!        → AnswerReport (one way) → client goes on, or finishes
//! ```
//!
//! | module | part |
//! |---|---|
//! | `event` | what happens |
//! | `act` | what clients do |
//! | `host` | a server and what it stands on |
//! | `serve` | what happens at servers |
//! | `fault_injection` | faults: what stops, slows, kills and replaces them |
//!
//! Invariant: a run depends on its scenario alone, and ends when its last job has.

mod act;
mod event;
mod fault_injection;
mod host;
mod serve;

use std::time::Duration;

use super::{
    client::{JobId, SimAction, SimClient},
    clock::Clock,
    job_generator::JobGenerator,
    job_log::JobLog,
    outcome::{RunOutcome, SLICE},
    random::RandomSource,
    scenario::{Scenario, ScenarioError},
    server::DeviceModel,
};
use event::WorldEvent;
use host::HostState;

/// Seeds of chance and of clients are taken apart from the load's by this, so that strategies meet the same jobs.
const APART: u64 = 0x9E37_79B9_7F4A_7C15;

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    device: DeviceModel,
    clock: Clock<WorldEvent>,
    load: JobGenerator,
    random: RandomSource,
    clients: Vec<SimClient>,
    hosts: Vec<HostState>,
    /// Jobs that came in, and those of them that are not over.
    jobs: JobId,
    open: usize,
    arriving: bool,
    actions: Vec<SimAction>,
    log: JobLog,
    outcome: RunOutcome,
}

/// Runs a scenario to its last job.
///
/// # Errors
///
/// If the scenario makes no sense.
pub fn run(scenario: &Scenario) -> Result<RunOutcome, ScenarioError> {
    scenario.validate()?;
    let mut world = World::new(scenario);
    let last = scenario.end + scenario.deadline + GRACE;
    while (world.arriving || world.open > 0)
        && world.clock.now() < last
        && let Some(event) = world.clock.advance()
    {
        world.happen(event);
    }
    Ok(world.sum_up())
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let device = DeviceModel {
            cost: scenario.cost,
            knee: scenario.knee,
            budget: scenario.budget,
            curve: scenario.curve,
            believed: scenario.believed_curve(),
        };
        let seed = |number: usize| scenario.seed.wrapping_add((number as u64 + 1).wrapping_mul(APART));
        let client = |number: usize| SimClient::new(scenario, number, seed(number));
        let mut world = Self {
            scenario,
            device,
            clock: Clock::default(),
            load: JobGenerator::new(scenario),
            random: RandomSource::new(scenario.seed ^ APART),
            clients: (0..scenario.clients).map(client).collect(),
            hosts: (0..scenario.servers).map(|_| HostState::new(device, Duration::ZERO)).collect(),
            jobs: 0,
            open: 0,
            arriving: true,
            actions: Vec::new(),
            log: JobLog::new(scenario.deadline),
            outcome: RunOutcome::default(),
        };
        world.outcome.servers.resize_with(scenario.servers, Default::default);
        world.meet();
        world.schedule_faults();
        world
    }

    /// Clients ask every server for its report before their first job, as the client library does.
    fn meet(&mut self) {
        for (place, host) in self.hosts.iter_mut().enumerate().filter(|_| self.scenario.reports) {
            let report = host.server.report(Duration::ZERO);
            for client in &mut self.clients {
                client.meet(place, report, Duration::ZERO);
            }
        }
        let first = self.load.gap(Duration::ZERO);
        self.clock.after(first, WorldEvent::Arrive);
        self.clock.after(SLICE, WorldEvent::Look);
    }

    fn happen(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Arrive => self.arrive(),
            WorldEvent::At(server, arrival) => self.at_server(server, arrival),
            WorldEvent::Resume(server) => self.resume(server),
            WorldEvent::StallNext(server) => self.stall_next(server),
            WorldEvent::Incident(number) => self.incident(number),
            WorldEvent::FaultStep(server, step) => self.fault_step(server, step),
            WorldEvent::Answer(key, reply) => {
                let now = self.clock.now();
                self.log.replied(key);
                self.with(key.client, |client, out| client.reply(key.job, key.attempt, *reply, now, out));
            }
            WorldEvent::Probed(origin, reply) => {
                let now = self.clock.now();
                self.with(origin.client, |client, out| client.probed(origin.job, origin.probe, *reply, now, out));
            }
            WorldEvent::Wake(client, job) => {
                let now = self.clock.now();
                self.with(client, |client, out| client.tick(job, now, out));
            }
            WorldEvent::WakeFleet(client) => {
                let now = self.clock.now();
                self.with(client, |client, out| client.tick_fleet(now, out));
            }
            WorldEvent::ServerEvent(client, server, event) => {
                let now = self.clock.now();
                self.with(client, |client, out| client.server_event(server, event, now, out));
            }
            WorldEvent::Look => self.look(),
        }
    }

    fn arrive(&mut self) {
        let now = self.clock.now();
        let (client, items) = (self.load.client(), self.load.job());
        let id = self.jobs;
        self.jobs += 1;
        self.open += 1;
        let tokens = items.iter().map(|item| item.tokens).sum::<u64>();
        self.outcome.job_tokens += tokens;
        self.outcome.slice(now).jobs += 1;
        let gap = self.load.gap(now);
        self.arriving = now + gap < self.scenario.end;
        if self.arriving {
            self.clock.after(gap, WorldEvent::Arrive);
        }
        let client = u32::try_from(client).unwrap_or(u32::MAX);
        self.log.came(id, client, tokens, now);
        self.with(client, |client, out| client.submit(id, &items, now, out));
    }

    /// Looks at some clients now and then: whom they shun.
    fn look(&mut self) {
        let now = self.clock.now();
        for client in self.clients.iter().take(LOOKED_AT) {
            let (suspects, ejected) = client.shunned(now);
            let slice = self.outcome.slice(now);
            slice.suspects = slice.suspects.max(suspects);
            slice.ejected = slice.ejected.max(ejected);
        }
        self.clock.after(SLICE, WorldEvent::Look);
    }

    fn sum_up(mut self) -> RunOutcome {
        let now = self.clock.now();
        let outcome = &mut self.outcome;
        for client in &self.clients {
            let tally = client.tally(now);
            outcome.spent += tally.spent;
            outcome.overspent += tally.overspent;
            outcome.hedges += tally.hedges;
            outcome.hedges_won += tally.hedges_won;
            outcome.probes += tally.probes;
            outcome.suspicions += tally.suspicions;
            outcome.ejections += tally.ejections;
            outcome.in_flight += tally.in_flight;
        }
        let rho = self.clients.first().map_or(0.0, |client| client.tally(now).rho);
        outcome.rho_milli = (rho * 1e3) as u64;
        for (host, stats) in self.hosts.iter().zip(&mut outcome.servers) {
            stats.served_tokens += host.server.served_tokens;
            stats.busy += host.server.busy;
        }
        outcome.served_tokens = outcome.servers.iter().map(|server| server.served_tokens).sum();
        if self.open > 0 {
            outcome.failed += self.open;
            *outcome.reasons.entry("never ended").or_default() += self.open;
        }
        outcome.ended = self.log.ended;
        outcome.jobs = self.jobs as usize;
        outcome.took = now;
        outcome.events = self.clock.happened();
        self.outcome
    }
}

/// Time after the last job's deadline in which it must have ended: timers fire late by less.
const GRACE: Duration = Duration::from_secs(1);

/// Clients that are looked at: enough to see a cascade.
const LOOKED_AT: usize = 2;
