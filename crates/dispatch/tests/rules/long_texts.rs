//! Jobs with texts that take longer than their tokens say: a job of 200 with three of 8,192 must not wreck placement.

use sortie_dispatch::{
    AnswerReport, BatchSample, Candidate, Chunk, Cost, DispatchConfig, EndpointId, Event, Fleet, FleetView, ItemSize,
    Job, JobOptions, ModelId, Resource, SharedSize, WorkCurve, config::LIMITS, plan,
};

use crate::bench::{DEADLINE, at, idle, wake};

/// A base model on two processor cores: 3 ms a batch, 150 µs a token.
const COST: Cost = Cost { a_us: 3_000.0, b_us: 150.0 };

/// A text of 8,192 tokens is 24,576 of work.
const CURVE: WorkCurve = WorkCurve::new(4_096);

/// 200 texts of which three are long. Whoever reckons without a curve takes them for cheap.
fn job(believed: WorkCurve) -> Vec<ItemSize> {
    let sizes = (0..200).map(|i| if i % 67 == 10 { 8_192 } else { 60 + i * 7 % 400 });
    sizes.map(|tokens| ItemSize { tokens, work: believed.work(tokens), bytes: 4 * tokens, answer_bytes: 4 }).collect()
}

fn servers(count: u32) -> Vec<Candidate> {
    let server =
        |id| Candidate { endpoint: EndpointId(id), cost: COST, backlog_us: 0.0, round_trip_us: 500.0, limits: LIMITS };
    (0..count).map(server).collect()
}

fn cut(items: &[ItemSize], servers: &[Candidate]) -> Vec<Chunk> {
    let view = FleetView::idle(servers.len());
    plan(&DispatchConfig::default(), items, SharedSize::default(), servers, &view).chunks
}

/// Milliseconds that the chunks really take, the longest first.
fn ends(chunks: &[Chunk], servers: &[Candidate]) -> Vec<f64> {
    let real = job(CURVE);
    let end = |chunk: &Chunk| servers[0].finish_us(chunk.items.iter().map(|&i| real[i].work as f64).sum()) / 1e3;
    let mut ends: Vec<f64> = chunks.iter().map(end).collect();
    ends.sort_by(|a, b| b.total_cmp(a));
    ends
}

#[test]
fn a_job_with_three_long_texts_is_cut_so_that_its_chunks_end_together() {
    let servers = servers(4);
    let level = ends(&cut(&job(CURVE), &servers), &servers);
    assert_eq!(level.len(), 4);
    assert!(level[0] / level[3] < 1.02, "{level:?}");
    // By tokens alone: chunks that are said to be level, of which one ends long after another.
    let by_tokens = ends(&cut(&job(WorkCurve::STRAIGHT), &servers), &servers);
    assert!(by_tokens[0] / by_tokens[by_tokens.len() - 1] > 1.3, "{by_tokens:?}");
    assert!(level[0] < 0.9 * by_tokens[0], "{level:?} {by_tokens:?}");
}

/// A text is not cut: what a server does while the longest is under way, two others need not do.
#[test]
fn a_job_is_cut_for_no_more_servers_than_are_done_before_its_longest_text() {
    let servers = servers(32);
    let chunks = cut(&job(CURVE), &servers);
    let longest = servers[0].finish_us(CURVE.work(8_192) as f64) / 1e3;
    let ends = ends(&chunks, &servers);
    assert!(ends[0] <= longest * 1.001, "{ends:?} {longest}");
    assert!((5..=6).contains(&chunks.len()), "{} chunks: {ends:?}", chunks.len());
}

fn fleet(curve: WorkCurve) -> (Fleet, ModelId) {
    let mut fleet = Fleet::new(DispatchConfig::default(), 4, 7);
    let model = fleet.model("m", Resource::Device);
    fleet.set_curve(model, curve);
    for id in 0..4 {
        fleet.report(EndpointId(id), model, idle(COST), at(0));
    }
    (fleet, model)
}

fn cost_of(fleet: &Fleet, id: u32) -> f64 {
    fleet.stats(at(1)).find(|server| server.endpoint == EndpointId(id)).unwrap().models[0].1.b_us
}

/// Server 0 runs batches of one long text each, exactly as long as they take.
fn after_long_batches(curve: WorkCurve) -> Fleet {
    let (mut fleet, model) = fleet(curve);
    let options = JobOptions::by(at(0) + DEADLINE).whole();
    let sample = |tokens| BatchSample { us: COST.batch_us(CURVE.work(tokens) as f64), work: curve.work(tokens) as f64 };
    for _ in 0..40 {
        let text = ItemSize { tokens: 100, work: curve.work(100), bytes: 400, answer_bytes: 4 };
        let plan = fleet.plan(model, &[text], SharedSize::default(), &options, at(1));
        let mut job = Job::new(model, plan, options);
        for action in job.handle(&mut fleet, at(1), Event::Start) {
            let sortie_dispatch::Action::Send(send) = action else { continue };
            let batch = if send.endpoint == EndpointId(0) { sample(8_192) } else { sample(100) };
            let answer = AnswerReport { batches: vec![batch], ..AnswerReport::default() };
            job.handle(&mut fleet, at(1), Event::Answered { attempt: send.attempt, answer });
        }
    }
    fleet
}

#[test]
fn batches_with_long_texts_do_not_move_a_servers_pace() {
    let fleet = after_long_batches(CURVE);
    for id in 0..4 {
        assert!((cost_of(&fleet, id) / COST.b_us - 1.0).abs() < 0.01, "server {id}: {}", cost_of(&fleet, id));
    }
    // Counted by their tokens they brand the server that had them, until it gets no more.
    let branded = after_long_batches(WorkCurve::STRAIGHT);
    assert!(cost_of(&branded, 0) > 1.15 * cost_of(&branded, 1), "{} {}", cost_of(&branded, 0), cost_of(&branded, 1));
}

#[test]
fn an_attempt_with_a_long_text_is_late_by_what_it_takes() {
    let (mut fleet, model) = fleet(CURVE);
    let options = JobOptions::by(at(0) + DEADLINE);
    let text = ItemSize { tokens: 8_192, work: fleet.curve(model).work(8_192), bytes: 32_768, answer_bytes: 4 };
    let plan = fleet.plan(model, &[text], SharedSize::default(), &options, at(0));
    let mut job = Job::new(model, plan, options);
    let late = wake(&job.handle(&mut fleet, at(0), Event::Start)) - at(0);
    let usual = COST.batch_us(24_576.0) / 1e6;
    let trigger = late.as_secs_f64() / usual;
    assert!((trigger / fleet.config().hedge.cold_trigger - 1.0).abs() < 0.02, "{late:?}");
}
