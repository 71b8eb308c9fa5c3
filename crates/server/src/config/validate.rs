//! What settings may be. The first that makes no sense is named.

use sortie_engine::{Device, DeviceError, DeviceSet, Gelu, Precision};

use super::{ServerConfig, ServerConfigError, defaults};

impl ServerConfig {
    /// Fills in names of models and checks every field.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&mut self) -> Result<(), ServerConfigError> {
        let devices = self.devices()?;
        self.precision()?;
        self.gelu()?;
        let above_zero = [
            ("max_queue_tokens", self.max_queue_tokens),
            ("max_items", u64::from(self.max_items)),
            ("max_message_bytes", self.max_message_bytes),
            ("max_text_bytes", self.max_text_bytes),
            ("max_connection_bytes", self.max_connection_bytes),
            ("max_vector_bytes", self.max_vector_bytes),
            ("max_concurrent_requests", u64::from(self.max_concurrent_requests)),
            ("max_connections", u64::from(self.max_connections)),
            ("max_concurrent_streams", u64::from(self.max_concurrent_streams)),
            ("max_header_bytes", u64::from(self.max_header_bytes)),
        ];
        for (field, value) in above_zero {
            if value == 0 {
                return Err(ServerConfigError::invalid(field, "must be above 0"));
            }
        }
        // gRPC frames carry their length in 32 bits.
        if self.max_message_bytes > u64::from(u32::MAX) {
            return Err(ServerConfigError::invalid("max_message_bytes", format!("must be at most {}", u32::MAX)));
        }
        if self.max_text_bytes > self.max_message_bytes {
            return Err(ServerConfigError::invalid("max_text_bytes", "must be at most max_message_bytes"));
        }
        if self.max_connection_bytes < self.max_message_bytes {
            return Err(ServerConfigError::invalid("max_connection_bytes", "must be at least max_message_bytes"));
        }
        // A request that fits a message must fit a server that has nothing else to do.
        if self.max_vector_bytes < self.max_message_bytes.saturating_mul(defaults::VECTOR_GROWTH) {
            return Err(ServerConfigError::invalid(
                "max_vector_bytes",
                format!("must be at least {} times max_message_bytes", defaults::VECTOR_GROWTH),
            ));
        }
        if self.max_queue_tokens < u64::from(self.batch_tokens(&devices, None)) {
            return Err(ServerConfigError::invalid("max_queue_tokens", "must be at least max_batch_tokens"));
        }
        if self.replica.chars().any(char::is_control) {
            return Err(ServerConfigError::invalid("replica", "must have no control characters"));
        }
        for (field, time) in [
            ("reload_interval", self.reload_interval),
            ("max_queue_wait", self.max_queue_wait),
            ("keepalive_timeout", self.keepalive_timeout),
            ("handshake_timeout", self.handshake_timeout),
        ] {
            if time.some().is_none() {
                return Err(ServerConfigError::invalid(field, "must be above 0s"));
            }
        }
        self.check_security()?;
        for (i, model) in self.models.iter_mut().enumerate() {
            model.finish().map_err(|message| ServerConfigError::invalid(format!("model[{i}]"), message))?;
        }
        for (i, model) in self.models.iter().enumerate() {
            if self.models[..i].iter().any(|other| other.name == model.name) {
                return Err(ServerConfigError::invalid(
                    format!("model[{i}]"),
                    format!("the name {:?} is given twice; say name=path", model.name),
                ));
            }
        }
        Ok(())
    }

    /// The devices that models run on.
    pub(crate) fn devices(&self) -> Result<DeviceSet, ServerConfigError> {
        self.device.parse().map_err(|e: DeviceError| ServerConfigError::invalid("device", e.to_string()))
    }

    /// How GELU is computed on GPUs.
    pub(crate) fn gelu(&self) -> Result<Gelu, ServerConfigError> {
        self.gelu.parse().map_err(|e: String| ServerConfigError::invalid("gelu", e))
    }

    /// Number format of native models on GPUs.
    pub(crate) fn precision(&self) -> Result<Precision, ServerConfigError> {
        self.precision.parse().map_err(|e: String| ServerConfigError::invalid("precision", e))
    }

    /// Tokens in one batch: those set, else what suits the devices and a model with so many weights in its layers.
    pub(crate) fn batch_tokens(&self, devices: &DeviceSet, layer_parameters: Option<u64>) -> u32 {
        match (self.max_batch_tokens, devices) {
            (0, DeviceSet::Listed(all)) if all.contains(&Device::Cpu) => defaults::CPU_BATCH_TOKENS,
            (0, _) if layer_parameters.is_some_and(|n| n <= defaults::SMALL_MODEL_PARAMETERS) => {
                defaults::SMALL_MODEL_BATCH_TOKENS
            }
            (0, _) => defaults::GPU_BATCH_TOKENS,
            (set, _) => set,
        }
    }

    /// Settings of TLS and keys that need one another.
    fn check_security(&self) -> Result<(), ServerConfigError> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ServerConfigError::invalid("tls_cert", "goes together with tls_key; give both or neither"));
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return Err(ServerConfigError::invalid("tls_client_ca", "needs tls_cert and tls_key"));
        }
        if self.admin_models && self.admin.is_none() {
            return Err(ServerConfigError::invalid("admin_models", "needs admin, the port it is about"));
        }
        let open = self.admin.is_some_and(|address| !address.ip().is_loopback());
        if self.admin_models && open && self.admin_keys.is_none() {
            return Err(ServerConfigError::invalid(
                "admin_models",
                "needs admin_keys where admin is no loopback address: whoever reaches the port could change models",
            ));
        }
        Ok(())
    }
}
