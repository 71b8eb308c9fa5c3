//! A model folder as a description: what its files say, before anything is loaded. Every error names the file.
//!
//! [`Folder::read`] turns the files of sentence-transformers, PyLate, Stanford's ColBERT, model2vec and plain
//! transformers into one typed description. A key that changes a number is obeyed or refused by name; keys that change
//! none are kept as notes.

mod adapter;
mod causal;
mod class;
pub(crate) mod config;
mod describe;
mod gliner;
mod harmless;
pub(crate) mod keys;
mod late;
pub(crate) mod layers;
mod library;
mod modules;
pub(crate) mod revision;
mod router;
mod stanford;
#[cfg(test)]
mod tests;
mod tokenizer_class;
mod tokenizer_config;
mod transformer;
pub(crate) mod weights;

use std::path::Path;

use serde::de::DeserializeOwned;

pub(crate) use self::{
    causal::{ChatTemplate, LogitScore},
    describe::{Folder, LateInteraction, Route, RouteInput, Routes},
    gliner::{ScoredParts, TaggerFolder},
    tokenizer_class::{BertRules, TokenizerFamily},
    tokenizer_config::{TokenizerRules, content as token_content},
};
pub use self::{keys::Note, library::ScoreActivation, transformer::FILES as TRANSFORMER_CONFIGS};
use crate::error::LoadError;

/// Largest JSON file that is read whole. The largest known `config.json` is a few
/// hundred kilobytes (long label lists), a shard index a few megabytes.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// Reads a JSON file that must be there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let size = std::fs::metadata(path).map_err(LoadError::io(path))?.len();
    if size > MAX_JSON_BYTES {
        return Err(LoadError::invalid(path, format!("{size} bytes of JSON, at most {MAX_JSON_BYTES} are read")));
    }
    let bytes = std::fs::read(path).map_err(LoadError::io(path))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let not_json = if e.is_data() { "" } else { "not JSON: " };
        LoadError::invalid(path, format!("{not_json}{e}"))
    })
}

/// Reads a JSON file that may be missing.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LoadError> {
    if path.is_file() { read_json(path).map(Some) } else { Ok(None) }
}
