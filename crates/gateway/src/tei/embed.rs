//! Vectors of texts.

use sortie_frontend::ServeError;
use sortie_proto::{
    tei::{
        EmbedAllRequest, EmbedAllResponse, EmbedRequest, EmbedResponse, EmbedSparseRequest, EmbedSparseResponse,
        SparseValue, TokenEmbedding, embed_server::Embed,
    },
    v1::{self, Truncation},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    call::{TeiCalls, answered, options, passed_on, text, whole},
    stream::{TeiStream, each},
};

/// Little-endian f32, as the contract sends them.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let number = |cell: &[u8]| cell.try_into().map_or(f32::NAN, f32::from_le_bytes);
    bytes.chunks_exact(size_of::<f32>()).map(number).collect()
}

#[tonic::async_trait]
impl Embed for TeiCalls {
    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let EmbedRequest { inputs, truncate, normalize, truncation_direction, prompt_name, dimensions } = message;
        if dimensions == Some(0) {
            return Err(ServeError::bad_field("dimensions", "should be positive").into());
        }
        let chars = inputs.chars().count();
        let message = v1::EmbedRequest {
            model: self.model(&metadata, "Embed")?.info.name.clone(),
            inputs: vec![text(inputs)],
            options: Some(options(truncate, Truncation::DocumentOnly, truncation_direction, prompt_name)?),
            normalize: Some(normalize.unwrap_or(true)),
            dimensions: dimensions.unwrap_or_default(),
            format: v1::VectorFormat::F32.into(),
            ..v1::EmbedRequest::default()
        };
        let answer = self.stub().embed(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        let embeddings = floats(&answer.vectors);
        let make = |metadata| EmbedResponse { embeddings, metadata };
        Ok(answered(chars, answer.items.as_ref(), answer.chunk.as_ref(), make))
    }

    type EmbedStreamStream = TeiStream<EmbedResponse>;

    async fn embed_stream(
        &self,
        request: Request<Streaming<EmbedRequest>>,
    ) -> Result<Response<Self::EmbedStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.embed(request).await }
        }))
    }

    async fn embed_sparse(
        &self,
        request: Request<EmbedSparseRequest>,
    ) -> Result<Response<EmbedSparseResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let EmbedSparseRequest { inputs, truncate, truncation_direction, prompt_name } = message;
        let chars = inputs.chars().count();
        let message = v1::EmbedSparseRequest {
            model: self.model(&metadata, "EmbedSparse")?.info.name.clone(),
            inputs: vec![text(inputs)],
            options: Some(options(truncate, Truncation::DocumentOnly, truncation_direction, prompt_name)?),
            top_k: 0,
        };
        let answer = self.stub().embed_sparse(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        let entries = answer.indices.iter().zip(&answer.weights);
        let sparse_embeddings = entries.map(|(&index, &value)| SparseValue { index, value }).collect();
        let make = |metadata| EmbedSparseResponse { sparse_embeddings, metadata };
        Ok(answered(chars, answer.items.as_ref(), answer.chunk.as_ref(), make))
    }

    type EmbedSparseStreamStream = TeiStream<EmbedSparseResponse>;

    async fn embed_sparse_stream(
        &self,
        request: Request<Streaming<EmbedSparseRequest>>,
    ) -> Result<Response<Self::EmbedSparseStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.embed_sparse(request).await }
        }))
    }

    async fn embed_all(&self, request: Request<EmbedAllRequest>) -> Result<Response<EmbedAllResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let EmbedAllRequest { inputs, truncate, truncation_direction, prompt_name } = message;
        let chars = inputs.chars().count();
        let message = v1::EmbedTokensRequest {
            model: self.model(&metadata, "EmbedTokens")?.info.name.clone(),
            inputs: vec![text(inputs)],
            options: Some(options(truncate, Truncation::DocumentOnly, truncation_direction, prompt_name)?),
            format: v1::VectorFormat::F32.into(),
            with_places: false,
        };
        let answer = self.stub().embed_tokens(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        let numbers = answer.matrices.first().map(|matrix| floats(&matrix.vectors)).unwrap_or_default();
        let width = usize::try_from(answer.dimensions).unwrap_or(usize::MAX).max(1);
        let token_embeddings = numbers.chunks(width).map(|row| TokenEmbedding { embeddings: row.to_vec() }).collect();
        let make = |metadata| EmbedAllResponse { token_embeddings, metadata };
        Ok(answered(chars, answer.items.as_ref(), answer.chunk.as_ref(), make))
    }

    type EmbedAllStreamStream = TeiStream<EmbedAllResponse>;

    async fn embed_all_stream(
        &self,
        request: Request<Streaming<EmbedAllRequest>>,
    ) -> Result<Response<Self::EmbedAllStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.embed_all(request).await }
        }))
    }
}
