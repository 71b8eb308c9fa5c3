//! `sortie.v1` over the fleet: every RPC that works becomes a job, those that look are answered by the catalog.
//!
//! A message goes to the servers as it came, cut at its items; lane, tenant, job id, trace and what is left of the
//! deadline go with it. Dropping a call's future cancels its job, in the servers' queues too.

mod job;
mod timeline;

use std::sync::Arc;

use sortie_client::{AnswerStore, Client};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, encoder_service_server::EncoderService};
use tonic::{Request, Response, Status};

use self::job::JobMessage;
use crate::{cache::AnswerCache, catalog::Catalog, metrics::ReuseCounters, refusal::status_of};

/// The service over a fleet.
#[derive(Clone, Debug)]
pub(crate) struct GatewayService {
    /// What reaches the servers.
    pub(crate) client: Client,
    /// What is known of them.
    pub(crate) catalog: Arc<Catalog>,
    /// Answers that were given before.
    pub(crate) cache: Option<Arc<AnswerCache>>,
    /// Counts what of them is used.
    pub(crate) reuse: ReuseCounters,
    /// What answers say that they come from.
    pub(crate) replica: Arc<str>,
    /// Most bytes of an answer.
    pub(crate) max_message_bytes: u64,
}

impl GatewayService {
    /// Runs a message as a job.
    async fn job<M: JobMessage>(&self, request: Request<M>) -> Result<Response<M::Answer>, Status> {
        let traceparent = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
        let traceparent = traceparent.map(str::to_owned);
        let (context, mut message) = RequestContext::open(request)?;
        self.catalog.takes_work()?;
        let model = match self.catalog.get(message.model()) {
            Ok(model) => {
                message.set_model(&model.info.name);
                context.note_model(model.clone());
                Some(model)
            }
            // A model that was loaded a moment ago: the servers know better. No name stays a question, though.
            Err(ServeError::ModelNotNamed { served }) => return Err(ServeError::ModelNotNamed { served }.into()),
            Err(_) => None,
        };
        context.note_size(message.items(), context.caller.tokens);
        let mut options = job::options(&context, traceparent);
        let identity = model.as_ref().and_then(|model| Some((model.identity()?, &model.runs)));
        let answers = self.cache.as_ref().zip(identity);
        let answers = answers.map(|(cache, (model, runs))| cache.of(model, runs, &context.caller.tenant));
        options.answers = answers.map(|answers| Arc::new(answers) as Arc<dyn AnswerStore>);
        let begun = tokio::time::Instant::now();
        let answer = self.client.send(message, options).await.map_err(|error| status_of(&error))?;
        let report = &answer.report;
        self.reuse.count(report, self.cache.is_some());
        let known = model.as_ref().and_then(|model| model.identity());
        if known.is_some_and(|known| report.revisions.iter().any(|revision| *revision != known.revision)) {
            self.catalog.doubt();
        }
        context.note_attempts(timeline::attempts(report, begun.saturating_duration_since(context.arrived)));
        context.note_size(report.tokens.len(), report.total_tokens());
        let mut message = answer.message;
        if let Some(chunk) = M::chunk(&mut message) {
            chunk.replica = self.replica.to_string();
            if let Some(model) = context.model().filter(|_| chunk.model.is_empty()) {
                (chunk.model, chunk.model_revision) = (model.name().to_owned(), model.revision().to_owned());
            }
            if context.parent.is_some() {
                context.stages().chunk(context.arrived, begun, tokio::time::Instant::now(), chunk);
            }
            let truncated = report.truncated.iter().filter(|cut| **cut).count();
            context.metrics.chunk(chunk, report.tokens.len(), report.errors.len(), truncated);
        }
        self.answer(message)
    }

    /// Sends an answer that fits.
    fn answer<M: prost::Message>(&self, message: M) -> Result<Response<M>, Status> {
        let (bytes, limit) = (message.encoded_len() as u64, self.max_message_bytes);
        if bytes > limit {
            return Err(ServeError::AnswerTooLarge { bytes, limit }.into());
        }
        Ok(Response::new(message))
    }
}

#[tonic::async_trait]
impl EncoderService for GatewayService {
    async fn rerank(&self, request: Request<v1::RerankRequest>) -> Result<Response<v1::RerankResponse>, Status> {
        self.job(request).await
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        self.job(request).await
    }

    async fn embed_tokens(
        &self,
        request: Request<v1::EmbedTokensRequest>,
    ) -> Result<Response<v1::EmbedTokensResponse>, Status> {
        self.job(request).await
    }

    async fn embed_sparse(
        &self,
        request: Request<v1::EmbedSparseRequest>,
    ) -> Result<Response<v1::EmbedSparseResponse>, Status> {
        self.job(request).await
    }

    async fn classify(&self, request: Request<v1::ClassifyRequest>) -> Result<Response<v1::ClassifyResponse>, Status> {
        self.job(request).await
    }

    async fn tag_tokens(
        &self,
        request: Request<v1::TagTokensRequest>,
    ) -> Result<Response<v1::TagTokensResponse>, Status> {
        self.job(request).await
    }

    async fn similarity(
        &self,
        request: Request<v1::SimilarityRequest>,
    ) -> Result<Response<v1::SimilarityResponse>, Status> {
        self.job(request).await
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        self.job(request).await
    }

    async fn detokenize(
        &self,
        request: Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        self.job(request).await
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        let model = self.catalog.get(&message.model)?;
        context.note_model(model.clone());
        self.answer(v1::GetModelResponse { model: Some(model.describe()) })
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let (context, _) = RequestContext::open(request)?;
        // With one model its load says it all; with several there is no one load to send.
        if let Ok(only) = self.catalog.get("") {
            context.note_model(only);
        }
        self.answer(v1::ListModelsResponse {
            models: self.catalog.all().iter().map(|model| model.describe()).collect(),
        })
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        let (context, message) = RequestContext::open(request)?;
        let model = self.catalog.get(&message.model)?;
        context.note_model(model.clone());
        self.answer(v1::ProbeResponse { report: Some(model.load()), replica: self.replica.to_string() })
    }
}
