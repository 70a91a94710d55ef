//! Arrays as Polars exports them: Arrow's C data interface, with four ways of its own.
//!
//! - A 128-bit integer has the format `_pli128` or `_plu128`, which Arrow does not know.
//! - An array of type Null has a validity buffer, which Arrow says it has not.
//! - A column of Python objects is one of their addresses.
//! - The offset of a struct or of an Array may count for its validity alone, its children
//!   being cut already; in Arrow it counts for the children too.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, from_ffi_and_data_type};
use arrow_array::types::Decimal128Type;
use arrow_array::{
    Array, ArrayRef, Decimal256Array, FixedSizeListArray, LargeListArray, NullArray, StructArray,
    make_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, Field as ArrowField, Fields};

use super::dtype::{Dtype, Field};
use crate::arrow::from_arrow;
use crate::error::{Error, Result};

/// # Safety
/// `array` is valid, exported by Polars, and of the type `dtype`.
pub unsafe fn import_array(array: FFI_ArrowArray, dtype: &Dtype) -> Result<ArrayRef> {
    // SAFETY: the caller's word, passed on.
    unsafe {
        match dtype {
            Dtype::Plain(DataType::Null) => Ok(unread(&array)),
            Dtype::Plain(plain) | Dtype::Categorical(plain) | Dtype::Enum(plain) => {
                import_plain(array, plain.clone())
            }
            Dtype::Int128 => import_plain(array, INT128),
            Dtype::UInt128 => widened(&import_plain(array, INT128)?),
            Dtype::List(inner) => import_list(array, inner),
            Dtype::Array(inner, width) => import_fixed_size_list(array, inner, *width),
            Dtype::Struct(fields) => import_struct(array, fields),
            Dtype::Extension(_, storage) => import_array(array, storage),
            Dtype::Object | Dtype::Unknown(_) => Ok(unread(&array)),
        }
    }
}

/// As many nulls, which stand for what nothing reads.
fn unread(array: &FFI_ArrowArray) -> ArrayRef {
    Arc::new(NullArray::new(array.len()))
}

/// # Safety
/// As [`import_array`], for a type that Arrow has too.
unsafe fn import_plain(array: FFI_ArrowArray, plain: DataType) -> Result<ArrayRef> {
    // SAFETY: the caller's word, passed on.
    unsafe { from_ffi_and_data_type(array, plain) }.map(make_array).map_err(from_arrow)
}

/// How a 128-bit integer is laid out. Its values may have a digit more than such a decimal's,
/// which nothing here minds.
const INT128: DataType = DataType::Decimal128(38, 0);

/// The most digits that an unsigned integer of 128 bits has.
const DIGITS: u8 = 39;

/// Unsigned integers of 128 bits, imported as signed ones, as wider numbers.
fn widened(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array.as_primitive::<Decimal128Type>();
    let mut wide: Vec<i256> = Vec::new();
    let bytes = array.len().saturating_mul(size_of::<i256>()) as u64;
    wide.try_reserve_exact(array.len()).map_err(|_| Error::OutOfMemory { bytes })?;
    wide.extend(array.values().iter().map(|&value| i256::from_parts(value as u128, 0)));
    let wide = Decimal256Array::try_new(wide.into(), array.nulls().cloned())
        .and_then(|wide| wide.with_precision_and_scale(DIGITS, 0));
    wide.map(|wide| Arc::new(wide) as ArrayRef).map_err(from_arrow)
}

/// The front of `struct ArrowArray` in Arrow's C data interface.
#[repr(C)]
struct RawArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut FFI_ArrowArray,
}

/// Moves the children of `array` out of it, and what else it has than its validity.
///
/// # Safety
/// `array` is valid.
unsafe fn take_children(array: &mut FFI_ArrowArray) -> Vec<FFI_ArrowArray> {
    let raw: *mut RawArray = ptr::from_mut(array).cast();
    // SAFETY: `RawArray` mirrors the interface. Children are moved out as it allows: each
    // leaves a released array behind, which the parent's release passes over. That release
    // goes by the exporter's own data, so counts may change.
    unsafe {
        let children = (0..usize::try_from((*raw).n_children).unwrap_or(0))
            .map(|i| ptr::replace(*(*raw).children.add(i), FFI_ArrowArray::empty()))
            .collect();
        (*raw).n_children = 0;
        (*raw).n_buffers = (*raw).n_buffers.min(1);
        children
    }
}

/// The validity of what [`take_children`] has left.
///
/// # Safety
/// `array` is valid, and was a struct or a list.
unsafe fn import_nulls(array: FFI_ArrowArray) -> Result<Option<NullBuffer>> {
    // SAFETY: validity alone is an array of a struct type without fields.
    let rest = unsafe { from_ffi_and_data_type(array, DataType::Struct(Fields::empty())) };
    rest.map(|rest| rest.nulls().cloned()).map_err(from_arrow)
}

fn arrow_field(name: &str, array: &ArrayRef) -> ArrowField {
    ArrowField::new(name, array.data_type().clone(), true)
}

/// # Safety
/// As [`import_array`], for a struct of `fields`.
unsafe fn import_struct(mut array: FFI_ArrowArray, fields: &[Field]) -> Result<ArrayRef> {
    // SAFETY: the caller's word.
    let children = unsafe { take_children(&mut array) };
    if children.len() != fields.len() {
        return Err(Error::Argument(format!(
            "a struct of {} fields came with {} arrays",
            fields.len(),
            children.len()
        )));
    }
    let (offset, len) = (array.offset(), array.len());
    let columns = children.into_iter().zip(fields).map(|(child, field)| {
        // SAFETY: a child is an array of its field's type.
        let column = unsafe { import_array(child, &field.dtype)? };
        Ok(if column.len() >= offset + len { column.slice(offset, len) } else { column })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    // SAFETY: a struct, without its children by now.
    let nulls = unsafe { import_nulls(array)? };
    if columns.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(len, nulls)));
    }
    let fields =
        fields.iter().zip(&columns).map(|(field, column)| arrow_field(&field.name, column));
    StructArray::try_new(fields.collect(), columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

/// # Safety
/// As [`import_array`], for lists of `inner`.
unsafe fn import_list(mut array: FFI_ArrowArray, inner: &Dtype) -> Result<ArrayRef> {
    let stand_in = unread(&array);
    let (offset, len) = (array.offset(), array.len());
    let raw: *const RawArray = ptr::from_ref(&array).cast();
    // SAFETY: the second buffer of lists has an offset more than the array has places; one of
    // no rows may come without.
    let offsets = unsafe {
        match (len, (*raw).n_buffers) {
            (1.., 2) => {
                let offsets = (*(*raw).buffers.add(1)).cast::<i64>();
                std::slice::from_raw_parts(offsets.add(offset), len + 1).to_vec()
            }
            _ => vec![0],
        }
    };
    // SAFETY: the caller's word.
    let mut children = unsafe { take_children(&mut array) };
    let (Some(child), true) = (children.pop(), offsets.len() == len + 1) else {
        return Ok(stand_in);
    };
    // SAFETY: the child of lists is an array of what they hold; what is left is validity.
    let (values, nulls) = unsafe { (import_array(child, inner)?, import_nulls(array)?) };
    if offsets[0] < 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        return Ok(stand_in);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let field = arrow_field("item", &values).into();
    // Lists matter to messages alone, so lists that do not fit together are no error.
    let lists = LargeListArray::try_new(field, offsets, values, nulls);
    Ok(lists.map_or(stand_in, |lists| Arc::new(lists) as ArrayRef))
}

/// # Safety
/// As [`import_array`], for Arrays of `width` times `inner`.
unsafe fn import_fixed_size_list(
    mut array: FFI_ArrowArray,
    inner: &Dtype,
    width: usize,
) -> Result<ArrayRef> {
    let stand_in = unread(&array);
    let (offset, len) = (array.offset(), array.len());
    // SAFETY: the caller's word.
    let mut children = unsafe { take_children(&mut array) };
    let (Some(child), Ok(size)) = (children.pop(), i32::try_from(width)) else {
        return Ok(stand_in);
    };
    // SAFETY: the child of Arrays is an array of what they hold; what is left is validity.
    let (values, nulls) = unsafe { (import_array(child, inner)?, import_nulls(array)?) };
    let (Some(start), Some(rows)) = (offset.checked_mul(width), len.checked_mul(width)) else {
        return Ok(stand_in);
    };
    let is_whole = start.checked_add(rows).is_some_and(|end| end <= values.len());
    let values = if is_whole { values.slice(start, rows) } else { values };
    let field = arrow_field("item", &values).into();
    let lists = FixedSizeListArray::try_new_with_length(field, size, values, nulls, len);
    Ok(lists.map_or(stand_in, |lists| Arc::new(lists) as ArrayRef))
}
