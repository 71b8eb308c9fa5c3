//! Fixed memory that a captured graph reads and writes, and the way to and from it.
//!
//! Copies go through page-locked memory on the stream that the session runs on, so
//! that they and its kernels keep their order without a wait between them.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

use super::{Cuda, CudaError, Pinned, runtime::Stream};

/// The memory of a session's device.
pub(crate) struct Memory(MemoryDevice);

enum MemoryDevice {
    Cuda(Box<Gpu>),
    /// The processor's own, to run the same code without a GPU.
    #[cfg(test)]
    Host,
}

/// A GPU, its stream, and page-locked memory for either direction.
struct Gpu {
    cuda: Cuda,
    number: u32,
    stream: Stream,
    up: Staging,
    down: Staging,
}

/// Page-locked memory that grows to the largest batch seen.
#[derive(Default)]
struct Staging {
    memory: Option<Pinned>,
    used: usize,
}

/// Copies start on such a boundary.
const ALIGNED: usize = 16;

impl Staging {
    /// Reserves `bytes` past what is used; `None` where that would need a larger block.
    fn take(&mut self, bytes: usize) -> Option<std::ops::Range<usize>> {
        let start = self.used.next_multiple_of(ALIGNED);
        let end = start + bytes;
        let room = self.memory.as_ref().map_or(0, |m| m.bytes().len());
        (end <= room).then(|| {
            self.used = end;
            start..end
        })
    }

    /// Starts anew with room for `bytes` in `pieces`.
    fn reset(&mut self, cuda: &Cuda, bytes: usize, pieces: usize) -> Result<(), CudaError> {
        self.used = 0;
        let need = bytes + pieces * ALIGNED;
        if self.memory.as_ref().is_none_or(|m| m.bytes().len() < need) {
            self.memory = Some(cuda.pinned(need.next_power_of_two())?);
        }
        Ok(())
    }
}

/// A piece of device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceBuffer {
    /// Its address on the device.
    pub(crate) address: *mut std::ffi::c_void,
    /// Its length.
    pub(crate) bytes: usize,
}

impl Memory {
    /// The memory of GPU `number`, with a stream of its own.
    pub(crate) fn cuda(cuda: Cuda, number: u32) -> Result<Self, CudaError> {
        cuda.select(number)?;
        let stream = cuda.stream()?;
        let gpu = Gpu { cuda, number, stream, up: Staging::default(), down: Staging::default() };
        Ok(Self(MemoryDevice::Cuda(Box::new(gpu))))
    }

    /// The processor's memory.
    #[cfg(test)]
    pub(crate) fn host() -> Self {
        Self(MemoryDevice::Host)
    }

    /// The stream that the session runs on.
    pub(crate) fn stream(&self) -> *mut () {
        match &self.0 {
            MemoryDevice::Cuda(gpu) => gpu.stream.as_ptr(),
            #[cfg(test)]
            MemoryDevice::Host => std::ptr::null_mut(),
        }
    }

    /// ONNX Runtime's allocator of it.
    pub(crate) fn allocator(&self, session: &Session) -> ort::Result<Allocator> {
        match &self.0 {
            MemoryDevice::Cuda(gpu) => {
                let ordinal = i32::try_from(gpu.number).unwrap_or(i32::MAX);
                let info =
                    MemoryInfo::new(AllocationDevice::CUDA, ordinal, AllocatorType::Device, MemoryType::Default)?;
                Allocator::new(session, info)
            }
            #[cfg(test)]
            MemoryDevice::Host => Ok(Allocator::default()),
        }
    }

    /// Bytes of the device that are free; `None` where nobody counts.
    pub(crate) fn free(&self) -> Option<u64> {
        match &self.0 {
            MemoryDevice::Cuda(gpu) => gpu.cuda.memory(gpu.number).ok().map(|(free, _)| free),
            #[cfg(test)]
            MemoryDevice::Host => None,
        }
    }

    /// Copies each part to its piece of the device, without waiting.
    ///
    /// # Safety
    /// The pieces are memory of this device, that long, and nothing writes them meanwhile.
    #[expect(unsafe_code, reason = "device memory is known by address alone")]
    pub(crate) unsafe fn upload(&mut self, parts: &[(&[u8], DeviceBuffer)]) -> Result<(), CudaError> {
        match &mut self.0 {
            MemoryDevice::Cuda(gpu) => {
                let Gpu { cuda, number, stream, up, .. } = &mut **gpu;
                cuda.select(*number)?;
                // What was sent before may still be read from the staging memory.
                stream.wait()?;
                up.reset(cuda, parts.iter().map(|(from, _)| from.len()).sum(), parts.len())?;
                for (from, to) in parts {
                    let range = up.take(from.len().min(to.bytes));
                    let (Some(range), Some(staged)) = (range, &mut up.memory) else { continue };
                    let (start, length) = (range.start, range.len());
                    staged.bytes_mut()[range].copy_from_slice(&from[..length]);
                    // SAFETY: within both, and the staging memory is not written again before a wait.
                    unsafe { stream.copy(staged.address(start), to.address, length)? };
                }
                Ok(())
            }
            #[cfg(test)]
            MemoryDevice::Host => {
                for (from, to) in parts {
                    assert_eq!(from.len(), to.bytes, "a part fills its piece");
                    // SAFETY: by the contract, with host addresses.
                    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.address.cast(), to.bytes) };
                }
                Ok(())
            }
        }
    }

    /// Copies the first `bytes` of each piece back, as f32, and waits for it.
    ///
    /// # Safety
    /// The pieces are f32 memory of this device, that long, written by work on this stream.
    #[expect(unsafe_code, reason = "device memory is known by address alone")]
    pub(crate) unsafe fn download(&mut self, pieces: &[DeviceBuffer]) -> Result<Vec<Vec<f32>>, CudaError> {
        let floats = |bytes: &[u8]| {
            bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>()
        };
        match &mut self.0 {
            MemoryDevice::Cuda(gpu) => {
                let Gpu { cuda, stream, down, .. } = &mut **gpu;
                down.reset(cuda, pieces.iter().map(|p| p.bytes).sum(), pieces.len())?;
                let mut ranges = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    let (Some(range), Some(staged)) = (down.take(piece.bytes), &down.memory) else { continue };
                    // SAFETY: within both; the staging memory is read after the wait below.
                    unsafe { stream.copy(piece.address, staged.address(range.start), range.len())? };
                    ranges.push(range);
                }
                stream.wait()?;
                let staged = down.memory.as_ref().map_or(&[][..], Pinned::bytes);
                Ok(ranges.into_iter().map(|r| floats(staged.get(r).unwrap_or_default())).collect())
            }
            #[cfg(test)]
            MemoryDevice::Host => Ok(pieces
                .iter()
                // SAFETY: by the contract, with host addresses.
                .map(|p| floats(unsafe { std::slice::from_raw_parts(p.address.cast(), p.bytes) }))
                .collect()),
        }
    }
}
