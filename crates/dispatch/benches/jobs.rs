//! What dispatch costs a client: a job of 200 pairs planned and placed, and chunks through their
//! whole lives a second.
//!
//! `cargo bench -p sortie-dispatch`. To hold: at most 100 µs a job, at least 100,000 chunks a
//! second on one core.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sortie_dispatch::{
    Action, AnswerReport, BatchSample, Cost, DispatchConfig, EndpointId, Event, Fleet, ItemSize, Job, JobOptions,
    LoadReport, ModelId, Resource, SharedSize, Time,
};

/// A base model on a data-centre GPU.
const COST: Cost = Cost { a_us: 1_000.0, b_us: 0.46 };

/// Fleets: one looked at whole, the largest of those, one that is drawn from, one that is asked.
const FLEETS: [usize; 4] = [4, 32, 100, 1_000];

fn report(server: u32) -> LoadReport {
    let queue_wait = Duration::from_micros(u64::from(server) * 37 % 5_000);
    LoadReport { epoch: 1, queue_wait, cost: COST, busy: 0.5, ..LoadReport::default() }
}

fn fleet(servers: usize, cost: Cost) -> (Fleet, ModelId) {
    let mut fleet = Fleet::new(DispatchConfig::default(), servers, 1);
    let model = fleet.model("m", Resource::Device);
    for server in 0..servers as u32 {
        fleet.report(EndpointId(server), model, LoadReport { cost, ..report(server) }, Time::default());
    }
    (fleet, model)
}

fn pairs() -> Vec<ItemSize> {
    let item = |i: u64| {
        let tokens = 60 + i * 7919 % 200;
        ItemSize { tokens, work: tokens, bytes: tokens * 4, answer_bytes: 4 }
    };
    (0..200).map(item).collect()
}

fn start(fleet: &mut Fleet, model: ModelId, items: &[ItemSize], now: Time) -> (Job, Vec<Action>) {
    let options = JobOptions::by(now + Duration::from_secs(10));
    let plan = fleet.plan(model, items, SharedSize::default(), &options, now);
    let mut job = Job::new(model, plan, options);
    let actions = job.handle(fleet, now, Event::Start);
    (job, actions)
}

/// Answers whatever is asked until the job is over; the chunks that were sent.
fn finish(fleet: &mut Fleet, job: &mut Job, mut actions: Vec<Action>, now: Time) -> u64 {
    let mut chunks = 0;
    while let Some(action) = actions.pop() {
        let event = match action {
            Action::Send(send) => {
                chunks += 1;
                let tokens = job.chunk(send.chunk).map_or(0, |chunk| chunk.tokens) as f64;
                let batches = vec![BatchSample { us: COST.batch_us(tokens), work: tokens }];
                let report = Some(report(send.endpoint.0));
                Event::Answered {
                    attempt: send.attempt,
                    answer: AnswerReport { batches, report, ..AnswerReport::default() },
                }
            }
            Action::Probe { probe, endpoint, .. } => Event::ProbeAnswered { probe, report: report(endpoint.0) },
            _ => continue,
        };
        actions.extend(job.handle(fleet, now, event));
    }
    chunks
}

fn plan_and_place(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan and place 200 pairs");
    let items = pairs();
    for servers in FLEETS {
        // Fast enough that nobody is asked: the whole of it is here.
        let (mut fleet, model) = fleet(servers, Cost { a_us: 200.0, b_us: 0.05 });
        let mut now = Time::default();
        group.bench_function(BenchmarkId::from_parameter(servers), |bench| {
            bench.iter(|| {
                now = now + Duration::from_millis(1);
                black_box(start(&mut fleet, model, &items, now));
            });
        });
    }
    group.finish();
}

fn whole_lives(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunks from plan to last answer");
    let items = pairs();
    for servers in FLEETS {
        let (mut fleet, model) = fleet(servers, COST);
        let mut now = Time::default();
        let (mut job, actions) = start(&mut fleet, model, &items, now);
        group.throughput(Throughput::Elements(finish(&mut fleet, &mut job, actions, now)));
        group.bench_function(BenchmarkId::from_parameter(servers), |bench| {
            bench.iter_batched(
                || (),
                |()| {
                    now = now + Duration::from_millis(1);
                    let (mut job, actions) = start(&mut fleet, model, &items, now);
                    black_box(finish(&mut fleet, &mut job, actions, now))
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, plan_and_place, whole_lives);
criterion_main!(benches);
