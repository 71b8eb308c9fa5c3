//! The engine as the scheduler sees it, with each batch counted.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Instant,
};

use sortie_engine::{Executor, ItemFault, Output, WorkItem};
use sortie_scheduler::{Backend, Host, RunError};

use crate::metrics::BatchMetrics;

/// One session on its device, owned by the scheduler's thread.
#[derive(Debug)]
pub(crate) struct EngineBackend {
    executor: Executor,
    meter: Meter,
}

/// Counts the batches of one model.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// The model's name.
    pub(crate) model: Arc<str>,
    /// Most tokens of a batch.
    pub(crate) limit: u32,
    /// Where they are counted.
    pub(crate) metrics: Arc<BatchMetrics>,
}

impl EngineBackend {
    /// A session whose batches are counted.
    pub(crate) fn new(executor: Executor, meter: Meter) -> Self {
        Self { executor, meter }
    }
}

/// The engine's host side. The executor packs and reads on the device's thread.
#[derive(Debug)]
pub(crate) struct EngineHost;

impl Host for EngineHost {
    type Item = Arc<WorkItem>;
    type Prepared = Vec<Arc<WorkItem>>;
    type Raw = Vec<Result<Output, ItemFault>>;
    type Output = Output;
    type Fault = ItemFault;

    fn prepare(&self, items: &[&Arc<WorkItem>]) -> Self::Prepared {
        items.iter().map(|item| Arc::clone(item)).collect()
    }

    fn finish(&self, _items: &[&Arc<WorkItem>], raw: Self::Raw) -> Self::Raw {
        raw
    }

    fn give_up(&self, why: String) -> ItemFault {
        ItemFault::Run(why)
    }

    fn fingerprint(&self, item: &Arc<WorkItem>) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        item.sequence.ids.hash(&mut hasher);
        item.sequence.type_ids.hash(&mut hasher);
        Some(hasher.finish())
    }
}

impl Backend for EngineBackend {
    type Host = EngineHost;

    fn host(&self) -> Arc<EngineHost> {
        Arc::new(EngineHost)
    }

    fn run(&mut self, prepared: Vec<Arc<WorkItem>>) -> Result<Vec<Result<Output, ItemFault>>, RunError> {
        let items: Vec<&WorkItem> = prepared.iter().map(AsRef::as_ref).collect();
        let begun = Instant::now();
        let outputs = self.executor.run(&items);
        let tokens = items.iter().map(|item| item.sequence.len()).sum();
        let Meter { model, limit, metrics } = &self.meter;
        metrics.ran(model, tokens, *limit, begun.elapsed());
        Ok(outputs)
    }
}
