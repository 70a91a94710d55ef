//! Arrow types and values as text, for messages.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use super::volatile::viewed;

/// A type by its name in Arrow.
pub fn type_text(data_type: &DataType) -> String {
    match data_type {
        // How the import represents types that it does not read.
        DataType::List(item) if item.data_type().is_null() => item.name().clone(),
        DataType::List(item) => format!("List({})", type_text(item.data_type())),
        DataType::LargeList(item) => format!("LargeList({})", type_text(item.data_type())),
        DataType::FixedSizeList(item, len) => {
            format!("FixedSizeList({}, {len})", type_text(item.data_type()))
        }
        DataType::ListView(_) | DataType::LargeListView(_) => "ListView; cast it to List".into(),
        other => other.to_string(),
    }
}

/// A unit by its short name.
pub fn unit_text(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// The most characters of a value in a message.
const MAX_CHARS: usize = 200;

/// The value of `row` as text, whatever its type; truncated if it is long.
pub fn value_text(array: &ArrayRef, row: usize) -> String {
    let mut whole = String::new();
    write_value(&mut whole, array, row);
    // A message is one line: control characters are shown, not printed.
    let mut text = String::new();
    for c in whole.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Whether `text` has more than [`MAX_CHARS`] characters, of any width.
fn is_long(text: &str) -> bool {
    text.len() > 4 * MAX_CHARS
}

/// Appends the value of `row`, or the front of a long one.
fn write_value(text: &mut String, array: &ArrayRef, row: usize) {
    if array.is_null(row) {
        return text.push_str("null");
    }
    match array.data_type() {
        DataType::Null => text.push_str("null"),
        DataType::Utf8View => {
            let views = array.as_string_view().clone().to_binary_view();
            let value = String::from_utf8_lossy(viewed(&views, row));
            text.extend(value.chars().take(MAX_CHARS + 1));
        }
        DataType::BinaryView => {
            let value = viewed(array.as_binary_view(), row);
            let _ = write!(text, "{}", value[..value.len().min(MAX_CHARS + 1)].escape_ascii());
        }
        DataType::Decimal32(..) => write_decimal::<Decimal32Type>(text, array, row),
        DataType::Decimal64(..) => write_decimal::<Decimal64Type>(text, array, row),
        DataType::Decimal128(..) => write_decimal::<Decimal128Type>(text, array, row),
        DataType::Decimal256(..) => write_decimal::<Decimal256Type>(text, array, row),
        DataType::Dictionary(..) => {
            let one = array.slice(row, 1);
            let dictionary = one.as_any_dictionary();
            write_value(text, dictionary.values(), dictionary.normalized_keys()[0]);
        }
        DataType::Struct(fields) => {
            text.push('{');
            for (i, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if is_long(text) {
                    return;
                }
                let comma = if i > 0 { ", " } else { "" };
                let _ = write!(text, "{comma}{}: ", field.name());
                write_value(text, column, row);
            }
            text.push('}');
        }
        DataType::Duration(unit) => {
            let _ = write!(text, "{}{}", printed(array, row), unit_text(unit));
        }
        DataType::List(_) => write_list(text, &array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => write_list(text, &array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => write_list(text, &array.as_fixed_size_list().value(row)),
        _ => text.push_str(&printed(array, row)),
    }
}

fn write_list(text: &mut String, values: &ArrayRef) {
    text.push('[');
    for row in 0..values.len() {
        if is_long(text) {
            return;
        }
        text.push_str(if row > 0 { ", " } else { "" });
        write_value(text, values, row);
    }
    text.push(']');
}

/// Integers are written as they are: one of 128 bits can have a digit more than a decimal.
fn write_decimal<T: DecimalType>(text: &mut String, array: &ArrayRef, row: usize) {
    let array = array.as_primitive::<T>();
    if array.scale() == 0 {
        let _ = write!(text, "{:?}", array.value(row));
    } else {
        text.push_str(&array.value_as_string(row));
    }
}

/// A value as Arrow prints it, taken from the text of a slice of one row: the array's type, then
/// the value in brackets. An instant of a named time zone is printed in UTC.
fn printed(array: &ArrayRef, row: usize) -> String {
    let printed = format!("{:?}", array.slice(row, 1));
    let element = printed.split_once('[').map_or(&*printed, |(_, element)| element).trim();
    let element = element.strip_suffix(']').unwrap_or(element).trim_end().trim_end_matches(',');
    match element.split_once(" (Unknown Time Zone") {
        Some((instant, _)) => format!("{instant} UTC"),
        None => element.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
