//! The project's own kernels, `kernels.cu`: gathering, copying, and checking on the device.

use std::ffi::{CStr, c_void};

use super::driver::{CudaModule, Current, DevicePtr, Stream};
use super::error::GpuError;

/// `kernels.cu`, compiled.
const PTX: &CStr = match CStr::from_bytes_with_nul(
    concat!(include_str!("kernels/kernels.ptx"), "\0").as_bytes(),
) {
    Ok(text) => text,
    Err(_) => panic!("the PTX contains a zero byte"),
};

/// Threads per block.
const THREADS: u32 = 256;
/// Blocks at most: enough to fill any GPU. The kernels loop over what is left.
const COPY_BLOCKS: u32 = 1024;
/// Each block makes a table first, so that fewer are faster.
const CRC_BLOCKS: u32 = 512;
const UTF8_BLOCKS: u32 = 4096;

/// The kernels, loaded for one GPU.
pub struct Kernels(CudaModule);

/// Arrays on the device, one item per chunk.
#[derive(Clone, Copy)]
pub struct Chunks {
    /// u64 addresses.
    pub addresses: DevicePtr,
    /// u64 bytes.
    pub sizes: DevicePtr,
    pub count: usize,
}

impl Kernels {
    /// Those that `known` has, or gets now.
    pub fn loaded<'k>(
        known: &'k mut Option<Self>,
        current: &Current,
    ) -> Result<&'k Self, GpuError> {
        match known {
            Some(kernels) => Ok(kernels),
            none => Ok(none.insert(Self(CudaModule::load(current, PTX)?))),
        }
    }

    /// Queues copying `chunks` to `target`, each to its offset of `offsets` (u64).
    ///
    /// # Safety
    /// - The arrays and all that they refer to lie in device memory that lives, and that only
    ///   work of this stream uses, until the stream is synchronised.
    /// - Addresses, offsets and `target` are multiples of 16, and each chunk's memory, here and
    ///   there, reaches to the next multiple of 16.
    pub unsafe fn gather(
        &self,
        current: &Current,
        stream: &Stream,
        chunks: Chunks,
        offsets: DevicePtr,
        target: DevicePtr,
    ) -> Result<(), GpuError> {
        let (arrays, count) =
            ([chunks.addresses, chunks.sizes, offsets, target], chunks.count as u32);
        // SAFETY: these are the kernel's parameters; the rest is as the caller promises.
        unsafe { self.launch(current, c"s4_gather", stream, COPY_BLOCKS, arrays, count) }
    }

    /// Queues copying `chunks` to the addresses in `targets` (u64). One that is there already is
    /// left alone.
    ///
    /// # Safety
    /// The arrays and all that they refer to lie in device memory that lives, and that only work
    /// of this stream uses, until the stream is synchronised.
    pub unsafe fn copy(
        &self,
        current: &Current,
        stream: &Stream,
        chunks: Chunks,
        targets: DevicePtr,
    ) -> Result<(), GpuError> {
        let (arrays, count) = ([chunks.addresses, chunks.sizes, targets], chunks.count as u32);
        // SAFETY: these are the kernel's parameters; the rest is as the caller promises.
        unsafe { self.launch(current, c"s4_copy", stream, COPY_BLOCKS, arrays, count) }
    }

    /// Queues writing the crc32c of each of `chunks` to `crcs` (u32).
    ///
    /// # Safety
    /// As for [`copy`](Self::copy); `crcs` has an item for each chunk.
    pub unsafe fn crc32c(
        &self,
        current: &Current,
        stream: &Stream,
        chunks: Chunks,
        crcs: DevicePtr,
    ) -> Result<(), GpuError> {
        let (arrays, count) = ([chunks.addresses, chunks.sizes, crcs], chunks.count as u32);
        // SAFETY: these are the kernel's parameters; the rest is as the caller promises.
        unsafe { self.launch(current, c"s4_crc32c", stream, CRC_BLOCKS, arrays, count) }
    }

    /// Queues setting a byte of `bad` to 1 for each of `rows` rows of `values` that is not UTF-8.
    /// Row `i` lies between the offsets `i` and `i + 1` (u64, not descending, from 0).
    ///
    /// # Safety
    /// As for [`copy`](Self::copy); there are `rows + 1` offsets and `rows` bytes of `bad`.
    pub unsafe fn utf8(
        &self,
        current: &Current,
        stream: &Stream,
        values: DevicePtr,
        offsets: DevicePtr,
        bad: DevicePtr,
        rows: usize,
    ) -> Result<(), GpuError> {
        let (arrays, rows) = ([values, offsets, bad], rows as u64);
        // SAFETY: these are the kernel's parameters; the rest is as the caller promises.
        unsafe { self.launch(current, c"s4_utf8", stream, UTF8_BLOCKS, arrays, rows) }
    }

    /// Queues a kernel that takes these addresses and a count of its type.
    ///
    /// # Safety
    /// As for [`CudaModule::launch`].
    unsafe fn launch<const N: usize, C>(
        &self,
        current: &Current,
        name: &CStr,
        stream: &Stream,
        blocks: u32,
        mut arrays: [DevicePtr; N],
        mut count: C,
    ) -> Result<(), GpuError> {
        let arrays = arrays.iter_mut().map(|array| std::ptr::from_mut(array).cast());
        let mut parameters: Vec<*mut c_void> = arrays.collect();
        parameters.push((&raw mut count).cast());
        // SAFETY: as the caller promises.
        unsafe { self.0.launch(current, name, stream, (blocks, THREADS), &mut parameters) }
    }
}
