//! What lives in a context: streams, events, device and pinned memory, a kernel of this crate's.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{NonNull, null_mut, without_provenance_mut};
use std::thread;
use std::time::{Duration, Instant};

use super::{Current, Deadline, DevicePtr, Driver, Handle};
use crate::error::Error;
use crate::gpu::error::GpuError;
use crate::pool::{INTERRUPT_POLL, InterruptCheck};

/// Events without timing are cheaper.
const EVENT_DISABLE_TIMING: c_uint = 2;
/// For streams that do not wait for the default stream, which other libraries may use.
const STREAM_NON_BLOCKING: c_uint = 1;

/// The status of a stream whose work is not done.
const NOT_READY: i32 = 600;

/// So long a stream is asked without a pause: small batches take little longer.
const SPIN: Duration = Duration::from_micros(100);

/// The pauses after that, a sixteenth of the time waited so far: what a long one costs is small.
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// A queue of work on the GPU.
pub struct Stream {
    driver: &'static Driver,
    handle: Handle,
}

// SAFETY: a stream may be used on any thread where its context is current.
unsafe impl Send for Stream {}

impl Stream {
    pub fn new(current: &Current) -> Result<Self, GpuError> {
        Self::of_priority(current, 0)
    }

    /// A stream whose kernels come before those of others that have not begun.
    pub fn urgent(current: &Current) -> Result<Self, GpuError> {
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: the function writes two numbers, and the context is current.
        unsafe { current.driver.stream_priorities(&raw mut least, &raw mut greatest)? };
        Self::of_priority(current, greatest)
    }

    fn of_priority(current: &Current, priority: c_int) -> Result<Self, GpuError> {
        let (driver, mut handle) = (current.driver, null_mut());
        // SAFETY: the function writes one handle, and the context is current.
        unsafe { driver.stream_create(&raw mut handle, STREAM_NON_BLOCKING, priority)? };
        Ok(Self { driver, handle })
    }

    /// The stream of another library's handle, or of 1 or 2 for the default streams.
    ///
    /// # Safety
    /// The stream is live, and is not dropped here.
    pub unsafe fn of_handle(current: &Current, handle: u64) -> Self {
        Self { driver: current.driver, handle: without_provenance_mut(handle as usize) }
    }

    pub fn handle(&self) -> *mut c_void {
        self.handle
    }

    /// Makes work that is queued later wait for `event`.
    pub fn wait_for(&self, _current: &Current, event: &Event) -> Result<(), GpuError> {
        // SAFETY: both are alive.
        unsafe { self.driver.stream_wait(self.handle, event.handle, 0) }
    }

    /// Whether all queued work is done, or the error of what was queued before, by anybody.
    pub fn is_done(&self, _current: &Current) -> Result<bool, GpuError> {
        // SAFETY: the stream is alive.
        done(unsafe { self.driver.stream_query(self.handle) })
    }

    /// Waits until all queued work is done.
    ///
    /// After the deadline CUDA in this process is lost. After an interrupt the work goes on:
    /// what it uses must stay until it has been waited for again.
    pub fn wait_done(
        &self,
        _current: &Current,
        deadline: &Deadline,
        interrupted: InterruptCheck,
    ) -> Result<(), GpuError> {
        // SAFETY: the stream is alive.
        let query = || unsafe { self.driver.stream_query(self.handle) };
        wait_until_done(self.driver, query, deadline, interrupted)
    }

    /// Queues copying `bytes` from the front of `from` to `to` from `offset` on.
    ///
    /// # Safety
    /// Until the stream's work is done,
    /// - `to` and `from` live;
    /// - nothing writes to that part of `from`;
    /// - only work of this stream uses that part of `to`.
    pub unsafe fn upload(
        &self,
        _current: &Current,
        to: &DeviceMemory,
        offset: usize,
        from: &PinnedMemory,
        bytes: usize,
    ) -> Result<(), GpuError> {
        debug_assert!(offset + bytes <= to.len && bytes <= from.len);
        let start = to.start + offset as DevicePtr;
        // SAFETY: both are long enough; the rest is as the caller promises.
        unsafe { self.driver.upload(start, from.start.as_ptr().cast(), bytes, self.handle) }
    }

    /// Queues setting a range of `to` to `value`.
    ///
    /// # Safety
    /// Until the stream's work is done,
    /// - `to` lives;
    /// - only work of this stream uses that part of it.
    pub unsafe fn fill(
        &self,
        _current: &Current,
        to: &DeviceMemory,
        range: Range<usize>,
        value: u8,
    ) -> Result<(), GpuError> {
        debug_assert!(range.end <= to.len);
        let start = to.start + range.start as DevicePtr;
        // SAFETY: it is long enough; the rest is as the caller promises.
        unsafe { self.driver.fill(start, value, range.len(), self.handle) }
    }

    /// Queues copying a range of `from` to `to` from `offset` on.
    ///
    /// # Safety
    /// Until the stream's work is done,
    /// - `to` and `from` live;
    /// - nothing reads or writes that part of `to`.
    pub unsafe fn download(
        &self,
        _current: &Current,
        to: &PinnedMemory,
        offset: usize,
        from: &DeviceMemory,
        range: Range<usize>,
    ) -> Result<(), GpuError> {
        debug_assert!(range.end <= from.len && offset + range.len() <= to.len);
        // SAFETY: both are long enough; the rest is as the caller promises.
        unsafe {
            let to = to.start.as_ptr().add(offset).cast();
            let start = from.start + range.start as DevicePtr;
            self.driver.download(to, start, range.len(), self.handle)
        }
    }

    /// Queues copying `bytes` from an address of the device to the front of `to`.
    ///
    /// # Safety
    /// As for [`download`](Self::download); so much device memory is live at that address.
    pub unsafe fn download_from(
        &self,
        _current: &Current,
        to: &PinnedMemory,
        from: DevicePtr,
        bytes: usize,
    ) -> Result<(), GpuError> {
        debug_assert!(bytes <= to.len);
        // SAFETY: `to` is long enough; the rest is as the caller promises.
        unsafe { self.driver.download(to.start.as_ptr().cast(), from, bytes, self.handle) }
    }
}

/// Waits for an event.
///
/// # Safety
/// It is the handle of a live event.
pub unsafe fn wait_for_event(
    current: &Current,
    event: u64,
    deadline: &Deadline,
    interrupted: InterruptCheck,
) -> Result<(), GpuError> {
    let driver = current.driver;
    // SAFETY: as the caller promises.
    let query = || unsafe { driver.event_query(without_provenance_mut(event as usize)) };
    wait_until_done(driver, query, deadline, interrupted)
}

/// Waits until a query finds all work done.
fn wait_until_done(
    driver: &Driver,
    query: impl Fn() -> Result<(), GpuError>,
    deadline: &Deadline,
    interrupted: InterruptCheck,
) -> Result<(), GpuError> {
    let started = Instant::now();
    let mut checked = started;
    while !done(query())? {
        let now = Instant::now();
        let waited = now - started;
        if waited < SPIN {
            thread::yield_now();
            continue;
        }
        if now >= deadline.at {
            return Err(driver.lose_to_work(deadline.limit));
        }
        if now - checked >= INTERRUPT_POLL {
            checked = now;
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        thread::sleep((waited / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
    Ok(())
}

/// Whether a query found all work done.
fn done(query: Result<(), GpuError>) -> Result<bool, GpuError> {
    match query {
        Ok(()) => Ok(true),
        Err(GpuError::Cuda { status: NOT_READY, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        self.driver.note(unsafe { self.driver.stream_destroy(self.handle) });
    }
}

/// A point in one stream that others can wait for.
pub struct Event {
    driver: &'static Driver,
    handle: Handle,
}

// SAFETY: an event may be used on any thread where its context is current.
unsafe impl Send for Event {}

impl Event {
    pub fn new(current: &Current) -> Result<Self, GpuError> {
        let (driver, mut handle) = (current.driver, null_mut());
        // SAFETY: the function writes one handle, and the context is current.
        unsafe { driver.event_create(&raw mut handle, EVENT_DISABLE_TIMING)? };
        Ok(Self { driver, handle })
    }

    /// Marks the end of what is queued on `stream` now.
    pub fn record(&self, _current: &Current, stream: &Stream) -> Result<(), GpuError> {
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

/// Device memory.
pub struct DeviceMemory {
    driver: &'static Driver,
    start: DevicePtr,
    len: usize,
}

impl DeviceMemory {
    pub fn new(current: &Current, len: usize) -> Result<Self, GpuError> {
        let (driver, mut start) = (current.driver, 0);
        // SAFETY: the function writes one address, and the context is current.
        let done = unsafe { driver.allocate(&raw mut start, len) };
        done.map_err(|error| out_of_memory(error, len, "device"))?;
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

/// Page-locked memory of the host, which the GPU reads and writes directly.
pub struct PinnedMemory {
    driver: &'static Driver,
    start: NonNull<MaybeUninit<u8>>,
    len: usize,
}

// SAFETY: the memory has one owner.
unsafe impl Send for PinnedMemory {}
// SAFETY: shared memory is only read.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    pub fn new(current: &Current, len: usize) -> Result<Self, GpuError> {
        let (driver, mut start) = (current.driver, null_mut());
        // SAFETY: the function writes one address, and the context is current.
        let done = unsafe { driver.allocate_pinned(&raw mut start, len, 0) };
        done.map_err(|error| out_of_memory(error, len, "pinned"))?;
        let start = NonNull::new(start.cast());
        let start = start.ok_or(GpuError::OutOfMemory { bytes: len, kind: "pinned" })?;
        Ok(Self { driver, start, len })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the allocation is `len` bytes long and exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    pub fn as_slice(&self) -> &[MaybeUninit<u8>] {
        // SAFETY: the allocation is `len` bytes long; queued work that writes to it is
        // waited for before it is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once, and no queued work uses it.
        self.driver.note(unsafe { self.driver.free_pinned(self.start.as_ptr().cast()) });
    }
}

/// Adds the size of the allocation to an error of too little memory.
fn out_of_memory(error: GpuError, bytes: usize, kind: &'static str) -> GpuError {
    if error.is_out_of_memory() { GpuError::OutOfMemory { bytes, kind } } else { error }
}

/// Compiled kernels of this crate's.
pub struct CudaModule {
    driver: &'static Driver,
    handle: Handle,
}

// SAFETY: a module may be used on any thread where its context is current.
unsafe impl Send for CudaModule {}

impl CudaModule {
    /// Compiles `ptx` for the GPU.
    pub fn load(current: &Current, ptx: &CStr) -> Result<Self, GpuError> {
        let (driver, mut handle) = (current.driver, null_mut());
        // SAFETY: the function writes one handle; the PTX ends with a zero byte.
        unsafe { driver.module_load(&raw mut handle, ptx.as_ptr().cast())? };
        Ok(Self { driver, handle })
    }

    /// Queues the kernel `name` on `stream`, on a grid of `blocks` blocks of `threads` threads.
    ///
    /// # Safety
    /// - `parameters` point to values of the types that the kernel takes.
    /// - Until the stream's work is done, the memory whose addresses they hold lives, and only
    ///   work of this stream uses it.
    pub unsafe fn launch(
        &self,
        _current: &Current,
        name: &CStr,
        stream: &Stream,
        (blocks, threads): (u32, u32),
        parameters: &mut [*mut c_void],
    ) -> Result<(), GpuError> {
        let mut function = null_mut();
        // SAFETY: the module and the stream are alive, and the name ends with a zero byte; the
        // rest is as the caller promises.
        unsafe {
            self.driver.module_function(&raw mut function, self.handle, name.as_ptr())?;
            self.driver.launch(
                function,
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

impl Drop for CudaModule {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once.
        self.driver.note(unsafe { self.driver.module_unload(self.handle) });
    }
}
