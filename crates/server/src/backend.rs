//! The engine as the scheduler sees it.

use sortie_engine::{Executor, ItemFault, Output, WorkItem};
use sortie_scheduler::Backend;

/// One session on its device, owned by the scheduler's thread.
#[derive(Debug)]
pub(crate) struct EngineBackend(pub(crate) Executor);

impl Backend for EngineBackend {
    type Item = WorkItem;
    type Output = Output;
    type Fault = ItemFault;

    fn run(&mut self, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
        self.0.run(items)
    }
}
