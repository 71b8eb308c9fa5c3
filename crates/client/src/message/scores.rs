//! Messages that are answered by scores: Rerank, Similarity, Classify.

use sortie_proto::{ranking, v1};
use tonic::{Response, Status};

use super::{MessageAnswer, Pass, answer, message};
use crate::{
    error::Error,
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, SharedInput, expect_len},
    rpc::{classify, finite, finite_row, rerank},
    transport::Stub,
};

message!(v1::RerankRequest, v1::RerankResponse, documents, |message| message.options.as_ref());
message!(v1::SimilarityRequest, v1::SimilarityResponse, texts, |message| message.options.as_ref());
message!(v1::ClassifyRequest, v1::ClassifyResponse, inputs, |message| message.options.as_ref());

/// Failed items as the contract writes them.
fn or_nan(scores: Vec<Option<f32>>) -> Vec<f32> {
    scores.into_iter().map(|score| score.unwrap_or(f32::NAN)).collect()
}

impl ChunkedRpc for Pass<v1::RerankRequest> {
    type Request = v1::RerankRequest;
    type Response = v1::RerankResponse;
    /// How the scores came about, and whether the query was cut.
    type Head = (i32, bool);
    type Value = f32;
    type Output = MessageAnswer<v1::RerankResponse>;

    const NAME: &'static str = "Rerank";
    const ITEMS: &'static str = "documents";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn shared(&self) -> SharedInput<'_> {
        self.head.query.as_ref().map_or(SharedInput::Nothing, SharedInput::PerItem)
    }

    fn stride(&self) -> Option<u32> {
        self.head.windows.as_ref().map(|windows| windows.stride)
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        size_of::<f32>() as u64
    }

    fn check(&self) -> Result<(), Error> {
        self.head.query.as_ref().map_or(Ok(()), rerank::check_query)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::RerankRequest {
        // The best of a chunk say nothing of the best of the job.
        v1::RerankRequest { top_n: 0, ..self.chunk(model, items) }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::RerankRequest>,
    ) -> Result<Response<v1::RerankResponse>, Status> {
        stub.rerank(request).await
    }

    fn open(response: v1::RerankResponse, count: usize) -> Result<ChunkAnswer<Self::Head, f32>, Malformed> {
        expect_len("scores", response.scores.len(), count)?;
        Ok(ChunkAnswer {
            head: (response.scoring, response.query_truncated),
            values: response.scores.into_iter().map(finite).collect(),
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, f32>) -> Self::Output {
        let MergedAnswer { head, values, report } = merged;
        let (scoring, query_truncated) = head.unwrap_or_default();
        let scores = or_nan(values);
        let order = ranking::best(&scores, usize::try_from(self.head.top_n).unwrap_or(usize::MAX));
        let (items, chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        let message = v1::RerankResponse { scores, order, scoring, items, chunk, query_truncated };
        MessageAnswer { message, report }
    }
}

impl ChunkedRpc for Pass<v1::SimilarityRequest> {
    type Request = v1::SimilarityRequest;
    type Response = v1::SimilarityResponse;
    type Head = ();
    type Value = f32;
    type Output = MessageAnswer<v1::SimilarityResponse>;

    const NAME: &'static str = "Similarity";
    const ITEMS: &'static str = "texts";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn shared(&self) -> SharedInput<'_> {
        self.head.source.as_ref().map_or(SharedInput::Nothing, SharedInput::PerChunk)
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        size_of::<f32>() as u64
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::SimilarityRequest {
        self.chunk(model, items)
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

    fn finish(&self, merged: MergedAnswer<(), f32>) -> Self::Output {
        let MergedAnswer { values, report, .. } = merged;
        let (items, chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        MessageAnswer { message: v1::SimilarityResponse { scores: or_nan(values), items, chunk }, report }
    }
}

impl ChunkedRpc for Pass<v1::ClassifyRequest> {
    type Request = v1::ClassifyRequest;
    type Response = v1::ClassifyResponse;
    /// Labels, and what was done to the logits.
    type Head = (Vec<String>, i32);
    type Value = Vec<f32>;
    type Output = MessageAnswer<v1::ClassifyResponse>;

    const NAME: &'static str = "Classify";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        classify::ANSWER_BYTES
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::ClassifyRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::ClassifyRequest>,
    ) -> Result<Response<v1::ClassifyResponse>, Status> {
        stub.classify(request).await
    }

    fn open(response: v1::ClassifyResponse, count: usize) -> Result<ChunkAnswer<Self::Head, Vec<f32>>, Malformed> {
        let v1::ClassifyResponse { labels, scores, activation, items, chunk } = response;
        let values = classify::rows(&scores, labels.len(), count)?.map(finite_row).collect();
        Ok(ChunkAnswer {
            head: (labels, activation),
            values,
            items: items.unwrap_or_default(),
            chunk: chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, Vec<f32>>) -> Self::Output {
        let MergedAnswer { head, values, report } = merged;
        let (labels, activation) = head.unwrap_or_default();
        let failed = vec![f32::NAN; labels.len()];
        let scores = values.into_iter().flat_map(|row| row.unwrap_or_else(|| failed.clone())).collect();
        let (items, chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        MessageAnswer { message: v1::ClassifyResponse { labels, scores, activation, items, chunk }, report }
    }
}
