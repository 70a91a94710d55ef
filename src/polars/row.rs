//! The user's `row` expression, whose values identify rows in messages.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::ByteViewType;
use arrow_array::{Array, ArrayRef, GenericByteViewArray, LargeBinaryArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use super::dtype::Field;
use super::ffi::Series;
use crate::arrow::{from_arrow, value_text};
use crate::column::offsets_of;
use crate::error::{Error, Result, reserve};

/// Checks that a second input can name rows: Python objects cannot be read.
pub fn check_names(inputs: &[&Field]) -> Result<()> {
    match inputs.get(1).map(|names| &names.dtype) {
        Some(names) if names.holds_objects() => Err(Error::Type(format!(
            "row cannot name rows by {names}: its values are Python objects; use another column"
        ))),
        _ => Ok(()),
    }
}

/// Adds the value of the user's `row` expression to a row's error.
pub fn name_row(mut error: Error, names: Option<&Series>) -> Error {
    if let Error::Row(bad) | Error::Mistake { first: bad, .. } = &mut error {
        bad.name = row_name(bad.row, names);
    }
    error
}

/// The name of a row: the value of the user's `row` expression.
pub fn row_name(row: usize, names: Option<&Series>) -> Option<String> {
    let names = names?;
    // A literal comes as one row, for all rows.
    let (chunk, row) = names.locate(if names.len() == 1 { 0 } else { row })?;
    let column = Some(names.field.name.as_str()).filter(|name| !name.is_empty());
    Some(format!("{} = {}", column.unwrap_or("row"), value_text(chunk, row)))
}

/// The only value of `array` repeated for `rows` rows.
pub fn repeated_bytes(array: &LargeBinaryArray, rows: usize) -> Result<LargeBinaryArray> {
    let nulls = array.is_null(0).then(|| NullBuffer::new_null(rows));
    let value = if nulls.is_some() { &[][..] } else { array.value(0) };
    let offsets = offsets_of((0..rows).map(|_| value.len() as u64))?;
    let mut bytes = Vec::new();
    reserve(&mut bytes, value.len() * rows)?;
    (0..rows).for_each(|_| bytes.extend_from_slice(value));
    let offsets = OffsetBuffer::new(offsets.into());
    LargeBinaryArray::try_new(offsets, bytes.into(), nulls).map_err(from_arrow)
}

/// The only value of `array`, Binary or String, repeated for `rows` rows.
pub fn repeated(array: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    fn of_views<T: ByteViewType>(array: &GenericByteViewArray<T>, rows: usize) -> Result<ArrayRef> {
        let mut views = Vec::new();
        reserve(&mut views, rows)?;
        views.resize(rows, array.views()[0]);
        let nulls = array.is_null(0).then(|| NullBuffer::new_null(rows));
        let buffers = array.data_buffers().to_vec().into();
        // SAFETY: a view of an array, with that array's buffers.
        let array =
            unsafe { GenericByteViewArray::<T>::new_unchecked(views.into(), buffers, nulls) };
        Ok(Arc::new(array))
    }
    match array.data_type() {
        DataType::Utf8View => of_views(array.as_string_view(), rows),
        _ => of_views(array.as_binary_view(), rows),
    }
}
