//! Where the hub is, where its cache is, and who asks.
//!
//! Invariant: neither `Debug` nor any message shows the token.

use std::{fmt, path::PathBuf, time::Duration};

use hf_hub::HFClient;

use super::{error::HubError, files::Export};

/// How long a connection may take to come about; a hub farther than that is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transfer may stand still before it counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts after the first before a request counts as failed: about a second
/// and a half in all, so that a start without network is told soon.
const RETRIES: usize = 3;

/// Longest `org/repo` that the hub takes.
const MAX_NAME_BYTES: usize = 96;

/// How to reach the hub. What is `None` is left to the hub's own defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct HubOptions {
    /// Base address, `HF_ENDPOINT`.
    pub(crate) endpoint: Option<String>,
    /// Cache folder: `HF_HUB_CACHE`, else `hub` under `HF_HOME`.
    pub(crate) cache: Option<PathBuf>,
    /// Access token, `HF_TOKEN`.
    pub(crate) token: Option<String>,
    /// Serve from the cache only, `HF_HUB_OFFLINE`.
    pub(crate) offline: bool,
    /// Which ONNX export is fetched.
    pub(crate) export: Export,
}

impl HubOptions {
    /// Reads the hub's usual variables through `get`.
    #[must_use]
    pub(crate) fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let offline = get("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        let home = || get("HF_HOME").map(|home| PathBuf::from(home).join("hub"));
        Self {
            endpoint: get("HF_ENDPOINT"),
            cache: get("HF_HUB_CACHE").map(PathBuf::from).or_else(home),
            token: get("HF_TOKEN"),
            offline,
            export: Export::default(),
        }
    }

    /// A client with these options.
    pub(super) fn client(&self, name: &str) -> Result<HFClient, HubError> {
        // Fails only where a provider is installed already, which then serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let refused = |source| HubError::Hub { name: name.to_owned(), source: Box::new(source) };
        let http = reqwest::Client::builder()
            .user_agent(concat!("sortie-server/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STALL_TIMEOUT)
            .build()
            .map_err(|source| refused(source.into()))?;
        let mut builder = HFClient::builder().client(http).retry_max_attempts(RETRIES);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(cache) = &self.cache {
            builder = builder.cache_dir(cache);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder.build().map_err(refused)
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, cache, token, offline, export } = self;
        f.debug_struct("HubOptions")
            .field("endpoint", endpoint)
            .field("cache", cache)
            .field("token", &token.as_ref().map(|_| "set"))
            .field("offline", offline)
            .field("export", export)
            .finish()
    }
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Splits `org/repo`; `None` for what cannot be a name.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    let (owner, repo) = name.split_once('/')?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good =
        |part: &str| !part.is_empty() && part.chars().all(allowed) && !part.starts_with('.') && !part.contains("--");
    (name.len() <= MAX_NAME_BYTES && good(owner) && good(repo) && !repo.contains("..")).then_some((owner, repo))
}

/// A revision becomes a file name in the cache, so it must not leave it.
pub(super) fn check_revision(name: &str, revision: &str) -> Result<(), HubError> {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    if revision.split('/').all(part) && !revision.contains(['\\', '\0']) {
        return Ok(());
    }
    Err(HubError::RevisionNotFound { name: name.to_owned(), revision: revision.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> HubOptions {
        HubOptions::from_env(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_usual_variables_are_read() {
        assert_eq!(env(&[]), HubOptions::default());
        let all = env(&[
            ("HF_ENDPOINT", "http://hub"),
            ("HF_HOME", "/h"),
            ("HF_TOKEN", "hf_secret"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        assert_eq!(all.endpoint.as_deref(), Some("http://hub"));
        assert_eq!(all.cache.as_deref(), Some(Path::new("/h/hub")));
        assert!(all.offline);
        assert!(!format!("{all:?}").contains("hf_secret"));
        let cache = env(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "0"), ("HF_TOKEN", " ")]);
        assert_eq!(cache.cache.as_deref(), Some(Path::new("/c")));
        assert!(!cache.offline && cache.token.is_none());
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!(split("org/repo-1.5_x"), Some(("org", "repo-1.5_x")));
        for bad in ["repo", "a/b/c", "../etc", "org/..", "/x", "x/", "a b/c", "org/a..b", "o--x/y"] {
            assert_eq!(split(bad), None, "{bad}");
        }
        assert!(check_revision("a/b", "refs/pr/1").is_ok());
        for bad in ["../../x", "", "a//b", "..", "a\\b"] {
            assert!(check_revision("a/b", bad).is_err(), "{bad}");
        }
    }
}
