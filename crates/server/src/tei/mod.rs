//! `sortie-server tei`: started by the flags and variables of text-embeddings-inference, so that an image of ours can
//! stand where one of its did and nothing else changes (`docs/from-tei.md`).
//!
//! | module | part |
//! |---|---|
//! | `flags` | what TEI reads |
//! | `settings` | which of our settings each of them is |
//!
//! What TEI's flags say comes before our defaults and behind everything that is said in our own words. A flag that
//! would change a number and is not served is refused by name; one that changes none is passed over, and that is said.

mod flags;
mod settings;

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use clap::{CommandFactory as _, FromArgMatches as _};
use sortie_frontend::config::{self, ConfigError, InlineKeys, Invocation};

use self::{flags::TeiFlags, settings::TeiSettings};
use crate::config::ServerConfig;

/// The variable of TEI that is no flag: how much is logged.
const LOG_LEVEL: &str = "LOG_LEVEL";

/// Tenant of whoever shows the one key.
const TENANT: &str = "tei";

/// What a command line in TEI's words asks for.
#[derive(Debug)]
pub enum TeiInvocation {
    /// Go on as with one in ours.
    Here(Result<Invocation<ServerConfig>, ConfigError>),
    /// Start again with variables that libraries read themselves, and end as that does.
    Again(ExitCode),
}

/// Reads TEI's flags (`args`, without the program and `tei`) and variables.
///
/// # Errors
/// Clap's own, help and version among them.
pub fn read(args: impl Iterator<Item = OsString>) -> Result<TeiInvocation, clap::Error> {
    let line: Vec<OsString> = args.collect();
    let command = config::unset_blank(TeiFlags::command());
    let matches = command.try_get_matches_from([OsString::from("sortie-server tei")].iter().chain(&line))?;
    let mut flags = TeiFlags::from_arg_matches(&matches)?;
    flags.log_level = std::env::var(LOG_LEVEL).ok().filter(|level| !level.trim().is_empty());
    let own = std::mem::take(&mut flags.own);
    let (key, dtype) = (flags.api_key.take(), flags.dtype.clone());
    let named = |error| match error {
        // What the device lacks is found out in our word for it.
        ConfigError::Invalid { field, message } if field == "precision" && dtype.as_deref() == Some("float16") => {
            ConfigError::invalid("DTYPE (--dtype)", message)
        }
        other => other,
    };
    let TeiSettings { settings, variables, passed_over } = match settings::translate(flags) {
        Ok(translated) => translated,
        Err(error) => return Ok(TeiInvocation::Here(Err(error))),
    };
    let missing: Vec<_> = variables.into_iter().filter(|(name, value)| is_missing(name, value)).collect();
    if !missing.is_empty() {
        return Ok(TeiInvocation::Again(again(&line, &missing)));
    }
    for flag in passed_over {
        eprintln!("sortie-server tei: {flag}");
    }
    let program = std::iter::once(OsString::from("sortie-server"));
    let mut invocation = config::read_over(program.chain(own), settings).map_err(named);
    if let (Ok(Invocation::Serve(config)), Some(key)) = (&mut invocation, &key)
        && config.frontend.api_keys.is_none()
    {
        config.frontend.inline_keys = Some(InlineKeys::one("API_KEY (--api-key)", TENANT, key));
    }
    Ok(TeiInvocation::Here(invocation))
}

/// Whether a variable that libraries read has to be set: `HF_TOKEN`, which is TEI's own word too, is what was said last;
/// of the others what is set in the libraries' words stays.
fn is_missing(name: &str, value: &str) -> bool {
    match std::env::var(name) {
        Ok(there) if name == settings::HUB_TOKEN => there != value,
        Ok(there) => there.trim().is_empty(),
        Err(_) => true,
    }
}

/// Becomes this program anew with more variables; returns only where that fails.
#[cfg(unix)]
fn again(line: &[OsString], variables: &[(&'static str, String)]) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("sortie-server tei: cannot find itself: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = Command::new(program);
    command.arg("tei").args(line).envs(variables.iter().map(|(name, value)| (name, value)));
    eprintln!("sortie-server tei: cannot start again: {}", command.exec());
    ExitCode::FAILURE
}
