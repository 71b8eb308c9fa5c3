//! The launches of kernels of layers of experts, told in `crates/engine/kernels/experts.cuh`.

use std::ffi::c_void;

use super::{KernelHandle, Kernels, LaunchSize, rows::format};
use crate::{cuda::CudaError, onnx::Elem};

/// Most experts of a layer: `MOST_EXPERTS` of the kernels, whose shared memory has room for as many.
pub(crate) const MOST_EXPERTS: usize = 256;
/// Tokens of a block that routes, a warp each.
const ROUTE_WARPS: usize = 4;
/// Threads of a warp.
const LANES: usize = 32;
/// Threads of the one block that orders slots.
const PLACES_THREADS: usize = 1024;
/// Rows, columns and threads of a block of the products.
const ROWS: usize = 64;
const COLUMNS: usize = 64;
const THREADS: usize = 128;
/// Threads of a block that adds up.
const GIVEN_THREADS: usize = 256;

/// As `RouteParams` of `experts.cuh` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteLaunch {
    pub(crate) x: *const c_void,
    pub(crate) router: *const c_void,
    pub(crate) bias: *const c_void,
    pub(crate) chosen: *mut c_void,
    pub(crate) shares: *mut c_void,
    pub(crate) rows: i32,
    pub(crate) width: i32,
    pub(crate) experts: i32,
    pub(crate) each: i32,
}

/// As `PlacesParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacesLaunch {
    pub(crate) chosen: *const c_void,
    pub(crate) order: *mut c_void,
    pub(crate) starts: *mut c_void,
    pub(crate) slots: i32,
    pub(crate) experts: i32,
}

/// As `ExpertsParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertsLaunch {
    pub(crate) x: *const c_void,
    pub(crate) weight: *const c_void,
    pub(crate) order: *const c_void,
    pub(crate) starts: *const c_void,
    pub(crate) shares: *const c_void,
    pub(crate) y: *mut c_void,
    pub(crate) inner: i32,
    pub(crate) columns: i32,
    pub(crate) experts: i32,
    pub(crate) shared: i32,
    pub(crate) act: i32,
}

/// As `GivenParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenLaunch {
    pub(crate) given: *const c_void,
    pub(crate) y: *mut c_void,
    pub(crate) numbers: i64,
    pub(crate) width: i32,
    pub(crate) each: i32,
}

fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

#[expect(unsafe_code, reason = "device memory is known by address alone")]
impl Kernels {
    /// The kernel that chooses a token's experts.
    pub(crate) fn route(&self, elem: Elem) -> Result<KernelHandle, CudaError> {
        self.named(&format!("route_{}", format(elem)), 0)
    }

    /// Queues it.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::route`] gave for this format, and there are at most [`MOST_EXPERTS`].
    pub(crate) unsafe fn choose(
        &self,
        kernel: KernelHandle,
        launch: &RouteLaunch,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let blocks = count(launch.rows).div_ceil(ROUTE_WARPS);
        let size = LaunchSize { blocks: [blocks, 1], threads: ROUTE_WARPS * LANES };
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, size, launch, stream) }
    }

    /// The kernel that puts slots in the order of their experts.
    pub(crate) fn places(&self) -> Result<KernelHandle, CudaError> {
        self.named("places", 0)
    }

    /// Queues it.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is the one that [`Self::places`] gave, and numbers of experts are below their count, which is
    /// at most [`MOST_EXPERTS`].
    pub(crate) unsafe fn order(
        &self,
        kernel: KernelHandle,
        launch: &PlacesLaunch,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [1, 1], threads: PLACES_THREADS }, launch, stream) }
    }

    /// The kernel of an expert's products.
    pub(crate) fn experts(&self, elem: Elem) -> Result<KernelHandle, CudaError> {
        self.named(&format!("experts_{}", format(elem)), 0)
    }

    /// Queues it over `slots` slots.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::experts`] gave for this format, and order and starts are what
    /// [`Self::order`] made.
    pub(crate) unsafe fn multiply_experts(
        &self,
        kernel: KernelHandle,
        launch: &ExpertsLaunch,
        slots: usize,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        // Each expert's last tile may be filled in part.
        let tiles = slots / ROWS + count(launch.experts).min(slots);
        let size = LaunchSize { blocks: [count(launch.columns).div_ceil(COLUMNS), tiles], threads: THREADS };
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, size, launch, stream) }
    }

    /// The kernel that adds up what a token's experts gave.
    pub(crate) fn given(&self, elem: Elem) -> Result<KernelHandle, CudaError> {
        self.named(&format!("given_{}", format(elem)), 0)
    }

    /// Queues it.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::given`] gave for this format.
    pub(crate) unsafe fn add_up(
        &self,
        kernel: KernelHandle,
        launch: &GivenLaunch,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let blocks = usize::try_from(launch.numbers).unwrap_or(0).div_ceil(GIVEN_THREADS);
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [blocks, 1], threads: GIVEN_THREADS }, launch, stream) }
    }
}
