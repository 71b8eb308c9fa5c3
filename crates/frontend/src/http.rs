//! The HTTP dialects of other servers' clients ([`sortie_http`]), as the settings say.

use std::sync::Arc;

use sortie_http::HttpOptions;

use crate::{
    config::{ConfigError, FrontendConfig},
    phase::Phase,
};

/// An alias as it is written: `NAME=MODEL`.
fn alias(text: &str) -> Result<(String, String), ConfigError> {
    match text.split_once('=').map(|(name, model)| (name.trim(), model.trim())) {
        Some((name, model)) if !name.is_empty() && !model.is_empty() => Ok((name.to_owned(), model.to_owned())),
        _ => Err(ConfigError::invalid("http_alias", format!("{text:?} is not NAME=MODEL"))),
    }
}

/// Checks the settings of the HTTP port.
pub(crate) fn check(config: &FrontendConfig) -> Result<(), ConfigError> {
    config.http_alias.iter().try_for_each(|text| alias(text).map(drop))
}

/// The dialects' options; health follows `phase`.
pub(crate) fn options(config: &FrontendConfig, phase: Arc<Phase>) -> HttpOptions {
    let mut options = HttpOptions::default();
    // What makes no sense was refused with the settings.
    options.aliases = config.http_alias.iter().filter_map(|text| alias(text).ok()).collect();
    options.default_model.clone_from(&config.http_default_model);
    options.max_body_bytes = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    options.cut_by_default = config.http_truncate;
    options.allow_token_ids = config.http_token_ids;
    options.return_documents = config.http_return_documents;
    options.max_concurrent_requests = config.max_concurrent_requests;
    options.ready = Arc::new(move || phase.ready().is_ok());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_a_name_and_a_model() {
        assert_eq!(alias(" a = b ").unwrap(), ("a".to_owned(), "b".to_owned()));
        for text in ["a", "=b", "a=", ""] {
            assert!(alias(text).unwrap_err().to_string().starts_with("http_alias"), "{text}");
        }
    }
}
