//! Which files of a repository are served from. Pure: names in, names out.
//!
//! Invariant: what is chosen has a name known here, or is named by the shard
//! index and listed by the repository; no chosen name leaves the folder.

use std::collections::BTreeSet;

use sortie_engine::native_model_types;

use super::error::HubError;

/// Files beside the weights that say what the model is.
const PLAIN: [&str; 19] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
    "config_sentence_transformers.json",
    "router_config.json",
    "artifact.metadata",
    "chat_template.jinja",
    "adapter_config.json",
    "adapter_model.safetensors",
    MODULES,
    INDEX,
];

/// Lists the modules that follow an encoder.
pub(super) const MODULES: &str = "modules.json";

/// Names the shards of weights too large for one file.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Weights in one file.
const ONE_FILE: &str = "model.safetensors";

/// ONNX exports, the first of which that is there is served.
const ONNX: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// Beside an export: the starts of names of its external data.
const ONNX_DATA: [&str; 3] = ["model.onnx_data", "model.onnx.data", "model.data"];

/// The small files of a listing: all but the weights of the encoder.
pub(super) fn small<'a>(listing: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    listing.into_iter().filter(|path| is_small(path)).map(str::to_owned).collect()
}

fn is_small(path: &str) -> bool {
    match path.split_once('/') {
        None => PLAIN.contains(&path),
        // A sentence-transformers module: 1_Pooling, query_0_SparseStaticEmbedding, ...
        Some((folder, file)) => is_module(folder) && (PLAIN.contains(&file) || file == ONE_FILE),
    }
}

fn is_module(folder: &str) -> bool {
    let is_word = folder.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let mut parts = folder.split('_');
    // The number, and the class after it.
    is_word && parts.any(is_number) && parts.next().is_some_and(|class| !class.is_empty())
}

/// What decides between safetensors and ONNX.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatChoice<'a> {
    /// `model_type` of the configuration, if it says.
    pub(super) model_type: Option<&'a str>,
    /// Files that the shard index names.
    pub(super) shards: &'a [String],
    /// Whether an ONNX export is wanted where there is one.
    pub(super) prefer_onnx: bool,
}

/// The weights of a listing: safetensors where the engine serves them natively,
/// else an ONNX export with its external data.
pub(super) fn weights(
    name: &str,
    listing: &BTreeSet<String>,
    choice: FormatChoice<'_>,
) -> Result<Vec<String>, HubError> {
    let safetensors = safetensors(listing, choice.shards);
    let onnx = onnx(listing);
    let unknown = choice.model_type.filter(|kind| !native_model_types().any(|native| native == *kind));
    match (safetensors, onnx) {
        (Some(files), None) => match unknown {
            None => Ok(files),
            Some(kind) => Err(HubError::NeedsOnnx { name: name.to_owned(), model_type: kind.to_owned() }),
        },
        (Some(files), Some(_)) if unknown.is_none() && !choice.prefer_onnx => Ok(files),
        (_, Some(files)) => Ok(files),
        (None, None) => Err(HubError::NoWeights { name: name.to_owned() }),
    }
}

fn safetensors(listing: &BTreeSet<String>, shards: &[String]) -> Option<Vec<String>> {
    if listing.contains(ONE_FILE) {
        return Some(vec![ONE_FILE.to_owned()]);
    }
    let whole = !shards.is_empty() && shards.iter().all(|shard| !shard.contains('/') && listing.contains(shard));
    whole.then(|| shards.to_vec())
}

fn onnx(listing: &BTreeSet<String>) -> Option<Vec<String>> {
    let model = ONNX.into_iter().find(|path| listing.contains(*path))?;
    let folder = model.strip_suffix("model.onnx")?;
    let data = listing.iter().filter(|path| {
        let beside = path.strip_prefix(folder).filter(|file| !file.contains('/'));
        beside.is_some_and(|file| ONNX_DATA.iter().any(|start| file.starts_with(start)))
    });
    Some(std::iter::once(model.to_owned()).chain(data.cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn choose(paths: &[&str], model_type: Option<&str>, shards: &[&str]) -> Result<Vec<String>, HubError> {
        let shards: Vec<String> = shards.iter().map(|s| (*s).to_owned()).collect();
        weights("org/name", &listing(paths), FormatChoice { model_type, shards: &shards, prefer_onnx: false })
    }

    #[test]
    fn small_files_and_modules_only() {
        let all = [
            "config.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "query_0_SparseStaticEmbedding/model.safetensors",
            "router_config.json",
            "x_Pooling/config.json",
            "../1_Up/config.json",
            "1_../config.json",
            "onnx/config.json",
            "pytorch_model.bin",
            "model.safetensors",
            "README.md",
        ];
        assert_eq!(
            small(all),
            [
                "config.json",
                "1_Pooling/config.json",
                "2_Dense/model.safetensors",
                "query_0_SparseStaticEmbedding/model.safetensors",
                "router_config.json",
            ]
        );
    }

    #[test]
    fn safetensors_come_before_onnx_for_a_native_type() {
        let both = ["model.safetensors", "onnx/model.onnx", "onnx/model_int8.onnx"];
        assert_eq!(choose(&both, Some("bert"), &[]).unwrap(), ["model.safetensors"]);
        assert_eq!(choose(&both, None, &[]).unwrap(), ["model.safetensors"]);
        assert_eq!(choose(&both, Some("modernbert"), &[]).unwrap(), ["onnx/model.onnx"]);
        let wanted = FormatChoice { model_type: Some("bert"), shards: &[], prefer_onnx: true };
        assert_eq!(weights("org/name", &listing(&both), wanted).unwrap(), ["onnx/model.onnx"]);
    }

    #[test]
    fn external_data_comes_along() {
        let paths = [
            "onnx/model.onnx",
            "onnx/model.onnx_data",
            "onnx/model.onnx_data_1",
            "onnx/model_fp16.onnx_data",
            "model.onnx_data",
        ];
        let expect = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1"];
        assert_eq!(choose(&paths, Some("deberta-v2"), &[]).unwrap(), expect);
    }

    #[test]
    fn shards_must_all_be_listed() {
        let paths = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(choose(&paths, Some("bert"), &paths).unwrap(), paths);
        assert!(matches!(choose(&paths[..1], Some("bert"), &paths), Err(HubError::NoWeights { .. })));
        assert!(matches!(choose(&["a/b"], Some("bert"), &["a/b"]), Err(HubError::NoWeights { .. })));
    }

    #[test]
    fn an_unknown_type_without_an_export_is_refused_before_its_weights_are_fetched() {
        let error = choose(&["model.safetensors"], Some("modernbert"), &[]).unwrap_err();
        assert!(error.to_string().contains("modernbert"), "{error}");
        assert!(matches!(choose(&["pytorch_model.bin"], Some("bert"), &[]), Err(HubError::NoWeights { .. })));
    }
}
