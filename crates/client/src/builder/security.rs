//! Who calls, and whom it trusts: tokens and certificates.

use std::{future::Future, path::PathBuf};

use super::{ClientBuilder, TokenSource};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::{credentials::Credentials, transport::Tls};

impl ClientBuilder {
    /// Sends `authorization: Bearer …` with every call.
    ///
    /// # Notes
    ///
    /// The token travels in the clear where the address says `http`.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = TokenSource::Text(token.into());
        self
    }

    /// Sends the bearer token that stands in a file, which is read again every
    /// [`crate::TOKEN_FILE_PERIOD`]: Kubernetes rotates the tokens that it mounts.
    ///
    /// ```
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let client = sortie_client::Client::builder()
    ///     .endpoint("https://models.internal:50051")
    ///     .bearer_token_file("/var/run/secrets/tokens/sortie")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bearer_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = TokenSource::Source(Credentials::file(path.into()));
        self
    }

    /// Asks for the bearer token at the start of every call. A failure is the call's, of kind
    /// [`ErrorKind::Unauthenticated`].
    ///
    /// ```
    /// # async fn fetch() -> Result<String, std::io::Error> { Ok("token".to_owned()) }
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let client = sortie_client::Client::builder()
    ///     .endpoint("https://models.internal:50051")
    ///     .bearer_token_from(|| async { fetch().await })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Notes
    ///
    /// It is asked each time: keep a token that still holds.
    pub fn bearer_token_from<F, Fut, E>(mut self, provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.token = TokenSource::Source(Credentials::provider(provide));
        self
    }

    /// Sets certificates up. Addresses with `https` need none of it where the server's certificate
    /// is of a well-known authority.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.transport.tls = Some(tls);
        self
    }
}
