//! A small fleet in virtual time, to hold whole rules to what they promise: real jobs and
//! fleets, scripted servers that run merged batches of `a + b · tokens` and can stall, slow
//! down, die and refuse. Seeded: a run depends on its scenario alone.
//!
//! (`sortie-sim` is the measuring instrument; this is the smallest thing that can be wrong.)

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use crate::{
    events::{Entry, Happening, Key, ServerChunk},
    scenario::{Fault, Outcome, Scenario},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sortie_dispatch::{
    Action, AnswerReport, AttemptId, BatchSample, EndpointId, Event, Failure, Fleet, FleetAction, FleetEvent, ItemSize,
    Job, JobOptions, Limits, LoadReport, ModelId, Resource, SharedSize, Time,
};

#[derive(Debug)]
struct Server {
    slow: f64,
    dead: bool,
    refuse: Option<Failure>,
    stalled_until: f64,
    queue: VecDeque<ServerChunk>,
    running: Option<(f64, f64, BatchSample, Vec<ServerChunk>)>,
    generation: u64,
    reserved: Vec<(f64, u64)>,
    busy: f64,
    served: f64,
    seen: f64,
}

struct Client {
    fleet: Fleet,
    model: ModelId,
    jobs: BTreeMap<usize, (Job, f64)>,
}

pub(crate) struct World {
    scenario: Scenario,
    now: f64,
    count: u64,
    events: BinaryHeap<Reverse<Entry>>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    rng: StdRng,
    /// Arrivals, the same whatever is done with them.
    arrivals: StdRng,
    sent: BTreeMap<(usize, usize, AttemptId), usize>,
    jobs: usize,
    open: usize,
    pub(crate) outcome: Outcome,
}

fn time(us: f64) -> Time {
    Time::from_start(Duration::from_secs_f64(us / 1e6))
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let server = || Server {
            slow: 1.0,
            dead: false,
            refuse: None,
            stalled_until: 0.0,
            queue: VecDeque::new(),
            running: None,
            generation: 0,
            reserved: Vec::new(),
            busy: 0.0,
            served: 0.0,
            seen: 0.0,
        };
        let mut world = Self {
            now: 0.0,
            count: 0,
            events: BinaryHeap::new(),
            servers: (0..scenario.servers).map(|_| server()).collect(),
            clients: Vec::new(),
            rng: StdRng::seed_from_u64(scenario.seed),
            arrivals: StdRng::seed_from_u64(scenario.seed + 1_000_000),
            sent: BTreeMap::new(),
            jobs: 0,
            open: 0,
            outcome: Outcome {
                reached: vec![0; scenario.servers],
                reached_late: vec![0; scenario.servers],
                ..Outcome::default()
            },
            scenario,
        };
        for seed in 0..world.scenario.clients as u64 {
            let seed = world.scenario.seed.wrapping_mul(1_000).wrapping_add(seed);
            let mut fleet = Fleet::new(world.scenario.config.clone(), world.scenario.servers, seed);
            let model = fleet.model("m", Resource::Device);
            if world.scenario.reports {
                for place in 0..world.scenario.servers {
                    fleet.report(EndpointId(place as u32), model, world.report(place), time(0.0));
                }
            }
            world.clients.push(Client { fleet, model, jobs: BTreeMap::new() });
        }
        world.after(0.0, Happening::Arrive);
        if world.scenario.stalls.is_some() {
            for server in 0..world.scenario.servers {
                world.next_stall(server);
            }
        }
        world
    }

    /// Injects a fault into a server.
    pub(crate) fn fault(&mut self, at: Duration, server: usize, fault: Fault) {
        self.at(us(at), Happening::Fault { server, fault });
    }

    /// Runs until no job is open and none arrives.
    pub(crate) fn run(mut self) -> Outcome {
        while let Some(Reverse(Entry(at, _, event))) = self.events.pop() {
            self.now = at;
            if at > us(self.scenario.end) && self.open == 0 {
                break;
            }
            self.happen(event);
        }
        let now = time(self.now);
        for client in &self.clients {
            self.outcome.in_flight += client.fleet.stats(now).map(|stats| stats.in_flight_tokens).sum::<u64>();
            let counters = client.fleet.counters();
            let tokens = [counters.tokens, counters.hedge_tokens, counters.retry_tokens, counters.free_retry_tokens];
            self.outcome.tokens.iter_mut().zip(tokens).for_each(|(sum, tokens)| *sum += tokens);
        }
        self.outcome
    }

    fn at(&mut self, at: f64, event: Happening) {
        self.count += 1;
        self.events.push(Reverse(Entry(at.max(self.now), self.count, event)));
    }

    fn after(&mut self, us: f64, event: Happening) {
        self.at(self.now + us, event);
    }

    fn exp(&mut self, mean: f64) -> f64 {
        let u: f64 = self.rng.random();
        -mean * (1.0 - u).ln()
    }

    fn net(&mut self) -> f64 {
        let (fixed, more) = self.scenario.net_us;
        fixed + self.exp(more)
    }

    fn next_stall(&mut self, server: usize) {
        if let Some((pause, _)) = self.scenario.stalls {
            let pause = self.exp(us(pause));
            self.after(pause, Happening::StallNext { server });
        }
    }

    fn happen(&mut self, event: Happening) {
        match event {
            Happening::Arrive => self.arrive(),
            Happening::Reach { server, chunk } => self.reach(server, chunk),
            Happening::Drop { server, key } => self.servers[server].queue.retain(|chunk| chunk.key != key),
            Happening::BatchEnds { server, generation } => self.batch_ends(server, generation),
            Happening::Answer { key, result } => {
                let attempt = key.attempt;
                self.sent.remove(&(key.client, key.job, attempt));
                let event = match result {
                    Ok(answer) => Event::Answered { attempt, answer },
                    Err(failure) => Event::Failed { attempt, failure, report: None },
                };
                self.tell(key.client, key.job, event);
            }
            Happening::ProbeReach { server, client, job, probe, tokens } => {
                let stalled = self.servers[server].stalled_until;
                if self.servers[server].dead {
                    let result = Err(Failure::Transport);
                    let net = self.net();
                    self.after(net, Happening::ProbeAnswer { client, job, probe, result });
                } else if stalled > self.now {
                    self.at(stalled, Happening::ProbeReach { server, client, job, probe, tokens });
                } else {
                    let report = self.report(server);
                    self.servers[server].reserved.push((self.now + 2_000.0, tokens));
                    let net = self.net();
                    self.after(net, Happening::ProbeAnswer { client, job, probe, result: Ok(report) });
                }
            }
            Happening::ProbeAnswer { client, job: Some(job), probe, result } => {
                let event = match result {
                    Ok(report) => Event::ProbeAnswered { probe, report },
                    Err(failure) => Event::ProbeFailed { probe, failure },
                };
                self.tell(client, job, event);
            }
            Happening::ProbeAnswer { client, job: None, probe, result } => {
                let event = match result {
                    Ok(report) => FleetEvent::ProbeAnswered { probe, report },
                    Err(failure) => FleetEvent::ProbeFailed { probe, failure },
                };
                self.tell_fleet(client, event);
            }
            Happening::WakeJob { client, job } => self.tell(client, job, Event::Tick),
            Happening::WakeFleet { client } => self.tell_fleet(client, FleetEvent::Tick),
            Happening::StallNext { server } => {
                let length = self.scenario.stalls.map_or(0.0, |(_, length)| us(length));
                let length = self.exp(length);
                self.stall(server, length);
                self.next_stall(server);
            }
            Happening::Fault { server, fault } => self.inject_fault(server, fault),
        }
    }

    fn stall(&mut self, server: usize, length: f64) {
        let server = &mut self.servers[server];
        server.stalled_until = server.stalled_until.max(self.now + length);
    }

    fn inject_fault(&mut self, place: usize, fault: Fault) {
        match fault {
            Fault::Stall(length) => self.stall(place, us(length)),
            Fault::Slow(factor) => self.servers[place].slow = factor,
            Fault::Refuse(failure) => self.servers[place].refuse = failure,
            Fault::Live => self.servers[place].dead = false,
            Fault::Die => {
                let server = &mut self.servers[place];
                server.dead = true;
                server.generation += 1;
                let mut lost: Vec<ServerChunk> = server.queue.drain(..).collect();
                lost.extend(server.running.take().into_iter().flat_map(|running| running.3));
                for chunk in lost {
                    let net = self.net();
                    self.after(net, Happening::Answer { key: chunk.key, result: Err(Failure::Transport) });
                }
            }
        }
    }

    fn arrive(&mut self) {
        let job = self.jobs;
        self.jobs += 1;
        let rate = self.scenario.load * self.scenario.servers as f64 / self.scenario.cost.b_us;
        let u: f64 = self.arrivals.random();
        let gap = -(1.0 - u).ln() * self.scenario.job_tokens as f64 / rate;
        if self.now + gap < us(self.scenario.end) {
            self.after(gap, Happening::Arrive);
        }
        let mean = self.scenario.job_tokens / self.scenario.items as u64;
        let items: Vec<ItemSize> = (0..self.scenario.items)
            .map(|_| {
                let tokens = self.arrivals.random_range(mean / 2..=mean + mean / 2).max(1);
                ItemSize { tokens, bytes: tokens * 4, answer_bytes: 4 }
            })
            .collect();
        let client = self.arrivals.random_range(0..self.scenario.clients);
        let now = time(self.now);
        let state = &mut self.clients[client];
        let options = JobOptions::by(now + self.scenario.deadline).hedging(self.scenario.hedging);
        let plan = state.fleet.plan(state.model, &items, SharedSize::default(), &options, now);
        self.outcome.chunks.push((self.now / 1e6, plan.expected_chunks()));
        state.jobs.insert(job, (Job::new(state.model, plan, options), self.now));
        self.open += 1;
        self.tell(client, job, Event::Start);
    }

    fn tell_fleet(&mut self, client: usize, event: FleetEvent) {
        let now = time(self.now);
        let actions = self.clients[client].fleet.handle(now, event);
        for action in actions {
            match action {
                FleetAction::Probe { probe, endpoint, .. } => {
                    let net = self.net();
                    let server = endpoint.0 as usize;
                    self.after(net, Happening::ProbeReach { server, client, job: None, probe, tokens: 0 });
                }
                FleetAction::WakeAt(at) => self.at(us(at.since_start()), Happening::WakeFleet { client }),
                _ => {}
            }
        }
    }

    fn tell(&mut self, client: usize, id: usize, event: Event) {
        let now = time(self.now);
        let state = &mut self.clients[client];
        let Some((job, _)) = state.jobs.get_mut(&id) else { return };
        let actions = job.handle(&mut state.fleet, now, event);
        let tokens: Vec<u64> = actions
            .iter()
            .map(|action| match action {
                Action::Send(send) => job.chunk(send.chunk).map_or(0, |chunk| chunk.tokens),
                _ => 0,
            })
            .collect();
        for (action, tokens) in actions.into_iter().zip(tokens) {
            self.act(client, id, action, tokens);
        }
        if self.scenario.servers <= 64 && self.jobs.is_multiple_of(10) {
            let stats: Vec<_> = self.clients[client].fleet.stats(now).collect();
            let count =
                |of: &dyn Fn(&sortie_dispatch::EndpointSnapshot) -> bool| stats.iter().filter(|s| of(s)).count();
            self.outcome.most_suspect = self.outcome.most_suspect.max(count(&|s| s.suspect));
            self.outcome.most_ejected = self.outcome.most_ejected.max(count(&|s| s.ejected));
        }
    }

    fn act(&mut self, client: usize, job: usize, action: Action, tokens: u64) {
        match action {
            Action::Send(send) => {
                let key = Key { client, job, attempt: send.attempt };
                self.sent.insert((client, job, send.attempt), send.endpoint.0 as usize);
                let chunk = ServerChunk { key, left: tokens, batches: Vec::new() };
                let net = self.net();
                self.after(net, Happening::Reach { server: send.endpoint.0 as usize, chunk });
            }
            Action::Cancel { attempt, .. } => {
                let net = self.net();
                let key = Key { client, job, attempt };
                let server = self.sent.remove(&(client, job, attempt)).unwrap();
                self.after(net, Happening::Drop { server, key });
            }
            Action::Probe { probe, endpoint, tokens, .. } => {
                let net = self.net();
                let server = endpoint.0 as usize;
                self.after(net, Happening::ProbeReach { server, client, job: Some(job), probe, tokens });
            }
            Action::WakeAt(at) => self.at(us(at.since_start()), Happening::WakeJob { client, job }),
            Action::PollFleet => self.after(0.0, Happening::WakeFleet { client }),
            Action::Finish(_) | Action::Fail { .. } => {
                let Some((_, began)) = self.clients[client].jobs.remove(&job) else { return };
                self.open -= 1;
                if matches!(action, Action::Fail { .. }) {
                    self.outcome.failed += 1;
                } else if began >= us(self.scenario.warm_up) {
                    self.outcome.latencies.push((self.now - began) / 1e3);
                }
            }
            _ => {}
        }
    }

    fn reach(&mut self, place: usize, chunk: ServerChunk) {
        self.outcome.reached[place] += 1;
        self.outcome.reached_late[place] += u64::from(self.now * 3.0 > us(self.scenario.end) * 2.0);
        let server = &mut self.servers[place];
        let refused = if server.dead { Some(Failure::Transport) } else { server.refuse };
        if let Some(failure) = refused {
            let net = self.net();
            return self.after(net, Happening::Answer { key: chunk.key, result: Err(failure) });
        }
        server.queue.push_back(chunk);
        self.start(place);
    }

    fn start(&mut self, place: usize) {
        let (cost, budget, noise) = (self.scenario.cost, self.scenario.budget, self.scenario.noise);
        // Twelve uniforms make a normal.
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        let server = &mut self.servers[place];
        if server.running.is_some() || server.queue.is_empty() || server.dead {
            return;
        }
        if server.stalled_until > self.now {
            let (at, generation) = (server.stalled_until, server.generation);
            return self.at(at, Happening::BatchEnds { server: place, generation });
        }
        let (mut room, mut chunks) = (budget, Vec::new());
        while room > 0
            && let Some(mut chunk) = server.queue.pop_front()
        {
            let taken = chunk.left.min(room);
            chunk.left -= taken;
            room -= taken;
            chunks.push(chunk);
        }
        let tokens = (budget - room) as f64;
        let length = cost.batch_us(tokens) * server.slow * (1.0 + noise * normal).max(0.2);
        server.generation += 1;
        server.running = Some((self.now, self.now + length, BatchSample { us: length, tokens }, chunks));
        let generation = server.generation;
        self.after(length, Happening::BatchEnds { server: place, generation });
    }

    fn batch_ends(&mut self, place: usize, generation: u64) {
        let server = &mut self.servers[place];
        if server.generation != generation || server.dead {
            return;
        }
        if server.stalled_until > self.now {
            let at = server.stalled_until;
            return self.at(at, Happening::BatchEnds { server: place, generation });
        }
        if let Some((began, _, mut batch, chunks)) = server.running.take() {
            // A stopped process measures the stop too.
            batch.us = batch.us.max(self.now - began);
            server.look(self.now, Some(batch));
            let mut done = Vec::new();
            for mut chunk in chunks {
                chunk.batches.push(batch);
                if chunk.left == 0 { done.push(chunk) } else { server.queue.push_front(chunk) }
            }
            let report = self.scenario.reports.then(|| self.report(place));
            for chunk in done {
                let net = self.net();
                let batches = if self.scenario.reports { chunk.batches } else { Vec::new() };
                let answer = AnswerReport { batches, report, ..AnswerReport::default() };
                self.after(net, Happening::Answer { key: chunk.key, result: Ok(answer) });
            }
        }
        self.start(place);
    }

    fn report(&mut self, place: usize) -> LoadReport {
        let (now, budget) = (self.now, self.scenario.budget);
        let server = &mut self.servers[place];
        let cost = self.scenario.cost.times(server.slow);
        server.look(now, None);
        server.reserved.retain(|(until, _)| *until > now);
        let waiting: u64 = server.queue.iter().map(|chunk| chunk.left).sum::<u64>()
            + server.running.iter().flat_map(|running| &running.3).map(|chunk| chunk.left).sum::<u64>()
            + server.reserved.iter().map(|(_, tokens)| tokens).sum::<u64>();
        let running = server.running.as_ref().map_or(0.0, |running| (running.1 - now).max(0.0));
        let queue_wait = running + cost.a_us * waiting.div_ceil(budget) as f64 + cost.b_us * waiting as f64;
        let overdue =
            server.running.as_ref().map_or(0.0, |(began, _, batch, _)| (now - began) / cost.batch_us(batch.tokens));
        LoadReport {
            epoch: 1,
            queue_wait: Duration::from_secs_f64(queue_wait / 1e6),
            cost,
            limits: Limits {
                max_batch_tokens: budget,
                max_items: 10_000,
                max_message_bytes: 64 << 20,
                max_queue_tokens: 1 << 22,
            },
            draining: false,
            busy: server.busy,
            served_tokens_per_second: server.served,
            rate_tokens_per_second: 1e6 / cost.b_us,
            overdue,
        }
    }
}

impl Server {
    /// Busy share and tokens a second, faded over a second.
    fn look(&mut self, now: f64, batch: Option<BatchSample>) {
        let keep = (-(now - self.seen) / 1e6).exp();
        self.seen = now;
        let work = batch.map_or((0.0, 0.0), |batch| (batch.us / 1e6, batch.tokens));
        self.busy = self.busy * keep + work.0;
        self.served = self.served * keep + work.1;
    }
}
