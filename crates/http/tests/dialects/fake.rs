//! A service of the contract that runs no model and is as unkind as one can be: it refuses with any reason, waits, fails
//! single items and gives numbers that are none. What it answers follows from the texts by rules that a test can follow:
//! a document `d<x>` has the logit x, any other that of its number of words; a token is a word.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use sortie_proto::{
    metadata::ORCA,
    orca::OrcaLoadReport,
    v1::{self, input::Kind, *},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

/// Special tokens of a text alone, and one more for a pair.
pub(crate) const FIRST: u32 = 101;
pub(crate) const LAST: u32 = 102;
/// What a model reads at most, in tokens.
pub(crate) const LONGEST: u32 = 64;
/// Numbers of a vector.
pub(crate) const DIMENSIONS: u32 = 8;

use crate::tags;

type Lock<T> = std::sync::Arc<tokio::sync::Mutex<T>>;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct SeenCall {
    pub(crate) rpc: &'static str,
    pub(crate) metadata: MetadataMap,
    /// The message, encoded.
    pub(crate) message: Vec<u8>,
}

/// The service; clones are one.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) models: Vec<ModelInfo>,
    /// Every RPC but ListModels is refused so.
    pub(crate) refusal: Option<Status>,
    /// The key that must be shown, if one must.
    pub(crate) key: Option<String>,
    pub(crate) delay: Duration,
    /// Items with an error: reason by index.
    pub(crate) item_errors: BTreeMap<u32, &'static str>,
    /// Items whose numbers are none though nothing is said of an error.
    pub(crate) not_numbers: Vec<usize>,
    pub(crate) seen: Lock<Vec<SeenCall>>,
    /// Calls that ended by themselves; one that was dropped did not.
    pub(crate) ended: Arc<AtomicUsize>,
}

pub(crate) fn model(name: &str, task: Task) -> ModelInfo {
    let rpcs: &[&str] = match task {
        Task::Rerank => &["Rerank", "Classify", "Tokenize", "Detokenize"],
        Task::Classify => &["Classify", "Tokenize", "Detokenize"],
        Task::Embed => &["Embed", "EmbedTokens", "Similarity", "Rerank", "Tokenize", "Detokenize"],
        Task::EmbedSparse => &["EmbedSparse", "Tokenize", "Detokenize"],
        Task::Tag => &["TagTokens", "Tokenize", "Detokenize"],
        Task::LateInteraction => &["EmbedTokens", "Rerank", "Tokenize", "Detokenize"],
        _ => &["Tokenize", "Detokenize"],
    };
    let labels: &[&str] = match task {
        Task::Rerank => &["LABEL_0"],
        Task::Classify => &["anger", "joy", "calm"],
        _ => &[],
    };
    ModelInfo {
        name: name.to_owned(),
        revision: "0123abcd".to_owned(),
        task: task.into(),
        rpcs: rpcs.iter().map(|rpc| (*rpc).to_owned()).collect(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        max_length: LONGEST,
        dimensions: DIMENSIONS,
        pooling: Pooling::Mean.into(),
        precision: "f16".to_owned(),
        device: "cpu".to_owned(),
        limits: Some(Limits { max_batch_tokens: 1024, max_items: 10_000, ..Limits::default() }),
        state: ModelState::Ready.into(),
        ..ModelInfo::default()
    }
}

impl Fake {
    pub(crate) fn of(tasks: &[Task]) -> Self {
        let name = |task: &Task| task.as_str_name().trim_start_matches("TASK_").to_ascii_lowercase();
        Self { models: tasks.iter().map(|task| model(&name(task), *task)).collect(), ..Self::default() }
    }

    /// The messages sent to an RPC.
    pub(crate) async fn messages<M: prost::Message + Default>(&self, rpc: &str) -> Vec<M> {
        let seen = self.seen.lock().await;
        seen.iter().filter(|seen| seen.rpc == rpc).map(|seen| M::decode(&seen.message[..]).unwrap()).collect()
    }

    async fn enter<M: prost::Message + 'static>(&self, rpc: &'static str, request: Request<M>) -> Result<M, Status> {
        let metadata = request.metadata().clone();
        let message = sortie_http::message_of(request);
        let seen = SeenCall { rpc, metadata: metadata.clone(), message: message.encode_to_vec() };
        self.seen.lock().await.push(seen);
        if let Some(key) = &self.key {
            let bearer = metadata.get("authorization").and_then(|value| value.to_str().ok());
            let bare = metadata.get("x-api-key").and_then(|value| value.to_str().ok());
            if bearer.and_then(|value| value.strip_prefix("Bearer ")).or(bare) != Some(key) {
                return Err(refusal(tonic::Code::Unauthenticated, "UNAUTHENTICATED", None));
            }
        }
        if rpc != "ListModels" {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            if let Some(status) = &self.refusal {
                return Err(status.clone());
            }
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        Ok(message)
    }

    fn model(&self, name: &str, rpc: &str) -> Result<&ModelInfo, Status> {
        let model = self.models.iter().find(|model| model.name == name);
        let model = model.ok_or_else(|| refusal(tonic::Code::NotFound, "UNKNOWN_MODEL", Some("model")))?;
        match model.rpcs.iter().any(|known| known == rpc) {
            true => Ok(model),
            false => Err(refusal(tonic::Code::FailedPrecondition, "WRONG_TASK", None)),
        }
    }

    /// Facts of items of so many tokens, and which failed.
    pub(crate) fn items(&self, lengths: &[u32], options: &Option<TextOptions>) -> ItemInfo {
        let options = options.clone().unwrap_or_default();
        let limit = if options.max_length == 0 { LONGEST } else { options.max_length };
        let mut info = ItemInfo::default();
        for (index, length) in (0..).zip(lengths) {
            let too_long = *length > limit && options.truncation() == Truncation::Error;
            let reason = self.item_errors.get(&index).copied().or(too_long.then_some("TOO_LONG"));
            info.tokens.push(if reason.is_some() { 0 } else { (*length).min(limit) });
            info.truncated.push(reason.is_none() && *length > limit);
            if let Some(reason) = reason {
                let message = format!("refused as {reason}");
                info.errors.push(ItemError { index, reason: reason.to_owned(), message });
            }
        }
        info
    }

    pub(crate) fn failed(&self, info: &ItemInfo, index: usize) -> bool {
        self.not_numbers.contains(&index) || info.errors.iter().any(|error| error.index as usize == index)
    }

    fn answer<M>(&self, message: M) -> Result<Response<M>, Status> {
        let report = OrcaLoadReport {
            application_utilization: 0.5,
            rps_fractional: 12.25,
            eps: f64::NAN,
            ..OrcaLoadReport::default()
        };
        let mut response = Response::new(message);
        let value = tonic::metadata::BinaryMetadataValue::from_bytes(&report.encode_to_vec());
        response.metadata_mut().insert_bin(ORCA, value);
        Ok(response)
    }
}

/// A refusal as the server sends it.
pub(crate) fn refusal(code: tonic::Code, reason: &str, field: Option<&str>) -> Status {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "sortie", std::collections::HashMap::new());
    if let Some(field) = field {
        details.add_bad_request_violation(field, "no");
    }
    Status::with_error_details(code, format!("refused as {reason}"), details)
}

pub(crate) fn words(text: &str) -> u32 {
    text.split_whitespace().count() as u32
}

pub(crate) fn text_of(input: &Input) -> (String, u32) {
    match &input.kind {
        Some(Kind::Text(text)) => (text.clone(), words(text) + 2),
        Some(Kind::Pair(pair)) => (pair.second.clone(), words(&pair.first) + words(&pair.second) + 3),
        Some(Kind::Tokens(tokens)) => (String::new(), tokens.ids.len() as u32),
        Some(Kind::Vectors(_)) | None => (String::new(), 0),
    }
}

pub(crate) fn logit(text: &str) -> f32 {
    text.strip_prefix('d').and_then(|number| number.parse().ok()).unwrap_or(words(text) as f32)
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The vector of a text: the same for the same text, different for most others.
pub(crate) fn vector(text: &str, normalize: bool, dimensions: u32) -> Vec<f32> {
    let mut state = text.bytes().fold(17u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let mut row: Vec<f32> = (0..DIMENSIONS)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    row.truncate(if dimensions == 0 { DIMENSIONS } else { dimensions } as usize);
    if normalize {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    row
}

pub(crate) fn chunk(model: &ModelInfo, info: &ItemInfo) -> Option<ChunkInfo> {
    Some(ChunkInfo {
        model: model.name.clone(),
        model_revision: model.revision.clone(),
        replica: "replica-1".to_owned(),
        tokenize_us: 1_500,
        queue_us: 2_000,
        compute_us: 30_000,
        total_us: 40_000,
        tokens: info.tokens.iter().map(|n| u64::from(*n)).sum(),
        ..ChunkInfo::default()
    })
}

#[tonic::async_trait]
impl v1::encoder_service_server::EncoderService for Fake {
    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        let message = self.enter("Rerank", request).await?;
        let model = self.model(&message.model, "Rerank")?;
        let scoring = match model.task() {
            Task::Rerank | Task::Classify => Scoring::CrossEncoder,
            Task::LateInteraction => Scoring::Maxsim,
            _ => Scoring::Cosine,
        };
        if scoring != Scoring::CrossEncoder && message.activation() != Activation::Unspecified {
            return Err(refusal(tonic::Code::InvalidArgument, "BAD_FIELD", Some("activation")));
        }
        let (_, query) = text_of(message.query.as_ref().unwrap());
        let texts: Vec<(String, u32)> = message.documents.iter().map(text_of).collect();
        let lengths: Vec<u32> = texts.iter().map(|(_, length)| length - 2 + query - 2 + 3).collect();
        let mut items = self.items(&lengths, &message.options);
        if message.windows.is_some() {
            items.windows = lengths.iter().map(|length| length.div_ceil(LONGEST)).collect();
        }
        let scores = texts.iter().enumerate().map(|(index, (text, _))| match message.activation() {
            _ if self.failed(&items, index) => f32::NAN,
            Activation::Sigmoid => sigmoid(logit(text)),
            _ => logit(text),
        });
        let scores = scores.collect();
        let chunk = chunk(model, &items);
        self.answer(RerankResponse { scores, scoring: scoring.into(), items: Some(items), chunk, ..Default::default() })
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let message = self.enter("Embed", request).await?;
        let model = self.model(&message.model, "Embed")?;
        if message.dimensions > DIMENSIONS {
            return Err(refusal(tonic::Code::InvalidArgument, "BAD_DIMENSIONS", Some("dimensions")));
        }
        let texts: Vec<(String, u32)> = message.inputs.iter().map(text_of).collect();
        let items = self.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
        let mut vectors = Vec::new();
        let mut dimensions = 0;
        for (index, (text, _)) in texts.iter().enumerate() {
            let row = vector(text, message.normalize == Some(true), message.dimensions);
            dimensions = row.len() as u32;
            let number = |x: f32| if self.failed(&items, index) { f32::NAN } else { x };
            vectors.extend(row.into_iter().flat_map(|x| number(x).to_le_bytes()));
        }
        let chunk = chunk(model, &items);
        let format = VectorFormat::F32.into();
        let vectors = vectors.into();
        self.answer(EmbedResponse { vectors, dimensions, format, items: Some(items), chunk, ranges: None })
    }

    async fn embed_tokens(
        &self,
        request: Request<EmbedTokensRequest>,
    ) -> Result<Response<EmbedTokensResponse>, Status> {
        let message = self.enter("EmbedTokens", request).await?;
        let model = self.model(&message.model, "EmbedTokens")?;
        let texts: Vec<(String, u32)> = message.inputs.iter().map(text_of).collect();
        let items = self.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
        let matrix = |(index, (text, length)): (usize, &(String, u32))| {
            let rows = if items.errors.iter().any(|error| error.index as usize == index) { 0 } else { *length };
            let row = vector(text, false, 0);
            let number = |x: &f32| if self.not_numbers.contains(&index) { f32::INFINITY } else { *x };
            let bytes: Vec<u8> = row.iter().flat_map(|x| number(x).to_le_bytes()).collect();
            TokenMatrix { rows, vectors: bytes.repeat(rows as usize).into(), ..TokenMatrix::default() }
        };
        let matrices = texts.iter().enumerate().map(matrix).collect();
        let chunk = chunk(model, &items);
        let format = VectorFormat::F32.into();
        self.answer(EmbedTokensResponse { matrices, dimensions: DIMENSIONS, format, items: Some(items), chunk })
    }

    async fn embed_sparse(
        &self,
        request: Request<EmbedSparseRequest>,
    ) -> Result<Response<EmbedSparseResponse>, Status> {
        let message = self.enter("EmbedSparse", request).await?;
        let model = self.model(&message.model, "EmbedSparse")?;
        let texts: Vec<(String, u32)> = message.inputs.iter().map(text_of).collect();
        let items = self.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
        let mut answer = EmbedSparseResponse { offsets: vec![0], ..EmbedSparseResponse::default() };
        for (index, (text, _)) in texts.iter().enumerate() {
            for word in 0..if self.failed(&items, index) { 0 } else { words(text) } {
                answer.indices.push(word * 7);
                answer.weights.push(0.5 + word as f32);
            }
            if self.not_numbers.contains(&index) {
                answer.indices.push(1);
                answer.weights.push(f32::NAN);
            }
            answer.offsets.push(answer.indices.len() as u32);
        }
        answer.chunk = chunk(model, &items);
        answer.items = Some(items);
        self.answer(answer)
    }

    async fn classify(&self, request: Request<ClassifyRequest>) -> Result<Response<ClassifyResponse>, Status> {
        let message = self.enter("Classify", request).await?;
        let model = self.model(&message.model, "Classify")?;
        let texts: Vec<(String, u32)> = message.inputs.iter().map(text_of).collect();
        let items = self.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
        let count = model.labels.len();
        let mut scores = Vec::new();
        for (index, (text, _)) in texts.iter().enumerate() {
            let mut row: Vec<f32> = (0..count).map(|label| logit(text) + ((label + 1) % count) as f32).collect();
            match message.activation() {
                Activation::Sigmoid => row.iter_mut().for_each(|x| *x = sigmoid(*x)),
                Activation::Softmax => {
                    let top = row.iter().copied().fold(f32::MIN, f32::max);
                    row.iter_mut().for_each(|x| *x = (*x - top).exp());
                    let sum: f32 = row.iter().sum();
                    row.iter_mut().for_each(|x| *x /= sum);
                }
                _ => {}
            }
            scores.extend(row.into_iter().map(|x| if self.failed(&items, index) { f32::NAN } else { x }));
        }
        let (labels, activation, chunk) = (model.labels.clone(), message.activation, chunk(model, &items));
        self.answer(ClassifyResponse { labels, scores, activation, items: Some(items), chunk })
    }

    async fn tag_tokens(&self, request: Request<TagTokensRequest>) -> Result<Response<TagTokensResponse>, Status> {
        let message = self.enter("TagTokens", request).await?;
        self.answer(tags::found(self, self.model(&message.model, "TagTokens")?, &message))
    }

    async fn similarity(&self, request: Request<SimilarityRequest>) -> Result<Response<SimilarityResponse>, Status> {
        let message = self.enter("Similarity", request).await?;
        let model = self.model(&message.model, "Similarity")?;
        let (source, _) = text_of(message.source.as_ref().unwrap());
        let source = vector(&source, true, 0);
        let texts: Vec<(String, u32)> = message.texts.iter().map(text_of).collect();
        let items = self.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
        let score = |(index, (text, _)): (usize, &(String, u32))| {
            let dot: f32 = source.iter().zip(vector(text, true, 0)).map(|(a, b)| a * b).sum();
            if self.failed(&items, index) { f32::NAN } else { dot }
        };
        let scores = texts.iter().enumerate().map(score).collect();
        let chunk = chunk(model, &items);
        self.answer(SimilarityResponse { scores, items: Some(items), chunk })
    }

    async fn tokenize(&self, request: Request<TokenizeRequest>) -> Result<Response<TokenizeResponse>, Status> {
        let message = self.enter("Tokenize", request).await?;
        self.model(&message.model, "Tokenize")?;
        let mut inputs = Vec::new();
        let mut lengths = Vec::new();
        for input in &message.inputs {
            let mut made = TokenizedInput::default();
            let mut push = |id: u32, token: &str, start: usize, end: usize, special: bool| {
                made.ids.push(id);
                made.tokens.push(token.to_owned());
                made.starts.push(start as u32);
                made.ends.push(end as u32);
                made.special.push(special);
            };
            let parts: Vec<&str> = match &input.kind {
                Some(Kind::Text(text)) => vec![text],
                Some(Kind::Pair(pair)) => vec![&pair.first, &pair.second],
                _ => vec![],
            };
            if !message.without_special_tokens {
                push(FIRST, "[CLS]", 0, 0, true);
            }
            for part in parts {
                for word in part.split_whitespace() {
                    let start = word.as_ptr() as usize - part.as_ptr() as usize;
                    push(1_000 + word.len() as u32, &format!("▁{word}"), start, start + word.len(), false);
                }
                if !message.without_special_tokens {
                    push(LAST, "[SEP]", 0, 0, true);
                }
            }
            lengths.push(made.ids.len() as u32);
            inputs.push(made);
        }
        let items = Some(self.items(&lengths, &message.options));
        self.answer(TokenizeResponse { inputs, items })
    }

    async fn detokenize(&self, request: Request<DetokenizeRequest>) -> Result<Response<DetokenizeResponse>, Status> {
        let message = self.enter("Detokenize", request).await?;
        self.model(&message.model, "Detokenize")?;
        let text = |input: &Input| match &input.kind {
            Some(Kind::Tokens(tokens)) => {
                let kept = tokens.ids.iter().filter(|id| !message.skip_special_tokens || ![FIRST, LAST].contains(id));
                kept.map(u32::to_string).collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        };
        let texts = message.inputs.iter().map(text).collect();
        let lengths: Vec<u32> = message.inputs.iter().map(|input| text_of(input).1).collect();
        let items = Some(self.items(&lengths, &None));
        self.answer(DetokenizeResponse { texts, items })
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        let message = self.enter("GetModel", request).await?;
        let model = self.model(&message.model, "Tokenize")?.clone();
        self.answer(GetModelResponse { model: Some(model) })
    }

    async fn list_models(&self, request: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        self.enter("ListModels", request).await?;
        self.answer(ListModelsResponse { models: self.models.clone() })
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Err(Status::unimplemented("no dialect probes"))
    }
}
