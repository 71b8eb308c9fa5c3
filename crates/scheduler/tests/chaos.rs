//! Real threads, a device that breaks in every way it can, callers that come and
//! go: everybody who waits is answered once, with their own answers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the backend is a script that breaks on purpose")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use sortie_scheduler::{
    Backend, ChunkError, HostSide, Lane, Priority, QueuedItem, Request, RunError, Scheduler, SchedulerConfig, Tenant,
};

/// Items of this residue break every batch they are in.
const POISON: u32 = 7;

fn is_poison(item: u32) -> bool {
    item % 50 == POISON
}

/// A cheap seeded generator shared by the threads.
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % sides
    }
}

#[derive(Clone)]
struct Chaos {
    dice: Arc<Dice>,
    /// One in so many calls breaks by chance; 0 for never.
    breaks: u64,
    /// Answers that are alive now.
    alive: Arc<AtomicUsize>,
}

/// An answer that counts itself.
#[derive(Debug)]
struct CountedAnswer(u32, Arc<AtomicUsize>);

impl Drop for CountedAnswer {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Chaos {
    fn may_panic(&self, what: &str) {
        if self.breaks > 0 && self.dice.roll(self.breaks) == 0 {
            panic!("chaos in {what}");
        }
    }
}

impl HostSide for Chaos {
    type Item = u32;
    type Prepared = Vec<u32>;
    type Raw = Vec<u32>;
    type Output = CountedAnswer;
    type ItemFault = String;

    fn prepare(&self, items: &[&u32]) -> Vec<u32> {
        self.may_panic("prepare");
        items.iter().map(|item| **item).collect()
    }

    fn finish(&self, items: &[&u32], raw: Vec<u32>) -> Vec<Result<CountedAnswer, String>> {
        self.may_panic("finish");
        assert!(items.iter().zip(&raw).all(|(item, raw)| **item == *raw), "another batch's answers");
        let answer = |item: &u32| {
            self.alive.fetch_add(1, Ordering::Relaxed);
            Ok(CountedAnswer(*item, Arc::clone(&self.alive)))
        };
        raw.iter().map(answer).collect()
    }

    fn item_fault(&self, why: String) -> String {
        why
    }
}

impl Backend for Chaos {
    type Host = Self;

    fn host(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    fn run(&mut self, prepared: Vec<u32>) -> Result<Vec<u32>, RunError> {
        self.may_panic("run");
        if prepared.iter().any(|item| is_poison(*item)) {
            return Err(RunError::Failed("poison".to_owned()));
        }
        if self.breaks > 0 && self.dice.roll(self.breaks) == 0 {
            return Err(RunError::OutOfMemory("chaos".to_owned()));
        }
        if self.breaks > 0 && self.dice.roll(8 * self.breaks) == 0 {
            return Err(RunError::DeviceLost("chaos".to_owned()));
        }
        Ok(prepared)
    }
}

/// What became of a chunk.
#[derive(Debug, PartialEq)]
enum End {
    Answered { good: usize, bad: usize },
    Failed(ChunkError),
    Cancelled,
    Refused,
}

/// Plays a few callers at once; returns how each chunk ended.
async fn play(seed: u64, breaks: u64, devices: usize, chunks: u32) -> Vec<End> {
    let alive = Arc::new(AtomicUsize::new(0));
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    let chaos = Chaos { dice: Arc::clone(&dice), breaks, alive: Arc::clone(&alive) };
    let config = SchedulerConfig { max_batch_tokens: 40, ..SchedulerConfig::default() };
    let makers = (0..devices)
        .map(|_| {
            let chaos = chaos.clone();
            move || Ok::<_, String>(chaos.clone())
        })
        .collect();
    let scheduler = Scheduler::start("chaos", config, makers).await.unwrap();
    let callers = (0..chunks).map(|chunk| {
        let (scheduler, dice) = (scheduler.clone(), Arc::clone(&dice));
        tokio::spawn(async move {
            let n = 1 + dice.roll(20) as u32;
            let items: Vec<u32> = (0..n).map(|i| chunk * 1_000 + i).collect();
            let lane = if dice.roll(3) == 0 { Lane::Bulk } else { Lane::Interactive };
            let request = Request {
                priority: Priority { lane, attempt: 1 + dice.roll(2) as u32 },
                tenant: Tenant::named(&dice.roll(3).to_string()),
                ..Request::of(u64::from(n) * 4)
            };
            let Ok(admission) = scheduler.admit(request) else { return End::Refused };
            let (sink, response) = admission.stream();
            let cancels = dice.roll(4) == 0;
            let mut at = 0;
            for piece in items.chunks(1 + dice.roll(6) as usize) {
                sink.push(
                    at,
                    piece.iter().map(|item| QueuedItem { item: *item, tokens: 1 + (*item % 9) as usize }).collect(),
                );
                at += piece.len();
                tokio::task::yield_now().await;
            }
            sink.close();
            if cancels {
                drop(response);
                return End::Cancelled;
            }
            match response.await {
                Err(error) => End::Failed(error),
                Ok(result) => {
                    assert_eq!(result.outputs.len(), items.len());
                    let mut good = 0;
                    for (item, output) in items.iter().zip(&result.outputs) {
                        if let Ok(answer) = output {
                            assert_eq!(answer.0, *item, "somebody else's answer");
                            assert!(!is_poison(*item));
                            good += 1;
                        } else if breaks == 0 {
                            assert!(is_poison(*item), "{item} paid for another's fault");
                        }
                    }
                    End::Answered { good, bad: items.len() - good }
                }
            }
        })
    });
    let mut ends = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        // A generous bound: who waits for ever would otherwise hang the test.
        let end = tokio::time::timeout(Duration::from_secs(60), caller).await;
        ends.push(end.unwrap().unwrap());
    }
    scheduler.drain();
    tokio::time::timeout(Duration::from_secs(60), scheduler.drained()).await.unwrap();
    let counts = scheduler.counts();
    let answered = ends.iter().filter(|end| matches!(end, End::Answered { .. })).count() as u64;
    let cancelled = ends.iter().filter(|end| **end == End::Cancelled).count() as u64;
    // One that was answered just before it was dropped is counted there.
    assert!(counts.answered >= answered && counts.answered <= answered + cancelled, "{counts:?}");
    assert_eq!(scheduler.load().queued_tokens, 0);
    drop(scheduler);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "an answer was kept");
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_admitted_part_is_answered_exactly_once_whatever_panics_or_cancels(
        seed in any::<u64>(), breaks in 2u64..12, devices in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let ends = runtime.block_on(play(seed, breaks, devices, 60));
        prop_assert_eq!(ends.len(), 60);
        prop_assert!(ends.iter().all(|end| !matches!(end, End::Failed(ChunkError::Expired | ChunkError::Abandoned))));
    }

    #[test]
    fn a_poison_item_costs_its_batch_mates_nothing(seed in any::<u64>(), devices in 1usize..4) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let ends = runtime.block_on(play(seed, 0, devices, 60));
        let well = ends.iter().all(|end| matches!(end, End::Answered { .. } | End::Cancelled));
        prop_assert!(well, "a chunk failed");
        let mixed = ends.iter().any(|end| matches!(end, End::Answered { bad: 1.., good: 1.. }));
        prop_assert!(mixed, "no poison was drawn");
    }
}
