//! The options that every call has, and what they come to with a client's defaults.

use std::time::Duration;

pub use sortie_dispatch::Join;
use tokio::time::Instant;

use crate::{
    credentials::Credentials,
    error::Error,
    input::TextOptions,
    metadata::{self, AsciiValue, JobMetadata, Lane},
    trace_context::Propagator,
};

/// Longer than any call should take, and short enough to add to an instant.
const MAX_DEADLINE: Duration = Duration::from_secs(86_400 * 365);

/// What to do when chunks of a job were answered by different revisions of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevisionPolicy {
    /// Answer, and say so in [`crate::Report::mixed_revisions`].
    #[default]
    Flag,
    /// Fail with [`crate::ErrorKind::MixedRevisions`].
    Fail,
}

/// The options that every call has.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    pub(crate) model: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) lane: Option<Lane>,
    pub(crate) tenant: Option<String>,
    pub(crate) job_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) revisions: RevisionPolicy,
    pub(crate) join: Join,
    pub(crate) hedging: Option<bool>,
    pub(crate) text: TextOptions,
}

/// What a call takes where it does not say.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) model: String,
    pub(crate) deadline: Duration,
    pub(crate) lane: Lane,
    pub(crate) hedging: bool,
    pub(crate) tenant: Option<AsciiValue>,
    pub(crate) credentials: Credentials,
    pub(crate) propagator: Option<Propagator>,
}

impl Defaults {
    /// The model that a call asks.
    pub(crate) fn model_of<'a>(&'a self, options: &'a CallOptions) -> &'a str {
        options.model.as_deref().unwrap_or(&self.model)
    }

    /// The time a call may take, and when that is over.
    pub(crate) fn deadline_of(&self, options: &CallOptions) -> (Duration, Instant) {
        let within = options.deadline.unwrap_or(self.deadline).min(MAX_DEADLINE);
        (within, Instant::now() + within)
    }

    /// What every attempt of a call carries.
    pub(crate) async fn metadata_of(&self, options: &CallOptions) -> Result<JobMetadata, Error> {
        let plain = self.plain_metadata_of(options)?;
        Ok(plain.authorized(self.credentials.current().await?))
    }

    /// The same without a token.
    pub(crate) fn plain_metadata_of(&self, options: &CallOptions) -> Result<JobMetadata, Error> {
        let read =
            |field: &str, text: &Option<String>| text.as_deref().map(|text| metadata::value(field, text)).transpose();
        Ok(JobMetadata {
            job_id: read("job_id", &options.job_id)?,
            lane: options.lane.unwrap_or(self.lane),
            tenant: read("tenant", &options.tenant)?.or_else(|| self.tenant.clone()),
            traceparent: read("traceparent", &options.traceparent)?,
            propagator: self.propagator.clone(),
            authorization: None,
        })
    }
}
