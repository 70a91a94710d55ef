//! Columns -> Arrow arrays. Nothing is copied: arrays own the blocks that the engine wrote.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, LargeBinaryArray, LargeStringArray, StructArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};

use super::texts::{bits, large_strings, string_views, validity_of};
use crate::column::OffsetsColumn;
use crate::error::{Error, OutOfMemory, Result, collect};
use crate::memory::{Block, probe_for};
use crate::wire::codec_id::CodecId;
use crate::wire::frame::FrameInfo;

/// The fields of a compressed column.
pub const PAYLOAD: &str = "payload";
pub const ORIGINAL_SIZE: &str = "original_size";
pub const CRC32C: &str = "crc32c";
/// The CRC-32C of the payload itself, which not every column has.
pub const PAYLOAD_CRC32C: &str = "payload_crc32c";

/// The fields of a compressed column, `struct<payload, original_size, crc32c>`, and
/// `payload_crc32c` with `payload_checksum`. Sizes and checksums are signed, because Delta Lake,
/// Iceberg, Spark and Java have no unsigned integers.
pub fn manifest_fields(payload: DataType, payload_checksum: bool) -> Fields {
    let number = |name| Field::new(name, DataType::Int64, true);
    let mut fields =
        vec![Field::new(PAYLOAD, payload, true), number(ORIGINAL_SIZE), number(CRC32C)];
    fields.extend(payload_checksum.then(|| number(PAYLOAD_CRC32C)));
    fields.into()
}

/// The validity of a column from that of its chunks, with `bad_rows` made null. A copy, so that
/// the input need not stay alive.
pub fn validity(
    chunks: impl Iterator<Item = (usize, Option<NullBuffer>)> + Clone,
    bad_rows: &[usize],
) -> Result<Option<NullBuffer>> {
    let mut bits = bits(chunks.clone().map(|(rows, _)| rows).sum())?;
    for (rows, nulls) in chunks {
        match nulls {
            Some(nulls) => bits.append_buffer(nulls.inner()),
            None => bits.append_n(rows, true),
        }
    }
    bad_rows.iter().for_each(|&row| bits.set_bit(row, false));
    Ok(Some(NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0))
}

/// The validity of one chunk, which has these of the column's rows; with `bad_rows` made null.
pub fn chunk_validity(
    nulls: Option<NullBuffer>,
    bad_rows: &[usize],
    rows: &Range<usize>,
) -> Result<Option<NullBuffer>> {
    let start = bad_rows.partition_point(|&row| row < rows.start);
    let end = bad_rows.partition_point(|&row| row < rows.end);
    let bad = collect(bad_rows[start..end].iter().map(|row| row - rows.start))?;
    validity([(rows.len(), nulls)].into_iter(), &bad)
}

/// A block as an Arrow buffer that owns it.
pub fn buffer(block: Block) -> Buffer {
    let block = Arc::new(block);
    let bytes: &[u8] = (*block).as_ref();
    let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
    // SAFETY: `start` and `len` are the block's initialised bytes. They are never written or
    // moved again, and the buffer owns the block.
    unsafe { Buffer::from_custom_allocation(start, len, block) }
}

/// The buffers of an array of views.
pub fn shared(buffers: Vec<Buffer>) -> Result<Arc<[Buffer]>, OutOfMemory> {
    // An `Arc` cannot fail, and there may be thousands of buffers.
    probe_for(size_of_val(&buffers[..]) + 2 * size_of::<usize>())?;
    Ok(buffers.into())
}

/// A chunk as an Arrow array that owns its block.
pub fn binary_array(column: OffsetsColumn, nulls: Option<NullBuffer>) -> LargeBinaryArray {
    // SAFETY: the column engine made the offsets, ascending from 0 to the block's length.
    unsafe {
        let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(column.offsets));
        LargeBinaryArray::new_unchecked(offsets, buffer(column.bytes), nulls)
    }
}

/// The same, as large string with `utf8`, which states that the column engine has checked the
/// values.
pub fn large_binary(column: OffsetsColumn, nulls: Option<NullBuffer>, utf8: bool) -> ArrayRef {
    let binary = binary_array(column, nulls);
    if !utf8 {
        return Arc::new(binary);
    }
    let (offsets, bytes, nulls) = binary.into_parts();
    // SAFETY: with `utf8` the engine has checked every row, and null rows are empty.
    Arc::new(unsafe { LargeStringArray::new_unchecked(offsets, bytes, nulls) })
}

/// A compressed column: the struct array of [`manifest_fields`].
pub fn manifest_array(
    payload: ArrayRef,
    original_size: ScalarBuffer<i64>,
    crc32c: ScalarBuffer<i64>,
    payload_crc32c: Option<ScalarBuffer<i64>>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let fields = manifest_fields(payload.data_type().clone(), payload_crc32c.is_some());
    let number = |numbers| Arc::new(Int64Array::new(numbers, nulls.clone())) as ArrayRef;
    let mut columns = vec![payload, number(original_size), number(crc32c)];
    columns.extend(payload_crc32c.map(number));
    StructArray::try_new(fields, columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

/// The fields of frame headers, `struct<codec, original_size, compressed_size, crc32c,
/// frames, passthrough_frames>`.
pub fn info_fields(text: DataType) -> Fields {
    Fields::from(vec![
        Field::new("codec", text, true),
        Field::new(ORIGINAL_SIZE, DataType::Int64, true),
        Field::new("compressed_size", DataType::Int64, true),
        Field::new(CRC32C, DataType::Int64, true),
        Field::new("frames", DataType::Int64, true),
        Field::new("passthrough_frames", DataType::Int64, true),
    ])
}

/// Frame headers: the struct array of [`info_fields`].
pub fn info_array(
    rows: &[FrameInfo],
    nulls: Option<NullBuffer>,
    text: DataType,
) -> Result<ArrayRef> {
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let info = || rows.iter().enumerate().map(|(row, info)| valid(row).then_some(info));
    let names = info().map(|info| info?.codec.map(CodecId::name));
    let codec = match text {
        DataType::Utf8View => string_views(rows.len(), names)?,
        _ => large_strings(rows.len(), names)?,
    };
    // The sums in `FrameInfo` fit 63 bits.
    let number = |of: fn(&FrameInfo) -> Option<i64>| -> Result<ArrayRef> {
        let numbers = || info().map(|info| info.and_then(of));
        let validity = validity_of(rows.len(), numbers().map(|number| number.is_some()))?;
        let numbers = collect(numbers().map(Option::unwrap_or_default))?;
        Ok(Arc::new(Int64Array::new(numbers.into(), Some(validity))))
    };
    let columns: Vec<ArrayRef> = vec![
        codec,
        number(|info| Some(info.original_size as i64))?,
        number(|info| Some(info.compressed_size as i64))?,
        number(|info| info.crc32c.map(i64::from))?,
        number(|info| Some(info.frames.into()))?,
        number(|info| Some(info.passthrough_frames.into()))?,
    ];
    StructArray::try_new(info_fields(text), columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

pub fn from_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::MemoryError(reason) => Error::Backend(reason),
        other => Error::Argument(other.to_string()),
    }
}
