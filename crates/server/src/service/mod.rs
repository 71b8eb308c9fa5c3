//! The contract's RPCs, one file each. A file checks what is particular to its
//! RPC, hands the work to [`crate::pipeline`] and shapes the answer.

mod classify;
mod convert;
mod detokenize;
mod embed;
mod embed_tokens;
mod introspection;
mod labelled;
mod late_interaction;
mod rerank;
mod similarity;
mod sparse;
mod tag;
mod tokenize;
mod work;

use prost::Message;
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, encoder_service_server::EncoderService};
use tonic::{Request, Response, Status};

use crate::models::Registry;

/// The service over the models of this process.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    registry: Registry,
    max_message_bytes: u64,
}

impl Service {
    /// Serves `registry`; answers have at most `max_message_bytes`.
    pub(crate) fn new(registry: Registry, max_message_bytes: u64) -> Self {
        Self { registry, max_message_bytes }
    }

    /// Sends an answer that fits.
    fn answer<M: Message>(&self, result: Result<M, ServeError>) -> Result<Response<M>, Status> {
        let message = result?;
        let (bytes, limit) = (message.encoded_len() as u64, self.max_message_bytes);
        if bytes > limit {
            return Err(ServeError::AnswerTooLarge { bytes, limit }.into());
        }
        Ok(Response::new(message))
    }
}

#[tonic::async_trait]
impl EncoderService for Service {
    async fn rerank(&self, request: Request<v1::RerankRequest>) -> Result<Response<v1::RerankResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(rerank::rerank(&self.registry, &context, message).await)
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(embed::embed(&self.registry, &context, message).await)
    }

    async fn embed_tokens(
        &self,
        request: Request<v1::EmbedTokensRequest>,
    ) -> Result<Response<v1::EmbedTokensResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(embed_tokens::embed_tokens(&self.registry, &context, message).await)
    }

    async fn embed_sparse(
        &self,
        request: Request<v1::EmbedSparseRequest>,
    ) -> Result<Response<v1::EmbedSparseResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(sparse::embed_sparse(&self.registry, &context, message).await)
    }

    async fn classify(&self, request: Request<v1::ClassifyRequest>) -> Result<Response<v1::ClassifyResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(classify::classify(&self.registry, &context, message).await)
    }

    async fn tag_tokens(
        &self,
        request: Request<v1::TagTokensRequest>,
    ) -> Result<Response<v1::TagTokensResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(tag::tag_tokens(&self.registry, &context, message).await)
    }

    async fn similarity(
        &self,
        request: Request<v1::SimilarityRequest>,
    ) -> Result<Response<v1::SimilarityResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(similarity::similarity(&self.registry, &context, message).await)
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(tokenize::tokenize(&self.registry, &context, message).await)
    }

    async fn detokenize(
        &self,
        request: Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(detokenize::detokenize(&self.registry, &context, message).await)
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(introspection::get_model(&self.registry, &context, &message))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let (context, _) = RequestContext::open(request)?;
        self.answer(Ok(introspection::list_models(&self.registry, &context)))
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        self.answer(introspection::probe(&self.registry, &context, &message))
    }
}
