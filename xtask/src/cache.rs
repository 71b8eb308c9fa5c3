//! The cache: `$SORTIE_CACHE`, else `sortie` in the user's cache folder.
//!
//! ```text
//! ort/<version>/libonnxruntime.so   models/<name>/…   tools/…   python/…
//! manifests/<entry>.json            digests of every file of an entry
//! tmp/                              what is being made; renamed into place when whole
//! lock                              held by the one run that writes
//! ```
//! An entry is there whole or not at all. Its manifest holds the digest of every
//! file, and every use checks them, so a damaged entry is noticed and made anew.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{digest, interrupt};

/// The cache folder, held under its lock.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// Released when dropped.
    _lock: File,
}

/// Digests of an entry's files, by path within it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    /// Digest of the recipe the entry was made by.
    fingerprint: String,
    files: BTreeMap<String, String>,
}

/// Where the cache is.
pub fn root() -> anyhow::Result<PathBuf> {
    root_from(|name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))
        .context("there is no place for the cache: set SORTIE_CACHE to a folder, or HOME")
}

fn root_from(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    var("SORTIE_CACHE").or_else(|| var("XDG_CACHE_HOME").map(|c| c.join("sortie"))).or_else(|| {
        let home = var("HOME")?;
        Some(if cfg!(target_os = "macos") { home.join("Library/Caches/sortie") } else { home.join(".cache/sortie") })
    })
}

impl Cache {
    /// Opens the cache and waits until no other run writes to it.
    pub fn open() -> anyhow::Result<Self> {
        Self::at(root()?)
    }

    fn at(root: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot make the cache folder {}", root.display()))?;
        let path = root.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut told = false;
        interrupt::poll(None, || match lock.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    eprintln!("waiting for another set-up that is using {}", root.display());
                    told = true;
                }
                Ok(None)
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        })?;
        // Leftovers of a run that was killed; nobody else can be writing now.
        let tmp = root.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).with_context(|| format!("cannot clear {}", tmp.display()))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// Path of an entry, whether it is there or not.
    pub fn path(&self, entry: &str) -> PathBuf {
        self.root.join(entry)
    }

    /// A fresh folder on the cache's own file system, gone when dropped.
    pub fn scratch(&self) -> anyhow::Result<TempDir> {
        let tmp = self.root.join("tmp");
        fs::create_dir_all(&tmp).with_context(|| format!("cannot make {}", tmp.display()))?;
        tempfile::tempdir_in(&tmp).with_context(|| format!("cannot make a folder in {}", tmp.display()))
    }

    /// Returns the entry's folder, making it first where it is missing, damaged or
    /// made by another recipe. `make` fills an empty folder.
    pub fn entry(
        &self,
        entry: &str,
        fingerprint: &str,
        make: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let path = self.path(entry);
        match self.state(entry, fingerprint)? {
            EntryState::Whole => return Ok(path),
            EntryState::Damaged(file) => eprintln!("{entry}: {file} is damaged; making it anew"),
            EntryState::Absent => {}
        }
        let scratch = self.scratch()?;
        let fresh = scratch.path().join("entry");
        fs::create_dir(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        make(&fresh)?;
        let manifest = Manifest { fingerprint: fingerprint.to_owned(), files: digests(&fresh)? };
        self.put(&fresh, &path, scratch.path())?;
        let text = serde_json::to_string_pretty(&manifest)?;
        let staged = scratch.path().join("manifest.json");
        fs::write(&staged, text).with_context(|| format!("cannot write {}", staged.display()))?;
        self.put(&staged, &self.manifest_path(entry), scratch.path())?;
        Ok(path)
    }

    /// Whether an entry is there, undamaged and made by this recipe.
    pub(crate) fn is_whole(&self, entry: &str, fingerprint: &str) -> anyhow::Result<bool> {
        Ok(matches!(self.state(entry, fingerprint)?, EntryState::Whole))
    }

    /// Moves `from` to `to`, whatever is there before goes to the scratch folder.
    fn put(&self, from: &Path, to: &Path, scratch: &Path) -> anyhow::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        if from.is_dir() && to.symlink_metadata().is_ok() {
            let old = scratch.join("old");
            fs::rename(to, &old).with_context(|| format!("cannot move {} away", to.display()))?;
        }
        fs::rename(from, to).with_context(|| format!("cannot put {} in place", to.display()))
    }

    fn manifest_path(&self, entry: &str) -> PathBuf {
        self.root.join("manifests").join(format!("{}.json", entry.replace('/', "-")))
    }

    fn state(&self, entry: &str, fingerprint: &str) -> anyhow::Result<EntryState> {
        let path = self.path(entry);
        let Ok(text) = fs::read(self.manifest_path(entry)) else { return Ok(EntryState::Absent) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(EntryState::Absent) };
        if manifest.fingerprint != fingerprint || !path.is_dir() {
            return Ok(EntryState::Absent);
        }
        for (file, expected) in &manifest.files {
            let there = path.join(file);
            if !there.is_file() || digest::file(&there)? != *expected {
                return Ok(EntryState::Damaged(file.clone()));
            }
        }
        Ok(EntryState::Whole)
    }
}

enum EntryState {
    Whole,
    Damaged(String),
    Absent,
}

/// Digest of every file below `folder`.
fn digests(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for item in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = item?.path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) else {
                bail!("{} has a name that is not text", path.display());
            };
            found.insert(name.to_owned(), digest::file(&path)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn fill(folder: &Path) -> anyhow::Result<()> {
        fs::create_dir(folder.join("sub"))?;
        fs::write(folder.join("a"), "one")?;
        Ok(fs::write(folder.join("sub/b"), "two")?)
    }

    #[test]
    fn an_entry_is_made_once_and_repaired_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let made = Cell::new(0);
        let ask = |print: &str| {
            cache
                .entry("kind/name", print, |folder| {
                    made.set(made.get() + 1);
                    fill(folder)
                })
                .unwrap()
        };
        let path = ask("x");
        ask("x");
        assert_eq!(made.get(), 1, "a whole entry is kept");
        fs::write(path.join("sub/b"), "tow").unwrap();
        ask("x");
        assert_eq!(made.get(), 2, "same size, other bytes: damaged");
        assert_eq!(fs::read(path.join("sub/b")).unwrap(), b"two");
        fs::remove_file(path.join("a")).unwrap();
        ask("x");
        assert_eq!(made.get(), 3, "a file is missing");
        ask("y");
        assert_eq!(made.get(), 4, "another recipe");
    }

    #[test]
    fn what_was_there_without_a_manifest_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kind/name")).unwrap();
        fs::write(dir.path().join("kind/name/stale"), "").unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let path = cache.entry("kind/name", "x", fill).unwrap();
        assert!(!path.join("stale").exists() && path.join("a").is_file());
    }

    #[test]
    fn a_failed_making_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let failed = cache.entry("kind/name", "x", |folder| {
            fs::write(folder.join("half"), "")?;
            bail!("no")
        });
        assert!(failed.is_err());
        assert!(!dir.path().join("kind/name").exists());
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn the_place_follows_the_environment() {
        let with = |set: &'static [(&str, &str)]| {
            root_from(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
        };
        assert_eq!(with(&[("SORTIE_CACHE", "/c"), ("HOME", "/h")]), Some("/c".into()));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("/x/sortie".into()));
        assert!(with(&[("HOME", "/h")]).is_some_and(|p| p.starts_with("/h")));
        assert_eq!(with(&[]), None);
    }
}
