//! The models of this process, by name. All are loaded before anything is
//! served; the first that fails ends the start with its name and file.

mod facts;
mod load;
mod served;
mod warm_up;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sortie_engine::{LoadError, ORT_VERSION, Runtime};
use sortie_scheduler::StartError;
use tokio::sync::Semaphore;

use self::load::{Shared, load};
pub(crate) use self::served::Served;
use crate::{config::Config, errors::ServeError, hub::HubError};

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
        tracing::info!(
            library = %runtime.library().display(),
            version = ORT_VERSION,
            build = runtime.build_info(),
            "onnx runtime"
        );
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
            let served = load(config, spec, &shared).await?;
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
