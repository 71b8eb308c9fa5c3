//! The native path: weights from safetensors, a graph written here, sequences
//! packed end to end. No token is ever padding.

mod calibration;
mod distances;
mod family;
mod graph;
mod kernel;
mod run;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

pub use family::native_model_types;
pub use run::CapturedGraphs;
pub(crate) use run::{NativeBatch, NativeExecutor, NativeHost, NativeRaw, WrittenGraph, commit};

use self::{
    calibration::{Calibration, calibrate},
    family::{Encoder, FamilyEncoder, Tagger, describe},
    graph::Head,
};
use crate::{
    device::Device,
    error::LoadError,
    folder::{Folder, LogitScore, Note, Route, RouteInput, Routes, config::Config, keys::Notes, weights::Weights},
    item::{EmbedSpec, Sequence},
    options::LoadOptions,
    task::{Pooling, Task},
};

/// How many times as long as a multiplication of a product one of attention takes on processors, softmax included: about what
/// makes a token of 510 of MiniLM 1.4 times as dear as one of 64. (Two runs on a busy host gave 1.1 to 1.8.)
const DEARER_ON_CPU: f64 = 2.0;

/// The same on GPUs: what makes a token of 8,192 as dear beside one of a usual text as it was measured for the base shapes
/// of GTE and EuroBERT (3.6 times; 1.7 would be ModernBERT's 2.4 times).
const DEARER_ON_CUDA: f64 = 2.2;

/// Whether a model type is one the native path knows.
pub(crate) fn serves(config: &Config) -> bool {
    family::serves(&config.model_type)
}

/// A folder the native path serves, read but on no device yet.
#[derive(Debug)]
pub(crate) struct NativeModel {
    folder: PathBuf,
    encoder: Encoder,
    weights: Weights,
    head: Head,
    /// What stands on it in place of a head, where labels come with each request.
    tagger: Option<Tagger>,
    task: Task,
    routes: Arc<Routes>,
    /// How its states are pooled where a caller says nothing, where that is one pooling that a device may do.
    pooling: Option<Pooling>,
    /// No judge but its published code has confirmed its numbers.
    experimental: bool,
    /// Keys of its configuration that were read and not obeyed.
    notes: Vec<Note>,
    /// What its activations are like, once a session wanted to know.
    calibration: Mutex<Option<Arc<Calibration>>>,
    /// The graph that its sessions were loaded from last.
    graph: Mutex<Option<run::SharedGraph>>,
}

impl NativeModel {
    /// Reads dimensions and headers; tensors are read when an executor is made.
    pub(crate) fn open(described: &Folder, routes: Arc<Routes>, task: Task) -> Result<Self, LoadError> {
        let folder = &described.encoder;
        let mut weights = Weights::open(folder)?;
        if let Some(adapter) = &described.adapter {
            adapter.merge(&mut weights)?;
        }
        let mut notes = Notes::new(&described.root);
        let within = described.tagger.as_ref();
        let FamilyEncoder { mut encoder, experimental, tagger } =
            describe(folder, &described.config, within, &weights, &mut notes)?;
        encoder.unseen = described.late.as_ref().and_then(|l| l.expansion.as_ref()).is_some_and(|e| !e.attend);
        for route in routes.all().iter().filter(|route| matches!(route.input, RouteInput::Encoder { .. })) {
            route
                .chain
                .width(encoder.hidden)
                .map_err(|why| LoadError::invalid(&described.root.join("modules.json"), why))?;
        }
        let main = routes.encoder();
        let logit_score = main.and_then(|route| route.logit_score);
        if let Some(score) = logit_score {
            check_logit_score(described, &encoder, score)?;
            // It reads the last token whichever it is; a head of sequences would have the pad passed over.
            encoder.heads.sequence = None;
        }
        let head = match &task {
            Task::SequenceClassification { .. } if main.is_some_and(|route| route.scores) => Head::States,
            Task::SequenceClassification { labels, .. } => {
                logit_score.map_or(Head::Sequence(labels.len()), Head::Logit)
            }
            Task::TokenClassification { labels } => Head::Tokens(labels.len()),
            Task::ZeroShotTagging { width, .. } => Head::Spans { width: *width },
            Task::Embedding | Task::LateInteraction => Head::States,
            Task::SparseEmbedding => {
                let rule = main.and_then(|route| route.sparse).unwrap_or_default();
                Head::Vocabulary { sum: rule.sum.then_some(rule.transform) }
            }
        };
        let sums = |route: &Route| route.sparse.map(|rule| rule.sum.then_some(rule.transform));
        if routes.all().iter().any(|r| main.is_some_and(|m| r.input == m.input && sums(r) != sums(m))) {
            return Err(LoadError::unsupported(
                &described.root.join("router_config.json"),
                "routes through one encoder with different sums of SpladePooling are not served",
            ));
        }
        let pooling = main.and_then(|route| route.chain.device_pooling(&EmbedSpec::default(), &Sequence::default()));
        Ok(Self {
            folder: folder.clone(),
            encoder,
            weights,
            head,
            tagger,
            task,
            routes,
            pooling,
            experimental,
            notes: notes.into_vec(),
            calibration: Mutex::default(),
            graph: Mutex::default(),
        })
    }

    /// Refuses a device that lacks an operator the model needs.
    fn refuse_device(&self, device: Device) -> Result<(), LoadError> {
        let refuse = |what: &str| {
            Err(LoadError::unsupported(
                &self.folder,
                format!("{what} is not served on {device}; the processor does it"),
            ))
        };
        match device {
            Device::Cpu => Ok(()),
            Device::Cuda(_) if self.tagger.is_some() => refuse("tagging by labels of the request"),
            Device::Cuda(_) => self.encoder.beyond_kernels().map_or(Ok(()), refuse),
        }
    }

    /// Whether a GPU needs our own kernels for it.
    fn needs_kernels(&self) -> bool {
        self.encoder.needs_kernels() || matches!(self.head, Head::Vocabulary { sum: Some(_) })
    }

    /// What its activations are like: run once, for all sessions on all devices. Others wait for the first.
    fn calibration(&self, options: &LoadOptions) -> Result<Arc<Calibration>, LoadError> {
        let mut known = self.calibration.lock();
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        Ok(Arc::clone(known.insert(Arc::new(calibrate(self, options)?))))
    }

    /// Whether no judge but its published code has confirmed its numbers.
    pub(crate) fn is_experimental(&self) -> bool {
        self.experimental
    }

    /// Keys of its configuration that were read and not obeyed.
    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Tokens in the longest sequence its positions allow.
    pub(crate) fn longest(&self) -> usize {
        self.encoder.longest
    }

    /// Length at which attention over all pairs takes as long as everything else on a device; 0 where no layer sees all.
    pub(crate) fn doubling_length(&self, device: Device) -> u32 {
        self.encoder.doubling_length(match device {
            Device::Cpu => DEARER_ON_CPU,
            Device::Cuda(_) => DEARER_ON_CUDA,
        })
    }

    /// Weights of its layers.
    pub(crate) fn layer_parameters(&self) -> u64 {
        self.encoder.layer_parameters()
    }

    /// Rows of its embedding table.
    pub(crate) fn vocab(&self) -> usize {
        self.encoder.vocab
    }

    /// Rows of its segment table, 0 where it has none.
    pub(crate) fn segments(&self) -> usize {
        self.encoder.segments()
    }

    /// Numbers in a token's state.
    pub(crate) fn hidden(&self) -> usize {
        self.encoder.hidden
    }
}

/// Refuses a LogitScore of an encoder without logits, or of tokens that its vocabulary does not have.
fn check_logit_score(folder: &Folder, encoder: &Encoder, score: LogitScore) -> Result<(), LoadError> {
    if encoder.heads.causal.is_none() {
        return Err(LoadError::unsupported(
            &folder.encoder,
            format!(
                "LogitScore needs the logits of a causal language model, by lm_head.weight or tie_word_embeddings; \
                 {} has none here",
                folder.config.model_type
            ),
        ));
    }
    for (key, id) in [("true_token_id", Some(score.true_token)), ("false_token_id", score.false_token)] {
        if let Some(id) = id.filter(|&id| id as usize >= encoder.vocab) {
            return Err(LoadError::invalid(
                &folder.root.join("modules.json"),
                format!("LogitScore: {key} is {id}, the vocabulary has {} entries", encoder.vocab),
            ));
        }
    }
    Ok(())
}
