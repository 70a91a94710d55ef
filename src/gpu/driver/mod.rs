//! libcuda, bound at run time: the functions that are needed, and owners of what they make.
//!
//! Bound by hand with `libloading` rather than through `cudarc`: there a status that its enum
//! does not have is undefined behaviour, a missing libcuda or symbol panics, and the library to
//! load cannot be chosen. Source: the CUDA driver API reference.
//!
//! A [`Current`] proves that the device's context is current on this thread. Owners free what
//! they own when they drop, which must happen while it is. Their errors, which no caller waits
//! for, are kept for [`Driver::late_error`].
//!
//! A kernel that never ends, as damaged data can make a decoder, blocks most calls for ever. So no
//! call here waits but [`Stream::wait_done`], which polls until a [`Deadline`]; memory is not
//! allocated or freed, nor code loaded, while a kernel runs. Memory that others may use is freed
//! [on another thread](PrimaryContext::free_when_done), which may block. After the deadline, or a
//! status that no context of the process survives, CUDA is [lost](Driver::is_lost): no call reaches
//! libcuda any more, and all that was made there is leaked, so that the process goes on and ends
//! as usual.

mod deadline;
mod objects;

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{null, null_mut};
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::error::GpuError;
use super::library::Library;
use crate::process::lock;

pub use deadline::{Deadline, timeout};
pub use objects::{CudaModule, DeviceMemory, Event, PinnedMemory, Stream, wait_for_event};

pub type DevicePtr = u64;
type Handle = *mut c_void;

macro_rules! driver {
    ($($field:ident = $symbol:literal($($name:ident: $type:ty),*);)*) => {
        /// The functions of libcuda. Statuses are plain integers.
        pub struct Driver {
            $($field: unsafe extern "C" fn($($type),*) -> c_int,)*
            name_of: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
            late: Mutex<Option<GpuError>>,
            lost: OnceLock<GpuError>,
        }

        impl Driver {
            /// Binds all functions of `library`, which was loaded from `path`.
            pub fn bind(library: &'static Library, path: &str) -> Result<Self, GpuError> {
                Ok(Self {
                    // SAFETY: the symbols have these types in the driver API.
                    $($field: unsafe { symbol(library, path, $symbol)? },)*
                    // SAFETY: as above.
                    name_of: unsafe { symbol(library, path, "cuGetErrorName")? },
                    late: Mutex::new(None),
                    lost: OnceLock::new(),
                })
            }

            $(
                /// Calls the function of libcuda, unless CUDA is lost.
                ///
                /// # Safety
                /// - Pointers point to what the function reads or writes.
                /// - Handles are alive.
                /// - A context is current, if the function needs one.
                #[allow(clippy::too_many_arguments, reason = "those of libcuda")]
                unsafe fn $field(&self, $($name: $type),*) -> Result<(), GpuError> {
                    self.check_usable()?;
                    // SAFETY: as the caller promises.
                    let status = unsafe { (self.$field)($($name),*) };
                    self.check($symbol, status)
                }
            )*
        }
    };
}

driver! {
    init = "cuInit"(flags: c_uint);
    driver_version = "cuDriverGetVersion"(version: *mut c_int);
    device_count = "cuDeviceGetCount"(count: *mut c_int);
    device = "cuDeviceGet"(device: *mut c_int, ordinal: c_int);
    device_name = "cuDeviceGetName"(name: *mut c_char, len: c_int, device: c_int);
    retain = "cuDevicePrimaryCtxRetain"(context: *mut Handle, device: c_int);
    release = "cuDevicePrimaryCtxRelease_v2"(device: c_int);
    push = "cuCtxPushCurrent_v2"(context: Handle);
    synchronize = "cuCtxSynchronize"();
    pop = "cuCtxPopCurrent_v2"(context: *mut Handle);
    stream_create = "cuStreamCreateWithPriority"(stream: *mut Handle, flags: c_uint, priority: c_int);
    stream_priorities = "cuCtxGetStreamPriorityRange"(least: *mut c_int, greatest: *mut c_int);
    stream_wait = "cuStreamWaitEvent"(stream: Handle, event: Handle, flags: c_uint);
    event_create = "cuEventCreate"(event: *mut Handle, flags: c_uint);
    event_destroy = "cuEventDestroy_v2"(event: Handle);
    event_record = "cuEventRecord"(event: Handle, stream: Handle);
    stream_destroy = "cuStreamDestroy_v2"(stream: Handle);
    stream_query = "cuStreamQuery"(stream: Handle);
    event_query = "cuEventQuery"(event: Handle);
    pointer_attribute = "cuPointerGetAttribute"(value: *mut c_void, attribute: c_uint, address: DevicePtr);
    allocate = "cuMemAlloc_v2"(memory: *mut DevicePtr, bytes: usize);
    free = "cuMemFree_v2"(memory: DevicePtr);
    allocate_pinned = "cuMemHostAlloc"(memory: *mut *mut c_void, bytes: usize, flags: c_uint);
    free_pinned = "cuMemFreeHost"(memory: *mut c_void);
    memory_info = "cuMemGetInfo_v2"(free: *mut usize, total: *mut usize);
    upload = "cuMemcpyHtoDAsync_v2"(to: DevicePtr, from: *const c_void, bytes: usize, stream: Handle);
    download = "cuMemcpyDtoHAsync_v2"(to: *mut c_void, from: DevicePtr, bytes: usize, stream: Handle);
    fill = "cuMemsetD8Async"(to: DevicePtr, value: c_uchar, bytes: usize, stream: Handle);
    module_load = "cuModuleLoadData"(module: *mut Handle, image: *const c_void);
    module_unload = "cuModuleUnload"(module: Handle);
    module_function = "cuModuleGetFunction"(function: *mut Handle, module: Handle, name: *const c_char);
    launch = "cuLaunchKernel"(
        function: Handle,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared_bytes: c_uint, stream: Handle,
        parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
}

/// Finds a function in a library.
///
/// # Safety
/// `T` is the function's type.
unsafe fn symbol<T: Copy>(library: &Library, path: &str, name: &str) -> Result<T, GpuError> {
    // SAFETY: as the caller promises.
    match unsafe { library.get::<T>(name) } {
        Ok(found) => Ok(*found),
        Err(_) => Err(GpuError::Unavailable(format!("{path} lacks {name}; is it libcuda?"))),
    }
}

impl Driver {
    fn check(&self, call: &'static str, status: c_int) -> Result<(), GpuError> {
        if status == 0 {
            return Ok(());
        }
        let mut name = null();
        // SAFETY: the function writes one pointer, or leaves null for an unknown status.
        unsafe { (self.name_of)(status, &raw mut name) };
        let name = if name.is_null() {
            "unknown error".into()
        } else {
            // SAFETY: not null, so a C string that lives for ever.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        let error = GpuError::Cuda { call, status, name };
        Err(if error.loses_process() { self.lose(&error.to_string()) } else { error })
    }

    /// Whether CUDA in this process can no longer be used.
    pub fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Fails with the reason if CUDA is lost.
    pub fn check_usable(&self) -> Result<(), GpuError> {
        self.lost.get().map_or(Ok(()), |lost| Err(lost.clone()))
    }

    /// Marks CUDA as lost to work that did not end within `limit`.
    fn lose_to_work(&self, limit: Duration) -> GpuError {
        self.lose(&format!(
            "the GPU was not done after {:.1} s (S4_GPU_TIMEOUT sets the limit): damaged data can \
             make a decoder run for ever",
            limit.as_secs_f64()
        ))
    }

    /// Marks CUDA as lost and returns the error of all calls from now on. The first reason stays.
    fn lose(&self, reason: &str) -> GpuError {
        self.lost.get_or_init(|| GpuError::Lost(reason.into())).clone()
    }

    /// Keeps the first error of calls whose callers do not wait for it.
    pub fn note(&self, done: Result<(), GpuError>) {
        if let Err(error) = done
            && !self.is_lost()
        {
            lock(&self.late).get_or_insert(error);
        }
    }

    /// The first error that was noted since this was last called, or why CUDA is lost.
    pub fn late_error(&self) -> Result<(), GpuError> {
        self.check_usable()?;
        lock(&self.late).take().map_or(Ok(()), Err)
    }

    /// Initialises the driver and counts the GPUs.
    pub fn start(&self) -> Result<u32, GpuError> {
        let mut count = 0;
        // SAFETY: no context is needed; the function writes one number.
        unsafe {
            self.init(0)?;
            self.device_count(&raw mut count)?;
        }
        Ok(count.try_into().unwrap_or(0))
    }

    /// The latest CUDA that the driver supports; 12.4 is 12040.
    pub fn version(&self) -> Result<i32, GpuError> {
        let mut version = 0;
        // SAFETY: the function writes one number.
        unsafe { self.driver_version(&raw mut version)? };
        Ok(version)
    }

    /// The number of the GPU that has the memory at this address.
    pub fn ordinal_of(&self, address: DevicePtr) -> Result<u32, GpuError> {
        const DEVICE_ORDINAL: c_uint = 9;
        let mut ordinal: c_int = 0;
        // SAFETY: the function writes one number; any address may be asked for.
        unsafe {
            self.pointer_attribute((&raw mut ordinal).cast(), DEVICE_ORDINAL, address)?;
        }
        Ok(ordinal.try_into().unwrap_or(0))
    }

    /// The name of a GPU.
    pub fn name(&self, ordinal: u32) -> Result<String, GpuError> {
        let mut name = [0u8; 256];
        // SAFETY: the function writes at most the length passed; the last byte stays zero.
        unsafe {
            let device = self.device_of(ordinal)?;
            self.device_name(name.as_mut_ptr().cast(), 255, device)?;
        }
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    fn device_of(&self, ordinal: u32) -> Result<c_int, GpuError> {
        let mut device = 0;
        // SAFETY: the function writes one number.
        unsafe { self.device(&raw mut device, ordinal.try_into().unwrap_or(c_int::MAX))? };
        Ok(device)
    }
}

/// A GPU's primary context, which the whole process shares, PyTorch and CuPy included.
pub struct PrimaryContext {
    driver: &'static Driver,
    device: c_int,
    handle: Handle,
}

// SAFETY: a context may be used from any thread that makes it current.
unsafe impl Send for PrimaryContext {}
// SAFETY: as above, from several at once.
unsafe impl Sync for PrimaryContext {}

impl PrimaryContext {
    pub fn retain(driver: &'static Driver, ordinal: u32) -> Result<Self, GpuError> {
        let device = driver.device_of(ordinal)?;
        let mut handle = null_mut();
        // SAFETY: the function writes one handle.
        unsafe { driver.retain(&raw mut handle, device)? };
        Ok(Self { driver, device, handle })
    }

    /// Makes the context current on this thread until the result drops.
    pub fn enter(&self) -> Result<Current<'_>, GpuError> {
        // SAFETY: the context is alive.
        unsafe { self.driver.push(self.handle)? };
        Ok(Current { driver: self.driver, _of: PhantomData })
    }

    /// Frees `memory`, which work of other libraries may use, once all work in the context is
    /// done; where that cannot be waited for, the memory is leaked. A thread of its own does it,
    /// for these calls block as long as the work takes, which may be for ever; the caller waits
    /// for a second at most.
    pub fn free_when_done(self, memory: DeviceMemory) {
        let (driver, memory) = (self.driver, ManuallyDrop::new(memory));
        let (send, done) = channel();
        let free = move || {
            if let Ok(current) = self.enter() {
                // SAFETY: the context is current.
                if unsafe { driver.synchronize() }.is_ok() {
                    drop(ManuallyDrop::into_inner(memory));
                }
                drop(current);
            }
            drop(self);
            // Nobody may be waiting any more.
            let _ = send.send(());
        };
        if thread::Builder::new().name("s4-gpu-free".into()).spawn(free).is_ok() {
            let _ = done.recv_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for PrimaryContext {
    fn drop(&mut self) {
        // SAFETY: retained once, released once.
        self.driver.note(unsafe { self.driver.release(self.device) });
    }
}

/// Proof that a context is current on this thread; it cannot be sent to another.
pub struct Current<'context> {
    driver: &'static Driver,
    _of: PhantomData<(&'context PrimaryContext, *mut ())>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: the function writes one handle, that of the context that was pushed.
        self.driver.note(unsafe { self.driver.pop(&raw mut popped) });
    }
}

impl Current<'_> {
    /// Fails with the reason if CUDA is lost: for calls that do not go through [`Driver`].
    pub fn check_usable(&self) -> Result<(), GpuError> {
        self.driver.check_usable()
    }

    /// Free bytes of device memory.
    pub fn free_memory(&self) -> Result<usize, GpuError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the function writes two numbers, and the context is current.
        unsafe { self.driver.memory_info(&raw mut free, &raw mut total)? };
        Ok(free)
    }
}
