//! Arrow types and values as text, for messages.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// A type by the name that Polars has for it, where that is another than Arrow's.
pub fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8View => "String".into(),
        DataType::BinaryView => "Binary".into(),
        DataType::Date32 => "Date".into(),
        DataType::Dictionary(_, values) if values.is_string() => {
            "Categorical or Enum; cast it to String first".into()
        }
        // As the import of schemas has types that it does not read.
        DataType::List(item) if item.data_type().is_null() => item.name().clone(),
        DataType::LargeList(field) => format!("List({})", type_text(field.data_type())),
        other => other.to_string(),
    }
}

/// A message is no place for more.
const MAX_CHARS: usize = 200;

/// The value of `row`, readable whatever its type, cut where it is long.
pub fn value_text(array: &ArrayRef, row: usize) -> String {
    // A message is one line: control characters are shown, not printed.
    let mut text = String::new();
    for c in full_text(array, row).chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn full_text(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        DataType::Null => "null".into(),
        DataType::Utf8View => {
            array.as_string_view().value(row).chars().take(MAX_CHARS + 1).collect()
        }
        DataType::BinaryView => {
            let value = array.as_binary_view().value(row);
            value[..value.len().min(MAX_CHARS + 1)].escape_ascii().to_string()
        }
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().value_as_string(row),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().value_as_string(row),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(row),
        DataType::Dictionary(..) => {
            let one = array.slice(row, 1);
            let dictionary = one.as_any_dictionary();
            full_text(dictionary.values(), dictionary.normalized_keys()[0])
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let texts: Vec<_> = columns
                .map(|(field, column)| format!("{}: {}", field.name(), full_text(column, row)))
                .collect();
            format!("{{{}}}", texts.join(", "))
        }
        _ => printed(array, row),
    }
}

/// What Arrow prints of a slice of one: the array's type, then the element in brackets.
/// An instant of a named time zone is printed in UTC.
fn printed(array: &ArrayRef, row: usize) -> String {
    let printed = format!("{:?}", array.slice(row, 1));
    let element = printed.split_once('[').map_or(&*printed, |(_, element)| element).trim();
    let element = element.strip_suffix(']').unwrap_or(element).trim_end().trim_end_matches(',');
    match element.split_once(" (Unknown Time Zone") {
        Some((instant, _)) => format!("{instant} UTC"),
        None => element.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
