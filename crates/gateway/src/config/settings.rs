//! The structure of settings. A field is a key of the file, a flag (with dashes) and a variable (`SORTIE_` and upper
//! case); its row is in `docs/gateway.md`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};
use sortie_frontend::config::{ConfigDuration, FrontendConfig};

use super::defaults;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayConfig {
    /// What every process that listens has.
    #[command(flatten)]
    #[serde(flatten)]
    pub frontend: FrontendConfig,
    /// Servers to spread the work over; repeat it or separate with commas. dns:///NAME:PORT takes every address that
    /// NAME has, and follows its changes
    #[arg(long, env = "SORTIE_ENDPOINT", value_name = "URL", value_delimiter = ',')]
    pub endpoint: Vec<String>,
    /// File with an address a line, of more servers; looked at as often as keys are
    #[arg(long, env = "SORTIE_ENDPOINT_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_file: Option<PathBuf>,
    /// File that holds the key to show the servers, read again while the gateway runs
    #[arg(long, env = "SORTIE_ENDPOINT_TOKEN_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_token_file: Option<PathBuf>,
    /// Authorities in PEM to trust with https; the web's own if left out
    #[arg(long, env = "SORTIE_ENDPOINT_TLS_CA", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_tls_ca: Option<PathBuf>,
    /// Certificate in PEM to show the servers (mutual TLS)
    #[arg(long, env = "SORTIE_ENDPOINT_TLS_CERT", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_tls_cert: Option<PathBuf>,
    /// Private key in PEM, of `endpoint_tls_cert`
    #[arg(long, env = "SORTIE_ENDPOINT_TLS_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_tls_key: Option<PathBuf>,
    /// Name to expect in the servers' certificates, if not their host
    #[arg(long, env = "SORTIE_ENDPOINT_TLS_DOMAIN", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_tls_domain: Option<String>,
    /// Time of jobs whose callers set none
    #[arg(long, env = "SORTIE_DEFAULT_DEADLINE", value_name = "TIME")]
    pub default_deadline: ConfigDuration,
    /// Send late chunks to a second server as well, within a budget
    #[arg(long, env = "SORTIE_HEDGING", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub hedging: bool,
    /// How often servers are asked what they serve and how loaded they are
    #[arg(long, env = "SORTIE_REFRESH_INTERVAL", value_name = "TIME")]
    pub refresh_interval: ConfigDuration,
    /// Bytes of answers to keep, for items that come again; 0 keeps none
    #[arg(long, env = "SORTIE_CACHE_BYTES", value_name = "BYTES")]
    pub cache_bytes: u64,
    /// How many gateways share the fleet: of more than a hundred servers each then uses a part
    #[arg(long, env = "SORTIE_GATEWAYS", value_name = "N")]
    pub gateways: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            frontend: FrontendConfig { listen: defaults::LISTEN, ..FrontendConfig::default() },
            endpoint: Vec::new(),
            endpoint_file: None,
            endpoint_token_file: None,
            endpoint_tls_ca: None,
            endpoint_tls_cert: None,
            endpoint_tls_key: None,
            endpoint_tls_domain: None,
            default_deadline: defaults::DEFAULT_DEADLINE,
            hedging: defaults::HEDGING,
            refresh_interval: defaults::REFRESH_INTERVAL,
            cache_bytes: defaults::CACHE_BYTES,
            gateways: defaults::GATEWAYS,
        }
    }
}
