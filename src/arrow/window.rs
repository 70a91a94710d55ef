//! Exported data, read chunk by chunk and worked off in windows of chunks, so that of a producer
//! that makes its chunks as it goes, only a window's worth is held at a time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::c_data::{CArray, CSchema, CStream};
use super::import::{Source, data_type, import};
use super::{ByteRows, CRC32C, ORIGINAL_SIZE, PAYLOAD, PayloadRows, check_payloads, type_text};
use crate::column::{BadRows, BecameNull};
use crate::error::{Error, Result};
use crate::pool::{Interrupted, PATIENCE};

/// Chunks of at least so many bytes together are worked off at once.
const WINDOW_BYTES: usize = 256 << 20;

/// So many chunks are worked off at once, however short they are.
const WINDOW_CHUNKS: usize = 64 << 10;

/// What a producer exports.
pub enum Exported {
    Array(CSchema, CArray),
    Stream(CStream),
}

impl Exported {
    fn schema(&mut self) -> Result<DataType> {
        match self {
            Self::Array(schema, _) => data_type(schema),
            Self::Stream(stream) => data_type(&stream.schema()?),
        }
    }

    /// The chunks, in order.
    fn chunks(self) -> Box<dyn Iterator<Item = Result<CArray>>> {
        match self {
            Self::Array(_, array) => Box::new(std::iter::once(Ok(array))),
            Self::Stream(mut stream) => {
                Box::new(std::iter::from_fn(move || stream.next().transpose()))
            }
        }
    }
}

/// What payloads come as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What [`compress`] makes, or bare payloads.
    Compressed,
    Frames,
}

/// What is made of rows that may be bad, chunk for chunk.
pub struct Checked {
    pub arrays: Vec<ArrayRef>,
    /// What to warn of: bad rows that became null.
    pub warning: Option<BecameNull>,
}

/// Bad rows of one window after another.
#[derive(Default)]
pub struct Windows {
    bad: RefCell<BadRows>,
    rows: Cell<usize>,
}

impl Windows {
    /// Adds those of the next window, which has so many rows.
    pub fn add(&self, bad: BadRows, rows: usize) {
        let start = self.rows.replace(self.rows.get() + rows);
        self.bad.borrow_mut().extend(bad, start);
    }

    pub fn judge(self, arrays: Vec<ArrayRef>) -> Result<Checked> {
        Ok(Checked { arrays, warning: self.bad.into_inner().judge()? })
    }
}

/// Runs `work` on byte strings; an error that names the `verb` where they are none.
pub fn each_window_of_bytes(
    verb: &str,
    input: Exported,
    work: impl Fn(&[ByteRows]) -> Result<Vec<ArrayRef>>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let wanted = format!("{verb} takes binary or string data");
    let read = |array: &ArrayRef| ByteRows::try_new(array);
    each_window_as(&wanted, input, read, ByteRows::bytes, work, interrupted)
}

/// [`each_window`] of byte strings, read as `R`; an error that says what is `wanted` else.
fn each_window_as<R>(
    wanted: &str,
    mut input: Exported,
    read: impl Fn(&ArrayRef) -> Result<R>,
    bytes: impl Fn(&R) -> usize,
    work: impl Fn(&[R]) -> Result<Vec<ArrayRef>>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let whole = input.schema()?;
    let column = single_column(&whole).unwrap_or(&whole);
    if !ByteRows::accepts(column) {
        return Err(Error::Type(format!("{wanted}, got {}{}", type_text(column), hint(column))));
    }
    each_window(input, &whole, column != &whole, read, bytes, work, interrupted)
}

/// Runs `work` on payloads.
pub fn each_window_of_payloads(
    verb: &str,
    form: Form,
    mut input: Exported,
    work: impl Fn(&[PayloadRows]) -> Result<Vec<ArrayRef>>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    if form == Form::Frames {
        let wanted = format!("{verb} takes binary data of frames");
        let read = |array: &ArrayRef| PayloadRows::of_frames(array);
        return each_window_as(&wanted, input, read, PayloadRows::bytes, work, interrupted);
    }
    let whole = input.schema()?;
    let column = match &whole {
        DataType::Struct(fields) if is_manifest(fields) => &whole,
        _ => single_column(&whole).unwrap_or(&whole),
    };
    check_payloads(column).map_err(|error| match (error, hint(column)) {
        (Error::Type(text), hint) if hint.starts_with("; of") => Error::Type(text + hint),
        (other, _) => other,
    })?;
    let read = |array: &ArrayRef| PayloadRows::try_new(array);
    let is_table = column != &whole;
    each_window(input, &whole, is_table, read, PayloadRows::bytes, work, interrupted)
}

/// The only column of a table; tables come as structs.
fn single_column(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Struct(fields) if fields.len() == 1 => Some(fields[0].data_type()),
        _ => None,
    }
}

/// Whether a struct is, or was meant to be, what compress makes. A lone payload that lost
/// its size and checksum must not pass for a table of bare payloads.
fn is_manifest(fields: &Fields) -> bool {
    let named = |name: &str| fields.iter().find(|field| field.name() == name);
    match &fields[..] {
        [only] => {
            [PAYLOAD, ORIGINAL_SIZE, CRC32C].contains(&only.name().as_str())
                && !matches!(only.data_type(), DataType::Struct(_))
        }
        _ => named(PAYLOAD).is_some(),
    }
}

/// What to do about a struct that will not do.
fn hint(data_type: &DataType) -> &'static str {
    let DataType::Struct(fields) = data_type else { return "" };
    let found = [PAYLOAD, ORIGINAL_SIZE, CRC32C].map(|name| fields.find(name).is_some());
    match found {
        [true, true, true] => "; this is compressed data",
        [false, false, false] if fields.len() > 1 => "; of a table, pass one column",
        _ => "",
    }
}

/// Reads all chunks and runs `work` on one window of them after another.
fn each_window<R>(
    input: Exported,
    data_type: &DataType,
    is_table: bool,
    read: impl Fn(&ArrayRef) -> Result<R>,
    bytes: impl Fn(&R) -> usize,
    work: impl Fn(&[R]) -> Result<Vec<ArrayRef>>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let (mut done, mut rows_done, mut rows) = (Vec::new(), 0, 0usize);
    let (mut window, mut held) = (Vec::new(), 0usize);
    let mut chunks = input.chunks();
    let mut looked = Instant::now();
    loop {
        let chunk = chunks.next().transpose()?;
        if looked.elapsed() > PATIENCE {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            looked = Instant::now();
        }
        let end = chunk.is_none();
        if let Some(chunk) = chunk {
            let array = import(&Source::new(&Arc::new(chunk)), data_type)?;
            rows = rows.checked_add(array.len()).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
            let chunk = read(&if is_table { only_column(&array)? } else { array })?;
            held = held.saturating_add(bytes(&chunk));
            window.push(chunk);
        }
        if end || held >= WINDOW_BYTES || window.len() >= WINDOW_CHUNKS {
            done.extend(work(&window).map_err(|error| moved(error, rows_done))?);
            window.clear();
            (held, rows_done) = (0, rows);
        }
        if end {
            return Ok(done);
        }
    }
}

/// The column of a table of one; null where the table's row is.
fn only_column(table: &ArrayRef) -> Result<ArrayRef> {
    let table = table.as_struct();
    let column = table.column(0);
    let nulls = NullBuffer::union(table.nulls(), column.nulls());
    if table.nulls().is_none() || column.data_type() == &DataType::Null {
        return Ok(Arc::clone(column));
    }
    let data = column.to_data().into_builder().nulls(nulls);
    // SAFETY: an array as it was, with more nulls.
    Ok(make_array(unsafe { data.build_unchecked() }))
}

/// A row's error, by its place in the whole input.
fn moved(mut error: Error, rows: usize) -> Error {
    if let Error::Row(bad) = &mut error {
        bad.row += rows;
    }
    error
}
