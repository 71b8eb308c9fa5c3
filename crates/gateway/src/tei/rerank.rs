//! Texts ranked against a query: all of them, best first.

use sortie_frontend::ServeError;
use sortie_proto::{
    tei::{Rank, RerankRequest, RerankResponse, RerankStreamRequest, rerank_server::Rerank},
    v1::{self, Truncation},
};
use tonic::{Request, Response, Status, Streaming};

use super::call::{TeiCalls, answered, options, passed_on, text, whole};

#[tonic::async_trait]
impl Rerank for TeiCalls {
    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let RerankRequest { query, texts, truncate, raw_scores, return_text, truncation_direction } = message;
        if texts.is_empty() {
            return Err(ServeError::EmptyList { field: "texts" }.into());
        }
        let model = self.model(&metadata, "Rerank")?;
        // Cosines and best matches are what they are: no activation is theirs.
        let activation = match model.info.task() {
            v1::Task::Embed | v1::Task::LateInteraction => v1::Activation::Unspecified,
            _ if raw_scores => v1::Activation::Raw,
            _ => v1::Activation::Sigmoid,
        };
        let chars = texts.iter().map(|text| text.chars().count()).sum::<usize>() + query.chars().count();
        let kept = if return_text { texts.clone() } else { Vec::new() };
        let documents: Vec<_> = texts.into_iter().map(text).collect();
        let message = v1::RerankRequest {
            model: model.info.name.clone(),
            query: Some(text(query)),
            top_n: u32::try_from(documents.len()).unwrap_or(u32::MAX),
            documents,
            options: Some(options(truncate, Truncation::LongestFirst, truncation_direction, None)?),
            activation: activation.into(),
            windows: None,
        };
        let answer = self.stub().rerank(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), Some("texts"))?;
        let rank = |&index: &u32| {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            Some(Rank { index, text: kept.get(at).cloned(), score: *answer.scores.get(at)? })
        };
        let ranks = answer.order.iter().filter_map(rank).collect();
        let make = |metadata| RerankResponse { ranks, metadata };
        Ok(answered(chars, answer.items.as_ref(), answer.chunk.as_ref(), make))
    }

    async fn rerank_stream(
        &self,
        request: Request<Streaming<RerankStreamRequest>>,
    ) -> Result<Response<RerankResponse>, Status> {
        let (metadata, extensions, mut messages) = request.into_parts();
        let mut all = RerankRequest::default();
        let (mut bytes, limit) = (0, self.max_message_bytes);
        let mut first = true;
        while let Some(message) = messages.message().await? {
            let RerankStreamRequest { query, text, truncate, raw_scores, return_text, truncation_direction } = message;
            bytes += query.len() + text.len();
            if bytes > limit {
                return Err(ServeError::MessageTooLarge { limit: limit as u64 }.into());
            }
            if std::mem::take(&mut first) {
                let texts = Vec::new();
                all = RerankRequest { query, texts, truncate, raw_scores, return_text, truncation_direction };
            } else if query != all.query {
                return Err(ServeError::bad_field("query", "differs from that of the first message").into());
            }
            all.texts.push(text);
        }
        self.rerank(Request::from_parts(metadata, extensions, all)).await
    }
}
