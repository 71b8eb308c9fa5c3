//! What the shared settings may be. The first that makes no sense is named.

use super::{ConfigError, FrontendConfig};
use crate::http;

impl FrontendConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let above_zero = [
            ("max_message_bytes", self.max_message_bytes),
            ("max_connection_bytes", self.max_connection_bytes),
            ("max_concurrent_requests", u64::from(self.max_concurrent_requests)),
            ("max_connections", u64::from(self.max_connections)),
            ("max_concurrent_streams", u64::from(self.max_concurrent_streams)),
            ("max_header_bytes", u64::from(self.max_header_bytes)),
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
        if self.max_connection_bytes < self.max_message_bytes {
            return Err(ConfigError::invalid("max_connection_bytes", "must be at least max_message_bytes"));
        }
        if self.replica.chars().any(char::is_control) {
            return Err(ConfigError::invalid("replica", "must have no control characters"));
        }
        for (field, time) in [
            ("reload_interval", self.reload_interval),
            ("keepalive_timeout", self.keepalive_timeout),
            ("handshake_timeout", self.handshake_timeout),
        ] {
            if time.some().is_none() {
                return Err(ConfigError::invalid(field, "must be above 0s"));
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::invalid("tls_cert", "goes together with tls_key; give both or neither"));
        }
        http::check(self)?;
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return Err(ConfigError::invalid("tls_client_ca", "needs tls_cert and tls_key"));
        }
        Ok(())
    }
}
