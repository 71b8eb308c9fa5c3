//! Finds and loads the ONNX Runtime library, once a process.
//!
//! Looked for, in order: the path asked for, `ORT_DYLIB_PATH`, beside the
//! running binary, the set-up's cache. The error lists every place tried. For a GPU
//! the build with CUDA is looked for first; it runs on processors as well.

use std::{
    env,
    ffi::CStr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use libloading::{Library, Symbol};
use ort::environment::Environment;
use parking_lot::Mutex;

use crate::{
    cuda::{self, Cuda, CudaError, GpuFacts},
    device::Device,
    error::LoadError,
};

/// The release the bindings are made for; the set-up fetches it into a folder of this name.
pub const ORT_VERSION: &str = "1.31.1";

/// What the set-up adds to the folder's name for the build with CUDA 13.
const CUDA_SUFFIX: &str = "-cuda13";

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
        Self::find_for(asked, Device::Cpu)
    }

    /// [`find`](Self::find) for sessions on `device`: for a GPU the build with CUDA comes first.
    ///
    /// # Errors
    /// As [`find`](Self::find). Whether the device can be had is not looked at here.
    pub fn find_for(asked: Option<&Path>, device: Device) -> Result<Self, LoadError> {
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
        let candidates = library_candidates_for(asked, device);
        let Some((library, _)) = candidates.iter().find(|(path, _)| path.is_file()) else {
            let tried: String = candidates.iter().map(|(p, why)| format!("\n  {} ({why})", p.display())).collect();
            return Err(LoadError::Runtime(format!(
                "the ONNX Runtime library was not found; tried{tried}\nfetch it with `cargo xtask ort{}`, or point ORT_DYLIB_PATH at version {ORT_VERSION}",
                if device == Device::Cpu { "" } else { " --cuda" }
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

    /// CUDA beside this library, opened at the first call.
    pub(crate) fn cuda(&self) -> Result<Cuda, CudaError> {
        cuda::open(&self.library)
    }

    /// The GPUs that can be used with this library, in CUDA's order.
    ///
    /// # Errors
    /// Says what is missing: the provider, the driver, a library, a newer driver, a GPU.
    pub fn gpus(&self) -> Result<Vec<GpuFacts>, CudaError> {
        let cuda = self.cuda()?;
        (0..cuda.count()?).map(|number| cuda.facts(number)).collect()
    }

    /// What is known of one GPU. Looking takes a few hundred MiB of its memory for the life of the process, so those that are
    /// not used are not looked at.
    ///
    /// # Errors
    /// As [`gpus`](Self::gpus), and when there is no such GPU.
    pub fn gpu(&self, number: u32) -> Result<GpuFacts, CudaError> {
        cuda::device(&self.cuda()?, number)
    }

    /// How many GPUs CUDA shows.
    ///
    /// # Errors
    /// As [`gpus`](Self::gpus).
    pub fn gpu_count(&self) -> Result<u32, CudaError> {
        self.cuda()?.count()
    }

    /// Versions of CUDA that the driver serves and that the libraries are, `(major, minor)`.
    ///
    /// # Errors
    /// As [`gpus`](Self::gpus).
    pub fn cuda_versions(&self) -> Result<[(i32, i32); 2], CudaError> {
        let (driver, runtime) = self.cuda()?.versions()?;
        Ok([driver, runtime].map(|v| (v / 1000, v % 1000 / 10)))
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

    /// The release that the library says it is, `1.31.1` for example; it may be another than [`ORT_VERSION`] where a user
    /// brought it. `None` where it does not say.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        type Base = unsafe extern "system" fn() -> *const ort::sys::OrtApiBase;
        // SAFETY: it is loaded already, so this runs nothing of it.
        #[expect(unsafe_code, reason = "foreign calls")]
        let library = unsafe { Library::new(&self.library) }.ok()?;
        // SAFETY: the signature is that of onnxruntime_c_api.h; the library stays loaded for the process's life.
        #[expect(unsafe_code, reason = "as above")]
        let text = unsafe {
            let base: Symbol<'_, Base> = library.get(c"OrtGetApiBase").ok()?;
            let says = ((*base)().as_ref()?.GetVersionString)();
            (!says.is_null()).then(|| CStr::from_ptr(says).to_string_lossy().into_owned())
        };
        text
    }

    /// What the library says of its build.
    #[must_use]
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// Places where the library is looked for, each with the reason it is looked for there.
#[must_use]
pub fn library_candidates(asked: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    library_candidates_for(asked, Device::Cpu)
}

/// [`library_candidates`] for sessions on `device`.
#[must_use]
pub fn library_candidates_for(asked: Option<&Path>, device: Device) -> Vec<(PathBuf, &'static str)> {
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
        let plain = (ORT_VERSION.to_owned(), "the cache that `cargo xtask ort` fills");
        let cuda = (format!("{ORT_VERSION}{CUDA_SUFFIX}"), "the cache that `cargo xtask ort --cuda` fills");
        let order = if device == Device::Cpu { [plain, cuda] } else { [cuda, plain] };
        places.extend(order.map(|(folder, why)| (cache.join("ort").join(folder).join(name), why)));
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
    fn the_library_itself_says_which_release_it_is() {
        // The tests run on what the set-up fetched.
        assert_eq!(Runtime::find(None).unwrap().version().as_deref(), Some(ORT_VERSION));
    }

    #[test]
    fn a_path_asked_for_is_the_only_candidate() {
        let found = library_candidates(Some(Path::new("/nowhere/lib.so")));
        assert_eq!(found, [(PathBuf::from("/nowhere/lib.so"), "asked for")]);
    }
}
