//! The flags of each command.

use std::path::PathBuf;

use super::{ActivationArg, AggregationArg, InputArgs, PoolingArg, TextArgs, WindowScoreArg};

/// `sortie rerank`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RerankArgs {
    /// What is asked
    pub(crate) query: String,
    /// Documents; with none, see --docs, else standard input
    pub(crate) documents: Vec<String>,
    /// Show only the best so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) top: Option<usize>,
    /// What is done to the scores; nothing if left out
    #[arg(long, value_enum)]
    pub(crate) activation: Option<ActivationArg>,
    /// Read long documents in windows that share so many tokens, in place of cutting them
    #[arg(long, value_name = "TOKENS")]
    pub(crate) stride: Option<u32>,
    /// What becomes of the windows' scores; the best counts if left out
    #[arg(long, value_enum, requires = "stride", value_name = "WAY")]
    pub(crate) window_score: Option<WindowScoreArg>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie embed`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Pooling other than the model's own
    #[arg(long, value_enum)]
    pub(crate) pooling: Option<PoolingArg>,
    /// Give vectors length 1, or not; the model's own habit if left out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) normalize: Option<bool>,
    /// Keep only the first so many dimensions (Matryoshka)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) dimensions: Option<u32>,
    /// Read long texts in windows that share so many tokens, in place of cutting them; their mean is the vector
    #[arg(long, value_name = "TOKENS")]
    pub(crate) stride: Option<u32>,
    /// Send vectors as half floats: half the bytes, three digits
    #[arg(long)]
    pub(crate) half: bool,
    /// Write the vectors to a NumPy file (f32, one row an input, NaN where it failed)
    #[arg(long, short, value_name = "FILE.npy")]
    pub(crate) output: Option<PathBuf>,
    /// Lines are pairs: two texts with a tab between, or JSON {"first", "second"}
    #[arg(long)]
    pub(crate) pair: bool,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie embed-tokens`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EmbedTokensArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Send vectors as half floats: half the bytes, three digits
    #[arg(long)]
    pub(crate) half: bool,
    /// Write all rows, one text's after the other's, to a NumPy file (f32)
    #[arg(long, short, value_name = "FILE.npy")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie sparse`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SparseArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Keep only the heaviest so many entries of each
    #[arg(long, short = 'k', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: Option<u32>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie classify`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClassifyArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Lines are pairs: two texts with a tab between, or JSON {"first", "second"}
    #[arg(long)]
    pub(crate) pair: bool,
    /// What is done to the logits; the model's own habit if left out
    #[arg(long, value_enum)]
    pub(crate) activation: Option<ActivationArg>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie tag`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Lines are pairs: two texts with a tab between, or JSON {"first", "second"}
    #[arg(long)]
    pub(crate) pair: bool,
    /// How token labels become spans
    #[arg(long, value_enum)]
    pub(crate) aggregation: Option<AggregationArg>,
    /// What to find, in words, for a model whose labels come with the request; once for each
    #[arg(long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Score above which something is found, with --label; 0.5 if left out
    #[arg(long, value_name = "0..1", requires = "labels")]
    pub(crate) threshold: Option<f32>,
    /// Find spans within spans too, with --label
    #[arg(long, requires = "labels")]
    pub(crate) nested: bool,
    /// Give a span several labels, with --label
    #[arg(long, requires = "labels")]
    pub(crate) multi_label: bool,
    /// Print the scores of every token too (with --json)
    #[arg(long, requires = "json")]
    pub(crate) token_scores: bool,
    /// Labels that make no span; `O` if left out
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub(crate) ignore_labels: Vec<String>,
    /// What is done to the logits; softmax if left out
    #[arg(long, value_enum)]
    pub(crate) activation: Option<ActivationArg>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie similarity`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SimilarityArgs {
    /// The text to compare
    pub(crate) source: String,
    /// Texts to compare it with; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Show only the nearest so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) top: Option<usize>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie tokenize`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TokenizeArgs {
    /// Texts; with none, see --file, else standard input
    pub(crate) texts: Vec<String>,
    /// Lines are pairs: two texts with a tab between, or JSON {"first", "second"}
    #[arg(long)]
    pub(crate) pair: bool,
    /// Leave special tokens out
    #[arg(long)]
    pub(crate) no_specials: bool,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
}

/// `sortie models`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelsArgs {}

/// `sortie probe`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProbeArgs {}
