//! Our own kernels: CUDA C++ in `crates/engine/kernels`, compiled by `cargo xtask kernels` and embedded here.
//!
//! The module holds machine code for Hopper and PTX for every architecture from Ampere on, which the driver compiles at load.
//! It is loaded once a process, by the driver alone, and launched on the stream that ONNX Runtime's own kernels run on. A
//! launch takes memory from nobody and waits for nothing, so it can be captured in a CUDA graph.

mod attention;
mod experts;
mod rows;

use std::{
    ffi::{CString, c_char, c_int, c_uint, c_void},
    ptr,
    sync::OnceLock,
};

use libloading::{Library, Symbol};

pub(crate) use self::{
    attention::{AttentionLaunch, Depth, Extra, MOST_DISTANCES, SightCode},
    experts::{ExpertsLaunch, GivenLaunch, MOST_EXPERTS, PlacesLaunch, RouteLaunch},
    rows::{DotsLaunch, FEW_COLUMNS, GateLaunch, HeadsLaunch, NormKernel, NormLaunch, Reduction, SegmentsLaunch},
};
use super::{
    Cuda, CudaError,
    libraries::DRIVER,
    runtime::{Status, calls},
};

/// The module, on a boundary that the driver may read it from.
#[repr(C, align(16))]
struct ModuleImage<T: ?Sized>(T);

static MODULE: &ModuleImage<[u8]> = &ModuleImage(*include_bytes!("../../../kernels/module.fatbin"));

/// Least compute capability that the kernels serve: Ampere, for asynchronous copies and bf16.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// Bytes of shared memory that a block may take without being allowed more.
const SHARED_FREELY: usize = 47 << 10;

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const SHARED_BYTES: c_int = 8;

type DriverHandle = *mut c_void;

calls! { ModuleCalls:
    device c"cuDeviceGet" (*mut c_int, c_int)
    load c"cuLibraryLoadData" (*mut DriverHandle, *const c_void, *mut c_int, *mut *mut c_void, c_uint, *mut c_int, *mut *mut c_void, c_uint)
    kernel c"cuLibraryGetKernel" (*mut DriverHandle, DriverHandle, *const c_char)
    set c"cuKernelSetAttribute" (c_int, c_int, DriverHandle, c_int)
    launch c"cuLaunchKernel" (DriverHandle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, DriverHandle, *const *const c_void, *const *const c_void)
}

/// The module's calls and handle, once a process.
static LOADED: OnceLock<LoadedModule> = OnceLock::new();

#[derive(Clone, Copy)]
struct LoadedModule {
    calls: ModuleCalls,
    library: DriverHandle,
}

// SAFETY: a library's handle may be used by any thread; it is never unloaded.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Send for LoadedModule {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Sync for LoadedModule {}

/// Our kernels on one device.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    module: LoadedModule,
    device: c_int,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("device", &self.device).finish_non_exhaustive()
    }
}

/// A kernel, and the shared memory that a block of it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelHandle {
    at: DriverHandle,
    shared: usize,
}

// SAFETY: a kernel's handle may be used by any thread; its library is never unloaded.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Send for KernelHandle {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a handle that any thread may use")]
unsafe impl Sync for KernelHandle {}

/// Blocks of a launch, and threads of a block.
#[derive(Clone, Copy, Debug)]
struct LaunchSize {
    blocks: [usize; 2],
    threads: usize,
}

#[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
impl Kernels {
    /// Loads the module for GPU `number`, the first time in a process.
    ///
    /// # Errors
    /// Where the GPU is older than Ampere, or the driver refuses the module.
    pub(crate) fn open(cuda: &Cuda, number: u32) -> Result<Self, CudaError> {
        super::at_least(cuda.facts(number)?, LEAST_CAPABILITY)?;
        let module = match LOADED.get() {
            Some(loaded) => *loaded,
            None => *LOADED.get_or_init({
                let loaded = LoadedModule::load()?;
                move || loaded
            }),
        };
        let mut device = 0;
        let ordinal = c_int::try_from(number).unwrap_or(c_int::MAX);
        // SAFETY: writes one number.
        check("cuDeviceGet", unsafe { (module.calls.device)(&mut device, ordinal) })?;
        Ok(Self { module, device })
    }

    /// A kernel by its name in `module.cu`, a block of which takes `shared` bytes of shared memory.
    fn named(&self, name: &str, shared: usize) -> Result<KernelHandle, CudaError> {
        let calls = &self.module.calls;
        let text = CString::new(name).map_err(|_| CudaError::NoCall("a kernel of this name"))?;
        let mut at = ptr::null_mut();
        // SAFETY: writes one pointer; the name ends with a zero.
        check("cuLibraryGetKernel", unsafe { (calls.kernel)(&mut at, self.module.library, text.as_ptr()) })?;
        // The limit is the kernel's on this device, for every session: it is never set below what each may take anyway.
        if shared > SHARED_FREELY {
            let bytes = c_int::try_from(shared).unwrap_or(c_int::MAX);
            // SAFETY: the kernel is of the library, the device one of the driver's.
            check("cuKernelSetAttribute", unsafe { (calls.set)(SHARED_BYTES, bytes, at, self.device) })?;
        }
        Ok(KernelHandle { at, shared })
    }

    /// Queues a kernel on `stream`, whose only parameter is a `P`.
    ///
    /// # Safety
    /// `P` is laid out as the kernel's parameter is; what its pointers name is device memory of the sizes that it says, and
    /// stays as it is until the stream's work is done. The device of this value is the calling thread's current one.
    unsafe fn launch<P>(
        &self,
        kernel: KernelHandle,
        size: LaunchSize,
        params: &P,
        stream: DriverHandle,
    ) -> Result<(), CudaError> {
        let count = |n: usize| c_uint::try_from(n).unwrap_or(c_uint::MAX);
        let params = [ptr::from_ref(params).cast::<c_void>()];
        // SAFETY: by the contract; the parameter is read before the call returns.
        let status = unsafe {
            (self.module.calls.launch)(
                kernel.at,
                count(size.blocks[0]),
                count(size.blocks[1]),
                1,
                count(size.threads),
                1,
                1,
                count(kernel.shared),
                stream,
                params.as_ptr(),
                ptr::null(),
            )
        };
        check("cuLaunchKernel", status)
    }
}

impl LoadedModule {
    #[expect(unsafe_code, reason = "foreign calls; each says what it relies on")]
    fn load() -> Result<Self, CudaError> {
        // SAFETY: NVIDIA's driver does nothing at load that needs care of ours; it is loaded already.
        let driver = unsafe { Library::new(DRIVER) }
            .map_err(|e| CudaError::NoLibrary { path: DRIVER.into(), says: e.to_string() })?;
        let calls = ModuleCalls::of(&driver)?;
        // Its calls are kept for good, and so is it.
        std::mem::forget(driver);
        let mut library = ptr::null_mut();
        // SAFETY: the module is a fat binary that says its own length; no options are given.
        let status = unsafe {
            (calls.load)(
                &mut library,
                MODULE.0.as_ptr().cast(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
                0,
            )
        };
        check("cuLibraryLoadData", status)?;
        Ok(Self { calls, library })
    }
}

fn check(call: &'static str, code: Status) -> Result<(), CudaError> {
    if code == 0 { Ok(()) } else { Err(CudaError::Call { call, code, says: "the driver refused it".into() }) }
}
