//! An ONNX export with what its folder says of it, checked before any run.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    batches::{BatchLimits, GPU_RUN_COST_TOKENS, RUN_COST_TOKENS},
    inputs::Inputs,
    outputs::{choose, guess_task},
    pad::pad_id,
    port::ElementType,
    signature::Signature,
};
use crate::{
    device::Device,
    error::LoadError,
    folder::{Folder, Route, Routes, config::Config},
    item::{ItemFault, Want, WorkItem},
    options::LoadOptions,
    task::{Pooling, Task},
};

/// Most padded tokens in one run. On two cores batches of one to two thousand
/// tokens run faster than larger ones: their activations stay in cache.
const MAX_PADDED_TOKENS: usize = 2048;

/// The same on a GPU, which is the faster a token the more there are of them.
const GPU_MAX_PADDED_TOKENS: usize = 32_768;

/// Most numbers a run may give back: 64 Mi, 256 MB as f32. It matters to masked-LM
/// heads, which give a whole vocabulary a token.
const MAX_OUTPUT_NUMBERS: usize = 64 << 20;

/// Longest sequence where neither config, graph nor tokenizer files name one:
/// what BERT and nearly all its kin were trained to.
const USUAL_LONGEST: usize = 512;

/// Families whose first position is pad id + 1, so that many rows of their table are no places for tokens.
const POSITIONS_AFTER_PAD: [&str; 6] =
    ["roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text"];

/// An ONNX export, ready to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct GenericModel {
    pub(super) path: PathBuf,
    pub(super) task: Task,
    pub(super) inputs: Inputs,
    /// Name of the output that is read.
    pub(super) output: String,
    /// Its number format.
    pub(super) elem: ElementType,
    /// Whether it is known to have a row a token.
    pub(super) per_token: bool,
    /// Id on padding.
    pub(super) pad_id: u32,
    /// Position of a sequence's first token, where the graph wants positions.
    pub(super) first_position: usize,
    /// What follows the graph, by role.
    pub(super) routes: Arc<Routes>,
    /// The pooling of its vectors where that is a single one.
    pub(super) pooling: Option<Pooling>,
    pub(super) limits: BatchLimits,
    longest: usize,
    vocab: usize,
    segments: Option<usize>,
    dimensions: usize,
}

impl GenericModel {
    /// Reads the ONNX file at `path` and holds it against what its folder says.
    /// `said` is the task the folder names; where it names none, the graph's outputs tell.
    ///
    /// # Errors
    /// When the file is broken, takes or gives what is not served, or is at odds
    /// with config.json.
    pub(crate) fn open(
        path: &Path,
        described: &Folder,
        routes: Arc<Routes>,
        said: Option<Task>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let (folder, config) = (described.encoder.as_path(), &described.config);
        let signature = Signature::read(path, options)?;
        let inputs = Inputs::bind(&signature, path)?;
        let vocab = vocabulary(folder, config, &signature, path)?;
        let task = task(said, config, &signature, vocab, path)?;
        let output = choose(&signature, &task, vocab, path)?;
        let pools_inside = output.rank() == Some(2);
        let main = routes.encoder();
        let scores = main.is_some_and(|route| route.scores);
        if pools_inside && (scores || task == Task::LateInteraction) {
            return Err(LoadError::unsupported(
                path,
                format!("output {:?} has one row a text, but the folder's modules take token states", output.name),
            ));
        }
        if described.late.as_ref().and_then(|l| l.expansion.as_ref()).is_some_and(|e| !e.attend) {
            return Err(LoadError::unsupported(
                path,
                "query expansion that is not attended to is not served on an export; safetensors are",
            ));
        }
        if task == Task::Embedding && pools_inside && options.pooling.is_some() {
            return Err(LoadError::unsupported(
                path,
                format!("output {:?} is pooled inside the graph, so no other pooling can be had", output.name),
            ));
        }

        if task == Task::Embedding && pools_inside && main.is_some_and(|route| route.chain.leaves_prompts_out()) {
            return Err(LoadError::unsupported(
                path,
                format!(
                    "output {:?} is pooled inside the graph, so include_prompt false of the folder's Pooling cannot be obeyed",
                    output.name
                ),
            ));
        }

        let pad_id = pad_id(&described.tokenizer_home, config)?;
        if pad_id as usize >= vocab {
            return Err(LoadError::invalid(
                folder,
                format!("the pad id {pad_id} is outside the vocabulary of {vocab}"),
            ));
        }
        let first_position =
            if POSITIONS_AFTER_PAD.contains(&config.model_type.as_str()) { pad_id as usize + 1 } else { 0 };
        let longest = longest(config, described.max_length, &signature, &inputs, first_position);
        if longest == 0 {
            return Err(LoadError::invalid(folder, "the model has no positions for tokens"));
        }

        let states = signature.outputs.iter().find(|o| o.rank() == Some(3) && o.elem.is_float());
        let hidden = output.width().or(config.hidden_size).or_else(|| states.and_then(|o| o.width()));
        let dimensions = match task {
            Task::Embedding | Task::LateInteraction => dimensions(hidden, main, pools_inside, &described.root, path)?,
            _ => 0,
        };
        let (most, run_cost) = match options.device {
            Device::Cpu => (MAX_PADDED_TOKENS, RUN_COST_TOKENS),
            Device::Cuda(_) => (GPU_MAX_PADDED_TOKENS, GPU_RUN_COST_TOKENS),
        };
        let tokens = match (pools_inside, output.width().or(hidden)) {
            (false, Some(width)) => most.min(MAX_OUTPUT_NUMBERS / width),
            _ => most,
        };
        let rows = if signature.scales_by_run {
            tracing::info!(file = %path.display(), "quantised by one scale a run: one text a run, so that no text changes another's answer");
            1
        } else {
            inputs.rows.unwrap_or(usize::MAX)
        };
        let limits = BatchLimits { tokens, rows, run_cost, equal_lengths: inputs.equal_lengths_only() };
        Ok(Self {
            path: path.to_owned(),
            output: output.name.clone(),
            elem: output.elem,
            per_token: output.rank() == Some(3),
            pooling: main.and_then(|route| route.chain.own_pooling()),
            routes,
            segments: config.type_vocab_size,
            task,
            inputs,
            pad_id,
            first_position,
            limits,
            longest,
            vocab,
            dimensions,
        })
    }

    /// What it is for.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Longest sequence in tokens, specials included.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Size of the vocabulary.
    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    /// Whether it has token states to give.
    pub(crate) fn gives_tokens(&self) -> bool {
        self.per_token
    }

    /// Size of its vectors; 0 where it makes none.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Tells an item that the graph could not run, before it spoils a batch.
    pub(super) fn check(&self, item: &WorkItem) -> Result<(), ItemFault> {
        let fits = matches!(
            (&self.task, item.want),
            (Task::SequenceClassification { .. }, Want::Logits)
                | (Task::TokenClassification { .. }, Want::TokenLogits)
                | (Task::Embedding, Want::Embedding(_))
                | (Task::Embedding, Want::TokenEmbeddings)
                | (Task::LateInteraction, Want::TokenEmbeddings)
                | (Task::SparseEmbedding, Want::Sparse)
        );
        if !fits || (item.want == Want::TokenEmbeddings && !self.per_token) {
            return Err(ItemFault::WrongWant(item.want.name()));
        }
        let sequence = &item.sequence;
        let bad = |why: String| Err(ItemFault::BadSequence(why));
        if sequence.is_empty() {
            return bad("there are no tokens".to_owned());
        }
        if sequence.len() > self.longest {
            return bad(format!("{} tokens, the model takes at most {}", sequence.len(), self.longest));
        }
        if let Some(id) = sequence.ids.iter().find(|&&id| id as usize >= self.vocab) {
            return bad(format!("token id {id} is outside the vocabulary of {}", self.vocab));
        }
        if !sequence.type_ids.is_empty() && sequence.type_ids.len() != sequence.len() {
            return bad(format!("{} tokens but {} type ids", sequence.len(), sequence.type_ids.len()));
        }
        if let Some(n) = self.segments.filter(|&n| n > 0)
            && let Some(id) = sequence.type_ids.iter().find(|&&id| id as usize >= n)
        {
            return bad(format!("type id {id} is not below {n}"));
        }
        Ok(())
    }
}

fn vocabulary(folder: &Path, config: &Config, signature: &Signature, path: &Path) -> Result<usize, LoadError> {
    match (config.vocab_size, signature.vocab) {
        (Some(said), Some(rows)) if said > rows => Err(LoadError::invalid(
            &folder.join("config.json"),
            format!("vocab_size is {said}, but the graph's table has {rows} rows"),
        )),
        (Some(n), _) | (None, Some(n)) if n > 0 => Ok(n),
        _ => Err(LoadError::unsupported(
            path,
            "the size of the vocabulary is not to be seen; a config.json beside it must give vocab_size",
        )),
    }
}

/// What the folder says; else what the outputs tell. Where config.json gives a head
/// but neither labels nor their number, the graph's own number counts.
fn task(
    said: Option<Task>,
    config: &Config,
    signature: &Signature,
    vocab: usize,
    path: &Path,
) -> Result<Task, LoadError> {
    let guessed = guess_task(signature, vocab);
    let unlabelled = config.id2label.is_none() && config.num_labels.is_none();
    match (said, guessed) {
        (Some(Task::SequenceClassification { .. }), Some(Task::SequenceClassification { labels, .. }))
            if unlabelled =>
        {
            let problem = config.problem(path.parent().unwrap_or(path))?;
            Ok(Task::SequenceClassification { labels, problem })
        }
        (Some(Task::TokenClassification { .. }), Some(guessed @ Task::TokenClassification { .. })) if unlabelled => {
            Ok(guessed)
        }
        (Some(task), _) | (None, Some(task)) => Ok(task),
        (None, None) => Err(LoadError::unsupported(
            path,
            "its outputs do not tell what it is for; a config.json beside it must give architectures",
        )),
    }
}

/// Positions of the model, fewer where the graph is made for one length.
fn longest(
    config: &Config,
    intended: Option<usize>,
    signature: &Signature,
    inputs: &Inputs,
    first_position: usize,
) -> usize {
    let positions = match (config.max_position_embeddings, signature.positions) {
        (Some(said), Some(rows)) => Some(said.min(rows)),
        (said, rows) => said.or(rows),
    };
    let longest = match positions {
        Some(n) => n.saturating_sub(first_position),
        None => intended.unwrap_or(USUAL_LONGEST),
    };
    inputs.length.map_or(longest, |fixed| fixed.min(longest))
}

/// Size of the finished vectors; the modules must fit one another.
fn dimensions(
    hidden: Option<usize>,
    route: Option<&Route>,
    pools_inside: bool,
    folder: &Path,
    path: &Path,
) -> Result<usize, LoadError> {
    let hidden = hidden.ok_or_else(|| {
        LoadError::unsupported(
            path,
            "the size of its vectors is not to be seen; a config.json beside it must give hidden_size",
        )
    })?;
    let Some(route) = route else { return Ok(hidden) };
    if pools_inside {
        return Ok(route.chain.end_width(hidden));
    }
    route.chain.width(hidden).map_err(|why| LoadError::invalid(&folder.join("modules.json"), why))
}
