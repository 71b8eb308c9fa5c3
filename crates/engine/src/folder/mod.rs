//! Reads a model folder as Hugging Face lays it out. Nothing here touches a
//! device; every error names the file that caused it.

pub(crate) mod config;
pub(crate) mod revision;
pub(crate) mod sentence;
pub(crate) mod weights;

use std::path::Path;

use serde::de::DeserializeOwned;

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
    serde_json::from_slice(&bytes).map_err(|e| LoadError::invalid(path, e.to_string()))
}

/// Reads a JSON file that may be missing.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LoadError> {
    if path.is_file() { read_json(path).map(Some) } else { Ok(None) }
}
