//! A JSON object read key by key, so that no key is passed over in silence.
//!
//! Whoever reads a file takes the keys it obeys, sets aside those known to change no number, and then either refuses
//! whatever is left ([`FileKeys::none_left`]) or keeps it as notes ([`FileKeys::note_rest`]).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{harmless, read_json};
use crate::error::LoadError;

/// Longest value that an error or a note quotes.
const SHOWN_BYTES: usize = 120;

/// A key that was read and not obeyed, and why that is right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// The file, relative to the model's folder.
    pub file: String,
    /// The key.
    pub key: String,
    /// Its value, shortened.
    pub value: String,
    /// Why it is not obeyed.
    pub why: &'static str,
}

/// The keys of one file that nobody has read yet.
#[derive(Debug)]
pub(crate) struct FileKeys {
    path: PathBuf,
    left: BTreeMap<String, Value>,
}

impl FileKeys {
    /// Reads the object in `path`; `None` where there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, LoadError> {
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Self { path: path.to_owned(), left: read_json(path)? }))
    }

    /// The keys of an object that stands at `path`.
    pub(crate) fn of(path: &Path, object: Value) -> Result<Self, LoadError> {
        let left = serde_json::from_value(object).map_err(|e| LoadError::invalid(path, e.to_string()))?;
        Ok(Self { path: path.to_owned(), left })
    }

    /// The object at `key` of this file; empty where it is missing or null.
    pub(crate) fn inner(&mut self, key: &str) -> Result<Self, LoadError> {
        let left = self.take::<BTreeMap<String, Value>>(key)?.unwrap_or_default();
        let left = left.into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)).collect();
        Ok(Self { path: self.path.clone(), left })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a key is there that nobody has read yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// Takes a key; `None` where it is missing or null.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, LoadError> {
        match self.left.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(read) => Ok(Some(read)),
                Err(e) => Err(LoadError::invalid(&self.path, format!("{key} is {}: {e}", shown(&value)))),
            },
        }
    }

    /// Reads a key without taking it; `None` where it is missing or null.
    pub(crate) fn peek<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, LoadError> {
        let left = self.left.get(key).map(|value| (key.to_owned(), value.clone())).into_iter().collect();
        Self { path: self.path.clone(), left }.take(key)
    }

    /// The keys of an object `value` that stands at `key`.
    pub(crate) fn object(&self, key: &str, value: Value) -> Result<Self, LoadError> {
        Self { path: self.path.clone(), left: BTreeMap::from([(key.to_owned(), value)]) }.inner(key)
    }

    /// Takes a key that is of no use.
    pub(crate) fn forget(&mut self, key: &str) {
        self.left.remove(key);
    }

    /// Takes a key that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, LoadError> {
        self.take(key)?.ok_or_else(|| LoadError::invalid(&self.path, format!("{key} is missing")))
    }

    /// Takes a text that must be one of `served`, where it is there at all.
    pub(crate) fn one_of(&mut self, key: &str, served: &[&str]) -> Result<Option<String>, LoadError> {
        match self.take::<String>(key)? {
            Some(value) if !served.contains(&value.as_str()) => {
                Err(self.refused(key, &Value::String(value), &format!("{} are", served.join(", "))))
            }
            value => Ok(value),
        }
    }

    /// Refuses a key whose value is not `harmless`; missing, null and empty values are harmless.
    pub(crate) fn only(&mut self, key: &str, harmless: &[Value]) -> Result<(), LoadError> {
        match self.left.remove(key) {
            Some(value) if !harmless.contains(&value) && !is_empty(&value) => {
                Err(self.refused(key, &value, "it changes numbers"))
            }
            _ => Ok(()),
        }
    }

    /// Sets keys aside that change no number.
    pub(crate) fn ignore(&mut self, keys: &[&str], why: &'static str, notes: &mut Notes) {
        for key in keys {
            if let Some(value) = self.left.remove(*key) {
                notes.add(&self.path, key, &value, why);
            }
        }
    }

    /// The error about a key that is not served.
    pub(crate) fn refused(&self, key: &str, value: &Value, why: &str) -> LoadError {
        LoadError::unsupported(&self.path, format!("{key} {} is not served: {why}", shown(value)))
    }

    /// Refuses the first key that nobody has read.
    pub(crate) fn none_left(&self) -> Result<(), LoadError> {
        match self.left.iter().next() {
            Some((key, value)) => Err(self.refused(key, value, "the key is not known here, and it may change numbers")),
            None => Ok(()),
        }
    }

    /// What nobody has read.
    pub(crate) fn rest(self) -> BTreeMap<String, Value> {
        self.left
    }

    /// Keeps what nobody has read as notes. A null says nothing.
    pub(crate) fn note_rest(self, notes: &mut Notes) {
        for (key, value) in self.left.iter().filter(|(_, value)| !value.is_null()) {
            notes.add(&self.path, key, value, harmless::why(key));
        }
    }
}

/// Notes of one folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    root: PathBuf,
    all: Vec<Note>,
}

impl Notes {
    /// None yet, about the folder `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), all: Vec::new() }
    }

    /// Adds a note about a key.
    pub(crate) fn add(&mut self, path: &Path, key: &str, value: &Value, why: &'static str) {
        self.say(path, key, shown(value), why);
    }

    /// Adds a note about something else than a key.
    pub(crate) fn say(&mut self, path: &Path, key: &str, value: String, why: &'static str) {
        let file = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        self.all.push(Note { file, key: key.to_owned(), value, why });
    }

    /// All of them, in order.
    pub(crate) fn into_vec(self) -> Vec<Note> {
        self.all
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value as JSON, cut where it is long.
pub(crate) fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text
}
