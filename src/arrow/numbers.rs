//! Types of lists of numbers, whose rows are the bytes of their items: which there are, and how
//! long an item is.

use arrow_schema::DataType;

use crate::kernel::fcg1;

/// What to do about lists of something else.
pub const CAST_ITEMS: &str =
    "; cast its items to integers, floats, dates or times, or to arrays of them";

/// The bytes of an item of a list: of a number, or of an array of numbers. `None` for types
/// that are not accepted. Decimals and intervals are no plain numbers.
pub fn item_bytes(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeList(item, len) => {
            item_bytes(item.data_type())?.checked_mul(usize::try_from(*len).ok()?)
        }
        DataType::Interval(_) => None,
        other if other.is_decimal() => None,
        other => other.primitive_width(),
    }
}

/// The type of the items of lists.
pub fn list_item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

/// Whether values are lists of numbers. A list of arrays of no items says nothing of its length.
pub fn is_number_list(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(..) => item_bytes(data_type).is_some(),
        other => list_item(other).and_then(item_bytes).is_some_and(|bytes| bytes > 0),
    }
}

/// The type of the numbers in lists, however deep.
pub fn number_type(data_type: &DataType) -> &DataType {
    list_item(data_type).map_or(data_type, number_type)
}

/// What Bitcomp takes numbers for: floats for unsigned integers of their width, dates and times
/// for the integers that they are.
pub fn bitcomp_type(number: &DataType) -> Option<fcg1::DataType> {
    let is_unsigned = number.is_unsigned_integer() || number.is_floating();
    fcg1::DataType::of_integers(!is_unsigned, number.primitive_width()?)
}
