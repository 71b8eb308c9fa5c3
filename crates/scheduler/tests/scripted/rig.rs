//! A backend whose batches the test sees and ends.

use std::{
    sync::{Arc, mpsc},
    task::Poll,
};

use parking_lot::Mutex;
use sortie_scheduler::{
    Backend, HostSide, Lane, PendingResponse, Priority, QueuedItem, Request, RunError, Scheduler, SchedulerConfig,
};
use tokio::{sync::mpsc as async_mpsc, time::Instant};

/// How a batch ends.
pub(crate) enum Verdict {
    /// Each item is answered with its double; 13 is a fault.
    Answer,
    Panic,
    Short,
    Error(RunError),
}

pub(crate) struct Scripted {
    seen: async_mpsc::UnboundedSender<Vec<u32>>,
    verdicts: Arc<Mutex<mpsc::Receiver<Verdict>>>,
    dropped: async_mpsc::UnboundedSender<()>,
}

/// Answers are made on the host; `None` is an answer too few.
pub(crate) struct ScriptedHost;

impl HostSide for ScriptedHost {
    type Item = u32;
    type Prepared = Vec<u32>;
    type Raw = Vec<u32>;
    type Output = u32;
    type ItemFault = String;

    fn prepare(&self, items: &[&u32]) -> Vec<u32> {
        items.iter().map(|item| **item).collect()
    }

    fn finish(&self, _items: &[&u32], raw: Vec<u32>) -> Vec<Result<u32, String>> {
        raw.iter().map(|item| if *item == 13 { Err("unlucky".to_owned()) } else { Ok(item * 2) }).collect()
    }

    fn item_fault(&self, why: String) -> String {
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

/// What the test sees and says of one device.
pub(crate) struct RigScript {
    pub(crate) batches: async_mpsc::UnboundedReceiver<Vec<u32>>,
    pub(crate) verdicts: mpsc::Sender<Verdict>,
    pub(crate) dropped: async_mpsc::UnboundedReceiver<()>,
}

/// What makes a device's backend, `makes` times.
pub(crate) fn scripted(makes: u32) -> (impl FnMut() -> Result<Scripted, String> + Send + 'static, RigScript) {
    let (seen, batches) = async_mpsc::unbounded_channel();
    let (verdicts, orders) = mpsc::channel();
    let (dropped, was_dropped) = async_mpsc::unbounded_channel();
    let orders = Arc::new(Mutex::new(orders));
    let mut left = makes;
    let make = move || {
        left = left.checked_sub(1).ok_or_else(|| "no more".to_owned())?;
        Ok(Scripted { seen: seen.clone(), verdicts: Arc::clone(&orders), dropped: dropped.clone() })
    };
    (make, RigScript { batches, verdicts, dropped: was_dropped })
}

pub(crate) struct Rig {
    pub(crate) scheduler: Scheduler<Scripted>,
    pub(crate) batches: async_mpsc::UnboundedReceiver<Vec<u32>>,
    pub(crate) verdicts: mpsc::Sender<Verdict>,
    pub(crate) dropped: async_mpsc::UnboundedReceiver<()>,
}

impl Rig {
    pub(crate) async fn new(max_batch_tokens: usize, max_queue_tokens: u64) -> Self {
        Self::rebuilt(max_batch_tokens, max_queue_tokens, u32::MAX).await
    }

    /// A backend that can be made `makes` times.
    pub(crate) async fn rebuilt(max_batch_tokens: usize, max_queue_tokens: u64, makes: u32) -> Self {
        let (make, RigScript { batches, verdicts, dropped }) = scripted(makes);
        let config = config(max_batch_tokens, max_queue_tokens);
        let scheduler = Scheduler::start("test", config, vec![make]).await.unwrap();
        Self { scheduler, batches, verdicts, dropped }
    }

    pub(crate) fn submit(
        &self,
        items: &[(u32, usize)],
        lane: Lane,
        deadline: Option<Instant>,
    ) -> PendingResponse<Scripted> {
        let items: Vec<_> = items.iter().map(|(item, tokens)| QueuedItem { item: *item, tokens: *tokens }).collect();
        let tokens = items.iter().map(|item| item.tokens as u64).sum();
        let request = Request { deadline, priority: Priority { lane, attempt: 1 }, ..Request::of(tokens) };
        self.scheduler.admit(request).unwrap().submit(items)
    }

    /// The batch that now runs.
    pub(crate) async fn batch(&mut self) -> Vec<u32> {
        self.batches.recv().await.unwrap()
    }

    pub(crate) fn end(&self, verdict: Verdict) {
        self.verdicts.send(verdict).unwrap();
    }
}

pub(crate) fn config(max_batch_tokens: usize, max_queue_tokens: u64) -> SchedulerConfig {
    SchedulerConfig { max_batch_tokens, max_queue_tokens, ..SchedulerConfig::default() }
}

pub(crate) fn until(deadline: Instant, tokens: u64) -> Request<Instant> {
    Request { deadline: Some(deadline), ..Request::of(tokens) }
}

/// Polls once.
pub(crate) async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}
