//! Bulk work beside interactive work: who waits is answered soon, and bulk work keeps its rate.

use std::time::Duration;

use sortie_scheduler::{At, Cost, Lane};

use crate::drive::{World, ask, ms};

/// About what BERT's base shape costs on a large GPU: a full batch of 16,384 tokens takes 6.8 ms.
const COST: Cost = Cost { a_us: 200.0, b_us: 0.4 };
const BUDGET: usize = 16_384;
const PAIR: usize = 128;
const RUN: Duration = Duration::from_secs(4);

/// What came of a run: how long interactive pairs took, shortest first, and tokens of bulk work that were served.
struct BesideOutcome {
    took: Vec<Duration>,
    bulk: usize,
}

/// Bulk work that always waits, and a pair `every` so often.
fn run(every: Option<Duration>) -> BesideOutcome {
    let mut world = World::warm(BUDGET, COST);
    let (began, mut asked) = (world.now, Vec::new());
    let mut next_pair = every.map(|every| began + every);
    let mut bulk_waits = 0;
    let mut seen = 0;
    while world.now < began + RUN {
        while bulk_waits < 4 * BUDGET {
            world.whole(ask(BUDGET as u64, Lane::Bulk, 1, "", None), &[PAIR; BUDGET / PAIR]).unwrap();
            bulk_waits += BUDGET;
        }
        if let (Some(at), Some(every)) = (next_pair, every)
            && at <= world.now
        {
            let (key, _) = world.whole(ask(PAIR as u64, Lane::Interactive, 1, "", None), &[PAIR]).unwrap();
            asked.push((key, world.now));
            // No beat with the batches.
            next_pair = Some(at + every + Duration::from_micros(37 * (asked.len() as u64 % 50)));
        }
        let step = world.now + Duration::from_micros(100);
        world.advance(step);
        for batch in &world.batches[seen..] {
            let of_pairs = asked.iter().map(|(key, _)| batch.tokens_of(*key)).sum::<usize>();
            bulk_waits -= (batch.tokens() - of_pairs).min(bulk_waits);
        }
        seen = world.batches.len();
    }
    let ends = |key: u64| world.batches.iter().find(|batch| batch.tokens_of(key) > 0).and_then(|batch| batch.ends);
    let mut took: Vec<Duration> = asked.iter().filter_map(|(key, at)| Some(ends(*key)?.saturating_sub(*at))).collect();
    took.sort();
    let done = world.batches.iter().filter(|batch| batch.ends.is_some_and(|at| at <= began + RUN));
    let bulk = done.map(|batch| batch.tokens()).sum::<usize>() - took.len() * PAIR;
    BesideOutcome { took, bulk }
}

#[test]
fn who_waits_beside_bulk_work_is_answered_soon_and_bulk_work_keeps_its_rate() {
    let alone = run(None);
    for every in [ms(200), ms(25), ms(5), ms(1)] {
        let beside = run(Some(every));
        let at = |share: usize| beside.took[(beside.took.len() - 1) * share / 100];
        // The rest of a gentle batch, perhaps one that was sealed already, and its own; where many come, a gentle one.
        let most = if every >= ms(25) { ms(6) } else { ms(10) };
        assert!(at(99) <= most, "every {every:?}: {:?} at p99, {:?} at p50", at(99), at(50));
        let kept = (beside.bulk + beside.took.len() * PAIR) as f64 / alone.bulk as f64;
        assert!(kept >= 0.95, "every {every:?}: {kept} of the rate");
    }
}

#[test]
fn bulk_work_has_the_device_to_itself_when_nobody_is_about() {
    let mut world = World::warm(BUDGET, COST);
    let pair = |world: &mut World| {
        world.whole(ask(PAIR as u64, Lane::Interactive, 1, "", None), &[PAIR]).unwrap();
        world.idle();
    };
    let largest = |world: &mut World| {
        world.batches.clear();
        for _ in 0..4 {
            world.whole(ask(BUDGET as u64, Lane::Bulk, 1, "", None), &[PAIR; BUDGET / PAIR]).unwrap();
        }
        world.idle();
        world.batches.iter().map(|batch| batch.tokens()).max().unwrap()
    };
    pair(&mut world);
    let beside = largest(&mut world);
    assert!((4_000..=BUDGET * 3 / 4).contains(&beside), "{beside}");
    let at: At = world.now + Duration::from_secs(2);
    world.advance(at);
    assert_eq!(largest(&mut world), BUDGET);
}
