//! What others fell into, each as a test with the name of the fall. Two of the list are tests of
//! one module: an inverted score (`place`) and a loser that lowers the trigger (`latency`).

use sortie_dispatch::{
    AnswerReport, AttemptKind, BatchSample, Cost, DispatchConfig, EndpointId, Event, Failure, Fleet, FleetEvent,
    ItemSize, Job, JobOptions, Pushback, Resource, SharedSize,
};

use crate::bench::{Bench, DEADLINE, answered, at, failed, idle, items, queue_wait_of, refused, wake};

/// A budget counter that was tested first and lowered later passed zero and came round as without
/// limit: 99 of 100 late requests were hedged with a budget of 11 (Baseten's performance client).
#[test]
fn a_hundred_late_chunks_do_not_make_the_budget_bottomless() {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    config.budget.burst_jobs = 3.0;
    let mut fleet = Fleet::new(config, 32, 3);
    let model = fleet.model("m", Resource::Device);
    let mut jobs = Vec::new();
    for _ in 0..100 {
        let options = JobOptions::by(at(0) + DEADLINE);
        let plan = fleet.plan(model, &items(40), SharedSize::default(), &options, at(0));
        let mut job = Job::new(model, plan, options);
        let actions = job.handle(&mut fleet, at(0), Event::Start);
        jobs.push((job, wake(&actions)));
    }
    for _ in 0..20 {
        for (job, then) in &mut jobs {
            let actions = job.handle(&mut fleet, *then, Event::Tick);
            *then = wake(&actions);
        }
    }
    let (counters, config) = (fleet.counters(), fleet.config());
    let burst = config.budget.burst_jobs * config.budget.median_job as f64;
    let allowed = burst / 2.0 + config.budget.hedge_share * counters.tokens as f64;
    assert!(counters.hedges > 0 && counters.hedge_tokens as f64 <= allowed, "{counters:?} {allowed}");
}

/// A channel whose connect failed reports itself ready, so dead endpoints are picked and fail (tonic
/// 2839, 643).
#[test]
fn a_dead_endpoint_is_not_ready() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    bench.handle(at(0), failed(sends[0].attempt, Failure::Transport));
    assert!(!bench.stats(sends[0].endpoint, at(1)).ready);
    assert_eq!(bench.share_of(sends[0].endpoint, at(1)), 0);
}

/// An endpoint that failed once was dropped for good (influxdb_iox 6508, tower's ReadyCache).
#[test]
fn one_error_does_not_drop_an_endpoint_for_ever() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    for met in [Failure::Transport, Failure::Unavailable, refused(Pushback::Unsaid)] {
        let id = sends[0].endpoint;
        bench.handle(at(0), failed(sends[0].attempt, met));
        assert!(bench.stats(id, at(60_000)).ready);
    }
    let id = sends[0].endpoint;
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    assert!(bench.share_of(id, at(60_000)) > 0);
}

/// A ready index went stale when the list behind it was swapped about (tower 856).
#[test]
fn removing_a_server_leaves_the_numbers_of_others_alone() {
    let mut bench = Bench::new(4, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    bench.fleet.handle(at(1), FleetEvent::Removed(EndpointId(0)));
    let new = bench.fleet.add(at(1));
    assert_eq!(new, EndpointId(4), "numbers are never given twice");
    for send in &sends {
        let before = bench.in_flight();
        bench.handle(at(2), answered(send.attempt));
        let tokens = bench.job.chunk(send.chunk).unwrap().tokens;
        let counted = if send.endpoint == EndpointId(0) { 0 } else { tokens };
        assert_eq!(before - bench.in_flight(), counted);
    }
}

/// A cached queue length that was never lowered kept replicas out of use (Ray 61755).
#[test]
fn every_ended_attempt_gives_its_tokens_back() {
    let ends: [fn(&mut Bench, &sortie_dispatch::SendAttempt); 4] = [
        |bench, send| drop(bench.handle(at(1), answered(send.attempt))),
        |bench, send| drop(bench.handle(at(1), failed(send.attempt, Failure::Fatal))),
        |bench, _| drop(bench.handle(at(1), Event::Cancelled)),
        |bench, _| bench.job = Job::new(bench.model, sortie_dispatch::Plan::default(), JobOptions::by(at(0))),
    ];
    for end in ends {
        let mut bench = Bench::new(3, DispatchConfig::default());
        let (sends, _) = bench.handle(at(0), Event::Start);
        sends.iter().for_each(|send| end(&mut bench, send));
        assert_eq!(bench.in_flight(), 0);
    }
}

/// A server without a history ranked first and was flooded (Elasticsearch 147579), or last and starved
/// (tower PR 134).
#[test]
fn a_new_server_is_neither_flooded_nor_starved() {
    let mut fleet = Fleet::new(DispatchConfig::default(), 4, 1);
    let model = fleet.model("m", Resource::Device);
    (0..4).for_each(|id| fleet.report(EndpointId(id), model, queue_wait_of(20), at(0)));
    let new = fleet.add(at(1_000));
    let now = at(1_001);
    (0..4).for_each(|id| fleet.report(EndpointId(id), model, queue_wait_of(20), now));
    fleet.report(new, model, queue_wait_of(0), now);
    let mut bench = Bench::on(fleet, model, 200, now, JobOptions::by(now + DEADLINE));
    let (new_share, old_share) = (bench.share_of(new, now), bench.share_of(EndpointId(1), now));
    assert!(new_share > 0, "starved");
    // Idle and new, it gets more than a busy one, but not the whole job as its idleness would ask for.
    let settled = at(1_001 + 60_000);
    (0..4).for_each(|id| bench.fleet.report(EndpointId(id), model, queue_wait_of(20), settled));
    bench.fleet.report(new, model, queue_wait_of(0), settled);
    let later = bench.share_of(new, settled);
    assert!(new_share < later, "{new_share} {later} {old_share}");
}

/// Latency per request rose with the size of merged batches and was taken for slowness (Elasticsearch
/// 144562).
#[test]
fn other_clients_in_a_batch_do_not_make_a_server_slow() {
    let cost = Cost { a_us: 1_000.0, b_us: 0.5 };
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    let mut fleet = Fleet::new(config, 2, 1);
    let model = fleet.model("m", Resource::Device);
    (0..2).for_each(|id| fleet.report(EndpointId(id), model, idle(cost), at(0)));
    let mut bench = Bench::on(fleet, model, 200, at(0), JobOptions::by(at(0) + DEADLINE));
    for job in 0..50 {
        let now = at(100 * job);
        bench = Bench::on(bench.fleet, model, 200, now, JobOptions::by(now + DEADLINE));
        for send in bench.handle(now, Event::Start).0 {
            // The first server's batches hold three times as many tokens of others.
            let tokens = if send.endpoint == EndpointId(0) { 60_000.0 } else { 20_000.0 };
            let batches = vec![BatchSample { us: cost.batch_us(tokens), work: tokens }];
            let answer = AnswerReport { batches, ..AnswerReport::default() };
            bench.handle(now, Event::Answered { attempt: send.attempt, answer });
        }
    }
    let costs: Vec<f64> = bench.fleet.stats(at(5_000)).map(|stats| stats.models[0].1.b_us).collect();
    assert!((costs[0] / costs[1] - 1.0).abs() < 0.05, "{costs:?}");
    assert!(!bench.stats(EndpointId(0), at(5_000)).ejected);
}

/// Each chunk had a timeout of its own, so that a job took so many times longer (gaia 1239, strands
/// 4275).
#[test]
fn every_attempt_has_the_deadline_of_the_job() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, _) = bench.handle(at(30_000), failed(sends[0].attempt, Failure::Transport));
    assert!(sends.iter().chain(&again).all(|send| send.deadline == at(0) + DEADLINE));
}

/// Requests above 64 KiB were silently never tried again (linkerd2-proxy).
#[test]
fn a_large_chunk_is_tried_again_like_a_small_one() {
    let mut fleet = Fleet::new(DispatchConfig::default(), 3, 1);
    let model = fleet.model("m", Resource::Device);
    let large = vec![ItemSize { tokens: 500, work: 500, bytes: 100_000, answer_bytes: 4 }; 300];
    let options = JobOptions::by(at(0) + DEADLINE);
    let plan = fleet.plan(model, &large, SharedSize::default(), &options, at(0));
    let mut bench = Bench { chunks: plan.chunks.len(), job: Job::new(model, plan, options), fleet, model };
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, _) = bench.handle(at(1), failed(sends[0].attempt, Failure::Transport));
    assert_eq!((again.len(), again[0].kind), (1, AttemptKind::FreeRetry));
}

/// What nothing is known of must not look better than what is known to be idle.
#[test]
fn unknown_is_not_idle() {
    let mut fleet = Fleet::new(DispatchConfig::default(), 2, 1);
    let model = fleet.model("m", Resource::Device);
    // The fleet's servers usually have other clients' work, as everyone says.
    for step in 0..200 {
        fleet.report(EndpointId(0), model, queue_wait_of(30), at(step));
    }
    fleet.report(EndpointId(0), model, queue_wait_of(0), at(200));
    let mut bench = Bench::on(fleet, model, 50, at(200), JobOptions::by(at(200) + DEADLINE));
    let (sends, _) = bench.handle(at(200), Event::Start);
    assert_eq!(sends[0].endpoint, EndpointId(0));
}
