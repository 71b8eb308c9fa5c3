//! NVIDIA GPUs, found at run time. Nothing of CUDA is linked or needed to build:
//! the driver and CUDA's runtime are opened by name when a GPU is asked for.
//!
//! What must be there, in the order it is looked for, each with an error of its own:
//! ONNX Runtime's CUDA provider beside its library → the driver → CUDA's runtime
//! libraries → a driver new enough → the device → an architecture that is served.

mod error;
mod fault;
mod kernels;
mod libraries;
mod memory;
mod products;
mod runtime;

pub use error::CudaError;
pub use fault::RunFault;
pub(crate) use kernels::{
    AttentionLaunch, Depth, DotsLaunch, ExpertsLaunch, Extra, FEW_COLUMNS, GateLaunch, GivenLaunch, HeadsLaunch,
    KernelHandle, Kernels, MOST_DISTANCES, MOST_EXPERTS, NormKernel, NormLaunch, PlacesLaunch, Reduction, RouteLaunch,
    SegmentsLaunch, SightCode,
};
pub(crate) use libraries::provider_beside;
pub(crate) use memory::{DeviceBuffer, Memory};
pub(crate) use products::{ALIGNED, Epilogue, FEW_ROWS, Formats, Operands, ProductSizes, Products, TOGETHER};
pub use runtime::GpuFacts;
pub(crate) use runtime::{Cuda, Pinned};

use std::path::Path;

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Least compute capability that CUDA 13's libraries serve (Turing).
const LEAST_CAPABILITY: (u32, u32) = (7, 5);

static OPENED: Mutex<Option<Cuda>> = Mutex::new(None);

/// Opens CUDA for the ONNX Runtime library at `ort_library`, once a process.
///
/// # Errors
/// Says which of the things above is missing, and what to do.
pub(crate) fn open(ort_library: &Path) -> Result<Cuda, CudaError> {
    let mut opened = OPENED.lock();
    if let Some(cuda) = &*opened {
        return Ok(cuda.clone());
    }
    let provider = provider_beside(ort_library);
    if !provider.is_file() {
        return Err(CudaError::NoProvider(provider));
    }
    // First of all: without the driver nothing else can be used, and its error is the plainest.
    libraries::driver()?;
    libraries::preload(ort_library)?;
    let cuda = Cuda::open()?;
    cuda.check_versions()?;
    Ok(opened.insert(cuda).clone())
}

/// What is known of GPU `number`, checked to be one that is served.
///
/// # Errors
/// When there is no such device or its architecture is too old.
pub(crate) fn device(cuda: &Cuda, number: u32) -> Result<GpuFacts, CudaError> {
    let count = cuda.count()?;
    if number >= count {
        return Err(CudaError::NoDevice { number, count });
    }
    at_least(cuda.facts(number)?, LEAST_CAPABILITY)
}

/// The GPU, where its compute capability is `least` or more.
fn at_least(facts: GpuFacts, least: (u32, u32)) -> Result<GpuFacts, CudaError> {
    let GpuFacts { number, capability, .. } = facts;
    if capability < least {
        return Err(CudaError::TooOld { number, name: facts.name, capability, least });
    }
    Ok(facts)
}

/// Held for reading by whatever uses a GPU, for writing while a graph is captured:
/// CUDA ends a capture where any thread of the process does something unfit meanwhile,
/// on whichever device.
static CAPTURE: RwLock<()> = RwLock::new(());

/// Keeps captures away while it lives.
pub(crate) fn using() -> RwLockReadGuard<'static, ()> {
    CAPTURE.read()
}

/// Keeps everything else of ours off the GPUs while it lives.
pub(crate) fn capturing() -> RwLockWriteGuard<'static, ()> {
    CAPTURE.write()
}
