//! Rerank: scores of documents against a query.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::{chunked, finite, ranking};
use crate::{
    call::Call,
    client::Client,
    error::Error,
    input::{Activation, Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, SharedInput, expect_len},
    report::Report,
    transport::Stub,
    windows::Windows,
};

/// Scores documents against a query; made by [`Client::rerank`].
#[derive(Clone, Debug)]
pub struct Rerank {
    query: v1::Input,
    documents: Vec<v1::Input>,
    activation: Activation,
    top_n: Option<usize>,
    windows: Option<Windows>,
}

/// How scores came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scoring {
    /// A cross-encoder read query and document together.
    CrossEncoder,
    /// The cosine of two vectors of an embedding model.
    Cosine,
    /// The second logit of a cross-encoder less its first.
    LogitDifference,
    /// The best match of each query vector of a late-interaction model, summed.
    MaxSim,
    /// The same, divided by the number of query vectors.
    MeanMaxSim,
}

/// Scores of documents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reranked {
    /// One score a document, in request order; `None` where it failed, with its reason in
    /// [`Report::errors`]. Never filled in.
    pub scores: Vec<Option<f32>>,
    /// How the scores came about; `None` where no document was scored.
    pub scoring: Option<Scoring>,
    /// Whether the query was cut on its own: a late-interaction model gives queries a length.
    pub query_truncated: bool,
    /// What happened.
    pub report: Report,
    top_n: Option<usize>,
}

/// A document's place in the ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

impl Reranked {
    /// The documents, best first, equal scores in request order; failed ones never. No more than
    /// [`Call::top_n`] asked for.
    #[must_use]
    pub fn ranking(&self) -> Vec<Ranked> {
        let ranked = ranking(&self.scores).into_iter().map(|(index, score)| Ranked { index, score });
        ranked.take(self.top_n.unwrap_or(usize::MAX)).collect()
    }
}

impl Client {
    /// Scores documents against a query.
    ///
    /// An embedding model answers with cosines, and [`Reranked::scoring`] says so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.rerank("parse arguments", ["a parser", "a clock"]).top_n(1).await?;
    /// for best in answer.ranking() {
    ///     println!("{} {}", best.index, best.score);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rerank<D>(&self, query: impl Into<Input>, documents: D) -> Call<Rerank>
    where
        D: IntoIterator,
        D::Item: Into<Input>,
    {
        let query = query.into().into();
        let rpc = Rerank {
            query,
            documents: to_wire(documents),
            activation: Activation::default(),
            top_n: None,
            windows: None,
        };
        Call::new(self, rpc)
    }
}

impl Call<Rerank> {
    /// Keeps the best `n` in [`Reranked::ranking`]; all are scored.
    pub fn top_n(mut self, n: usize) -> Self {
        self.rpc.top_n = Some(n);
        self
    }

    /// Reads documents that are too long in windows, in place of cutting them. Each window is scored as a document of
    /// its own; [`Report::windows`] says how many there were.
    pub fn windows(mut self, windows: Windows) -> Self {
        self.rpc.windows = Some(windows);
        self
    }

    /// Sets the activation that is applied to the scores.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.rpc.activation = activation;
        self
    }
}

/// Refuses a query with nothing in it, as a server would.
pub(crate) fn check_query(query: &v1::Input) -> Result<(), Error> {
    if is_empty(query) { Err(Error::invalid("query", "EMPTY_QUERY", "the query is empty")) } else { Ok(()) }
}

fn is_empty(input: &v1::Input) -> bool {
    match &input.kind {
        Some(v1::input::Kind::Text(text)) => text.is_empty(),
        Some(v1::input::Kind::Tokens(tokens)) => tokens.ids.is_empty(),
        Some(v1::input::Kind::Pair(_) | v1::input::Kind::Vectors(_)) | None => false,
    }
}

impl ChunkedRpc for Rerank {
    type Request = v1::RerankRequest;
    type Response = v1::RerankResponse;
    type Head = (Option<Scoring>, bool);
    type Value = f32;
    type Output = Reranked;

    const NAME: &'static str = "Rerank";
    const ITEMS: &'static str = "documents";

    fn items(&self) -> &[v1::Input] {
        &self.documents
    }

    fn shared(&self) -> SharedInput<'_> {
        SharedInput::PerItem(&self.query)
    }

    fn stride(&self) -> Option<u32> {
        self.windows.map(|windows| windows.stride)
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        size_of::<f32>() as u64
    }

    fn check(&self) -> Result<(), Error> {
        check_query(&self.query)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::RerankRequest {
        v1::RerankRequest {
            model: model.to_owned(),
            query: Some(self.query.clone()),
            documents: items,
            options: Some(text),
            activation: self.activation.to_wire(),
            // The best of a chunk say nothing of the best of the job.
            top_n: 0,
            windows: self.windows.map(Windows::to_wire),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::RerankRequest>,
    ) -> Result<Response<v1::RerankResponse>, Status> {
        stub.rerank(request).await
    }

    fn open(response: v1::RerankResponse, count: usize) -> Result<ChunkAnswer<Self::Head, f32>, Malformed> {
        expect_len("scores", response.scores.len(), count)?;
        let scoring = match response.scoring() {
            v1::Scoring::CrossEncoder => Some(Scoring::CrossEncoder),
            v1::Scoring::Cosine => Some(Scoring::Cosine),
            v1::Scoring::LogitDifference => Some(Scoring::LogitDifference),
            v1::Scoring::Maxsim => Some(Scoring::MaxSim),
            v1::Scoring::MeanMaxsim => Some(Scoring::MeanMaxSim),
            v1::Scoring::Unspecified => None,
        };
        Ok(ChunkAnswer {
            head: (scoring, response.query_truncated),
            values: response.scores.into_iter().map(finite).collect(),
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, f32>) -> Reranked {
        let MergedAnswer { head, values, report } = merged;
        let (scoring, query_truncated) = head.unwrap_or_default();
        Reranked { scores: values, scoring, query_truncated, report, top_n: self.top_n }
    }
}

chunked!(Rerank);
