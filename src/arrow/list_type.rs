//! Types of lists of numbers that decoded values are read as.

use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, LargeBinaryArray, OffsetSizeTrait,
    PrimitiveArray, downcast_primitive,
};
use arrow_buffer::{ArrowNativeType, Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, FieldRef};

use super::arrays::from_arrow;
use super::numbers::{is_number_list, item_bytes, list_item};
use super::type_text;
use crate::column::Content;
use crate::error::{Error, Result, reserve};
use crate::memory::zeroed;

/// A type of lists of numbers: list, large list or fixed-size list.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::cast::AsArray;
/// use arrow_array::types::UInt16Type;
/// use arrow_array::{Array, LargeBinaryArray};
/// use arrow_schema::{DataType, Field};
/// use s4_codec::arrow::ListType;
///
/// # fn main() -> s4_codec::error::Result<()> {
/// let item = Arc::new(Field::new_list_field(DataType::UInt16, true));
/// let lists = ListType::try_new(&DataType::LargeList(item))?;
/// let values = LargeBinaryArray::from_opt_vec(vec![Some(b"\x01\0\x02\x01"), None]);
/// let read = lists.read(values)?;
/// let numbers = read.as_list::<i64>().value(0);
/// assert_eq!(numbers.as_primitive::<UInt16Type>().values(), &[1, 258]);
/// assert!(read.is_null(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    data_type: DataType,
    /// Bytes of a fixed-size list, or of an item of other lists.
    bytes: usize,
    /// What values must be.
    content: Content,
}

/// The deepest nesting of a description.
const MAX_DEPTH: usize = 8;

impl ListType {
    /// The type of these lists.
    ///
    /// # Errors
    /// They are no lists of numbers.
    pub fn try_new(data_type: &DataType) -> Result<Self> {
        let bytes = match data_type {
            DataType::FixedSizeList(..) => item_bytes(data_type),
            other => list_item(other).and_then(item_bytes),
        };
        let Some(bytes) = bytes.filter(|_| is_number_list(data_type)) else {
            return Err(Error::Type(format!(
                "dtype must be binary, string, or lists of integers, floats, dates, times or \
                 arrays of them, not {}; cast the result instead",
                type_text(data_type)
            )));
        };
        let content = match data_type {
            DataType::FixedSizeList(..) => Content::Fixed(bytes),
            _ => Content::Items(bytes),
        };
        Ok(Self { data_type: data_type.clone(), bytes, content })
    }

    /// The type in Arrow.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// What values must be to be such lists.
    pub fn content(&self) -> Content {
        self.content
    }

    /// A description, which [`parse`](Self::parse) reads: the formats of Arrow's C data
    /// interface from the outermost type to the innermost, separated by slashes.
    pub fn description(&self) -> Result<String> {
        let schema = FFI_ArrowSchema::try_from(&self.data_type).map_err(from_arrow)?;
        let (mut text, mut inner) = (schema.format().to_owned(), &schema);
        while let Some(child) = inner.children().next() {
            text = format!("{text}/{}", child.format());
            inner = child;
        }
        Ok(text)
    }

    /// The type of that description.
    pub fn parse(description: &str) -> Result<Self> {
        let (mut lists, mut number) = (Vec::new(), description);
        while let Some((list, items)) = number.split_once('/').filter(|_| number.starts_with('+')) {
            lists.push(list);
            number = items;
        }
        let unknown = || Error::Argument(format!("unknown list type {description:?}"));
        if lists.len() > MAX_DEPTH || number.starts_with('+') {
            return Err(unknown());
        }
        let number = FFI_ArrowSchema::try_new(number, Vec::new(), None).map_err(from_arrow)?;
        let mut data_type = DataType::try_from(&number).map_err(|_| unknown())?;
        for list in lists.into_iter().rev() {
            let item = Arc::new(Field::new_list_field(data_type, true));
            data_type = match (list, list.strip_prefix("+w:").map(str::parse)) {
                ("+l", _) => DataType::List(item),
                ("+L", _) => DataType::LargeList(item),
                (_, Some(Ok(len @ 0..))) => DataType::FixedSizeList(item, len),
                _ => return Err(unknown()),
            };
        }
        Self::try_new(&data_type)
    }

    /// Values as lists, which share their memory. Null rows of fixed-size lists have items in
    /// Arrow; where null values are shorter than that, all are copied.
    ///
    /// # Errors
    /// A value has a length that is not [`content`](Self::content), or memory ran out.
    pub fn read(&self, values: LargeBinaryArray) -> Result<ArrayRef> {
        match &self.data_type {
            DataType::FixedSizeList(item, len) => self.fixed_size_lists(item, *len, values),
            DataType::List(item) => self.lists::<i32>(item, values),
            DataType::LargeList(item) => self.lists::<i64>(item, values),
            other => Err(Error::Type(format!("expected lists, found {other}"))),
        }
    }

    fn lists<O: OffsetSizeTrait>(
        &self,
        item: &FieldRef,
        values: LargeBinaryArray,
    ) -> Result<ArrayRef> {
        let (offsets, bytes, nulls) = values.into_parts();
        let (start, end) = (offsets[0], offsets[offsets.len() - 1]);
        let mut places = Vec::new();
        reserve(&mut places, offsets.len())?;
        for offset in offsets.iter() {
            let at = (offset - start) as u64;
            self.content.check_len(at)?;
            let items = (at / self.bytes as u64) as usize;
            places.push(O::from_usize(items).ok_or_else(|| {
                Error::Argument(format!(
                    "{items} items exceed the 32-bit offsets of a list; use a large list"
                ))
            })?);
        }
        let bytes = bytes.slice_with_length(start as usize, (end - start) as usize);
        let places = OffsetBuffer::new(ScalarBuffer::from(places));
        let items = items_array(item.data_type(), bytes)?;
        let lists = GenericListArray::<O>::try_new(Arc::clone(item), places, items, nulls);
        lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(from_arrow)
    }

    fn fixed_size_lists(
        &self,
        item: &FieldRef,
        len: i32,
        values: LargeBinaryArray,
    ) -> Result<ArrayRef> {
        let rows = values.len();
        let mut is_even = true;
        for (row, ends) in values.offsets().windows(2).enumerate() {
            let fits = self.content.check_len((ends[1] - ends[0]) as u64);
            is_even &= fits.is_ok();
            if values.is_valid(row) {
                fits?;
            }
        }
        let (start, end) = (values.offsets()[0] as usize, values.offsets()[rows] as usize);
        let bytes = if is_even {
            values.values().slice_with_length(start, end - start)
        } else {
            padded(&values, self.bytes)?
        };
        let nulls = values.nulls().cloned();
        let items = items_array(item.data_type(), bytes)?;
        let lists =
            FixedSizeListArray::try_new_with_length(Arc::clone(item), len, items, nulls, rows);
        lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(from_arrow)
    }
}

/// Values of `width` bytes each, with zeros in place of nulls.
fn padded(values: &LargeBinaryArray, width: usize) -> Result<Buffer> {
    let len = values.len().checked_mul(width);
    let mut bytes = zeroed::<u8>(len.ok_or(Error::OutOfMemory { bytes: u64::MAX })?)?;
    let places = bytes.chunks_exact_mut(width.max(1));
    for (value, place) in values.iter().zip(places) {
        if let Some(value) = value {
            place.copy_from_slice(value);
        }
    }
    Ok(Buffer::from_vec(bytes))
}

/// Numbers, or arrays of them, of these bytes.
fn items_array(data_type: &DataType, bytes: Buffer) -> Result<ArrayRef> {
    macro_rules! numbers {
        ($number:ty) => {{
            let numbers = PrimitiveArray::<$number>::new(aligned(bytes), None);
            Ok(Arc::new(numbers.with_data_type(data_type.clone())))
        }};
    }
    if let DataType::FixedSizeList(item, len) = data_type {
        let rows = item_bytes(data_type).and_then(|width| bytes.len().checked_div(width));
        let items = items_array(item.data_type(), bytes)?;
        let (item, rows) = (Arc::clone(item), rows.unwrap_or(0));
        return FixedSizeListArray::try_new_with_length(item, *len, items, None, rows)
            .map(|arrays| Arc::new(arrays) as ArrayRef)
            .map_err(from_arrow);
    }
    downcast_primitive! {
        data_type => (numbers),
        other => Err(Error::Type(format!("expected numbers, found {other}"))),
    }
}

/// Bytes as numbers; copied if they are not aligned.
pub fn aligned<T: ArrowNativeType>(bytes: Buffer) -> ScalarBuffer<T> {
    let is_aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    ScalarBuffer::from(if is_aligned { bytes } else { Buffer::from_slice_ref(&*bytes) })
}
