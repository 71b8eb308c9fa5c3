//! What callers send: texts, pairs of texts, or token ids.
//!
//! Anything a text is taken from converts [`Into<Input>`], so `&str`, `String`,
//! `(first, second)` and [`TokenIds`] can be passed as they are.

use sortie_proto::v1;

use crate::kept_vectors::KeptVectors;

/// One thing to encode.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// Plain text.
    Text(String),
    /// Two texts read together, as a cross-encoder or an entailment model does.
    Pair(String, String),
    /// Ids made with the model's own tokenizer.
    Tokens(TokenIds),
    /// A document of rerank by a late-interaction model: its token vectors, as
    /// [`Client::embed_tokens`](crate::Client::embed_tokens) gave them.
    Vectors(KeptVectors),
}

impl Input {
    /// Bytes of text and number of ready ids.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Text(text) => (text.len(), 0),
            Self::Pair(first, second) => (first.len() + second.len(), 0),
            Self::Tokens(tokens) => (0, tokens.ids.len()),
            // They are compared, not encoded.
            Self::Vectors(_) => (0, 0),
        }
    }
}

/// A sequence that the caller tokenized.
///
/// Where an input stands alone the ids are used as they are, so they hold their
/// special tokens. In rerank and similarity they are pieces without special
/// tokens, which the server joins by the model's template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TokenIds {
    /// Vocabulary ids, in order.
    pub ids: Vec<u32>,
    /// Segment of each id; empty means all zero, else as long as `ids`.
    pub type_ids: Vec<u32>,
}

impl TokenIds {
    /// Ids of one segment.
    pub fn new(ids: impl Into<Vec<u32>>) -> Self {
        Self { ids: ids.into(), type_ids: Vec::new() }
    }

    /// Sets the segment (type id) of each token id.
    #[must_use]
    pub fn with_type_ids(mut self, type_ids: impl Into<Vec<u32>>) -> Self {
        self.type_ids = type_ids.into();
        self
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Input {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Input> for Input {
    fn from(input: &Input) -> Self {
        input.clone()
    }
}

impl<A: Into<String>, B: Into<String>> From<(A, B)> for Input {
    fn from((first, second): (A, B)) -> Self {
        Self::Pair(first.into(), second.into())
    }
}

impl From<KeptVectors> for Input {
    fn from(vectors: KeptVectors) -> Self {
        Self::Vectors(vectors)
    }
}

impl From<TokenIds> for Input {
    fn from(tokens: TokenIds) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<Input> for v1::Input {
    fn from(input: Input) -> Self {
        use v1::input::Kind;
        let kind = match input {
            Input::Text(text) => Kind::Text(text),
            Input::Pair(first, second) => Kind::Pair(v1::TextPair { first, second }),
            Input::Tokens(TokenIds { ids, type_ids }) => Kind::Tokens(v1::TokenIds { ids, type_ids }),
            Input::Vectors(vectors) => Kind::Vectors(vectors.into()),
        };
        Self { kind: Some(kind) }
    }
}

/// Many inputs as they are sent.
pub(crate) fn to_wire<I>(inputs: I) -> Vec<v1::Input>
where
    I: IntoIterator,
    I::Item: Into<Input>,
{
    inputs.into_iter().map(|input| input.into().into()).collect()
}

/// What gives way when a sequence is longer than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Truncation {
    /// The end of the document (or of the only text); a query is never cut.
    #[default]
    DocumentOnly,
    /// Token by token from the longer side of a pair.
    LongestFirst,
    /// Nothing: a sequence that is too long is that item's error.
    Error,
}

/// What a text is for: some models read queries and documents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It asks.
    Query,
    /// It may be an answer.
    Document,
}

impl Role {
    fn to_wire(self) -> v1::Role {
        match self {
            Self::Query => v1::Role::Query,
            Self::Document => v1::Role::Document,
        }
    }

    pub(crate) fn from_wire(wire: v1::Role) -> Option<Self> {
        match wire {
            v1::Role::Unspecified => None,
            v1::Role::Query => Some(Self::Query),
            v1::Role::Document => Some(Self::Document),
        }
    }
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TruncationSide {
    /// The beginning is cut off.
    Left,
    /// The end is cut off.
    Right,
}

impl TruncationSide {
    fn to_wire(self) -> v1::TruncationSide {
        match self {
            Self::Left => v1::TruncationSide::Left,
            Self::Right => v1::TruncationSide::Right,
        }
    }
}

/// How texts become tokens, the same for every input of a call: for programs that keep it and hand it to many calls.
///
/// ```
/// let mut options = sortie_client::TextOptions::default();
/// options.max_length = Some(256);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TextOptions {
    /// What to cut.
    pub truncation: Truncation,
    /// Longest sequence in tokens, specials included; `None` takes the model's own.
    pub max_length: Option<u32>,
    /// Name of a prompt the model defines; its text goes before each input (in rerank: the query).
    pub prompt_name: Option<String>,
    /// A prompt given in full; excludes `prompt_name`.
    pub prompt: Option<String>,
    /// What the inputs are for. In rerank and similarity, `Query` reads the query as one and the rest as documents.
    pub role: Option<Role>,
    /// Which end of a text is cut where it is too long; `None` takes the model's own.
    pub truncation_side: Option<TruncationSide>,
    /// Special tokens spelled out in a text are plain text: for texts that are not trusted.
    pub plain_text: bool,
}

impl TextOptions {
    pub(crate) fn to_wire(&self) -> v1::TextOptions {
        let truncation = match self.truncation {
            Truncation::DocumentOnly => v1::Truncation::DocumentOnly,
            Truncation::LongestFirst => v1::Truncation::LongestFirst,
            Truncation::Error => v1::Truncation::Error,
        };
        v1::TextOptions {
            truncation: truncation.into(),
            max_length: self.max_length.unwrap_or_default(),
            prompt_name: self.prompt_name.clone().unwrap_or_default(),
            prompt: self.prompt.clone().unwrap_or_default(),
            role: self.role.map_or(v1::Role::Unspecified, Role::to_wire).into(),
            truncation_side: self
                .truncation_side
                .map_or(v1::TruncationSide::Unspecified, TruncationSide::to_wire)
                .into(),
            plain_text: self.plain_text,
        }
    }
}

/// What is done to a head's logits before they leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// The model's own: none in rerank and for one label, sigmoid for several labels
    /// that do not exclude one another, softmax for those that do and for tokens.
    #[default]
    ModelDefault,
    /// Nothing: logits.
    Raw,
    /// Each logit on its own.
    Sigmoid,
    /// Over the labels.
    Softmax,
    /// What the model's folder names, else what sentence-transformers does.
    FolderOwn,
}

impl Activation {
    pub(crate) fn to_wire(self) -> i32 {
        let wire = match self {
            Self::ModelDefault => v1::Activation::Unspecified,
            Self::Raw => v1::Activation::Raw,
            Self::Sigmoid => v1::Activation::Sigmoid,
            Self::Softmax => v1::Activation::Softmax,
            Self::FolderOwn => v1::Activation::Model,
        };
        wire.into()
    }

    pub(crate) fn from_wire(wire: v1::Activation) -> Self {
        match wire {
            v1::Activation::Unspecified => Self::ModelDefault,
            v1::Activation::Raw => Self::Raw,
            v1::Activation::Sigmoid => Self::Sigmoid,
            v1::Activation::Softmax => Self::Softmax,
            v1::Activation::Model => Self::FolderOwn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_is_taken_from_converts() {
        assert_eq!(Input::from("a"), Input::Text("a".into()));
        assert_eq!(Input::from(("a", String::from("b"))), Input::Pair("a".into(), "b".into()));
        let tokens = TokenIds::new([101, 102]).with_type_ids([0, 1]);
        let v1::Input { kind: Some(v1::input::Kind::Tokens(wire)) } = Input::from(tokens).into() else {
            panic!("not tokens")
        };
        assert_eq!((wire.ids, wire.type_ids), (vec![101, 102], vec![0, 1]));
    }
}
