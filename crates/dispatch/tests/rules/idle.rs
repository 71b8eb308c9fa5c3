//! Small jobs one after the other on servers that are idle: equal ones share them, slower ones are spared.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Normal};
use sortie_dispatch::{
    Action, AnswerReport, BatchSample, Cost, DispatchConfig, EndpointId, Event, Fleet, ItemSize, Job, JobOptions,
    LoadReport, Resource, SharedSize, Texts, Time,
};

use crate::bench::{DEADLINE, idle};

/// Jobs of a run.
const JOBS: usize = 300;

/// Least share of them that each of three equal servers gets.
const LEAST_SHARE: f64 = 0.2;

/// Standard deviation of a batch's time over its mean: what `plan.service_noise` expects.
const NOISE: f64 = 0.08;

/// Time between an answer and the next job, in microseconds.
const PAUSE_US: f64 = 2_000.0;

/// A server: what it says that batches cost, and how long they take against that.
#[derive(Clone, Copy, Debug)]
struct IdleServer {
    says: Cost,
    factor: f64,
}

/// How many of a run's jobs, of one item of `tokens` tokens, each server gets. All servers describe themselves first.
fn shares(servers: &[IdleServer], tokens: u64, seed: u64) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::new(DispatchConfig::default(), servers.len(), seed);
    let model = fleet.model("m", Resource::Device);
    let time = |us: f64| Time::from_start(Duration::from_secs_f64(us / 1e6));
    let ids: Vec<_> = (0..).map(EndpointId).take(servers.len()).collect();
    for (id, server) in ids.iter().zip(servers) {
        fleet.report(*id, model, idle(server.says), time(0.0));
    }
    let noise = Normal::new(1.0, NOISE).unwrap();
    let mut got = vec![0; servers.len()];
    let mut now = 1_000.0;
    for _ in 0..JOBS {
        let options = JobOptions::by(time(now) + DEADLINE);
        let item = ItemSize { tokens, work: tokens, bytes: 4 * tokens, answer_bytes: 4 };
        let plan = fleet.plan(model, &[item], SharedSize::default(), &options, time(now));
        let mut job = Job::new(model, plan, options);
        let actions = job.handle(&mut fleet, time(now), Event::Start);
        let sent = actions.iter().find_map(|action| match action {
            Action::Send(send) => Some(*send),
            _ => None,
        });
        let sent = sent.expect("a first attempt");
        let place = ids.iter().position(|id| *id == sent.endpoint).unwrap();
        got[place] += 1;
        let IdleServer { says, factor } = servers[place];
        let us = says.batch_us(tokens as f64) * factor * noise.sample(&mut rng);
        now += us + 200.0 * rng.random_range(1.0..2.0);
        let answer = AnswerReport {
            batches: vec![BatchSample { us, work: tokens as f64 }],
            report: Some(LoadReport { served_tokens_per_second: 100.0, ..idle(says) }),
            texts: Texts { bytes: 4 * tokens, tokens, items: 1 },
        };
        job.handle(&mut fleet, time(now), Event::Answered { attempt: sent.attempt, answer });
        now += PAUSE_US;
    }
    got
}

/// Costs as servers fit them of themselves: near one another, never the same.
fn about(cost: Cost, factor: f64, rng: &mut StdRng) -> IdleServer {
    IdleServer { says: cost.times(rng.random_range(0.97..1.03)), factor }
}

#[test]
fn equal_idle_servers_share_small_jobs() {
    for cost in [Cost { a_us: 1_000.0, b_us: 0.46 }, Cost { a_us: 3_000.0, b_us: 150.0 }] {
        // What a small batch takes against the line that a server fits through all of its batches.
        for factor in [0.5, 0.8, 1.0, 1.3, 2.0] {
            for seed in 0..20 {
                let mut rng = StdRng::seed_from_u64(seed);
                let servers = [0; 3].map(|_| about(cost, factor, &mut rng));
                let got = shares(&servers, 40, seed);
                let least = LEAST_SHARE * JOBS as f64;
                assert!(got.iter().all(|&jobs| jobs as f64 >= least), "{cost:?} x {factor}, {seed}: {got:?}");
            }
        }
    }
}

/// Share of the jobs that a server gets which is slower than its noise.
const SPARED_SHARE: f64 = 0.05;

#[test]
fn a_server_that_is_slower_than_noise_is_spared() {
    let cost = Cost { a_us: 3_000.0, b_us: 150.0 };
    for (slower, said) in [(1.5, true), (4.0, true), (1.5, false), (2.0, false), (4.0, false)] {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut servers = [0; 3].map(|_| about(cost, 1.0, &mut rng));
            if said {
                servers[1].says = cost.times(slower);
            } else {
                servers[1].factor = slower;
            }
            let got = shares(&servers, 40, seed);
            assert!(got[1] as f64 <= SPARED_SHARE * JOBS as f64, "{slower}, said: {said}, {seed}: {got:?}");
        }
    }
}
