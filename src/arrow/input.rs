//! What a caller passes, and the column of it that a function reads.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::to_ffi;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::arrays::from_arrow;
use super::c_data::{CArray, CSchema, CStream};
use super::import::{SharedArray, data_type, import};
use super::numbers::{CAST_ITEMS, list_item};
use super::{
    ByteRows, CRC32C, ORIGINAL_SIZE, PAYLOAD, PAYLOAD_CRC32C, PayloadRows, check_payloads,
    type_text,
};
use crate::codec::Form;
use crate::error::{Error, Result};

/// Data that a producer has exported through Arrow's C data interface.
pub enum ArrowInput {
    /// One array, and its type.
    Array(CSchema, CArray),
    /// A stream of arrays of one type.
    Stream(CStream),
}

impl ArrowInput {
    /// An array of arrow-rs. Its buffers are shared, not copied.
    ///
    /// # Errors
    /// The array's type cannot be exported.
    pub fn from_array(array: &dyn Array) -> Result<Self> {
        let (array, schema) = to_ffi(&array.to_data()).map_err(from_arrow)?;
        Ok(Self::Array(schema.into(), array.into()))
    }

    /// The type of its arrays.
    pub(crate) fn data_type(&mut self) -> Result<DataType> {
        match self {
            Self::Array(schema, _) => data_type(schema),
            Self::Stream(stream) => data_type(&stream.schema()?),
        }
    }

    /// The chunks, in order.
    pub(super) fn chunks(self) -> Box<dyn Iterator<Item = Result<CArray>>> {
        match self {
            Self::Array(_, array) => Box::new(std::iter::once(Ok(array))),
            Self::Stream(mut stream) => {
                Box::new(std::iter::from_fn(move || stream.next_array().transpose()))
            }
        }
    }
}

/// Reads the column of interest from each chunk of an input, as rows `R`.
pub struct ColumnReader<R> {
    data_type: DataType,
    /// Whether chunks are tables, whose only column it is.
    is_table: bool,
    rows: fn(&dyn Array) -> Result<R>,
    bytes: fn(&R) -> usize,
}

/// One chunk of a column.
pub struct Chunk<R> {
    pub rows: R,
    pub count: usize,
    pub bytes: usize,
}

impl<R> ColumnReader<R> {
    pub fn read(&self, chunk: &Arc<CArray>) -> Result<Chunk<R>> {
        let array = import(&SharedArray::new(chunk), &self.data_type)?;
        let array = if self.is_table { only_column(&array)? } else { array };
        let rows = (self.rows)(&array)?;
        Ok(Chunk { count: array.len(), bytes: (self.bytes)(&rows), rows })
    }
}

/// The column of byte strings that `function` reads.
pub fn bytes_column(function: &str, input: &mut ArrowInput) -> Result<ColumnReader<ByteRows>> {
    let expected = format!("{function} expects binary or string data");
    let (data_type, is_table) = type_of(input, ByteRows::accepts, &expected)?;
    Ok(ColumnReader { data_type, is_table, rows: ByteRows::try_new, bytes: ByteRows::bytes })
}

/// The column of values that `function` compresses: byte strings or lists of numbers.
pub fn values_column(function: &str, input: &mut ArrowInput) -> Result<ColumnReader<ByteRows>> {
    let expected = format!("{function} expects binary or string data, or lists of numbers");
    let (data_type, is_table) = type_of(input, ByteRows::accepts_values, &expected)?;
    Ok(ColumnReader { data_type, is_table, rows: ByteRows::try_new, bytes: ByteRows::bytes })
}

/// The column of frames, or of payloads with or without manifests, that `function` reads.
pub fn payload_column(
    function: &str,
    form: Form,
    input: &mut ArrowInput,
) -> Result<ColumnReader<PayloadRows>> {
    let bytes = PayloadRows::bytes;
    if form == Form::Frame {
        let expected = format!("{function} expects binary data of frames");
        let (data_type, is_table) = type_of(input, ByteRows::accepts, &expected)?;
        return Ok(ColumnReader { data_type, is_table, rows: PayloadRows::of_frames, bytes });
    }
    let data_type = input.data_type()?;
    let column = match &data_type {
        DataType::Struct(fields) if is_manifest(fields) => &data_type,
        _ => single_column(&data_type).unwrap_or(&data_type),
    };
    check_payloads(column).map_err(|error| match (error, hint(column)) {
        (Error::Type(text), hint) if hint == ONE_COLUMN => Error::Type(text + hint),
        (other, _) => other,
    })?;
    let is_table = column != &data_type;
    Ok(ColumnReader { data_type, is_table, rows: PayloadRows::try_new, bytes })
}

/// The type of an input, and whether it is a table's. If it is not accepted, an error that says
/// what is `expected`.
fn type_of(
    input: &mut ArrowInput,
    accepts: fn(&DataType) -> bool,
    expected: &str,
) -> Result<(DataType, bool)> {
    let data_type = input.data_type()?;
    let column = single_column(&data_type).unwrap_or(&data_type);
    if !accepts(column) {
        return Err(Error::Type(format!(
            "{expected}, found {}{}",
            type_text(column),
            hint(column)
        )));
    }
    let is_table = column != &data_type;
    Ok((data_type, is_table))
}

/// The only column of a table, which comes as a struct.
fn single_column(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Struct(fields) if fields.len() == 1 => Some(fields[0].data_type()),
        _ => None,
    }
}

/// Whether a struct is, or was meant to be, what compress returns. A payload that lost its size
/// and checksum must not pass for a table of bare payloads.
fn is_manifest(fields: &Fields) -> bool {
    match &fields[..] {
        [only] => {
            [PAYLOAD, ORIGINAL_SIZE, CRC32C, PAYLOAD_CRC32C].contains(&only.name().as_str())
                && !matches!(only.data_type(), DataType::Struct(_))
        }
        _ => fields.find(PAYLOAD).is_some(),
    }
}

const ONE_COLUMN: &str = "; pass one column of the table";

/// What to do about a struct that is not accepted.
fn hint(data_type: &DataType) -> &'static str {
    let fields = match data_type {
        DataType::Struct(fields) => fields,
        other if list_item(other).is_some_and(|item| !item.is_null()) => return CAST_ITEMS,
        _ => return "",
    };
    match [PAYLOAD, ORIGINAL_SIZE, CRC32C].map(|name| fields.find(name).is_some()) {
        [true, true, true] => "; pass compressed data to decompress or verify",
        [false, false, false] if fields.len() > 1 => ONE_COLUMN,
        _ => "",
    }
}

/// The column of a table of one; null where the table's row is.
fn only_column(table: &ArrayRef) -> Result<ArrayRef> {
    let table = table.as_struct();
    let column = table.column(0);
    if table.nulls().is_none() || column.data_type() == &DataType::Null {
        return Ok(Arc::clone(column));
    }
    let nulls = NullBuffer::union(table.nulls(), column.nulls());
    let data = column.to_data().into_builder().nulls(nulls);
    // SAFETY: the array is valid, and more nulls keep it so.
    Ok(make_array(unsafe { data.build_unchecked() }))
}
