//! One text without specials: the steps of `tokenizers`' own `encode`, one by
//! one, so that they can stop early.
//!
//! `tokenizers` with a truncation set stops at the first word that reaches the
//! limit (added tokens count, but only a word of the model's stops), and its
//! `longest_first` compares the counts reached so far. A [`Piece`] stops at the
//! same word: `ids` holds whole words up to the first that reaches the [`Stop`].
//! Where the end of a text is kept, both go from its last word backwards.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokenizers::{
    Encoding, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Token, TruncationDirection,
    models::ModelWrapper,
};

use super::{TruncationSide, guard};
use crate::error::InputError;

/// How much of a text is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// No word is needed beyond the one that reaches so many tokens.
    tokens: usize,
    /// Which end of the text the words are cut off at.
    side: TruncationSide,
}

impl Stop {
    /// All of the text is needed.
    pub(super) const NOWHERE: Self = Self { tokens: usize::MAX, side: TruncationSide::Right };

    /// So many tokens are needed of a text that is cut at `side`.
    pub(super) fn at(tokens: usize, side: TruncationSide) -> Self {
        Self { tokens, side }
    }

    /// How many tokens are read from the beginning: all of them where the end is what stays.
    pub(super) fn first(self) -> usize {
        if self.side == TruncationSide::Left { usize::MAX } else { self.tokens }
    }

    /// Whether a text of so many tokens goes past it.
    pub(super) fn is_reached(self, tokens: usize) -> bool {
        tokens >= self.tokens
    }
}

/// What a piece carries beside its ids.
#[derive(Clone, Copy, Debug)]
pub(super) enum PieceForm {
    /// Nothing.
    Ids,
    /// The crate's own encoding, with offsets, for the post-processor.
    Encoding {
        /// Type id of its tokens before the post-processor sees them.
        segment: u32,
    },
}

/// Tokens of one text, without specials.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Ids of whole words, up to the one that reaches the stop.
    pub(super) ids: Vec<u32>,
    /// Whether the text goes on behind them, or before them where its end is kept.
    pub(super) more: bool,
    /// At least the tokens of `ids`; `None` where [`PieceForm::Ids`] was asked for.
    pub(super) encoding: Option<Encoding>,
}

impl Piece {
    /// Tokenizes `text` up to the word that reaches the stop.
    pub(super) fn of_text(
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        stop: Stop,
        form: PieceForm,
    ) -> tokenizers::Result<Self> {
        if stop.side == TruncationSide::Left {
            return Self::end_of_text(tokenizer, text, stop.tokens, form);
        }
        let stop = stop.tokens;
        let mut heads = guard::heads(text, stop);
        loop {
            let head = heads.next().ok_or("a text without a beginning")?;
            // One more than wanted tells whether there is more.
            let wanted = stop.saturating_add(if head.whole { 1 } else { spare(tokenizer) });
            let Words { words, added } = Words::of(tokenizer, head.text, wanted)?;
            let (ids, total) = first_ids(&words, &added, stop);
            if head.last || total >= wanted {
                let more = !head.whole || total > ids.len();
                let encoding = match form {
                    PieceForm::Ids => None,
                    PieceForm::Encoding { segment } => Some(words.into_encoding(None, segment, OffsetType::Byte)?),
                };
                return Ok(Piece { ids, more, encoding });
            }
        }
    }

    /// The last words of `text`, from the one that reaches `stop` tokens, counted from the end.
    fn end_of_text(
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        stop: usize,
        form: PieceForm,
    ) -> tokenizers::Result<Self> {
        let Words { words, added } = Words::of(tokenizer, text, usize::MAX)?;
        let kept = last_words(&words, &added, stop);
        let mut ids: Vec<u32> = splits(&words).flat_map(Option::unwrap_or_default).map(|token| token.id).collect();
        let cut = ids.len() - kept;
        ids.drain(..cut);
        let mut piece = Piece { ids, more: cut > 0, encoding: None };
        if let PieceForm::Encoding { segment } = form {
            piece.encoding = Some(words.into_encoding(None, segment, OffsetType::Byte)?);
            piece.encoding = Some(piece.part(kept, true)?);
        }
        Ok(piece)
    }

    /// Its tokens and then those of `rest`.
    pub(super) fn before(mut self, rest: Piece) -> Piece {
        self.ids.extend(rest.ids);
        self.encoding = self.encoding.zip(rest.encoding).map(|(mut first, second)| {
            first.merge_with(second, false);
            first
        });
        Piece { more: rest.more, ..self }
    }

    /// Ready ids without specials.
    pub(super) fn of_ids(tokenizer: &tokenizers::Tokenizer, ids: &[u32], form: PieceForm) -> Self {
        let encoding = match form {
            PieceForm::Ids => None,
            PieceForm::Encoding { segment } => {
                let n = ids.len();
                let tokens = ids.iter().map(|&id| tokenizer.id_to_token(id).unwrap_or_default()).collect();
                Some(Encoding::new(
                    ids.to_vec(),
                    vec![segment; n],
                    tokens,
                    vec![None; n],
                    vec![(0, 0); n],
                    vec![0; n],
                    vec![1; n],
                    Vec::new(),
                    Default::default(),
                ))
            }
        };
        Piece { ids: ids.to_vec(), more: false, encoding }
    }

    /// Its first `n` tokens as an encoding, or its last.
    pub(super) fn part(&self, n: usize, last: bool) -> tokenizers::Result<Encoding> {
        let all = self.encoding.as_ref().ok_or("a piece was made without its encoding")?;
        if all.len() == n {
            return Ok(all.clone());
        }
        let range = if last { all.len() - n..all.len() } else { 0..n };
        // `Encoding::truncate` would keep all the rest as overflow.
        Ok(Encoding::new(
            all.get_ids()[range.clone()].to_vec(),
            all.get_type_ids()[range.clone()].to_vec(),
            all.get_tokens()[range.clone()].to_vec(),
            all.get_word_ids()[range.clone()].to_vec(),
            all.get_offsets()[range.clone()].to_vec(),
            all.get_special_tokens_mask()[range.clone()].to_vec(),
            all.get_attention_mask()[range.clone()].to_vec(),
            Vec::new(),
            Default::default(),
        ))
    }
}

/// Tokens at the end of a head that are not trusted, for this model.
pub(super) fn spare(tokenizer: &tokenizers::Tokenizer) -> usize {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => guard::SPARE_TOKENS.max(model.max_input_chars_per_word.saturating_add(1)),
        _ => guard::SPARE_TOKENS,
    }
}

/// A text in words, tokenized until there were enough.
struct Words {
    words: PreTokenizedString,
    /// Which of them are added tokens.
    added: Vec<bool>,
}

impl Words {
    /// Normalizes and splits `text`, and tokenizes its words until there are `wanted` tokens.
    fn of(tokenizer: &tokenizers::Tokenizer, text: &str, wanted: usize) -> tokenizers::Result<Self> {
        let mut words = tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(splitter) = tokenizer.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words)?;
        }
        let added = splits(&words).map(|tokens| tokens.is_some()).collect();
        let stop = (wanted != usize::MAX).then_some((wanted, TruncationDirection::Right));
        tokenizer.get_model().tokenize_in_pretokenized(&mut words, stop)?;
        Ok(Words { words, added })
    }
}

/// Tokens of each word, where it has any yet.
fn splits(words: &PreTokenizedString) -> impl Iterator<Item = Option<&[Token]>> {
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
    splits.into_iter().map(|(_, _, tokens)| tokens.as_deref())
}

/// Ids of whole words up to the first of the model's that reaches `stop`, and how many tokens there are in all.
fn first_ids(words: &PreTokenizedString, added: &[bool], stop: usize) -> (Vec<u32>, usize) {
    let (mut ids, mut total, mut reached) = (Vec::new(), 0, false);
    for (tokens, &added) in splits(words).zip(added) {
        let tokens = tokens.unwrap_or_default();
        total += tokens.len();
        if !reached {
            ids.extend(tokens.iter().map(|t| t.id));
            reached = !added && total >= stop;
        }
    }
    (ids, total)
}

/// How many tokens the last words have, from the one of the model's that reaches `stop`, counted from the end.
fn last_words(words: &PreTokenizedString, added: &[bool], stop: usize) -> usize {
    let counts: Vec<usize> = splits(words).map(|tokens| tokens.map_or(0, <[Token]>::len)).collect();
    let mut total = 0;
    for (&tokens, &added) in counts.iter().zip(added).rev() {
        total += tokens;
        if !added && total >= stop {
            break;
        }
    }
    total
}

/// Runs the crate's code; its errors and its panics become [`InputError::Tokenizer`].
pub(super) fn contained<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, InputError> {
    // Nothing of ours is changed inside, and the crate's caches only ever lose an entry.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(|e| InputError::Tokenizer(e.to_string())),
        Err(payload) => Err(InputError::Tokenizer(format!("it panicked: {}", panic_message(payload.as_ref())))),
    }
}

/// What a panic said.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
