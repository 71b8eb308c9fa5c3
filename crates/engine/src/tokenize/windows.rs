//! Long documents in windows: what Hugging Face's tokenizers call `only_second` with a `stride` and overflowing tokens.
//!
//! Each window is the query with the next stretch of the document; neighbours share `stride` document tokens. All windows
//! but the last are full. The windows of one document are:
//!
//! ```text
//! room = limit − specials − query          step = room − stride
//! window i = document[i · step .. i · step + room], until the document's end is in one
//! ```

use super::{EncodeOptions, Query, Tokenizer, TruncationSide};
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

/// One document in windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// In the order of the text; at least one.
    pub sequences: Vec<Sequence>,
    /// Tokens of the document in each.
    pub tokens: Vec<usize>,
}

impl Windows {
    /// The document's score from one score a window; `None` where their numbers differ.
    #[must_use]
    pub fn score(&self, scores: &[f32], by: WindowScore) -> Option<f32> {
        if scores.len() != self.tokens.len() {
            return None;
        }
        match by {
            WindowScore::Max => scores.iter().copied().reduce(f32::max),
            WindowScore::First => scores.first().copied(),
            WindowScore::Mean => {
                let weighted = scores.iter().zip(&self.tokens);
                #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
                let (sum, weights) = weighted.fold((0.0f64, 0.0f64), |(sum, weights), (&score, &n)| {
                    // A window without a token of the document is the only one there is.
                    let weight = n.max(1) as f64;
                    (sum + weight * f64::from(score), weights + weight)
                });
                #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
                Some((sum / weights) as f32)
            }
        }
    }

    /// The document's vector from one vector a window: their mean weighted by tokens. `None` where numbers differ.
    #[must_use]
    pub fn vector(&self, vectors: &[&[f32]]) -> Option<Vec<f32>> {
        let width = vectors.first()?.len();
        if vectors.len() != self.tokens.len() || vectors.iter().any(|v| v.len() != width) {
            return None;
        }
        let mut sums = vec![0.0f64; width];
        let mut weights = 0.0f64;
        for (vector, &n) in vectors.iter().zip(&self.tokens) {
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            let weight = n.max(1) as f64;
            sums.iter_mut().zip(*vector).for_each(|(sum, &x)| *sum += weight * f64::from(x));
            weights += weight;
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
        Some(sums.into_iter().map(|sum| (sum / weights) as f32).collect())
    }
}

impl Tokenizer {
    /// The pair of `query` and `document` in windows that share `stride` tokens. A document that fits is one window. The
    /// query is never cut, and the whole document is read.
    ///
    /// # Errors
    /// [`InputError::QueryTooLong`]; [`InputError::BadStride`] where windows would not move on;
    /// [`InputError::TooManyWindows`]; [`InputError::Tokenizer`].
    pub fn windows(&self, query: &Query, document: &str, stride: usize) -> Result<Windows, InputError> {
        let options = EncodeOptions { side: Some(TruncationSide::Right), ..query.options };
        let piece = self.piece(document, usize::MAX, super::piece::PieceForm::Ids, false, &options)?;
        let taken = query.tokens() + self.specials(true);
        let room = query.limit.checked_sub(taken).filter(|&room| room > 0);
        let room = room.ok_or(InputError::QueryTooLong { tokens: taken, limit: query.limit })?;
        self.cut(&piece.ids, room, stride, |ids| self.ids_with(query, ids))
    }

    /// A single text in windows that share `stride` tokens.
    ///
    /// # Errors
    /// As [`windows`](Self::windows), and [`InputError::BadMaxLength`].
    pub fn windows_of(&self, text: &str, stride: usize, options: &EncodeOptions) -> Result<Windows, InputError> {
        let (reader, rule) = self.reading(options)?;
        let specials = reader.specials(false);
        // A marker has its place in each window.
        let limit = reader.limit_of(options, rule, specials)?;
        let piece = reader.piece(text, usize::MAX, super::piece::PieceForm::Ids, false, options)?;
        self.cut(&piece.ids, limit - specials, stride, |ids| self.encode_ids(ids, options))
    }

    fn cut(
        &self,
        ids: &[u32],
        room: usize,
        stride: usize,
        make: impl Fn(&[u32]) -> Result<Sequence, InputError>,
    ) -> Result<Windows, InputError> {
        if stride >= room {
            return Err(InputError::BadStride { stride, room });
        }
        let step = room - stride;
        let count = ids.len().saturating_sub(room).div_ceil(step) + 1;
        if count > MAX_WINDOWS {
            return Err(InputError::TooManyWindows { windows: count, limit: MAX_WINDOWS });
        }
        let mut windows = Windows { sequences: Vec::with_capacity(count), tokens: Vec::with_capacity(count) };
        for i in 0..count {
            let part = &ids[i * step..ids.len().min(i * step + room)];
            windows.tokens.push(part.len());
            windows.sequences.push(make(part)?);
        }
        Ok(windows)
    }
}
