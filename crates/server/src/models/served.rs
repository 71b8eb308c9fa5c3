//! One model as it is served: what it is, its queue, its load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use sortie_engine::{Model, ModelInfo, Problem, Task};
use sortie_frontend::ServeError;
use sortie_proto::v1;
use sortie_scheduler::{DevicesHealth, Scheduler};
use sortie_work::TokenRatio;

use super::{
    facts::{
        late_similarity, made_for, problem_type, proto_activation, proto_pooling, proto_side, proto_task, role_prompts,
        roles, rpcs, words,
    },
    reserved::Reserved,
};
use crate::{
    backend::EngineBackend,
    tokenizing::{TokenizeStats, TokenizerPool},
    vector_memory::VectorMemory,
};

/// One model as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// The hub's commit, else a digest of the files.
    pub(crate) revision: String,
    pub(crate) model: Arc<Model>,
    pub(crate) scheduler: Scheduler<EngineBackend>,
    pub(crate) limits: v1::Limits,
    pub(crate) replica: Arc<str>,
    /// Threads that tokenize, shared by all models of the process.
    pub(crate) tokenizers: Arc<TokenizerPool>,
    /// What they did for this model.
    pub(crate) tokenizing: TokenizeStats,
    /// Tokens a byte of text makes, learned from requests.
    pub(crate) ratio: Mutex<TokenRatio>,
    /// Room for token vectors that requests bring along, shared by all models too.
    pub(crate) vector_memory: Arc<VectorMemory>,
    /// What probes asked about.
    pub(super) reserved: Reserved,
    pub(super) draining: Arc<AtomicBool>,
}

impl Served {
    /// What is known of it.
    pub(crate) fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// READY; DRAINING once a stop was asked for; LOADING while a lost device's session is
    /// made anew; FAILED if no device is left.
    pub(crate) fn state(&self) -> v1::ModelState {
        if self.draining.load(Ordering::Relaxed) {
            return v1::ModelState::Draining;
        }
        let health = *self.scheduler.health().borrow();
        match health {
            DevicesHealth::Ready if !self.scheduler.is_drained() => v1::ModelState::Ready,
            DevicesHealth::Rebuilding => v1::ModelState::Loading,
            _ => v1::ModelState::Failed,
        }
    }

    /// A caller thinks of sending so many tokens: they count in reports for a moment. More than the queue
    /// takes is nonsense.
    pub(crate) fn reserve(&self, tokens: u64) {
        if tokens > 0 {
            self.reserved.add(tokens.min(self.limits.max_queue_tokens), Instant::now());
        }
    }

    /// Its load now; the scheduler is not held up.
    pub(crate) fn load_report(&self) -> v1::LoadReport {
        let load = self.scheduler.load();
        let reserved = self.reserved.tokens(Instant::now()) as f64;
        let reserved_ms = reserved * f64::from(load.b_us) / 1e3 / f64::from(load.devices.max(1));
        // Memory may have cut it.
        let max_batch_tokens = load.max_batch_tokens.min(self.limits.max_batch_tokens);
        v1::LoadReport {
            epoch: load.epoch,
            queue_wait_ms: load.queue_wait_ms + reserved_ms as f32,
            busy: load.busy,
            queued_tokens: load.queued_tokens,
            running_tokens: load.running_tokens,
            a_ms: load.a_ms,
            b_us: load.b_us,
            knee_tokens: load.knee_tokens,
            rate_tokens_per_second: load.rate_tokens_per_second,
            limits: Some(v1::Limits { max_batch_tokens, ..self.limits }),
            state: self.state().into(),
            overdue: load.overdue,
            served_tokens_per_second: load.served_tokens_per_second,
        }
    }

    /// The RPCs it answers, by name.
    pub(crate) fn rpcs(&self) -> Vec<&'static str> {
        rpcs(self.info())
    }

    /// The refusal of an RPC it does not answer.
    pub(crate) fn wrong_task(&self, rpc: &'static str) -> ServeError {
        ServeError::WrongTask {
            model: self.name.clone(),
            rpc,
            why: made_for(&self.info().task),
            rpcs: self.rpcs().into_iter().map(str::to_owned).collect(),
        }
    }

    /// The contract's description.
    pub(crate) fn describe(&self) -> v1::ModelInfo {
        let info = self.info();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        v1::ModelInfo {
            name: self.name.clone(),
            revision: self.revision.clone(),
            model_type: info.model_type.clone(),
            architecture: info.architecture.clone(),
            task: proto_task(&info.task).into(),
            rpcs: self.rpcs().into_iter().map(str::to_owned).collect(),
            labels: info.task.labels().to_vec(),
            multi_label: matches!(info.task, Task::SequenceClassification { problem: Problem::MultiLabel, .. }),
            labels_in_request: matches!(info.task, Task::ZeroShotTagging { .. }),
            max_words: number(words(&info.task)[0]),
            max_span_words: number(words(&info.task)[1]),
            max_length: number(info.max_length),
            doubling_length: info.doubling_length,
            dimensions: number(info.dimensions),
            pooling: proto_pooling(&info.task, info.pooling).into(),
            normalize: info.normalize,
            prompts: info
                .prompts
                .iter()
                .map(|(name, text)| v1::Prompt { name: name.clone(), text: text.clone() })
                .collect(),
            vocab_size: number(info.vocab_size),
            engine: info.engine.to_owned(),
            device: info.device.clone(),
            precision: info.precision.to_owned(),
            limits: Some(self.limits),
            state: self.state().into(),
            problem_type: problem_type(&info.task).to_owned(),
            model_activation: info
                .activation
                .as_ref()
                .and_then(|named| named.activation)
                .map_or(v1::Activation::Unspecified, proto_activation)
                .into(),
            experimental: info.experimental,
            model_activation_source: info.activation.as_ref().map_or_else(String::new, |named| named.source.clone()),
            roles: roles(info, self.model.tokenizer()).into_iter().map(Into::into).collect(),
            query_length: info.role_lengths[0].map_or(0, number),
            document_length: info.role_lengths[1].map_or(0, number),
            role_prompts: role_prompts(info),
            truncation_side: proto_side(self.model.tokenizer().truncation_side()).into(),
            late_similarity: late_similarity(info.late_similarity).to_owned(),
            similarity: info.similarity.clone().unwrap_or_default(),
        }
    }
}
