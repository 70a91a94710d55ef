//! Arrow data in a GPU's memory: columns decompressed to it, and their export through the C device
//! interface (arrow.apache.org, "The Arrow C Device data interface").

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::DataType;

use super::arrays::large_binary;
use super::c_data::CArray;
use super::input::{ArrowInput, payload_column};
use crate::codec::Form;
use crate::column::decompress_resident;
use crate::column::{BecameNull, DecompressOptions, OffsetsColumn, ResidentColumn};
use crate::error::Result;
use crate::gpu;
use crate::memory::{Block, zeroed};
use crate::pool::{InterruptCheck, Listener};

/// `ARROW_DEVICE_CUDA`
const CUDA: i32 = 2;

/// `struct ArrowDeviceArray`: an array whose buffers are on a device. There is no event to wait
/// for: what is exported here is complete.
#[repr(C)]
pub struct CDeviceArray {
    pub(crate) array: CArray,
    pub(crate) device_id: i64,
    pub(crate) device_type: i32,
    pub(crate) sync_event: *mut c_void,
    reserved: [i64; 3],
}

// SAFETY: the interface allows an array to be used and released on any thread.
unsafe impl Send for CDeviceArray {}

/// Decompresses payloads, or decodes frames, of all chunks to the memory of a GPU. Also returns
/// what to warn of.
pub fn decompress_to_device(
    options: &DecompressOptions,
    form: Form,
    ordinal: u32,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<(ResidentColumn, Option<BecameNull>)> {
    let column = payload_column("decode", form, &mut input)?;
    let (mut chunks, mut listener) = (Vec::new(), Listener::new(interrupted));
    for chunk in input.chunks() {
        listener.look()?;
        chunks.push(column.read(&Arc::new(chunk?))?.rows);
    }
    let column = decompress_resident(options, ordinal, &chunks, interrupted)?;
    Ok((column.values, column.bad_rows.judge()?))
}

/// The column in the host's memory: large binary or large string.
pub fn to_host(column: &ResidentColumn, interrupted: InterruptCheck) -> Result<ArrayRef> {
    let buffer = column.buffer();
    let mut session = gpu::open(buffer.ordinal(), interrupted)?;
    let mut bytes = Block::new(column.values().len())?;
    session.download(buffer, column.values(), bytes.spare())?;
    // SAFETY: the download initialised all of it.
    unsafe { bytes.set_len(column.values().len()) };
    let mut offsets = zeroed::<i64>(column.rows() + 1)?;
    session.download(buffer, column.offsets(), as_bytes(&mut offsets))?;
    let nulls = match column.validity() {
        None => None,
        Some(place) => {
            let mut bits = zeroed::<u8>(place.len())?;
            session.download(buffer, place, as_bytes(&mut bits))?;
            let bits = BooleanBuffer::new(Buffer::from_vec(bits), 0, column.rows());
            Some(NullBuffer::new(bits))
        }
    };
    Ok(large_binary(OffsetsColumn { offsets, bytes }, nulls, column.is_utf8()))
}

/// Integers as memory to be filled.
fn as_bytes<T: crate::memory::Zero>(numbers: &mut [T]) -> &mut [MaybeUninit<u8>] {
    let len = size_of_val(numbers);
    // SAFETY: the same memory. Integers have no padding, and any bytes are values of them.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), len) }
}

/// The Arrow type of a column.
pub fn data_type_of(column: &ResidentColumn) -> DataType {
    if column.is_utf8() { DataType::LargeUtf8 } else { DataType::LargeBinary }
}

/// Exports a column. Its memory lives until the array is released.
pub fn export(column: &Arc<ResidentColumn>) -> CDeviceArray {
    let buffer = column.buffer();
    let address = |place: &std::ops::Range<usize>| match place.len() {
        0 => null_mut(),
        _ => std::ptr::without_provenance_mut((buffer.start() + place.start as u64) as usize),
    };
    let buffers = [
        column.validity().map_or(null_mut(), |place| address(&place)),
        address(&column.offsets()),
        address(&column.values()),
    ];
    CDeviceArray {
        array: CArray::new(column.rows(), column.null_count(), buffers, Arc::clone(column)),
        device_id: buffer.ordinal().into(),
        device_type: CUDA,
        sync_event: null_mut(),
        reserved: [0; 3],
    }
}
