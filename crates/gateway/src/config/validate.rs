//! How the settings are read, and what they may be.

use serde::Deserialize;
use sortie_frontend::config::{ConfigError, FrontendConfig, Settings};

use super::{GatewayConfig, defaults};

/// Shared settings over the gateway's own defaults of them.
#[derive(Deserialize)]
struct FleetAddress {
    listen: Option<std::net::SocketAddr>,
}

impl Settings for GatewayConfig {
    const PROGRAM: &'static str = "sortie-gateway";
    const ABOUT: &'static str = "One door to a fleet of Sortie servers: cuts jobs over them and hedges what is late";

    fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        // The shared ones alone first: flattened, an error would not say where it is.
        let shared: FrontendConfig = toml::from_str(text)?;
        let FleetAddress { listen } = toml::from_str(text)?;
        let frontend = FrontendConfig { listen: listen.unwrap_or(defaults::LISTEN), ..shared };
        Ok(Self { frontend, ..toml::from_str(text)? })
    }

    fn validate(&mut self) -> Result<(), ConfigError> {
        self.frontend.validate()?;
        for (field, time) in [("default_deadline", self.default_deadline), ("refresh_interval", self.refresh_interval)]
        {
            if time.some().is_none() {
                return Err(ConfigError::invalid(field, "must be above 0s"));
            }
        }
        if (1..defaults::MIN_CACHE_BYTES).contains(&self.cache_bytes) {
            let message = format!("must be 0, or at least {}", defaults::MIN_CACHE_BYTES);
            return Err(ConfigError::invalid("cache_bytes", message));
        }
        if self.gateways == 0 {
            return Err(ConfigError::invalid("gateways", "must be above 0"));
        }
        if self.endpoint_tls_cert.is_some() != self.endpoint_tls_key.is_some() {
            let message = "goes together with endpoint_tls_key; give both or neither";
            return Err(ConfigError::invalid("endpoint_tls_cert", message));
        }
        Ok(())
    }

    fn check_to_serve(&self) -> Result<(), ConfigError> {
        let named = self.endpoint.iter().any(|endpoint| !endpoint.trim().is_empty());
        if !named && self.endpoint_file.is_none() {
            return Err(ConfigError::invalid("endpoint", "no server is named; say --endpoint http://host:port"));
        }
        Ok(())
    }
}
