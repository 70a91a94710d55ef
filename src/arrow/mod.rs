//! Arrow arrays <-> rows and columns. Nothing is copied on the way in.

mod c_data;
mod check;
mod import;
mod places;
mod rows;
mod text;
mod total_size;
pub mod verbs;
pub mod window;

use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Int64Array, LargeBinaryArray, LargeStringArray,
    StringViewArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};

use crate::column::{Compressed, OffsetsColumn, ViewColumn};
use crate::error::{Error, Result};
use crate::memory::Block;
use crate::wire::codec_id::CodecId;
use crate::wire::frame::FrameInfo;

pub use c_data::{CArray, CSchema, CStream};
pub use check::{ColumnType, check_payloads};
pub use import::{SharedArray, data_type, import, numbers};
pub use rows::{ByteRows, PayloadRows};
pub use text::{type_text, unit_text, value_text};

/// The fields of a compressed column.
pub const PAYLOAD: &str = "payload";
pub const ORIGINAL_SIZE: &str = "original_size";
pub const CRC32C: &str = "crc32c";

/// The type of a compressed column: `struct<payload, original_size, crc32c>`. Sizes and checksums are
/// signed, because Delta Lake, Iceberg, Spark and Java have no unsigned integers.
pub fn manifest_type(payload: DataType) -> DataType {
    DataType::Struct(manifest_fields(payload))
}

fn manifest_fields(payload: DataType) -> Fields {
    Fields::from(vec![
        Field::new(PAYLOAD, payload, true),
        Field::new(ORIGINAL_SIZE, DataType::Int64, true),
        Field::new(CRC32C, DataType::Int64, true),
    ])
}

/// The validity of a whole column from that of its chunks, with further rows made null.
/// A copy, so that what it comes from need not live on.
pub fn validity(
    chunks: impl Iterator<Item = (usize, Option<NullBuffer>)>,
    bad_rows: &[usize],
) -> Option<NullBuffer> {
    let mut bits = BooleanBufferBuilder::new(0);
    for (rows, nulls) in chunks {
        match nulls {
            Some(nulls) => bits.append_buffer(nulls.inner()),
            None => bits.append_n(rows, true),
        }
    }
    bad_rows.iter().for_each(|&row| bits.set_bit(row, false));
    Some(NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0)
}

/// A column as an Arrow array that owns its blocks.
fn binary_view(column: ViewColumn, nulls: Option<NullBuffer>) -> BinaryViewArray {
    let buffers = column.blocks.into_iter().map(buffer).collect();
    // SAFETY: the column engine made the views, each inside its block.
    unsafe { BinaryViewArray::new_unchecked(ScalarBuffer::from(column.views), buffers, nulls) }
}

fn buffer(block: Block) -> Buffer {
    let block = Arc::new(block);
    let bytes: &[u8] = (*block).as_ref();
    let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
    // SAFETY: `start` and `len` are the block's written bytes; they are never written or
    // moved again, and the buffer keeps the block.
    unsafe { Buffer::from_custom_allocation(start, len, block) }
}

/// A chunk as an Arrow array that owns its block; `utf8` says that the engine checked it.
fn large_binary(column: OffsetsColumn, nulls: Option<NullBuffer>, utf8: bool) -> ArrayRef {
    // SAFETY: the column engine made the offsets, ascending from 0 to the block's length.
    let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(column.offsets)) };
    let bytes = buffer(column.bytes);
    // SAFETY: as above; and with `utf8` every row was checked, and null rows are empty.
    unsafe {
        if utf8 {
            Arc::new(LargeStringArray::new_unchecked(offsets, bytes, nulls))
        } else {
            Arc::new(LargeBinaryArray::new_unchecked(offsets, bytes, nulls))
        }
    }
}

/// The struct array of [`manifest_type`].
fn manifest_array(
    payload: ArrayRef,
    original_size: ScalarBuffer<i64>,
    crc32c: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let fields = manifest_fields(payload.data_type().clone());
    let columns: Vec<ArrayRef> = vec![
        payload,
        Arc::new(Int64Array::new(original_size, nulls.clone())),
        Arc::new(Int64Array::new(crc32c, nulls.clone())),
    ];
    StructArray::try_new(fields, columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

/// A compressed column of views.
pub fn compressed_array(
    column: Compressed<ViewColumn>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let payload = Arc::new(binary_view(column.payload, nulls.clone()));
    manifest_array(payload, column.original_size.into(), column.crc32c.into(), nulls)
}

/// A column of frames.
pub fn frames_array(column: ViewColumn, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(binary_view(column, nulls))
}

/// The type of frame headers: `struct<codec, original_size, compressed_size, crc32c, frames>`.
pub fn info_type(text: DataType) -> DataType {
    DataType::Struct(info_fields(text))
}

fn info_fields(text: DataType) -> Fields {
    Fields::from(vec![
        Field::new("codec", text, true),
        Field::new(ORIGINAL_SIZE, DataType::Int64, true),
        Field::new("compressed_size", DataType::Int64, true),
        Field::new(CRC32C, DataType::Int64, true),
        Field::new("frames", DataType::Int64, true),
    ])
}

/// The struct array of [`info_type`].
pub fn info_array(
    rows: &[FrameInfo],
    nulls: Option<NullBuffer>,
    text: DataType,
) -> Result<ArrayRef> {
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let info = || rows.iter().enumerate().map(|(row, info)| valid(row).then_some(info));
    let names = || info().map(|info| info?.codec.map(CodecId::name));
    let codec: ArrayRef = match text {
        DataType::Utf8View => Arc::new(StringViewArray::from_iter(names())),
        _ => Arc::new(LargeStringArray::from_iter(names())),
    };
    // `FrameInfo` keeps its sums within 63 bits.
    let number = |of: fn(&FrameInfo) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(info().map(|info| info.and_then(of))))
    };
    let columns: Vec<ArrayRef> = vec![
        codec,
        number(|info| Some(info.original_size as i64)),
        number(|info| Some(info.compressed_size as i64)),
        number(|info| info.crc32c.map(i64::from)),
        number(|info| Some(info.frames.into())),
    ];
    StructArray::try_new(info_fields(text), columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

/// Why rows are bad, by their positions in ascending order; null where they are good.
pub fn reasons_array(reasons: &[(usize, String)], rows: usize) -> ArrayRef {
    let mut reasons = reasons.iter().peekable();
    Arc::new(StringViewArray::from_iter(
        (0..rows).map(|row| reasons.next_if(|(bad, _)| *bad == row).map(|(_, text)| text)),
    ))
}

/// The values of a decompressed column; `utf8` says that the engine checked them as text.
pub fn decompressed_array(values: ViewColumn, nulls: Option<NullBuffer>, utf8: bool) -> ArrayRef {
    let array = binary_view(values, nulls);
    if utf8 {
        // SAFETY: the engine checked every row as UTF-8; null rows are empty.
        Arc::new(unsafe { array.to_string_view_unchecked() })
    } else {
        Arc::new(array)
    }
}

pub fn from_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::MemoryError(reason) => Error::Backend(reason),
        other => Error::Argument(other.to_string()),
    }
}
