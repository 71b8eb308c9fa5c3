//! What the arena of a session's device holds: ONNX Runtime's own account of it.
//!
//! An arena takes memory from the device and keeps it: weights, and what batches needed at most, with the gaps
//! between. CUDA's context, captured graphs and other libraries are not in it.

use std::ffi::{CStr, c_char};

use ort::{
    AsPointer,
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::Session,
};

use crate::device::Device;

/// Memory of a session's arena, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaUse {
    /// Taken from the device.
    pub held: u64,
    /// Most that was in use at once: weights, and the largest batch's activations.
    pub peak: u64,
    /// Most that it may take; `None` where nothing was set.
    pub limit: Option<u64>,
}

/// `AllocatorStats` of ONNX Runtime by name: bytes taken from the device.
const HELD: &CStr = c"TotalAllocated";
/// Most bytes in use at once.
const PEAK: &CStr = c"MaxInUse";
/// Most bytes the arena may take; no limit is the largest number there is, or zero.
const LIMIT: &CStr = c"Limit";

/// Above this a limit is none: no device has so much.
const NO_LIMIT: u64 = 1 << 50;

/// Share of the memory that is free at load that arenas may take where no limit is asked for, in tenths: divided among the
/// sessions that are to run side by side on the device ([`crate::CudaOptions::devices`]). It is a limit of each session. One
/// that pools behind an export's has its own, of what is free when it is loaded, and so have other models. The rest is for
/// CUDA graphs, kernels' own workspaces and whatever else is to run there: an arena that is full halves batches, which is
/// better than a launch that fails.
pub const DEFAULT_SHARE_TENTHS: u64 = 9;

/// The limit of an arena on a device with `free` bytes, for each of `sessions`, where none is asked for.
pub(crate) fn default_limit(free: u64, sessions: u64) -> u64 {
    free / 10 * DEFAULT_SHARE_TENTHS / sessions.max(1)
}

/// The arena of `session` on `device`.
pub(crate) fn of(session: &Session, device: Device) -> ort::Result<ArenaUse> {
    let (place, number) = match device {
        Device::Cpu => (AllocationDevice::CPU, 0),
        Device::Cuda(number) => (AllocationDevice::CUDA, i32::try_from(number).unwrap_or(i32::MAX)),
    };
    let info = MemoryInfo::new(place, number, AllocatorType::Device, MemoryType::Default)?;
    let allocator = Allocator::new(session, info)?;
    let mut pairs = std::ptr::null_mut();
    // SAFETY: the allocator lives; the call writes one pointer, which is released below.
    #[expect(unsafe_code, reason = "the bindings have no name for it yet")]
    unsafe {
        ort::Error::result_from_status((ort::api().AllocatorGetStats)(allocator.ptr(), &mut pairs))?;
    }
    let read = |name: &CStr| -> Option<u64> {
        // SAFETY: the pairs live until they are released; a name that is not there gives null, another a string of theirs.
        #[expect(unsafe_code, reason = "as above")]
        let text = unsafe {
            let at: *const c_char = (ort::api().GetKeyValue)(pairs, name.as_ptr());
            (!at.is_null()).then(|| CStr::from_ptr(at).to_str().ok().and_then(|text| text.parse::<i64>().ok()))
        };
        text.flatten().and_then(|n| u64::try_from(n).ok())
    };
    let (held, peak, limit) = (read(HELD), read(PEAK), read(LIMIT));
    // SAFETY: made by the call above and not used after.
    #[expect(unsafe_code, reason = "as above")]
    unsafe {
        (ort::api().ReleaseKeyValuePairs)(pairs);
    }
    let (held, peak) = held.zip(peak).ok_or_else(|| ort::Error::new("the allocator keeps no account"))?;
    Ok(ArenaUse { held, peak, limit: limit.filter(|&n| n > 0 && n < NO_LIMIT) })
}

impl std::ops::Add for ArenaUse {
    type Output = Self;

    /// Both together. Their peaks may not have come at once: the sum is at least the true one.
    fn add(self, other: Self) -> Self {
        let limit = self.limit.zip(other.limit).map(|(a, b)| a + b);
        Self { held: self.held + other.held, peak: self.peak + other.peak, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        executor::Executor,
        item::{Sequence, Want, WorkItem},
        model::Model,
        options::LoadOptions,
        sample::{SampleShape, write_sample},
    };

    #[test]
    fn the_arena_grows_with_what_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        write_sample(folder.path(), SampleShape::TINY, true).unwrap();
        let model = Model::open(folder.path(), &LoadOptions { threads: Some(1), ..LoadOptions::default() }).unwrap();
        let mut executor = Executor::new(&model).unwrap();
        let before = executor.arena().unwrap();
        let item = WorkItem { sequence: Sequence { ids: vec![1; 500], ..Sequence::default() }, want: Want::Logits };
        executor.run(&[&item; 8]);
        let after = executor.arena().unwrap();
        // A token's states in the widest layer alone.
        let least = 8 * 500 * 4 * 128 * 4;
        assert!(after.peak >= before.peak + least, "{before:?} {after:?}");
        assert!(after.held >= after.peak && after.limit.is_none(), "{after:?}");
    }

    #[test]
    fn a_tenth_of_what_is_free_is_left_however_many_sessions_share_it() {
        assert_eq!(default_limit(80 << 30, 1), (80 << 30) / 10 * 9);
        assert_eq!(default_limit(0, 1), 0);
        for sessions in 0..=4 {
            let all = sessions.max(1) * default_limit(80 << 30, sessions);
            assert!(all <= default_limit(80 << 30, 1) && all + 4 > default_limit(80 << 30, 1), "{sessions}");
        }
    }
}
