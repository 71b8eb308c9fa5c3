//! The ONNX Runtime library, taken out of its Python package: the one build that
//! every machine with pip can fetch. With `--cuda` the build for NVIDIA GPUs, and
//! beside it the CUDA libraries it links, out of theirs: a host then needs the
//! driver and nothing else of CUDA.

use std::{env::consts, path::PathBuf};

use anyhow::{Context as _, bail};

use crate::{
    bill,
    cache::Cache,
    catalog::{self, ORT_VERSION},
    digest, pip, wheel,
};

/// Name the engine looks for in the cache.
const LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

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
        let wheels: Vec<_> = if args.cuda {
            catalog::ORT_CUDA.iter().map(|parts| &parts.wheel).collect()
        } else {
            catalog::this_machine(catalog::ORT).map(|row| &row.wheel).into_iter().collect()
        };
        bill::write(&wheels, file)?;
    }
    println!("{}", path.display());
    Ok(())
}

/// Path of the CUDA build's library; fetched where it is not in the cache yet.
pub(crate) fn ensure_cuda(cache: &Cache) -> anyhow::Result<PathBuf> {
    let (os, arch) = catalog::ORT_CUDA_MACHINE;
    if (consts::OS, consts::ARCH) != (os, arch) || cfg!(target_env = "musl") {
        bail!(
            "the CUDA build of ONNX Runtime {ORT_VERSION} is fetched for {os} {arch} with glibc only, and this is {} {}; \
             point --ort-library at one that has libonnxruntime_providers_cuda.so beside it",
            consts::OS,
            consts::ARCH
        );
    }
    let recipe: String =
        catalog::ORT_CUDA.iter().map(|parts| format!("{}{:?}", parts.wheel.sha256, parts.members)).collect();
    let entry = format!("ort/{ORT_VERSION}{}", catalog::ORT_CUDA_SUFFIX);
    let folder = cache.entry(&entry, &digest::bytes(recipe.as_bytes()), |folder| {
        for parts in catalog::ORT_CUDA {
            // One at a time: together they would take twice the room.
            let scratch = cache.scratch()?;
            let file = pip::fetch(&parts.wheel, scratch.path())?;
            wheel::unpack(&file, parts.members.iter().copied(), folder)?;
        }
        Ok(())
    })?;
    Ok(folder.join(LIBRARY))
}

/// The library's path; fetched where it is not in the cache yet.
pub(crate) fn ensure(cache: &Cache) -> anyhow::Result<PathBuf> {
    let row = catalog::this_machine(catalog::ORT).with_context(unsupported)?;
    if cfg!(target_env = "musl") {
        bail!(
            "ONNX Runtime {ORT_VERSION} is published for glibc, and this is a musl system; build it from source and set ORT_DYLIB_PATH"
        );
    }
    let fingerprint = digest::bytes(format!("{}{}{LIBRARY}", row.wheel.sha256, row.member).as_bytes());
    let folder = cache.entry(&format!("ort/{ORT_VERSION}"), &fingerprint, |folder| {
        let scratch = cache.scratch()?;
        let file = pip::fetch(&row.wheel, scratch.path())?;
        wheel::unpack(&file, [(row.member, LIBRARY), ("onnxruntime/LICENSE", "LICENSE")], folder)
    })?;
    Ok(folder.join(LIBRARY))
}

fn unsupported() -> String {
    let known: Vec<_> = catalog::ORT.iter().map(|r| format!("{} {}", r.os, r.arch)).collect();
    format!(
        "no ONNX Runtime {ORT_VERSION} package is known for {} {} (known: {}); build it from source and set ORT_DYLIB_PATH",
        consts::OS,
        consts::ARCH,
        known.join(", ")
    )
}
