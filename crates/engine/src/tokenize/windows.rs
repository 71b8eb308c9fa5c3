//! Long documents in windows: what Hugging Face's tokenizers call `only_second` with a `stride` and overflowing tokens.
//!
//! Each window is the query with the next stretch of the document; neighbours share `stride` document tokens. All windows
//! but the last are full. The windows of one document are:
//!
//! ```text
//! room = limit − specials − query          step = room − stride
//! window i = document[i · step .. i · step + room], until the document's end is in one
//! ```
//!
//! Where the folder or the caller has texts cut at their beginning, they are laid from the end on, as there.

use super::{
    EncodeOptions, Query, Tokenizer, Truncation, TruncationSide,
    piece::{PieceForm, Stop},
};
use crate::{error::InputError, item::Sequence};

/// Most windows of one document: half a million tokens by windows of a few hundred.
pub const MAX_WINDOWS: usize = 1_024;

/// How scores of windows become the score of their document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowScore {
    /// The best window's.
    #[default]
    Max,
    /// The first window's.
    First,
    /// The mean, weighted by the tokens of the document in each window.
    Mean,
}

impl WindowScore {
    /// The score of a text from one score a window and the text's tokens in each; `None` where their numbers differ.
    #[must_use]
    pub fn of(self, scores: &[f32], tokens: &[usize]) -> Option<f32> {
        if scores.len() != tokens.len() {
            return None;
        }
        match self {
            // What is no number stays none.
            WindowScore::Max => {
                scores.iter().copied().reduce(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) })
            }
            WindowScore::First => scores.first().copied(),
            WindowScore::Mean => {
                let rows: Vec<&[f32]> = scores.iter().map(std::slice::from_ref).collect();
                mean_of_windows(&rows, tokens).and_then(|mean| mean.first().copied())
            }
        }
    }
}

/// The mean of one vector a window, weighted by the text's tokens in each. `None` where numbers differ.
#[must_use]
pub fn mean_of_windows(vectors: &[&[f32]], tokens: &[usize]) -> Option<Vec<f32>> {
    let width = vectors.first()?.len();
    if vectors.len() != tokens.len() || vectors.iter().any(|v| v.len() != width) {
        return None;
    }
    let mut sums = vec![0.0f64; width];
    let mut weights = 0.0f64;
    for (vector, &n) in vectors.iter().zip(tokens) {
        // A window without a token of the text is the only one there is.
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let weight = n.max(1) as f64;
        sums.iter_mut().zip(*vector).for_each(|(sum, &x)| *sum += weight * f64::from(x));
        weights += weight;
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    Some(sums.into_iter().map(|sum| (sum / weights) as f32).collect())
}

/// A text, or its ids without special tokens.
#[derive(Clone, Copy, Debug)]
pub enum Passage<'a> {
    /// A text.
    Text(&'a str),
    /// Ids.
    Ids(&'a [u32]),
}

/// How windows are laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// Tokens that neighbours share.
    pub stride: usize,
    /// Most tokens of all windows of a text, what stands beside the text in each included.
    pub most_tokens: usize,
}

/// One text in windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// In the order of the text, or from its end on where texts are cut at their beginning; at least one.
    pub sequences: Vec<Sequence>,
    /// Tokens of the text in each.
    pub tokens: Vec<usize>,
}

impl Tokenizer {
    /// The pair of `query` and `document` in windows. A document that fits is one window. The query is never cut, and the
    /// whole document is read.
    ///
    /// # Errors
    /// [`InputError::QueryTooLong`]; [`InputError::BadStride`] where windows would not move on;
    /// [`InputError::TooManyWindows`] and [`InputError::TooLongInWindows`] before any is made; [`InputError::BadId`];
    /// [`InputError::Tokenizer`].
    pub fn windows(&self, query: &Query, document: Passage<'_>, plan: WindowPlan) -> Result<Windows, InputError> {
        if self.reads_chat() {
            return Err(InputError::NoWindows("a document in a chat template has no windows here: it is cut"));
        }
        let ids = self.whole(document, &query.options)?;
        let beside = query.tokens() + self.specials(true);
        let room = query.limit.checked_sub(beside).filter(|&room| room > 0);
        let room = room.ok_or(InputError::QueryTooLong { tokens: beside, limit: query.limit })?;
        let cut = WindowCut { room, beside, left: self.side_of(&query.options) == TruncationSide::Left, plan };
        cut.make(&ids, |ids| self.ids_with(query, ids))
    }

    /// A text of its own in windows. A prompt stands at the beginning of each. A text that fits is one window, read as it
    /// would be without windows.
    ///
    /// # Errors
    /// As [`windows`](Self::windows), and [`InputError::BadMaxLength`]; [`InputError::NoWindows`] where the texts of a
    /// static model are asked for, which have no context to run out of.
    pub fn windows_of(
        &self,
        prompt: &str,
        text: Passage<'_>,
        plan: WindowPlan,
        options: &EncodeOptions,
    ) -> Result<Windows, InputError> {
        self.without_chat("a text alone")?;
        let (reader, rule) = self.reading(options)?;
        if reader.static_rules.is_some() {
            let why = "a static model has no windows: each token has its own vector whatever stands beside it";
            return Err(InputError::NoWindows(why));
        }
        // A prompt is the folder's or the operator's: its special tokens are special whatever the text's are.
        let frame = EncodeOptions { plain: false, ..*options };
        // A space at the prompt's end is a part of the text's first word, where tokens begin with their space.
        let ends = prompt.trim_end().len();
        let prompt_ids = reader.whole(Passage::Text(&prompt[..ends]), &frame)?;
        let ids = match text {
            Passage::Text(text) if ends < prompt.len() => {
                reader.whole(Passage::Text(&format!("{}{text}", &prompt[ends..])), options)?
            }
            text => reader.whole(text, options)?,
        };
        let beside = reader.specials(false) + prompt_ids.len();
        // A marker has its place in each window.
        let limit = reader.limit_of(options, rule, beside)?;
        let room = limit - beside;
        if let Passage::Text(text) = text
            && ids.len() <= room
            && !prompt.is_empty()
        {
            let fit = EncodeOptions { truncation: Truncation::DocumentOnly, ..*options };
            let sequence = self.encode_after(prompt, text, &fit)?;
            // A seam may cost a token more.
            if !sequence.truncated {
                return Ok(Windows { sequences: vec![sequence], tokens: vec![ids.len()] });
            }
        }
        let prompt_tokens = self.prompt_tokens(prompt, options)?;
        let cut = WindowCut { room, beside, left: reader.side_of(options) == TruncationSide::Left, plan };
        cut.make(&ids, |ids| {
            let sequence = match prompt_ids.is_empty() {
                true => self.encode_ids(ids, options)?,
                false => self.encode_ids(&[&prompt_ids, ids].concat(), options)?,
            };
            Ok(Sequence { prompt_tokens, ..sequence })
        })
    }

    /// All ids of a passage, without special tokens.
    fn whole(&self, passage: Passage<'_>, options: &EncodeOptions) -> Result<Vec<u32>, InputError> {
        match passage {
            Passage::Text(text) => Ok(self.piece(text, Stop::NOWHERE, PieceForm::Ids, false, options)?.ids),
            Passage::Ids(ids) => {
                self.check_ids(ids)?;
                Ok(ids.to_vec())
            }
        }
    }
}

/// How ids are cut into windows.
#[derive(Clone, Copy, Debug)]
struct WindowCut {
    /// Tokens of the text in a full window.
    room: usize,
    /// Tokens that stand beside them in each window.
    beside: usize,
    /// Windows are laid from the text's end on.
    left: bool,
    plan: WindowPlan,
}

impl WindowCut {
    fn make(self, ids: &[u32], make: impl Fn(&[u32]) -> Result<Sequence, InputError>) -> Result<Windows, InputError> {
        let Self { room, beside, left, plan: WindowPlan { stride, most_tokens } } = self;
        if stride >= room {
            return Err(InputError::BadStride { stride, room });
        }
        let step = room - stride;
        let count = ids.len().saturating_sub(room).div_ceil(step) + 1;
        if count > MAX_WINDOWS {
            return Err(InputError::TooManyWindows { windows: count, limit: MAX_WINDOWS });
        }
        let tokens = ids.len() + (count - 1) * stride + count * beside;
        if tokens > most_tokens {
            return Err(InputError::TooLongInWindows { windows: count, tokens, limit: most_tokens });
        }
        let mut windows = Windows { sequences: Vec::with_capacity(count), tokens: Vec::with_capacity(count) };
        for i in 0..count {
            let part = if left {
                let end = ids.len() - (i * step).min(ids.len());
                &ids[end.saturating_sub(room)..end]
            } else {
                &ids[i * step..ids.len().min(i * step + room)]
            };
            windows.tokens.push(part.len());
            windows.sequences.push(make(part)?);
        }
        Ok(windows)
    }
}
