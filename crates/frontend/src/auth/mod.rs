//! Who may call: keys from a file, one name and one key a line.
//!
//! ```text
//! # comment
//! search-team:3b1f…a long random string…
//! search-team:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ```
//! A name may have several keys, so that one can be changed without a gap. The name
//! becomes the caller's tenant, whatever `sortie-tenant` says.
//!
//! Keys are kept as SHA-256 digests from the moment they are read. A key that is
//! shown is digested and compared with every digest in constant time, so the time
//! taken says nothing of the keys there are. Nothing here prints a key.

mod ring;

use std::{path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};

use self::ring::KeyRing;
use crate::{
    config::FrontendConfig,
    errors::ServeError,
    metrics::WireMetrics,
    reload::{FileError, Reloaded},
};

/// The header that carries a key where `authorization` cannot be set.
const API_KEY: &str = "x-api-key";

/// How the key is introduced in `authorization` (RFC 6750 §2.1), in any case.
const BEARER: &str = "bearer ";

/// The keys of one file.
#[derive(Debug)]
pub struct Keys(Reloaded<KeyRing>);

impl Keys {
    /// Reads the file that `setting` names, and reads it anew when it changes.
    ///
    /// # Errors
    /// When it cannot be read or has a line that makes no sense.
    pub async fn start(
        setting: &'static str,
        path: &Path,
        interval: Duration,
        metrics: &WireMetrics,
    ) -> Result<Self, FileError> {
        let make = move |files: &[Vec<u8>]| {
            let text = files.first().map(Vec::as_slice).unwrap_or_default();
            KeyRing::read(text).map_err(|message| FileError::Content { setting, message })
        };
        let files = vec![(setting, path.to_owned())];
        Ok(Self(Reloaded::start("keys", files, interval, metrics.clone(), make).await?))
    }

    /// Those that callers must show, if they must: the file that `api_keys` names, else keys that are in no file.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn of_callers(config: &FrontendConfig, metrics: &WireMetrics) -> Result<Option<Arc<Self>>, FileError> {
        const SETTING: &str = "api_keys";
        match (&config.inline_keys, &config.api_keys) {
            (Some(keys), None) => {
                let failed = |message| FileError::Content { setting: keys.setting(), message };
                Ok(Some(Arc::new(Self(Reloaded::fixed(KeyRing::read(keys.lines()).map_err(failed)?)))))
            }
            (_, path) => Self::of_setting(SETTING, path.as_deref(), config, metrics).await,
        }
    }

    /// [`Self::start`] where `path` names a file, looked at as often as `config` says.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn of_setting(
        setting: &'static str,
        path: Option<&Path>,
        config: &FrontendConfig,
        metrics: &WireMetrics,
    ) -> Result<Option<Arc<Self>>, FileError> {
        let Some(path) = path else { return Ok(None) };
        Ok(Some(Arc::new(Self::start(setting, path, config.reload_interval.0, metrics).await?)))
    }

    /// The name that the caller's key stands for.
    ///
    /// # Errors
    /// [`ServeError::Unauthenticated`] without a key or with one that is not known.
    pub fn check(&self, headers: &HeaderMap) -> Result<Arc<str>, ServeError> {
        let key = shown(headers).ok_or(ServeError::Unauthenticated("no key was sent as authorization: Bearer"))?;
        self.find(key).ok_or(ServeError::Unauthenticated("the key is not known"))
    }

    /// The name that `key` stands for.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Arc<str>> {
        self.0.get().find(key)
    }
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.as_bytes().split_at_checked(BEARER.len())?;
        return scheme.eq_ignore_ascii_case(BEARER.as_bytes()).then(|| key.trim_ascii());
    }
    headers.get(API_KEY).map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_either_header() {
        let headers = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        for value in ["Bearer k1", "bearer k1", "BEARER  k1 "] {
            assert_eq!(shown(&headers("authorization", value)), Some(&b"k1"[..]), "{value:?}");
        }
        assert_eq!(shown(&headers("x-api-key", "k1")), Some(&b"k1"[..]));
        for value in ["Basic azE=", "k1", ""] {
            assert_eq!(shown(&headers("authorization", value)), None, "{value:?}");
        }
        assert_eq!(shown(&HeaderMap::new()), None);
    }
}
