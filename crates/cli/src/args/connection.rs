//! Where the servers are and how they are spoken to.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr, time::Duration};

use sortie_client::Lane;

/// The address a server listens at unless told otherwise.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// Deadline of a job. A reranking takes milliseconds on a GPU and seconds on a
/// few cores; a person waits no longer than this without asking for it.
pub(crate) const DEFAULT_DEADLINE: &str = "10s";

/// Connection flags, taken before or after the command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Servers to spread the work over; repeat it or separate with commas. dns:///NAME:PORT takes every address that
    /// NAME has, and follows its changes
    #[arg(long, short = 'e', value_name = "URL", env = "SORTIE_ENDPOINT", value_delimiter = ',', global = true,
          default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: Vec<String>,
    /// Model to ask; may be left out where the servers have one only
    #[arg(
        long,
        short,
        value_name = "NAME",
        env = "SORTIE_MODEL",
        global = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) model: String,
    /// Time a job may take, for example 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", global = true, default_value = DEFAULT_DEADLINE, value_parser = deadline)]
    pub(crate) deadline: Duration,
    /// Queue to stand in: bulk work gives way to interactive work
    #[arg(long, value_enum, global = true, default_value_t = LaneArg::Interactive)]
    pub(crate) lane: LaneArg,
    /// Bearer token; better given by the environment, where other users cannot read it
    #[arg(long, value_name = "TOKEN", env = "SORTIE_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<Secret>,
    /// File that holds the bearer token, read again while the tool runs; goes before --token
    #[arg(long, value_name = "FILE", env = "SORTIE_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Never send late work to a second server as well
    #[arg(long, global = true)]
    pub(crate) no_hedging: bool,
    /// Who pays for the work, where servers keep accounts
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) tenant: Option<String>,
    /// PEM file of the authorities to trust with https; the web's own if left out
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// PEM file of the certificate to show (mutual TLS)
    #[arg(long, value_name = "FILE", global = true, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(long, value_name = "FILE", global = true, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Name to expect in the server's certificate, if not the endpoint's host
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) tls_domain: Option<String>,
}

/// Which queue work stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LaneArg {
    /// Somebody waits
    Interactive,
    /// Nobody does
    Bulk,
}

impl From<LaneArg> for Lane {
    fn from(arg: LaneArg) -> Self {
        match arg {
            LaneArg::Interactive => Self::Interactive,
            LaneArg::Bulk => Self::Bulk,
        }
    }
}

/// A text that must not be printed.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

fn deadline(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("a deadline of zero leaves no time".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_carry_units_and_are_not_zero() {
        assert_eq!(deadline("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(deadline(DEFAULT_DEADLINE), Ok(Duration::from_secs(10)));
        assert!(deadline("10").is_err());
        assert!(deadline("0s").is_err());
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret: Secret = "hunter2\n".parse().unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.reveal(), "hunter2");
    }
}
