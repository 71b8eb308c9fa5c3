//! The pad id of a folder: `pad_token_id` of config.json, else the padding of
//! tokenizer.json, else the id of the token that tokenizer_config.json calls
//! `pad_token`, else 0. Models have 0, 1, 8189 and others; none is assumed.

use std::path::Path;

use serde::Deserialize;

use crate::{
    error::LoadError,
    folder::{config::Config, read_json_if_there},
};

/// Where no file names one. With a mask, or without padding, any id would do.
const NO_PAD_ID: u32 = 0;

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerFile {
    padding: Option<Padding>,
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: u32,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    pad_token: Option<TokenName>,
}

/// A token is written as a string or as an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Plain(String),
    Whole { content: String },
}

/// Finds the pad id of `folder`.
///
/// # Errors
/// When a tokenizer file is there but broken.
pub(super) fn pad_id(folder: &Path, config: &Config) -> Result<u32, LoadError> {
    if let Some(id) = config.pad_token_id.and_then(|id| u32::try_from(id).ok()) {
        return Ok(id);
    }
    let Some(file) = read_json_if_there::<TokenizerFile>(&folder.join("tokenizer.json"))? else { return Ok(NO_PAD_ID) };
    if let Some(padding) = file.padding {
        return Ok(padding.pad_id);
    }
    let named: Option<TokenizerConfig> = read_json_if_there(&folder.join("tokenizer_config.json"))?;
    let Some(TokenName::Plain(name) | TokenName::Whole { content: name }) = named.and_then(|c| c.pad_token) else {
        return Ok(NO_PAD_ID);
    };
    Ok(file.added_tokens.iter().find(|t| t.content == name).map_or(NO_PAD_ID, |t| t.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(config: Option<i64>, tokenizer: &str, tokenizer_config: &str, want: u32) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), tokenizer_config).unwrap();
        let config = Config { pad_token_id: config, ..Config::default() };
        assert_eq!(pad_id(dir.path(), &config).unwrap(), want);
    }

    #[test]
    fn the_files_are_asked_in_order() {
        let tokens =
            r#"{"padding": null, "added_tokens": [{"id": 0, "content": "<s>"}, {"id": 1, "content": "<pad>"}]}"#;
        expect(Some(8189), r#"{"padding": {"pad_id": 3}}"#, "{}", 8189);
        expect(None, r#"{"padding": {"pad_id": 3}}"#, "{}", 3);
        expect(Some(-1), tokens, r#"{"pad_token": "<pad>"}"#, 1);
        expect(None, tokens, r#"{"pad_token": {"content": "<pad>", "lstrip": false}}"#, 1);
        expect(None, tokens, "{}", 0);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(pad_id(empty.path(), &Config::default()).unwrap(), 0);
    }
}
