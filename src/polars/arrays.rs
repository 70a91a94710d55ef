//! Columns as Polars has them: arrays of views that own the blocks that the engine wrote.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryViewArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::arrow::{buffer, info_fields, manifest_array, manifest_fields};
use crate::column::{Compressed, Content, ViewColumn};
use crate::error::Result;

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

fn binary_view(column: ViewColumn, nulls: Option<NullBuffer>) -> BinaryViewArray {
    let buffers = column.blocks.into_iter().map(buffer).collect();
    // SAFETY: the column engine made the views, each inside its block.
    unsafe { BinaryViewArray::new_unchecked(ScalarBuffer::from(column.views), buffers, nulls) }
}

pub fn compressed_array(
    column: Compressed<ViewColumn>,
    payload_crc32c: Option<Vec<i64>>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let payload = Arc::new(binary_view(column.payload, nulls.clone()));
    let (sizes, crcs) = (column.original_size.into(), column.crc32c.into());
    manifest_array(payload, sizes, crcs, payload_crc32c.map(Into::into), nulls)
}

/// Values or frames as Binary, or as String if the column engine has checked that they are text.
pub fn values_array(values: ViewColumn, nulls: Option<NullBuffer>, content: Content) -> ArrayRef {
    let array = binary_view(values, nulls);
    if content == Content::Text {
        // SAFETY: the engine has checked every row as UTF-8; null rows are empty.
        Arc::new(unsafe { array.to_string_view_unchecked() })
    } else {
        Arc::new(array)
    }
}
