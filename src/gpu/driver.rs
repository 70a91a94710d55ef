//! libcuda, bound at run time: the few calls that are needed, and owners of what they make.
//!
//! Bound by hand with `libloading` rather than through a crate of bindings, because those
//! take every status for one of an enum that they know, which a newer driver's need not be,
//! and panic where a symbol is missing. Source: the CUDA driver API reference.
//!
//! A [`Current`] proves that the device's context is current on this thread. Owners free what
//! they own when they drop, which must happen while it is; their errors, which nobody waits
//! for, are kept for [`Driver::late_failure`].

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};
use std::sync::{Mutex, PoisonError};

use super::loader::Library;

use super::failure::Failure;

pub type DevicePtr = u64;
type Handle = *mut c_void;

/// Events that measure no time are cheaper.
const EVENT_DISABLE_TIMING: c_uint = 2;
/// Streams that do not wait for the default stream, which others may use.
const STREAM_NON_BLOCKING: c_uint = 1;

macro_rules! driver {
    ($($field:ident = $symbol:literal($($name:ident: $type:ty),*);)*) => {
        /// The functions of libcuda. Statuses are plain integers.
        pub struct Driver {
            $($field: unsafe extern "C" fn($($type),*) -> c_int,)*
            name_of: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
            late: Mutex<Option<Failure>>,
        }

        impl Driver {
            /// Finds all functions in `library`, or says which is missing.
            pub fn bind(library: &'static Library) -> Result<Self, Failure> {
                Ok(Self {
                    // SAFETY: the types are those that the driver API gives these symbols.
                    $($field: unsafe { symbol(library, $symbol)? },)*
                    // SAFETY: as above.
                    name_of: unsafe { symbol(library, "cuGetErrorName")? },
                    late: Mutex::new(None),
                })
            }

            $(
                /// Calls the function of libcuda.
                ///
                /// # Safety
                /// Pointers are what the function expects, handles are alive, and a context
                /// is current where the function needs one.
                #[allow(clippy::too_many_arguments, reason = "libcuda's own")]
                unsafe fn $field(&self, $($name: $type),*) -> Result<(), Failure> {
                    // SAFETY: the caller's promise.
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
    pop = "cuCtxPopCurrent_v2"(context: *mut Handle);
    stream_create = "cuStreamCreate"(stream: *mut Handle, flags: c_uint);
    stream_destroy = "cuStreamDestroy_v2"(stream: Handle);
    stream_synchronize = "cuStreamSynchronize"(stream: Handle);
    stream_wait = "cuStreamWaitEvent"(stream: Handle, event: Handle, flags: c_uint);
    event_create = "cuEventCreate"(event: *mut Handle, flags: c_uint);
    event_destroy = "cuEventDestroy_v2"(event: Handle);
    event_record = "cuEventRecord"(event: Handle, stream: Handle);
    allocate = "cuMemAlloc_v2"(memory: *mut DevicePtr, bytes: usize);
    free = "cuMemFree_v2"(memory: DevicePtr);
    allocate_pinned = "cuMemHostAlloc"(memory: *mut *mut c_void, bytes: usize, flags: c_uint);
    free_pinned = "cuMemFreeHost"(memory: *mut c_void);
    memory_info = "cuMemGetInfo_v2"(free: *mut usize, total: *mut usize);
    upload = "cuMemcpyHtoDAsync_v2"(to: DevicePtr, from: *const c_void, bytes: usize, stream: Handle);
    download = "cuMemcpyDtoHAsync_v2"(to: *mut c_void, from: DevicePtr, bytes: usize, stream: Handle);
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
/// `T` is its type.
unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, Failure> {
    // SAFETY: the caller's promise.
    match unsafe { library.get::<T>(name) } {
        Ok(found) => Ok(*found),
        Err(_) => Err(Failure::Unavailable(format!("the NVIDIA driver (libcuda) lacks {name}"))),
    }
}

impl Driver {
    fn check(&self, call: &'static str, status: c_int) -> Result<(), Failure> {
        if status == 0 {
            return Ok(());
        }
        let mut name = null();
        // SAFETY: `name` is where to put a pointer; a status that it does not know leaves null.
        unsafe { (self.name_of)(status, &raw mut name) };
        let name = if name.is_null() {
            "unknown error".into()
        } else {
            // SAFETY: not null, so a C string that is never freed.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        Err(Failure::Cuda { call, status, name })
    }

    /// Keeps the first error of the calls that nobody waits for.
    pub fn note(&self, done: Result<(), Failure>) {
        if let Err(failure) = done {
            self.late.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }

    /// The first error since the last call of this among calls that nobody waited for.
    pub fn late_failure(&self) -> Result<(), Failure> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Starts the driver, and counts the GPUs.
    pub fn start(&self) -> Result<u32, Failure> {
        let mut count = 0;
        // SAFETY: no context is needed, and `count` is where to put the number.
        unsafe {
            self.init(0)?;
            self.device_count(&raw mut count)?;
        }
        Ok(count.try_into().unwrap_or(0))
    }

    /// The newest CUDA that the driver serves, as in 12040 for 12.4.
    pub fn version(&self) -> Result<i32, Failure> {
        let mut version = 0;
        // SAFETY: `version` is where to put the number.
        unsafe { self.driver_version(&raw mut version)? };
        Ok(version)
    }

    /// The name of a GPU.
    pub fn name(&self, ordinal: u32) -> Result<String, Failure> {
        let mut name = [0u8; 256];
        // SAFETY: `name` has room for the length that is passed, its last byte kept zero.
        unsafe {
            let device = self.device_of(ordinal)?;
            self.device_name(name.as_mut_ptr().cast(), 255, device)?;
        }
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    fn device_of(&self, ordinal: u32) -> Result<c_int, Failure> {
        let mut device = 0;
        // SAFETY: `device` is where to put the number.
        unsafe { self.device(&raw mut device, ordinal.try_into().unwrap_or(c_int::MAX))? };
        Ok(device)
    }
}

/// A GPU's primary context, which everybody in the process shares.
pub struct Context {
    driver: &'static Driver,
    device: c_int,
    handle: Handle,
}

// SAFETY: a context may be used from any thread that makes it current.
unsafe impl Send for Context {}

impl Context {
    pub fn retain(driver: &'static Driver, ordinal: u32) -> Result<Self, Failure> {
        let device = driver.device_of(ordinal)?;
        let mut handle = null_mut();
        // SAFETY: `handle` is where to put the context.
        unsafe { driver.retain(&raw mut handle, device)? };
        Ok(Self { driver, device, handle })
    }

    /// Makes the context current on this thread until the result drops.
    pub fn enter(&self) -> Result<Current<'_>, Failure> {
        // SAFETY: the context is alive.
        unsafe { self.driver.push(self.handle)? };
        Ok(Current { driver: self.driver, _of: PhantomData })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, released once.
        self.driver.note(unsafe { self.driver.release(self.device) });
    }
}

/// Proof that a context is current on this thread, which it therefore never leaves.
pub struct Current<'context> {
    driver: &'static Driver,
    _of: PhantomData<(&'context Context, *mut ())>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: `popped` is where to put the context that was pushed.
        self.driver.note(unsafe { self.driver.pop(&raw mut popped) });
    }
}

impl Current<'_> {
    /// Free bytes of device memory.
    pub fn free_memory(&self) -> Result<usize, Failure> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are where to put numbers, and the context is current.
        unsafe { self.driver.memory_info(&raw mut free, &raw mut total)? };
        Ok(free)
    }
}

/// A queue of work on the GPU.
pub struct Stream {
    driver: &'static Driver,
    handle: Handle,
}

// SAFETY: a stream may be used from any thread whose context is its own.
unsafe impl Send for Stream {}

impl Stream {
    pub fn new(current: &Current) -> Result<Self, Failure> {
        let (driver, mut handle) = (current.driver, null_mut());
        // SAFETY: `handle` is where to put the stream, and the context is current.
        unsafe { driver.stream_create(&raw mut handle, STREAM_NON_BLOCKING)? };
        Ok(Self { driver, handle })
    }

    pub fn handle(&self) -> *mut c_void {
        self.handle
    }

    /// Waits until all work of the stream is done.
    pub fn synchronize(&self, _current: &Current) -> Result<(), Failure> {
        // SAFETY: the stream is alive.
        unsafe { self.driver.stream_synchronize(self.handle) }
    }

    /// Lets later work of the stream wait for `event`.
    pub fn wait(&self, _current: &Current, event: &Event) -> Result<(), Failure> {
        // SAFETY: both are alive.
        unsafe { self.driver.stream_wait(self.handle, event.handle, 0) }
    }

    /// Queues copying `bytes` from the front of `from` to the front of `to`.
    ///
    /// # Safety
    /// Until the stream is synchronised both live on, nobody writes to that part of `from`,
    /// and only work of the stream uses that part of `to`.
    pub unsafe fn upload(
        &self,
        _current: &Current,
        to: &DeviceMemory,
        from: &PinnedMemory,
        bytes: usize,
    ) -> Result<(), Failure> {
        debug_assert!(bytes <= to.len && bytes <= from.len);
        // SAFETY: both are so long; the rest is the caller's promise.
        unsafe { self.driver.upload(to.start, from.start.as_ptr().cast(), bytes, self.handle) }
    }

    /// Queues copying `bytes` from the front of `from` to `to` from `offset` on.
    ///
    /// # Safety
    /// Until the stream is synchronised both live on, and nobody touches that part of `to`.
    pub unsafe fn download(
        &self,
        _current: &Current,
        to: &PinnedMemory,
        offset: usize,
        from: &DeviceMemory,
        bytes: usize,
    ) -> Result<(), Failure> {
        debug_assert!(bytes <= from.len && offset + bytes <= to.len);
        // SAFETY: both are so long; the rest is the caller's promise.
        unsafe {
            let to = to.start.as_ptr().add(offset).cast();
            self.driver.download(to, from.start, bytes, self.handle)
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        self.driver.note(unsafe { self.driver.stream_destroy(self.handle) });
    }
}

/// A point in a stream that another can wait for.
pub struct Event {
    driver: &'static Driver,
    handle: Handle,
}

// SAFETY: an event may be used from any thread whose context is its own.
unsafe impl Send for Event {}

impl Event {
    pub fn new(current: &Current) -> Result<Self, Failure> {
        let (driver, mut handle) = (current.driver, null_mut());
        // SAFETY: `handle` is where to put the event, and the context is current.
        unsafe { driver.event_create(&raw mut handle, EVENT_DISABLE_TIMING)? };
        Ok(Self { driver, handle })
    }

    /// Marks the present end of `stream`.
    pub fn record(&self, _current: &Current, stream: &Stream) -> Result<(), Failure> {
        // SAFETY: both are alive.
        unsafe { self.driver.event_record(self.handle, stream.handle) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        self.driver.note(unsafe { self.driver.event_destroy(self.handle) });
    }
}

/// Memory of the GPU.
pub struct DeviceMemory {
    driver: &'static Driver,
    start: DevicePtr,
    len: usize,
}

impl DeviceMemory {
    pub fn new(current: &Current, len: usize) -> Result<Self, Failure> {
        let (driver, mut start) = (current.driver, 0);
        // SAFETY: `start` is where to put the address, and the context is current.
        let done = unsafe { driver.allocate(&raw mut start, len) };
        done.map_err(|failure| short_of(failure, len, "device"))?;
        Ok(Self { driver, start, len })
    }

    pub fn start(&self) -> DevicePtr {
        self.start
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once, and no queued work uses it.
        self.driver.note(unsafe { self.driver.free(self.start) });
    }
}

/// Memory of the host that the GPU reads and writes itself.
pub struct PinnedMemory {
    driver: &'static Driver,
    start: NonNull<MaybeUninit<u8>>,
    len: usize,
}

// SAFETY: memory that has one owner.
unsafe impl Send for PinnedMemory {}
// SAFETY: shared, it is only read.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    pub fn new(current: &Current, len: usize) -> Result<Self, Failure> {
        let (driver, mut start) = (current.driver, null_mut());
        // SAFETY: `start` is where to put the address, and the context is current.
        let done = unsafe { driver.allocate_pinned(&raw mut start, len, 0) };
        done.map_err(|failure| short_of(failure, len, "pinned"))?;
        let start = NonNull::new(start.cast());
        let start = start.ok_or(Failure::OutOfMemory { bytes: len, kind: "pinned" })?;
        Ok(Self { driver, start, len })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the allocation is so long, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    pub fn as_slice(&self) -> &[MaybeUninit<u8>] {
        // SAFETY: the allocation is so long; nobody writes to it while it is borrowed, for
        // work that does is synchronised first.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once, and no queued work uses it.
        self.driver.note(unsafe { self.driver.free_pinned(self.start.as_ptr().cast()) });
    }
}

fn short_of(failure: Failure, bytes: usize, kind: &'static str) -> Failure {
    if failure.is_out_of_memory() { Failure::OutOfMemory { bytes, kind } } else { failure }
}

/// A kernel of our own.
pub struct Kernel {
    driver: &'static Driver,
    module: Handle,
    function: Handle,
}

// SAFETY: a module may be used from any thread whose context is its own.
unsafe impl Send for Kernel {}

impl Kernel {
    /// Compiles `ptx` for the GPU and finds its function `name`.
    pub fn load(current: &Current, ptx: &CStr, name: &CStr) -> Result<Self, Failure> {
        let (driver, mut module) = (current.driver, null_mut());
        // SAFETY: `module` is where to put the module, and PTX ends with a zero byte.
        unsafe { driver.module_load(&raw mut module, ptx.as_ptr().cast())? };
        let mut kernel = Self { driver, module, function: null_mut() };
        // SAFETY: the module is alive, and the name ends with a zero byte.
        unsafe { driver.module_function(&raw mut kernel.function, module, name.as_ptr())? };
        Ok(kernel)
    }

    /// Queues the kernel on `stream`, over so many blocks of so many threads.
    ///
    /// # Safety
    /// `parameters` point to values of the types that the kernel takes, and until the stream
    /// is synchronised the memory that they name lives on.
    pub unsafe fn launch(
        &self,
        _current: &Current,
        stream: &Stream,
        (blocks, threads): (u32, u32),
        parameters: &mut [*mut c_void],
    ) -> Result<(), Failure> {
        // SAFETY: the function and the stream are alive; the rest is the caller's promise.
        unsafe {
            self.driver.launch(
                self.function,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                0,
                stream.handle,
                parameters.as_mut_ptr(),
                null_mut(),
            )
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once.
        self.driver.note(unsafe { self.driver.module_unload(self.module) });
    }
}
