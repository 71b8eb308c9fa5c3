//! Tokens with their places in the text, for Tokenize and TagTokens.
//!
//! Always the reference path: offsets come from `tokenizers` and go through the
//! file's post-processor, which may trim whitespace off them. They are byte
//! offsets into the original UTF-8 text, on character boundaries, so
//! `&text[start..end]` is always valid.

use super::{
    EncodeOptions, Tokenizer, Truncation, TruncationSide,
    piece::{Piece, PieceForm, contained},
    reading, script, template,
    truncate::{self, Kept},
};
use crate::{error::InputError, item::Sequence};

/// One token and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDetail {
    /// The vocabulary's spelling of it.
    pub token: String,
    /// First byte in its text; 0 for a special token.
    pub start: usize,
    /// Byte behind its last in its text; 0 for a special token.
    pub end: usize,
    /// Added by the template. A special token spelled out in the text is not special here.
    pub special: bool,
    /// From the second text of a pair: offsets count in that one.
    pub second: bool,
    /// Goes on with the word of the token before it: the tokenizer says so, and neither punctuation, nor a space, nor a
    /// script that is written without spaces stands at the seam.
    pub continues: bool,
}

/// A sequence and, one for one, the details of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedText {
    /// The ids.
    pub sequence: Sequence,
    /// One for each id, in order.
    pub details: Vec<TokenDetail>,
}

impl Tokenizer {
    /// Tokenizes `text`, or `text` and `pair`, with details. With `specials` the sequence equals that of
    /// [`Tokenizer::encode`] or [`Tokenizer::encode_pair`], the marker and the filler of a role among them; without, the template's tokens are left out, and the texts
    /// have their room too.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] and [`Tokenizer::encode_pair`].
    pub fn detail(
        &self,
        text: &str,
        pair: Option<&str>,
        options: &EncodeOptions,
        specials: bool,
    ) -> Result<TokenizedText, InputError> {
        self.detail_after("", text, pair, options, specials)
    }

    /// As [`detail`](Self::detail), with a prompt: it goes before the first text, or is the instruction of a chat template.
    /// Its own tokens have no place in the text, and count as special.
    ///
    /// # Errors
    /// As [`detail`](Self::detail), and [`InputError::BadOption`] where a chat template has no place for an instruction.
    pub fn detail_after(
        &self,
        prompt: &str,
        text: &str,
        pair: Option<&str>,
        options: &EncodeOptions,
        specials: bool,
    ) -> Result<TokenizedText, InputError> {
        if self.reads_chat() && (pair.is_some() || specials) {
            let Some(document) = pair else {
                return Err(InputError::NoChat(
                    "a text alone does not go into the model's chat template; send a pair, or ask for no special tokens"
                        .to_owned(),
                ));
            };
            let query = self.first_text(prompt, text, options)?;
            if let Some(made) = self.detail_of_chat(&query, document, specials) {
                return made;
            }
        }
        let prompted = format!("{prompt}{text}");
        let mut made = match pair {
            None => self.detail_single(&prompted, options, specials)?,
            Some(_) => {
                let limit = self.limit(options, self.added(true, specials))?;
                self.detail_of(&prompted, pair, options, specials, limit)?
            }
        };
        made.details.iter_mut().for_each(|detail| without_prompt(detail, prompt.len()));
        Ok(made)
    }

    /// A single text, as its role has it read.
    fn detail_single(&self, text: &str, options: &EncodeOptions, specials: bool) -> Result<TokenizedText, InputError> {
        let (reader, rule) = self.reading(options)?;
        if let Some(rules) = reader.static_rules {
            let limit = reader.limit(options, 0)?;
            let end = rules.end_of(text);
            let mut made = reader.detail_of(&text[..end], None, options, false, limit)?;
            let keep: Vec<bool> = made.sequence.ids.iter().map(|&id| Some(id) != rules.unknown).collect();
            let mut kept = keep.iter();
            made.details.retain(|_| kept.next().copied().unwrap_or(true));
            let more = made.sequence.truncated || end < text.len();
            made.sequence = reader.static_sequence(made.sequence.ids, more, limit, options, rules)?;
            return Ok(made);
        }
        // Without the template's tokens there is no frame that a marker or filler could stand in.
        let rule = rule.filter(|_| specials);
        let limit = reader.limit_of(options, rule, reader.added(false, specials))?;
        let mut made = reader.detail_of(text, None, options, specials, limit)?;
        let before = made.sequence.len();
        made.sequence = reading::finished(made.sequence, rule, options.role);
        let detail = |id: u32| TokenDetail {
            token: reader.inner.id_to_token(id).unwrap_or_default(),
            start: 0,
            end: 0,
            special: true,
            second: false,
            continues: false,
        };
        if let Some(marker) = rule.and_then(|rule| rule.marker) {
            made.details.insert(before.min(1), detail(marker));
        }
        let filled = made.sequence.ids.iter().skip(made.details.len()).map(|&id| detail(id));
        made.details.extend(filled.collect::<Vec<_>>());
        Ok(made)
    }

    /// Special tokens the template adds, where it is wanted.
    fn added(&self, pair: bool, specials: bool) -> usize {
        if specials { self.specials(pair) } else { 0 }
    }

    /// The tokens of a text or a pair, of `limit` at most, with their places.
    fn detail_of(
        &self,
        text: &str,
        pair: Option<&str>,
        options: &EncodeOptions,
        specials: bool,
        limit: usize,
    ) -> Result<TokenizedText, InputError> {
        let rule = options.truncation;
        let added = self.added(pair.is_some(), specials);
        let piece = |text: &str, must_fit: bool, segment| -> Result<Piece, InputError> {
            self.piece(text, self.stop(text, must_fit, limit, options), PieceForm::Encoding { segment }, true, options)
        };
        let whole_first = rule == Truncation::Error || (pair.is_some() && rule == Truncation::DocumentOnly);
        let first = piece(text, whole_first, 0)?;
        let second = pair.map(|text| piece(text, rule == Truncation::Error, 1)).transpose()?;
        let kept = truncate::fit(&first, second.as_ref(), limit, added, rule)?;
        let kept = Kept { left: self.side_of(options) == TruncationSide::Left, ..kept };
        let encoding = contained(|| template::processed(&self.inner, &first, second.as_ref(), &kept, specials))?;
        if encoding.len() > limit {
            return Err(InputError::TooLong { tokens: encoding.len(), limit });
        }

        let places = encoding.get_sequence_ids();
        let words = encoding.get_word_ids();
        let details = (0..encoding.len())
            .map(|i| {
                let second = places[i] == Some(1);
                let special = encoding.get_special_tokens_mask()[i] == 1;
                let source = if second { pair.unwrap_or_default() } else { text };
                let (start, end) = on_boundaries(source, encoding.get_offsets()[i]);
                let same = i > 0 && words[i].is_some() && words[i] == words[i - 1] && places[i] == places[i - 1];
                let before = if same { on_boundaries(source, encoding.get_offsets()[i - 1]).1 } else { 0 };
                let continues = !special && same && script::goes_on(source, before, start);
                TokenDetail { token: encoding.get_tokens()[i].clone(), start, end, special, second, continues }
            })
            .collect();
        let (ids, type_ids) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
        Ok(TokenizedText { sequence: self.sequence(ids, type_ids, kept.truncated), details })
    }
}

/// Shifts a token's place by the prompt; a token of the prompt alone becomes special: it has no place in the text.
fn without_prompt(detail: &mut TokenDetail, shift: usize) {
    if shift == 0 || detail.special || detail.second {
        return;
    }
    if detail.end <= shift {
        detail.special = true;
        (detail.start, detail.end) = (0, 0);
    } else {
        detail.start = detail.start.saturating_sub(shift);
        detail.end -= shift;
    }
}

/// Widens offsets to whole characters of `text`. Byte-level tokens may be parts of one.
fn on_boundaries(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let start = text.floor_char_boundary(start);
    (start, text.ceil_char_boundary(end).max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_without_the_prompt() {
        let at = |start, end, second| {
            let mut d = TokenDetail { token: String::new(), start, end, special: false, second, continues: false };
            without_prompt(&mut d, 7);
            (d.start, d.end, d.special)
        };
        assert_eq!(at(0, 5, false), (0, 0, true));
        assert_eq!(at(5, 9, false), (0, 2, false), "a token across the seam keeps its own part");
        assert_eq!(at(9, 12, false), (2, 5, false));
        assert_eq!(at(0, 5, true), (0, 5, false));
    }
}
