//! Why the models did not load.

use sortie_engine::{CudaError, LoadError};
use sortie_scheduler::StartError;

use sortie_frontend::config::ConfigError;

use crate::hub::HubError;

/// Why the models did not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartupError {
    /// ONNX Runtime cannot be loaded.
    #[error("cannot load ONNX Runtime")]
    Runtime(#[source] LoadError),
    /// The devices cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No GPU can be used, and all were asked for.
    #[error("device: cuda:all cannot be used")]
    NoGpu(#[source] Option<CudaError>),
    /// The system gives no threads to tokenize with.
    #[error("cannot start the tokenizing threads")]
    TokenizerThreads(#[source] rayon::ThreadPoolBuildError),
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
    /// A model's session starts, and nothing gets through it.
    #[error("the model {name} cannot be warmed up: {why}")]
    WarmUp {
        /// The model.
        name: String,
        /// What the runs failed with.
        why: String,
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
