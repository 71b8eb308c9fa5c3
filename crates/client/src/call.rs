//! A call on its way: what [`crate::Client`]'s methods return. It is configured by
//! chained methods and made by `.await`; until then nothing happens.
//!
//! It must be awaited inside a tokio runtime with its time and I/O on.
//!
//! Dropping the future cancels all of the call, at the servers too: no task
//! outlives it.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use crate::{
    client::Client,
    error::Error,
    input::{TextOptions, Truncation},
    job,
    metadata::Lane,
    pieces::{Outbox, Pieces},
    scatter::Scatter,
};

pub use sortie_dispatch::Join;

/// What to do when parts of a job were answered by different revisions of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevisionPolicy {
    /// Answer, and say so in [`crate::Report::mixed_revisions`].
    #[default]
    Flag,
    /// Fail with [`crate::ErrorKind::MixedRevisions`].
    Fail,
}

/// What any call may say.
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

/// Keeps traits to this crate.
pub trait Sealed {}

/// Something a [`Call`] can be of. Sealed: implemented by this crate alone.
pub trait Rpc: Sealed + Send + 'static {
    /// What the call answers.
    type Output;

    #[doc(hidden)]
    fn run(self, client: Client, options: CallOptions) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// A call of kind `R`, made by `.await`.
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<R> {
    pub(crate) client: Client,
    pub(crate) rpc: R,
    pub(crate) options: CallOptions,
}

impl<R> Call<R> {
    pub(crate) fn new(client: &Client, rpc: R) -> Self {
        Self { client: client.clone(), rpc, options: CallOptions::default() }
    }

    /// Asks this model rather than the client's own.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.options.model = Some(name.into());
        self
    }

    /// Gives the whole call, retries included, so much time from its `.await` on. Every attempt
    /// tells its server what is left.
    pub fn deadline(mut self, within: Duration) -> Self {
        self.options.deadline = Some(within);
        self
    }

    /// Says which queue to wait in.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.options.lane = Some(lane);
        self
    }

    /// Says who pays: visible ASCII, at most [`crate::MAX_VALUE_BYTES`].
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.options.tenant = Some(tenant.into());
        self
    }

    /// Names the job, in place of a random id: visible ASCII, at most [`crate::MAX_VALUE_BYTES`].
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.options.job_id = Some(id.into());
        self
    }

    /// Sends a W3C `traceparent`, so that the servers' spans join the caller's trace.
    pub fn traceparent(mut self, context: impl Into<String>) -> Self {
        self.options.traceparent = Some(context.into());
        self
    }
}

impl<R: Scatter> Call<R> {
    /// Says how texts become tokens.
    pub fn options(mut self, options: TextOptions) -> Self {
        self.options.text = options;
        self
    }

    /// Says what gives way where a sequence is too long.
    pub fn truncation(mut self, truncation: Truncation) -> Self {
        self.options.text.truncation = truncation;
        self
    }

    /// Takes at most so many tokens of a sequence, specials included.
    pub fn max_length(mut self, tokens: u32) -> Self {
        self.options.text.max_length = Some(tokens);
        self
    }

    /// Puts a prompt that the model defines before each input (in rerank: the query).
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.options.text.prompt_name = Some(name.into());
        self
    }

    /// Puts this text before each input (in rerank: the query).
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.options.text.prompt = Some(text.into());
        self
    }

    /// Says what to do when parts were answered by different revisions of the model.
    pub fn revisions(mut self, policy: RevisionPolicy) -> Self {
        self.options.revisions = policy;
        self
    }

    /// Says when the call is done: with its last answer ([`Join::All`]), when enough is answered, or
    /// at the deadline with what is there. Items without an answer are `None`, with a reason in
    /// [`crate::Report::errors`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// use std::time::Duration;
    /// use sortie_client::Join;
    /// let join = Join::Coverage { min: 0.9, soft_wait: Duration::from_millis(5) };
    /// let answer = client.rerank("a query", ["a", "b"]).join(join).await?;
    /// println!("{:.0}% scored", 100.0 * answer.report.coverage());
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(mut self, join: Join) -> Self {
        self.options.join = join;
        self
    }

    /// Says whether parts that are late may be sent to another server as well; they are unless the
    /// client or the call says otherwise.
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.options.hedging = Some(hedging);
        self
    }

    /// Makes the call and gives its answers as they come, a piece for each chunk, in the order the
    /// chunks finish.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// use futures::TryStreamExt as _;
    /// let mut pieces = client.embed(["one text", "another"]).stream();
    /// while let Some(piece) = pieces.try_next().await? {
    ///     for (place, vector) in piece.places.iter().zip(&piece.answer.vectors) {
    ///         println!("{place}: {vector:?}");
    ///     }
    /// }
    /// println!("{:?}", pieces.report().map(|report| report.hedges));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> Pieces<R::Output> {
        let Self { client, rpc, options } = self;
        let outbox = Outbox::default();
        let job = job::stream(rpc, client, options, Outbox::clone(&outbox));
        Pieces::new(Box::pin(job), outbox)
    }
}

/// A call that was started.
pub type CallFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl<R: Rpc> IntoFuture for Call<R> {
    type Output = Result<R::Output, Error>;
    type IntoFuture = CallFuture<R::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, rpc, options } = self;
        Box::pin(rpc.run(client, options))
    }
}
