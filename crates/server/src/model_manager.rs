//! Models as the process keeps them: what must follow when one comes or goes.
//!
//! Each served model has an entry in health, its metrics and a watcher that says
//! NOT_SERVING when its thread ends unasked. The watcher holds the model's
//! scheduler; it is ended before the model goes, or the model would never end.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sortie_frontend::ServerHealth;
use sortie_proto::v1::ModelState;
use sortie_scheduler::DevicesHealth;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    config::ModelSpec,
    metrics::Metrics,
    models::{ChangeError, ModelChange, Registry, Served},
};

/// How the names of GPUs begin.
const GPU: &str = "cuda";

/// See the module.
#[derive(Debug)]
pub(crate) struct ModelManager {
    registry: Registry,
    health: ServerHealth,
    metrics: Arc<Metrics>,
    watchers: Mutex<HashMap<String, AbortHandle>>,
    /// Cancelled where a GPU is lost for good: only a new process can use it again.
    gpu_lost: CancellationToken,
}

impl ModelManager {
    /// Keeps the models that were loaded at the start.
    pub(crate) async fn new(
        registry: Registry,
        health: ServerHealth,
        metrics: Arc<Metrics>,
        gpu_lost: CancellationToken,
    ) -> Self {
        let manager = Self { registry, health, metrics, watchers: Mutex::default(), gpu_lost };
        for served in manager.registry.all() {
            manager.publish(&served).await;
        }
        manager
    }

    /// The models.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Loads a model of a new name.
    pub(crate) async fn load(&self, spec: &ModelSpec) -> Result<Arc<Served>, ChangeError> {
        self.settle(self.registry.add(spec).await?).await
    }

    /// Puts a model in the place of the one of its name.
    pub(crate) async fn swap(&self, spec: &ModelSpec) -> Result<Arc<Served>, ChangeError> {
        self.settle(self.registry.swap(spec).await?).await
    }

    /// Serves a model no longer.
    pub(crate) async fn unload(&self, name: &str) -> Result<(), ChangeError> {
        let gone = self.registry.remove(name).await?;
        self.retire(name);
        self.health.forget(name).await;
        drop(gone);
        tracing::info!(name, "model unloaded");
        Ok(())
    }

    async fn settle(&self, change: ModelChange) -> Result<Arc<Served>, ChangeError> {
        let ModelChange { new, old } = change;
        self.retire(&new.name);
        self.publish(&new).await;
        if let Some(old) = old {
            tracing::info!(name = new.name, from = old.revision, to = new.revision, "model swapped");
        }
        Ok(new)
    }

    async fn publish(&self, served: &Arc<Served>) {
        self.metrics.expect(&served.name);
        self.health.add_model(&served.name).await;
        let watcher =
            tokio::spawn(watch(Arc::clone(served), self.health.clone(), self.gpu_lost.clone())).abort_handle();
        self.watchers.lock().insert(served.name.clone(), watcher);
    }

    fn retire(&self, name: &str) {
        if let Some(watcher) = self.watchers.lock().remove(name) {
            watcher.abort();
        }
    }
}

impl Drop for ModelManager {
    fn drop(&mut self) {
        for watcher in self.watchers.get_mut().values() {
            watcher.abort();
        }
    }
}

/// Says NOT_SERVING for a model while its lost session is made anew, and once its thread ended
/// though nobody asked for it. Where it ran on a GPU the process must end then: what CUDA lost
/// it gives to no later session of this process.
async fn watch(served: Arc<Served>, health: ServerHealth, gpu_lost: CancellationToken) {
    let mut devices = served.scheduler.health();
    loop {
        tokio::select! {
            biased;
            () = served.scheduler.drained() => break,
            // The sender lives as long as the scheduler.
            _ = devices.changed() => {}
        }
        let now = *devices.borrow_and_update();
        match now {
            DevicesHealth::Rebuilding => {
                tracing::warn!(model = served.name, "the model's device was lost; its session is made anew");
                health.failed(&served.name).await;
            }
            DevicesHealth::Ready => health.add_model(&served.name).await,
            _ => {}
        }
    }
    if served.state() == ModelState::Failed {
        tracing::error!(model = served.name, "the model's thread ended");
        health.failed(&served.name).await;
        if served.info().device.starts_with(GPU) {
            gpu_lost.cancel();
        }
    }
}
