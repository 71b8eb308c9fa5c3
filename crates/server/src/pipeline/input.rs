//! From one input of a request to token ids.

use std::sync::Arc;

use sortie_engine::{EncodeOptions, InputError, Passage, Query, Sequence, TokenDetail, Tokenizer, WindowPlan, Windows};
use sortie_proto::v1::{Input, input::Kind};
use sortie_work::{SPECIAL_TOKENS, TextSize};

use super::{labels::RequestLabels, validate::PromptText};
use crate::item_refusal::ItemRefusal;

/// One input and how it is to be read.
#[derive(Clone, Debug)]
pub(crate) struct ParsedInput {
    pub(crate) input: Input,
    /// Text that goes before it.
    pub(crate) prompt: Option<Arc<PromptText>>,
    /// How it is made to fit.
    pub(crate) fit: EncodeOptions,
    /// Where it is read in windows in place of being cut: the tokens that neighbours share.
    pub(crate) stride: Option<usize>,
}

/// What the inputs of a request are.
#[derive(Clone, Debug)]
pub(crate) enum InputKind {
    /// Sequences of their own.
    Alone,
    /// Sequences of their own too, but ids come without special tokens, which the template adds.
    WithoutSpecials {
        /// Whether pairs are taken.
        pairs: bool,
    },
    /// As `Alone`, with the offsets of each token in its text.
    Detailed {
        /// With the template's special tokens.
        specials: bool,
    },
    /// The second halves of pairs; the query was made once.
    Documents(Query),
    /// Texts behind the labels of the request.
    Labelled(Arc<RequestLabels>),
}

impl InputKind {
    /// Special tokens of a sequence, about.
    fn specials(&self) -> usize {
        match self {
            InputKind::Detailed { specials: false } => 0,
            _ => SPECIAL_TOKENS as usize,
        }
    }

    /// Tokens that every sequence has from elsewhere: the query's.
    fn shared_tokens(&self) -> usize {
        match self {
            InputKind::Documents(query) => query.tokens(),
            InputKind::Labelled(labels) => labels.tokens(),
            InputKind::Alone | InputKind::WithoutSpecials { .. } | InputKind::Detailed { .. } => 0,
        }
    }
}

/// The windows of an input; the first is the sequence beside them.
#[derive(Clone, Debug)]
pub(super) struct LaterWindows {
    /// The others, in the order of the text.
    pub(super) later: Vec<Sequence>,
    /// Tokens of the text in each, the first among them.
    pub(super) tokens: Vec<usize>,
    /// Tokens that neighbours share.
    stride: usize,
}

/// What an input may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Bytes of one text.
    pub(crate) max_text_bytes: u64,
    /// Tokens of all windows of a text that is read in windows.
    pub(crate) window_tokens: usize,
}

/// An input as tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// The first window where the input is read in windows.
    pub(crate) sequence: Sequence,
    /// Set where the input is read in windows.
    pub(super) windows: Option<LaterWindows>,
    /// One a token where the reading was [`InputKind::Detailed`] and the input a text.
    pub(crate) details: Vec<TokenDetail>,
}

impl Tokens {
    fn of(sequence: Sequence) -> Self {
        Self { sequence, windows: None, details: Vec::new() }
    }

    /// Windows it was read in.
    pub(super) fn window_count(&self) -> usize {
        self.windows.as_ref().map_or(1, |windows| windows.tokens.len())
    }

    /// Tokens of the input's own text and of its prompt, without specials.
    pub(super) fn text_tokens(&self, kind: &InputKind) -> usize {
        match &self.windows {
            None => self.sequence.len().saturating_sub(kind.shared_tokens() + kind.specials()),
            Some(LaterWindows { later, tokens, stride }) => {
                tokens.iter().sum::<usize>().saturating_sub(later.len() * stride)
            }
        }
    }
}

/// Why an input is no tokens.
#[derive(Clone, Debug)]
pub(crate) enum TokenizeFailure {
    /// This item's error.
    Refused(ItemRefusal),
    /// The tokenizer's; some are the whole request's.
    Input(InputError),
}

impl From<InputError> for TokenizeFailure {
    fn from(error: InputError) -> Self {
        TokenizeFailure::Input(error)
    }
}

impl ParsedInput {
    /// Its text and what goes before it. Nothing goes before ready ids.
    pub(crate) fn size(&self) -> TextSize {
        let own = self.own_size();
        if own.ids == 0 { own.and(self.prompt_size()) } else { own }
    }

    /// The prompt.
    pub(super) fn prompt_size(&self) -> TextSize {
        TextSize { bytes: self.prompt.as_ref().map_or(0, |p| p.text.len() as u64), ids: 0 }
    }

    /// Its own text or ready ids.
    pub(super) fn own_size(&self) -> TextSize {
        match &self.input.kind {
            Some(Kind::Text(text)) => TextSize { bytes: text.len() as u64, ids: 0 },
            Some(Kind::Pair(pair)) => TextSize { bytes: (pair.first.len() + pair.second.len()) as u64, ids: 0 },
            Some(Kind::Tokens(tokens)) => TextSize { bytes: 0, ids: tokens.ids.len() as u64 },
            Some(Kind::Vectors(_)) | None => TextSize::default(),
        }
    }

    /// Makes tokens of it.
    pub(crate) fn read(
        &self,
        tokenizer: &Tokenizer,
        input_kind: &InputKind,
        limits: ReadLimits,
    ) -> Result<Tokens, TokenizeFailure> {
        let ReadLimits { max_text_bytes, window_tokens } = limits;
        let whole = |text: &str| -> Result<(), TokenizeFailure> {
            if text.len() as u64 > max_text_bytes {
                return Err(TokenizeFailure::Refused(ItemRefusal::text_too_large(text.len(), max_text_bytes)));
            }
            Ok(())
        };
        let plain = Tokens::of;
        let kind = self.input.kind.as_ref().ok_or_else(|| unsupported("the input is not set"))?;
        if let Some(stride) = self.stride {
            let plan = WindowPlan { stride, most_tokens: window_tokens };
            return self.read_windows(tokenizer, input_kind, kind, plan, whole);
        }
        Ok(match (kind, input_kind) {
            (Kind::Vectors(_), _) => return Err(unsupported(VECTORS)),
            (Kind::Text(text), InputKind::Alone | InputKind::WithoutSpecials { .. }) => {
                whole(text)?;
                // A folder may leave the prompt's tokens out of the vector, so it is told which they are.
                plain(match &self.prompt {
                    Some(prompt) => tokenizer.encode_after(&prompt.text, text, &self.fit)?,
                    None => tokenizer.encode(text, &self.fit)?,
                })
            }
            (Kind::Text(text), InputKind::Detailed { specials }) => {
                whole(text)?;
                self.detail(tokenizer, text, None, *specials)?
            }
            (Kind::Text(text), InputKind::Documents(query)) => {
                whole(text)?;
                plain(tokenizer.encode_with(query, text)?)
            }
            (Kind::Text(text), InputKind::Labelled(labels)) => {
                whole(text)?;
                plain(tokenizer.encode_labelled(labels.prompt(tokenizer)?, text, &self.fit)?)
            }
            (Kind::Pair(_) | Kind::Tokens(_), InputKind::Labelled(_)) => {
                return Err(unsupported("what labels name is looked for in a text, not in a pair or in ids"));
            }
            (Kind::Pair(pair), InputKind::Alone | InputKind::WithoutSpecials { pairs: true }) => {
                whole(&pair.first)?;
                whole(&pair.second)?;
                plain(tokenizer.encode_pair_after(self.prompt_text(), &pair.first, &pair.second, &self.fit)?)
            }
            (Kind::Pair(pair), InputKind::Detailed { specials }) => {
                whole(&pair.first)?;
                whole(&pair.second)?;
                self.detail(tokenizer, &pair.first, Some(&pair.second), *specials)?
            }
            (Kind::Pair(_), InputKind::Documents(_) | InputKind::WithoutSpecials { pairs: false }) => {
                return Err(unsupported("a document is a text or ids, not a pair; Classify takes pairs"));
            }
            (Kind::Tokens(_), _) if self.prompt.as_ref().is_some_and(|p| p.asked) => {
                return Err(unsupported("a prompt goes before texts, not before ids"));
            }
            (Kind::Tokens(tokens), InputKind::Documents(_) | InputKind::WithoutSpecials { .. })
                if !tokens.type_ids.is_empty() =>
            {
                return Err(unsupported(
                    "these ids take no type_ids: the template sets them, as it adds the special tokens",
                ));
            }
            (Kind::Tokens(tokens), InputKind::Documents(query)) => plain(tokenizer.ids_with(query, &tokens.ids)?),
            (Kind::Tokens(tokens), InputKind::WithoutSpecials { .. }) => {
                plain(tokenizer.encode_ids(&tokens.ids, &self.fit)?)
            }
            (Kind::Tokens(tokens), InputKind::Alone | InputKind::Detailed { .. }) => {
                plain(tokenizer.from_ids(tokens.ids.clone(), tokens.type_ids.clone(), &self.fit)?)
            }
        })
    }

    /// Reads it in windows.
    fn read_windows(
        &self,
        tokenizer: &Tokenizer,
        input_kind: &InputKind,
        kind: &Kind,
        plan: WindowPlan,
        whole: impl Fn(&str) -> Result<(), TokenizeFailure>,
    ) -> Result<Tokens, TokenizeFailure> {
        let passage = match kind {
            Kind::Text(text) => {
                whole(text)?;
                Passage::Text(text)
            }
            Kind::Tokens(tokens) if tokens.type_ids.is_empty() && !matches!(input_kind, InputKind::Alone) => {
                Passage::Ids(&tokens.ids)
            }
            Kind::Tokens(_) => return Err(unsupported("these ids are a whole sequence, which has no windows")),
            Kind::Pair(_) => return Err(unsupported("a pair has no windows; Rerank reads documents in windows")),
            Kind::Vectors(_) => return Err(unsupported(VECTORS)),
        };
        let made = match (input_kind, &self.prompt) {
            (InputKind::Documents(query), _) => tokenizer.windows(query, passage, plan)?,
            (_, Some(prompt)) if prompt.asked && matches!(kind, Kind::Tokens(_)) => {
                return Err(unsupported("a prompt goes before texts, not before ids"));
            }
            // The folder's own prompt does not go before ids either.
            (_, Some(prompt)) if matches!(kind, Kind::Text(_)) => {
                tokenizer.windows_of(&prompt.text, passage, plan, &self.fit)?
            }
            _ => tokenizer.windows_of("", passage, plan, &self.fit)?,
        };
        let Windows { sequences, tokens } = made;
        let mut sequences = sequences.into_iter();
        let sequence = sequences.next().ok_or_else(|| unsupported("it makes no window"))?;
        let windows = Some(LaterWindows { later: sequences.collect(), tokens, stride: plan.stride });
        Ok(Tokens { sequence, windows, details: Vec::new() })
    }

    fn prompt_text(&self) -> &str {
        self.prompt.as_ref().map_or("", |prompt| &prompt.text)
    }

    /// Tokens with details whose offsets count in the text sent, without the prompt.
    fn detail(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        pair: Option<&str>,
        specials: bool,
    ) -> Result<Tokens, TokenizeFailure> {
        let made = tokenizer.detail_after(self.prompt_text(), text, pair, &self.fit, specials)?;
        Ok(Tokens { details: made.details, ..Tokens::of(made.sequence) })
    }
}

/// Why token vectors are no tokens.
const VECTORS: &str =
    "token vectors are compared, not encoded: they are documents of Rerank by a late-interaction model";

fn unsupported(message: &str) -> TokenizeFailure {
    TokenizeFailure::Refused(ItemRefusal::unsupported(message))
}

#[cfg(test)]
impl ParsedInput {
    /// A text with nothing special about it.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let input = Input { kind: Some(Kind::Text(text.into())) };
        Self { input, prompt: None, fit: EncodeOptions::default(), stride: None }
    }
}
