//! What an error of a run means for the next one, told from its words: ONNX Runtime
//! hands CUDA's codes through as text and under its own general codes.
//!
//! *Out of memory* leaves the device usable: less work may pass. Errors that CUDA
//! calls sticky (an illegal address, a failed launch, lost hardware) spoil the
//! process's context on that device: every later call fails too. The rest is taken
//! for a fault of the work itself.

/// Why a run as a whole gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunFault {
    /// The run failed; another may not.
    #[error("{0}")]
    Failed(String),
    /// The device has too little memory for this much work at once.
    #[error("{0}")]
    OutOfMemory(String),
    /// The device or its context is broken; nothing more runs in this session.
    #[error("{0}")]
    DeviceLost(String),
}

/// CUDA's `cudaErrorMemoryAllocation`.
const CUDA_OUT_OF_MEMORY: u32 = 2;

/// CUDA's codes after which the context is lost: ECC (214), NVLink (220), an illegal
/// address (700), launch time-out (702), assert (710), hardware stack (714), illegal instruction
/// (715), misaligned address (716), address space (717), program counter (718), launch failure
/// (719), tensor leak (721), and the devices unavailable, removed or unknown (46, 100, 101, 999).
const CUDA_LOST: [u32; 17] = [46, 100, 101, 214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 999];

/// Words of an allocation that failed, whoever failed it.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "Failed to allocate memory",
    "is smaller than requested bytes",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS failure 3:",
    "bad_alloc",
];

/// Words of a context that is lost, where no code stands beside them.
const LOST: [&str; 9] = [
    "illegal memory access",
    "unspecified launch failure",
    "device-side assert",
    "misaligned address",
    "uncorrectable ECC",
    "fallen off the bus",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_NOT_INITIALIZED",
];

impl RunFault {
    /// Sorts an error of a run by its words.
    pub(crate) fn of(message: String) -> Self {
        match cuda_code(&message) {
            Some(CUDA_OUT_OF_MEMORY) => return RunFault::OutOfMemory(message),
            Some(code) if CUDA_LOST.contains(&code) => return RunFault::DeviceLost(message),
            _ => {}
        }
        let any = |words: &[&str]| words.iter().any(|w| message.contains(w));
        // An allocation can fail because the context is lost, and then says both.
        if any(&LOST) {
            RunFault::DeviceLost(message)
        } else if any(&OUT_OF_MEMORY) {
            RunFault::OutOfMemory(message)
        } else {
            RunFault::Failed(message)
        }
    }
}

/// The code of `CUDA failure 700: …` or `CUDA error 700`.
fn cuda_code(message: &str) -> Option<u32> {
    ["CUDA failure ", "CUDA error "].iter().find_map(|prefix| {
        let (_, rest) = message.split_once(prefix)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As ONNX Runtime 1.31 wraps what CUDA says.
    fn wrapped(inner: &str) -> String {
        format!(
            "Non-zero status code returned while running MatMul node. Name:'node/layer0/qkv' Status Message: \
             /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, Status> \
             onnxruntime::CudaCall(ERRTYPE, const char*) {inner} ; GPU=0 ; hostname=h ; file=matmul.cc ; line=3 ; expr=x"
        )
    }

    #[test]
    fn allocations_that_failed() {
        for inner in [
            "CUDA failure 2: out of memory",
            "Failed to allocate memory for requested buffer of size 6442450944",
            "Available memory of 1048576 is smaller than requested bytes of 2097152",
            "CUBLAS failure 3: the resource allocation failed",
        ] {
            assert!(matches!(RunFault::of(wrapped(inner)), RunFault::OutOfMemory(_)), "{inner}");
        }
    }

    #[test]
    fn contexts_that_are_lost() {
        for inner in [
            "CUDA failure 700: an illegal memory access was encountered",
            "CUDA failure 719: unspecified launch failure",
            "CUDA failure 999: unknown error",
            "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
            "CUDA error 214: uncorrectable ECC error encountered",
            "BFCArena::AllocateRawInternal Failed to allocate memory: CUDA failure 700: an illegal memory access",
        ] {
            assert!(matches!(RunFault::of(wrapped(inner)), RunFault::DeviceLost(_)), "{inner}");
        }
    }

    #[test]
    fn the_rest_is_the_work_itself() {
        for inner in
            ["CUDA failure 1: invalid argument", "CUDA failure 9: invalid configuration", "indices out of bounds"]
        {
            assert!(matches!(RunFault::of(wrapped(inner)), RunFault::Failed(_)), "{inner}");
        }
        assert!(matches!(RunFault::of("Gather: index 7 of node2: out of range".into()), RunFault::Failed(_)));
    }

    proptest! {
        #[test]
        fn any_words_are_taken(text in ".{0,200}") {
            let (RunFault::Failed(kept) | RunFault::OutOfMemory(kept) | RunFault::DeviceLost(kept)) = RunFault::of(text.clone());
            prop_assert_eq!(kept, text);
        }

        #[test]
        fn a_code_is_read_whole(code in 0u32..2_000) {
            prop_assert_eq!(cuda_code(&wrapped(&format!("CUDA failure {code}: words"))), Some(code));
        }
    }
}
