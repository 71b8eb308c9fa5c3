//! The engine as the scheduler sees it: a batch is packed and its answers are read
//! beside the device, which does nothing but run. Each batch is counted.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, Instant},
};

use sortie_engine::{Device, Executor, ItemFault, Output, PreparedBatch, RawOutput, RunFault, WorkItem};
use sortie_scheduler::{Backend, HostSide, RunError};

use crate::metrics::BatchMetrics;

/// One session on its device, owned by one of the scheduler's threads.
#[derive(Debug)]
pub(crate) struct EngineBackend {
    executor: Executor,
    meter: BatchMeter,
    /// When the device's memory was last read; none on processors.
    arena_published: Option<Instant>,
}

/// Between two readings of the device's memory. One costs a few microseconds, and a scrape comes every few seconds.
const ARENA_INTERVAL: Duration = Duration::from_millis(100);

/// Counts the batches of one model.
#[derive(Clone, Debug)]
pub(crate) struct BatchMeter {
    /// The model's name.
    pub(crate) model: Arc<str>,
    /// Number of the session among those of its device, from 1.
    pub(crate) session: usize,
    /// Most tokens of a batch.
    pub(crate) limit: u32,
    /// Where they are counted.
    pub(crate) metrics: Arc<BatchMetrics>,
}

impl EngineBackend {
    /// A session whose batches are counted.
    pub(crate) fn new(executor: Executor, meter: BatchMeter) -> Self {
        let arena_published = matches!(executor.device(), Device::Cuda(_)).then(Instant::now);
        let made = Self { executor, meter, arena_published };
        if arena_published.is_some() {
            made.publish_arena();
        }
        made
    }

    /// Publishes what the arena holds of the device's memory.
    fn publish_arena(&self) {
        if let Ok(arena) = self.executor.arena() {
            self.meter.metrics.holds(&self.meter.model, self.executor.device(), self.meter.session, arena);
        }
    }
}

impl Drop for EngineBackend {
    fn drop(&mut self) {
        self.meter.metrics.released(&self.meter.model, self.executor.device(), self.meter.session);
    }
}

/// The engine's host side.
#[derive(Debug)]
pub(crate) struct EngineHost(Arc<sortie_engine::Host>);

impl HostSide for EngineHost {
    type Item = Arc<WorkItem>;
    type Prepared = PreparedBatch;
    type Raw = RawOutput;
    type Output = Output;
    type ItemFault = ItemFault;

    fn prepare(&self, items: &[&Arc<WorkItem>]) -> PreparedBatch {
        self.0.prepare(&plain(items))
    }

    fn finish(&self, items: &[&Arc<WorkItem>], raw: RawOutput) -> Vec<Result<Output, ItemFault>> {
        self.0.finish(&plain(items), raw)
    }

    fn item_fault(&self, why: String) -> ItemFault {
        ItemFault::Run(why)
    }

    fn fingerprint(&self, item: &Arc<WorkItem>) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        item.sequence.ids.hash(&mut hasher);
        item.sequence.type_ids.hash(&mut hasher);
        // The role decides the way through the model.
        item.sequence.role.hash(&mut hasher);
        Some(hasher.finish())
    }
}

fn plain<'a>(items: &[&'a Arc<WorkItem>]) -> Vec<&'a WorkItem> {
    items.iter().map(|&item| Arc::as_ref(item)).collect()
}

impl Backend for EngineBackend {
    type Host = EngineHost;

    fn host(&self) -> Arc<EngineHost> {
        Arc::new(EngineHost(self.executor.host()))
    }

    fn run(&mut self, prepared: PreparedBatch) -> Result<RawOutput, RunError> {
        let tokens = prepared.tokens();
        let begun = Instant::now();
        let given = self.executor.run_batch(prepared).map_err(|fault| match fault {
            RunFault::OutOfMemory(why) => RunError::OutOfMemory(why),
            RunFault::DeviceLost(why) => RunError::DeviceLost(why),
            other => RunError::Failed(other.to_string()),
        });
        let BatchMeter { model, limit, metrics, .. } = &self.meter;
        metrics.ran(model, tokens, *limit, begun.elapsed());
        if let Some(arena_published) = &mut self.arena_published
            && arena_published.elapsed() >= ARENA_INTERVAL
        {
            *arena_published = Instant::now();
            self.publish_arena();
        }
        given
    }
}
