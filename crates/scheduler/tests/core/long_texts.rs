//! Texts that take longer than their tokens say: limits stay in tokens, time goes by work.

use proptest::prelude::*;
use sortie_scheduler::{Amount, At, Cost, Refusal, Request, WorkCurve};

use crate::drive::{World, ms};

/// A batch of 100 tokens of short texts takes 2 ms.
const COST: Cost = Cost { a_us: 1_000.0, b_us: 10.0 };

/// A text of 8,192 tokens is 24,576 of work.
const CURVE: WorkCurve = WorkCurve::new(4_096);

const BUDGET: usize = 16_384;

fn texts(sizes: &[usize], deadline: Option<At>) -> Request<At> {
    let amount: Amount = sizes.iter().map(|&tokens| CURVE.of(tokens as u64)).sum();
    Request { deadline, ..Request::of_work(amount) }
}

/// A device that has run batches of texts of 64 tokens, and is known.
fn warm() -> World {
    let mut world = World::curved(BUDGET, 1, COST, CURVE);
    for count in [1, 4, 16, 64, 250].repeat(8) {
        let sizes = vec![64; count];
        world.whole(texts(&sizes, None), &sizes).unwrap();
        world.idle();
    }
    world.batches.clear();
    world
}

/// Of a server that reckons in tokens, eight such batches make a token half as dear again.
#[test]
fn long_texts_teach_no_wrong_pace() {
    let mut world = warm();
    let before = world.core.load(world.now);
    for _ in 0..8 {
        world.whole(texts(&[8_192], None), &[8_192]).unwrap();
        world.idle();
    }
    let after = world.core.load(world.now);
    let moved = f64::from(after.b_us) / f64::from(before.b_us);
    assert!((0.99..1.01).contains(&moved), "a token takes {moved} of what it took");
    assert!((after.a_ms - before.a_ms).abs() < 0.1, "{before:?} {after:?}");
}

#[test]
fn the_wait_that_is_told_is_the_wait_that_is() {
    let mut world = warm();
    let began = world.now;
    let sizes = [[8_192; 3].as_slice(), &[128; 100]].concat();
    world.whole(texts(&sizes, None), &sizes).unwrap();
    let told = f64::from(world.core.load(began).queue_wait_ms);
    world.idle();
    let took = (world.now - began).as_secs_f64() * 1e3;
    assert!((0.95..1.05).contains(&(told / took)), "told {told} ms, took {took} ms");
    assert!(world.batches.iter().all(|batch| batch.tokens() <= BUDGET), "{:?}", world.batches);
}

#[test]
fn limits_count_tokens_as_they_are() {
    // One text of more than a batch runs alone.
    let mut world = World::curved(1_024, 1, COST, CURVE);
    let sizes = [8_192, 600, 400, 300];
    world.whole(texts(&sizes, None), &sizes).unwrap();
    world.idle();
    let batches: Vec<_> = world.batches.iter().map(|batch| (batch.tokens(), batch.items.len())).collect();
    assert_eq!(batches, [(8_192, 1), (1_000, 2), (300, 1)]);
    // A million tokens may wait, though they are three million of work.
    let sizes = [8_192; 128];
    let admitted = world.admit(texts(&sizes, None));
    assert!(admitted.is_ok(), "{admitted:?}");
    let full = world.admit(texts(&[8_192], None));
    assert!(matches!(full, Err(Refusal::QueueFull { queued: 1_048_576, .. })), "{full:?}");
}

/// 20,000 tokens of work take 201 ms, 24,576 take 247.
#[test]
fn a_deadline_is_held_against_the_work() {
    let mut world = warm();
    let late = world.admit(texts(&[8_192], Some(world.now + ms(200))));
    assert!(matches!(late, Err(Refusal::TooLate { .. })), "{late:?}");
    // A batch is not made so long by a text that the one in a hurry is late.
    let began = world.now;
    world.whole(texts(&[64; 200], None), &[64; 200]).unwrap();
    world.advance(began + ms(50));
    let (urgent, _) = world.whole(texts(&[64; 4], Some(began + ms(400))), &[64; 4]).unwrap();
    world.whole(texts(&[8_192], None), &[8_192]).unwrap();
    world.idle();
    let answered = world.batches.iter().find(|batch| batch.keys().contains(&urgent)).unwrap();
    assert!(answered.ends.unwrap() <= began + ms(400), "{answered:?}");
}

proptest! {
    /// Whatever the curve: every item runs once, in batches within the budget, and what is told of the queue is what it holds.
    #[test]
    fn nothing_is_lost_by_a_curve(
        doubling in 0u32..20_000, budget in 64usize..20_000, devices in 1usize..4,
        chunks in prop::collection::vec(prop::collection::vec(1usize..9_000, 1..12), 1..20),
    ) {
        let curve = WorkCurve::new(doubling);
        let mut world = World::curved(budget, devices, COST, curve);
        let mut all = 0;
        for sizes in &chunks {
            let amount: Amount = sizes.iter().map(|&tokens| curve.of(tokens as u64)).sum();
            if world.whole(Request::of_work(amount), sizes).is_ok() {
                all += sizes.len();
            }
        }
        world.idle();
        prop_assert_eq!(world.batches.iter().map(|batch| batch.items.len()).sum::<usize>(), all);
        prop_assert_eq!(world.core.queued_work(), 0);
        for batch in &world.batches {
            prop_assert!(batch.tokens() <= budget || batch.items.len() == 1, "{batch:?}");
            let work: u64 = batch.items.iter().map(|item| curve.work(item.tokens as u64)).sum();
            prop_assert_eq!(batch.work(), work);
        }
    }
}
