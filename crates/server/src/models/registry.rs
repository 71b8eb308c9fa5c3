//! Every model by name: those of the start, and what came since.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use arc_swap::ArcSwap;
use sortie_engine::{Device, DeviceSet, ORT_VERSION, Runtime};
use sortie_frontend::ServeError;

use super::{
    error::StartupError,
    loading::{LoadContext, load},
    served::Served,
};
use crate::{config::ServerConfig, metrics::BatchMetrics, tokenizing::TokenizerPool, vector_memory::VectorMemory};

/// Every model of the process. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(super) shared: Arc<LoadContext>,
    pub(super) config: Arc<ServerConfig>,
    /// Replaced whole when a model comes or goes: a request sees one set or the other.
    pub(super) by_name: Arc<ArcSwap<ModelMap>>,
    /// One change at a time.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

/// Models by name.
pub(super) type ModelMap = BTreeMap<String, Arc<Served>>;

impl Registry {
    /// Loads every model of `config`; `replica` is the name that goes into answers, `batches` are
    /// counted. The first model that fails is the error, with its name and file.
    pub(crate) async fn load(
        config: &ServerConfig,
        replica: &str,
        batches: &Arc<BatchMetrics>,
    ) -> Result<Self, StartupError> {
        let set = config.devices()?;
        let (runtime, devices) = devices(config, &set)?;
        tracing::info!(
            library = %runtime.library().display(),
            version = runtime.version().as_deref().unwrap_or(ORT_VERSION),
            build = runtime.build_info(),
            "onnx runtime"
        );
        let tokenizers = TokenizerPool::start(config.tokenize_threads).map_err(StartupError::TokenizerThreads)?;
        let shared = LoadContext {
            runtime,
            replica: replica.into(),
            tokenizers: Arc::new(tokenizers),
            vector_memory: Arc::new(VectorMemory::new(config.max_vector_bytes)),
            draining: Arc::default(),
            batches: Arc::clone(batches),
            devices,
            set,
        };
        let mut by_name = ModelMap::new();
        for spec in &config.models {
            let served = load(config, spec, &shared).await?;
            by_name.insert(spec.name.clone(), Arc::new(served));
        }
        Ok(Self {
            shared: Arc::new(shared),
            config: Arc::new(config.clone()),
            by_name: Arc::new(ArcSwap::from_pointee(by_name)),
            changing: Arc::default(),
        })
    }

    /// Names of the models, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.by_name.load().keys().cloned().collect()
    }

    /// The model of that name; the empty name is the only model there is.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Served>, ServeError> {
        let models = self.by_name.load();
        if let Some(served) = models.get(name) {
            return Ok(Arc::clone(served));
        }
        let served = || models.keys().cloned().collect();
        let mut all = models.values();
        match (name, all.next(), all.next()) {
            ("", Some(only), None) => Ok(Arc::clone(only)),
            ("", ..) => Err(ServeError::ModelNotNamed { served: served() }),
            _ => Err(ServeError::UnknownModel { name: name.to_owned(), served: served() }),
        }
    }

    /// Every model, in name order.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.by_name.load().values().map(Arc::clone).collect()
    }

    /// Whether a stop was asked for.
    pub(crate) fn draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Says DRAINING in every report from now on; work is still taken.
    pub(crate) fn announce_drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Takes no more work; what was admitted is finished.
    pub(crate) fn drain(&self) {
        self.announce_drain();
        for served in self.all() {
            served.scheduler.drain();
        }
    }
}

/// The library for the devices asked for, and those devices one by one.
fn devices(config: &ServerConfig, set: &DeviceSet) -> Result<(Runtime, Vec<Device>), StartupError> {
    let first = match set {
        DeviceSet::Listed(all) => all.first().copied().unwrap_or_default(),
        _ => Device::Cuda(0),
    };
    let runtime = Runtime::find_for(config.ort_library.as_deref(), first).map_err(StartupError::Runtime)?;
    let devices = match set {
        DeviceSet::Listed(all) => all.clone(),
        _ => {
            let count = runtime.gpu_count().map_err(|why| StartupError::NoGpu(Some(why)))?;
            (0..count).map(Device::Cuda).collect()
        }
    };
    if devices.is_empty() {
        return Err(StartupError::NoGpu(None));
    }
    for device in &devices {
        if let Device::Cuda(number) = device
            && let Ok(gpu) = runtime.gpu(*number)
        {
            let mib = |bytes: u64| bytes >> 20;
            tracing::info!(%device, name = gpu.name, free_mib = mib(gpu.free), total_mib = mib(gpu.total), "gpu");
        }
    }
    Ok((runtime, devices))
}
