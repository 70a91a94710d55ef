//! Arrays as Polars exports them: Arrow's C data interface, with four deviations.
//!
//! - A 128-bit integer has the format `_pli128` or `_plu128`, which Arrow does not have.
//! - An array of type Null has a validity buffer, which it has not in Arrow.
//! - A column of Python objects contains their addresses.
//! - The offset of a struct or of an Array may apply to its validity only, with its children
//!   already sliced; in Arrow it applies to the children too.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float16Type, Float32Type, Float64Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Decimal256Array, FixedSizeListArray,
    LargeListArray, LargeStringArray, NullArray, StructArray, make_array,
};
use arrow_buffer::i256;
use arrow_schema::{DataType, Field as ArrowField};

use super::dtype::{Dtype, Field};
use crate::arrow::{SharedArray, from_arrow, import, numbers};
use crate::error::{Result, reserve};

/// Imports an array that Polars has exported as one of the type `dtype`.
pub fn import_array(array: &SharedArray, dtype: &Dtype) -> Result<ArrayRef> {
    if let Some(lists) = dtype.number_list() {
        return import(array, &lists);
    }
    match dtype {
        Dtype::Plain(plain) => import_plain(array, plain),
        Dtype::Categorical(codes) | Dtype::Enum(codes) => {
            let codes = import(array, codes)?;
            let codes = codes.as_any_dictionary();
            Ok(codes.with_values(as_text(codes.values())))
        }
        Dtype::Int128 => import(array, &INT128),
        Dtype::UInt128 => widened(&import(array, &INT128)?),
        Dtype::List(inner) => import_list(array, inner),
        Dtype::Array(inner, width) => import_fixed_size_list(array, inner, *width),
        Dtype::Struct(fields) => import_struct(array, fields),
        Dtype::Extension(_, storage) => import_array(array, storage),
        Dtype::Object | Dtype::Unknown(_) => placeholder(array),
    }
}

/// As many nulls, in place of values that nothing reads.
fn placeholder(array: &SharedArray) -> Result<ArrayRef> {
    let (_, rows) = array.bounds()?;
    Ok(Arc::new(NullArray::new(rows)))
}

/// An array of a type that Arrow has too.
fn import_plain(array: &SharedArray, plain: &DataType) -> Result<ArrayRef> {
    match plain {
        DataType::Utf8View | DataType::LargeUtf8 => Ok(as_text(&import(array, plain)?)),
        // What follows is only shown, as names of rows.
        DataType::Boolean => Ok(Arc::new(BooleanArray::new(array.bits(1)?, array.nulls()?))),
        DataType::Float16 => Ok(Arc::new(numbers::<Float16Type>(array)?)),
        DataType::Float32 => Ok(Arc::new(numbers::<Float32Type>(array)?)),
        DataType::Float64 => Ok(Arc::new(numbers::<Float64Type>(array)?)),
        DataType::Date32 => temporal::<Int32Type>(array, plain),
        DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            temporal::<Int64Type>(array, plain)
        }
        _ => import(array, plain),
    }
}

/// Dates and times, which are laid out as integers.
fn temporal<T: ArrowPrimitiveType>(array: &SharedArray, data_type: &DataType) -> Result<ArrayRef> {
    let integers = numbers::<T>(array)?.into_data().into_builder();
    integers.data_type(data_type.clone()).build().map(make_array).map_err(from_arrow)
}

/// Strings, which [`import`] reads as bytes, as strings again.
fn as_text(bytes: &ArrayRef) -> ArrayRef {
    match bytes.data_type() {
        DataType::BinaryView => {
            let views = bytes.as_binary_view().clone();
            // SAFETY: Polars' strings are UTF-8, and what reads them here does not rely on it.
            Arc::new(unsafe { views.to_string_view_unchecked() })
        }
        DataType::LargeBinary => match LargeStringArray::try_from_binary(bytes.as_binary().clone())
        {
            Ok(text) => Arc::new(text),
            Err(_) => Arc::clone(bytes),
        },
        _ => Arc::clone(bytes),
    }
}

/// The layout of a 128-bit integer. Its values may have a digit more than such a decimal's, which
/// does no harm here.
const INT128: DataType = DataType::Decimal128(38, 0);

/// The most digits that an unsigned integer of 128 bits has.
const DIGITS: u8 = 39;

/// Unsigned integers of 128 bits, which were imported as signed ones, in a wider type.
fn widened(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array.as_primitive::<Decimal128Type>();
    let mut wide: Vec<i256> = Vec::new();
    reserve(&mut wide, array.len())?;
    wide.extend(array.values().iter().map(|&value| i256::from_parts(value as u128, 0)));
    let wide = Decimal256Array::try_new(wide.into(), array.nulls().cloned())
        .and_then(|wide| wide.with_precision_and_scale(DIGITS, 0));
    wide.map(|wide| Arc::new(wide) as ArrayRef).map_err(from_arrow)
}

fn arrow_field(name: &str, array: &ArrayRef) -> ArrowField {
    ArrowField::new(name, array.data_type().clone(), true)
}

fn import_struct(array: &SharedArray, fields: &[Field]) -> Result<ArrayRef> {
    let (offset, rows) = array.bounds()?;
    array.expect_children(fields.len())?;
    let columns = fields.iter().enumerate().map(|(i, field)| {
        let column = import_array(&array.child(i)?, &field.dtype)?;
        Ok(if column.len() >= offset + rows { column.slice(offset, rows) } else { column })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields =
        fields.iter().zip(&columns).map(|(field, column)| arrow_field(&field.name, column));
    StructArray::try_new_with_length(fields.collect(), columns, array.nulls()?, rows)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

// Lists of other than numbers are only shown, as names of rows, so lists that do not fit together
// are no error.

fn import_list(array: &SharedArray, inner: &Dtype) -> Result<ArrayRef> {
    let (Ok(child), Ok(offsets)) = (array.child(0), array.offsets()) else {
        return placeholder(array);
    };
    let values = import_array(&child, inner)?;
    let field = arrow_field("item", &values).into();
    match LargeListArray::try_new(field, offsets, values, array.nulls()?) {
        Ok(lists) => Ok(Arc::new(lists)),
        Err(_) => placeholder(array),
    }
}

fn import_fixed_size_list(array: &SharedArray, inner: &Dtype, width: usize) -> Result<ArrayRef> {
    let (offset, rows) = array.bounds()?;
    let (Ok(child), Ok(size)) = (array.child(0), i32::try_from(width)) else {
        return placeholder(array);
    };
    let values = import_array(&child, inner)?;
    let (Some(start), Some(len)) = (offset.checked_mul(width), rows.checked_mul(width)) else {
        return placeholder(array);
    };
    let is_whole = start.checked_add(len).is_some_and(|end| end <= values.len());
    let values = if is_whole { values.slice(start, len) } else { values };
    let field = arrow_field("item", &values).into();
    match FixedSizeListArray::try_new_with_length(field, size, values, array.nulls()?, rows) {
        Ok(lists) => Ok(Arc::new(lists)),
        Err(_) => placeholder(array),
    }
}
