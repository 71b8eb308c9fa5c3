//! From a command line, the environment and a file to a program's settings.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _, FromArgMatches, Parser};
use serde::Serialize;

use super::ConfigError;

/// Flags that steer the reading and are no settings.
const STEERING: [&str; 4] = ["config", "print_config", "help", "version"];

/// All settings of one program: the shared ones, flattened, and its own.
pub trait Settings: Args + Serialize + Default {
    /// Name of the program.
    const PROGRAM: &'static str;
    /// What it is, in a few words.
    const ABOUT: &'static str;

    /// Settings of a TOML text; what it leaves out has its default. Keys that are no settings are not looked at.
    ///
    /// # Errors
    /// Where a value has the wrong form.
    fn from_toml(text: &str) -> Result<Self, toml::de::Error>;

    /// Checks every field, and completes those that follow from others.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    fn validate(&mut self) -> Result<(), ConfigError>;

    /// Checks what a program needs to serve and does not need to print its settings.
    ///
    /// # Errors
    /// Names the field that is missing.
    fn check_to_serve(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The file's key of a flag's id, where the two differ.
    fn key(id: &str) -> &str {
        id
    }
}

/// The command line: settings and what steers their reading.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine<S: Args> {
    /// TOML file with any of the settings; flags and environment override it
    #[arg(long, env = "SORTIE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the merged configuration as TOML and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: S,
}

/// What the command line asked for.
#[derive(Debug)]
pub enum Invocation<S> {
    /// Serve with this configuration.
    Serve(Box<S>),
    /// Print this and exit: the merged configuration, or clap's help or version.
    Print(String),
}

/// Reads flags (`args`, program name first), environment and file.
///
/// # Errors
/// When any of them is wrong; the error names the flag, file or field.
pub fn read<S, I, T>(args: I) -> Result<Invocation<S>, ConfigError>
where
    S: Settings,
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    read_over(args, S::default())
}

/// The same over `base` in place of the defaults.
///
/// # Errors
/// As [`read`].
pub fn read_over<S, I, T>(args: I, base: S) -> Result<Invocation<S>, ConfigError>
where
    S: Settings,
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = match command::<S>()?.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) if !e.use_stderr() => return Ok(Invocation::Print(e.to_string())),
        Err(e) => return Err(e.into()),
    };
    let file = matches.get_one::<PathBuf>("config");
    let settings = match file {
        Some(path) => from_file_over(path, base)?,
        None => base,
    };
    let mut line = CommandLine { config: None, print_config: false, settings };
    line.update_from_arg_matches(&matches)?;
    let mut settings = line.settings;
    settings.validate()?;
    if line.print_config {
        return Ok(Invocation::Print(toml::to_string(&settings)?));
    }
    settings.check_to_serve()?;
    Ok(Invocation::Serve(Box::new(settings)))
}

/// Reads a TOML file; what it leaves out has its default.
///
/// # Errors
/// When the file cannot be read, is no TOML or has a key that is no setting.
pub fn from_file<S: Settings>(path: &Path) -> Result<S, ConfigError> {
    from_file_over(path, S::default())
}

/// What a file leaves out is as in `base`.
fn from_file_over<S: Settings>(path: &Path, base: S) -> Result<S, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let failed = |e| ConfigError::Parse { path: path.to_owned(), source: Box::new(e) };
    let table = toml::de::DeTable::parse(&text).map_err(failed)?;
    let command = command::<S>()?;
    let known: Vec<&str> = command
        .get_arguments()
        .map(|arg| arg.get_id().as_str())
        .filter(|id| !STEERING.contains(id))
        .map(S::key)
        .collect();
    for key in table.get_ref().keys() {
        if !known.contains(&key.get_ref().as_ref()) {
            let line = text.as_bytes().iter().take(key.span().start).filter(|byte| **byte == b'\n').count() + 1;
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: key.get_ref().to_string(), line });
        }
    }
    // First by itself, so that an error says where in the file it is.
    S::from_toml(&text).map_err(failed)?;
    let mut merged = toml::Table::try_from(base)?;
    merged.extend(text.parse::<toml::Table>().map_err(failed)?);
    S::from_toml(&toml::to_string(&merged)?).map_err(failed)
}

/// A variable that is set and blank is as good as unset: orchestrators set all that they know of.
#[must_use]
pub fn unset_blank(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let blank =
            |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
        if arg.get_env().is_some_and(blank) { arg.env(None::<&'static str>) } else { arg }
    })
}

/// The program's command with each default shown in its help.
///
/// # Errors
/// When the defaults cannot be written as TOML, which tests rule out.
pub fn command<S: Settings>() -> Result<clap::Command, ConfigError> {
    let values = toml::Table::try_from(S::default())?;
    let command = CommandLine::<S>::command_for_update().name(S::PROGRAM).about(S::ABOUT);
    Ok(unset_blank(command).mut_args(|arg| {
        let Some(value) = values.get(arg.get_id().as_str()).filter(|v| !v.is_array()) else { return arg };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if shown.is_empty() { arg } else { arg.help(format!("{help} [default: {shown}]")) }
    }))
}
