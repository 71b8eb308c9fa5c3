//! The events between clients and servers, and what came of them.
//!
//! ```text
//! Arrive → client plans → Reach (½ round trip) → server queues, batches
//!        → BatchEnds → Answer (½ round trip) → client goes on, or finishes
//! ```

use std::time::Duration;

use sortie_dispatch::{AttemptId, Limits, Report, config::LIMITS};

use crate::{
    client::{Client, Effect, JobId},
    clock::Clock,
    load::Load,
    scenario::{Scenario, ScenarioError, Strategy},
    server::{Part, Server},
    stats::Latencies,
};

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// From a job's arrival to its last answer, of the jobs that are counted.
    pub latencies: Latencies,
    /// Jobs given up.
    pub failed: usize,
    /// Chunks sent and chunks answered, of all jobs.
    pub sent: u64,
    /// See `sent`.
    pub answered: u64,
    /// Tokens of all jobs.
    pub job_tokens: u64,
    /// Tokens that servers ran.
    pub served_tokens: u64,
    /// Tokens that clients still believe in flight at the end.
    pub in_flight: u64,
}

impl Outcome {
    /// Tokens that servers ran beyond those of the jobs, as a share of these.
    #[must_use]
    pub fn extra_tokens(&self) -> f64 {
        self.served_tokens as f64 / self.job_tokens.max(1) as f64 - 1.0
    }

    /// Chunks a job, on average over `jobs`.
    #[must_use]
    pub fn chunks_per_job(&self, jobs: usize) -> f64 {
        self.sent as f64 / jobs.max(1) as f64
    }
}

/// Whose chunk it is.
#[derive(Clone, Copy, Debug)]
struct Key {
    client: usize,
    job: JobId,
    attempt: AttemptId,
}

#[derive(Debug)]
enum Event {
    Arrive(JobId),
    Reach { server: usize, key: Key, tokens: u64 },
    BatchEnds { server: usize },
    Answer { part: Part<Key>, report: Report },
    Wake { client: usize, job: JobId },
}

#[derive(Debug)]
struct World {
    clock: Clock<Event>,
    load: Load,
    clients: Vec<Client>,
    servers: Vec<Server<Key>>,
    half_trip: Duration,
    warm_up: usize,
    jobs: usize,
    over: usize,
    outcome: Outcome,
}

/// Runs a scenario to its last job.
///
/// # Errors
///
/// If the scenario makes no sense.
pub fn run(scenario: &Scenario, strategy: Strategy) -> Result<Outcome, ScenarioError> {
    scenario.validate()?;
    let config = scenario.config(strategy);
    let client = |seed| Client::new(config.clone(), scenario.servers, scenario.seed.wrapping_add(seed));
    let warm_up = scenario.jobs.div_ceil(10);
    let mut world = World {
        clock: Clock::default(),
        load: Load::new(scenario),
        clients: (1..=scenario.clients as u64).map(client).collect(),
        servers: (0..scenario.servers).map(|_| Server::new(scenario.cost, scenario.budget)).collect(),
        half_trip: scenario.round_trip / 2,
        warm_up,
        jobs: scenario.jobs + warm_up,
        over: 0,
        outcome: Outcome::default(),
    };
    world.meet();
    while world.over < world.jobs
        && let Some(event) = world.clock.advance()
    {
        world.happen(event);
    }
    let now = world.clock.now();
    world.outcome.in_flight = world.clients.iter().map(|client| client.in_flight(now)).sum();
    Ok(world.outcome)
}

impl World {
    /// Clients ask every server for its report before their first job, as the client library does.
    fn meet(&mut self) {
        for (place, server) in self.servers.iter().enumerate() {
            for client in &mut self.clients {
                client.report(place, report(server, Duration::ZERO), Duration::ZERO);
            }
        }
        let first = self.load.gap();
        self.clock.after(first, Event::Arrive(0));
    }

    fn happen(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Arrive(job) => {
                if job + 1 < self.jobs {
                    let gap = self.load.gap();
                    self.clock.after(gap, Event::Arrive(job + 1));
                }
                let (client, items) = (self.load.client(), self.load.job());
                self.outcome.job_tokens += items.iter().map(|item| item.tokens).sum::<u64>();
                let effects = self.clients[client].submit(job, &items, now);
                self.apply(client, job, effects);
            }
            Event::Reach { server, key, tokens } => {
                self.servers[server].push(key, tokens);
                self.start(server);
            }
            Event::BatchEnds { server } => {
                for part in self.servers[server].finish() {
                    let report = report(&self.servers[server], now);
                    self.outcome.served_tokens += part.tokens;
                    self.clock.after(self.half_trip, Event::Answer { part, report });
                }
                self.start(server);
            }
            Event::Answer { part, report } => {
                let Key { client, job, attempt } = part.key;
                self.outcome.answered += 1;
                let effects = self.clients[client].answer(job, attempt, &part, report, now);
                self.apply(client, job, effects);
            }
            Event::Wake { client, job } => {
                let effects = self.clients[client].tick(job, now);
                self.apply(client, job, effects);
            }
        }
    }

    fn start(&mut self, server: usize) {
        if let Some(ends) = self.servers[server].start(self.clock.now()) {
            self.clock.at(ends, Event::BatchEnds { server });
        }
    }

    fn apply(&mut self, client: usize, job: JobId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { job, attempt, server, tokens } => {
                    self.outcome.sent += 1;
                    let key = Key { client, job, attempt };
                    self.clock.after(self.half_trip, Event::Reach { server, key, tokens });
                }
                Effect::Wake { job, at } => self.clock.at(at, Event::Wake { client, job }),
                Effect::Finished { began } => {
                    self.over += 1;
                    if job >= self.warm_up {
                        self.outcome.latencies.push(self.clock.now() - began);
                    }
                }
                Effect::GaveUp => {
                    self.over += 1;
                    self.outcome.failed += 1;
                }
            }
        }
    }
}

/// What a server says of itself.
fn report(server: &Server<Key>, now: Duration) -> Report {
    Report {
        epoch: 1,
        drain: server.drain(now),
        cost: server.cost(),
        limits: Limits { max_batch_tokens: server.budget(), ..LIMITS },
        ..Report::default()
    }
}
