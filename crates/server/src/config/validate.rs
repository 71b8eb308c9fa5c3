//! What settings may be. The first that makes no sense is named.

use sortie_engine::{Device, DeviceError, DeviceSet, Gelu, Precision};

use sortie_frontend::config::ConfigError;

use super::{ServerConfig, defaults};

impl ServerConfig {
    /// Fills in names of models and checks every field.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub(super) fn check(&mut self) -> Result<(), ConfigError> {
        self.frontend.validate()?;
        let devices = self.devices()?;
        self.precision()?;
        self.gelu()?;
        let above_zero = [
            ("max_queue_tokens", self.max_queue_tokens),
            ("max_items", u64::from(self.max_items)),
            ("max_text_bytes", self.max_text_bytes),
            ("max_vector_bytes", self.max_vector_bytes),
        ];
        for (field, value) in above_zero {
            if value == 0 {
                return Err(ConfigError::invalid(field, "must be above 0"));
            }
        }
        if self.max_text_bytes > self.frontend.max_message_bytes {
            return Err(ConfigError::invalid("max_text_bytes", "must be at most max_message_bytes"));
        }
        // A request that fits a message must fit a server that has nothing else to do.
        if self.max_vector_bytes < self.frontend.max_message_bytes.saturating_mul(defaults::VECTOR_GROWTH) {
            return Err(ConfigError::invalid(
                "max_vector_bytes",
                format!("must be at least {} times max_message_bytes", defaults::VECTOR_GROWTH),
            ));
        }
        if self.max_queue_tokens < u64::from(self.batch_tokens(&devices, None)) {
            return Err(ConfigError::invalid("max_queue_tokens", "must be at least max_batch_tokens"));
        }
        if self.max_queue_wait.some().is_none() {
            return Err(ConfigError::invalid("max_queue_wait", "must be above 0s"));
        }
        self.check_admin()?;
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

    /// The devices that models run on.
    pub(crate) fn devices(&self) -> Result<DeviceSet, ConfigError> {
        self.device.parse().map_err(|e: DeviceError| ConfigError::invalid("device", e.to_string()))
    }

    /// How GELU is computed on GPUs.
    pub(crate) fn gelu(&self) -> Result<Gelu, ConfigError> {
        self.gelu.parse().map_err(|e: String| ConfigError::invalid("gelu", e))
    }

    /// Number format of native models.
    pub(crate) fn precision(&self) -> Result<Option<Precision>, ConfigError> {
        if self.precision == super::defaults::PRECISION {
            return Ok(None);
        }
        let invalid = |why: String| ConfigError::invalid("precision", why);
        let precision: Precision = self.precision.parse().map_err(|why| invalid(format!("{why}, and default")))?;
        let listed = match self.devices()? {
            DeviceSet::Listed(all) => all,
            _ => vec![Device::Cuda(0)],
        };
        match listed.into_iter().find_map(|device| precision.refused_on(device)) {
            Some(why) => Err(invalid(format!("{}: {why}", precision.name()))),
            None => Ok(Some(precision)),
        }
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

    /// Settings of the admin port that need one another.
    fn check_admin(&self) -> Result<(), ConfigError> {
        if self.admin_models && self.frontend.admin.is_none() {
            return Err(ConfigError::invalid("admin_models", "needs admin, the port it is about"));
        }
        let open = self.frontend.admin.is_some_and(|address| !address.ip().is_loopback());
        if self.admin_models && open && self.admin_keys.is_none() {
            return Err(ConfigError::invalid(
                "admin_models",
                "needs admin_keys where admin is no loopback address: whoever reaches the port could change models",
            ));
        }
        Ok(())
    }
}
