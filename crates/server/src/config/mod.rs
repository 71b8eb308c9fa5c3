//! Configuration: one struct for flags, environment (`SORTIE_*`) and a TOML
//! file, in that order of precedence, over the defaults of [`defaults`].
//!
//! The file is read into a [`ServerConfig`] first, then flags and environment are
//! laid over it: clap updates only what was given. [`ServerConfig::validate`] names the
//! field that is wrong. `--print-config` prints the result, which is itself a
//! valid file.

pub mod defaults;
mod duration;
mod log_format;
mod model_spec;
mod settings;
mod validate;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub use duration::ConfigDuration;
pub use log_format::LogFormat;
pub use model_spec::{ModelSpec, PoolingName, Source};
pub use settings::ServerConfig;

/// The command line: [`ServerConfig`] and what steers it.
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
    settings: ServerConfig,
}

/// What the command line asked for.
#[derive(Debug)]
pub enum Invocation {
    /// Serve with this configuration.
    Serve(Box<ServerConfig>),
    /// Print this and exit: the merged configuration, or clap's help or version.
    Print(String),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerConfigError {
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

impl ServerConfigError {
    /// A value that makes no sense.
    fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        ServerConfigError::Invalid { field: field.into(), message: message.into() }
    }
}

/// Reads flags (`args`, program name first), environment and file.
///
/// # Errors
/// When any of them is wrong; the error names the flag, file or field.
pub fn read<I, T>(args: I) -> Result<Invocation, ServerConfigError>
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
    let settings = file.map_or_else(|| Ok(ServerConfig::default()), |path| ServerConfig::from_file(path))?;
    let mut line = CommandLine { config: None, print_config: false, settings };
    line.update_from_arg_matches(&matches)?;
    let mut config = line.settings;
    config.validate()?;
    if line.print_config {
        return Ok(Invocation::Print(toml::to_string(&config)?));
    }
    if config.models.is_empty() {
        return Err(ServerConfigError::invalid("model", "no model is given; say --model name=path"));
    }
    Ok(Invocation::Serve(Box::new(config)))
}

/// A variable that is set and blank is as good as unset: orchestrators set all that they know of.
pub(crate) fn unset_blank(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let blank =
            |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
        if arg.get_env().is_some_and(blank) { arg.env(None::<&'static str>) } else { arg }
    })
}

/// The command with each default shown in its help.
fn command() -> Result<clap::Command, ServerConfigError> {
    let values = toml::Table::try_from(ServerConfig::default())?;
    Ok(unset_blank(CommandLine::command_for_update()).mut_args(|arg| {
        let Some(value) = values.get(arg.get_id().as_str()).filter(|v| !v.is_array()) else { return arg };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if shown.is_empty() { arg } else { arg.help(format!("{help} [default: {shown}]")) }
    }))
}

impl ServerConfig {
    /// Reads a TOML file; what it leaves out has its default.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML or has an unknown key.
    pub fn from_file(path: &Path) -> Result<Self, ServerConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ServerConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|e| ServerConfigError::Parse { path: path.to_owned(), source: Box::new(e) })
    }
}

#[cfg(test)]
mod tests;
