//! The scheduler over a backend that shows each batch to the test, which says how it ends. No sleeps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the script and its rig are test code")]

use std::{
    sync::{Arc, mpsc},
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;
use sortie_scheduler::{
    Backend, Health, Host, Lane, PartError, Priority, Refusal, Request, RunError, Scheduler, SchedulerConfig,
    StartError, Ticket, Unit,
};
use tokio::{sync::mpsc as async_mpsc, time::Instant};

/// How a batch ends.
enum Verdict {
    /// Each item is answered with its double; 13 is a fault.
    Answer,
    Panic,
    Short,
    Error(RunError),
}

struct Scripted {
    seen: async_mpsc::UnboundedSender<Vec<u32>>,
    verdicts: Arc<Mutex<mpsc::Receiver<Verdict>>>,
    dropped: async_mpsc::UnboundedSender<()>,
}

/// Answers are made on the host; `None` is an answer too few.
struct ScriptedHost;

impl Host for ScriptedHost {
    type Item = u32;
    type Prepared = Vec<u32>;
    type Raw = Vec<u32>;
    type Output = u32;
    type Fault = String;

    fn prepare(&self, items: &[&u32]) -> Vec<u32> {
        items.iter().map(|item| **item).collect()
    }

    fn finish(&self, _items: &[&u32], raw: Vec<u32>) -> Vec<Result<u32, String>> {
        raw.iter().map(|item| if *item == 13 { Err("unlucky".to_owned()) } else { Ok(item * 2) }).collect()
    }

    fn give_up(&self, why: String) -> String {
        format!("given up: {why}")
    }

    fn fingerprint(&self, item: &u32) -> Option<u64> {
        Some(u64::from(*item))
    }
}

impl Backend for Scripted {
    type Host = ScriptedHost;

    fn host(&self) -> Arc<ScriptedHost> {
        Arc::new(ScriptedHost)
    }

    fn run(&mut self, prepared: Vec<u32>) -> Result<Vec<u32>, RunError> {
        self.seen.send(prepared.clone()).unwrap();
        match self.verdicts.lock().recv().unwrap() {
            Verdict::Answer => Ok(prepared),
            Verdict::Short => Ok(prepared[1..].to_vec()),
            Verdict::Panic => panic!("scripted"),
            Verdict::Error(error) => Err(error),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.dropped.send(());
    }
}

struct Rig {
    scheduler: Scheduler<Scripted>,
    batches: async_mpsc::UnboundedReceiver<Vec<u32>>,
    verdicts: mpsc::Sender<Verdict>,
    dropped: async_mpsc::UnboundedReceiver<()>,
}

impl Rig {
    async fn new(max_batch_tokens: usize, max_queue_tokens: u64) -> Self {
        Self::rebuilt(max_batch_tokens, max_queue_tokens, u32::MAX).await
    }

    /// A backend that can be made `makes` times.
    async fn rebuilt(max_batch_tokens: usize, max_queue_tokens: u64, makes: u32) -> Self {
        let (seen, batches) = async_mpsc::unbounded_channel();
        let (verdicts, orders) = mpsc::channel();
        let (dropped, was_dropped) = async_mpsc::unbounded_channel();
        let orders = Arc::new(Mutex::new(orders));
        let mut left = makes;
        let make = move || {
            left = left.checked_sub(1).ok_or_else(|| "no more".to_owned())?;
            Ok::<_, String>(Scripted { seen: seen.clone(), verdicts: Arc::clone(&orders), dropped: dropped.clone() })
        };
        let config = config(max_batch_tokens, max_queue_tokens);
        let scheduler = Scheduler::start("test", config, vec![make]).await.unwrap();
        Self { scheduler, batches, verdicts, dropped: was_dropped }
    }

    fn submit(&self, units: &[(u32, usize)], lane: Lane, deadline: Option<Instant>) -> Ticket<Scripted> {
        let units: Vec<_> = units.iter().map(|(item, tokens)| Unit { item: *item, tokens: *tokens }).collect();
        let tokens = units.iter().map(|unit| unit.tokens as u64).sum();
        let request = Request { deadline, priority: Priority { lane, attempt: 1 }, ..Request::of(tokens) };
        self.scheduler.admit(request).unwrap().submit(units)
    }

    /// The batch that now runs.
    async fn batch(&mut self) -> Vec<u32> {
        self.batches.recv().await.unwrap()
    }

    fn end(&self, verdict: Verdict) {
        self.verdicts.send(verdict).unwrap();
    }
}

fn config(max_batch_tokens: usize, max_queue_tokens: u64) -> SchedulerConfig {
    SchedulerConfig { max_batch_tokens, max_queue_tokens, ..SchedulerConfig::default() }
}

fn until(deadline: Instant, tokens: u64) -> Request<Instant> {
    Request { deadline: Some(deadline), ..Request::of(tokens) }
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
    assert_eq!(rig.scheduler.admit(Request::of(101)).unwrap_err(), Refusal::TooLarge { tokens: 101, limit: 100 });
    let now = Instant::now();
    assert!(matches!(rig.scheduler.admit(until(now, 1)).unwrap_err(), Refusal::TooLate { .. }));

    // Three batches of 10 tokens that take 1 s teach the cost.
    for _ in 0..3 {
        let first = rig.submit(&[(1, 10)], Lane::Interactive, None);
        rig.batch().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        rig.end(Verdict::Answer);
        first.await.unwrap();
    }

    let held = rig.scheduler.admit(Request::of(90)).unwrap();
    let load = rig.scheduler.load();
    assert_eq!(load.queued_tok, 90);
    assert!((load.drain_ms - 9_000.0).abs() < 10.0, "{load:?}");
    assert!((load.rate_tok_s - 10.0).abs() < 0.1, "{load:?}");
    let near = Instant::now() + Duration::from_secs(5);
    let refusal = rig.scheduler.admit(until(near, 5)).unwrap_err();
    let Refusal::TooLate { wait, remaining, retry_after } = refusal else { panic!("{refusal}") };
    assert_eq!(retry_after, wait - remaining);
    assert!(wait > Duration::from_secs(8) && remaining == Duration::from_secs(5));
    let far = Instant::now() + Duration::from_secs(50);
    assert_eq!(rig.scheduler.admit(until(far, 5)).unwrap().request().tokens, 5);
    let refusal = rig.scheduler.admit(Request::of(20)).unwrap_err();
    let Refusal::QueueFull { queued, limit, retry_after } = refusal else { panic!("{refusal}") };
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
    let admission = rig.scheduler.admit(Request::of(60)).unwrap();
    assert_eq!(rig.scheduler.load().queued_tok, 60);
    let ticket = admission.submit(vec![Unit { item: 2, tokens: 7 }]);
    assert_eq!(rig.scheduler.load().queued_tok, 7);
    assert_eq!(rig.scheduler.load().running_tok, 10);
    rig.end(Verdict::Answer);
    rig.end(Verdict::Answer);
    running.await.unwrap();
    ticket.await.unwrap();
    let empty = rig.scheduler.admit(Request::of(9)).unwrap().submit(Vec::new());
    assert_eq!(empty.await.unwrap().outputs, []);
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn a_failed_batch_is_bisected_and_the_poison_alone_fails() {
    let mut rig = Rig::new(40, 100).await;
    let broken = rig.submit(&[(1, 10), (2, 10), (3, 10), (4, 10)], Lane::Interactive, None);
    // 3 is the poison: whatever batch holds it fails.
    for expect in [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4], vec![3], vec![4]] {
        assert_eq!(rig.batch().await, expect);
        let poisoned = expect.contains(&3);
        rig.end(if poisoned { Verdict::Error(RunError::Failed("bad".to_owned())) } else { Verdict::Answer });
    }
    let outputs = broken.await.unwrap().outputs;
    assert_eq!(outputs, [Ok(2), Ok(4), Err("given up: bad".to_owned()), Ok(8)]);
    assert_eq!((rig.scheduler.counts().poisoned, rig.scheduler.counts().batches_failed), (1, 1));
}

#[tokio::test]
async fn a_repeated_poison_is_quarantined() {
    let mut rig = Rig::new(10, 100).await;
    for _ in 0..2 {
        let poison = rig.submit(&[(3, 10)], Lane::Interactive, None);
        assert_eq!(rig.batch().await, [3]);
        rig.end(Verdict::Panic);
        assert!(poison.await.unwrap().outputs[0].is_err());
    }
    let (third, other) = {
        let running = rig.submit(&[(1, 10)], Lane::Interactive, None);
        assert_eq!(rig.batch().await, [1]);
        let pair = (rig.submit(&[(3, 5)], Lane::Interactive, None), rig.submit(&[(4, 5)], Lane::Interactive, None));
        rig.end(Verdict::Answer);
        running.await.unwrap();
        pair
    };
    assert_eq!(rig.batch().await, [4]);
    rig.end(Verdict::Answer);
    assert!(third.await.unwrap().outputs[0].as_ref().unwrap_err().contains("refused"));
    assert_eq!(other.await.unwrap().outputs, [Ok(8)]);
    let counts = rig.scheduler.counts();
    assert_eq!((counts.panics_run, counts.poisoned, counts.quarantined), (2, 2, 1));
}

#[tokio::test]
async fn a_wrong_number_of_answers_fails_its_batch_and_no_other() {
    let mut rig = Rig::new(10, 100).await;
    let broken = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let other = rig.submit(&[(3, 10)], Lane::Interactive, None);
    rig.end(Verdict::Short);
    assert!(broken.await.unwrap().outputs[0].is_err());
    assert_eq!(rig.batch().await, [3]);
    rig.end(Verdict::Answer);
    assert_eq!(other.await.unwrap().outputs, [Ok(6)]);
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn out_of_memory_halves_the_budget_and_runs_the_work_again() {
    let mut rig = Rig::new(40, 1_000).await;
    let ticket = rig.submit(&[(1, 10), (2, 10), (3, 10), (4, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await.len(), 4);
    rig.end(Verdict::Error(RunError::OutOfMemory("arena".to_owned())));
    for expect in [vec![1, 2], vec![3, 4]] {
        assert_eq!(rig.batch().await, expect);
        rig.end(Verdict::Answer);
    }
    assert_eq!(ticket.await.unwrap().outputs, [Ok(2), Ok(4), Ok(6), Ok(8)]);
    assert_eq!(rig.scheduler.load().max_batch_tok, 20);
    let next = rig.submit(&[(5, 10), (6, 10), (7, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [5, 6]);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [7]);
    rig.end(Verdict::Answer);
    next.await.unwrap();
}

#[tokio::test]
async fn a_lost_device_fails_what_ran_and_is_made_anew_once() {
    let mut rig = Rig::rebuilt(10, 100, 2).await;
    let running = rig.submit(&[(1, 10), (2, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let queued = rig.submit(&[(3, 10)], Lane::Interactive, None);
    rig.end(Verdict::Error(RunError::DeviceLost("gone".to_owned())));
    assert_eq!(running.await, Err(PartError::BackendGone));
    rig.dropped.recv().await.unwrap();
    // What waited is served by the new one; the rest of the failed part is not.
    let mut seen = rig.batch().await;
    if seen == [2] {
        // It was prepared before the loss.
        rig.end(Verdict::Answer);
        seen = rig.batch().await;
    }
    assert_eq!(seen, [3]);
    rig.end(Verdict::Answer);
    assert_eq!(queued.await.unwrap().outputs, [Ok(6)]);
    assert_eq!(*rig.scheduler.health().borrow(), Health::Ready);

    // A second loss at once is final.
    let last = rig.submit(&[(4, 10)], Lane::Interactive, None);
    rig.batch().await;
    let stranded = rig.submit(&[(5, 10)], Lane::Interactive, None);
    rig.end(Verdict::Error(RunError::DeviceLost("gone".to_owned())));
    assert_eq!(last.await, Err(PartError::BackendGone));
    assert_eq!(stranded.await, Err(PartError::BackendGone));
    rig.scheduler.health().wait_for(|health| *health == Health::Dead).await.unwrap();
    assert_eq!(rig.scheduler.admit(Request::of(1)).unwrap_err(), Refusal::NoDevice);
    rig.scheduler.drained().await;
    let counts = rig.scheduler.counts();
    assert_eq!((counts.devices_lost, counts.devices_rebuilt), (2, 1));
}

#[tokio::test]
async fn a_part_streams_in_and_is_answered_in_order() {
    let mut rig = Rig::new(100, 1_000).await;
    let busy = rig.submit(&[(9, 1)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [9]);
    let (feed, ticket) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    let unit = |item| vec![Unit { item, tokens: 10 }];
    feed.push(2, unit(3));
    feed.push(0, unit(1));
    feed.push(1, unit(2));
    // Ten of the estimate were too much.
    assert_eq!(rig.scheduler.load().queued_tok, 40);
    feed.close();
    assert_eq!(rig.scheduler.load().queued_tok, 30);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [1, 2, 3]);
    rig.end(Verdict::Answer);
    assert_eq!(ticket.await.unwrap().outputs, [Ok(2), Ok(4), Ok(6)]);
    busy.await.unwrap();

    // A feed that is dropped half-way fails its part and takes its units out.
    let (feed, ticket) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    drop(feed);
    assert_eq!(ticket.await, Err(PartError::Abandoned));
    // So does one with a gap.
    let (feed, ticket) = rig.scheduler.admit(Request::of(10)).unwrap().stream();
    feed.push(1, unit(1));
    feed.close();
    rig.batch().await;
    rig.end(Verdict::Answer);
    assert_eq!(ticket.await, Err(PartError::Abandoned));
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn a_cancelled_feed_says_so() {
    let rig = Rig::new(100, 1_000).await;
    let (feed, ticket) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    assert!(!feed.is_over());
    drop(ticket);
    assert!(feed.is_over());
    assert_eq!(rig.scheduler.load().queued_tok, 0);
    feed.push(0, vec![Unit { item: 1, tokens: 10 }]);
    assert_eq!(rig.scheduler.load().queued_tok, 0);
}

#[tokio::test]
async fn draining_finishes_what_was_admitted() {
    let mut rig = Rig::new(10, 100).await;
    let queued = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let admission = rig.scheduler.admit(Request::of(10)).unwrap();
    rig.scheduler.drain();
    assert_eq!(rig.scheduler.admit(Request::of(1)).unwrap_err(), Refusal::Draining);
    rig.end(Verdict::Answer);
    queued.await.unwrap();
    let late = admission.submit(vec![Unit { item: 2, tokens: 10 }]);
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
    let admission = rig.scheduler.admit(Request::of(10)).unwrap();
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
    assert!(clone.admit(Request::of(1)).is_ok());
    drop(clone);
    rig.verdicts.send(Verdict::Answer).unwrap();
    assert_eq!(ticket.await.unwrap().outputs, [Ok(2)]);
    rig.dropped.recv().await.unwrap();
}

#[tokio::test]
async fn a_backend_that_cannot_be_made_says_why() {
    type Make = Box<dyn FnMut() -> Result<Scripted, String> + Send>;
    let start = |config, make: Make| Scheduler::start("x", config, vec![make]);
    let failed = start(SchedulerConfig::default(), Box::new(|| Err("no weights".to_owned()))).await;
    assert!(matches!(failed.unwrap_err(), StartError::Make(why) if why == "no weights"));
    let panicked = start(SchedulerConfig::default(), Box::new(|| panic!("bad graph"))).await;
    assert!(matches!(panicked.unwrap_err(), StartError::Panicked(why) if why == "bad graph"));
    let refused = start(config(0, 1), Box::new(|| Err(String::new()))).await;
    assert!(matches!(refused.unwrap_err(), StartError::Config(_)));
    let none = Scheduler::start("x", SchedulerConfig::default(), Vec::<Make>::new()).await;
    assert!(matches!(none.unwrap_err(), StartError::Config(_)));
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
