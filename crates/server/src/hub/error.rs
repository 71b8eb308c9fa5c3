//! Why a model could not be fetched, and what to do about it.
//!
//! Invariant: no message carries the token.

use std::path::PathBuf;

use hf_hub::HFError;

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not the name of a repository.
    #[error("{name:?} is neither a folder nor a model-hub name like org/repo")]
    BadName {
        /// What was asked for.
        name: String,
    },
    /// There is no such repository, or it hides from this caller.
    #[error("the model hub has no model {name:?}; check the spelling, or set HF_TOKEN if it is private")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{name} has no revision {revision:?}")]
    RevisionNotFound {
        /// The repository.
        name: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// The caller may not read it.
    #[error("no access to {name}; accept its terms on its page, then set HF_TOKEN to a token that may read it")]
    Forbidden {
        /// The repository.
        name: String,
    },
    /// The hub did not answer and nothing is cached.
    #[error(
        "cannot reach the model hub at {endpoint} and {name} is not cached; check the network or HF_ENDPOINT, or give a folder (there is none at {name})"
    )]
    Unreachable {
        /// The repository.
        name: String,
        /// The hub's address.
        endpoint: String,
        /// The failure underneath.
        #[source]
        source: Box<HFError>,
    },
    /// Offline, and not, or not wholly, cached.
    #[error("offline and {name} at {revision} is not wholly cached under {}; fetch it once without HF_HUB_OFFLINE, or give a folder", cache.display())]
    NotCached {
        /// The repository.
        name: String,
        /// Branch, tag or commit.
        revision: String,
        /// Where was looked.
        cache: PathBuf,
    },
    /// Nothing there that the engine serves.
    #[error("{name} has neither safetensors weights nor an ONNX export (model.onnx, onnx/model.onnx)")]
    NoWeights {
        /// The repository.
        name: String,
    },
    /// An export that was asked for by name is not there.
    #[error("{name} has no file {file}, which onnx_file asks for")]
    NoExport {
        /// The repository.
        name: String,
        /// The file.
        file: String,
    },
    /// Weights of a type that is served only as ONNX, and no export.
    #[error(
        "{name} is of type {model_type:?}, which is served from an ONNX export only (model.onnx, onnx/model.onnx), and it has none"
    )]
    NeedsOnnx {
        /// The repository.
        name: String,
        /// Its `model_type`.
        model_type: String,
    },
    /// A file came with another size than the repository lists; it was removed.
    #[error("{file} of {name} came as {got} bytes instead of {expected}; try again")]
    WrongSize {
        /// The repository.
        name: String,
        /// The file.
        file: String,
        /// Bytes listed.
        expected: u64,
        /// Bytes on disk.
        got: u64,
    },
    /// A file of the repository cannot be read.
    #[error("{file} of {name} is not what it should be")]
    BadFile {
        /// The repository.
        name: String,
        /// The file.
        file: String,
        /// The failure underneath.
        #[source]
        source: serde_json::Error,
    },
    /// A transfer broke off; what came whole is kept.
    #[error("fetching {file} of {name} failed; try again")]
    Transfer {
        /// The repository.
        name: String,
        /// The file.
        file: String,
        /// The failure underneath.
        #[source]
        source: Box<HFError>,
    },
    /// The cache cannot be read or written.
    #[error("the model cache at {} cannot be used", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The failure underneath.
        #[source]
        source: std::io::Error,
    },
    /// Anything else the hub said.
    #[error("the model hub refused {name}")]
    Hub {
        /// The repository.
        name: String,
        /// The failure underneath.
        #[source]
        source: Box<HFError>,
    },
}

/// The code that the hub puts on its errors.
pub(super) fn code(error: &HFError) -> Option<&str> {
    let context = match error {
        HFError::RepoNotFound { context, .. } | HFError::RevisionNotFound { context, .. } => context.as_ref()?,
        HFError::AuthRequired { context } | HFError::Forbidden { context } | HFError::Http { context } => context,
        _ => return None,
    };
    context.error_code.as_deref()
}

/// Whether the hub could not be reached at all, or only a gateway before it.
pub(super) fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}
