//! What scheduling costs per item: admit, push, seal, account; no backend, no threads.
//!
//! Each round admits one chunk and forms the batches it fills, over a queue that holds
//! `waiting` chunks all along; the figure is divided by the items of a chunk.
//!
//! `cargo bench -p sortie-scheduler`

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sortie_scheduler::{BatchOutcome, Core, DeviceAction, QueuedItem, Request, SchedulerConfig, Tenant};

/// Items of a chunk and their tokens: 200 pairs, 32,000 tokens.
const ITEMS: usize = 200;
const TOKENS: usize = 160;

struct Bench {
    core: Core<(), u64>,
    now: Duration,
    chunks: u64,
    tenants: u64,
}

impl Bench {
    fn new(waiting: u64, tenants: u64) -> Self {
        let config = SchedulerConfig { max_queue_tokens: u64::MAX >> 8, ..SchedulerConfig::default() };
        let mut bench = Self { core: Core::new(config, 1, 1), now: Duration::ZERO, chunks: 0, tenants };
        for _ in 0..waiting {
            bench.arrive();
        }
        bench
    }

    /// A chunk comes, whole.
    fn arrive(&mut self) {
        self.chunks += 1;
        let deadline = Some(self.now + Duration::from_secs(3_600) + Duration::from_micros(self.chunks * 7_919 % 1_000));
        let tenant = Tenant::named(&(self.chunks % self.tenants).to_string());
        let request = Request { deadline, tenant, ..Request::of((ITEMS * TOKENS) as u64) };
        let items = (0..ITEMS).map(|i| QueuedItem { item: i as u64, tokens: TOKENS / 2 + i * 7 % TOKENS }).collect();
        if let Ok(id) = self.core.admit(self.now, request, ()) {
            self.core.push(id, 0, items);
            self.core.close(id);
        }
    }

    /// A chunk comes and as many items leave.
    fn round(&mut self) {
        self.arrive();
        let mut left = ITEMS;
        while left > 0 {
            let DeviceAction::Batch(batch) = self.core.poll(self.now, 0).action else { break };
            left = left.saturating_sub(batch.len());
            self.core.started(self.now, 0, Duration::ZERO);
            self.now += Duration::from_millis(8);
            self.core.finished(self.now, 0, BatchOutcome::Whole(Duration::from_millis(8)));
            black_box(batch);
        }
    }
}

fn per_item(c: &mut Criterion) {
    let mut group = c.benchmark_group("admit_push_seal_per_item");
    group.throughput(Throughput::Elements(ITEMS as u64));
    for (waiting, tenants) in [(0, 1), (100, 1), (10_000, 1), (100, 16), (10_000, 1_000)] {
        let mut bench = Bench::new(waiting, tenants);
        let id = BenchmarkId::from_parameter(format!("{waiting}_waiting_{tenants}_tenants"));
        group.bench_function(id, |b| b.iter(|| bench.round()));
    }
    group.finish();
}

fn refusal_and_report(c: &mut Criterion) {
    let mut bench = Bench::new(10_000, 16);
    let now = bench.now;
    bench.core.started(now, 0, Duration::ZERO);
    c.bench_function("load_report", |b| b.iter(|| black_box(bench.core.load(now))));
    let late = Request { deadline: Some(now), ..Request::of(1_000) };
    c.bench_function("refusal", |b| b.iter(|| black_box(bench.core.admit(now, late, ()))));
    c.bench_function("admit_cancel", |b| {
        b.iter(|| {
            let id = bench.core.admit(now, Request::of(1_000), ());
            id.ok().and_then(|id| bench.core.cancel(id))
        });
    });
}

criterion_group!(benches, per_item, refusal_and_report);
criterion_main!(benches);
