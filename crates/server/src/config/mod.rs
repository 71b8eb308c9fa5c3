//! Configuration: one struct for flags, environment (`SORTIE_*`) and a TOML
//! file, in that order of precedence, over the defaults of [`defaults`] and of [`sortie_frontend`], which reads them.

pub mod defaults;
mod model_spec;
mod settings;
mod validate;

use std::{ffi::OsString, path::Path};

use sortie_frontend::config::{self, ConfigError, Settings};

pub use sortie_frontend::config::Invocation;

pub use model_spec::{ModelSpec, PoolingName, Source};
pub use settings::ServerConfig;

/// Reads flags (`args`, program name first), environment and file.
///
/// # Errors
/// When any of them is wrong; the error names the flag, file or field.
pub fn read<I, T>(args: I) -> Result<Invocation<ServerConfig>, ConfigError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    config::read(args)
}

impl Settings for ServerConfig {
    const PROGRAM: &'static str = "sortie-server";
    const ABOUT: &'static str = "gRPC model server for encoder transformers";

    fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        // The shared ones alone first: flattened, an error would not say where it is.
        Ok(Self { frontend: toml::from_str(text)?, ..toml::from_str(text)? })
    }

    fn validate(&mut self) -> Result<(), ConfigError> {
        self.check()
    }

    fn check_to_serve(&self) -> Result<(), ConfigError> {
        if self.models.is_empty() {
            return Err(ConfigError::invalid("model", "no model is given; say --model name=path"));
        }
        Ok(())
    }

    fn key(id: &str) -> &str {
        if id == "models" { "model" } else { id }
    }
}

impl ServerConfig {
    /// Reads a TOML file; what it leaves out has its default.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML or has an unknown key.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        config::from_file(path)
    }
}

#[cfg(test)]
mod tests;
