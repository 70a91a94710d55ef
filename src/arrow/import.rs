//! C data structures -> arrays, checked so that no row can lie outside its buffers.
//!
//! Imported are the types that columns consist of: byte strings in every layout, lists of
//! numbers, integers, decimals, and structs of them. Strings are imported as binary, so that
//! nothing has to check UTF-8. Arrays of other types inside a struct become nulls, as nothing reads them.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::types::{
    ArrowDictionaryKeyType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, DictionaryArray, FixedSizeBinaryArray,
    GenericBinaryArray, NullArray, OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};
use arrow_schema::{DataType, Field, Fields};

use super::arrays::{from_arrow, shared};
use super::c_data::{CArray, CSchema, count, malformed};
use super::import_lists::{is_list, list_type, lists};
use super::list_type::aligned;
use super::numbers::is_number_list;
use super::volatile::View;
use crate::error::{Error, Result};
use crate::memory::collect_chunks;

/// The deepest nesting of types: a table of one column that is a struct, with a payload that is
/// a dictionary of a dictionary.
const MAX_DEPTH: usize = 5;

/// The type of a schema. Types that columns do not consist of are distinguished only as far as
/// messages name them.
pub fn data_type(schema: &CSchema) -> Result<DataType> {
    type_at(schema, 0)
}

fn type_at(schema: &CSchema, depth: usize) -> Result<DataType> {
    let format = schema.format()?;
    if depth >= MAX_DEPTH {
        return Ok(unread("a type nested too deeply"));
    }
    if let Some(values) = schema.dictionary() {
        let values = type_at(values, depth + 1)?;
        return Ok(DataType::Dictionary(plain_type(format)?.into(), values.into()));
    }
    let field = |child: &CSchema| Ok(Field::new(child.name(), type_at(child, depth + 1)?, true));
    let fields = || schema.children()?.into_iter().map(field).collect::<Result<Fields>>();
    match format {
        "+s" => fields().map(DataType::Struct),
        _ if is_list(format) => match &fields()?[..] {
            [item] => list_type(format, item),
            others => Err(malformed(format!("expected 1 type of items, found {}", others.len()))),
        },
        _ => plain_type(format),
    }
}

fn plain_type(format: &str) -> Result<DataType> {
    Ok(match format {
        "n" => DataType::Null,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "z" => DataType::Binary,
        "Z" => DataType::LargeBinary,
        "vz" => DataType::BinaryView,
        "u" => DataType::Utf8,
        "U" => DataType::LargeUtf8,
        "vu" => DataType::Utf8View,
        _ => {
            if let Some(width) = format.strip_prefix("w:") {
                let width = width.parse().ok().filter(|width| *width >= 0);
                let width = width.ok_or_else(|| malformed(format!("invalid format {format:?}")))?;
                return Ok(DataType::FixedSizeBinary(width));
            }
            match format.strip_prefix("d:") {
                Some(decimal) => decimal_type(decimal)
                    .ok_or_else(|| malformed(format!("invalid format {format:?}")))?,
                None => other_type(format),
            }
        }
    })
}

/// The type of `precision,scale` or `precision,scale,bits`.
fn decimal_type(format: &str) -> Option<DataType> {
    let mut parts = format.split(',');
    let precision = parts.next()?.parse().ok()?;
    let scale = parts.next()?.parse().ok()?;
    let (most, decimal) = match parts.next().unwrap_or("128") {
        "32" => (Decimal32Type::MAX_PRECISION, DataType::Decimal32(precision, scale)),
        "64" => (Decimal64Type::MAX_PRECISION, DataType::Decimal64(precision, scale)),
        "128" => (Decimal128Type::MAX_PRECISION, DataType::Decimal128(precision, scale)),
        "256" => (Decimal256Type::MAX_PRECISION, DataType::Decimal256(precision, scale)),
        _ => return None,
    };
    (parts.next().is_none() && (1..=most).contains(&precision)).then_some(decimal)
}

/// A type that is not imported, as far as messages name it.
fn other_type(format: &str) -> DataType {
    match format {
        "b" => DataType::Boolean,
        "e" => DataType::Float16,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        _ if format.starts_with('t') => temporal_type(format).unwrap_or_else(unknown),
        "+m" => unread("Map"),
        "+r" => unread("RunEndEncoded"),
        _ if format.starts_with("+u") => unread("Union"),
        "_pli128" => unread("Int128, which Arrow does not have; cast it to Int64"),
        "_plu128" => unread("UInt128, which Arrow does not have; cast it to Int64"),
        _ => unknown(),
    }
}

/// A type of dates, times, instants, durations or intervals.
fn temporal_type(format: &str) -> Option<DataType> {
    let schema = FFI_ArrowSchema::try_new(format, Vec::new(), None).ok()?;
    DataType::try_from(&schema).ok()
}

fn unknown() -> DataType {
    unread("an unsupported type")
}

/// A type that is only named in messages.
pub fn unread(name: &str) -> DataType {
    DataType::List(Field::new(name, DataType::Null, true).into())
}

/// An exported array, or an array inside of one, or a range of its rows. Buffers that are read from
/// it keep the whole export alive.
pub struct SharedArray<'a> {
    array: &'a CArray,
    owner: Arc<CArray>,
    /// The first row and the number of rows, where these are not all; they were checked.
    range: Option<(usize, usize)>,
}

impl<'a> SharedArray<'a> {
    pub fn new(owner: &'a Arc<CArray>) -> Self {
        Self { array: owner, owner: Arc::clone(owner), range: None }
    }

    fn sharing<'b>(&self, array: &'b CArray) -> SharedArray<'b> {
        SharedArray { array, owner: Arc::clone(&self.owner), range: None }
    }

    pub fn child(&self, i: usize) -> Result<SharedArray<'_>> {
        Ok(self.sharing(self.array.child(i)?))
    }

    /// The rows of a struct's field that are the struct's own. A slice of a struct comes with its
    /// fields whole, so importing those would take as long for every slice as for all rows.
    fn field(&self, i: usize, name: &str) -> Result<SharedArray<'_>> {
        let ((offset, rows), field) = (self.bounds()?, self.child(i)?);
        let (wanted, found) = (offset + rows, field.bounds()?.1);
        if found < wanted {
            return Err(malformed(format!(
                "expected {wanted} rows in field {name:?}, found {found}"
            )));
        }
        Ok(SharedArray { range: Some((offset, rows)), ..field })
    }

    fn dictionary(&self) -> Result<SharedArray<'_>> {
        Ok(self.sharing(self.array.dictionary()?))
    }

    /// The offset of the first row, and the number of rows.
    pub fn bounds(&self) -> Result<(usize, usize)> {
        let (offset, rows) =
            (count(self.array.offset, "offset")?, count(self.array.length, "length")?);
        // No buffer can hold as many elements, whatever their width.
        if offset.checked_add(rows).is_none_or(|end| end >= isize::MAX as usize / 32) {
            return Err(malformed(format!("{rows} rows at offset {offset} exceed any buffer")));
        }
        Ok(self.range.map_or((offset, rows), |(first, rows)| (offset + first, rows)))
    }

    fn buffers(&self) -> Result<usize> {
        self.array.buffers()
    }

    pub fn expect_buffers(&self, n: usize) -> Result<()> {
        match self.buffers()? {
            found if found == n => Ok(()),
            found => Err(malformed(format!("expected {n} buffers, found {found}"))),
        }
    }

    pub fn expect_children(&self, n: usize) -> Result<()> {
        match self.array.children()? {
            found if found == n => Ok(()),
            found => Err(malformed(format!("expected {n} child arrays, found {found}"))),
        }
    }

    /// `len` bytes from `start` of the `i`-th buffer.
    fn bytes(&self, i: usize, start: usize, len: usize) -> Result<Buffer> {
        let buffer = self.array.buffer(i)?;
        if len == 0 {
            return Ok(Buffer::default());
        }
        let Some(buffer) = NonNull::new(buffer.cast_mut()) else {
            return Err(malformed(format!(
                "expected {len} bytes in buffer {i}, found a null pointer"
            )));
        };
        // SAFETY: the producer guarantees that the buffer is as long as its type, length, offset
        // and contents state. It lives until the array is released, which `owner` delays.
        Ok(unsafe {
            Buffer::from_custom_allocation(buffer.add(start), len, Arc::clone(&self.owner) as _)
        })
    }

    /// `len` elements from `start` of the `i`-th buffer; copied if it is not aligned.
    fn scalars<T: ArrowNativeType>(
        &self,
        i: usize,
        start: usize,
        len: usize,
    ) -> Result<ScalarBuffer<T>> {
        let bytes = |elements: usize| {
            elements
                .checked_mul(size_of::<T>())
                .filter(|&bytes| bytes <= isize::MAX as usize / 2)
                .ok_or_else(|| malformed(format!("buffer {i} cannot hold {elements} elements")))
        };
        Ok(aligned(self.bytes(i, bytes(start)?, bytes(len)?)?))
    }

    /// Offsets of all rows and their end, checked to ascend from 0 or more.
    pub fn offsets<O: OffsetSizeTrait>(&self) -> Result<OffsetBuffer<O>> {
        let (offset, rows) = self.bounds()?;
        // An array of no rows may come without offsets.
        let offsets = match rows {
            0 => ScalarBuffer::from(vec![O::default()]),
            rows => self.scalars::<O>(1, offset, rows + 1)?,
        };
        let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if offsets[0] < O::default() || !ascending {
            return Err(malformed("offsets are negative or descend"));
        }
        // SAFETY: just checked.
        Ok(unsafe { OffsetBuffer::new_unchecked(offsets) })
    }

    /// One bit a row, of the `i`-th buffer.
    pub fn bits(&self, i: usize) -> Result<BooleanBuffer> {
        let (offset, rows) = self.bounds()?;
        if rows == 0 {
            return Ok(BooleanBuffer::new_unset(0));
        }
        Ok(BooleanBuffer::new(self.bytes(i, 0, (offset + rows).div_ceil(8))?, offset, rows))
    }

    pub fn nulls(&self) -> Result<Option<NullBuffer>> {
        let (_, rows) = self.bounds()?;
        if self.array.null_count == 0 || rows == 0 {
            return Ok(None);
        }
        if self.array.buffer(0)?.is_null() {
            return match self.array.null_count {
                ..0 => Ok(None),
                nulls => Err(malformed(format!(
                    "expected a validity buffer for {nulls} nulls, found none"
                ))),
            };
        }
        let nulls = NullBuffer::new(self.bits(0)?);
        Ok(Some(nulls).filter(|nulls| nulls.null_count() > 0))
    }
}

/// Imports an array of a type that [`data_type`] has read.
pub fn import(array: &SharedArray, data_type: &DataType) -> Result<ArrayRef> {
    let (_, rows) = array.bounds()?;
    Ok(match data_type {
        DataType::Null => Arc::new(NullArray::new(rows)),
        DataType::Binary | DataType::Utf8 => Arc::new(binary::<i32>(array)?),
        DataType::LargeBinary | DataType::LargeUtf8 => Arc::new(binary::<i64>(array)?),
        DataType::BinaryView | DataType::Utf8View => Arc::new(views(array)?),
        DataType::FixedSizeBinary(width) => Arc::new(fixed_size(array, *width)?),
        DataType::Int8 => Arc::new(numbers::<Int8Type>(array)?),
        DataType::Int16 => Arc::new(numbers::<Int16Type>(array)?),
        DataType::Int32 => Arc::new(numbers::<Int32Type>(array)?),
        DataType::Int64 => Arc::new(numbers::<Int64Type>(array)?),
        DataType::UInt8 => Arc::new(numbers::<UInt8Type>(array)?),
        DataType::UInt16 => Arc::new(numbers::<UInt16Type>(array)?),
        DataType::UInt32 => Arc::new(numbers::<UInt32Type>(array)?),
        DataType::UInt64 => Arc::new(numbers::<UInt64Type>(array)?),
        DataType::Decimal32(p, s) => Arc::new(decimals::<Decimal32Type>(array, *p, *s)?),
        DataType::Decimal64(p, s) => Arc::new(decimals::<Decimal64Type>(array, *p, *s)?),
        DataType::Decimal128(p, s) => Arc::new(decimals::<Decimal128Type>(array, *p, *s)?),
        DataType::Decimal256(p, s) => Arc::new(decimals::<Decimal256Type>(array, *p, *s)?),
        DataType::Dictionary(keys, values) => dictionary(array, keys, values)?,
        DataType::Struct(fields) => structs(array, fields)?,
        list if is_number_list(list) => lists(array, list)?,
        _ => Arc::new(NullArray::new(rows)),
    })
}

fn binary<O: OffsetSizeTrait>(array: &SharedArray) -> Result<GenericBinaryArray<O>> {
    array.expect_buffers(3)?;
    let offsets = array.offsets::<O>()?;
    let end = offsets[offsets.len() - 1].as_usize();
    GenericBinaryArray::try_new(offsets, array.bytes(2, 0, end)?, array.nulls()?)
        .map_err(from_arrow)
}

fn views(array: &SharedArray) -> Result<BinaryViewArray> {
    let (offset, rows) = array.bounds()?;
    let Some(buffers) = array.buffers()?.checked_sub(3) else {
        return Err(malformed(format!("expected 3 buffers or more, found {}", array.buffers()?)));
    };
    let lens = array.scalars::<i64>(buffers + 2, 0, buffers)?;
    let block = |(i, &len)| array.bytes(i + 2, 0, count(len, "length of a data buffer")?);
    let blocks = collect_chunks(lens.iter().enumerate().map(block))?;
    let views = array.scalars::<u128>(1, offset, rows)?;
    let nulls = array.nulls()?;
    for (row, &view) in views.iter().enumerate() {
        let View { len, block, start } = View::of(view);
        let fits = len <= View::INLINE
            || blocks.get(block).is_some_and(|block| start + len <= block.len());
        // A null row may have any view: it is never read.
        if !fits && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            return Err(malformed(format!("the view of row {row} is outside its buffer")));
        }
    }
    let blocks = shared(blocks)?;
    // SAFETY: the views of all rows that are not null lie inside their buffers. Nothing reads
    // the others: `ByteRows` checks validity first, and views again, as their memory may change.
    Ok(unsafe { BinaryViewArray::new_unchecked(views, blocks, nulls) })
}

fn fixed_size(array: &SharedArray, width: i32) -> Result<FixedSizeBinaryArray> {
    let (offset, rows) = array.bounds()?;
    array.expect_buffers(2)?;
    let bytes = |rows: usize| rows.checked_mul(width as usize);
    let (Some(start), Some(len)) = (bytes(offset), bytes(rows)) else {
        return Err(malformed(format!("{rows} rows of {width} bytes exceed any buffer")));
    };
    let bytes = array.bytes(1, start, len)?;
    FixedSizeBinaryArray::try_new_with_len(width, bytes, array.nulls()?, rows).map_err(from_arrow)
}

pub fn numbers<T: ArrowPrimitiveType>(array: &SharedArray) -> Result<PrimitiveArray<T>> {
    let (offset, rows) = array.bounds()?;
    array.expect_buffers(2)?;
    let numbers = array.scalars::<T::Native>(1, offset, rows)?;
    PrimitiveArray::try_new(numbers, array.nulls()?).map_err(from_arrow)
}

fn decimals<T: DecimalType + ArrowPrimitiveType>(
    array: &SharedArray,
    precision: u8,
    scale: i8,
) -> Result<PrimitiveArray<T>> {
    numbers::<T>(array)?.with_precision_and_scale(precision, scale).map_err(from_arrow)
}

fn dictionary(array: &SharedArray, keys: &DataType, values: &DataType) -> Result<ArrayRef> {
    let values = import(&array.dictionary()?, values)?;
    fn with_keys<K: ArrowDictionaryKeyType>(
        array: &SharedArray,
        values: ArrayRef,
    ) -> Result<ArrayRef> {
        let dictionary = DictionaryArray::try_new(numbers::<K>(array)?, values);
        Ok(Arc::new(dictionary.map_err(|error| malformed(error.to_string()))?))
    }
    match keys {
        DataType::Int8 => with_keys::<Int8Type>(array, values),
        DataType::Int16 => with_keys::<Int16Type>(array, values),
        DataType::Int32 => with_keys::<Int32Type>(array, values),
        DataType::Int64 => with_keys::<Int64Type>(array, values),
        DataType::UInt8 => with_keys::<UInt8Type>(array, values),
        DataType::UInt16 => with_keys::<UInt16Type>(array, values),
        DataType::UInt32 => with_keys::<UInt32Type>(array, values),
        DataType::UInt64 => with_keys::<UInt64Type>(array, values),
        other => Err(malformed(format!("expected a dictionary with integer keys, found {other}"))),
    }
}

fn structs(array: &SharedArray, fields: &Fields) -> Result<ArrayRef> {
    let (_, rows) = array.bounds()?;
    array.expect_children(fields.len())?;
    let columns = fields
        .iter()
        .enumerate()
        .map(|(i, field)| import(&array.field(i, field.name())?, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    StructArray::try_new_with_length(fields.collect(), columns, array.nulls()?, rows)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| Error::Argument(error.to_string()))
}
