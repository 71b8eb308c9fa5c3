//! What holds for every plan, and what plans look like for fleets people have.

use std::collections::HashSet;

use proptest::prelude::*;
use sortie_dispatch::{
    Candidate, Chunk, Cost, DispatchConfig, EndpointId, FleetView, ItemSize, Limits, Plan, SharedSize,
    config::{
        LIMITS,
        plan::{MESSAGE_SHARE, QUEUE_SHARE},
    },
    plan,
};

/// A small CPU server, and MiniLM and a base model on a data-centre GPU (a in µs, b in µs a token).
const CPU: Cost = Cost { a_us: 3_000.0, b_us: 150.0 };
const GPU_SMALL: Cost = Cost { a_us: 500.0, b_us: 0.13 };
const GPU_BASE: Cost = Cost { a_us: 1_000.0, b_us: 0.46 };

fn fleet(costs: &[Cost]) -> Vec<Candidate> {
    let server = |(place, &cost)| Candidate {
        endpoint: EndpointId(place),
        cost,
        backlog_us: 0.0,
        round_trip_us: 500.0,
        limits: LIMITS,
    };
    (0..).zip(costs).map(server).collect()
}

fn items(tokens: impl IntoIterator<Item = u64>) -> Vec<ItemSize> {
    tokens.into_iter().map(|tokens| ItemSize { tokens, work: tokens, bytes: 4 * tokens, answer_bytes: 4 }).collect()
}

fn cut(items: &[ItemSize], candidates: &[Candidate]) -> Plan {
    plan(&DispatchConfig::default(), items, SharedSize::default(), candidates, &FleetView::idle(candidates.len()))
}

fn tokens(plan: &Plan) -> Vec<u64> {
    plan.chunks.iter().map(|chunk| chunk.tokens).collect()
}

#[test]
fn two_hundred_documents_are_spread_over_three_idle_servers() {
    let documents = items((0..200).map(|i| 60 + i * 7 % 400));
    for cost in [CPU, GPU_BASE, sortie_dispatch::config::PRIOR] {
        let plan = cut(&documents, &fleet(&[cost; 3]));
        assert_eq!(plan.chunks.len(), 3, "{cost:?}");
        let (most, least) = (tokens(&plan)[0], tokens(&plan)[2]);
        assert!(most - least <= 460, "{most} and {least}");
    }
}

#[test]
fn a_small_job_stays_whole_on_a_fast_fleet_and_is_cut_on_a_slow_one() {
    let ten = items([120; 10]);
    assert_eq!(cut(&ten, &fleet(&[GPU_BASE; 8])).chunks.len(), 1);
    assert_eq!(cut(&ten, &fleet(&[GPU_SMALL; 8])).chunks.len(), 1);
    assert!(cut(&ten, &fleet(&[CPU; 3])).chunks.len() == 3);
    assert_eq!(cut(&items([120]), &fleet(&[CPU; 3])).chunks.len(), 1);
}

#[test]
fn no_chunk_is_mostly_overhead() {
    let job = items([160; 200]);
    let plan = cut(&job, &fleet(&[GPU_BASE; 64]));
    assert!(plan.chunks.len() > 4);
    let least = tokens(&plan).into_iter().min().unwrap() as f64;
    assert!(least >= 0.9 * GPU_BASE.break_even_tokens(), "{least}");
}

#[test]
fn faster_servers_get_larger_chunks_and_loaded_ones_smaller() {
    let job = items([100; 600]);
    let mut servers = fleet(&[CPU, CPU.times(2.0), CPU]);
    servers[2].backlog_us = 2_000_000.0;
    let plan = cut(&job, &servers);
    let of = |id: u32| plan.chunks.iter().find(|c| c.target == Some(EndpointId(id))).map_or(0, |c| c.tokens) as f64;
    assert!((1.8..2.2).contains(&(of(0) / of(1))), "{} {}", of(0), of(1));
    let (end_0, end_2) = (of(0) * 150.0, of(2) * 150.0 + 2_000_000.0);
    assert!((end_0 / end_2 - 1.0).abs() < 0.05, "{end_0} {end_2}");
}

#[test]
fn a_server_that_would_only_hold_the_job_up_is_left_out() {
    let mut servers = fleet(&[CPU; 3]);
    servers[1].backlog_us = 60_000_000.0;
    let plan = cut(&items([100; 200]), &servers);
    let used: Vec<_> = plan.chunks.iter().filter_map(|chunk| chunk.target).collect();
    assert_eq!(plan.chunks.len(), 2, "{used:?}");
    assert!(!used.contains(&EndpointId(1)));
}

#[test]
fn limits_make_more_chunks_than_servers_and_those_wait_for_any() {
    let mut servers = fleet(&[CPU; 2]);
    for server in &mut servers {
        server.limits.max_items = 1_000;
    }
    let plan = cut(&items(vec![10; 100_000]), &servers);
    assert!((100..=102).contains(&plan.chunks.len()), "{}", plan.chunks.len());
    assert!(plan.chunks.iter().all(|chunk| chunk.target.is_none()));
}

#[test]
fn an_item_that_no_request_can_hold_is_set_aside() {
    let mut job = items([100; 5]);
    job[3].bytes = LIMITS.max_message_bytes;
    let plan = cut(&job, &fleet(&[CPU; 2]));
    assert_eq!(plan.oversized, [3]);
    assert_eq!(plan.chunks.iter().map(|chunk| chunk.items.len()).sum::<usize>(), 4);
}

fn any_item() -> impl Strategy<Value = ItemSize> {
    (1u64..2_000, 1u64..4, 0u64..20_000, 0u64..5_000).prop_map(|(tokens, dear, bytes, answer_bytes)| ItemSize {
        tokens,
        work: dear * tokens,
        bytes,
        answer_bytes,
    })
}

fn any_server() -> impl Strategy<Value = Candidate> {
    let limits = (64u64..20_000, 1u64..300, 4_096u64..1 << 20, 2_000u64..1 << 20);
    let limits = limits.prop_map(|(max_batch_tokens, max_items, max_message_bytes, max_queue_tokens)| Limits {
        max_batch_tokens,
        max_items,
        max_message_bytes,
        max_queue_tokens,
        cuts_jobs: false,
    });
    (0.0..1e5f64, 0.05..500.0f64, 0.0..1e6f64, limits).prop_map(|(a_us, b_us, backlog_us, limits)| Candidate {
        endpoint: EndpointId(0),
        cost: Cost { a_us, b_us },
        backlog_us,
        round_trip_us: 500.0,
        limits,
    })
}

fn any_fleet() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(any_server(), 1..12).prop_map(|mut servers| {
        for (place, server) in (0..).zip(&mut servers) {
            server.endpoint = EndpointId(place);
        }
        servers
    })
}

fn sum(items: &[ItemSize], chunk: &Chunk, of: impl Fn(&ItemSize) -> u64) -> u64 {
    chunk.items.iter().map(|&place| of(&items[place])).sum()
}

proptest! {
    #[test]
    fn every_item_is_in_exactly_one_place(job in prop::collection::vec(any_item(), 1..200), servers in any_fleet()) {
        let plan = cut(&job, &servers);
        let mut seen: Vec<usize> = plan.chunks.iter().flat_map(|chunk| chunk.items.clone()).collect();
        seen.extend(&plan.oversized);
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..job.len()).collect::<Vec<_>>());
        prop_assert!(plan.chunks.iter().all(|chunk| chunk.items.is_sorted() && !chunk.items.is_empty()));
        prop_assert!(plan.chunks.is_sorted_by(|a, b| a.work >= b.work));
    }

    #[test]
    fn limits_hold_for_every_chunk(
        job in prop::collection::vec(any_item(), 1..200), servers in any_fleet(), shared_bytes in 0u64..5_000, shared_tokens in 0u64..500,
    ) {
        let shared = SharedSize { tokens: shared_tokens, work: shared_tokens, bytes: shared_bytes };
        let plan = plan(&DispatchConfig::default(), &job, shared, &servers, &FleetView::idle(servers.len()));
        let limits = servers.iter().map(|server| server.limits).reduce(Limits::both).unwrap();
        let message = limits.max_message_bytes as f64 * MESSAGE_SHARE;
        for chunk in &plan.chunks {
            prop_assert!(chunk.items.len() as u64 <= limits.max_items);
            prop_assert!((sum(&job, chunk, |item| item.bytes) + shared.bytes) as f64 <= message);
            prop_assert_eq!(chunk.tokens, sum(&job, chunk, |item| item.tokens) + shared.tokens);
            prop_assert_eq!(chunk.work, sum(&job, chunk, |item| item.work) + shared.work);
            if chunk.items.len() > 1 {
                prop_assert!(sum(&job, chunk, |item| item.answer_bytes) as f64 <= message);
                prop_assert!(chunk.tokens as f64 <= limits.max_queue_tokens as f64 * QUEUE_SHARE);
            }
        }
    }

    #[test]
    fn no_server_is_the_target_of_two_chunks(job in prop::collection::vec(any_item(), 1..200), servers in any_fleet()) {
        let plan = cut(&job, &servers);
        let targets: Vec<_> = plan.chunks.iter().filter_map(|chunk| chunk.target).collect();
        prop_assert_eq!(targets.iter().collect::<HashSet<_>>().len(), targets.len());
    }

    /// Graham's bound: on equal servers no chunk passes (4/3 − 1/3k) of the best possible, which is no
    /// less than the mean and no less than the largest item.
    #[test]
    fn chunks_are_balanced_on_equal_servers(lengths in prop::collection::vec(1u64..600, 50..300), count in 2usize..9) {
        let plan = cut(&items(lengths.clone()), &fleet(&vec![CPU; count]));
        let k = plan.chunks.len() as f64;
        let mean = lengths.iter().sum::<u64>() as f64 / k;
        let best = mean.max(*lengths.iter().max().unwrap() as f64);
        prop_assert!(tokens(&plan)[0] as f64 <= best * (4.0 / 3.0 - 1.0 / (3.0 * k)) + 1e-9);
    }

    /// Cutting is predicted to help, or is not done.
    #[test]
    fn a_cut_job_is_predicted_to_end_sooner(job in prop::collection::vec(1u64..600, 1..200), servers in any_fleet()) {
        let mut servers = servers;
        for server in &mut servers {
            server.limits = LIMITS;
        }
        let plan = cut(&items(job.clone()), &servers);
        prop_assume!(plan.chunks.len() > 1);
        let end = |chunk: &Chunk| servers[chunk.target.unwrap().0 as usize].finish_us(chunk.tokens as f64);
        let cut_end = plan.chunks.iter().map(end).fold(0.0, f64::max);
        let total = job.iter().sum::<u64>() as f64;
        let whole_end = servers.iter().map(|server| server.finish_us(total)).fold(f64::INFINITY, f64::min);
        // Items are not sand: one may stick out of its chunk's share.
        let grain = servers.iter().map(|server| server.cost.b_us * 600.0 + server.cost.a_us).fold(0.0, f64::max);
        prop_assert!(cut_end <= whole_end + grain, "{} {}", cut_end, whole_end);
    }
}
