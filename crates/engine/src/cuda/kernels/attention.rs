//! The launch of attention kernels. Their arithmetic is told in `crates/engine/kernels/attention_narrow.cuh`.

use std::ffi::c_void;

use super::{KernelHandle, Kernels, LaunchSize};
use crate::{cuda::CudaError, onnx::Elem};

/// Queries of a block in f16 and bf16, and in f32.
const NARROW_QUERIES: usize = 64;
const WIDE_QUERIES: usize = 16;
/// Keys of a tile in f32.
const WIDE_KEYS: usize = 32;
/// Threads of a block.
const THREADS: usize = 128;
/// Numbers between rows of shared memory.
const PAD: usize = 8;

/// Distances that a tile of the kernels with vectors may meet: no more columns than this may lie between the first and the
/// last of as many neighbouring distances.
pub(crate) const MOST_DISTANCES: usize = 96;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum SightCode {
    All = 0,
    Causal = 1,
    Window = 2,
}

/// What is added to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// A number by distance.
    Numbers,
    /// Products with vectors of distances.
    Vectors,
}

/// Numbers of a head that a kernel is compiled for; a head has so many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth(usize);

impl Depth {
    /// The least that holds heads of `size`; `None` where no kernel does.
    pub(crate) fn of(size: usize, extra: Extra) -> Option<Self> {
        let most = if extra == Extra::Nothing { 256 } else { 128 };
        [32, 64, 128, 256].into_iter().find(|&depth| depth >= size && depth <= most).map(Self)
    }
}

/// As `AttentionParams` of `attention.cuh` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionLaunch {
    pub(crate) qkv: *const c_void,
    pub(crate) out: *mut c_void,
    pub(crate) cumulative: *const c_void,
    pub(crate) keys: *const c_void,
    pub(crate) by_distance: *const c_void,
    pub(crate) met_by_queries: *const c_void,
    pub(crate) met_by_keys: *const c_void,
    pub(crate) columns: *const c_void,
    pub(crate) tokens: i32,
    pub(crate) sequences: i32,
    pub(crate) heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) size: i32,
    pub(crate) sight: SightCode,
    pub(crate) radius: i32,
    pub(crate) reach: i32,
    pub(crate) vectors: i32,
    pub(crate) scale: f32,
}

impl Kernels {
    /// The attention kernel for heads of this depth.
    pub(crate) fn attention(&self, elem: Elem, depth: Depth, extra: Extra) -> Result<KernelHandle, CudaError> {
        let Depth(depth) = depth;
        let (format, extra_name) = match (elem, extra) {
            (Elem::F32, _) => ("f32", ""),
            (elem, extra) => (
                if elem == Elem::F16 { "f16" } else { "bf16" },
                match extra {
                    Extra::Nothing => "",
                    Extra::Numbers => "numbers_",
                    Extra::Vectors => "vectors_",
                },
            ),
        };
        self.named(&format!("attend_{format}_{extra_name}{depth}"), shared_bytes(elem, depth, extra))
    }

    /// Queues attention over packed sequences.
    ///
    /// # Safety
    /// That of `launch`; `kernel` is one that [`Self::attention`] gave for these heads and this format.
    #[expect(unsafe_code, reason = "device memory is known by address alone")]
    pub(crate) unsafe fn attend(
        &self,
        kernel: KernelHandle,
        elem: Elem,
        launch: &AttentionLaunch,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let rows = if elem == Elem::F32 { WIDE_QUERIES } else { NARROW_QUERIES };
        let count = |n: i32| usize::try_from(n).unwrap_or(0);
        // As many slots as sequences and whole tiles can take: see `find_tile`.
        let slots = count(launch.tokens) / rows + count(launch.sequences);
        let size = LaunchSize { blocks: [count(launch.heads), slots], threads: THREADS };
        // SAFETY: by the contract.
        unsafe { self.launch(kernel, size, launch, stream) }
    }
}

/// Shared memory of a block: `Shape::BYTES` and `WideShape::BYTES` of the kernels, which a test holds it to.
fn shared_bytes(elem: Elem, depth: usize, extra: Extra) -> usize {
    if elem == Elem::F32 {
        return (WIDE_QUERIES + 2 * WIDE_KEYS) * (depth + 1) * 4;
    }
    let vectors = extra == Extra::Vectors;
    let keys = if vectors || depth > 64 { 32 } else { 64 };
    let stages = if vectors || depth > 128 { 1 } else { 2 };
    let (row, columns) = (depth + PAD, NARROW_QUERIES + keys);
    let tiles = (NARROW_QUERIES + 2 * stages * keys + if vectors { 2 * columns } else { 0 }) * row;
    let scores = if vectors { columns * (columns + PAD) } else { 0 };
    let extras = if extra == Extra::Nothing { 0 } else { columns };
    2 * tiles + 2 * scores + 4 * extras
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_take_the_least_kernel_that_holds_them() {
        let depth = |size, extra| Depth::of(size, extra).map(|Depth(depth)| depth);
        assert_eq!([1, 32, 33, 64, 96, 256].map(|n| depth(n, Extra::Nothing)), [32, 32, 64, 64, 128, 256].map(Some));
        assert_eq!((depth(257, Extra::Nothing), depth(129, Extra::Vectors)), (None, None));
    }

    #[test]
    fn shared_memory_is_what_every_architecture_has() {
        // 99 KiB on consumers' Ampere and Ada, 163 KiB on an A100; vectors over heads of 128 need the latter.
        for extra in [Extra::Nothing, Extra::Numbers, Extra::Vectors] {
            for depth in [32, 64, 128, 256] {
                let bytes = shared_bytes(Elem::F16, depth, extra);
                let most = if extra == Extra::Vectors && depth > 64 { 163 << 10 } else { 99 << 10 };
                assert!(bytes <= most || Depth::of(depth, extra).is_none(), "{extra:?} {depth}: {bytes}");
            }
        }
    }
}
