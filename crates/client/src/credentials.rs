//! The bearer token: fixed, read from a file that is rotated, or asked for.
//!
//! Invariant: a token is never printed.

use std::{fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::{
    error::{Error, ErrorKind},
    metadata::{self, AsciiValue},
};

/// How long a token read from a file is used before the file is read again. Kubernetes rotates a
/// projected token at 80% of its life, minutes before it ends at the least.
pub const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(10);

/// An error of a provider.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type TokenFuture = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;
type TokenProvider = Arc<dyn Fn() -> TokenFuture + Send + Sync>;

/// Where the bearer token comes from.
#[derive(Clone)]
pub(crate) enum Credentials {
    None,
    Fixed(AsciiValue),
    File(Arc<TokenFile>),
    Provider(TokenProvider),
}

/// A file and what it last held.
pub(crate) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(Instant, AsciiValue)>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fixed(_) => f.write_str("Fixed(…)"),
            Self::File(file) => f.debug_tuple("File").field(&file.path).finish(),
            Self::Provider(_) => f.write_str("Provider(…)"),
        }
    }
}

impl Credentials {
    pub(crate) fn file(path: PathBuf) -> Self {
        Self::File(Arc::new(TokenFile { path, read: Mutex::default() }))
    }

    pub(crate) fn provider<F, Fut, E>(provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::Provider(Arc::new(move || {
            let token = provide();
            Box::pin(async move { token.await.map_err(Into::into) })
        }))
    }

    /// The `authorization` of a call that starts now.
    pub(crate) async fn current(&self) -> Result<Option<AsciiValue>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(file) => file.current().await.map(Some),
            Self::Provider(provide) => {
                let token = provide().await;
                let token = token.map_err(|error| {
                    Error::new(ErrorKind::Unauthenticated, "no bearer token was provided").with_source(error)
                })?;
                metadata::bearer(token.trim()).map(Some)
            }
        }
    }
}

impl TokenFile {
    async fn current(&self) -> Result<AsciiValue, Error> {
        let mut read = self.read.lock().await;
        let now = Instant::now();
        if let Some((at, value)) = &*read
            && now.saturating_duration_since(*at) < TOKEN_FILE_PERIOD
        {
            return Ok(value.clone());
        }
        let value = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => metadata::bearer(text.trim())?,
            Err(error) => match &*read {
                // Better an old token than none: the server says whether it still holds.
                Some((_, value)) => {
                    tracing::warn!(path = %self.path.display(), %error, "the token file cannot be read again");
                    value.clone()
                }
                None => {
                    let message = format!("bearer_token_file {}: cannot be read", self.path.display());
                    return Err(Error::new(ErrorKind::Unauthenticated, message).with_source(error));
                }
            },
        };
        *read = Some((now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_after_a_while_and_outlives_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let credentials = Credentials::file(path.clone());
        let now = || async { credentials.current().await.map(|value| value.unwrap().to_str().unwrap().to_owned()) };
        assert_eq!(now().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(now().await.unwrap(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(now().await.unwrap(), "Bearer one");
        tokio::time::advance(TOKEN_FILE_PERIOD).await;
        assert_eq!(now().await.unwrap(), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(TOKEN_FILE_PERIOD).await;
        assert_eq!(now().await.unwrap(), "Bearer two");
    }

    #[tokio::test]
    async fn a_provider_is_asked_for_every_call_and_its_failure_is_told() {
        let credentials = Credentials::provider(|| async { Ok::<_, BoxError>("t0k".to_owned()) });
        assert_eq!(credentials.current().await.unwrap().unwrap().to_str().unwrap(), "Bearer t0k");
        assert!(!format!("{credentials:?}").contains("t0k"));
        let credentials = Credentials::provider(|| async { Err::<String, BoxError>("vault is shut".into()) });
        let error = credentials.current().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "vault is shut");
    }
}
