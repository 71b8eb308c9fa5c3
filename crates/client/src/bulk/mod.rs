//! Bulk work: a stream of inputs of any length, in bounded memory, behind everybody
//! else's.
//!
//! Inputs are read as fast as they are answered, cut into consecutive *slices* of one
//! device batch each, and every server is kept two slices deep: one on its device, one
//! behind it. That is the knee: less leaves devices idle, more only waits, and makes
//! others wait. Slices travel in the bulk lane, uncut and unhedged; an overloaded fleet
//! halves how many are under way, answers raise it again (additive increase,
//! multiplicative decrease).
//!
//! Invariant: what is held is bounded by the window, whatever the length of the input,
//! the order of the answers, or how slowly they are taken.

mod run;
mod slice;
mod window;

use std::{fmt, time::Duration};

use futures::Stream;

pub use run::{BulkRun, Progress, SliceAnswer};

use crate::{
    call::Call,
    client::Client,
    input::Input,
    metadata::Lane,
    rpc::{classify::Classify, embed::Embed, rerank::Rerank, sparse::EmbedSparse, tag::Tag, tokenize::Tokenize},
};

/// Time a slice has. One batch takes seconds at most; it may stand behind interactive work for long.
pub const BULK_DEADLINE: Duration = Duration::from_secs(120);

/// How long no slice at all may succeed before a run ends with an error: a fleet that restarts is
/// back sooner.
pub const BULK_GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Slices under way for each server: one on the device and one behind it.
pub const SLICES_PER_SERVER: usize = 2;

/// Most bytes of text in a slice: a request, its copy for the wire and its answer stay small beside a
/// program's memory, and below the message limit.
pub const MAX_SLICE_BYTES: usize = 4 << 20;

/// What a run is made of, beside its inputs and its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkSettings {
    resume_at: u64,
    ordered: bool,
    deadline: Duration,
    give_up_after: Duration,
    slices: Option<usize>,
    slice_tokens: Option<u64>,
}

/// Bulk work to be done; from [`Client::bulk`].
#[must_use = "bulk work does nothing until it is polled as a stream"]
pub struct Bulk<S> {
    client: Client,
    inputs: S,
    settings: BulkSettings,
}

impl<S> fmt::Debug for Bulk<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// Does the same with every input of a stream, however long, in bounded memory and in the bulk
    /// lane.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// use futures::{TryStreamExt as _, stream};
    /// let texts = stream::iter((0..2_000).map(|i| format!("text {i}")));
    /// let mut run = client.bulk(texts).embed(|call| call.normalize(true));
    /// while let Some(slice) = run.try_next().await? {
    ///     println!("{} vectors from {}", slice.answer.vectors.len(), slice.start);
    ///     // All before this is done: where to go on after a crash.
    ///     println!("resume at {}", run.progress().resume_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn bulk<S>(&self, inputs: S) -> Bulk<S>
    where
        S: Stream + Send + 'static,
        S::Item: Into<Input>,
    {
        let settings = BulkSettings {
            resume_at: 0,
            ordered: true,
            deadline: BULK_DEADLINE,
            give_up_after: BULK_GIVE_UP_AFTER,
            slices: None,
            slice_tokens: None,
        };
        Bulk { client: self.clone(), inputs, settings }
    }
}

impl<S> Bulk<S> {
    /// Reads past so many inputs, which an earlier run has done ([`Progress::resume_at`]).
    pub fn resume_at(mut self, index: u64) -> Self {
        self.settings.resume_at = index;
        self
    }

    /// Gives answers as they come, rather than in input order. Faster where servers differ: nothing
    /// waits for the slowest.
    pub fn unordered(mut self) -> Self {
        self.settings.ordered = false;
        self
    }

    /// Gives each slice so much time ([`BULK_DEADLINE`]).
    pub fn deadline(mut self, within: Duration) -> Self {
        self.settings.deadline = within;
        self
    }

    /// Goes on trying for so long without any success ([`BULK_GIVE_UP_AFTER`]).
    pub fn give_up_after(mut self, give_up_after: Duration) -> Self {
        self.settings.give_up_after = give_up_after;
        self
    }

    /// Has at most so many slices under way, rather than [`SLICES_PER_SERVER`] for each server.
    pub fn slices(mut self, most: usize) -> Self {
        self.settings.slices = Some(most.max(1));
        self
    }

    /// Makes slices of about so many tokens, rather than of one device batch.
    pub fn slice_tokens(mut self, tokens: u64) -> Self {
        self.settings.slice_tokens = Some(tokens.max(1));
        self
    }
}

impl<S> Bulk<S>
where
    S: Stream + Send + 'static,
    S::Item: Into<Input>,
{
    /// Turns inputs into dense vectors; `configure` sets options, as on [`Client::embed`].
    pub fn embed(self, configure: impl Fn(Call<Embed>) -> Call<Embed> + Send + Sync + 'static) -> BulkRun<Embed> {
        self.run(move |client, inputs| configure(client.embed(inputs)))
    }

    /// Turns inputs into sparse vectors, as [`Client::embed_sparse`].
    pub fn embed_sparse(
        self,
        configure: impl Fn(Call<EmbedSparse>) -> Call<EmbedSparse> + Send + Sync + 'static,
    ) -> BulkRun<EmbedSparse> {
        self.run(move |client, inputs| configure(client.embed_sparse(inputs)))
    }

    /// Scores inputs by label, as [`Client::classify`].
    pub fn classify(
        self,
        configure: impl Fn(Call<Classify>) -> Call<Classify> + Send + Sync + 'static,
    ) -> BulkRun<Classify> {
        self.run(move |client, inputs| configure(client.classify(inputs)))
    }

    /// Finds labelled spans, as [`Client::tag`].
    pub fn tag(self, configure: impl Fn(Call<Tag>) -> Call<Tag> + Send + Sync + 'static) -> BulkRun<Tag> {
        self.run(move |client, inputs| configure(client.tag(inputs)))
    }

    /// Makes token ids, as [`Client::tokenize`].
    pub fn tokenize(
        self,
        configure: impl Fn(Call<Tokenize>) -> Call<Tokenize> + Send + Sync + 'static,
    ) -> BulkRun<Tokenize> {
        self.run(move |client, inputs| configure(client.tokenize(inputs)))
    }

    /// Scores inputs against one query, as [`Client::rerank`].
    pub fn rerank(
        self,
        query: impl Into<Input>,
        configure: impl Fn(Call<Rerank>) -> Call<Rerank> + Send + Sync + 'static,
    ) -> BulkRun<Rerank> {
        let query = query.into();
        self.run(move |client, inputs| configure(client.rerank(&query, inputs)))
    }

    fn run<R: crate::job::chunked::ChunkedRpc>(
        self,
        make: impl Fn(&Client, &[Input]) -> Call<R> + Send + Sync + 'static,
    ) -> BulkRun<R> {
        let Self { client, inputs, settings } = self;
        let make = move |client: &Client, inputs: &[Input]| {
            let call = make(client, inputs);
            let deadline = call.options.deadline.unwrap_or(settings.deadline);
            let lane = call.options.lane.unwrap_or(Lane::Bulk);
            call.deadline(deadline).lane(lane)
        };
        BulkRun::new(client, Box::pin(futures::StreamExt::map(inputs, Into::into)), Box::new(make), settings)
    }
}
