//! A model without weights for tests and benchmarks: its device sleeps `a + b·tokens` and its scores are hashes.
//!
//! A server of real models on a small machine is decided by the machine's cores. Here the cost of a batch is what the
//! model's name says, so that queueing, admission, batching, transport and the client can be measured as they would
//! behave before a fast device:
//!
//! ```text
//! timed:a_ms=1,b_us=0.46[,noise=0.08][,seed=7][,slow=FILE]
//! ```
//!
//! Invariants: the same query and document always have the same score, whatever else is in the batch; a text of n bytes
//! has `⌈n / 4⌉` tokens, at least one, and no specials. Compiled with the feature `timed` only, which no shipped build
//! has.

mod device;
mod spec;
mod tokens;

use std::path::Path;

pub(crate) use self::{device::TimedExecutor, spec::Spec, tokens::first_ids};
use crate::{
    error::LoadError,
    info::ModelInfo,
    item::EmbedSpec,
    options::LoadOptions,
    task::{Problem, Task},
    tokenize::Tokenizer,
};

/// What a path must begin with to be a timed model.
const PREFIX: &str = "timed:";

/// Tokens in the longest sequence: as long as today's long-context rerankers take.
const LONGEST: usize = 8_192;

/// The cost that `path` asks for, if it names a timed model.
pub(crate) fn asked(path: &Path) -> Option<Result<Spec, LoadError>> {
    let text = path.to_str()?.strip_prefix(PREFIX)?;
    Some(text.parse().map_err(|message: String| LoadError::invalid(path, message)))
}

/// Facts and tokenizer of a timed model: a reranker.
pub(crate) fn describe(path: &Path, spec: &Spec, options: &LoadOptions) -> Result<(ModelInfo, Tokenizer), LoadError> {
    let max_length = options.max_length.unwrap_or(LONGEST);
    if !(2..=LONGEST).contains(&max_length) {
        return Err(LoadError::invalid(path, format!("max_length {max_length} is not within 2 to {LONGEST}")));
    }
    let tokenizer = Tokenizer::counting(path, max_length)?;
    let info = ModelInfo {
        model_type: "timed".to_owned(),
        architecture: "Timed".to_owned(),
        task: Task::SequenceClassification { labels: vec!["score".to_owned()], problem: Problem::SingleLabel },
        max_length,
        chat_tokens: 0,
        vocab_size: tokenizer.vocab_size(),
        dimensions: 0,
        embed: EmbedSpec::default(),
        pooling: None,
        normalize: false,
        activation: None,
        late_similarity: None,
        similarity: None,
        role_lengths: [None; 2],
        reads_roles: false,
        gives_tokens: false,
        experimental: false,
        prompts: Vec::new(),
        default_prompt: None,
        layer_parameters: None,
        doubling_length: 0,
        revision: spec.to_string(),
        engine: "timed",
        precision: "none",
        device: "timer".to_owned(),
    };
    Ok((info, tokenizer))
}
