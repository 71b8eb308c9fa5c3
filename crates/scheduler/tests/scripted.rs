//! The whole scheduler over a backend that runs only when told to: each batch is
//! shown to the test, which then says how it ends. No sleeps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the script and its rig are test code")]

use std::{sync::mpsc, task::Poll, time::Duration};

use sortie_scheduler::{
    Backend, Lane, PartError, Priority, Refusal, Scheduler, SchedulerConfig, StartError, Ticket, Unit,
};
use tokio::{sync::mpsc as async_mpsc, time::Instant};

/// How a batch ends.
enum Verdict {
    /// Each item is answered with its double; 13 is a fault.
    Answer,
    Panic,
    Short,
}

struct Scripted {
    seen: async_mpsc::UnboundedSender<Vec<u32>>,
    verdicts: mpsc::Receiver<Verdict>,
    dropped: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Backend for Scripted {
    type Item = u32;
    type Output = u32;
    type Fault = String;

    fn run(&mut self, items: &[&u32]) -> Vec<Result<u32, String>> {
        self.seen.send(items.iter().map(|item| **item).collect()).unwrap();
        let answer = |item: &&u32| if **item == 13 { Err("unlucky".to_owned()) } else { Ok(**item * 2) };
        match self.verdicts.recv().unwrap() {
            Verdict::Answer => items.iter().map(answer).collect(),
            Verdict::Short => items.iter().skip(1).map(answer).collect(),
            Verdict::Panic => panic!("scripted"),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.dropped.take().map(|gone| gone.send(()));
    }
}

struct Rig {
    scheduler: Scheduler<Scripted>,
    batches: async_mpsc::UnboundedReceiver<Vec<u32>>,
    verdicts: mpsc::Sender<Verdict>,
    dropped: tokio::sync::oneshot::Receiver<()>,
}

impl Rig {
    async fn new(max_batch_tokens: usize, max_queue_tokens: u64) -> Self {
        let (seen, batches) = async_mpsc::unbounded_channel();
        let (verdicts, orders) = mpsc::channel();
        let (dropped, was_dropped) = tokio::sync::oneshot::channel();
        let config = SchedulerConfig { max_batch_tokens, max_queue_tokens };
        let make = move || Ok::<_, String>(Scripted { seen, verdicts: orders, dropped: Some(dropped) });
        let scheduler = Scheduler::start("test", config, make).await.unwrap();
        Self { scheduler, batches, verdicts, dropped: was_dropped }
    }

    fn submit(&self, units: &[(u32, usize)], lane: Lane, deadline: Option<Instant>) -> Ticket<Scripted> {
        let units: Vec<_> = units.iter().map(|(item, tokens)| Unit { item: *item, tokens: *tokens }).collect();
        let tokens = units.iter().map(|unit| unit.tokens as u64).sum();
        self.scheduler.admit(tokens, deadline).unwrap().submit(units, Priority { lane, attempt: 1 })
    }

    /// The batch that now runs.
    async fn batch(&mut self) -> Vec<u32> {
        self.batches.recv().await.unwrap()
    }

    fn end(&self, verdict: Verdict) {
        self.verdicts.send(verdict).unwrap();
    }
}

#[tokio::test]
async fn outputs_come_back_in_unit_order_over_several_batches() {
    let mut rig = Rig::new(10, 1_000).await;
    let ticket = rig.submit(&[(1, 2), (2, 7), (3, 3), (13, 5), (5, 40)], Lane::Interactive, None);
    // Longest first; a unit over the budget goes alone.
    for expect in [vec![5], vec![2, 3], vec![13, 1]] {
        assert_eq!(rig.batch().await, expect);
        rig.end(Verdict::Answer);
    }
    let part = ticket.await.unwrap();
    assert_eq!(part.outputs, [Ok(2), Ok(4), Ok(6), Err("unlucky".to_owned()), Ok(10)]);
    assert_eq!(part.batches.iter().map(|b| b.tokens).collect::<Vec<_>>(), [40, 10, 7]);
}

#[tokio::test]
async fn a_batch_mixes_parts_and_takes_interactive_first() {
    let mut rig = Rig::new(10, 1_000).await;
    let first = rig.submit(&[(1, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let bulk = rig.submit(&[(2, 6), (3, 1)], Lane::Bulk, None);
    let urgent = rig.submit(&[(4, 9)], Lane::Interactive, None);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [4, 3]);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [2]);
    rig.end(Verdict::Answer);
    assert_eq!(first.await.unwrap().outputs, [Ok(2)]);
    assert_eq!(urgent.await.unwrap().outputs, [Ok(8)]);
    let bulk = bulk.await.unwrap();
    assert_eq!(bulk.outputs, [Ok(4), Ok(6)]);
    assert_eq!(bulk.batches.len(), 2);
}

#[tokio::test]
async fn a_dropped_ticket_takes_its_units_out() {
    let mut rig = Rig::new(4, 100).await;
    let running = rig.submit(&[(1, 4), (2, 4)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let cancelled = rig.submit(&[(3, 4)], Lane::Interactive, None);
    let kept = rig.submit(&[(4, 4)], Lane::Interactive, None);
    assert_eq!(rig.scheduler.load().queued_tok, 12);
    drop(cancelled);
    // Half of this one is on the backend already: the rest must not follow.
    drop(running);
    assert_eq!(rig.scheduler.load().queued_tok, 4);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [4]);
    rig.end(Verdict::Answer);
    assert_eq!(kept.await.unwrap().outputs, [Ok(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_part_past_its_deadline_never_reaches_the_backend() {
    let mut rig = Rig::new(4, 100).await;
    let running = rig.submit(&[(1, 4)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let soon = Instant::now() + Duration::from_millis(50);
    let late = rig.submit(&[(2, 4)], Lane::Interactive, Some(soon));
    let patient = rig.submit(&[(3, 4)], Lane::Interactive, None);
    tokio::time::advance(Duration::from_millis(51)).await;
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [3]);
    assert_eq!(late.await, Err(PartError::Expired));
    rig.end(Verdict::Answer);
    assert_eq!(patient.await.unwrap().queued, Duration::from_millis(51));
    assert_eq!(running.await.unwrap().batches[0].duration, Duration::from_millis(51));
}

#[tokio::test(start_paused = true)]
async fn admission_refuses_what_cannot_be_served() {
    let mut rig = Rig::new(10, 100).await;
    assert_eq!(rig.scheduler.admit(101, None).unwrap_err(), Refusal::TooLarge { tokens: 101, limit: 100 });
    let now = Instant::now();
    assert!(matches!(rig.scheduler.admit(1, Some(now)).unwrap_err(), Refusal::TooLate { .. }));

    // One batch of 10 tokens that takes 1 s teaches the cost.
    let first = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    rig.end(Verdict::Answer);
    first.await.unwrap();

    let held = rig.scheduler.admit(90, None).unwrap();
    let load = rig.scheduler.load();
    assert_eq!(load.queued_tok, 90);
    assert!((load.drain_ms - 9_000.0).abs() < 10.0, "{load:?}");
    assert!((load.rate_tok_s - 10.0).abs() < 0.1, "{load:?}");
    let near = Instant::now() + Duration::from_secs(5);
    let Refusal::TooLate { wait, remaining } = rig.scheduler.admit(5, Some(near)).unwrap_err() else { panic!() };
    assert!(wait > Duration::from_secs(8) && remaining == Duration::from_secs(5));
    let far = Instant::now() + Duration::from_secs(50);
    assert_eq!(rig.scheduler.admit(5, Some(far)).unwrap().tokens(), 5);
    let Refusal::QueueFull { queued, limit, retry_after } = rig.scheduler.admit(20, None).unwrap_err() else {
        panic!()
    };
    assert_eq!((queued, limit), (90, 100));
    // Ten tokens too many: one second's work.
    assert!((retry_after.as_secs_f64() - 1.0).abs() < 0.01, "{retry_after:?}");
    drop(held);
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn submit_replaces_the_estimate_with_the_truth() {
    let mut rig = Rig::new(10, 100).await;
    let running = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let admission = rig.scheduler.admit(60, None).unwrap();
    assert_eq!(rig.scheduler.load().queued_tok, 60);
    let ticket = admission.submit(vec![Unit { item: 2, tokens: 7 }], Priority::default());
    assert_eq!(rig.scheduler.load().queued_tok, 7);
    assert_eq!(rig.scheduler.load().running_tok, 10);
    rig.end(Verdict::Answer);
    rig.end(Verdict::Answer);
    running.await.unwrap();
    ticket.await.unwrap();
    let empty = rig.scheduler.admit(9, None).unwrap().submit(Vec::new(), Priority::default());
    assert_eq!(empty.await.unwrap().outputs, []);
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn a_panic_or_a_wrong_count_costs_only_its_batch() {
    for verdict in [Verdict::Panic, Verdict::Short] {
        let mut rig = Rig::new(10, 100).await;
        let broken = rig.submit(&[(1, 10), (2, 10)], Lane::Interactive, None);
        rig.batch().await;
        let other = rig.submit(&[(3, 10)], Lane::Interactive, None);
        rig.end(verdict);
        assert_eq!(broken.await, Err(PartError::BackendGone));
        assert_eq!(rig.batch().await, [3]);
        rig.end(Verdict::Answer);
        assert_eq!(other.await.unwrap().outputs, [Ok(6)]);
        assert_eq!(rig.scheduler.load().queued_tok, 0);
    }
}

#[tokio::test]
async fn draining_finishes_what_was_admitted() {
    let mut rig = Rig::new(10, 100).await;
    let queued = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let admission = rig.scheduler.admit(10, None).unwrap();
    rig.scheduler.drain();
    assert_eq!(rig.scheduler.admit(1, None).unwrap_err(), Refusal::Draining);
    rig.end(Verdict::Answer);
    queued.await.unwrap();
    let late = admission.submit(vec![Unit { item: 2, tokens: 10 }], Priority::default());
    assert_eq!(rig.batch().await, [2]);
    assert!(!rig.scheduler.is_drained());
    rig.end(Verdict::Answer);
    late.await.unwrap();
    rig.scheduler.drained().await;
    assert!(rig.scheduler.is_drained());
    // The backend was dropped before that was said.
    assert!(rig.dropped.try_recv().is_ok());
}

#[tokio::test]
async fn a_dropped_admission_lets_the_drain_end() {
    let rig = Rig::new(10, 100).await;
    let admission = rig.scheduler.admit(10, None).unwrap();
    rig.scheduler.drain();
    let mut drained = Box::pin(rig.scheduler.drained());
    assert_eq!(futures_poll(&mut drained).await, Poll::Pending);
    drop(admission);
    drained.await;
}

#[tokio::test]
async fn the_last_handle_ends_the_thread_after_its_work() {
    let mut rig = Rig::new(10, 100).await;
    let ticket = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let clone = rig.scheduler.clone();
    drop(rig.scheduler);
    assert!(clone.admit(1, None).is_ok());
    drop(clone);
    rig.verdicts.send(Verdict::Answer).unwrap();
    assert_eq!(ticket.await.unwrap().outputs, [Ok(2)]);
    rig.dropped.await.unwrap();
}

#[tokio::test]
async fn a_backend_that_cannot_be_made_says_why() {
    let config = SchedulerConfig::default();
    let failed = Scheduler::<Scripted>::start("x", config.clone(), || Err("no weights".to_owned())).await;
    assert!(matches!(failed.unwrap_err(), StartError::Make(why) if why == "no weights"));
    let panicked = Scheduler::<Scripted>::start("x", config, || -> Result<_, String> { panic!("bad graph") }).await;
    assert!(matches!(panicked.unwrap_err(), StartError::Panicked(why) if why == "bad graph"));
    let none = SchedulerConfig { max_batch_tokens: 0, max_queue_tokens: 1 };
    let refused = Scheduler::<Scripted>::start("x", none, || Err(String::new())).await;
    assert!(matches!(refused.unwrap_err(), StartError::Config(_)));
}

#[tokio::test(start_paused = true)]
async fn an_overdue_batch_shows() {
    let mut rig = Rig::new(10, 100).await;
    for _ in 0..2 {
        let ticket = rig.submit(&[(1, 10)], Lane::Interactive, None);
        rig.batch().await;
        tokio::time::advance(Duration::from_millis(100)).await;
        rig.end(Verdict::Answer);
        ticket.await.unwrap();
    }
    let stuck = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    tokio::time::advance(Duration::from_millis(300)).await;
    let load = rig.scheduler.load();
    assert!((load.overdue - 3.0).abs() < 0.05, "{load:?}");
    assert!((load.drain_ms - 200.0).abs() < 5.0, "{load:?}");
    assert!(load.busy > 0.2 && load.epoch > 0);
    rig.end(Verdict::Answer);
    stuck.await.unwrap();
    assert!(rig.scheduler.load().overdue <= 0.0);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}
