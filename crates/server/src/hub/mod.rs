//! Fetches a model by its hub name: only the files it is served from, into the
//! cache that the hub's own tools share.
//!
//! Invariants: the token is never logged; a folder that is returned is whole
//! (every file there, each with its listed size); nothing is asked of the
//! network when offline. TLS is rustls with *ring*.

mod cache;
mod error;
mod files;
mod options;
mod progress;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use futures::{FutureExt, StreamExt, TryStreamExt};
use hf_hub::{HFClient, HFError, HFRepository, RepoTypeModel, repository::RepoTreeEntry};

pub use error::HubError;
pub(crate) use options::HubOptions;

pub(crate) use files::Export;
use files::FormatChoice;
use progress::DownloadBar;

/// The branch that is meant when none is named.
pub(crate) const DEFAULT_REVISION: &str = "main";

/// Files fetched at once; more only share the same line.
const PARALLEL_FILES: usize = 4;

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalModel {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The commit it is of.
    pub(crate) commit: String,
}

/// Bytes of each file of a repository.
type RepoFiles = BTreeMap<String, u64>;

/// Fetches `name` (`org/repo`) at `revision` (branch, tag or commit; `main` if
/// none is given) unless it is cached. Online, a branch is followed to its newest
/// commit; if the hub cannot be reached, what is cached is served.
///
/// # Errors
/// A [`HubError`] that says what to do.
pub(crate) async fn fetch(name: &str, revision: Option<&str>, options: &HubOptions) -> Result<LocalModel, HubError> {
    let bad_name = || HubError::BadName { name: name.to_owned() };
    let (owner, repo) = options::split(name).ok_or_else(bad_name)?;
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    options::check_revision(name, revision)?;
    let client = options.client(name)?;
    let store = client.cache_dir().to_owned();
    let cached = || cache::cached(&store, name, revision, &options.export);
    if options.offline {
        let missing =
            || HubError::NotCached { name: name.to_owned(), revision: revision.to_owned(), cache: store.clone() };
        return cached().ok_or_else(missing);
    }
    let model = client.model(owner, repo);
    let commit = match commit(&model, name, revision).await {
        Ok(commit) => commit,
        Err(error) if error::is_unreachable(&error) => {
            let Some(found) = cached() else {
                let endpoint = client.endpoint().to_owned();
                return Err(HubError::Unreachable { name: name.to_owned(), endpoint, source: Box::new(error) });
            };
            tracing::warn!(model = name, commit = found.commit, %error, "the model hub cannot be reached; serving what is cached");
            return Ok(found);
        }
        Err(error) => return Err(explain(&client, name, revision, error).await),
    };
    let folder = download(&model, &store, name, &commit, &options.export).await?;
    cache::mark_whole(&store, name, &commit)?;
    if !cache::is_commit(revision) {
        cache::write_ref(&store, name, revision, &commit)?;
    }
    Ok(LocalModel { folder, commit })
}

/// The commit that a revision stands for.
async fn commit(model: &HFRepository<RepoTypeModel>, name: &str, revision: &str) -> Result<String, HFError> {
    let info = model.info().revision(revision).send().await?;
    let commit = info.sha.filter(|sha| cache::is_commit(sha));
    commit.ok_or_else(|| HFError::malformed_response(format!("no commit for {name} at {revision}")))
}

/// Turns what the hub said into what to do.
async fn explain(client: &HFClient, name: &str, revision: &str, error: HFError) -> HubError {
    let name = name.to_owned();
    let no_revision = |name| HubError::RevisionNotFound { name, revision: revision.to_owned() };
    match (&error, error::code(&error)) {
        (_, Some("RepoNotFound")) => HubError::NotFound { name },
        (_, Some("RevisionNotFound")) => no_revision(name),
        (HFError::RepoNotFound { .. } | HFError::AuthRequired { .. }, _) => HubError::NotFound { name },
        (HFError::Forbidden { .. }, _) => HubError::Forbidden { name },
        // A bare 404 says not which of the two is missing.
        (HFError::RevisionNotFound { .. }, _) => {
            let (owner, repo) = hf_hub::split_id(&name);
            match client.model(owner, repo).exists().send().await {
                Ok(true) => no_revision(name),
                _ => HubError::NotFound { name },
            }
        }
        _ => HubError::Hub { name, source: Box::new(error) },
    }
}

/// Fetches the small files, then the weights that they call for.
async fn download(
    model: &HFRepository<RepoTypeModel>,
    store: &Path,
    name: &str,
    commit: &str,
    export: &Export,
) -> Result<PathBuf, HubError> {
    let transfer = |source| HubError::Transfer { name: name.to_owned(), file: "the list of files".to_owned(), source };
    let listing = list(model, commit).await.map_err(|source| transfer(Box::new(source)))?;
    let folder = cache::snapshot(store, name, commit);
    fetch_all(model, &folder, name, commit, &listing, files::small(listing.keys().map(String::as_str))).await?;
    let names = listing.keys().cloned().collect();
    let encoder = files::encoder_folder(&names).map_or_else(|| folder.clone(), |inner| folder.join(inner));
    let model_type = cache::model_type(&encoder, name)?;
    let shards = cache::shards(&encoder, name)?;
    let choice = FormatChoice { model_type: model_type.as_deref(), shards: &shards, export };
    let weights = files::weights(name, &names, choice)?;
    fetch_all(model, &folder, name, commit, &listing, weights).await?;
    Ok(folder)
}

async fn list(model: &HFRepository<RepoTypeModel>, commit: &str) -> Result<RepoFiles, HFError> {
    let entries = model.list_tree().revision(commit).recursive(true).send()?;
    let files = entries.try_filter_map(async |entry| {
        Ok(match entry {
            RepoTreeEntry::File { path, size, .. } => Some((path, size)),
            RepoTreeEntry::Directory { .. } => None,
        })
    });
    files.try_collect().await
}

/// Fetches what is not cached yet, and holds each file against its listed size.
async fn fetch_all(
    model: &HFRepository<RepoTypeModel>,
    folder: &Path,
    name: &str,
    commit: &str,
    listing: &RepoFiles,
    mut paths: Vec<String>,
) -> Result<(), HubError> {
    let size = |path: &str| listing.get(path).copied().unwrap_or(0);
    paths.retain(|path| {
        let file = folder.join(path);
        let found = file.is_file().then(|| cache::size(&file).ok()).flatten();
        if found.is_some_and(|bytes| bytes != size(path)) {
            cache::remove(&file);
        }
        found != Some(size(path))
    });
    if paths.is_empty() {
        return Ok(());
    }
    let bar = DownloadBar::new(name, paths.iter().map(|path| size(path)).sum());
    let fetches = paths.iter().map(|path| {
        let progress = bar.file(path);
        async move {
            let sent = model.download_file().filename(path.clone()).revision(commit).progress(progress).send();
            let broke =
                |source| HubError::Transfer { name: name.to_owned(), file: path.clone(), source: Box::new(source) };
            let file = sent.await.map_err(broke)?;
            let (expected, got) = (size(path), cache::size(&file)?);
            if expected != got {
                cache::remove(&file);
                return Err(HubError::WrongSize { name: name.to_owned(), file: path.clone(), expected, got });
            }
            Ok(())
        }
    });
    // Boxed: the futures of the hub's client are large. Collected: the compiler cannot prove a lazy map over borrowed
    // paths to be `Send`.
    let fetches: Vec<_> = fetches.map(FutureExt::boxed).collect();
    futures::stream::iter(fetches).buffer_unordered(PARALLEL_FILES).try_collect().await
}
