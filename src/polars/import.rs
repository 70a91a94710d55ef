//! Arrays as Polars exports them: Arrow's C data interface, with three ways of its own.
//!
//! - A 128-bit integer has the format `_pli128` or `_plu128`, which Arrow does not know.
//! - An array of type Null has a validity buffer, which Arrow says it has not.
//! - A struct's offset may count for its validity alone, its children being cut already;
//!   in Arrow it counts for the children too.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::{ArrayRef, NullArray, StructArray, make_array};
use arrow_schema::{DataType, Field, Fields};

use crate::arrow::from_arrow;
use crate::error::{Error, Result};

/// A field; a type that Arrow lacks is an error that names it.
pub fn field(schema: &FFI_ArrowSchema) -> Result<Field> {
    let name = schema.name().unwrap_or_default();
    Ok(Field::new(name, data_type(schema)?, true))
}

fn data_type(schema: &FFI_ArrowSchema) -> Result<DataType> {
    match schema.format() {
        // A 128-bit integer is laid out as a decimal of the widest precision.
        "_pli128" | "_plu128" => Ok(DataType::Decimal128(38, 0)),
        "+s" => schema.children().map(field).collect::<Result<Fields>>().map(DataType::Struct),
        // Nothing reads inside a list, so what it holds need not be known.
        format if format.starts_with('+') => Ok(DataType::try_from(schema).unwrap_or_else(|_| {
            DataType::LargeList(Field::new("item", DataType::Null, true).into())
        })),
        _ => DataType::try_from(schema).map_err(from_arrow),
    }
}

/// # Safety
/// `array` is valid, exported by Polars, and of the type `data_type`.
pub unsafe fn import_array(array: FFI_ArrowArray, data_type: &DataType) -> Result<ArrayRef> {
    // SAFETY: the caller's word, passed on.
    unsafe {
        match data_type {
            DataType::Null => Ok(Arc::new(NullArray::new(array.len()))),
            DataType::Struct(fields) => import_struct(array, fields),
            // Nothing reads inside these, and Polars has had its own ways there too.
            nested if nested.is_nested() => Ok(Arc::new(NullArray::new(array.len()))),
            _ => {
                from_ffi_and_data_type(array, data_type.clone()).map(make_array).map_err(from_arrow)
            }
        }
    }
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

/// # Safety
/// As [`import_array`], for a struct of `fields`.
unsafe fn import_struct(mut array: FFI_ArrowArray, fields: &Fields) -> Result<ArrayRef> {
    let raw: *mut RawArray = ptr::from_mut(&mut array).cast();
    // SAFETY: `RawArray` mirrors the interface. Children are moved out as it allows: each
    // leaves a released array behind, which the parent's release passes over.
    let children: Vec<FFI_ArrowArray> = unsafe {
        (0..usize::try_from((*raw).n_children).unwrap_or(0))
            .map(|i| ptr::replace(*(*raw).children.add(i), FFI_ArrowArray::empty()))
            .collect()
    };
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
        let column = unsafe { import_array(child, field.data_type())? };
        Ok(if column.len() >= offset + len { column.slice(offset, len) } else { column })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;

    // What is left of the struct is its validity.
    // SAFETY: a struct without children is an array of a struct type without fields.
    let nulls = unsafe {
        (*raw).n_children = 0;
        from_ffi_and_data_type(array, DataType::Struct(Fields::empty()))
    };
    let nulls = nulls.map_err(from_arrow)?.nulls().cloned();
    if columns.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(len, nulls)));
    }
    let fields = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    StructArray::try_new(fields.collect(), columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}
