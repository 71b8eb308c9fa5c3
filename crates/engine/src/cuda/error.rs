//! Why CUDA cannot be had, each with what to do about it.

use std::path::PathBuf;

/// Why CUDA cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The ONNX Runtime in use was built without CUDA, or its provider is not beside it.
    #[error(
        "this ONNX Runtime has no CUDA provider ({} is not there); fetch one with `cargo xtask ort --cuda`, or point --ort-library at one", .0.display()
    )]
    NoProvider(PathBuf),
    /// There is no NVIDIA driver.
    #[error("the NVIDIA driver cannot be opened ({0}); install the driver, or run the container with its GPUs")]
    NoDriver(String),
    /// A library of CUDA's is missing.
    #[error(
        "CUDA's library {} cannot be loaded ({says}); `cargo xtask ort --cuda` puts all of them beside ONNX Runtime", .path.display()
    )]
    NoLibrary {
        /// The library.
        path: PathBuf,
        /// What the system said.
        says: String,
    },
    /// A library lacks a call.
    #[error("CUDA's library has no {0}")]
    NoCall(&'static str),
    /// The driver is older than the libraries.
    #[error("the NVIDIA driver serves CUDA {}, the libraries need {}; install driver 580 or newer", version(*.driver), version(*.runtime))]
    OldDriver {
        /// What the driver serves, as CUDA writes it (13000 is 13.0).
        driver: i32,
        /// What the libraries are.
        runtime: i32,
    },
    /// There is no device of that number.
    #[error("there is no cuda:{number}: CUDA shows {count} devices")]
    NoDevice {
        /// The device asked for.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// The device's architecture is too old for the libraries.
    #[error("cuda:{number} ({name}) has compute capability {}.{}, {}.{} is the least that is served", .capability.0, .capability.1, .least.0, .least.1)]
    TooOld {
        /// The device.
        number: u32,
        /// Its name.
        name: String,
        /// What it has.
        capability: (u32, u32),
        /// What is needed.
        least: (u32, u32),
    },
    /// A call failed.
    #[error("{call} failed: CUDA error {code}: {says}")]
    Call {
        /// The call.
        call: &'static str,
        /// CUDA's code.
        code: i32,
        /// CUDA's words.
        says: String,
    },
    /// A call of cublasLt failed.
    #[error("{call} failed: CUBLAS failure {code}: {says}")]
    Product {
        /// The call.
        call: &'static str,
        /// cuBLAS's code.
        code: i32,
        /// cuBLAS's name of it.
        says: String,
    },
}

/// 13000 to `13.0`.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let old = CudaError::OldDriver { driver: 12_040, runtime: 13_000 };
        assert_eq!(
            old.to_string(),
            "the NVIDIA driver serves CUDA 12.4, the libraries need 13.0; install driver 580 or newer"
        );
        let none = CudaError::NoDevice { number: 3, count: 1 };
        assert_eq!(none.to_string(), "there is no cuda:3: CUDA shows 1 devices");
        let old = CudaError::TooOld { number: 0, name: "Tesla P100".into(), capability: (6, 0), least: (7, 5) };
        assert!(old.to_string().contains("6.0") && old.to_string().contains("7.5"), "{old}");
    }
}
