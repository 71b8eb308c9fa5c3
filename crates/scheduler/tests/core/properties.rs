//! What holds whatever happens, each named for its property.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sortie_scheduler::{At, ChunkId, Cost, Lane};

use crate::drive::{FormedBatchUnits, World, ask, ms};

/// 64 tokens take 1.28 ms.
const COST: Cost = Cost { a_us: 640.0, b_us: 10.0 };
const BUDGET: usize = 64;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A chunk comes; it is pushed in pieces of `piece` items, the rest later.
    Admit {
        bulk: bool,
        attempt: u32,
        tenant: u8,
        deadline: Option<u64>,
        sizes: Vec<usize>,
        piece: usize,
    },
    /// The next piece of an open chunk.
    Push(prop::sample::Index),
    Cancel(prop::sample::Index),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop::collection::vec(0usize..90, 0..12);
    let admit = (any::<bool>(), 1u32..4, 0u8..4, prop::option::of(1u64..40), sizes, 1usize..12).prop_map(
        |(bulk, attempt, tenant, deadline, sizes, piece)| Step::Admit { bulk, attempt, tenant, deadline, sizes, piece },
    );
    prop_oneof![
        4 => admit,
        2 => any::<prop::sample::Index>().prop_map(Step::Push),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        3 => (0u64..4_000).prop_map(Step::Advance),
    ]
}

/// A chunk as the test knows it.
struct Known {
    id: ChunkId,
    sizes: Vec<usize>,
    piece: usize,
    pushed: usize,
    deadline: Option<At>,
    cancelled: Option<At>,
}

fn play(devices: usize, steps: Vec<Step>) -> (World, BTreeMap<u64, Known>) {
    let mut world = World::cold(BUDGET, devices, COST);
    let mut chunks: BTreeMap<u64, Known> = BTreeMap::new();
    let sink = |world: &mut World, key: u64, chunk: &mut Known| {
        let end = chunk.sizes.len().min(chunk.pushed + chunk.piece);
        world.push((key, chunk.id), chunk.pushed, &chunk.sizes[chunk.pushed..end]);
        chunk.pushed = end;
        if end == chunk.sizes.len() {
            world.close((key, chunk.id));
        }
    };
    for step in steps {
        match step {
            Step::Admit { bulk, attempt, tenant, deadline, sizes, piece } => {
                let lane = if bulk { Lane::Bulk } else { Lane::Interactive };
                let deadline = deadline.map(|after| world.now + ms(after));
                let tokens: usize = sizes.iter().map(|n| (*n).max(1)).sum();
                let request = ask(tokens as u64, lane, attempt, &format!("t{tenant}"), deadline);
                if let Ok((key, id)) = world.admit(request) {
                    let mut chunk = Known { id, sizes, piece, pushed: 0, deadline, cancelled: None };
                    sink(&mut world, key, &mut chunk);
                    chunks.insert(key, chunk);
                }
            }
            Step::Push(which) => {
                let open: Vec<u64> =
                    chunks.iter().filter(|(_, p)| p.pushed < p.sizes.len()).map(|(key, _)| *key).collect();
                if !open.is_empty() {
                    let key = *which.get(&open);
                    sink(&mut world, key, chunks.get_mut(&key).unwrap());
                }
            }
            Step::Cancel(which) => {
                let live: Vec<u64> =
                    chunks.iter().filter(|(_, p)| p.cancelled.is_none()).map(|(key, _)| *key).collect();
                if !live.is_empty() {
                    let chunk = chunks.get_mut(which.get(&live)).unwrap();
                    chunk.cancelled = Some(world.now);
                    world.core.cancel(chunk.id);
                    world.poll();
                }
            }
            Step::Advance(us) => world.advance(world.now + At::from_micros(us)),
        }
    }
    for (key, chunk) in &mut chunks {
        while chunk.pushed < chunk.sizes.len() {
            sink(&mut world, *key, chunk);
        }
        world.close((*key, chunk.id));
    }
    world.idle();
    (world, chunks)
}

proptest! {
    #[test]
    fn a_cancelled_or_expired_item_never_reaches_the_backend(
        devices in 1usize..4, steps in prop::collection::vec(step(), 1..60),
    ) {
        let (world, chunks) = play(devices, steps);
        let expired: BTreeMap<u64, At> = world.expired.iter().copied().collect();
        for batch in &world.batches {
            for key in batch.keys() {
                let chunk = &chunks[&key];
                prop_assert!(chunk.cancelled.is_none_or(|at| batch.sealed <= at), "cancelled, then sealed");
                prop_assert!(expired.get(&key).is_none_or(|at| batch.sealed <= *at), "expired, then sealed");
                prop_assert!(chunk.deadline.is_none_or(|at| batch.sealed < at), "sealed past its deadline");
            }
        }
    }

    #[test]
    fn budgets_are_never_exceeded(devices in 1usize..4, steps in prop::collection::vec(step(), 1..60)) {
        let (world, _) = play(devices, steps);
        for batch in &world.batches {
            prop_assert!(batch.tokens() <= BUDGET || batch.items.len() == 1, "{batch:?}");
            prop_assert!(batch.items.windows(2).all(|w| w[0].tokens >= w[1].tokens), "not longest first");
        }
    }

    #[test]
    fn every_admitted_item_leaves_exactly_once(devices in 1usize..4, steps in prop::collection::vec(step(), 1..60)) {
        let (world, chunks) = play(devices, steps);
        let mut seen = BTreeSet::new();
        for item in world.batches.iter().flat_map(|batch| &batch.items) {
            prop_assert!(seen.insert(item.item), "{:?} twice", item.item);
            prop_assert_eq!(item.index, item.item.1);
            prop_assert_eq!(item.tokens, chunks[&item.item.0].sizes[item.index].max(1));
        }
        let expired: BTreeMap<u64, At> = world.expired.iter().copied().collect();
        prop_assert_eq!(expired.len(), world.expired.len(), "expired twice");
        for (key, chunk) in &chunks {
            let left = (0..chunk.sizes.len()).filter(|i| seen.contains(&(*key, *i))).count();
            let whole = left == chunk.sizes.len();
            prop_assert!(whole || chunk.cancelled.is_some() || expired.contains_key(key), "{key} lost {left}");
        }
        prop_assert_eq!(world.core.queued_work(), 0);
        let load = world.core.load(world.now);
        prop_assert!(load.queue_wait_ms == 0.0 && load.running_tokens == 0, "{:?}", load);
    }

    /// Slack orders within a lane and a tenant, and there it does.
    #[test]
    fn no_accepted_item_waits_past_its_deadline_while_later_deadline_work_of_its_flow_runs(
        chunks in prop::collection::vec((0u64..6, prop::option::of(1u64..60), 0u8..3, any::<bool>(), 1usize..20), 1..80),
    ) {
        const UNIT: usize = 4;
        let mut world = World::warm(BUDGET, COST);
        // What the test knows of each: when it came, its latest start, and its lane and tenant.
        type Known = (At, Option<At>, (u8, bool));
        let mut known: BTreeMap<u64, Known> = BTreeMap::new();
        for (gap, deadline, tenant, bulk, items) in chunks {
            world.advance(world.now + ms(gap) / 4);
            let lane = if bulk { Lane::Bulk } else { Lane::Interactive };
            let tokens = (items * UNIT) as u64;
            let at = deadline.map(|after| world.now + ms(after));
            if let Ok((key, _)) = world.whole(ask(tokens, lane, 1, &format!("t{tenant}"), at), &vec![UNIT; items]) {
                let work = At::from_secs_f64(COST.queue_seconds(tokens, BUDGET));
                known.insert(key, (world.now, at.map(|at| at.saturating_sub(work)), (tenant, bulk)));
            }
        }
        world.idle();
        for (key, when) in &world.expired {
            // Warming up used keys that are not known.
            let Some((came, Some(latest), flow)) = known.get(key) else { continue };
            let waited = |batch: &&FormedBatchUnits| batch.sealed > *came && batch.sealed < *when;
            for batch in world.batches.iter().filter(waited) {
                let later = |other: u64| {
                    let (_, order, its) = known[&other];
                    its == *flow && order.is_none_or(|order| order > *latest + At::from_micros(1))
                };
                let tokens: usize = batch.keys().into_iter().filter(|k| k != key && later(*k)).map(|k| batch.tokens_of(k)).sum();
                // All that may: the share that goes by age, the room for small chunks, one item of grain.
                prop_assert!(tokens <= BUDGET / 16 + BUDGET / 4 + UNIT, "{tokens} later tokens in {batch:?}, {key} expired at {when:?}");
            }
        }
    }

    /// Who is about to be late passes nobody else: under overload the latest would lead.
    #[test]
    fn no_tenant_gets_more_by_shorter_deadlines(
        deadlines in prop::collection::vec(4u64..60, 4..60), items in prop::collection::vec(1usize..12, 1..20),
    ) {
        const UNIT: usize = 4;
        let mut world = World::warm(BUDGET, COST);
        world.whole(ask(BUDGET as u64, Lane::Interactive, 1, "", None), &[BUDGET]).unwrap();
        world.batches.clear();
        let mut patient = Vec::new();
        for (i, items) in items.iter().cycle().take(deadlines.len()).enumerate() {
            let sizes = vec![UNIT; *items];
            let tokens = (items * UNIT) as u64;
            let hurried = Some(world.now + ms(deadlines[i]));
            let _ = world.whole(ask(tokens, Lane::Interactive, 1, "hurried", hurried), &sizes);
            if let Ok((key, _)) = world.whole(ask(tokens, Lane::Interactive, 1, "patient", None), &sizes) {
                patient.push(key);
            }
        }
        world.idle();
        let mut left: usize = patient.iter().map(|key| world.batches.iter().map(|b| b.tokens_of(*key)).sum::<usize>()).sum();
        for batch in &world.batches {
            let own: usize = patient.iter().map(|key| batch.tokens_of(*key)).sum();
            // Full batches are shared evenly while both wait, but for the share that goes by age and a turn's grain.
            if batch.tokens() == BUDGET && left > BUDGET {
                prop_assert!(own * 2 + BUDGET / 4 >= BUDGET, "{own} of {} while {left} waited", batch.tokens());
            }
            left -= own;
        }
    }

    #[test]
    fn what_one_lane_admits_is_in_time_on_a_steady_device(
        chunks in prop::collection::vec((0u64..4_000, 2u64..60, prop::collection::vec(1usize..=BUDGET, 1..12)), 1..80),
    ) {
        let mut world = World::warm(BUDGET, COST);
        world.expired.clear();
        for (gap, deadline, sizes) in chunks {
            world.advance(world.now + At::from_micros(gap));
            let at = world.now + ms(deadline);
            let _ = world.whole(ask(sizes.iter().sum::<usize>() as u64, Lane::Interactive, 1, "", Some(at)), &sizes);
        }
        world.idle();
        let late = world.expired.len() as f64;
        prop_assert!(late <= 0.05 * world.batches.len() as f64 + 1.0, "{late} expired in {} batches", world.batches.len());
    }

    #[test]
    fn no_lane_or_tenant_starves(
        victim in prop::collection::vec(1usize..80, 1..6),
        flood in prop::collection::vec(1usize..=BUDGET, 1..4),
        hedge in any::<bool>(),
    ) {
        let mut world = World::warm(BUDGET, COST);
        let tokens: usize = victim.iter().sum();
        world.whole(ask(BUDGET as u64, Lane::Interactive, 1, "", None), &[BUDGET]).unwrap();
        world.batches.clear();
        let attempt = if hedge { 2 } else { 1 };
        let key = world.whole(ask(tokens as u64, Lane::Bulk, attempt, "victim", None), &victim).unwrap().0;
        // Every batch time brings more than a batch of urgent strangers.
        let mut served = 0;
        let rounds = 17 * (tokens / BUDGET + victim.len() + 2);
        for round in 0..rounds {
            let mut sizes = flood.clone();
            sizes.extend([BUDGET / 2, BUDGET / 2]);
            let tokens = sizes.iter().sum::<usize>() as u64;
            let soon = world.now + ms(4);
            let _ = world.whole(ask(tokens, Lane::Interactive, 1, &format!("t{}", round % 3), Some(soon)), &sizes);
            world.advance(world.now + ms(1) + ms(1) / 3);
            served = world.batches.iter().map(|batch| batch.tokens_of(key)).sum();
            if served == tokens_of(&victim) {
                break;
            }
        }
        prop_assert_eq!(served, tokens_of(&victim), "starved for {} batches", world.batches.len());
    }

    #[test]
    fn hedge_losers_cancelled_while_queued_never_reach_a_batch(
        hedges in prop::collection::vec((0u64..3_000, 1usize..40, 0u64..8_000), 1..60),
    ) {
        let mut world = World::warm(BUDGET, COST);
        let mut cancels: Vec<(At, u64, ChunkId)> = Vec::new();
        let mut losers: BTreeMap<u64, At> = BTreeMap::new();
        for (gap, tokens, lives) in hedges {
            let until = world.now + At::from_micros(gap);
            cancels.sort_unstable();
            while let Some((at, key, id)) = cancels.first().copied().filter(|(at, ..)| *at <= until) {
                cancels.remove(0);
                world.advance(at);
                if world.core.cancel(id).is_some() {
                    losers.insert(key, at);
                }
            }
            world.advance(until);
            let (key, id) = world.whole(ask(tokens as u64, Lane::Interactive, 2, "", None), &[tokens]).unwrap();
            cancels.push((world.now + At::from_micros(lives), key, id));
        }
        world.idle();
        for batch in &world.batches {
            for key in batch.keys() {
                prop_assert!(!losers.contains_key(&key), "a loser that was cancelled in the queue ran");
            }
        }
    }
}

fn tokens_of(sizes: &[usize]) -> usize {
    sizes.iter().map(|n| (*n).max(1)).sum()
}
