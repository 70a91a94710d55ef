//! C data structures -> lists of numbers.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, downcast_primitive,
};
use arrow_schema::{DataType, Field};

use super::c_data::malformed;
use super::import::{SharedArray, numbers, unread};
use crate::error::Result;

/// Whether a format is that of lists.
pub fn is_list(format: &str) -> bool {
    matches!(format, "+l" | "+L" | "+vl" | "+vL") || format.starts_with("+w:")
}

/// The type of lists of such items.
pub fn list_type(format: &str, item: &Arc<Field>) -> Result<DataType> {
    let item = Arc::clone(item);
    Ok(match (format, format.strip_prefix("+w:")) {
        // As `unread` has it.
        _ if item.data_type().is_null() => unread("List(Null)"),
        ("+l", _) => DataType::List(item),
        ("+L", _) => DataType::LargeList(item),
        ("+vl", _) => DataType::ListView(item),
        (_, Some(len)) => match len.parse() {
            Ok(len @ 0..) => DataType::FixedSizeList(item, len),
            _ => return Err(malformed(format!("invalid format {format:?}"))),
        },
        _ => DataType::LargeListView(item),
    })
}

/// Lists of numbers, or the numbers of lists.
pub fn lists(array: &SharedArray, data_type: &DataType) -> Result<ArrayRef> {
    macro_rules! primitive {
        ($number:ty) => {
            Ok(Arc::new(numbers::<$number>(array)?.with_data_type(data_type.clone())))
        };
    }
    match data_type {
        DataType::List(item) => variable_lists::<i32>(array, item),
        DataType::LargeList(item) => variable_lists::<i64>(array, item),
        DataType::FixedSizeList(item, len) => fixed_size_lists(array, item, *len),
        number => downcast_primitive! {
            number => (primitive),
            other => Err(malformed(format!("expected numbers, found {other}"))),
        },
    }
}

fn variable_lists<O: OffsetSizeTrait>(array: &SharedArray, item: &Arc<Field>) -> Result<ArrayRef> {
    array.expect_buffers(2)?;
    array.expect_children(1)?;
    let items = lists(&array.child(0)?, item.data_type())?;
    let lists =
        GenericListArray::<O>::try_new(Arc::clone(item), array.offsets()?, items, array.nulls()?);
    lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(|error| malformed(error.to_string()))
}

fn fixed_size_lists(array: &SharedArray, item: &Arc<Field>, len: i32) -> Result<ArrayRef> {
    let (offset, rows) = array.bounds()?;
    array.expect_buffers(1)?;
    array.expect_children(1)?;
    let items = lists(&array.child(0)?, item.data_type())?;
    let count = |rows: usize| rows.checked_mul(len as usize);
    let fits = |end: &usize| *end <= items.len();
    let items = match (count(offset), count(rows), count(offset + rows).filter(fits)) {
        (Some(start), Some(count), Some(_)) => items.slice(start, count),
        // Polars exports a slice with the items of its rows alone.
        (_, Some(count), _) if count == items.len() => items,
        _ => {
            return Err(malformed(format!(
                "expected {rows} rows of {len} items from row {offset} on, found {} items",
                items.len()
            )));
        }
    };
    let item = Arc::clone(item);
    FixedSizeListArray::try_new_with_length(item, len, items, array.nulls()?, rows)
        .map(|lists| Arc::new(lists) as ArrayRef)
        .map_err(|error| malformed(error.to_string()))
}
