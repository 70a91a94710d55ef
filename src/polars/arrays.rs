//! Columns as Polars has them: arrays of views that own the blocks that the engine wrote.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryViewArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::arrow::{buffer, info_fields, manifest_array, manifest_fields, shared};
use crate::column::{Compressed, Content, ViewColumn};
use crate::error::Result;
use crate::memory::collect_chunks;

/// The type of a compressed column.
pub fn compressed_type(payload_checksum: bool) -> DataType {
    DataType::Struct(manifest_fields(DataType::BinaryView, payload_checksum))
}

/// The type of frame headers.
pub fn info_type() -> DataType {
    DataType::Struct(info_fields(DataType::Utf8View))
}

/// The type of decompressed values that are not lists.
pub fn values_type(content: Content) -> DataType {
    if content == Content::Text { DataType::Utf8View } else { DataType::BinaryView }
}

fn binary_view(column: ViewColumn, nulls: Option<NullBuffer>) -> Result<BinaryViewArray> {
    let buffers = collect_chunks(column.blocks.into_iter().map(|block| Ok(buffer(block))))?;
    let (views, buffers) = (ScalarBuffer::from(column.views), shared(buffers)?);
    // SAFETY: the column engine made the views, each inside its block.
    Ok(unsafe { BinaryViewArray::new_unchecked(views, buffers, nulls) })
}

pub fn compressed_array(
    column: Compressed<ViewColumn>,
    payload_crc32c: Option<Vec<i64>>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let payload = Arc::new(binary_view(column.payload, nulls.clone())?);
    let (sizes, crcs) = (column.original_size.into(), column.crc32c.into());
    manifest_array(payload, sizes, crcs, payload_crc32c.map(Into::into), nulls)
}

/// Values or frames as Binary, or as String if the column engine has checked that they are text.
pub fn values_array(
    values: ViewColumn,
    nulls: Option<NullBuffer>,
    content: Content,
) -> Result<ArrayRef> {
    let array = binary_view(values, nulls)?;
    Ok(if content == Content::Text {
        // SAFETY: the engine has checked every row as UTF-8; null rows are empty.
        Arc::new(unsafe { array.to_string_view_unchecked() })
    } else {
        Arc::new(array)
    })
}
