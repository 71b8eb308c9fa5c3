//! The service behind a scripted server.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use sortie_proto::{
    metadata::ORCA,
    v1::{self, encoder_service_server::EncoderService, input::Kind},
};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use crate::{
    faulty_connection::FaultSwitch,
    oracle::{score_of, tokens_of, windows_of},
    script::{RecordedCall, Reply, ReplyOutcome, Script},
};

/// Numbers in a vector.
const DIMENSIONS: u32 = 2;

/// What a scripted model answers.
const RPCS: [&str; 9] =
    ["Rerank", "Embed", "EmbedTokens", "EmbedSparse", "Classify", "TagTokens", "Similarity", "Tokenize", "Detokenize"];

/// A small CPU server's model: so slow a token that jobs are worth cutting.
pub(crate) fn default_model() -> v1::ModelInfo {
    v1::ModelInfo {
        name: "m".to_owned(),
        revision: "r1".to_owned(),
        model_type: "bert".to_owned(),
        task: v1::Task::Rerank.into(),
        // A script answers everything.
        rpcs: RPCS.map(str::to_owned).to_vec(),
        max_length: 512,
        dimensions: DIMENSIONS,
        state: v1::ModelState::Ready.into(),
        limits: Some(limits()),
        ..v1::ModelInfo::default()
    }
}

fn limits() -> v1::Limits {
    v1::Limits {
        max_batch_tokens: 2_048,
        max_items: 10_000,
        max_message_bytes: 64 << 20,
        max_text_bytes: 1 << 20,
        max_queue_tokens: 1 << 20,
        cuts_jobs: false,
    }
}

/// Its load when idle.
pub(crate) fn default_report() -> v1::LoadReport {
    v1::LoadReport {
        epoch: 1,
        a_ms: 3.0,
        b_us: 150.0,
        limits: Some(limits()),
        state: v1::ModelState::Ready.into(),
        ..v1::LoadReport::default()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    pub(crate) replica: String,
    pub(crate) script: Arc<Script>,
    pub(crate) model: Arc<Mutex<v1::ModelInfo>>,
    pub(crate) report: Arc<Mutex<v1::LoadReport>>,
    pub(crate) faults: FaultSwitch,
}

/// A call that is to be answered.
struct CallContext {
    reply: Reply,
    texts: Vec<String>,
    chunk: v1::ChunkInfo,
    /// Whether texts are read in windows.
    in_windows: bool,
}

fn text_of(input: &v1::Input) -> String {
    match &input.kind {
        Some(Kind::Text(text)) => text.clone(),
        Some(Kind::Pair(pair)) => format!("{}\u{1f}{}", pair.first, pair.second),
        Some(Kind::Tokens(tokens)) => format!("{:?}", tokens.ids),
        Some(Kind::Vectors(vectors)) => format!("{vectors:?}"),
        None => String::new(),
    }
}

impl Scripted {
    /// Does what the script says, up to the answer.
    async fn context<T>(
        &self,
        rpc: &'static str,
        request: &Request<T>,
        model: &str,
        inputs: &[v1::Input],
    ) -> Result<CallContext, Status> {
        let texts: Vec<String> = inputs.iter().map(text_of).collect();
        let call = RecordedCall::new(rpc, model, texts.clone(), request.metadata());
        let job_id = call.job_id.clone();
        let reply = self.script.take(&call.attempt);
        self.script.record(call);
        if let Some(gate) = &reply.gate {
            gate.pass().await;
        }
        match &reply.outcome {
            ReplyOutcome::Answer => {}
            ReplyOutcome::Refuse(status) => return Err(status()),
            ReplyOutcome::HangUp => {
                self.faults.cut();
                // The connection takes this call with it.
                std::future::pending::<()>().await;
            }
        }
        let info = self.model.lock().clone();
        let tokens: u32 = texts.iter().map(|text| tokens_of(text)).sum();
        let report = *self.report.lock();
        let batch_ms = report.a_ms + report.b_us * tokens as f32 / 1e3;
        let chunk = v1::ChunkInfo {
            model: info.name,
            model_revision: reply.revision.clone().unwrap_or(info.revision),
            replica: self.replica.clone(),
            job_id,
            tokenize_us: 10,
            queue_us: 20,
            compute_us: 30,
            total_us: 60,
            batch_ms: vec![batch_ms],
            batch_tokens: vec![tokens],
            batch_work: vec![tokens],
            tokens: tokens.into(),
        };
        Ok(CallContext { reply, texts, chunk, in_windows: false })
    }
}

impl CallContext {
    fn failed(&self, index: usize) -> bool {
        self.reply.item_errors.iter().any(|(failed, ..)| *failed as usize == index)
    }

    /// One value an item, as the script has it.
    fn values<V>(&self, failed: V, value: impl Fn(&str) -> V) -> Vec<V>
    where
        V: Clone,
    {
        let values = self.texts.iter().enumerate();
        let values = values.map(|(i, text)| if self.failed(i) { failed.clone() } else { value(text) });
        values.take(self.texts.len() - usize::from(self.reply.one_too_few)).collect()
    }

    fn items(&self) -> v1::ItemInfo {
        let error = |(index, reason, message): &(u32, String, String)| v1::ItemError {
            index: *index,
            reason: reason.clone(),
            message: message.clone(),
        };
        let tokens = self.texts.iter().enumerate();
        let windows = self.texts.iter().map(|text| windows_of(text));
        v1::ItemInfo {
            tokens: tokens.map(|(i, text)| if self.failed(i) { 0 } else { tokens_of(text) }).collect(),
            truncated: vec![false; self.texts.len()],
            errors: self.reply.item_errors.iter().map(error).collect(),
            windows: if self.in_windows { windows.collect() } else { Vec::new() },
        }
    }

    fn send<T>(self, make: impl FnOnce(v1::ItemInfo, v1::ChunkInfo) -> T) -> Result<Response<T>, Status> {
        let mut response = Response::new(make(self.items(), self.chunk));
        if let Some(report) = self.reply.report {
            // Headers and trailers are one map to a unary client.
            response.metadata_mut().insert_bin(ORCA, MetadataValue::from_bytes(&report.encode_to_vec()));
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl EncoderService for Scripted {
    async fn rerank(&self, request: Request<v1::RerankRequest>) -> Result<Response<v1::RerankResponse>, Status> {
        let message = request.get_ref();
        let mut context = self.context("Rerank", &request, &message.model, &message.documents).await?;
        context.in_windows = message.windows.is_some();
        let scores = context.values(f32::NAN, score_of);
        let scoring = v1::Scoring::CrossEncoder.into();
        context.send(|items, chunk| v1::RerankResponse {
            scores,
            order: Vec::new(),
            scoring,
            items: Some(items),
            chunk: Some(chunk),
            query_truncated: false,
        })
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let message = request.get_ref();
        let format = message.format();
        let mut context = self.context("Embed", &request, &message.model, &message.inputs).await?;
        context.in_windows = message.windows.is_some();
        let rows = context.values([f32::NAN; 2], |text| [score_of(text), 1.0]);
        let vectors: Vec<u8> = rows.as_flattened().iter().flat_map(|x| x.to_le_bytes()).collect();
        let dimensions = DIMENSIONS;
        context.send(|items, chunk| v1::EmbedResponse {
            vectors: vectors.into(),
            dimensions,
            format: format.into(),
            items: Some(items),
            chunk: Some(chunk),
            ranges: None,
        })
    }

    async fn embed_tokens(
        &self,
        request: Request<v1::EmbedTokensRequest>,
    ) -> Result<Response<v1::EmbedTokensResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("EmbedTokens", &request, &message.model, &message.inputs).await?;
        let matrices = context.values(v1::TokenMatrix::default(), |text| {
            let row: Vec<u8> = [score_of(text), -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
            v1::TokenMatrix { rows: 1, vectors: row.into(), ..v1::TokenMatrix::default() }
        });
        context.send(|items, chunk| v1::EmbedTokensResponse {
            matrices,
            dimensions: DIMENSIONS,
            format: v1::VectorFormat::F32.into(),
            items: Some(items),
            chunk: Some(chunk),
        })
    }

    async fn embed_sparse(
        &self,
        request: Request<v1::EmbedSparseRequest>,
    ) -> Result<Response<v1::EmbedSparseResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("EmbedSparse", &request, &message.model, &message.inputs).await?;
        let weights = context.values(Vec::new(), |text| vec![score_of(text); 2]);
        let mut offsets = vec![0];
        for row in &weights {
            offsets.push(offsets.last().copied().unwrap_or_default() + row.len() as u32);
        }
        let weights = weights.concat();
        let indices = weights.iter().enumerate().map(|(i, _)| i as u32 % 2).collect();
        context.send(|items, chunk| v1::EmbedSparseResponse {
            offsets,
            indices,
            weights,
            items: Some(items),
            chunk: Some(chunk),
        })
    }

    async fn classify(&self, request: Request<v1::ClassifyRequest>) -> Result<Response<v1::ClassifyResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("Classify", &request, &message.model, &message.inputs).await?;
        let scores = context.values([f32::NAN; 2], |text| [score_of(text), -1.0]).concat();
        context.send(|items, chunk| v1::ClassifyResponse {
            labels: vec!["yes".to_owned(), "no".to_owned()],
            scores,
            activation: v1::Activation::Raw.into(),
            items: Some(items),
            chunk: Some(chunk),
        })
    }

    async fn tag_tokens(
        &self,
        request: Request<v1::TagTokensRequest>,
    ) -> Result<Response<v1::TagTokensResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("TagTokens", &request, &message.model, &message.inputs).await?;
        let texts = context.values(v1::TaggedText::default(), |text| v1::TaggedText {
            spans: vec![v1::Span { label: "ALL".to_owned(), start: 0, end: text.len() as u32, score: score_of(text) }],
            token_scores: vec![0.5; 2 * tokens_of(text) as usize],
        });
        context.send(|items, chunk| v1::TagTokensResponse {
            texts,
            labels: vec!["O".to_owned(), "ALL".to_owned()],
            items: Some(items),
            chunk: Some(chunk),
        })
    }

    async fn similarity(
        &self,
        request: Request<v1::SimilarityRequest>,
    ) -> Result<Response<v1::SimilarityResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("Similarity", &request, &message.model, &message.texts).await?;
        let scores = context.values(f32::NAN, score_of);
        context.send(|items, chunk| v1::SimilarityResponse { scores, items: Some(items), chunk: Some(chunk) })
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("Tokenize", &request, &message.model, &message.inputs).await?;
        let inputs = context.values(v1::TokenizedInput::default(), |text| v1::TokenizedInput {
            ids: vec![score_of(text) as u32],
            type_ids: vec![0],
            tokens: vec![text.to_owned()],
            starts: vec![0],
            ends: vec![text.len() as u32],
            special: vec![false],
        });
        context.send(|items, _| v1::TokenizeResponse { inputs, items: Some(items) })
    }

    async fn detokenize(
        &self,
        request: Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        let message = request.get_ref();
        let context = self.context("Detokenize", &request, &message.model, &message.inputs).await?;
        let texts = context.values(String::new(), str::to_owned);
        context.send(|items, _| v1::DetokenizeResponse { texts, items: Some(items) })
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        let info = self.model.lock().clone();
        let asked = &request.get_ref().model;
        self.script.record_first_contact(RecordedCall::new("GetModel", asked, Vec::new(), request.metadata()));
        if !asked.is_empty() && *asked != info.name {
            return Err(Status::not_found(format!("no model is named {asked:?}")));
        }
        Ok(Response::new(v1::GetModelResponse { model: Some(info) }))
    }

    async fn list_models(&self, _: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        Ok(Response::new(v1::ListModelsResponse { models: vec![self.model.lock().clone()] }))
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        let model = &request.get_ref().model;
        self.script.record_first_contact(RecordedCall::new("Probe", model, Vec::new(), request.metadata()));
        let report = Some(*self.report.lock());
        Ok(Response::new(v1::ProbeResponse { report, replica: self.replica.clone() }))
    }
}
