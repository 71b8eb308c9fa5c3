//! Finds and loads the ONNX Runtime library, once a process.
//!
//! Looked for, in order: the path asked for, `ORT_DYLIB_PATH`, beside the
//! running binary, the set-up's cache. The error lists every place tried.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ort::environment::Environment;
use parking_lot::Mutex;

use crate::error::LoadError;

/// The release the bindings are made for; the set-up fetches it into a folder of this name.
pub const ORT_VERSION: &str = "1.31.1";

/// The loaded library. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("library", &self.library).finish_non_exhaustive()
    }
}

static LOADED: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Finds and loads the library; later calls return the one loaded first.
    ///
    /// # Errors
    /// When none is found (the error lists the places tried), when it does not
    /// load or is too old, or when another path is asked for than the one loaded.
    pub fn find(asked: Option<&Path>) -> Result<Self, LoadError> {
        let _one_at_a_time = LOADING.lock();
        if let Some(loaded) = LOADED.get() {
            return match asked {
                Some(path) if path != loaded.library => Err(LoadError::Runtime(format!(
                    "ONNX Runtime is already loaded from {}; one process cannot load {} too",
                    loaded.library.display(),
                    path.display()
                ))),
                _ => Ok(loaded.clone()),
            };
        }
        let candidates = library_candidates(asked);
        let Some((library, _)) = candidates.iter().find(|(path, _)| path.is_file()) else {
            let tried: String = candidates.iter().map(|(p, why)| format!("\n  {} ({why})", p.display())).collect();
            return Err(LoadError::Runtime(format!(
                "the ONNX Runtime library was not found; tried{tried}\nfetch it with `cargo xtask ort`, or point ORT_DYLIB_PATH at version {ORT_VERSION}"
            )));
        };
        let fail = |e: &dyn std::error::Error| {
            LoadError::Runtime(format!("cannot load ONNX Runtime from {}: {e}", library.display()))
        };
        let environment =
            ort::init_from(library).map_err(|e| fail(&e))?.with_name("sortie").build().map_err(|e| fail(&e))?;
        let runtime = Runtime { environment, library: library.clone() };
        Ok(LOADED.get_or_init(|| runtime).clone())
    }

    /// The environment sessions are made in.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Path of the loaded library.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What the library says of its build.
    #[must_use]
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// Places the library is looked for, each with the reason it is looked for there.
#[must_use]
pub fn library_candidates(asked: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let name = if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else if cfg!(windows) {
        "onnxruntime.dll"
    } else {
        "libonnxruntime.so"
    };
    // What is asked for by name must be there; falling through to another library would surprise.
    if let Some(path) = asked {
        return vec![(path.to_owned(), "asked for")];
    }
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return vec![(path.into(), "ORT_DYLIB_PATH")];
    }
    let mut places = Vec::new();
    if let Some(dir) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push((dir.join(name), "beside the binary"));
    }
    if let Some(cache) = cache_dir() {
        places.push((cache.join("ort").join(ORT_VERSION).join(name), "the cache that `cargo xtask ort` fills"));
    }
    places
}

/// The set-up's cache: `SORTIE_CACHE`, else `sortie` in the user's cache folder.
fn cache_dir() -> Option<PathBuf> {
    let var = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("SORTIE_CACHE").or_else(|| var("XDG_CACHE_HOME").map(|c| c.join("sortie"))).or_else(|| {
        let home = var("HOME")?;
        Some(if cfg!(target_os = "macos") { home.join("Library/Caches/sortie") } else { home.join(".cache/sortie") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_asked_for_is_the_only_candidate() {
        let found = library_candidates(Some(Path::new("/nowhere/lib.so")));
        assert_eq!(found, [(PathBuf::from("/nowhere/lib.so"), "asked for")]);
    }
}
