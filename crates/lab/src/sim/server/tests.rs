//! One server by hand.

use sortie_scheduler::Tenant;

use super::*;

const DEVICE: DeviceModel = DeviceModel {
    cost: Cost { a_us: 1_000.0, b_us: 1.0 },
    knee: 0,
    budget: 1_000,
    curve: WorkCurve::STRAIGHT,
    believed: WorkCurve::STRAIGHT,
};

fn chunk(attempt: u32, items: &[u32]) -> ArrivedChunk {
    let key = Key { client: 0, job: 0, attempt: AttemptId(attempt) };
    ArrivedChunk { key, items: items.into(), number: 1, deadline: Duration::from_secs(60), tenant: Tenant::default() }
}

fn at(us: u64) -> Duration {
    Duration::from_secs(1) + Duration::from_micros(us)
}

#[test]
fn chunks_are_merged_and_answered_with_the_batches_they_were_in() {
    let mut server = SimServer::new(DEVICE, 1.0, 1, at(0));
    let told = server.report(at(0)).cost;
    assert!((told.a_us - 1_000.0).abs() < 2.0 && (told.b_us - 1.0).abs() < 0.01, "{told:?}");
    server.admit(&chunk(0, &[100]), at(0)).unwrap();
    let us = server.poll(at(0)).started_us.unwrap();
    assert!((us - 1_100.0).abs() < 1e-6);
    server.admit(&chunk(1, &[100; 7]), at(10)).unwrap();
    server.admit(&chunk(2, &[100; 7]), at(20)).unwrap();
    // Sealed only shortly before the running batch ends.
    let step = server.poll(at(20));
    assert!(step.started_us.is_none() && step.poll_at.is_some_and(|then| then > at(20)));
    let (done, next) = server.finish(at(1_100));
    assert_eq!(done.iter().map(|done| done.key.attempt.0).collect::<Vec<_>>(), [0]);
    assert!(next.is_none(), "nothing was sealed");
    assert!(server.poll(at(1_100)).started_us.is_some());
    let mut answered = server.finish(at(3_000)).0;
    assert!(server.poll(at(3_000)).started_us.is_some());
    answered.extend(server.finish(at(5_000)).0);
    assert_eq!(answered.len(), 2);
    assert!(answered.iter().any(|done| done.batches.len() == 2), "one of them was cut");
    assert_eq!((server.served_tokens, server.queued(), server.keys().count()), (1_500, 0, 0));
}

#[test]
fn a_cancelled_chunk_leaves_the_queue() {
    let mut server = SimServer::new(DEVICE, 1.0, 1, at(0));
    server.admit(&chunk(0, &[900]), at(0)).unwrap();
    assert!(server.poll(at(0)).started_us.is_some());
    let waiting = chunk(1, &[900]);
    server.admit(&waiting, at(1)).unwrap();
    assert_eq!(server.queued(), 900);
    server.cancel(waiting.key);
    server.cancel(waiting.key);
    assert_eq!(server.queued(), 0);
    server.drain();
    assert_eq!(server.admit(&chunk(2, &[1]), at(2)), Err(Failure::Unavailable));
}

#[test]
fn a_slow_device_says_so_once_it_has_measured_it() {
    let mut server = SimServer::new(DEVICE, 1.0, 1, at(0));
    server.pace = 4.0;
    let mut now = at(0);
    for attempt in 0..100 {
        server.admit(&chunk(attempt, &[200 + 7 * (attempt % 50)]), now).unwrap();
        let us = server.poll(now).started_us.unwrap();
        now += micros(us);
        assert_eq!(server.finish(now).0.len(), 1);
    }
    let told = server.report(now).cost;
    assert!((told.batch_us(400.0) / DEVICE.batch_us(400) - 4.0).abs() < 0.5, "{told:?}");
}
