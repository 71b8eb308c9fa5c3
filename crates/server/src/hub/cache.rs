//! The local cache, laid out as the hub's own tools do:
//! `<cache>/models--org--repo/{blobs,refs,snapshots/<commit>}`.
//!
//! Invariant: a snapshot is marked whole only once every file of it that is served from is there. Other tools fill the
//! same cache file by file, so a ref of theirs proves nothing: without our mark a snapshot counts as whole where its
//! files show that nothing is missing ([`is_whole`]).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use sortie_engine::TRANSFORMER_CONFIGS;

use super::{
    LocalModel,
    error::HubError,
    files::{self, Export, FormatChoice, INDEX, MODULES},
};

/// The folder of one repository.
pub(super) fn repo_folder(cache: &Path, name: &str) -> PathBuf {
    cache.join(format!("models--{}", name.replace('/', "--")))
}

/// The folder of one commit.
pub(super) fn snapshot(cache: &Path, name: &str, commit: &str) -> PathBuf {
    repo_folder(cache, name).join("snapshots").join(commit)
}

/// Full commit ids name themselves; branches and tags go through a ref.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What is cached whole of a revision.
pub(super) fn cached(cache: &Path, name: &str, revision: &str, export: &Export) -> Option<LocalModel> {
    let commit = if is_commit(revision) {
        revision.to_owned()
    } else {
        let path = repo_folder(cache, name).join("refs").join(revision);
        std::fs::read_to_string(path).ok()?.trim().to_owned()
    };
    if !is_commit(&commit) {
        return None;
    }
    let folder = snapshot(cache, name, &commit);
    let listing = listing(&folder);
    let encoder = files::encoder_folder(&listing).map_or_else(|| folder.clone(), |inner| folder.join(inner));
    let model_type = model_type(&encoder, name).ok()?;
    let shards = shards(&encoder, name).ok()?;
    let choice = FormatChoice { model_type: model_type.as_deref(), shards: &shards, export };
    files::weights(name, &listing, choice).ok()?;
    if !is_whole(cache, name, &commit, &folder, &listing) {
        tracing::warn!(
            model = name,
            commit,
            "another tool cached a part of it; what its modules are cannot be known offline"
        );
        return None;
    }
    Some(LocalModel { folder, commit })
}

/// Where the mark of a whole snapshot lies.
fn mark(cache: &Path, name: &str, commit: &str) -> PathBuf {
    repo_folder(cache, name).join(".sortie").join(commit)
}

/// Marks a snapshot whole.
pub(super) fn mark_whole(cache: &Path, name: &str, commit: &str) -> Result<(), HubError> {
    let path = mark(cache, name, commit);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(cache))?;
        std::fs::write(&path, b"")
    };
    write().map_err(|source| HubError::Cache { path: path.clone(), source })
}

/// Whether nothing that changes an answer is missing from a snapshot: it is marked, or it was downloaded as a whole
/// (`.gitattributes`, which no model is loaded from, is there), or its modules.json is there with all it names and with
/// the files of settings that go with it ([`settings_are_known`]), or another tool looked for modules.json and noted
/// that there is none (`.no_exist`), or the architecture is a classifier's, whose numbers no module changes.
fn is_whole(cache: &Path, name: &str, commit: &str, folder: &Path, listing: &BTreeSet<String>) -> bool {
    if mark(cache, name, commit).is_file() || listing.contains(".gitattributes") {
        return true;
    }
    if let Ok(Some(modules)) = json(folder, name, MODULES) {
        let folders: Vec<&str> =
            modules.as_array().into_iter().flatten().filter_map(|module| module.get("path")?.as_str()).collect();
        // Modules without a configuration are found out when the folder is read.
        let has_modules = folders.iter().filter(|folder| !folder.is_empty()).all(|folder| {
            listing.iter().any(|file| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
                || folder.ends_with("_Normalize")
                || folder.ends_with("_Dropout")
        });
        return has_modules && settings_are_known(cache, name, commit, listing, folders.first().copied());
    }
    if repo_folder(cache, name).join(".no_exist").join(commit).join(MODULES).is_file() {
        return true;
    }
    let classifies = |config: serde_json::Value| {
        let architecture = config.get("architectures")?.as_array()?.first()?.as_str()?.to_owned();
        Some(["ForSequenceClassification", "ForTokenClassification"].iter().any(|end| architecture.ends_with(end)))
    };
    json(folder, name, "config.json").ok().flatten().and_then(classifies).unwrap_or(false)
}

/// Whether each file of settings that changes an answer is there, or was looked for and is not: those of the library,
/// and those of the encoder, whose module lies in the folder `first`.
fn settings_are_known(cache: &Path, name: &str, commit: &str, listing: &BTreeSet<String>, first: Option<&str>) -> bool {
    let noted = repo_folder(cache, name).join(".no_exist").join(commit);
    let known = |file: &str| listing.contains(file) || noted.join(file).is_file();
    let first = first.unwrap_or_default();
    if !known("config_sentence_transformers.json") {
        return false;
    }
    // Tables have none.
    if first.ends_with("StaticEmbedding") {
        return true;
    }
    let inside = |file: &str| if first.is_empty() { file.to_owned() } else { format!("{first}/{file}") };
    known(&inside("tokenizer_config.json"))
        && (TRANSFORMER_CONFIGS.into_iter().any(|file| listing.contains(&inside(file)))
            || TRANSFORMER_CONFIGS.into_iter().all(|file| noted.join(inside(file)).is_file()))
}

/// Makes `revision` name `commit`; replaces the ref in one step.
pub(super) fn write_ref(cache: &Path, name: &str, revision: &str, commit: &str) -> Result<(), HubError> {
    let path = repo_folder(cache, name).join("refs").join(revision);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(cache))?;
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        std::fs::write(&draft, commit)?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(|source| HubError::Cache { path: path.clone(), source })
}

/// `model_type` of a snapshot's configuration.
pub(super) fn model_type(folder: &Path, name: &str) -> Result<Option<String>, HubError> {
    let config = json(folder, name, "config.json")?;
    Ok(config.as_ref().and_then(|c| c.get("model_type")?.as_str().map(str::to_owned)))
}

/// Files that a snapshot's shard index names; none without one.
pub(super) fn shards(folder: &Path, name: &str) -> Result<Vec<String>, HubError> {
    let index = json(folder, name, INDEX)?;
    let map = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let files: BTreeSet<&str> = map.into_iter().flatten().filter_map(|(_, file)| file.as_str()).collect();
    Ok(files.into_iter().map(str::to_owned).collect())
}

fn json(folder: &Path, name: &str, file: &str) -> Result<Option<serde_json::Value>, HubError> {
    let path = folder.join(file);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(HubError::Cache { path, source }),
    };
    let bad = |source| HubError::BadFile { name: name.to_owned(), file: file.to_owned(), source };
    serde_json::from_slice(&text).map(Some).map_err(bad)
}

/// Names of the files of a snapshot and of its folders.
fn listing(folder: &Path) -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut all = BTreeSet::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            all.extend(names(&path).into_iter().filter(|f| path.join(f).is_file()).map(|f| format!("{name}/{f}")));
        } else if path.is_file() {
            // A link whose file is gone is no file.
            all.insert(name);
        }
    }
    all
}

/// Bytes of a cached file.
pub(super) fn size(path: &Path) -> Result<u64, HubError> {
    let found = std::fs::metadata(path).map(|meta| meta.len());
    found.map_err(|source| HubError::Cache { path: path.to_owned(), source })
}

/// Removes a file that came broken, with what it links to.
pub(super) fn remove(path: &Path) {
    for path in [std::fs::canonicalize(path).ok(), Some(path.to_owned())].into_iter().flatten() {
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a broken file stays in the model cache");
        }
    }
}
