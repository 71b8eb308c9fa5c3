//! From a [`ModelSpec`] to a [`Served`]: fetch, open, start, warm up.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use parking_lot::Mutex;
use sortie_engine::{
    CudaOptions, Device, DeviceSet, Executor, LoadError, LoadOptions, Model, ModelInfo, Pooling, Runtime,
};
use sortie_proto::v1;
use sortie_scheduler::{Scheduler, SchedulerConfig, WorkCurve};

use super::{
    error::StartupError,
    facts::made_for,
    reserved::Reserved,
    served::Served,
    warm_up::{prepare_device, warm_up},
};
use crate::{
    backend::{BatchMeter, EngineBackend},
    config::{ModelSpec, PoolingName, ServerConfig, Source},
    hub::{self, HubOptions},
    metrics::BatchMetrics,
    tokenizing::{TokenizeStats, TokenizerPool},
    vector_memory::VectorMemory,
};

/// What all models of the process share.
#[derive(Debug)]
pub(super) struct LoadContext {
    pub(super) runtime: Runtime,
    pub(super) replica: Arc<str>,
    pub(super) tokenizers: Arc<TokenizerPool>,
    pub(super) vector_memory: Arc<VectorMemory>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) batches: Arc<BatchMetrics>,
    /// Devices of every model, at least one.
    pub(super) devices: Vec<Device>,
    /// As they were asked for.
    pub(super) set: DeviceSet,
}

/// Where a model's files are, fetched where they are not here; and the hub's commit of them.
///
/// # Errors
/// When they cannot be fetched.
pub(crate) async fn locate(spec: &ModelSpec) -> Result<(PathBuf, Option<String>), StartupError> {
    match spec.source() {
        Source::Folder(path) => Ok((path, None)),
        Source::Hub { repo, revision } => {
            let mut hub_options = HubOptions::from_env(|key| std::env::var(key).ok());
            hub_options.export = match &spec.onnx_file {
                Some(file) => hub::Export::Named(file.clone()),
                None if spec.prefer_onnx => hub::Export::Preferred,
                None => hub::Export::IfNeeded,
            };
            let fetched = hub::fetch(&repo, revision.as_deref(), &hub_options)
                .await
                .map_err(|source| StartupError::Fetch { name: spec.name.clone(), source })?;
            Ok((fetched.folder, Some(fetched.commit)))
        }
    }
}

/// What a model's specification says of how its folder is read.
pub(crate) fn folder_options(spec: &ModelSpec) -> LoadOptions {
    LoadOptions {
        max_length: spec.max_length,
        pooling: spec.pooling.map(engine_pooling),
        prefer_onnx: spec.prefer_onnx,
        onnx_file: spec.onnx_file.clone().map(Into::into),
        ..LoadOptions::default()
    }
}

/// Loads one model; nothing of it is served yet.
pub(super) async fn load(
    config: &ServerConfig,
    spec: &ModelSpec,
    shared: &LoadContext,
) -> Result<Served, StartupError> {
    let name = spec.name.clone();
    let (folder, commit) = locate(spec).await?;
    let options = LoadOptions {
        runtime: Some(shared.runtime.clone()),
        threads: (config.threads > 0).then_some(config.threads),
        device: shared.devices.first().copied().unwrap_or_default(),
        precision: config.precision()?,
        cuda: CudaOptions {
            memory_limit: (config.gpu_memory_mib > 0).then_some(config.gpu_memory_mib << 20),
            devices: shared.devices.clone(),
            graphs: config.cuda_graphs,
            gelu: config.gelu()?,
            ..CudaOptions::default()
        },
        ..folder_options(spec)
    };
    let path = folder.clone();
    let model = tokio::task::spawn_blocking(move || Model::open(&path, &options))
        .await
        .map_err(|source| StartupError::Cut { name: name.clone(), source })?
        .map_err(|source| StartupError::Load { name: name.clone(), source })?;
    let model = Arc::new(model);
    // A batch is never more than what may wait for it.
    let most = u32::try_from(config.max_queue_tokens).unwrap_or(u32::MAX);
    let batch_tokens = config.batch_tokens(&shared.set, model.info().layer_parameters).min(most);
    let meter = BatchMeter {
        model: name.as_str().into(),
        session: 1,
        limit: batch_tokens,
        metrics: Arc::clone(&shared.batches),
    };
    let limits = SchedulerConfig {
        max_batch_tokens: usize::try_from(batch_tokens).unwrap_or(usize::MAX),
        max_queue_tokens: config.max_queue_tokens,
        max_queue_wait: config.max_queue_wait.0,
        curve: WorkCurve::new(model.info().doubling_length),
        ..SchedulerConfig::default()
    };
    let warm = config.warm_up;
    let maker = |(number, &device): (usize, &Device)| {
        let session = shared.devices.iter().take(number).filter(|&&other| other == device).count() + 1;
        let (model, meter) = (Arc::clone(&model), BatchMeter { session, ..meter.clone() });
        // Called again where the device was lost.
        move || {
            let mut executor = Executor::on(&model, device)?;
            if warm {
                prepare_device(&meter.model, &model, &mut executor, meter.limit)?;
            }
            Ok::<_, LoadError>(EngineBackend::new(executor, meter.clone()))
        }
    };
    let scheduler = Scheduler::start(&name, limits, shared.devices.iter().enumerate().map(maker).collect())
        .await
        .map_err(|source| StartupError::Start { name: name.clone(), source })?;
    if config.warm_up {
        warm_up(&name, &model, &scheduler, shared.devices.len(), batch_tokens).await?;
    }
    let revision = commit.unwrap_or_else(|| model.info().revision.clone());
    announce(&name, &folder, &revision, model.info());
    Ok(Served {
        name,
        revision,
        model,
        scheduler,
        limits: v1::Limits {
            max_batch_tokens: batch_tokens,
            max_items: config.max_items,
            max_message_bytes: config.frontend.max_message_bytes,
            max_text_bytes: config.max_text_bytes,
            max_queue_tokens: config.max_queue_tokens,
            cuts_jobs: false,
        },
        replica: Arc::clone(&shared.replica),
        tokenizers: Arc::clone(&shared.tokenizers),
        vector_memory: Arc::clone(&shared.vector_memory),
        tokenizing: TokenizeStats::default(),
        ratio: Mutex::default(),
        reserved: Reserved::default(),
        draining: Arc::clone(&shared.draining),
    })
}

fn announce(name: &str, folder: &Path, revision: &str, info: &ModelInfo) {
    tracing::info!(
        name,
        folder = %folder.display(),
        task = made_for(&info.task),
        model_type = info.model_type,
        architecture = info.architecture,
        revision,
        engine = info.engine,
        device = info.device,
        precision = info.precision,
        max_length = info.max_length,
        dimensions = info.dimensions,
        labels = info.task.labels().len(),
        "model loaded"
    );
}

fn engine_pooling(name: PoolingName) -> Pooling {
    match name {
        PoolingName::Cls => Pooling::Cls,
        PoolingName::Mean => Pooling::Mean,
        PoolingName::Max => Pooling::Max,
        PoolingName::Last => Pooling::Last,
        PoolingName::MeanSqrtLen => Pooling::MeanSqrtLen,
        PoolingName::WeightedMean => Pooling::WeightedMean,
    }
}
