//! Configuration: one struct for flags, environment (`SORTIE_*`) and a TOML
//! file, in that order of precedence, over the defaults of [`defaults`].
//!
//! The file is read into a [`Config`] first, then flags and environment are
//! laid over it: clap updates only what was given. [`Config::validate`] names the
//! field that is wrong. `--print-config` prints the result, which is itself a
//! valid file.

pub mod defaults;
mod model_spec;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

pub use model_spec::{ModelSpec, PoolingName, Source};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that can be set. Field names are the keys of the file, the flags (with dashes) and
/// the environment (`SORTIE_` and upper case).
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "SORTIE_LISTEN", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Write the bound address to this file once requests are taken
    #[arg(long, env = "SORTIE_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr_file: Option<PathBuf>,
    /// Device to run on
    #[arg(long, env = "SORTIE_DEVICE")]
    pub device: String,
    /// Threads ONNX Runtime uses inside one batch, per model; 0 is one a core
    #[arg(long, env = "SORTIE_THREADS", value_name = "N")]
    pub threads: usize,
    /// Threads that tokenize; 0 is one a core
    #[arg(long, env = "SORTIE_TOKENIZE_THREADS", value_name = "N")]
    pub tokenize_threads: usize,
    /// The ONNX Runtime library; without it ORT_DYLIB_PATH and the usual places are tried
    #[arg(long, env = "SORTIE_ORT_LIBRARY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ort_library: Option<PathBuf>,
    /// Tokens in one batch on the device
    #[arg(long, env = "SORTIE_MAX_BATCH_TOKENS", value_name = "N")]
    pub max_batch_tokens: u32,
    /// Tokens that may wait in a model's queue
    #[arg(long, env = "SORTIE_MAX_QUEUE_TOKENS", value_name = "N")]
    pub max_queue_tokens: u64,
    /// Items in one request
    #[arg(long, env = "SORTIE_MAX_ITEMS", value_name = "N")]
    pub max_items: u32,
    /// Bytes of one message, either way
    #[arg(long, env = "SORTIE_MAX_MESSAGE_BYTES", value_name = "N")]
    pub max_message_bytes: u64,
    /// Bytes of one text
    #[arg(long, env = "SORTIE_MAX_TEXT_BYTES", value_name = "N")]
    pub max_text_bytes: u64,
    /// Requests worked on at once
    #[arg(long, env = "SORTIE_MAX_CONCURRENT_REQUESTS", value_name = "N")]
    pub max_concurrent_requests: u32,
    /// Name of this process in answers; empty takes the host name and the port
    #[arg(long, env = "SORTIE_REPLICA", value_name = "NAME")]
    pub replica: String,
    /// How log lines look
    #[arg(long, env = "SORTIE_LOG_FORMAT", value_enum)]
    pub log_format: LogFormat,
    /// Which log lines are written, as in RUST_LOG
    #[arg(long, env = "SORTIE_LOG_FILTER", value_name = "FILTER")]
    pub log_filter: String,
    /// Milliseconds requests in flight may take after a stop signal
    #[arg(long, env = "SORTIE_SHUTDOWN_GRACE_MS", value_name = "MS")]
    pub shutdown_grace_ms: u64,
    /// Milliseconds requests are still taken after a stop signal, with health already saying no
    #[arg(long, env = "SORTIE_DRAIN_DELAY_MS", value_name = "MS")]
    pub drain_delay_ms: u64,
    /// Run a few batches of each model before serving
    #[arg(long, env = "SORTIE_WARM_UP", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub warm_up: bool,
    /// Serve grpc.health.v1
    #[arg(long, env = "SORTIE_HEALTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub health: bool,
    /// Serve gRPC reflection, v1 and v1alpha
    #[arg(long, env = "SORTIE_REFLECTION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reflection: bool,
    /// A model to serve: `[name=]source[,max_length=N][,pooling=cls|mean|max|last][,prefer_onnx=BOOL]`,
    /// where source is a folder or `org/repo[@revision]` on the model hub. Repeat it for more; in the
    /// environment separate them by semicolons
    #[arg(long = "model", env = "SORTIE_MODELS", value_name = "MODEL", value_delimiter = ';')]
    #[serde(rename = "model")]
    pub models: Vec<ModelSpec>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: defaults::LISTEN,
            addr_file: None,
            device: defaults::DEVICE.to_owned(),
            threads: defaults::THREADS,
            tokenize_threads: defaults::TOKENIZE_THREADS,
            ort_library: None,
            max_batch_tokens: defaults::MAX_BATCH_TOKENS,
            max_queue_tokens: defaults::MAX_QUEUE_TOKENS,
            max_items: defaults::MAX_ITEMS,
            max_message_bytes: defaults::MAX_MESSAGE_BYTES,
            max_text_bytes: defaults::MAX_TEXT_BYTES,
            max_concurrent_requests: defaults::MAX_CONCURRENT_REQUESTS,
            replica: String::new(),
            log_format: defaults::LOG_FORMAT,
            log_filter: defaults::LOG_FILTER.to_owned(),
            shutdown_grace_ms: defaults::SHUTDOWN_GRACE_MS,
            drain_delay_ms: defaults::DRAIN_DELAY_MS,
            warm_up: defaults::WARM_UP,
            health: defaults::HEALTH,
            reflection: defaults::REFLECTION,
            models: Vec::new(),
        }
    }
}

/// The command line: [`Config`] and what steers it.
#[derive(Debug, Parser)]
#[command(name = "sortie-server", version, about = "gRPC model server for encoder transformers")]
struct CommandLine {
    /// TOML file with any of the settings; flags and environment override it
    #[arg(long, env = "SORTIE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the merged configuration as TOML and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: Config,
}

/// What the command line asked for.
#[derive(Debug)]
pub enum Invocation {
    /// Serve with this configuration.
    Serve(Box<Config>),
    /// Print this and exit: the merged configuration, or clap's help or version.
    Print(String),
}

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
    fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError::Invalid { field: field.into(), message: message.into() }
    }
}

/// Reads flags (`args`, program name first), environment and file.
///
/// # Errors
/// When any of them is wrong; the error names the flag, file or field.
pub fn read<I, T>(args: I) -> Result<Invocation, ConfigError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = match command()?.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) if !e.use_stderr() => return Ok(Invocation::Print(e.to_string())),
        Err(e) => return Err(e.into()),
    };
    let file = matches.get_one::<PathBuf>("config");
    let settings = file.map_or_else(|| Ok(Config::default()), |path| Config::from_file(path))?;
    let mut line = CommandLine { config: None, print_config: false, settings };
    line.update_from_arg_matches(&matches)?;
    let mut config = line.settings;
    config.validate()?;
    if line.print_config {
        return Ok(Invocation::Print(toml::to_string(&config)?));
    }
    if config.models.is_empty() {
        return Err(ConfigError::invalid("model", "no model is given; say --model name=path"));
    }
    Ok(Invocation::Serve(Box::new(config)))
}

/// The command with each default shown in its help.
fn command() -> Result<clap::Command, ConfigError> {
    let values = toml::Table::try_from(Config::default())?;
    Ok(CommandLine::command_for_update().mut_args(|arg| {
        let Some(value) = values.get(arg.get_id().as_str()).filter(|v| !v.is_array()) else { return arg };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if shown.is_empty() { arg } else { arg.help(format!("{help} [default: {shown}]")) }
    }))
}

impl Config {
    /// Reads a TOML file; what it leaves out has its default.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML or has an unknown key.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|e| ConfigError::Parse { path: path.to_owned(), source: Box::new(e) })
    }

    /// Fills in names of models and checks every field.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&mut self) -> Result<(), ConfigError> {
        if self.device != defaults::DEVICE {
            return Err(ConfigError::invalid(
                "device",
                format!("{:?} is not served, only {:?}", self.device, defaults::DEVICE),
            ));
        }
        let above_zero = [
            ("max_batch_tokens", u64::from(self.max_batch_tokens)),
            ("max_queue_tokens", self.max_queue_tokens),
            ("max_items", u64::from(self.max_items)),
            ("max_message_bytes", self.max_message_bytes),
            ("max_text_bytes", self.max_text_bytes),
            ("max_concurrent_requests", u64::from(self.max_concurrent_requests)),
        ];
        for (field, value) in above_zero {
            if value == 0 {
                return Err(ConfigError::invalid(field, "must be above 0"));
            }
        }
        // gRPC frames carry their length in 32 bits.
        if self.max_message_bytes > u64::from(u32::MAX) {
            return Err(ConfigError::invalid("max_message_bytes", format!("must be at most {}", u32::MAX)));
        }
        if self.max_text_bytes > self.max_message_bytes {
            return Err(ConfigError::invalid("max_text_bytes", "must be at most max_message_bytes"));
        }
        if self.max_queue_tokens < u64::from(self.max_batch_tokens) {
            return Err(ConfigError::invalid("max_queue_tokens", "must be at least max_batch_tokens"));
        }
        if self.replica.chars().any(char::is_control) {
            return Err(ConfigError::invalid("replica", "must have no control characters"));
        }
        for (i, model) in self.models.iter_mut().enumerate() {
            model.finish().map_err(|message| ConfigError::invalid(format!("model[{i}]"), message))?;
        }
        for (i, model) in self.models.iter().enumerate() {
            if self.models[..i].iter().any(|other| other.name == model.name) {
                return Err(ConfigError::invalid(
                    format!("model[{i}]"),
                    format!("the name {:?} is given twice; say name=path", model.name),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
