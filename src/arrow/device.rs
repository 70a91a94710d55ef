//! Arrow data in a GPU's memory: columns decompressed to it, and their export through the C device
//! interface (arrow.apache.org, "The Arrow C Device data interface").

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::DataType;

use super::arrays::{large_binary, manifest_array, validity};
use super::c_data::{CArray, CSchema, count, malformed};
use super::import::data_type;
use super::input::{ArrowInput, payload_column};
use super::{ByteRows, CompressOptions, type_text};
use crate::background::{self, is_long_compression, is_long_decompression};
use crate::codec::Form;
use crate::column::{
    self, BecameNull, Compressed, DecompressOptions, Offsets, OffsetsColumn, ResidentColumn,
    ResidentRows, Values, compress_resident, decompress_resident, offsets_of,
};
use crate::error::{Error, Result};
use crate::gpu::{self, Device, DevicePtr, Session, Source};
use crate::kernel::fcg1;
use crate::memory::{Block, as_uninit, zeroed};
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
// SAFETY: a shared array is only read; to release it takes an exclusive reference.
unsafe impl Sync for CDeviceArray {}

impl CDeviceArray {
    /// Moves the structure out of the producer's memory and leaves a released one there.
    ///
    /// # Errors
    /// The array has been released or moved out before.
    ///
    /// # Safety
    /// `source` points to a valid structure of this kind that nothing else uses meanwhile.
    pub unsafe fn take(source: *mut Self) -> Result<Self> {
        // SAFETY: as the caller promises.
        unsafe {
            let Self { device_id, device_type, sync_event, reserved, .. } = &*source;
            let (device_id, device_type) = (*device_id, *device_type);
            let (sync_event, reserved) = (*sync_event, *reserved);
            let array = CArray::take(&raw mut (*source).array)?;
            Ok(Self { array, device_id, device_type, sync_event, reserved })
        }
    }

    /// The number of the GPU that has the array.
    fn ordinal(&self) -> Result<u32> {
        match (self.device_type, u32::try_from(self.device_id)) {
            (CUDA, Ok(ordinal)) => Ok(ordinal),
            (other, _) => Err(Error::Type(format!(
                "expected data in the memory of a CUDA device, found device type {other}; \
                 s4_codec.arrow compresses data in the host's memory"
            ))),
        }
    }

    /// The CUDA event that has to come before the array is read.
    fn event(&self) -> Result<Option<u64>> {
        if self.sync_event.is_null() {
            return Ok(None);
        }
        // SAFETY: on CUDA devices it points to an event.
        let event = unsafe { *self.sync_event.cast::<*mut c_void>() };
        Ok(Some(event.addr() as u64).filter(|&event| event != 0))
    }
}

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
    let (mut bytes, mut rows) = (0usize, 0usize);
    for chunk in input.chunks() {
        listener.look()?;
        let chunk = column.read(&Arc::new(chunk?))?;
        (bytes, rows) = (bytes.saturating_add(chunk.bytes), rows.saturating_add(chunk.count));
        chunks.push(chunk.rows);
    }
    // What the CPU decodes, the GPU only stores.
    let is_for_cpu = form == Form::Payload && options.codec.encoding().is_none();
    let is_long = is_for_cpu && is_long_decompression(Device::Cpu, bytes, rows);
    let options = options.clone();
    let work = move |chunks: &Vec<_>, interrupted: InterruptCheck| {
        decompress_resident(&options, ordinal, chunks, interrupted)
    };
    let column = background::run(is_long, chunks, work, interrupted)?;
    Ok((column.values, column.bad_rows.judge()?))
}

/// The column in the host's memory: large binary or large string.
pub fn to_host(column: &ResidentColumn, interrupted: InterruptCheck) -> Result<ArrayRef> {
    let buffer = column.buffer();
    let mut session = gpu::open(buffer.ordinal(), interrupted)?;
    let mut download = |place: Range<usize>, dst: &mut [MaybeUninit<u8>]| {
        // SAFETY: a part of the column's memory, which is complete.
        unsafe {
            session.download(buffer.start() + place.start as DevicePtr, &mut dst[..place.len()])
        }
    };
    let mut bytes = Block::new(column.values().len())?;
    download(column.values(), bytes.spare())?;
    // SAFETY: the download initialised all of it.
    unsafe { bytes.set_len(column.values().len()) };
    let mut offsets = zeroed::<i64>(column.rows() + 1)?;
    download(column.offsets(), as_uninit(&mut offsets))?;
    let nulls = match column.validity() {
        None => None,
        Some(place) => {
            let mut bits = zeroed::<u8>(place.len())?;
            download(place, as_uninit(&mut bits))?;
            Some(null_buffer(bits, 0, column.rows()))
        }
    };
    Ok(large_binary(OffsetsColumn { offsets, bytes }, nulls, column.is_utf8()))
}

fn null_buffer(bits: Vec<u8>, first: usize, rows: usize) -> NullBuffer {
    NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), first, rows))
}

/// The Arrow type of a column.
pub fn data_type_of(column: &ResidentColumn) -> DataType {
    if column.is_utf8() { DataType::LargeUtf8 } else { DataType::LargeBinary }
}

/// Exports a column. Its memory lives until the array is released.
pub fn export(column: &Arc<ResidentColumn>) -> CDeviceArray {
    let buffer = column.buffer();
    let address = |place: &Range<usize>| match place.len() {
        0 => null_mut(),
        _ => without_provenance_mut((buffer.start() + place.start as u64) as usize),
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

/// Values in a GPU's memory that another library owns.
pub enum DeviceInput<O> {
    /// An array and its type.
    Array(CSchema, CDeviceArray),
    /// Rows of equally long values, back to back.
    Matrix {
        /// Where the first begins.
        address: DevicePtr,
        /// The number of rows.
        rows: usize,
        /// Bytes of each.
        width: usize,
        /// The type of the numbers in them, if they are numbers.
        number_type: Option<fcg1::DataType>,
        /// What keeps the memory alive.
        owner: O,
    },
}

/// Compresses values in a GPU's memory to payloads with their manifests, or to frames, on the
/// host. Work that is queued on `stream` is waited for first.
pub fn compress_from_device<O: Send + Sync>(
    options: &CompressOptions,
    form: Form,
    input: DeviceInput<O>,
    stream: Option<u64>,
    interrupted: InterruptCheck,
) -> Result<ArrayRef> {
    let CompressOptions { codec, payload_checksum, fallback } = options;
    let codec = &codec.for_numbers(match &input {
        DeviceInput::Matrix { number_type, .. } => *number_type,
        DeviceInput::Array(..) => None,
    });
    let ordinal = match &input {
        DeviceInput::Array(_, array) => array.ordinal()?,
        DeviceInput::Matrix { rows: 0, .. } | DeviceInput::Matrix { width: 0, .. } => 0,
        DeviceInput::Matrix { address, .. } => gpu::ordinal_of(*address)?,
    };
    let mut session = gpu::open(ordinal, interrupted)?;
    if let Some(stream) = stream {
        session.wait_for_stream(stream, interrupted)?;
    }
    let values = DeviceValues::new(ordinal, input, &mut session, interrupted)?;
    let (rows, nulls) = (values.rows, values.nulls.clone());
    let column = if codec.encoding().is_some() {
        compress_resident::<Offsets, _>(codec, form, *fallback, &values, session, interrupted)?
    } else {
        // The CPU's codecs need the bytes at home.
        let host = [values.download(&mut session)?];
        drop((session, values));
        let is_long = is_long_compression(codec, host[0].bytes(), rows);
        let (codec, fallback) = (codec.clone(), *fallback);
        let work = move |host: &[ByteRows; 1], interrupted: InterruptCheck| match form {
            Form::Payload => column::compress::<Offsets, _>(&codec, host, interrupted),
            Form::Frame => Ok(Compressed {
                payload: column::encode::<Offsets, _>(&codec, fallback, host, interrupted)?,
                original_size: Vec::new(),
                crc32c: Vec::new(),
            }),
        };
        background::run(is_long, host, work, interrupted)?
    };
    let checksums = payload_checksum.then(|| column.payload_checksums(interrupted)).transpose()?;
    let payload = column.payload.into_iter().next();
    let payload = payload.ok_or_else(|| Error::Argument("no chunk was compressed".into()))?;
    let nulls = validity([(rows, nulls)].into_iter(), &[])?;
    let payload = large_binary(payload, nulls.clone(), false);
    match form {
        Form::Frame => Ok(payload),
        Form::Payload => {
            let (sizes, crcs) = (column.original_size.into(), column.crc32c.into());
            manifest_array(payload, sizes, crcs, checksums.map(Into::into), nulls)
        }
    }
}

/// Where rows are.
enum Rows {
    /// Between offsets.
    Between(Vec<i64>),
    /// All of this length.
    Equal(usize),
}

/// A column of another library's values.
struct DeviceValues<O> {
    ordinal: u32,
    address: DevicePtr,
    places: Rows,
    rows: usize,
    nulls: Option<NullBuffer>,
    _owner: DeviceInput<O>,
}

impl<O: Send + Sync> DeviceValues<O> {
    fn new(
        ordinal: u32,
        input: DeviceInput<O>,
        session: &mut Session,
        interrupted: InterruptCheck,
    ) -> Result<Self> {
        let (address, places, rows, nulls) = match &input {
            DeviceInput::Matrix { address, rows, width, .. } => {
                (*address, Rows::Equal(*width), *rows, None)
            }
            DeviceInput::Array(schema, array) => {
                if let Some(event) = array.event()? {
                    session.wait_for_event(event, interrupted)?;
                }
                import_values(schema, &array.array, session)?
            }
        };
        Ok(Self { ordinal, address, places, rows, nulls, _owner: input })
    }

    /// The values on the host.
    fn download(&self, session: &mut Session) -> Result<ByteRows> {
        let offsets = match &self.places {
            Rows::Between(offsets) => offsets.clone(),
            Rows::Equal(width) => offsets_of((0..self.rows).map(|_| *width as u64))?,
        };
        let (first, last) = (offsets[0], offsets[self.rows]);
        let len = (last - first) as usize;
        let mut bytes = Block::new(len)?;
        // SAFETY: the producer's values; the download initialises all of them.
        unsafe {
            session.download(self.address + first as DevicePtr, &mut bytes.spare()[..len])?;
            bytes.set_len(len);
        }
        let offsets = offsets.iter().map(|offset| offset - first).collect();
        let nulls = self.nulls.clone();
        ByteRows::try_new(&large_binary(OffsetsColumn { offsets, bytes }, nulls, false))
    }
}

impl<O: Send + Sync> ResidentRows for DeviceValues<O> {
    fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

impl<O: Send + Sync> Values<'static> for DeviceValues<O> {
    fn count(&self) -> usize {
        self.rows
    }

    fn get(&self, row: usize) -> Option<Source<'static>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let (start, len) = match &self.places {
            Rows::Between(offsets) => {
                (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize)
            }
            Rows::Equal(width) => (row * width, *width),
        };
        Some(Source::Device(self.address + start as DevicePtr, len))
    }
}

/// What is needed of an array's buffers: the address of its values, where rows are, their number
/// and which are null.
fn import_values(
    schema: &CSchema,
    array: &CArray,
    session: &mut Session,
) -> Result<(DevicePtr, Rows, usize, Option<NullBuffer>)> {
    let rows = count(array.length, "length")?;
    let first = count(array.offset, "offset")?;
    let data_type = data_type(schema)?;
    let nulls = match (array.null_count, array.buffer(0)?.addr()) {
        (0, _) | (_, 0) => None,
        (_, address) => {
            let (start, end) = (first / 8, (first + rows).div_ceil(8));
            let mut bits = zeroed::<u8>(end - start)?;
            // SAFETY: the producer's validity, which has a bit for each row.
            unsafe { session.download((address + start) as DevicePtr, as_uninit(&mut bits))? };
            Some(null_buffer(bits, first % 8, rows))
        }
    };
    let address = |buffer: usize| Ok::<_, Error>(array.buffer(buffer)?.addr() as DevicePtr);
    let offsets_address = || match address(1)? {
        0 => Err(malformed("the offsets are null")),
        address => Ok(address),
    };
    let (values, places) = match data_type {
        DataType::FixedSizeBinary(_)
        | DataType::LargeBinary
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::Utf8
            if rows == 0 =>
        {
            (0, Rows::Equal(0))
        }
        DataType::FixedSizeBinary(width) => {
            let width = count(width.into(), "width")?;
            (address(1)? + (first * width) as DevicePtr, Rows::Equal(width))
        }
        DataType::LargeBinary | DataType::LargeUtf8 => {
            let mut offsets = zeroed::<i64>(rows + 1)?;
            let start = offsets_address()? + 8 * first as DevicePtr;
            // SAFETY: the producer's offsets, one more than there are rows.
            unsafe { session.download(start, as_uninit(&mut offsets))? };
            (address(2)?, Rows::Between(offsets))
        }
        DataType::Binary | DataType::Utf8 => {
            let mut bytes = zeroed::<u8>(4 * (rows + 1))?;
            let start = offsets_address()? + 4 * first as DevicePtr;
            // SAFETY: as above.
            unsafe { session.download(start, as_uninit(&mut bytes))? };
            let offsets = bytes.as_chunks().0.iter();
            (address(2)?, Rows::Between(offsets.map(|&b| i32::from_ne_bytes(b).into()).collect()))
        }
        other => {
            return Err(Error::Type(format!(
                "expected binary, string or fixed-size binary data on a GPU, found {}",
                type_text(&other)
            )));
        }
    };
    if let Rows::Between(offsets) = &places
        && (offsets[0] < 0 || !offsets.is_sorted())
    {
        return Err(malformed("offsets are negative or descend"));
    }
    if values == 0 && rows > 0 && !matches!(&places, Rows::Equal(0)) {
        let has_bytes = match &places {
            Rows::Between(offsets) => offsets[rows] > offsets[0],
            Rows::Equal(_) => true,
        };
        if has_bytes {
            return Err(malformed("the values are null"));
        }
    }
    Ok((values, places, rows, nulls))
}
