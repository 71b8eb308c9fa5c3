//! The models of this process, by name. All are loaded before anything is
//! served; the first that fails ends the start with its name and file.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sortie_engine::{Executor, LoadError, LoadOptions, Model, ModelInfo, Pooling, Runtime, Task};
use sortie_proto::v1;
use sortie_scheduler::{Scheduler, SchedulerConfig, StartError};
use tokio::sync::Semaphore;

use crate::{
    backend::EngineBackend,
    config::{Config, ModelSpec, PoolingName, Source},
    errors::ServeError,
    hub::{self, HubError, HubOptions},
    pipeline::TokenRatio,
};

/// Why the models did not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartupError {
    /// ONNX Runtime cannot be loaded.
    #[error("cannot load ONNX Runtime")]
    Runtime(#[source] LoadError),
    /// A model's files are not fit.
    #[error("cannot load the model {name}")]
    Load {
        /// The model.
        name: String,
        /// Why; it names the file.
        source: LoadError,
    },
    /// A model cannot be fetched.
    #[error("cannot fetch the model {name}")]
    Fetch {
        /// The model.
        name: String,
        /// Why.
        source: HubError,
    },
    /// A model's session does not start.
    #[error("cannot start the model {name}")]
    Start {
        /// The model.
        name: String,
        /// Why.
        source: StartError<LoadError>,
    },
    /// A thread of ours ended early.
    #[error("loading the model {name} was cut short")]
    Cut {
        /// The model.
        name: String,
        /// Why.
        source: tokio::task::JoinError,
    },
}

/// One model as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// The hub's commit, else a digest of the files.
    pub(crate) revision: String,
    pub(crate) model: Arc<Model>,
    pub(crate) scheduler: Scheduler<EngineBackend>,
    pub(crate) limits: v1::Limits,
    pub(crate) replica: Arc<str>,
    /// Places for tokenizing work, shared by all models of the process.
    pub(crate) tokenizers: Arc<Semaphore>,
    /// Threads behind `tokenizers`.
    pub(crate) tokenize_threads: usize,
    /// Tokens a byte of text makes, learned from requests.
    pub(crate) ratio: TokenRatio,
    draining: Arc<AtomicBool>,
}

impl Served {
    /// What is known of it.
    pub(crate) fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// READY; DRAINING once a stop was asked for; FAILED if its thread ended before that.
    pub(crate) fn state(&self) -> v1::ModelState {
        if self.draining.load(Ordering::Relaxed) {
            v1::ModelState::Draining
        } else if self.scheduler.is_drained() {
            v1::ModelState::Failed
        } else {
            v1::ModelState::Ready
        }
    }

    /// Its load now; no lock is taken.
    pub(crate) fn load_report(&self) -> v1::LoadReport {
        let load = self.scheduler.load();
        v1::LoadReport {
            epoch: load.epoch,
            drain_ms: load.drain_ms,
            busy: load.busy,
            queued_tok: load.queued_tok,
            running_tok: load.running_tok,
            a_ms: load.a_ms,
            b_us: load.b_us,
            knee_tok: load.knee_tok,
            rate_tok_s: load.rate_tok_s,
            limits: Some(self.limits),
            state: self.state().into(),
            overdue: load.overdue,
        }
    }

    /// The RPCs it answers, by name.
    pub(crate) fn rpcs(&self) -> Vec<&'static str> {
        rpcs(&self.info().task)
    }

    /// The refusal of an RPC it does not answer.
    pub(crate) fn wrong_task(&self, rpc: &'static str) -> ServeError {
        ServeError::WrongTask {
            model: self.name.clone(),
            rpc,
            why: made_for(&self.info().task),
            rpcs: self.rpcs().into_iter().map(str::to_owned).collect(),
        }
    }

    /// The contract's description.
    pub(crate) fn describe(&self) -> v1::ModelInfo {
        let info = self.info();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        v1::ModelInfo {
            name: self.name.clone(),
            revision: self.revision.clone(),
            model_type: info.model_type.clone(),
            architecture: info.architecture.clone(),
            task: proto_task(&info.task).into(),
            rpcs: self.rpcs().into_iter().map(str::to_owned).collect(),
            labels: info.task.labels().to_vec(),
            multi_label: matches!(info.task, Task::SequenceClassification { multi_label: true, .. }),
            max_length: number(info.max_length),
            dimensions: number(info.dimensions),
            pooling: proto_pooling(&info.task, info.embed.pooling).into(),
            normalize: info.embed.normalize,
            prompts: info
                .prompts
                .iter()
                .map(|(name, text)| v1::Prompt { name: name.clone(), text: text.clone() })
                .collect(),
            vocab_size: number(info.vocab_size),
            engine: info.engine.to_owned(),
            device: info.device.clone(),
            precision: info.precision.to_owned(),
            limits: Some(self.limits),
            state: self.state().into(),
        }
    }
}

/// Every model of the process.
#[derive(Clone, Debug)]
pub struct Registry {
    by_name: Arc<BTreeMap<String, Arc<Served>>>,
    draining: Arc<AtomicBool>,
}

impl Registry {
    /// Loads every model of `config`; `replica` is the name that goes into answers.
    ///
    /// # Errors
    /// The first model that fails, with its name and file.
    pub async fn load(config: &Config, replica: &str) -> Result<Self, StartupError> {
        let runtime = Runtime::find(config.ort_library.as_deref()).map_err(StartupError::Runtime)?;
        tracing::info!(library = %runtime.library().display(), build = runtime.build_info(), "onnx runtime");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.tokenize_threads == 0 { cores } else { config.tokenize_threads };
        let shared = Shared {
            runtime,
            replica: replica.into(),
            tokenizers: Arc::new(Semaphore::new(threads)),
            tokenize_threads: threads,
            draining: Arc::default(),
        };
        let mut by_name = BTreeMap::new();
        for spec in &config.models {
            let served = load_one(config, spec, &shared).await?;
            by_name.insert(spec.name.clone(), Arc::new(served));
        }
        Ok(Self { by_name: Arc::new(by_name), draining: shared.draining })
    }

    /// Names of the models, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The model of that name; the empty name is the only model there is.
    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Served>, ServeError> {
        if let Some(served) = self.by_name.get(name) {
            return Ok(served);
        }
        let mut all = self.by_name.values();
        match (name, all.next(), all.next()) {
            ("", Some(only), None) => Ok(only),
            ("", ..) => Err(ServeError::ModelNotNamed { served: self.names() }),
            _ => Err(ServeError::UnknownModel { name: name.to_owned(), served: self.names() }),
        }
    }

    /// Every model, in name order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values()
    }

    /// Says DRAINING in every report from now on; work is still taken.
    pub(crate) fn announce_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes no more work; what was admitted is finished.
    pub(crate) fn drain(&self) {
        self.announce_drain();
        for served in self.all() {
            served.scheduler.drain();
        }
    }
}

/// What all models of the process share.
struct Shared {
    runtime: Runtime,
    replica: Arc<str>,
    tokenizers: Arc<Semaphore>,
    tokenize_threads: usize,
    draining: Arc<AtomicBool>,
}

async fn load_one(config: &Config, spec: &ModelSpec, shared: &Shared) -> Result<Served, StartupError> {
    let name = spec.name.clone();
    let (folder, commit) = match spec.source() {
        Source::Folder(path) => (path, None),
        Source::Hub { repo, revision } => {
            let mut hub_options = HubOptions::from_env(|key| std::env::var(key).ok());
            hub_options.prefer_onnx = spec.prefer_onnx;
            let fetched = hub::fetch(&repo, revision.as_deref(), &hub_options)
                .await
                .map_err(|source| StartupError::Fetch { name: name.clone(), source })?;
            (fetched.folder, Some(fetched.commit))
        }
    };
    let options = LoadOptions {
        runtime: Some(shared.runtime.clone()),
        threads: (config.threads > 0).then_some(config.threads),
        max_length: spec.max_length,
        pooling: spec.pooling.map(engine_pooling),
        prefer_onnx: spec.prefer_onnx,
    };
    let path = folder.clone();
    let model = tokio::task::spawn_blocking(move || Model::open(&path, &options))
        .await
        .map_err(|source| StartupError::Cut { name: name.clone(), source })?
        .map_err(|source| StartupError::Load { name: name.clone(), source })?;
    let model = Arc::new(model);
    let for_owner = Arc::clone(&model);
    let limits = SchedulerConfig {
        max_batch_tokens: usize::try_from(config.max_batch_tokens).unwrap_or(usize::MAX),
        max_queue_tokens: config.max_queue_tokens,
    };
    let scheduler = Scheduler::start(&name, limits, move || Executor::new(&for_owner).map(EngineBackend))
        .await
        .map_err(|source| StartupError::Start { name: name.clone(), source })?;
    let revision = commit.unwrap_or_else(|| model.info().revision.clone());
    announce(&name, &folder, &revision, model.info());
    Ok(Served {
        name,
        revision,
        model,
        scheduler,
        limits: v1::Limits {
            max_batch_tokens: config.max_batch_tokens,
            max_items: config.max_items,
            max_message_bytes: config.max_message_bytes,
            max_text_bytes: config.max_text_bytes,
            max_queue_tokens: config.max_queue_tokens,
        },
        replica: Arc::clone(&shared.replica),
        tokenizers: Arc::clone(&shared.tokenizers),
        tokenize_threads: shared.tokenize_threads,
        ratio: TokenRatio::default(),
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

/// What a task means to a person.
fn made_for(task: &Task) -> String {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => "a reranker".to_owned(),
        Task::SequenceClassification { labels, .. } => format!("a classifier of {} labels", labels.len()),
        Task::TokenClassification { labels } => format!("a tagger of {} labels", labels.len()),
        Task::Embedding => "an embedding model".to_owned(),
        Task::SparseEmbedding => "a sparse embedding model".to_owned(),
        _ => "a model of another kind".to_owned(),
    }
}

/// The RPCs a task makes sense for; the ones that only look are answered by all.
fn rpcs(task: &Task) -> Vec<&'static str> {
    let mut rpcs = match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => vec!["Rerank", "Classify"],
        Task::SequenceClassification { .. } => vec!["Classify"],
        Task::TokenClassification { .. } => vec!["TagTokens"],
        Task::Embedding => vec!["Embed", "Similarity", "Rerank"],
        Task::SparseEmbedding => vec!["EmbedSparse"],
        _ => Vec::new(),
    };
    rpcs.extend(["Tokenize", "GetModel", "Probe"]);
    rpcs
}

fn proto_task(task: &Task) -> v1::Task {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => v1::Task::Rerank,
        Task::SequenceClassification { .. } => v1::Task::Classify,
        Task::TokenClassification { .. } => v1::Task::Tag,
        Task::Embedding => v1::Task::Embed,
        Task::SparseEmbedding => v1::Task::EmbedSparse,
        _ => v1::Task::Unspecified,
    }
}

fn proto_pooling(task: &Task, pooling: Pooling) -> v1::Pooling {
    match (task, pooling) {
        (Task::Embedding, Pooling::Cls) => v1::Pooling::Cls,
        (Task::Embedding, Pooling::Mean) => v1::Pooling::Mean,
        (Task::Embedding, Pooling::Max) => v1::Pooling::Max,
        (Task::Embedding, Pooling::Last) => v1::Pooling::Last,
        _ => v1::Pooling::Unspecified,
    }
}

fn engine_pooling(name: PoolingName) -> Pooling {
    match name {
        PoolingName::Cls => Pooling::Cls,
        PoolingName::Mean => Pooling::Mean,
        PoolingName::Max => Pooling::Max,
        PoolingName::Last => Pooling::Last,
    }
}
