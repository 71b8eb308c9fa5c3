//! More work than the device can do, in virtual time: what is admitted is in time,
//! the device does nothing in vain, and the rest is refused at once.

use std::collections::BTreeMap;

use sortie_scheduler::{At, Cost, Lane};

use crate::drive::{World, ask, ms};

/// A small model on a GPU: a full batch takes 8.5 ms.
const COST: Cost = Cost { a: 0.001, b: 0.000_000_46 };
const BUDGET: usize = 16_384;

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    /// Tokens of parts answered in time, over what the device can do.
    goodput: f64,
    admitted: usize,
    refused: usize,
    /// Admitted and not in time.
    late: usize,
    /// 99th percentile of admitted parts' time over their deadline.
    p99: f64,
    /// Most tokens that ever waited.
    deepest: u64,
}

/// Seeded exponential gaps.
struct Arrivals(u64);

impl Arrivals {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn gap(&mut self, mean: f64) -> At {
        At::from_secs_f64(-mean * self.uniform().ln())
    }
}

/// `load` times capacity for five seconds; parts of 1 to 400 units of 80 to 240 tokens. With
/// `fickle`, three parts in ten are cancelled within 50 ms.
fn run(load: f64, deadline: At, fickle: bool) -> Outcome {
    let mut world = World::warm(BUDGET, COST);
    let capacity = BUDGET as f64 / COST.batch_seconds(BUDGET as u64);
    let mut dice = Arrivals(7);
    let mean_tokens = 200.0 * 160.0;
    let (from, mut refused, mut deepest) = (world.now, 0, 0);
    let mut parts: BTreeMap<u64, (At, usize, usize)> = BTreeMap::new();
    let mut cancels: Vec<(At, u64, u64)> = Vec::new();
    let mut next = world.now;
    while next < from + ms(5_000) {
        cancels.sort_unstable();
        while let Some((at, key, id)) = cancels.first().copied().filter(|(at, ..)| *at <= next) {
            cancels.remove(0);
            world.advance(at);
            world.core.cancel(id);
            parts.remove(&key);
        }
        world.advance(next);
        let units = 1 + (dice.uniform() * 399.0) as usize;
        let sizes: Vec<usize> = (0..units).map(|_| 80 + (dice.uniform() * 160.0) as usize).collect();
        let tokens: usize = sizes.iter().sum();
        match world.whole(ask(tokens as u64, Lane::Interactive, 1, "", Some(world.now + deadline)), &sizes) {
            Ok((key, id)) => {
                parts.insert(key, (world.now, units, tokens));
                if fickle && dice.uniform() < 0.3 {
                    cancels.push((world.now + ms(50).mul_f64(dice.uniform()), key, id));
                }
            }
            Err(_) => refused += 1,
        }
        deepest = deepest.max(world.core.queued_tokens());
        next += dice.gap(mean_tokens / capacity / load);
    }
    world.idle();
    let mut left: BTreeMap<u64, (usize, At)> =
        parts.iter().map(|(key, (_, units, _))| (*key, (*units, At::ZERO))).collect();
    for batch in &world.batches {
        let end = batch.started.unwrap() + At::from_secs_f64(COST.batch_seconds(batch.tokens() as u64));
        for unit in &batch.units {
            if let Some((units, at)) = left.get_mut(&unit.item.0) {
                *units -= 1;
                *at = end;
            }
        }
    }
    let mut shares: Vec<f64> = Vec::new();
    let mut good = 0;
    for (key, (came, _, tokens)) in &parts {
        let (units, end) = left[key];
        let share = if units > 0 { f64::INFINITY } else { (end - *came).as_secs_f64() / deadline.as_secs_f64() };
        good += if share <= 1.0 { *tokens } else { 0 };
        shares.push(share);
    }
    shares.sort_by(f64::total_cmp);
    Outcome {
        goodput: good as f64 / (capacity * 5.0),
        admitted: shares.len(),
        refused,
        late: shares.iter().filter(|share| **share > 1.0).count(),
        p99: shares[(shares.len() * 99 / 100).min(shares.len() - 1)],
        deepest,
    }
}

#[test]
fn goodput_holds_at_any_load_and_what_is_admitted_is_in_time() {
    for load in [0.5, 0.9, 1.5, 3.0] {
        let outcome = run(load, ms(200), false);
        assert!(outcome.goodput >= 0.95 * load.min(1.0) - 0.02, "{load}: {outcome:?}");
        assert!(outcome.p99 <= 1.0, "{load}: {outcome:?}");
        assert!(outcome.late * 100 <= outcome.admitted, "{load}: {outcome:?}");
        // Below capacity only a burst is too much for the deadline.
        let refused = outcome.refused as f64 / (outcome.refused + outcome.admitted) as f64;
        assert!(if load > 1.0 { refused > 0.2 } else { refused < 0.05 }, "{load}: {outcome:?}");
        // Flat: no more waits than the deadline lets through.
        assert!(outcome.deepest < 500_000, "{load}: {outcome:?}");
    }
}

#[test]
fn callers_that_give_up_cost_the_others_nothing() {
    for load in [0.9, 3.0] {
        let outcome = run(load, ms(200), true);
        assert!(outcome.p99 <= 1.0, "{load}: {outcome:?}");
        assert!(outcome.late * 100 <= outcome.admitted, "{load}: {outcome:?}");
    }
}
