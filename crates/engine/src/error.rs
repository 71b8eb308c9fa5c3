//! What can go wrong, by when: [`LoadError`] before a model serves,
//! [`InputError`] while an input becomes tokens. Faults of single items on the
//! device are [`crate::ItemFault`]s.

use std::path::{Path, PathBuf};

use crate::{cuda::CudaError, device::Device};

/// Why a model folder cannot be served. It always names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No file of the folder can be served.
    #[error("{}: {message}", .path.display())]
    Unsupported {
        /// The folder or file.
        path: PathBuf,
        /// What is not served, and what would be.
        message: String,
    },
    /// The ONNX Runtime library was not found or does not fit.
    #[error("{0}")]
    Runtime(String),
    /// The device asked for cannot be had.
    #[error("{device} cannot be used")]
    Device {
        /// The device.
        device: Device,
        /// What is missing, and what to do.
        source: CudaError,
    },
    /// ONNX Runtime refused the model.
    #[error("{}: ONNX Runtime refused the model", .path.display())]
    Session {
        /// The folder or file.
        path: PathBuf,
        /// What ONNX Runtime said.
        source: ort::Error,
    },
    /// The model is loaded, but not even one sequence gets through.
    #[error("the first run on {device} failed: {why}")]
    FirstRun {
        /// The device.
        device: Device,
        /// What the run failed with.
        why: String,
    },
}

impl LoadError {
    /// A file that is not what it should be.
    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        LoadError::Invalid { path: path.to_owned(), message: message.into() }
    }

    /// Something this version does not serve.
    pub(crate) fn unsupported(path: &Path, message: impl Into<String>) -> Self {
        LoadError::Unsupported { path: path.to_owned(), message: message.into() }
    }

    /// Maps an I/O error on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| LoadError::Io { path: path.to_owned(), source }
    }

    /// Maps an ONNX Runtime error on `path`.
    pub(crate) fn session(path: &Path) -> impl FnOnce(ort::Error) -> Self + '_ {
        move |source| LoadError::Session { path: path.to_owned(), source }
    }
}

/// Why an input cannot become tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The sequence is longer than allowed and must not be cut.
    #[error("{tokens} tokens, but at most {limit} are taken and truncation is off")]
    TooLong {
        /// Tokens it would have.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// A text of more words than are read, which must not be cut.
    #[error("{words} words, but {limit} are read at most: cut the text, or name what to cut (options.truncation)")]
    TooManyWords {
        /// Words it has.
        words: usize,
        /// The limit.
        limit: usize,
    },
    /// The query alone leaves no room for a document.
    #[error("the query takes {tokens} tokens of {limit}, and a query is never cut")]
    QueryTooLong {
        /// Tokens of the query with the template's special tokens.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// `max_length` cannot be met.
    #[error("max_length {asked} is outside {least}..={most}")]
    BadMaxLength {
        /// What was asked.
        asked: usize,
        /// Least that makes sense (the template's specials and one token).
        least: usize,
        /// The model's own limit.
        most: usize,
    },
    /// An id is outside the vocabulary.
    #[error("token id {id} at place {at} is outside the vocabulary of {vocab}")]
    BadId {
        /// The id.
        id: u32,
        /// Its place.
        at: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// Windows that share so much would not move on.
    #[error("a stride of {stride} tokens leaves nothing of windows of {room}")]
    BadStride {
        /// Tokens that neighbours share.
        stride: usize,
        /// Document tokens in a window.
        room: usize,
    },
    /// A document of more windows than are made.
    #[error("the document takes {windows} windows, at most {limit} are made; a smaller stride makes fewer")]
    TooManyWindows {
        /// Windows it takes.
        windows: usize,
        /// The limit.
        limit: usize,
    },
    /// A text whose windows have more tokens than there is room for.
    #[error(
        "its {windows} windows have {tokens} tokens, at most {limit} are taken of it: a shorter query or prompt, a larger \
         max_length or a smaller stride makes fewer"
    )]
    TooLongInWindows {
        /// Windows it takes.
        windows: usize,
        /// Their tokens.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// The model's texts have no windows; why.
    #[error("{0}")]
    NoWindows(&'static str),
    /// An option that the model's texts cannot be read with.
    #[error("{option}: {why}")]
    BadOption {
        /// The option, as the wire calls it.
        option: &'static str,
        /// Why not.
        why: String,
    },
    /// What does not go into the model's chat template.
    #[error("{0}")]
    NoChat(String),
    /// The model has no way for texts of this role.
    #[error("{0}")]
    BadRole(String),
    /// Ids and type ids do not go together.
    #[error("{0}")]
    BadIds(String),
    /// The tokenizer failed.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

impl InputError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            InputError::TooLong { .. } => "TOO_LONG",
            InputError::TooManyWords { .. } => "TOO_MANY_WORDS",
            InputError::QueryTooLong { .. } => "QUERY_TOO_LONG",
            InputError::BadMaxLength { .. } => "BAD_MAX_LENGTH",
            InputError::BadId { .. } => "BAD_TOKEN_ID",
            InputError::BadStride { .. } => "BAD_STRIDE",
            InputError::TooManyWindows { .. } => "TOO_MANY_WINDOWS",
            InputError::TooLongInWindows { .. } => "TOO_LONG_IN_WINDOWS",
            InputError::NoWindows(_) => "NO_WINDOWS",
            InputError::BadOption { .. } => "BAD_OPTION",
            InputError::NoChat(_) => "CHAT_TEMPLATE",
            InputError::BadRole(_) => "BAD_ROLE",
            InputError::BadIds(_) => "BAD_TOKEN_IDS",
            InputError::Tokenizer(_) => "TOKENIZER_FAILED",
        }
    }
}
