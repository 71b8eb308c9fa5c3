//! Models and their load as servers describe them.

use std::time::Duration;

use sortie_proto::v1;

use crate::{
    input::{Activation, Role},
    metadata::millis,
    rpc::embed::Pooling,
};

/// What a model was made for; it decides which calls it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// A relevance score for a pair.
    Rerank,
    /// A score per label for a text or a pair.
    Classify,
    /// A score per label for each token.
    Tag,
    /// A dense vector for a text.
    Embed,
    /// A sparse vector over the vocabulary for a text.
    EmbedSparse,
    /// A vector a token, compared by best matches.
    LateInteraction,
    /// Something this client does not know.
    Unknown,
}

/// Whether a model takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelState {
    /// Loading or warming up.
    Loading,
    /// Takes work.
    Ready,
    /// Finishes what it has and takes no more.
    Draining,
    /// Broken.
    Failed,
    /// Something this client does not know.
    Unknown,
}

/// The most a request may hold; 0 where a server does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelLimits {
    /// Tokens in one batch on the device.
    pub max_batch_tokens: u64,
    /// Items in one request.
    pub max_items: u64,
    /// Bytes of one message, either way.
    pub max_message_bytes: u64,
    /// Bytes of one text.
    pub max_text_bytes: u64,
    /// Tokens that may wait in the queue.
    pub max_queue_tokens: u64,
    /// Whether it is a gateway, which cuts jobs by itself.
    pub cuts_jobs: bool,
}

/// A prompt that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// Its name.
    pub name: String,
    /// The text put before an input.
    pub text: String,
}

/// One model as it is served.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Name to ask for.
    pub name: String,
    /// Digest of its files, or the hub's commit.
    pub revision: String,
    /// `model_type` of its config.
    pub model_type: String,
    /// First entry of `architectures` in its config.
    pub architecture: String,
    /// What it was made for.
    pub task: Task,
    /// RPCs it answers, by name.
    pub rpcs: Vec<String>,
    /// Labels in output order; empty where there are none.
    pub labels: Vec<String>,
    /// Whether it finds what a request's own labels name ([`Call<Tag>::labels`](crate::Call::labels)).
    pub labels_in_request: bool,
    /// Words of a text that it reads, where words are counted.
    pub max_words: Option<u32>,
    /// Words in the longest span it finds, where spans have a greatest length.
    pub max_span_words: Option<u32>,
    /// Whether labels do not exclude one another.
    pub multi_label: bool,
    /// Longest sequence in tokens, specials included.
    pub max_length: u32,
    /// Length in tokens at which a token of a text takes twice the time of one in a short text, where attention over all
    /// pairs is known to make long texts dearer.
    pub doubling_length: Option<u32>,
    /// Size of its vectors; 0 where it makes none.
    pub dimensions: u32,
    /// Its own pooling, where it pools.
    pub pooling: Option<Pooling>,
    /// Whether its vectors are normalised by default.
    pub normalize: bool,
    /// Prompts that can be named.
    pub prompts: Vec<Prompt>,
    /// Entries in its vocabulary.
    pub vocab_size: u32,
    /// `native` or `onnx`.
    pub engine: String,
    /// Execution provider and device, for example `cpu`.
    pub device: String,
    /// Number format of its weights on the device.
    pub precision: String,
    /// What a request may hold.
    pub limits: ModelLimits,
    /// Whether it takes work.
    pub state: ModelState,
    /// `problem_type` of its head; empty for other models.
    pub problem_type: String,
    /// What [`Activation::FolderOwn`] does; `None` where it is refused.
    pub folder_activation: Option<Activation>,
    /// Roles it reads apart; empty where it reads all texts alike.
    pub roles: Vec<Role>,
    /// Longest query in tokens, where queries have a length of their own.
    pub query_length: Option<u32>,
    /// Longest document in tokens, where documents have a length of their own.
    pub document_length: Option<u32>,
    /// How its token vectors are compared, where it is a late-interaction model.
    pub late_similarity: Option<String>,
}

/// The load of one model's device as a server reports it.
///
/// Tokens are of work: a text of `n` tokens counts as `n · (1 + n / doubling_length)` of them
/// ([`ModelInfo::doubling_length`]). Those of the limits are as they are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelLoad {
    /// Name of the server process.
    pub replica: String,
    /// Reports of another epoch say nothing of this one.
    pub epoch: u64,
    /// Time until a request that arrives now would start.
    pub queue_wait: Duration,
    /// Share of the last second the device was at work, 0 to 1.
    pub busy: f32,
    /// Tokens admitted whose batch does not run yet.
    pub queued_tokens: u64,
    /// Tokens in the batches that run.
    pub running_tokens: u64,
    /// Fixed cost of a batch: T = a + b · tokens.
    pub a: Duration,
    /// Cost of one token in microseconds.
    pub b_us: f32,
    /// Tokens past which a larger batch is no faster per token.
    pub knee_tokens: u32,
    /// Tokens per second.
    pub tokens_per_second: f32,
    /// What a request may hold.
    pub limits: ModelLimits,
    /// Whether work is taken.
    pub state: ModelState,
    /// Age of the running batch over its predicted duration; above 1 it is overdue.
    pub overdue: f32,
}

impl From<v1::Limits> for ModelLimits {
    fn from(wire: v1::Limits) -> Self {
        Self {
            max_batch_tokens: wire.max_batch_tokens.into(),
            max_items: wire.max_items.into(),
            max_message_bytes: wire.max_message_bytes,
            max_text_bytes: wire.max_text_bytes,
            max_queue_tokens: wire.max_queue_tokens,
            cuts_jobs: wire.cuts_jobs,
        }
    }
}

impl From<v1::ModelState> for ModelState {
    fn from(wire: v1::ModelState) -> Self {
        match wire {
            v1::ModelState::Unspecified => Self::Unknown,
            v1::ModelState::Loading => Self::Loading,
            v1::ModelState::Ready => Self::Ready,
            v1::ModelState::Draining => Self::Draining,
            v1::ModelState::Failed => Self::Failed,
        }
    }
}

impl From<v1::ModelInfo> for ModelInfo {
    fn from(wire: v1::ModelInfo) -> Self {
        let task = match wire.task() {
            v1::Task::Unspecified => Task::Unknown,
            v1::Task::Rerank => Task::Rerank,
            v1::Task::Classify => Task::Classify,
            v1::Task::Tag => Task::Tag,
            v1::Task::Embed => Task::Embed,
            v1::Task::EmbedSparse => Task::EmbedSparse,
            v1::Task::LateInteraction => Task::LateInteraction,
        };
        let (pooling, state) = (Pooling::from_wire(wire.pooling()), wire.state().into());
        let folder_activation = match wire.model_activation() {
            v1::Activation::Unspecified => None,
            named => Some(Activation::from_wire(named)),
        };
        let roles = wire.roles().filter_map(Role::from_wire).collect();
        Self {
            name: wire.name,
            revision: wire.revision,
            model_type: wire.model_type,
            architecture: wire.architecture,
            task,
            rpcs: wire.rpcs,
            labels: wire.labels,
            labels_in_request: wire.labels_in_request,
            max_words: Some(wire.max_words).filter(|&n| n > 0),
            max_span_words: Some(wire.max_span_words).filter(|&n| n > 0),
            multi_label: wire.multi_label,
            max_length: wire.max_length,
            doubling_length: Some(wire.doubling_length).filter(|&n| n > 0),
            dimensions: wire.dimensions,
            pooling,
            normalize: wire.normalize,
            prompts: wire.prompts.into_iter().map(|p| Prompt { name: p.name, text: p.text }).collect(),
            vocab_size: wire.vocab_size,
            engine: wire.engine,
            device: wire.device,
            precision: wire.precision,
            limits: wire.limits.unwrap_or_default().into(),
            state,
            problem_type: wire.problem_type,
            folder_activation,
            roles,
            query_length: Some(wire.query_length).filter(|&n| n > 0),
            document_length: Some(wire.document_length).filter(|&n| n > 0),
            late_similarity: Some(wire.late_similarity).filter(|name| !name.is_empty()),
        }
    }
}

impl ModelLoad {
    pub(crate) fn from_wire(wire: v1::LoadReport, replica: String) -> Self {
        let state = wire.state().into();
        Self {
            replica,
            epoch: wire.epoch,
            queue_wait: millis(f64::from(wire.queue_wait_ms)),
            busy: wire.busy,
            queued_tokens: wire.queued_tokens,
            running_tokens: wire.running_tokens,
            a: millis(f64::from(wire.a_ms)),
            b_us: wire.b_us,
            knee_tokens: wire.knee_tokens,
            tokens_per_second: wire.rate_tokens_per_second,
            limits: wire.limits.unwrap_or_default().into(),
            state,
            overdue: wire.overdue,
        }
    }
}
