//! Messages about texts and their tokens: TagTokens, Tokenize, Detokenize.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::{MessageAnswer, Pass, answer, message};
use crate::{
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, Resource, SharedInput, expect_len},
    rpc::{detokenize, tag, tokenize},
    transport::Stub,
};

message!(v1::TagTokensRequest, v1::TagTokensResponse, inputs, |message| message.options.as_ref());
message!(v1::TokenizeRequest, v1::TokenizeResponse, inputs, |message| message.options.as_ref());
message!(v1::DetokenizeRequest, v1::DetokenizeResponse, inputs, |_| None);

impl ChunkedRpc for Pass<v1::TagTokensRequest> {
    type Request = v1::TagTokensRequest;
    type Response = v1::TagTokensResponse;
    /// Labels.
    type Head = Vec<String>;
    type Value = v1::TaggedText;
    type Output = MessageAnswer<v1::TagTokensResponse>;

    const NAME: &'static str = "TagTokens";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn shared(&self) -> SharedInput<'_> {
        SharedInput::LabelsPerItem(&self.head.labels)
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        tag::answer_bytes(tokens, self.head.per_token_scores)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::TagTokensRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::TagTokensRequest>,
    ) -> Result<Response<v1::TagTokensResponse>, Status> {
        stub.tag_tokens(request).await
    }

    fn open(
        response: v1::TagTokensResponse,
        count: usize,
    ) -> Result<ChunkAnswer<Vec<String>, v1::TaggedText>, Malformed> {
        let v1::TagTokensResponse { texts, labels, items, chunk } = response;
        expect_len("texts", texts.len(), count)?;
        Ok(ChunkAnswer {
            head: labels,
            values: texts.into_iter().map(Some).collect(),
            items: items.unwrap_or_default(),
            chunk: chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Vec<String>, v1::TaggedText>) -> Self::Output {
        let MergedAnswer { head, values, report } = merged;
        let texts = values.into_iter().map(Option::unwrap_or_default).collect();
        let (items, chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        let labels = head.unwrap_or_default();
        MessageAnswer { message: v1::TagTokensResponse { texts, labels, items, chunk }, report }
    }
}

impl ChunkedRpc for Pass<v1::TokenizeRequest> {
    type Request = v1::TokenizeRequest;
    type Response = v1::TokenizeResponse;
    type Head = ();
    type Value = v1::TokenizedInput;
    type Output = MessageAnswer<v1::TokenizeResponse>;

    const NAME: &'static str = "Tokenize";
    const ITEMS: &'static str = "inputs";
    const RESOURCE: Resource = Resource::Tokenizer;

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        tokenize::answer_bytes(tokens)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::TokenizeRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::TokenizeRequest>,
    ) -> Result<Response<v1::TokenizeResponse>, Status> {
        stub.tokenize(request).await
    }

    fn open(response: v1::TokenizeResponse, count: usize) -> Result<ChunkAnswer<(), v1::TokenizedInput>, Malformed> {
        expect_len("inputs", response.inputs.len(), count)?;
        Ok(ChunkAnswer {
            head: (),
            values: response.inputs.into_iter().map(Some).collect(),
            items: response.items.unwrap_or_default(),
            chunk: v1::ChunkInfo::default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<(), v1::TokenizedInput>) -> Self::Output {
        let MergedAnswer { values, report, .. } = merged;
        let inputs = values.into_iter().map(Option::unwrap_or_default).collect();
        MessageAnswer { message: v1::TokenizeResponse { inputs, items: Some(answer::items(&report)) }, report }
    }
}

impl ChunkedRpc for Pass<v1::DetokenizeRequest> {
    type Request = v1::DetokenizeRequest;
    type Response = v1::DetokenizeResponse;
    type Head = ();
    type Value = String;
    type Output = MessageAnswer<v1::DetokenizeResponse>;

    const NAME: &'static str = "Detokenize";
    const ITEMS: &'static str = "inputs";
    const RESOURCE: Resource = Resource::Tokenizer;

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        detokenize::answer_bytes(tokens)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::DetokenizeRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        stub.detokenize(request).await
    }

    fn open(response: v1::DetokenizeResponse, count: usize) -> Result<ChunkAnswer<(), String>, Malformed> {
        detokenize::Detokenize::open(response, count)
    }

    fn finish(&self, merged: MergedAnswer<(), String>) -> Self::Output {
        let MergedAnswer { values, report, .. } = merged;
        let texts = values.into_iter().map(Option::unwrap_or_default).collect();
        MessageAnswer { message: v1::DetokenizeResponse { texts, items: Some(answer::items(&report)) }, report }
    }
}
