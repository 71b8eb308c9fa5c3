//! Configuration of a program that listens: flags, environment (`SORTIE_*`) and a TOML
//! file, in that order of precedence, over defaults.
//!
//! [`FrontendConfig`] is what all such programs have. A program's own structure flattens it and
//! implements [`Settings`]; [`read`] then does the rest: the file is read first, then flags and
//! environment are laid over it: clap updates only what was given. `--print-config` prints
//! the result, which is itself a valid file.

pub mod defaults;
mod duration;
mod error;
mod inline_keys;
mod log_format;
mod read;
mod settings;
mod validate;

pub use self::{
    duration::ConfigDuration,
    error::ConfigError,
    inline_keys::InlineKeys,
    log_format::LogFormat,
    read::{Invocation, Settings, command, from_file, read, read_over, unset_blank},
    settings::FrontendConfig,
};

#[cfg(test)]
mod tests;
