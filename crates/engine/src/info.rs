//! What is known of a model once its folder is read.

use crate::{
    folder::ScoreActivation,
    item::EmbedSpec,
    post::LateSimilarity,
    task::{Pooling, Problem, Role, Task},
};

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// `model_type` of its config.
    pub model_type: String,
    /// First of its `architectures`.
    pub architecture: String,
    /// What it was made for.
    pub task: Task,
    /// Longest sequence in tokens, specials included.
    pub max_length: usize,
    /// Tokens that the chat template puts around the texts of a pair, where the model reads pairs so; else 0.
    pub chat_tokens: usize,
    /// Entries in its vocabulary.
    pub vocab_size: usize,
    /// Numbers in its vectors; 0 where it makes none.
    pub dimensions: usize,
    /// How its vectors are made by default: the folder's way.
    pub embed: EmbedSpec,
    /// The pooling of its vectors, where it is a single one.
    pub pooling: Option<Pooling>,
    /// Whether its vectors have length 1.
    pub normalize: bool,
    /// The folder's own activation of scores, where it gives scores.
    pub activation: Option<ScoreActivation>,
    /// How its token vectors are compared, where it is a late-interaction model.
    pub late_similarity: Option<LateSimilarity>,
    /// The similarity that the folder names.
    pub similarity: Option<String>,
    /// Whether it reads queries and documents apart: by routes, lengths or markers of their own.
    pub reads_roles: bool,
    /// Whether it has a vector for each token to give, where it gives vectors at all.
    pub gives_tokens: bool,
    /// Longest query and longest document in tokens, where they have lengths of their own.
    pub role_lengths: [Option<usize>; 2],
    /// Prompts the folder names, in name order.
    pub prompts: Vec<(String, String)>,
    /// The prompt used when a caller names none.
    pub default_prompt: Option<String>,
    /// No judge but its published code has confirmed the numbers of its family.
    pub experimental: bool,
    /// Length in tokens at which attention over all pairs takes as long as everything else on its device, so that a token
    /// there is twice as dear; 0 where tokens cost the same at every length, or an export's graph does not say.
    pub doubling_length: u32,
    /// Weights of its layers, embedding tables not counted; `None` for an export, whose graph does not say.
    pub layer_parameters: Option<u64>,
    /// Digest of the files it is served from (hex).
    pub revision: String,
    /// `native`, `onnx` or `static`.
    pub engine: &'static str,
    /// Number format of the weights on the device.
    pub precision: &'static str,
    /// Device it runs on; several as they are listed in a configuration: `cuda:0,cuda:1`.
    pub device: String,
}

impl ModelInfo {
    /// The RPCs it can answer, by name: what its task makes sense for.
    #[must_use]
    pub fn rpcs(&self) -> Vec<&'static str> {
        let mut rpcs = match &self.task {
            Task::SequenceClassification { labels, .. } if labels.len() == 1 => vec!["Rerank", "Classify"],
            Task::SequenceClassification { labels, problem: Problem::SingleLabel } if labels.len() == 2 => {
                vec!["Classify", "Rerank"]
            }
            Task::SequenceClassification { .. } => vec!["Classify"],
            Task::TokenClassification { .. } => vec!["TagTokens"],
            Task::Embedding => vec!["Embed", "EmbedTokens", "Similarity", "Rerank"],
            Task::SparseEmbedding => vec!["EmbedSparse"],
            Task::LateInteraction => vec!["EmbedTokens", "Rerank"],
            Task::ZeroShotTagging { .. } => vec!["TagTokens"],
        };
        rpcs.retain(|rpc| *rpc != "EmbedTokens" || self.gives_tokens);
        rpcs.extend(["Tokenize", "Detokenize"]);
        rpcs
    }

    /// The text that goes before a text of `role` where a caller names no prompt. Of no role it is the default prompt; of a
    /// query or a document the prompt of that name alone, as sentence-transformers has it.
    #[must_use]
    pub fn prompt_of(&self, role: Option<Role>) -> Option<&str> {
        let named = |name: &str| self.prompts.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
        match role {
            None => self.default_prompt.as_deref().and_then(named),
            Some(role) => named(role.name()),
        }
    }
}
