//! How texts become tokens and outputs become scores.

use sortie_client::{
    Activation, Aggregation, Pooling, RevisionPolicy, Role, TextOptions, Truncation, TruncationSide, WindowScore,
};

/// Text flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Text")]
pub(crate) struct TextArgs {
    /// What gives way when a text is longer than the model takes
    #[arg(long, value_enum)]
    pub(crate) truncation: Option<TruncationArg>,
    /// Longest sequence in tokens, specials included; the model's own limit if left out
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_length: Option<u32>,
    /// Text put before each input (in rerank: before the query)
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    pub(crate) prompt: Option<String>,
    /// The same, by a name that the model folder defines (see `sortie models --json`)
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt_name: Option<String>,
    /// What the inputs are for; rerank and similarity read the first text as a query and the rest as documents
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleArg>,
    /// Where a text that is too long is cut; as the model does if left out
    #[arg(long, value_enum, value_name = "SIDE")]
    pub(crate) truncation_side: Option<SideArg>,
    /// Read special tokens spelled out in texts, such as `[SEP]`, as plain text
    #[arg(long)]
    pub(crate) plain_text: bool,
    /// Fail if servers answer with different revisions of the model, rather than say so
    #[arg(long)]
    pub(crate) one_revision: bool,
}

impl TextArgs {
    /// The same for the client.
    pub(crate) fn options(&self) -> TextOptions {
        let mut options = TextOptions::default();
        options.truncation = match self.truncation {
            None | Some(TruncationArg::DocumentOnly) => Truncation::DocumentOnly,
            Some(TruncationArg::LongestFirst) => Truncation::LongestFirst,
            Some(TruncationArg::Error) => Truncation::Error,
        };
        options.max_length = self.max_length;
        options.prompt_name.clone_from(&self.prompt_name);
        options.prompt.clone_from(&self.prompt);
        options.role = self.role.map(|role| match role {
            RoleArg::Query => Role::Query,
            RoleArg::Document => Role::Document,
        });
        options.truncation_side = self.truncation_side.map(|side| match side {
            SideArg::Left => TruncationSide::Left,
            SideArg::Right => TruncationSide::Right,
        });
        options.plain_text = self.plain_text;
        options
    }

    /// What to do about different revisions.
    pub(crate) fn revisions(&self) -> RevisionPolicy {
        if self.one_revision { RevisionPolicy::Fail } else { RevisionPolicy::Flag }
    }
}

/// What to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TruncationArg {
    /// The end of the document; never the query (the default)
    DocumentOnly,
    /// Token by token from the longer side of a pair
    LongestFirst,
    /// Nothing: a text that is too long fails
    Error,
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleArg {
    /// It asks
    Query,
    /// It may be an answer
    Document,
}

/// Which end is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SideArg {
    /// The beginning
    Left,
    /// The end
    Right,
}

/// How token labels become spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AggregationArg {
    /// Words by script and tokenizer, each with the label of its first token (the default)
    Words,
    /// One span a token
    None,
    /// Neighbouring tokens of one entity
    Simple,
    /// Transformers' words with the label of their first token
    First,
    /// Transformers' words with the label of the best mean
    Average,
    /// Transformers' words with the label of their best token
    Max,
}

impl From<AggregationArg> for Aggregation {
    fn from(arg: AggregationArg) -> Self {
        match arg {
            AggregationArg::Words => Self::Words,
            AggregationArg::None => Self::None,
            AggregationArg::Simple => Self::Simple,
            AggregationArg::First => Self::First,
            AggregationArg::Average => Self::Average,
            AggregationArg::Max => Self::Max,
        }
    }
}

/// What becomes of the scores of a document's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WindowScoreArg {
    /// The best window's
    Max,
    /// The first window's
    First,
    /// The mean by tokens
    Mean,
}

impl From<WindowScoreArg> for WindowScore {
    fn from(arg: WindowScoreArg) -> Self {
        match arg {
            WindowScoreArg::Max => Self::Max,
            WindowScoreArg::First => Self::First,
            WindowScoreArg::Mean => Self::Mean,
        }
    }
}

/// What is done to logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ActivationArg {
    /// Nothing
    Raw,
    /// Each on its own
    Sigmoid,
    /// Over the labels
    Softmax,
    /// What the model's folder names
    Model,
}

impl From<ActivationArg> for Activation {
    fn from(arg: ActivationArg) -> Self {
        match arg {
            ActivationArg::Raw => Self::Raw,
            ActivationArg::Sigmoid => Self::Sigmoid,
            ActivationArg::Softmax => Self::Softmax,
            ActivationArg::Model => Self::FolderOwn,
        }
    }
}

/// How token states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PoolingArg {
    /// First token
    Cls,
    /// Mean over all tokens
    Mean,
    /// Largest value of each dimension
    Max,
    /// Last token
    Last,
    /// Sum over the root of the length
    MeanSqrtLen,
    /// Mean weighted by place
    WeightedMean,
}

impl From<PoolingArg> for Pooling {
    fn from(arg: PoolingArg) -> Self {
        match arg {
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Max => Self::Max,
            PoolingArg::Last => Self::Last,
            PoolingArg::MeanSqrtLen => Self::MeanSqrtLen,
            PoolingArg::WeightedMean => Self::WeightedMean,
        }
    }
}
