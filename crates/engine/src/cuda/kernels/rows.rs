//! The launches of kernels over rows of states, told in `crates/engine/kernels/rows.cuh`.

use std::ffi::c_void;

use super::{KernelHandle, Kernels, LaunchSize};
use crate::{cuda::CudaError, onnx::Elem};

/// Threads of a block that has a row of states.
const NORM_THREADS: usize = 128;
/// Threads of a block of other kernels.
const THREADS: usize = 256;
/// Columns and row lanes of a block that reduces.
const SEGMENT_COLUMNS: usize = 32;
const SEGMENT_ROWS: usize = 16;
/// Threads of a warp.
const LANES: usize = 32;
/// Columns up to which a product is the kernel's of few columns.
pub(crate) const FEW_COLUMNS: usize = 64;
/// Widest row that fits a block's shared memory without asking for more.
const WIDEST: usize = 12_000;
/// Bytes that a thread of a gate reads at once.
const READ: usize = 16;

/// What a norm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum NormKernel {
    Nothing = 0,
    Layer = 1,
    Rms = 2,
}

/// As `NormParams` of `rows.cuh` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormLaunch {
    pub(crate) given: *const c_void,
    pub(crate) sum: *const c_void,
    pub(crate) given_gamma: *const c_void,
    pub(crate) given_beta: *const c_void,
    pub(crate) gamma: *const c_void,
    pub(crate) beta: *const c_void,
    pub(crate) sum_out: *mut c_void,
    pub(crate) read: *mut c_void,
    pub(crate) width: i32,
    pub(crate) kind: NormKernel,
    pub(crate) given_kind: NormKernel,
    pub(crate) eps: f32,
    pub(crate) given_eps: f32,
}

/// As `GateParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateLaunch {
    pub(crate) x: *const c_void,
    pub(crate) y: *mut c_void,
    pub(crate) numbers: i64,
    pub(crate) width: i32,
    pub(crate) act: i32,
    pub(crate) gated: i32,
    pub(crate) scale: f32,
}

/// As `HeadsParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadsLaunch {
    pub(crate) qkv: *const c_void,
    pub(crate) out: *mut c_void,
    pub(crate) cumulative: *const c_void,
    pub(crate) rotation: *const c_void,
    pub(crate) norms: *const c_void,
    pub(crate) sequences: i32,
    pub(crate) heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) size: i32,
    pub(crate) positions: i32,
    pub(crate) eps: f32,
}

/// What becomes of a sequence's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Reduction {
    Mean = 0,
    Max = 1,
    /// The sum of `ln(1 + max(0, x))`.
    Log = 2,
    /// The same with the logarithm taken twice.
    LogLog = 3,
}

/// As `SegmentsParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentsLaunch {
    pub(crate) x: *const c_void,
    pub(crate) cumulative: *const c_void,
    pub(crate) y: *mut c_void,
    pub(crate) width: i32,
    pub(crate) reduction: Reduction,
}

/// As `DotsParams` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct DotsLaunch {
    pub(crate) x: *const c_void,
    pub(crate) weight: *const c_void,
    pub(crate) bias: *const c_void,
    pub(crate) y: *mut c_void,
    pub(crate) inner: i32,
    pub(crate) columns: i32,
    pub(crate) factor: f32,
}

pub(super) fn format(elem: Elem) -> &'static str {
    match elem {
        Elem::F16 => "f16",
        Elem::BF16 => "bf16",
        _ => "f32",
    }
}

#[expect(unsafe_code, reason = "device memory is known by address alone")]
impl Kernels {
    /// The kernel that adds to the stream and norms it, over rows of `width`.
    pub(crate) fn norm(&self, elem: Elem, width: usize) -> Result<KernelHandle, CudaError> {
        if width > WIDEST {
            return Err(CudaError::NoCall("kernel for norms of rows so wide"));
        }
        self.named(&format!("norm_{}", format(elem)), width * size_of::<f32>())
    }

    /// Queues it over `rows` rows.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::norm`] gave for this width.
    pub(crate) unsafe fn add_norm(
        &self,
        kernel: KernelHandle,
        launch: &NormLaunch,
        rows: usize,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [rows, 1], threads: NORM_THREADS }, launch, stream) }
    }

    /// The kernel of activations and gates.
    pub(crate) fn gate(&self, elem: Elem) -> Result<KernelHandle, CudaError> {
        self.named(&format!("gate_{}", format(elem)), 0)
    }

    /// Queues it.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::gate`] gave for this format.
    pub(crate) unsafe fn activate(
        &self,
        kernel: KernelHandle,
        elem: Elem,
        launch: &GateLaunch,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let each = READ / elem.bytes();
        let blocks = usize::try_from(launch.numbers).unwrap_or(0).div_ceil(each * THREADS);
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [blocks, 1], threads: THREADS }, launch, stream) }
    }

    /// The kernel that norms and rotates heads.
    pub(crate) fn heads(&self, elem: Elem) -> Result<KernelHandle, CudaError> {
        self.named(&format!("heads_{}", format(elem)), 0)
    }

    /// Queues it over `tokens` tokens.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::heads`] gave for this format.
    pub(crate) unsafe fn finish_heads(
        &self,
        kernel: KernelHandle,
        launch: &HeadsLaunch,
        tokens: usize,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [tokens, 1], threads: THREADS }, launch, stream) }
    }

    /// The kernel that reduces the rows of each sequence, in f32.
    pub(crate) fn segments(&self) -> Result<KernelHandle, CudaError> {
        self.named("segments_f32", 0)
    }

    /// Queues it over `sequences` sequences.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is the one that [`Self::segments`] gave.
    pub(crate) unsafe fn reduce(
        &self,
        kernel: KernelHandle,
        launch: &SegmentsLaunch,
        sequences: usize,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let columns = usize::try_from(launch.width).unwrap_or(0).div_ceil(SEGMENT_COLUMNS);
        let size = LaunchSize { blocks: [columns, sequences], threads: SEGMENT_COLUMNS * SEGMENT_ROWS };
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, size, launch, stream) }
    }

    /// The kernel of products of few columns, in f32.
    pub(crate) fn dots(&self) -> Result<KernelHandle, CudaError> {
        self.named("dots_f32", 0)
    }

    /// Queues it over `rows` rows.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is the one that [`Self::dots`] gave.
    pub(crate) unsafe fn multiply(
        &self,
        kernel: KernelHandle,
        launch: &DotsLaunch,
        rows: usize,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let columns = usize::try_from(launch.columns).unwrap_or(0).div_ceil(THREADS / LANES);
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, LaunchSize { blocks: [rows, columns], threads: THREADS }, launch, stream) }
    }
}
