//! Similarity: cosines of one text with many.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::{chunked, finite};
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, SharedInput, expect_len},
    report::Report,
    transport::Stub,
};

/// Compares one text with many; made by [`Client::similarity`].
#[derive(Clone, Debug)]
pub struct Similarity {
    source: v1::Input,
    texts: Vec<v1::Input>,
}

/// Cosines.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Similarities {
    /// One a text, from -1 to 1, in request order; `None` where it failed, with its reason in
    /// [`Report::errors`].
    pub scores: Vec<Option<f32>>,
    /// What happened; the source is not counted among the items.
    pub report: Report,
}

impl Client {
    /// Compares one text with many by the cosine of their vectors.
    ///
    /// Each chunk of the call encodes the source once more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.similarity("a cat", ["a kitten", "a bus"]).await?;
    /// println!("{:?}", answer.scores);
    /// # Ok(())
    /// # }
    /// ```
    pub fn similarity<I>(&self, source: impl Into<Input>, texts: I) -> Call<Similarity>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        Call::new(self, Similarity { source: source.into().into(), texts: to_wire(texts) })
    }
}

impl ChunkedRpc for Similarity {
    type Request = v1::SimilarityRequest;
    type Response = v1::SimilarityResponse;
    type Head = ();
    type Value = f32;
    type Output = Similarities;

    const NAME: &'static str = "Similarity";
    const ITEMS: &'static str = "texts";

    fn items(&self) -> &[v1::Input] {
        &self.texts
    }

    fn shared(&self) -> SharedInput<'_> {
        SharedInput::PerChunk(&self.source)
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        size_of::<f32>() as u64
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::SimilarityRequest {
        v1::SimilarityRequest {
            model: model.to_owned(),
            source: Some(self.source.clone()),
            texts: items,
            options: Some(text),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::SimilarityRequest>,
    ) -> Result<Response<v1::SimilarityResponse>, Status> {
        stub.similarity(request).await
    }

    fn open(response: v1::SimilarityResponse, count: usize) -> Result<ChunkAnswer<(), f32>, Malformed> {
        expect_len("scores", response.scores.len(), count)?;
        Ok(ChunkAnswer {
            head: (),
            values: response.scores.into_iter().map(finite).collect(),
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<(), f32>) -> Similarities {
        Similarities { scores: merged.values, report: merged.report }
    }
}

chunked!(Similarity);
