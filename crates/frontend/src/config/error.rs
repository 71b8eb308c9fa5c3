//! Why there is no configuration.

use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A flag or an environment variable is wrong.
    #[error(transparent)]
    Command(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {source}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file has a key that is no setting.
    #[error("{}: line {line}: there is no setting {key:?}", .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its line, from 1.
        line: usize,
    },
    /// A value makes no sense.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as in the file.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The configuration cannot be printed.
    #[error("cannot print the configuration")]
    Print(#[from] toml::ser::Error),
}

impl ConfigError {
    /// A value that makes no sense.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError::Invalid { field: field.into(), message: message.into() }
    }
}
