//! The few calls of CUDA's runtime and driver that ONNX Runtime does not make for us:
//! facts for people, memory at fixed addresses for CUDA graphs, copies into it.
//!
//! Signatures are those of `cuda_runtime_api.h` and `cuda.h` of CUDA 13; all of them have
//! been stable since CUDA 11 but for their library's number. Every call's status is
//! looked at. [`Cuda`] is a table of function pointers, cheap to clone.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr::{self, NonNull},
};

use libloading::{Library, Symbol};

use super::{CudaError, libraries::DRIVER};

/// CUDA's runtime; loaded before by [`super::libraries::preload`].
const RUNTIME: &str = "libcudart.so.13";

/// `cudaDevAttrComputeCapabilityMajor` and `…Minor`.
const MAJOR: c_int = 75;
const MINOR: c_int = 76;

/// `cudaStreamNonBlocking`: the stream does not wait for the default one.
const NON_BLOCKING: c_uint = 1;

/// `cudaMemcpyDefault`: the direction is read off the addresses.
const ANY_DIRECTION: c_int = 4;

/// Longest device name that is read.
const NAME_BYTES: usize = 256;

/// What is known of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFacts {
    /// Its number.
    pub number: u32,
    /// Its name, for example `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability, for example (9, 0).
    pub capability: (u32, u32),
    /// Bytes of its memory that are free.
    pub free: u64,
    /// Bytes of its memory.
    pub total: u64,
}

pub(super) type Status = c_int;

/// A table of calls that one library has, found by name.
macro_rules! calls {
    ($library:ident: $($field:ident $symbol:literal ($($arg:ty),*))*) => {
        #[derive(Clone, Copy)]
        struct $library { $( $field: unsafe extern "C" fn($($arg),*) -> Status, )* }

        impl $library {
            fn of(library: &Library) -> Result<Self, CudaError> {
                Ok(Self { $( $field: {
                    #[expect(unsafe_code, reason = "foreign calls")]
                    let symbol: Symbol<'_, unsafe extern "C" fn($($arg),*) -> Status> =
                        // SAFETY: the signature is that of CUDA's headers for this name; the library is never closed.
                        unsafe { library.get($symbol) }.map_err(|_| CudaError::NoCall(stringify!($field)))?;
                    *symbol
                }, )* })
            }
        }
    };
}

pub(super) use calls;

calls! { Runtime:
    device_count c"cudaGetDeviceCount" (*mut c_int)
    runtime_version c"cudaRuntimeGetVersion" (*mut c_int)
    driver_version c"cudaDriverGetVersion" (*mut c_int)
    attribute c"cudaDeviceGetAttribute" (*mut c_int, c_int, c_int)
    set_device c"cudaSetDevice" (c_int)
    mem_info c"cudaMemGetInfo" (*mut usize, *mut usize)
    host_alloc c"cudaHostAlloc" (*mut *mut c_void, usize, c_uint)
    free_host c"cudaFreeHost" (*mut c_void)
    malloc c"cudaMalloc" (*mut *mut c_void, usize)
    free c"cudaFree" (*mut c_void)
    stream_create c"cudaStreamCreateWithFlags" (*mut *mut c_void, c_uint)
    stream_destroy c"cudaStreamDestroy" (*mut c_void)
    stream_sync c"cudaStreamSynchronize" (*mut c_void)
    copy c"cudaMemcpyAsync" (*mut c_void, *const c_void, usize, c_int, *mut c_void)
}

calls! { Driver:
    init c"cuInit" (c_uint)
    device c"cuDeviceGet" (*mut c_int, c_int)
    name c"cuDeviceGetName" (*mut c_char, c_int, c_int)
}

/// CUDA, opened.
#[derive(Clone)]
pub(crate) struct Cuda {
    runtime: Runtime,
    driver: Driver,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cuda").finish_non_exhaustive()
    }
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl Cuda {
    /// Takes the calls from the libraries, which are never closed again.
    pub(super) fn open() -> Result<Self, CudaError> {
        let open = |name: &str| {
            // SAFETY: NVIDIA's libraries do nothing at load that needs care of ours; they are loaded already.
            unsafe { Library::new(name) }
                .map(|l| &*Box::leak(Box::new(l)))
                .map_err(|e| CudaError::NoLibrary { path: name.into(), says: e.to_string() })
        };
        let (runtime, driver) = (open(RUNTIME)?, open(DRIVER)?);
        // SAFETY: the signature is that of cuda_runtime_api.h.
        let error_string: Symbol<'_, unsafe extern "C" fn(Status) -> *const c_char> =
            unsafe { runtime.get(c"cudaGetErrorString") }.map_err(|_| CudaError::NoCall("error_string"))?;
        Ok(Self { runtime: Runtime::of(runtime)?, driver: Driver::of(driver)?, error_string: *error_string })
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), CudaError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: CUDA returns a static string for every code, known or not.
        let text = unsafe { (self.error_string)(status) };
        let says = if text.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and CUDA ends its strings with a zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        Err(CudaError::Call { call, code: status, says })
    }

    /// Versions of CUDA that the driver serves and the libraries are (13000 is 13.0).
    pub(crate) fn versions(&self) -> Result<(i32, i32), CudaError> {
        let (mut driver, mut runtime) = (0, 0);
        // SAFETY: both write one int.
        self.check("cudaDriverGetVersion", unsafe { (self.runtime.driver_version)(&mut driver) })?;
        // SAFETY: as above.
        self.check("cudaRuntimeGetVersion", unsafe { (self.runtime.runtime_version)(&mut runtime) })?;
        Ok((driver, runtime))
    }

    /// Within a major version any driver serves any library.
    pub(super) fn check_versions(&self) -> Result<(), CudaError> {
        let (driver, runtime) = self.versions()?;
        if driver / 1000 < runtime / 1000 { Err(CudaError::OldDriver { driver, runtime }) } else { Ok(()) }
    }

    /// How many devices there are.
    pub(crate) fn count(&self) -> Result<u32, CudaError> {
        let mut count = 0;
        // SAFETY: writes one int.
        self.check("cudaGetDeviceCount", unsafe { (self.runtime.device_count)(&mut count) })?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// What is known of a device. Makes it the calling thread's current one.
    pub(crate) fn facts(&self, number: u32) -> Result<GpuFacts, CudaError> {
        let ordinal = int(number);
        let attribute = |which: c_int| {
            let mut value = 0;
            // SAFETY: writes one int.
            let status = unsafe { (self.runtime.attribute)(&mut value, which, ordinal) };
            self.check("cudaDeviceGetAttribute", status).map(|()| u32::try_from(value).unwrap_or(0))
        };
        let capability = (attribute(MAJOR)?, attribute(MINOR)?);
        let (free, total) = self.memory(number)?;
        Ok(GpuFacts { number, name: self.name(ordinal), capability, free, total })
    }

    /// The device's name, or a stand-in where the driver does not say.
    fn name(&self, ordinal: c_int) -> String {
        let mut device = 0;
        let mut text: [c_char; NAME_BYTES] = [0; NAME_BYTES];
        // SAFETY: the driver may be initialised any number of times; each call writes what it is given room for.
        let named = unsafe {
            (self.driver.init)(0) == 0
                && (self.driver.device)(&mut device, ordinal) == 0
                && (self.driver.name)(text.as_mut_ptr(), NAME_BYTES as c_int - 1, device) == 0
        };
        if !named {
            return "an unnamed GPU".to_owned();
        }
        // SAFETY: the last byte was kept zero.
        unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned()
    }

    /// Makes a device the calling thread's current one.
    pub(crate) fn select(&self, number: u32) -> Result<(), CudaError> {
        // SAFETY: takes a number and checks it.
        self.check("cudaSetDevice", unsafe { (self.runtime.set_device)(int(number)) })
    }

    /// Bytes free and in all on a device, as the driver counts them for every process.
    pub(crate) fn memory(&self, number: u32) -> Result<(u64, u64), CudaError> {
        self.select(number)?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: writes two sizes.
        self.check("cudaMemGetInfo", unsafe { (self.runtime.mem_info)(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    /// Reserves `bytes` of page-locked host memory, zeroed; freed when dropped.
    pub(crate) fn pinned(&self, bytes: usize) -> Result<Pinned, CudaError> {
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer.
        self.check("cudaHostAlloc", unsafe { (self.runtime.host_alloc)(&mut at, bytes.max(1), 0) })?;
        let at = NonNull::new(at.cast::<u8>()).ok_or(CudaError::NoCall("host_alloc"))?;
        // SAFETY: just reserved, that long.
        unsafe { ptr::write_bytes(at.as_ptr(), 0, bytes) };
        Ok(Pinned { cuda: self.clone(), at, bytes })
    }

    /// Reserves `bytes` of a device's memory; freed when dropped.
    pub(super) fn device_memory(&self, number: u32, bytes: usize) -> Result<DeviceMemory, CudaError> {
        self.select(number)?;
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer.
        self.check("cudaMalloc", unsafe { (self.runtime.malloc)(&mut at, bytes) })?;
        Ok(DeviceMemory { cuda: self.clone(), at })
    }

    /// Waits until all that was put on a stream is done.
    pub(super) fn wait_for(&self, stream: *mut c_void) -> Result<(), CudaError> {
        // SAFETY: CUDA checks the handle.
        self.check("cudaStreamSynchronize", unsafe { (self.runtime.stream_sync)(stream) })
    }

    /// Queues a copy on a stream.
    ///
    /// # Safety
    /// That of [`Stream::copy`].
    pub(super) unsafe fn copy_on(
        &self,
        stream: *mut c_void,
        from: *const c_void,
        to: *mut c_void,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: by the contract.
        self.check("cudaMemcpyAsync", unsafe { (self.runtime.copy)(to, from, bytes, ANY_DIRECTION, stream) })
    }

    /// Makes a stream on the current device.
    pub(crate) fn stream(&self) -> Result<Stream, CudaError> {
        let mut stream = ptr::null_mut();
        // SAFETY: writes one pointer.
        self.check("cudaStreamCreateWithFlags", unsafe { (self.runtime.stream_create)(&mut stream, NON_BLOCKING) })?;
        Ok(Stream { cuda: self.clone(), stream })
    }
}

/// Device numbers are small; one that is not is no device.
fn int(number: u32) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

/// A stream of work on one device.
pub(crate) struct Stream {
    cuda: Cuda,
    stream: *mut c_void,
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl Stream {
    /// The pointer that ONNX Runtime takes.
    pub(crate) fn as_ptr(&self) -> *mut () {
        self.stream.cast()
    }

    /// Waits until all that was put on it is done.
    pub(crate) fn wait(&self) -> Result<(), CudaError> {
        self.cuda.wait_for(self.stream)
    }

    /// Queues a copy of `bytes` from one address to another, host (page-locked) or device.
    ///
    /// # Safety
    /// Both are that long and stay as they are until the stream was waited for.
    pub(crate) unsafe fn copy(&self, from: *const c_void, to: *mut c_void, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: by the contract.
        unsafe { self.cuda.copy_on(self.stream, from, to, bytes) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by us and not used after. A lost context fails here, and nothing can be done.
        #[expect(unsafe_code, reason = "a foreign call")]
        let _ = unsafe { (self.cuda.runtime.stream_destroy)(self.stream) };
    }
}

/// Page-locked host memory: the device copies from it without a detour.
pub(crate) struct Pinned {
    cuda: Cuda,
    at: NonNull<u8>,
    bytes: usize,
}

impl Pinned {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: reserved that long, zeroed at first, and ours alone.
        #[expect(unsafe_code, reason = "memory from a foreign call")]
        unsafe {
            std::slice::from_raw_parts(self.at.as_ptr(), self.bytes)
        }
    }

    /// Address of the byte at `at`, which is within it.
    pub(crate) fn address(&self, at: usize) -> *mut c_void {
        self.at.as_ptr().wrapping_add(at).cast()
    }

    /// Its bytes, to be filled.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        #[expect(unsafe_code, reason = "memory from a foreign call")]
        unsafe {
            std::slice::from_raw_parts_mut(self.at.as_ptr(), self.bytes)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: reserved by us and not used after.
        #[expect(unsafe_code, reason = "a foreign call")]
        let _ = unsafe { (self.cuda.runtime.free_host)(self.at.as_ptr().cast()) };
    }
}

/// Memory of a device that is ours alone.
pub(super) struct DeviceMemory {
    cuda: Cuda,
    at: *mut c_void,
}

impl DeviceMemory {
    /// Its address on the device.
    pub(super) fn address(&self) -> *mut c_void {
        self.at
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: reserved by us and not used after. A lost context fails here, and nothing can be done.
        #[expect(unsafe_code, reason = "a foreign call")]
        let _ = unsafe { (self.cuda.runtime.free)(self.at) };
    }
}
