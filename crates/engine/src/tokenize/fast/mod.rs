//! The fast path: `tokenizers` 1.0-rc, which makes ids alone, without offsets.
//!
//! It carries a file's texts only where it is known to give just what the
//! reference gives:
//!
//! - the file is of a kind that the differential test covers ([`suits`]);
//! - at load, probe texts and words of the vocabulary itself came out as the
//!   reference has them ([`probe`]);
//! - every character of the text is [`settled`](drift::settled): both crates'
//!   Unicode tables agree on it.
//!
//! Plain ASCII takes a short way through BERT files ([`ascii`]).
//! Whatever is left goes to the reference: an unsettled text, a text the fast
//! path fails on, and everything that needs offsets or word boundaries.

mod ascii;
mod drift;
mod probe;
mod suits;

use std::{
    fmt,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;
use tokenizers_rc::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

pub(super) use drift::settled;

use self::ascii::Short;
use super::{
    guard,
    piece::{Piece, Stop, contained, spare},
};

/// Which way the texts of a tokenizer go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerPath {
    /// The fast path, but for texts it does not vouch for.
    Fast,
    /// The reference alone.
    Reference {
        /// Why.
        why: String,
    },
}

/// Texts by the way they went, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextCounts {
    /// Texts that took the fast path.
    pub fast: u64,
    /// Texts that were sent to the reference though the file has a fast path: they hold characters that the two know
    /// from different versions of Unicode, or words had to be counted.
    pub reference: u64,
    /// Texts on which the fast path failed; the reference did them.
    pub failed: u64,
}

/// Token ids without offsets.
#[derive(Clone)]
pub(super) struct Fast {
    inner: Arc<FastInner>,
}

struct FastInner {
    pipeline: PipelineTokenizer,
    /// The short way of plain ASCII, where the file has one.
    short: Option<Short>,
    options: EncodeOptions,
    /// Tokens at the end of a head that are not trusted.
    spare: usize,
    fast: AtomicU64,
    reference: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Debug for Fast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fast").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Fast {
    /// The fast path of a file, or why it has none.
    pub(super) fn load(file: &[u8], reference: &tokenizers::Tokenizer) -> Result<Self, String> {
        let mut file: Value = serde_json::from_slice(file).map_err(|e| e.to_string())?;
        suits::suits(&file, reference)?;
        // Specials are ours to place, ids are ours to cut.
        for part in ["post_processor", "decoder", "padding", "truncation"] {
            if let Some(part) = file.get_mut(part) {
                *part = Value::Null;
            }
        }
        let this = Self::unchecked(file, spare(reference))?;
        probe::agrees(&this, reference)?;
        Ok(this)
    }

    /// The fast path of any file that it can read.
    fn unchecked(file: Value, spare: usize) -> Result<Self, String> {
        let short = Short::of(&file, pipeline)?;
        let pipeline = pipeline(file)?;
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: false,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let [fast, reference, failed] = Default::default();
        Ok(Self { inner: Arc::new(FastInner { pipeline, short, options, spare, fast, reference, failed }) })
    }

    /// Ids of all of `text` without specials, whatever its characters.
    fn raw(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        contained(|| self.encode(text, &mut tokens)).map_err(|e| e.to_string())?;
        Ok(PipelineToken::cast_slice(&tokens).to_vec())
    }

    fn encode(&self, text: &str, tokens: &mut Vec<PipelineToken>) -> tokenizers_rc::Result<()> {
        let FastInner { pipeline, short, options, .. } = &*self.inner;
        let Some(short) = short else { return pipeline.encode_into(text, options, tokens) };
        for segment in short.segments(text) {
            match short.normalized(segment) {
                Some(plain) => short.pipeline.encode_into(&plain, options, tokens)?,
                None => pipeline.encode_into(segment, options, tokens)?,
            }
        }
        Ok(())
    }

    /// The tokens of `text` as [`Piece::of_text`] has them, without its word boundaries: just those up to the stop, or
    /// all where the end of the text is kept. `None` is for the reference to do, which is so whenever `words` must be
    /// whole and the stop was reached.
    pub(super) fn piece(&self, text: &str, stop: Stop, words: bool) -> Option<Piece> {
        let piece = self.read(text, stop, words);
        let counter = match &piece {
            Ok(Some(_)) => &self.inner.fast,
            Ok(None) => &self.inner.reference,
            Err(why) => {
                tracing::warn!(%why, bytes = text.len(), "the fast tokenizer failed; the reference takes this text");
                &self.inner.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        piece.ok().flatten()
    }

    fn read(&self, text: &str, stop: Stop, words: bool) -> Result<Option<Piece>, String> {
        let first = stop.first();
        for head in guard::heads(text, first) {
            if !settled(head.text) {
                return Ok(None);
            }
            let wanted = first.saturating_add(if head.whole { 1 } else { self.inner.spare });
            let mut ids = self.raw(head.text)?;
            if head.last || ids.len() >= wanted {
                if words && stop.is_reached(ids.len()) {
                    return Ok(None);
                }
                let more = !head.whole || ids.len() > first;
                ids.truncate(first);
                return Ok(Some(Piece { ids, more, encoding: None }));
            }
        }
        Ok(None)
    }

    /// Texts by the way they went.
    pub(super) fn counts(&self) -> TextCounts {
        let FastInner { fast, reference, failed, .. } = &*self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TextCounts { fast: read(fast), reference: read(reference), failed: read(failed) }
    }
}

fn pipeline(mut file: Value) -> Result<PipelineTokenizer, String> {
    let read = || {
        tokenizers_rc::canonicalize_value(&mut file)?;
        tokenizers_rc::from_json(&file.to_string())
    };
    contained(read).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
