//! The ONNX Runtime library, taken out of its Python package: the one build that
//! every machine with pip can fetch. With `--cuda` the build for NVIDIA GPUs, and
//! beside it the CUDA libraries it links, out of theirs: a host then needs the
//! driver and nothing else of CUDA.

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    cache::Cache,
    packages::{self, PackagePart},
    pins::Pin,
};

/// Release of ONNX Runtime that the `ort` bindings are made for.
pub const ORT_VERSION: &str = "1.31.1";

/// Name the engine looks for in the cache.
const LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

/// The library for processors.
const CPU: &[PackagePart] = &[PackagePart {
    package: "onnxruntime",
    files: &[
        if cfg!(target_os = "macos") {
            ("onnxruntime/capi/libonnxruntime.1.31.1.dylib", LIBRARY)
        } else {
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", LIBRARY)
        },
        ("onnxruntime/LICENSE", "LICENSE"),
    ],
}];

/// ONNX Runtime's CUDA build and what its CUDA provider links, all in one folder.
const CUDA: &[PackagePart] = &[
    PackagePart {
        package: "onnxruntime-gpu",
        files: &[
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", "libonnxruntime.so"),
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", "libonnxruntime_providers_shared.so"),
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", "libonnxruntime_providers_cuda.so"),
            ("onnxruntime/LICENSE", "LICENSE"),
        ],
    },
    PackagePart {
        package: "nvidia-cuda-runtime",
        files: &[
            ("nvidia/cu13/lib/libcudart.so.13", "libcudart.so.13"),
            ("nvidia_cuda_runtime-13.0.96.dist-info/licenses/License.txt", "LICENSE-cuda-runtime.txt"),
        ],
    },
    PackagePart {
        package: "nvidia-cublas",
        files: &[
            ("nvidia/cu13/lib/libcublas.so.13", "libcublas.so.13"),
            ("nvidia/cu13/lib/libcublasLt.so.13", "libcublasLt.so.13"),
            ("nvidia_cublas-13.0.2.14.dist-info/licenses/License.txt", "LICENSE-cublas.txt"),
        ],
    },
    PackagePart {
        package: "nvidia-curand",
        files: &[
            ("nvidia/cu13/lib/libcurand.so.10", "libcurand.so.10"),
            ("nvidia_curand-10.4.0.35.dist-info/licenses/License.txt", "LICENSE-curand.txt"),
        ],
    },
];

/// `cargo xtask ort`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build for NVIDIA GPUs, with the CUDA libraries it links (740 MB to fetch, 1.1 GB on disk)
    #[arg(long)]
    cuda: bool,
    /// Also write what is in the folder, as CycloneDX, for scanners of an image (a name that ends in .cdx.json)
    #[arg(long, value_name = "FILE")]
    bill: Option<PathBuf>,
}

/// Fetches what is not there yet and prints the library's path.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let path = if args.cuda { ensure_cuda(&cache)? } else { ensure(&cache)? };
    if let Some(file) = &args.bill {
        write_bill(if args.cuda { CUDA } else { CPU }, file)?;
    }
    println!("{}", path.display());
    Ok(())
}

/// The library's path; fetched where it is not in the cache yet.
pub fn ensure(cache: &Cache) -> anyhow::Result<PathBuf> {
    // The engine looks for this folder's name.
    fetched(cache, &format!("ort/{ORT_VERSION}"), CPU, "build it from source and set ORT_DYLIB_PATH")
}

/// Path of the CUDA build's library; fetched where it is not in the cache yet.
pub(crate) fn ensure_cuda(cache: &Cache) -> anyhow::Result<PathBuf> {
    // And for this one's.
    let entry = format!("ort/{ORT_VERSION}-cuda13");
    fetched(cache, &entry, CUDA, "point --ort-library at one that has libonnxruntime_providers_cuda.so beside it")
}

fn fetched(cache: &Cache, entry: &str, parts: &[PackagePart], instead: &str) -> anyhow::Result<PathBuf> {
    if cfg!(target_env = "musl") {
        bail!("ONNX Runtime {ORT_VERSION} is published for glibc, and this is a musl system; {instead}");
    }
    let unknown = || format!("no ONNX Runtime {ORT_VERSION} is fetched for {} {}; {instead}", consts::OS, consts::ARCH);
    parts.iter().try_for_each(|part| part.pin().map(drop)).with_context(unknown)?;
    Ok(packages::entry(cache, entry, parts)?.join(LIBRARY))
}

/// Writes the bill of materials: libraries name no package by themselves, so scanners of an image would not see them.
/// It is made of the pins by which the folder was fetched.
fn write_bill(parts: &[PackagePart], file: &Path) -> anyhow::Result<()> {
    let pins = parts.iter().map(PackagePart::pin).collect::<anyhow::Result<Vec<_>>>()?;
    fs::write(file, format!("{:#}\n", bill(&pins))).with_context(|| format!("cannot write {}", file.display()))
}

fn bill(pins: &[Pin]) -> Value {
    let component = |pin: &Pin| {
        json!({
            "type": "library",
            "name": pin.package,
            "version": pin.version,
            "purl": format!("pkg:pypi/{}@{}", pin.package, pin.version),
            "hashes": [{"alg": "SHA-256", "content": pin.sha256}],
        })
    };
    let components: Vec<Value> = pins.iter().map(component).collect();
    // A release of the format that scanners have read for years.
    json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins;

    #[test]
    fn the_version_is_the_pinned_one() {
        for package in ["onnxruntime", "onnxruntime-gpu"] {
            assert!(pins::pin(package).is_none_or(|pin| pin.version == ORT_VERSION), "{package}");
        }
    }

    #[test]
    fn each_package_is_a_component_with_its_digest() {
        let pins: Vec<Pin> = CPU.iter().chain(CUDA).filter_map(|part| part.pin().ok()).collect();
        let bill = bill(&pins);
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len(), pins.len());
        for (component, pin) in components.iter().zip(&pins) {
            assert_eq!(component["purl"], format!("pkg:pypi/{}@{}", pin.package, pin.version));
            assert_eq!(component["hashes"][0]["content"], pin.sha256);
        }
    }
}
