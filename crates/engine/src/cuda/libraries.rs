//! Loads the libraries that ONNX Runtime's CUDA provider links, before it is opened.
//!
//! The provider names them without a path and has no search path of its own. A
//! library that is loaded already is taken by its name, so each is loaded by its
//! full path from beside ONNX Runtime (where the set-up puts them), else from where
//! the system looks. Dependencies come before dependents. None is ever unloaded.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
};

use super::CudaError;

/// In loading order.
const LIBRARIES: [&str; 4] = ["libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10"];

/// The driver's library; it comes with the driver and must never be shipped.
pub(super) const DRIVER: &str = "libcuda.so.1";

/// ONNX Runtime's CUDA provider.
const PROVIDER: &str = "libonnxruntime_providers_cuda.so";

/// Where the provider of this ONNX Runtime must be.
pub(crate) fn provider_beside(ort_library: &Path) -> PathBuf {
    // The library may be a link into the folder that holds its providers.
    let real = ort_library.canonicalize().unwrap_or_else(|_| ort_library.to_owned());
    real.with_file_name(PROVIDER)
}

/// Checks that the driver can be opened.
pub(super) fn driver() -> Result<(), CudaError> {
    load(Path::new(DRIVER)).map_err(CudaError::NoDriver)
}

/// Loads what the provider links.
pub(super) fn preload(ort_library: &Path) -> Result<(), CudaError> {
    let folder = provider_beside(ort_library);
    for name in LIBRARIES {
        let beside = folder.with_file_name(name);
        let path = if beside.is_file() { beside } else { PathBuf::from(name) };
        load(&path).map_err(|says| CudaError::NoLibrary { path, says })?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<(), String> {
    // The loader's own words are the cause of the error, not the error.
    ort::util::preload_dylib(path).map_err(|e| e.source().map_or_else(|| e.to_string(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_looked_for_beside_the_library_itself() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("libonnxruntime.so.1"), "").unwrap();
        let link = dir.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(real.join("libonnxruntime.so.1"), &link).unwrap();
        assert_eq!(provider_beside(&link), real.join(PROVIDER));
        assert_eq!(provider_beside(Path::new("/nowhere/lib.so")), Path::new("/nowhere").join(PROVIDER));
    }
}
