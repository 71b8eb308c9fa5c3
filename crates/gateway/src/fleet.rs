//! The client of the fleet, as the settings say.

use std::{fs, path::Path};

use sortie_client::{
    Client, ClientBuilder, DEFAULT_CONNECTIONS_PER_ENDPOINT, DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT,
    DEFAULT_STREAMS_PER_CONNECTION, Discovery, Tls,
};
use sortie_frontend::{FileError, Frontend, Reloaded};
use tokio::sync::watch;

use crate::config::GatewayConfig;

/// What an endpoint begins with whose name stands for all the addresses it has.
const DNS: &str = "dns:///";

/// The fleet's client, and what keeps its list of servers up to date.
#[derive(Debug)]
pub(crate) struct FleetClient {
    pub(crate) client: Client,
    /// Reads the file of addresses for as long as it lives.
    _file: Option<Reloaded<()>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file cannot be read or makes no sense.
    #[error(transparent)]
    File(#[from] FileError),
    /// The settings do not make a client.
    #[error("the fleet: {0}")]
    Client(#[from] sortie_client::Error),
}

impl FleetClient {
    /// A client of the servers that `config` names. Nothing is connected yet; `name` is this gateway's among others.
    ///
    /// # Errors
    /// Names the setting that makes no sense.
    pub(crate) async fn new(config: &GatewayConfig, frontend: &Frontend, name: &str) -> Result<Self, FleetError> {
        let max_message = usize::try_from(config.frontend.max_message_bytes).unwrap_or(usize::MAX);
        // A request that was let in must not fail for want of a stream, though all there are go to one server.
        let requests = usize::try_from(config.frontend.max_concurrent_requests).unwrap_or(usize::MAX);
        let streams = requests.div_ceil(DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT).max(DEFAULT_STREAMS_PER_CONNECTION);
        let mut builder = Client::builder()
            .connections_per_endpoint(DEFAULT_CONNECTIONS_PER_ENDPOINT, DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT)
            .streams_per_connection(streams)
            .default_deadline(config.default_deadline.0)
            .hedging(config.hedging)
            .max_message_bytes(max_message)
            .user_agent(concat!("sortie-gateway/", env!("CARGO_PKG_VERSION")));
        for endpoint in config.endpoint.iter().map(|endpoint| endpoint.trim()).filter(|e| !e.is_empty()) {
            builder = match endpoint.strip_prefix(DNS) {
                Some(name) => builder.discovery(Discovery::dns(name)),
                None => builder.endpoint(endpoint),
            };
        }
        let mut file = None;
        if let Some(path) = &config.endpoint_file {
            let (feed, addresses) = watch::channel(Vec::new());
            let read = move |files: &[Vec<u8>]| {
                feed.send_replace(addresses_of(files.first().map(Vec::as_slice).unwrap_or_default())?);
                Ok(())
            };
            file = Some(frontend.reloaded("endpoints", vec![("endpoint_file", path.clone())], read).await?);
            builder = builder.discovery(Discovery::watch(addresses));
        }
        if let Some(path) = &config.endpoint_token_file {
            // A file that cannot be read is known before anything is sent.
            read("endpoint_token_file", path)?;
            builder = builder.bearer_token_file(path);
        }
        if config.gateways > 1 {
            builder = builder.subset(name, config.gateways);
        }
        let client = secured(builder, config)?.build()?;
        Ok(Self { client, _file: file })
    }
}

/// Addresses, one a line; empty lines and those that begin with `#` are none.
fn addresses_of(text: &[u8]) -> Result<Vec<String>, FileError> {
    let wrong = |_| FileError::Content { setting: "endpoint_file", message: "is not UTF-8".to_owned() };
    let lines = std::str::from_utf8(text).map_err(wrong)?.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn secured(builder: ClientBuilder, config: &GatewayConfig) -> Result<ClientBuilder, FileError> {
    let GatewayConfig { endpoint_tls_ca, endpoint_tls_cert, endpoint_tls_key, endpoint_tls_domain, .. } = config;
    if endpoint_tls_ca.is_none() && endpoint_tls_cert.is_none() && endpoint_tls_domain.is_none() {
        return Ok(builder);
    }
    let mut tls = Tls::new();
    if let Some(path) = endpoint_tls_ca {
        tls = tls.ca(read("endpoint_tls_ca", path)?);
    }
    if let Some(name) = endpoint_tls_domain {
        tls = tls.domain(name);
    }
    if let (Some(certificate), Some(key)) = (endpoint_tls_cert, endpoint_tls_key) {
        tls = tls.identity(read("endpoint_tls_cert", certificate)?, read("endpoint_tls_key", key)?);
    }
    Ok(builder.tls(tls))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { setting, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_addresses_may_have_comments() {
        let text = b"# fleet\n\nhttp://a:1\n  b:2 \n";
        assert_eq!(addresses_of(text).unwrap(), ["http://a:1", "b:2"]);
        assert!(addresses_of(&[0xff]).unwrap_err().to_string().starts_with("endpoint_file"));
    }
}
