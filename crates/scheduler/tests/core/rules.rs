//! Each rule of `docs/scheduling.md` by itself.

use sortie_scheduler::{At, Cost, Lane, Refusal, Request};

use crate::drive::{World, ask, ms};

/// A batch of 100 tokens takes 2 ms.
const COST: Cost = Cost { a_us: 1_000.0, b_us: 10.0 };

fn first(tokens: u64) -> Request<At> {
    Request::of(tokens)
}

/// A device that is busy with a full batch.
fn busy(budget: usize) -> World {
    let mut world = World::warm(budget, COST);
    world.whole(first(budget as u64), &[budget]).unwrap();
    world.batches.clear();
    world
}

#[test]
fn a_batch_is_sealed_as_the_running_one_is_about_to_end() {
    let mut world = busy(100);
    let began = world.now;
    world.whole(first(50), &[50]).unwrap();
    world.advance(began + ms(1));
    assert!(world.batches.is_empty(), "sealed early");
    // What comes in the meantime joins the batch.
    world.whole(first(50), &[50]).unwrap();
    world.idle();
    assert_eq!(world.batches.len(), 1);
    let batch = &world.batches[0];
    assert_eq!(batch.tokens(), 100);
    assert!(batch.sealed >= began + ms(1) && batch.sealed < began + ms(2), "{batch:?}");
    let started = batch.started.unwrap();
    assert!(started.abs_diff(began + ms(2)) < ms(1) / 20, "the device waited: {batch:?}");
}

#[test]
fn an_idle_device_starts_at_once_when_nobody_is_being_tokenized() {
    let mut world = World::warm(1_000, COST);
    let now = world.now;
    world.whole(first(5), &[5]).unwrap();
    assert_eq!(world.batches[0].started, Some(now));
}

#[test]
fn an_idle_device_waits_for_siblings_but_no_longer_than_a_batch_costs() {
    let mut world = World::warm(1_000, COST);
    let began = world.now;
    let chunk = world.admit(first(20)).unwrap();
    world.push(chunk, 0, &[5]);
    assert!(world.batches.is_empty());
    world.push(chunk, 1, &[15]);
    assert_eq!(world.batches[0].tokens(), 20, "the whole chunk is there");
    world.idle();

    // The rest never comes: one fixed cost, 1 ms, is all that is waited.
    let from = world.now;
    let chunk = world.admit(first(20)).unwrap();
    world.push(chunk, 0, &[5]);
    world.advance(from + ms(10));
    let waited = world.batches[1].sealed - from;
    assert!(waited >= ms(1) / 2 && waited <= ms(2), "{waited:?}");
    assert!(began <= from);
}

#[test]
fn the_knee_starts_a_device_though_siblings_are_being_tokenized() {
    let mut world = World::warm(1_000, COST);
    let knee = world.core.load(world.now).knee_tokens as usize;
    assert!((300..500).contains(&knee), "{knee}");
    let chunk = world.admit(first(5_000)).unwrap();
    world.push(chunk, 0, &[knee - 10]);
    assert!(world.batches.is_empty());
    world.push(chunk, 1, &[10]);
    assert_eq!(world.batches[0].tokens(), knee);
}

#[test]
fn interactive_goes_before_bulk_and_first_attempts_before_hedges() {
    let mut world = busy(100);
    let classes = [(Lane::Bulk, 2), (Lane::Bulk, 1), (Lane::Interactive, 3), (Lane::Interactive, 1)];
    let keys: Vec<u64> = classes
        .iter()
        .map(|(lane, attempt)| world.whole(ask(90, *lane, *attempt, "", None), &[90]).unwrap().0)
        .collect();
    world.idle();
    let order: Vec<u64> = world.batches.iter().flat_map(|batch| batch.keys()).collect();
    assert_eq!(order, keys.iter().rev().copied().collect::<Vec<_>>());
}

#[test]
fn less_slack_goes_first_even_with_a_later_deadline() {
    let mut world = busy(100);
    let now = world.now;
    let short = world.whole(ask(10, Lane::Interactive, 1, "", Some(now + ms(500))), &[10]).unwrap().0;
    // 10,000 tokens are 200 ms of work.
    let long = world.whole(ask(10_000, Lane::Interactive, 1, "", Some(now + ms(520))), &[100; 100]).unwrap().0;
    world.idle();
    assert_eq!(world.batches[0].keys(), [long]);
    assert!(world.batches.iter().any(|batch| batch.keys().contains(&short)));
}

#[test]
fn a_small_part_rides_along_with_a_large_one() {
    let mut world = busy(100);
    let large = world.whole(first(1_000), &[5; 200]).unwrap().0;
    let small = world.whole(first(10), &[5; 2]).unwrap().0;
    world.idle();
    assert_eq!(world.batches[0].keys(), [large, small]);
    assert_eq!(world.batches[0].tokens(), 100);
    // With nothing small about, the large one has it all.
    assert_eq!(world.batches[1].tokens_of(large), 100);
}

#[test]
fn tenants_that_wait_share_evenly_whatever_they_queue() {
    let mut world = busy(160);
    for _ in 0..40 {
        world.whole(ask(160, Lane::Interactive, 1, "hog", None), &[5; 32]).unwrap();
    }
    let meek = world.whole(ask(800, Lane::Interactive, 1, "meek", None), &[5; 160]).unwrap().0;
    world.idle();
    for batch in &world.batches[..8] {
        let share = batch.tokens_of(meek);
        // Half, but for the share that goes by age and the grain of a turn.
        assert!((60..=90).contains(&share), "{share} of {}", batch.tokens());
    }
}

#[test]
fn a_tenant_that_was_away_saved_nothing_up() {
    let mut world = busy(160);
    let one = world.whole(ask(1_600, Lane::Interactive, 1, "one", None), &[5; 320]).unwrap().0;
    world.advance(world.now + ms(12));
    world.batches.clear();
    let two = world.whole(ask(1_600, Lane::Interactive, 1, "two", None), &[5; 320]).unwrap().0;
    world.idle();
    let (of_one, of_two) = (world.batches[1].tokens_of(one), world.batches[1].tokens_of(two));
    assert!(of_one >= 60 && of_two >= 60, "{of_one} {of_two}");
}

#[test]
fn a_batch_is_cut_short_where_a_longer_one_would_be_late() {
    // 10,000 tokens take 101 ms; the knee is 400.
    let mut world = World::warm(10_000, COST);
    let now = world.now;
    world.whole(first(1_000), &[1_000]).unwrap(); // 11 ms
    let urgent = world.whole(ask(500, Lane::Interactive, 1, "", Some(now + ms(40))), &[500]).unwrap().0;
    let hedge = world.whole(ask(20_000, Lane::Interactive, 2, "", None), &[100; 200]).unwrap().0;
    world.idle();
    let batch = world.batches.iter().find(|batch| batch.keys().contains(&urgent)).unwrap();
    let ends = batch.ends.unwrap().as_secs_f64();
    assert!(ends <= (now + ms(40)).as_secs_f64(), "late: {} tokens", batch.tokens());
    assert!(batch.tokens_of(hedge) > 0, "room was left unused");
}

/// Everybody in a batch is answered when it ends: one of a third of the deadline made the first of it wait for the
/// last.
#[test]
fn a_batch_takes_a_small_share_of_its_chunks_time_where_that_costs_nothing() {
    let longest = |cost: Cost| {
        let mut world = World::warm(1_000, cost);
        world.batches.clear();
        let deadline = Some(world.now + ms(800));
        for _ in 0..20 {
            world.whole(ask(100, Lane::Interactive, 1, "", deadline), &[50, 50]).unwrap();
        }
        world.idle();
        assert!(world.batches.iter().filter_map(|batch| batch.ends).max() <= deadline);
        world.batches.iter().map(|batch| batch.tokens()).max().unwrap()
    };
    // 0.3 ms a token, next to nothing a batch: 100 ms are 333 tokens.
    assert!((200..=333).contains(&longest(Cost { a_us: 100.0, b_us: 300.0 })));
    // 20 ms a batch: less than a full one would cost the device more than that is worth.
    assert_eq!(longest(Cost { a_us: 20_000.0, b_us: 200.0 }), 1_000);
}

#[test]
fn idle_devices_share_what_waits() {
    let mut world = World::cold(1_000, 2, COST);
    // Batches of 100 teach the cost: the knee is far below 1,000.
    for i in 0..60 {
        world.whole(first(100), &vec![10; 5 + i % 10]).unwrap();
        world.whole(first(100), &vec![10; 5 + i % 10]).unwrap();
        world.idle();
    }
    world.batches.clear();
    world.whole(first(1_000), &[10; 100]).unwrap();
    world.idle();
    let sizes: Vec<_> = world.batches.iter().map(|batch| (batch.device, batch.tokens())).collect();
    assert_eq!(sizes, [(0, 500), (1, 500)]);
}

#[test]
fn devices_end_what_waits_at_one_moment() {
    let mut world = World::cold(1_000, 2, COST);
    for i in 0..60 {
        world.whole(first(100), &vec![10; 5 + i % 10]).unwrap();
        world.whole(first(100), &vec![10; 5 + i % 10]).unwrap();
        world.idle();
    }
    world.batches.clear();
    // One is busy with 200 tokens: the other takes as many more of the next 800.
    world.whole(first(200), &[200]).unwrap();
    world.whole(first(800), &[10; 80]).unwrap();
    world.idle();
    let of = |device: usize| world.batches.iter().filter(move |batch| batch.device == device);
    assert_eq!((of(0).count(), of(1).count()), (2, 1));
    let [one, other] = [0, 1].map(|device| of(device).filter_map(|batch| batch.ends).max().unwrap());
    // The second batch has its fixed cost too, and items are of ten tokens.
    assert!(one.abs_diff(other) <= At::from_secs_f64(COST.batch_seconds(20)), "{one:?} {other:?}");
}

#[test]
fn one_chunk_is_halved_though_batches_of_its_size_alone_were_seen() {
    let mut world = World::cold(4_000, 2, COST);
    for tokens in [[100; 40], [10; 40], [100; 40]] {
        for _ in 0..8 {
            world.whole(first(4_000), &tokens).unwrap();
            world.idle();
        }
    }
    world.batches.clear();
    // It is being read while the devices take their parts.
    let chunk = world.admit(first(4_000)).unwrap();
    world.push(chunk, 0, &[100; 25]);
    world.push(chunk, 25, &[100; 15]);
    world.close(chunk);
    world.idle();
    let sizes: Vec<_> = world.batches.iter().map(|batch| (batch.device, batch.tokens())).collect();
    assert_eq!(sizes, [(0, 2_000), (1, 2_000)]);
}

#[test]
fn admission_counts_what_goes_first_and_no_more() {
    let mut world = busy(100);
    // 100 batches of bulk work, 200 ms.
    world.whole(ask(10_000, Lane::Bulk, 1, "", None), &[100; 100]).unwrap();
    let soon = Some(world.now + ms(30));
    assert!(world.admit(ask(100, Lane::Interactive, 1, "", soon)).is_ok(), "bulk work does not hold it up");
    let refused = world.admit(ask(100, Lane::Bulk, 1, "", soon)).unwrap_err();
    let Refusal::TooLate { wait, queue, remaining, retry_after } = refused else { unreachable!("{refused}") };
    assert!(wait > ms(200) && remaining == ms(30), "{wait:?}");
    assert_eq!(retry_after, None, "waiting leaves even less time");
    assert!(queue > ms(190) && queue < wait, "{queue:?} of {wait:?}");
    // A tenant alone waits for all of its own; another one only for its share of that.
    world.whole(ask(5_000, Lane::Interactive, 1, "hog", None), &[100; 50]).unwrap();
    assert!(world.admit(ask(100, Lane::Interactive, 1, "hog", soon)).is_err());
    assert!(world.admit(ask(100, Lane::Interactive, 1, "meek", soon)).is_ok());
}

#[test]
fn a_device_that_was_slow_gets_another_chance_once_it_has_been_idle() {
    let mut world = World::warm(100, COST);
    // Twenty times slower for a while.
    world.cost = COST.times(20.0);
    for _ in 0..6 {
        world.whole(first(100), &[100]).unwrap();
        world.idle();
    }
    // Back to what it was; but all it is known for is 40 ms a batch.
    world.cost = COST;
    let hurried = |world: &World| ask(100, Lane::Interactive, 1, "", Some(world.now + ms(10)));
    assert!(world.whole(hurried(&world), &[100]).is_err());
    for trial in 0..8 {
        world.advance(world.now + ms(5_000));
        assert!(world.whole(hurried(&world), &[100]).is_ok(), "trial {trial}");
        world.idle();
    }
    assert!(world.whole(hurried(&world), &[100]).is_ok(), "it is known to be fast again");
}

#[test]
fn what_is_admitted_counts_while_it_is_tokenized_and_an_overdue_batch_adds_up() {
    let mut world = World::warm(100, COST);
    let chunk = world.admit(first(1_000)).unwrap();
    let load = world.core.load(world.now);
    assert_eq!(load.queued_tokens, 1_000);
    assert!((load.queue_wait_ms - 20.0).abs() < 0.5, "{load:?}");
    world.close(chunk);
    assert_eq!(world.core.load(world.now).queued_tokens, 0);
    world.whole(first(100), &[100]).unwrap();
    let began = world.now;
    // Predicted: 2 ms. The core is not told of its end.
    let late = world.core.load(began + ms(10));
    assert!((late.overdue - 5.0).abs() < 0.1 && (late.queue_wait_ms - 8.0).abs() < 0.1, "{late:?}");
}

#[test]
fn a_long_queue_is_refused_with_the_time_to_room() {
    let mut world = busy(100);
    world.whole(first(1 << 20), &[100; 10_485]).unwrap();
    let refused = world.admit(first(1_000)).unwrap_err();
    let Refusal::QueueFull { queued, limit, retry_after } = refused else { unreachable!("{refused}") };
    assert!(queued > limit - 1_000);
    assert!(retry_after > ms(10) && retry_after < ms(30), "{retry_after:?}");
}

/// One chunk that is the work of several devices was admitted for all of them, and dropped for it by the first that
/// looked.
#[test]
fn a_part_that_needs_several_devices_is_not_taken_for_late_by_one() {
    let mut world = World::cold(1_000, 4, COST);
    for _ in 0..20 {
        for _ in 0..4 {
            world.whole(first(1_000), &[10; 100]).unwrap();
        }
        world.idle();
    }
    world.batches.clear();
    // 40,000 tokens are 440 ms of one device and 110 ms of four.
    let deadline = Some(world.now + ms(250));
    let chunk = world.whole(ask(40_000, Lane::Interactive, 1, "", deadline), &[10; 4_000]).unwrap().0;
    world.idle();
    assert!(world.expired.is_empty(), "{:?}", world.expired);
    let tokens: usize = world.batches.iter().map(|batch| batch.tokens_of(chunk)).sum();
    assert_eq!(tokens, 40_000);
    let end = world.batches.iter().filter_map(|batch| batch.ends).max();
    assert!(end <= deadline, "{end:?}");
}

/// What its caller's deadline rules out on an idle device says nothing of the queue.
#[test]
fn jobs_that_could_never_be_in_time_do_not_shorten_the_queue_for_others() {
    let mut world = busy(100);
    let soon = |world: &World| Some(world.now + ms(5));
    world.whole(ask(1_000, Lane::Interactive, 1, "", None), &[100; 10]).unwrap();
    for _ in 0..50 {
        world.advance(world.now + ms(1) / 10);
        assert!(world.whole(ask(10_000, Lane::Interactive, 1, "", soon(&world)), &[100; 100]).is_err());
    }
    // 20 ms of the queue and 2 of its own: with a queue held short 40 ms would not do.
    let deadline = Some(world.now + ms(30));
    assert!(world.whole(ask(100, Lane::Interactive, 1, "", deadline), &[100]).is_ok());
}

/// The pause was divided by what is left of the share also where waiting does not use the slack up.
#[test]
fn without_a_deadline_the_pause_is_what_the_queue_is_too_long_by() {
    let mut world = busy(100);
    let mut last = None;
    for _ in 0..20_000 {
        match world.whole(ask(100, Lane::Interactive, 1, "", None), &[100]) {
            Ok(_) => {}
            Err(refusal) => last = Some(refusal),
        }
        world.advance(world.now + ms(1));
    }
    let Some(Refusal::WaitTooLong { wait, limit, retry_after }) = last else { unreachable!("{last:?}") };
    assert!(retry_after >= ms(20) && retry_after <= (wait - limit).max(ms(20)), "{retry_after:?}: {wait:?} {limit:?}");
}
