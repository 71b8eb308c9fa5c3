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
    sync::Arc,
    time::Duration,
};

use crate::{
    client::Client,
    error::Error,
    input::{Role, TextOptions, Truncation, TruncationSide},
    job::{self, AnswerStream, chunked::ChunkedRpc},
    metadata::Lane,
    options::{CallOptions, Join, RevisionPolicy},
};

/// Keeps traits to this crate.
pub trait Sealed {}

/// A request that a [`Call`] can carry. Sealed: only this crate implements it.
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

    /// Sets the model, in place of the client's default.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.options.model = Some(name.into());
        self
    }

    /// Sets how long the whole call may take, retries included, counted from its `.await`. Every attempt tells its
    /// server how much of that time is left.
    pub fn deadline(mut self, within: Duration) -> Self {
        self.options.deadline = Some(within);
        self
    }

    /// Sets the lane: whether somebody waits for the answer.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.options.lane = Some(lane);
        self
    }

    /// Sets the tenant whose fair share of a server the call draws on: visible ASCII, at most
    /// [`crate::MAX_VALUE_BYTES`].
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.options.tenant = Some(tenant.into());
        self
    }

    /// Sets the id of the job, in place of a random one: visible ASCII, at most [`crate::MAX_VALUE_BYTES`].
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

impl<R: ChunkedRpc> Call<R> {
    /// Sets how texts become tokens.
    pub fn options(mut self, options: TextOptions) -> Self {
        self.options.text = options;
        self
    }

    /// Sets which text is cut where a sequence is too long.
    pub fn truncation(mut self, truncation: Truncation) -> Self {
        self.options.text.truncation = truncation;
        self
    }

    /// Sets the most tokens of a sequence, special tokens included.
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

    /// Says what the inputs are for: in rerank and similarity, [`Role::Query`] reads the query as one and the rest as
    /// documents.
    pub fn role(mut self, role: Role) -> Self {
        self.options.text.role = Some(role);
        self
    }

    /// Sets where a text that is too long is cut.
    pub fn truncation_side(mut self, side: TruncationSide) -> Self {
        self.options.text.truncation_side = Some(side);
        self
    }

    /// Reads special tokens spelled out in texts as plain text.
    pub fn plain_text(mut self, plain: bool) -> Self {
        self.options.text.plain_text = plain;
        self
    }

    /// Sets what happens when chunks were answered by different revisions of the model.
    pub fn revisions(mut self, policy: RevisionPolicy) -> Self {
        self.options.revisions = policy;
        self
    }

    /// Sets when the call is done: with its last answer ([`Join::All`]), when enough items are answered, or at the
    /// deadline with the answers that are there. Items without an answer are `None`, with a reason in
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

    /// Switches hedging on or off for this call: whether a chunk that is late may be sent to another server as well.
    /// The default is the client's.
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.options.hedging = Some(hedging);
        self
    }

    /// Starts the call and returns its answers as they come: one for each chunk, in the order in which chunks
    /// finish.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// use futures::TryStreamExt as _;
    /// let mut answers = client.embed(["one text", "another"]).stream();
    /// while let Some(partial) = answers.try_next().await? {
    ///     for (index, vector) in partial.indices.iter().zip(&partial.answer.vectors) {
    ///         println!("{index}: {vector:?}");
    ///     }
    /// }
    /// println!("{:?}", answers.report().map(|report| report.hedges));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> AnswerStream<R::Output> {
        let Self { client, rpc, options } = self;
        job::stream(rpc, Arc::clone(client.state()), options)
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
