//! Which files of a repository are served from. Pure: names in, names out.
//!
//! Invariant: what is chosen has a name known here, or is named by the shard
//! index and listed by the repository; no chosen name leaves the folder.

use std::collections::BTreeSet;

use sortie_engine::{TRANSFORMER_CONFIGS, VOCABULARIES, native_model_types};

use super::error::HubError;

/// Files beside the weights that say what the model is.
const PLAIN: [&str; 14] = [
    "config.json",
    "gliner_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config_sentence_transformers.json",
    "router_config.json",
    "artifact.metadata",
    "chat_template.jinja",
    ADAPTER,
    ADAPTER_WEIGHTS,
    MODULES,
    INDEX,
];

/// The tokenizer.
const TOKENIZER: &str = "tokenizer.json";

/// Says that a repository is an adapter, whose base model lies elsewhere.
const ADAPTER: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Ends of names of a module's folder that holds the encoder itself.
const ENCODERS: [&str; 2] = ["_Transformer", "_MLMTransformer"];

/// Ends of names of a module's folder that is a way in without an encoder.
const TABLES: [&str; 2] = ["_StaticEmbedding", "_SparseStaticEmbedding"];

/// `model_type` of a table without modules.
const MODEL2VEC: &str = "model2vec";

/// Lists the modules that follow an encoder.
pub(super) const MODULES: &str = "modules.json";

/// Names the shards of weights too large for one file.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Weights in one file.
const ONE_FILE: &str = "model.safetensors";

/// ONNX exports, the first of which that is there is served.
const ONNX: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// Beside an export: what follows its name, without `.onnx`, in the names of its external data.
const ONNX_DATA: [&str; 3] = [".onnx_data", ".onnx.data", ".data"];

/// The small files of a listing: all but the weights of the encoder.
pub(super) fn small<'a>(listing: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let all: Vec<&str> = listing.into_iter().collect();
    // Another vocabulary counts only where that file is missing.
    let instead = |path: &str| {
        let (folder, file) = path.rsplit_once('/').map_or(("", path), |(folder, file)| (folder, file));
        let beside = if folder.is_empty() { TOKENIZER.to_owned() } else { format!("{folder}/{TOKENIZER}") };
        VOCABULARIES.contains(&file) && (folder.is_empty() || is_encoder(folder)) && !all.contains(&beside.as_str())
    };
    all.iter().filter(|path| is_small(path) || instead(path)).map(|path| (*path).to_owned()).collect()
}

fn is_small(path: &str) -> bool {
    match path.split_once('/') {
        None => is_plain(path),
        // A sentence-transformers module: 1_Pooling, query_0_SparseStaticEmbedding, ... The weights of an encoder are
        // chosen later.
        Some((folder, file)) => is_module(folder) && (is_plain(file) || (file == ONE_FILE && !is_encoder(folder))),
    }
}

fn is_plain(file: &str) -> bool {
    PLAIN.contains(&file) || TRANSFORMER_CONFIGS.contains(&file)
}

fn is_encoder(folder: &str) -> bool {
    is_module(folder) && ENCODERS.iter().any(|end| folder.ends_with(end))
}

/// The folder of a listing that the encoder lies in: the root's where anything to run is there, else a module's.
pub(super) fn encoder_folder(listing: &BTreeSet<String>) -> Option<String> {
    let at_root = [ONE_FILE, INDEX].into_iter().chain(ONNX).any(|file| listing.contains(file));
    if at_root {
        return None;
    }
    let folders = listing.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder);
    folders.into_iter().find(|folder| is_encoder(folder)).map(str::to_owned)
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
    /// Which export is wanted.
    pub(super) export: &'a Export,
}

/// Which ONNX export of a repository is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Export {
    /// The plain one, where the engine does not serve the safetensors itself.
    #[default]
    IfNeeded,
    /// The plain one, where there is one.
    Preferred,
    /// This file, and nothing else.
    Named(String),
}

/// The weights of a listing: safetensors where the engine serves them natively,
/// else an ONNX export with its external data.
pub(super) fn weights(
    name: &str,
    listing: &BTreeSet<String>,
    choice: FormatChoice<'_>,
) -> Result<Vec<String>, HubError> {
    if let Some(folder) = encoder_folder(listing) {
        let inside = |path: &String| path.strip_prefix(&folder)?.strip_prefix('/').map(str::to_owned);
        let inner: BTreeSet<String> = listing.iter().filter_map(inside).collect();
        return Ok(chosen(name, &inner, choice)?.into_iter().map(|file| format!("{folder}/{file}")).collect());
    }
    if let Export::Named(_) = choice.export {
        return chosen(name, listing, choice);
    }
    // Its weights came with the small files, those of its base model are not in the repository.
    if listing.contains(ADAPTER) && listing.contains(ADAPTER_WEIGHTS) && !listing.contains(ONE_FILE) {
        return Ok(Vec::new());
    }
    // Tables of modules came with the small files too.
    let is_table = |path: &String| {
        let (folder, file) = path.split_once('/').unwrap_or_default();
        file == ONE_FILE && is_module(folder) && TABLES.iter().any(|end| folder.ends_with(end))
    };
    let bare = safetensors(listing, choice.shards).is_none() && plain_export(listing).is_none();
    if bare && listing.iter().any(is_table) {
        return Ok(Vec::new());
    }
    chosen(name, listing, choice)
}

/// The weights of an encoder, or of a table, in one folder.
fn chosen(name: &str, listing: &BTreeSet<String>, choice: FormatChoice<'_>) -> Result<Vec<String>, HubError> {
    if let Export::Named(file) = choice.export {
        let missing = || HubError::NoExport { name: name.to_owned(), file: file.clone() };
        return export(listing, file).ok_or_else(missing);
    }
    let safetensors = safetensors(listing, choice.shards);
    let onnx = plain_export(listing);
    let is_known = |kind: &str| kind == MODEL2VEC || native_model_types().any(|native| native == kind);
    let unknown = choice.model_type.filter(|kind| !is_known(kind));
    match (safetensors, onnx) {
        (Some(files), None) => match unknown {
            None => Ok(files),
            Some(kind) => Err(HubError::NeedsOnnx { name: name.to_owned(), model_type: kind.to_owned() }),
        },
        (Some(files), Some(_)) if unknown.is_none() && *choice.export == Export::IfNeeded => Ok(files),
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

fn plain_export(listing: &BTreeSet<String>) -> Option<Vec<String>> {
    ONNX.into_iter().find_map(|file| export(listing, file))
}

/// An export and its external data, where it is listed.
fn export(listing: &BTreeSet<String>, file: &str) -> Option<Vec<String>> {
    let stem = listing.get(file)?.strip_suffix(".onnx")?;
    let is_data = |path: &&String| {
        let end = path.strip_prefix(stem).filter(|end| !end.contains('/'));
        end.is_some_and(|end| ONNX_DATA.iter().any(|start| end.starts_with(start)))
    };
    Some(std::iter::once(file.to_owned()).chain(listing.iter().filter(is_data).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn choose(paths: &[&str], model_type: Option<&str>, shards: &[&str]) -> Result<Vec<String>, HubError> {
        let shards: Vec<String> = shards.iter().map(|s| (*s).to_owned()).collect();
        weights("org/name", &listing(paths), FormatChoice { model_type, shards: &shards, export: &Export::IfNeeded })
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
        assert_eq!(choose(&both, Some("xlnet"), &[]).unwrap(), ["onnx/model.onnx"]);
        let wanted = FormatChoice { model_type: Some("bert"), shards: &[], export: &Export::Preferred };
        assert_eq!(weights("org/name", &listing(&both), wanted).unwrap(), ["onnx/model.onnx"]);
    }

    #[test]
    fn layouts_without_an_encoder_at_the_root_are_fetched() {
        // model2vec, a table below, an encoder below, and an adapter.
        assert_eq!(choose(&["model.safetensors"], Some("model2vec"), &[]).unwrap(), ["model.safetensors"]);
        assert!(choose(&["0_StaticEmbedding/model.safetensors", "modules.json"], None, &[]).unwrap().is_empty());
        let below = ["0_Transformer/config.json", "0_Transformer/model.safetensors", "0_Transformer/onnx/model.onnx"];
        assert_eq!(choose(&below, Some("bert"), &[]).unwrap(), ["0_Transformer/model.safetensors"]);
        assert_eq!(encoder_folder(&listing(&below)).as_deref(), Some("0_Transformer"));
        assert_eq!(small(below), ["0_Transformer/config.json"]);
        assert_eq!(small(["tokenizer.json", "vocab.txt"]), ["tokenizer.json"]);
        assert_eq!(small(["vocab.txt", "1_Pooling/vocab.txt"]), ["vocab.txt"]);
        assert!(choose(&["adapter_config.json", "adapter_model.safetensors"], None, &[]).unwrap().is_empty());
        assert!(matches!(choose(&["adapter_config.json"], None, &[]), Err(HubError::NoWeights { .. })));
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
        assert_eq!(choose(&paths, Some("xlnet"), &[]).unwrap(), expect);
    }

    #[test]
    fn a_named_export_is_fetched_alone() {
        let paths = listing(&["model.safetensors", "onnx/model.onnx", "onnx/model_O3.onnx", "onnx/model_O3.onnx_data"]);
        let named = |file: &str| {
            let export = Export::Named(file.to_owned());
            weights("org/name", &paths, FormatChoice { model_type: Some("bert"), shards: &[], export: &export })
        };
        assert_eq!(named("onnx/model_O3.onnx").unwrap(), ["onnx/model_O3.onnx", "onnx/model_O3.onnx_data"]);
        let error = named("onnx/model_O4.onnx").unwrap_err();
        assert!(error.to_string().contains("onnx/model_O4.onnx"), "{error}");
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
        let error = choose(&["model.safetensors"], Some("xlnet"), &[]).unwrap_err();
        assert!(error.to_string().contains("xlnet"), "{error}");
        assert!(matches!(choose(&["pytorch_model.bin"], Some("bert"), &[]), Err(HubError::NoWeights { .. })));
    }
}
