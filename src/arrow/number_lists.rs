//! Lists of numbers as the rows that the column engine sees: each row is the bytes of its items,
//! little-endian as Arrow has them, where they are.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use super::numbers::{bitcomp_type, is_number_list, item_bytes, number_type};
use super::volatile::read_once;
use crate::error::Error;
use crate::kernel::fcg1;

/// One chunk of lists of numbers.
pub struct NumberLists {
    places: Places,
    /// The bytes of all items.
    items: Buffer,
    /// Bytes of an item.
    item_bytes: usize,
    /// The nulls among items, or among the parts of items that are arrays.
    item_nulls: Vec<ItemNulls>,
    nulls: Option<NullBuffer>,
    number_type: Option<fcg1::DataType>,
}

/// Which items a row has.
enum Places {
    Offsets(OffsetBuffer<i32>),
    LargeOffsets(OffsetBuffer<i64>),
    Equal { rows: usize, len: usize },
}

struct ItemNulls {
    nulls: NullBuffer,
    /// How many of them an item has.
    per_item: usize,
}

impl NumberLists {
    /// `None` for arrays of other types.
    pub fn new(array: &dyn Array) -> Option<Self> {
        let data_type = array.data_type();
        if !is_number_list(data_type) {
            return None;
        }
        let (places, values) = match data_type {
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                (Places::Offsets(lists.offsets().clone()), lists.values())
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                (Places::LargeOffsets(lists.offsets().clone()), lists.values())
            }
            _ => {
                let lists = array.as_fixed_size_list();
                let (rows, len) = (lists.len(), lists.value_length().as_usize());
                (Places::Equal { rows, len }, lists.values())
            }
        };
        let mut item_nulls = Vec::new();
        let items = flattened(values, 1, &mut item_nulls);
        Some(Self {
            places,
            items,
            item_bytes: item_bytes(values.data_type())?,
            item_nulls,
            nulls: array.nulls().cloned(),
            number_type: bitcomp_type(number_type(data_type)),
        })
    }

    pub fn count(&self) -> usize {
        match &self.places {
            Places::Offsets(offsets) => offsets.len() - 1,
            Places::LargeOffsets(offsets) => offsets.len() - 1,
            Places::Equal { rows, .. } => *rows,
        }
    }

    /// The bytes of all rows.
    pub fn bytes(&self) -> usize {
        let span = self.items_of(0..self.count());
        span.len().saturating_mul(self.item_bytes)
    }

    pub fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    pub fn number_type(&self) -> Option<fcg1::DataType> {
        self.number_type
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The bytes of a row; empty if its offsets are now outside the items.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if self.is_null(row) {
            return None;
        }
        let Range { start, end } = self.items_of(row..row + 1);
        let at = |item: usize| item.checked_mul(self.item_bytes);
        let bytes = at(start).zip(at(end)).and_then(|(start, end)| self.items.get(start..end));
        Some(bytes.unwrap_or_default())
    }

    /// Whether items are null, of null rows or of others.
    pub fn may_refuse(&self) -> bool {
        !self.item_nulls.is_empty()
    }

    /// Why a row cannot be read as bytes: one of its items is null.
    #[inline]
    pub fn refusal(&self, row: usize) -> Option<Error> {
        if self.item_nulls.is_empty() || self.is_null(row) {
            return None;
        }
        let Range { start, end } = self.items_of(row..row + 1);
        let first_null = |ItemNulls { nulls, per_item }: &ItemNulls| {
            let within = |item: usize| item.saturating_mul(*per_item).min(nulls.len());
            let mut parts = within(start)..within(end);
            parts.find(|&part| nulls.is_null(part)).map(|part| part / per_item - start)
        };
        let item = self.item_nulls.iter().filter_map(first_null).min()?;
        Some(Error::NullItem { item })
    }

    /// The items of consecutive rows.
    #[inline]
    fn items_of(&self, rows: Range<usize>) -> Range<usize> {
        fn between<O: ArrowNativeType>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
            read_once(&offsets[rows.start]).as_usize()..read_once(&offsets[rows.end]).as_usize()
        }
        match &self.places {
            Places::Offsets(offsets) => between(offsets, rows),
            Places::LargeOffsets(offsets) => between(offsets, rows),
            Places::Equal { len, .. } => rows.start * len..rows.end * len,
        }
    }
}

/// The bytes of items, each of which has `per_item` of these values. Collects the nulls among
/// them.
fn flattened(values: &ArrayRef, per_item: usize, item_nulls: &mut Vec<ItemNulls>) -> Buffer {
    if let Some(nulls) = values.nulls().filter(|nulls| nulls.null_count() > 0) {
        item_nulls.push(ItemNulls { nulls: nulls.clone(), per_item });
    }
    if let Some(arrays) = values.as_fixed_size_list_opt() {
        let len = arrays.value_length().as_usize();
        return flattened(arrays.values(), per_item.saturating_mul(len), item_nulls);
    }
    let (data, width) = (values.to_data(), values.data_type().primitive_width().unwrap_or(0));
    data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width)
}
