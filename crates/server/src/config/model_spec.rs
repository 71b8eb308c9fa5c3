//! One `--model`: what to serve, under which name, with which overrides.
//!
//! ```text
//! [name=]source[,max_length=N][,pooling=NAME][,prefer_onnx=true|false][,onnx_file=FILE]
//! NAME   = cls | mean | max | last | mean_sqrt_len | weighted_mean
//! source = a folder | org/repo[@revision] on the model hub
//! ```
//! Without a name the last part of the source is the name. A source that is a
//! folder, or looks like a path, is a folder; the rest are hub names.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Longest model name; names travel in every request and in metric labels.
const MAX_NAME_BYTES: usize = 128;

/// Names that health checks ask for and that are no model's.
const RESERVED: [&str; 3] = ["readiness", "liveness", "sortie.v1.EncoderService"];

/// A model to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name that callers ask for.
    #[serde(default)]
    pub name: String,
    /// A folder, or `org/repo[@revision]` on the model hub.
    pub path: String,
    /// Longest sequence in tokens instead of the folder's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Pooling instead of the folder's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<PoolingName>,
    /// Take the folder's ONNX export even where the native path would serve it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefer_onnx: bool,
    /// The ONNX export to serve, by its file in the folder, for example `onnx/model_O3.onnx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnx_file: Option<String>,
}

/// Names of the poolings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingName {
    /// State of the first token.
    Cls,
    /// Mean over all tokens.
    Mean,
    /// Largest value of each dimension.
    Max,
    /// State of the last token.
    Last,
    /// Sum over the tokens divided by the root of their number.
    MeanSqrtLen,
    /// Mean with tokens weighted by their place.
    WeightedMean,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A repository on the model hub.
    Hub {
        /// `org/repo` or `repo`.
        repo: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
}

impl ModelSpec {
    /// Decides between folder and hub.
    #[must_use]
    pub fn source(&self) -> Source {
        let path = Path::new(&self.path);
        if cfg!(feature = "timed") && self.path.starts_with("timed:") {
            return Source::Folder(path.to_owned());
        }
        if path.is_dir() || looks_like_a_path(&self.path) {
            return Source::Folder(path.to_owned());
        }
        match self.path.split_once('@') {
            Some((repo, revision)) => Source::Hub { repo: repo.to_owned(), revision: Some(revision.to_owned()) },
            None => Source::Hub { repo: self.path.clone(), revision: None },
        }
    }

    /// Fills in the name and checks the fields.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        if self.path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if self.name.is_empty() {
            self.name = default_name(&self.path);
        }
        if self.name.is_empty()
            || self.name.len() > MAX_NAME_BYTES
            || self.name.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(format!(
                "the name {:?} must have 1 to {MAX_NAME_BYTES} bytes and no blanks; give one as name=path",
                self.name
            ));
        }
        if RESERVED.contains(&self.name.as_str()) {
            return Err(format!("the name {:?} means something else to health checks; say name=path", self.name));
        }
        if let Some(file) = &self.onnx_file {
            let inside = Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if file.is_empty() || !inside {
                return Err(format!("onnx_file={file} is no file inside the folder"));
            }
        }
        if self.max_length == Some(0) {
            return Err("max_length must be above 0".to_owned());
        }
        Ok(())
    }
}

impl FromStr for ModelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let mut spec = ModelSpec {
            name: String::new(),
            path: String::new(),
            max_length: None,
            pooling: None,
            prefer_onnx: false,
            onnx_file: None,
        };
        // Only known options are taken off the end: a path may hold commas.
        while let Some((before, option)) = rest.rsplit_once(',') {
            match option.split_once('=') {
                Some(("max_length", n)) => {
                    spec.max_length = Some(n.parse().map_err(|_| format!("max_length={n} is not a whole number"))?);
                }
                Some(("pooling", p)) => {
                    spec.pooling = Some(match p {
                        "cls" => PoolingName::Cls,
                        "mean" => PoolingName::Mean,
                        "max" => PoolingName::Max,
                        "last" => PoolingName::Last,
                        "mean_sqrt_len" => PoolingName::MeanSqrtLen,
                        "weighted_mean" => PoolingName::WeightedMean,
                        _ => {
                            return Err(format!(
                                "pooling={p} is not one of cls, mean, max, last, mean_sqrt_len, weighted_mean"
                            ));
                        }
                    });
                }
                Some(("prefer_onnx", b)) => {
                    spec.prefer_onnx = b.parse().map_err(|_| format!("prefer_onnx={b} is neither true nor false"))?;
                }
                Some(("onnx_file", file)) => spec.onnx_file = Some(file.to_owned()),
                _ => break,
            }
            rest = before;
        }
        match rest.split_once('=') {
            // A blank name is a slip, not a wish for the default.
            Some(("", _)) => return Err("the name before = is empty".to_owned()),
            Some((name, path)) if !name.contains('/') => {
                spec.name = name.to_owned();
                spec.path = path.to_owned();
            }
            _ => spec.path = rest.to_owned(),
        }
        spec.finish()?;
        Ok(spec)
    }
}

fn looks_like_a_path(text: &str) -> bool {
    let repo = text.split_once('@').map_or(text, |(repo, _)| repo);
    text.starts_with(['/', '.', '~']) || text.contains('\\') || repo.matches('/').count() > 1
}

fn default_name(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    let is_folder = Path::new(path).is_dir() || looks_like_a_path(path);
    let source = if is_folder { trimmed } else { trimmed.split_once('@').map_or(trimmed, |(repo, _)| repo) };
    Path::new(source).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ModelSpec {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_and_a_folder() {
        let s = spec("rr=/models/a=b");
        assert_eq!((s.name.as_str(), s.path.as_str()), ("rr", "/models/a=b"));
        assert_eq!(s.source(), Source::Folder("/models/a=b".into()));
    }

    #[test]
    fn the_name_is_the_last_part_of_the_source() {
        assert_eq!(spec("/models/minilm/").name, "minilm");
        assert_eq!(spec("org/minilm@v1").name, "minilm");
        assert_eq!(spec("/models/x=1/minilm").name, "minilm");
    }

    #[test]
    fn a_hub_name_with_a_revision() {
        // More than one slash looks like a path unless it follows the @.
        assert_eq!(
            spec("m=org/repo@refs/pr/1").source(),
            Source::Hub { repo: "org/repo".to_owned(), revision: Some("refs/pr/1".to_owned()) }
        );
    }

    #[test]
    fn options_come_off_the_end_only() {
        let s = spec("m=/x,onnx_file=onnx/model_O3.onnx,pooling=weighted_mean");
        assert_eq!((s.onnx_file.as_deref(), s.pooling), (Some("onnx/model_O3.onnx"), Some(PoolingName::WeightedMean)));
        let s = spec("m=/models/a,b,max_length=128,pooling=cls");
        assert_eq!((s.path.as_str(), s.max_length, s.pooling), ("/models/a,b", Some(128), Some(PoolingName::Cls)));
    }

    #[test]
    fn slips_are_named() {
        for (text, word) in [
            ("=x", "empty"),
            ("m=/x,pooling=middle", "pooling"),
            ("m=/x,max_length=many", "max_length"),
            ("m=/x,onnx_file=", "onnx_file"),
            ("m=/x,onnx_file=../other/model.onnx", "onnx_file"),
            ("a b=/x", "blanks"),
            ("liveness=/x", "health"),
        ] {
            let error = text.parse::<ModelSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
