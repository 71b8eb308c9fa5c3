//! EmbedSparse: one sparse vector over the vocabulary an input.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::chunked;
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, expect_len},
    report::Report,
    transport::Stub,
};

/// Entries assumed of a vector per token of its text, where no `top_k` bounds it: expansion
/// models stay below 20, and rarely below 1.
const ASSUMED_ENTRIES_PER_TOKEN: u64 = 32;

/// Bytes of an entry: id and weight, packed.
const ENTRY_BYTES: u64 = 9;

/// Turns inputs into sparse vectors; made by [`Client::embed_sparse`].
#[derive(Clone, Debug)]
pub struct EmbedSparse {
    inputs: Vec<v1::Input>,
    top_k: Option<u32>,
}

/// A vector of which most entries are zero.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SparseVector {
    /// Vocabulary ids, ascending.
    pub indices: Vec<u32>,
    /// Weight of each id.
    pub weights: Vec<f32>,
}

/// Sparse vectors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SparseEmbedded {
    /// One vector an input, in request order; `None` where it failed, with its reason in
    /// [`Report::errors`].
    pub vectors: Vec<Option<SparseVector>>,
    /// What happened.
    pub report: Report,
}

impl Client {
    /// Turns inputs into sparse vectors.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.embed_sparse(["one text"]).top_k(64).await?;
    /// assert_eq!(answer.vectors.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed_sparse<I>(&self, inputs: I) -> Call<EmbedSparse>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        Call::new(self, EmbedSparse { inputs: to_wire(inputs), top_k: None })
    }
}

impl Call<EmbedSparse> {
    /// Keeps only the heaviest `k` entries of each vector.
    pub fn top_k(mut self, k: u32) -> Self {
        self.rpc.top_k = Some(k);
        self
    }
}

/// Bytes of the vector of so many tokens; `top_k` is zero where it bounds nothing.
pub(crate) fn answer_bytes(tokens: u64, top_k: u32) -> u64 {
    ENTRY_BYTES * if top_k == 0 { tokens * ASSUMED_ENTRIES_PER_TOKEN } else { u64::from(top_k) }
}

impl ChunkedRpc for EmbedSparse {
    type Request = v1::EmbedSparseRequest;
    type Response = v1::EmbedSparseResponse;
    type Head = ();
    type Value = SparseVector;
    type Output = SparseEmbedded;

    const NAME: &'static str = "EmbedSparse";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        answer_bytes(tokens, self.top_k.unwrap_or_default())
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedSparseRequest {
        v1::EmbedSparseRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            top_k: self.top_k.unwrap_or_default(),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedSparseRequest>,
    ) -> Result<Response<v1::EmbedSparseResponse>, Status> {
        stub.embed_sparse(request).await
    }

    fn open(response: v1::EmbedSparseResponse, count: usize) -> Result<ChunkAnswer<(), SparseVector>, Malformed> {
        let v1::EmbedSparseResponse { offsets, indices, weights, items, chunk } = response;
        expect_len("offsets", offsets.len(), count + 1)?;
        expect_len("weights", weights.len(), indices.len())?;
        let items = items.unwrap_or_default();
        let mut values = Vec::with_capacity(count);
        for span in offsets.windows(2) {
            let &[start, end] = span else { continue };
            let span = start as usize..end as usize;
            let (Some(indices), Some(weights)) = (indices.get(span.clone()), weights.get(span)) else {
                return Err(Malformed(format!("the answer has a vector from entry {start} to {end}")));
            };
            values.push(Some(SparseVector { indices: indices.to_vec(), weights: weights.to_vec() }));
        }
        Ok(ChunkAnswer { head: (), values, items, chunk: chunk.unwrap_or_default() })
    }

    fn finish(&self, merged: MergedAnswer<(), SparseVector>) -> SparseEmbedded {
        SparseEmbedded { vectors: merged.values, report: merged.report }
    }
}

chunked!(EmbedSparse);
