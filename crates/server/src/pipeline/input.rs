//! From one input of a request to token ids.

use std::sync::Arc;

use sortie_engine::{EncodeOptions, InputError, Query, Sequence, TokenDetail, Tokenizer};
use sortie_proto::v1::{Input, input::Kind};

use super::validate::PromptText;
use crate::errors::ItemRefusal;

/// One input and how it is to be read.
#[derive(Clone, Debug)]
pub(crate) struct ParsedInput {
    pub(crate) input: Input,
    /// Text that goes before it.
    pub(crate) prompt: Option<Arc<PromptText>>,
    /// How it is made to fit.
    pub(crate) fit: EncodeOptions,
}

/// What the inputs of a request are.
#[derive(Clone, Debug)]
pub(crate) enum InputKind {
    /// Sequences of their own.
    Alone,
    /// Sequences of their own too, but ids are pieces: without special tokens, which the template adds.
    Pieces {
        /// Whether pairs are taken.
        pairs: bool,
    },
    /// As `Alone`, with the place of each token in its text.
    Detailed {
        /// With the template's special tokens.
        specials: bool,
    },
    /// The second halves of pairs; the query was made once.
    Documents(Query),
}

impl InputKind {
    /// Tokens that every sequence has from elsewhere: the query's.
    pub(super) fn shared_tokens(&self) -> usize {
        match self {
            InputKind::Documents(query) => query.tokens(),
            InputKind::Alone | InputKind::Pieces { .. } | InputKind::Detailed { .. } => 0,
        }
    }
}

/// An input as tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) sequence: Sequence,
    /// One a token where the reading was [`InputKind::Detailed`] and the input a text.
    pub(crate) details: Vec<TokenDetail>,
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
    /// Bytes of text and number of ready ids.
    pub(crate) fn size(&self) -> (usize, usize) {
        let prompt = self.prompt.as_ref().map_or(0, |p| p.text.len());
        match &self.input.kind {
            Some(Kind::Text(text)) => (prompt + text.len(), 0),
            Some(Kind::Pair(pair)) => (prompt + pair.first.len() + pair.second.len(), 0),
            Some(Kind::Tokens(tokens)) => (0, tokens.ids.len()),
            None => (0, 0),
        }
    }

    /// Makes tokens of it.
    pub(crate) fn read(
        &self,
        tokenizer: &Tokenizer,
        input_kind: &InputKind,
        max_text_bytes: u64,
    ) -> Result<Tokens, TokenizeFailure> {
        let whole = |text: &str| -> Result<(), TokenizeFailure> {
            if text.len() as u64 > max_text_bytes {
                return Err(TokenizeFailure::Refused(ItemRefusal::text_too_large(text.len(), max_text_bytes)));
            }
            Ok(())
        };
        let plain = |sequence| Tokens { sequence, details: Vec::new() };
        let kind = self.input.kind.as_ref().ok_or_else(|| unsupported("the input is not set"))?;
        Ok(match (kind, input_kind) {
            (Kind::Text(text), InputKind::Alone | InputKind::Pieces { .. }) => {
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
            (Kind::Pair(pair), InputKind::Alone | InputKind::Pieces { pairs: true }) => {
                whole(&pair.first)?;
                whole(&pair.second)?;
                plain(tokenizer.encode_pair(&self.prompted(&pair.first), &pair.second, &self.fit)?)
            }
            (Kind::Pair(pair), InputKind::Detailed { specials }) => {
                whole(&pair.first)?;
                whole(&pair.second)?;
                self.detail(tokenizer, &pair.first, Some(&pair.second), *specials)?
            }
            (Kind::Pair(_), InputKind::Documents(_) | InputKind::Pieces { pairs: false }) => {
                return Err(unsupported("a document is a text or ids, not a pair; Classify takes pairs"));
            }
            (Kind::Tokens(_), _) if self.prompt.as_ref().is_some_and(|p| p.asked) => {
                return Err(unsupported("a prompt goes before texts, not before ids"));
            }
            (Kind::Tokens(tokens), InputKind::Documents(_) | InputKind::Pieces { .. })
                if !tokens.type_ids.is_empty() =>
            {
                return Err(unsupported("these ids take no type_ids: they are pieces, and the template sets them"));
            }
            (Kind::Tokens(tokens), InputKind::Documents(query)) => plain(tokenizer.ids_with(query, &tokens.ids)?),
            (Kind::Tokens(tokens), InputKind::Pieces { .. }) => plain(tokenizer.encode_ids(&tokens.ids, &self.fit)?),
            (Kind::Tokens(tokens), InputKind::Alone | InputKind::Detailed { .. }) => {
                plain(tokenizer.from_ids(tokens.ids.clone(), tokens.type_ids.clone(), &self.fit)?)
            }
        })
    }

    fn prompted<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        match &self.prompt {
            Some(prompt) => format!("{}{text}", prompt.text).into(),
            None => text.into(),
        }
    }

    /// Tokens with details whose offsets count in the text sent, without the prompt.
    fn detail(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        pair: Option<&str>,
        specials: bool,
    ) -> Result<Tokens, TokenizeFailure> {
        let made = tokenizer.detail(&self.prompted(text), pair, &self.fit, specials)?;
        let shift = self.prompt.as_ref().map_or(0, |p| p.text.len());
        let details = made.details.into_iter().map(|d| without_prompt(d, shift)).collect();
        Ok(Tokens { sequence: made.sequence, details })
    }
}

/// Shifts a token's place by the prompt; a token of the prompt alone becomes special: it has no place in the text.
fn without_prompt(mut detail: TokenDetail, shift: usize) -> TokenDetail {
    if shift == 0 || detail.special || detail.second {
        return detail;
    }
    if detail.end <= shift {
        detail.special = true;
        (detail.start, detail.end) = (0, 0);
    } else {
        detail.start = detail.start.saturating_sub(shift);
        detail.end -= shift;
    }
    detail
}

fn unsupported(message: &str) -> TokenizeFailure {
    TokenizeFailure::Refused(ItemRefusal::unsupported(message))
}

#[cfg(test)]
impl ParsedInput {
    /// A text with nothing special about it.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let input = Input { kind: Some(Kind::Text(text.into())) };
        Self { input, prompt: None, fit: EncodeOptions::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_without_the_prompt() {
        let detail = |start, end| TokenDetail {
            token: String::new(),
            start,
            end,
            special: false,
            second: false,
            continues: false,
        };
        let at = |d: TokenDetail| (d.start, d.end, d.special);
        assert_eq!(at(without_prompt(detail(0, 5), 7)), (0, 0, true));
        assert_eq!(at(without_prompt(detail(5, 9), 7)), (0, 2, false), "a token across the seam keeps its own part");
        assert_eq!(at(without_prompt(detail(9, 12), 7)), (2, 5, false));
        let second = TokenDetail { second: true, ..detail(0, 5) };
        assert_eq!(at(without_prompt(second, 7)), (0, 5, false));
    }
}
