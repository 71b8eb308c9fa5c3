//! What is served.

use sortie_proto::{
    tei::{InfoRequest, InfoResponse, ModelType, info_server::Info},
    v1,
};
use tonic::{Request, Response, Status};

use super::call::TeiCalls;

/// The gateway cuts lists of any length; clients split by this number, some of them in 32 bits with a sign.
const MAX_CLIENT_BATCH_SIZE: u32 = i32::MAX as u32;

/// Servers do not tell their threads, and clients do not use the number; zero would look like a fault.
const TOKENIZATION_WORKERS: u32 = 1;

/// The number format as TEI names it.
fn dtype(precision: &str) -> String {
    match precision {
        "f32" => "float32",
        "f16" => "float16",
        "bf16" => "bfloat16",
        other => other,
    }
    .to_owned()
}

#[tonic::async_trait]
impl Info for TeiCalls {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let model = self.model(request.metadata(), "Tokenize")?;
        let info = &model.info;
        let model_type = match info.task() {
            v1::Task::Rerank => ModelType::Reranker,
            v1::Task::Classify | v1::Task::Tag => ModelType::Classifier,
            _ => ModelType::Embedding,
        };
        let limits = info.limits.unwrap_or_default();
        Ok(Response::new(InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha: None,
            docker_label: None,
            model_id: info.name.clone(),
            model_sha: (!info.revision.is_empty()).then(|| info.revision.clone()),
            model_dtype: dtype(&info.precision),
            model_type: model_type.into(),
            max_concurrent_requests: self.max_concurrent_requests,
            max_input_length: info.max_length,
            max_batch_tokens: limits.max_batch_tokens,
            max_batch_requests: None,
            max_client_batch_size: MAX_CLIENT_BATCH_SIZE,
            tokenization_workers: TOKENIZATION_WORKERS,
        }))
    }
}
