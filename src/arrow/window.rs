//! Exported data, read chunk by chunk and worked off in windows of chunks, so that of a producer
//! that makes its chunks as it goes, only a window's worth is held at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::c_data::{CArray, CSchema, CStream};
use super::import::{SharedArray, data_type, import};
use super::{ByteRows, CRC32C, ORIGINAL_SIZE, PAYLOAD, PayloadRows, check_payloads, type_text};
use crate::background;
use crate::column::{BadRows, BecameNull};
use crate::error::{Error, Result};
use crate::pool::{Interrupted, Listener};

/// Chunks of at least so many bytes together are worked off at once.
const WINDOW_BYTES: usize = 256 << 20;

/// So many chunks are worked off at once, however short they are.
const WINDOW_CHUNKS: usize = 64 << 10;

/// A chunk of so many rows is read apart: each row is looked at.
const LONG_CHUNK: i64 = 4 << 20;

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
    bad: Mutex<BadRows>,
    rows: AtomicUsize,
}

impl Windows {
    /// Adds those of the next window, which has so many rows.
    pub fn add(&self, bad: BadRows, rows: usize) {
        let start = self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bad().extend(bad, start);
    }

    pub fn judge(&self, arrays: Vec<ArrayRef>) -> Result<Checked> {
        let bad = std::mem::take(&mut *self.bad());
        Ok(Checked { arrays, warning: bad.judge()? })
    }

    fn bad(&self) -> MutexGuard<'_, BadRows> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is done with a window of chunks, perhaps on another thread.
pub trait Work<R>: Fn(&[R], Interrupted) -> Result<Vec<ArrayRef>> + Send + Sync + 'static {}

impl<R, W> Work<R> for W where
    W: Fn(&[R], Interrupted) -> Result<Vec<ArrayRef>> + Send + Sync + 'static
{
}

/// How chunks are read as `R`, and their bytes counted.
struct Reading<R> {
    read: fn(&ArrayRef) -> Result<R>,
    bytes: fn(&R) -> usize,
}

/// Runs `work` on byte strings, apart where `is_long` says so of their bytes and rows; an error that names the `verb` where they are none.
pub fn each_window_of_bytes(
    verb: &str,
    input: Exported,
    is_long: impl Fn(usize, usize) -> bool,
    work: impl Work<ByteRows>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let wanted = format!("{verb} takes binary or string data");
    let how = Reading { read: |array| ByteRows::try_new(array), bytes: ByteRows::bytes };
    each_window_as(&wanted, input, how, is_long, work, interrupted)
}

/// [`each_window`] of byte strings, read as `R`; an error that says what is `wanted` else.
fn each_window_as<R: Send + Sync + 'static>(
    wanted: &str,
    mut input: Exported,
    how: Reading<R>,
    is_long: impl Fn(usize, usize) -> bool,
    work: impl Work<R>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let whole = input.schema()?;
    let column = single_column(&whole).unwrap_or(&whole);
    if !ByteRows::accepts(column) {
        return Err(Error::Type(format!("{wanted}, got {}{}", type_text(column), hint(column))));
    }
    each_window(input, &whole, column != &whole, how, is_long, work, interrupted)
}

/// Runs `work` on payloads.
pub fn each_window_of_payloads(
    verb: &str,
    form: Form,
    mut input: Exported,
    is_long: impl Fn(usize, usize) -> bool,
    work: impl Work<PayloadRows>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    if form == Form::Frames {
        let wanted = format!("{verb} takes binary data of frames");
        let read = |array: &ArrayRef| PayloadRows::of_frames(array);
        let how = Reading { read, bytes: PayloadRows::bytes };
        return each_window_as(&wanted, input, how, is_long, work, interrupted);
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
    let how = Reading { read, bytes: PayloadRows::bytes };
    each_window(input, &whole, is_table, how, is_long, work, interrupted)
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

/// Reads all chunks and runs `work` on one window of them after another. The producer is asked
/// on the calling thread, which it may be bound to.
fn each_window<R: Send + Sync + 'static>(
    input: Exported,
    data_type: &DataType,
    is_table: bool,
    how: Reading<R>,
    is_long: impl Fn(usize, usize) -> bool,
    work: impl Work<R>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let work = Arc::new(work);
    let (mut done, mut rows_done, mut rows) = (Vec::new(), 0, 0usize);
    let (mut window, mut held) = (Vec::new(), 0usize);
    let mut chunks = input.chunks();
    let mut listener = Listener::new(interrupted);
    loop {
        let chunk = match chunks.next().transpose() {
            // A signal may be what made the producer fail.
            Err(_) if interrupted() => return Err(Error::Interrupted),
            other => other?,
        };
        listener.look()?;
        let end = chunk.is_none();
        if let Some(chunk) = chunk {
            let is_long = chunk.length >= LONG_CHUNK;
            let (data_type, read, bytes) = (data_type.clone(), how.read, how.bytes);
            let import = move |chunk: &Arc<CArray>, _: Interrupted| {
                let array = import(&SharedArray::new(chunk), &data_type)?;
                let rows = array.len();
                let chunk = read(&if is_table { only_column(&array)? } else { array })?;
                Ok((rows, bytes(&chunk), chunk))
            };
            let (more, bytes, chunk) =
                background::run(is_long, Arc::new(chunk), import, interrupted)?;
            rows = rows.checked_add(more).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
            held = held.saturating_add(bytes);
            window.push(chunk);
        }
        if end || held >= WINDOW_BYTES || window.len() >= WINDOW_CHUNKS {
            let (is_long, work) = (is_long(held, rows - rows_done), Arc::clone(&work));
            let work = move |chunks: &Vec<R>, interrupted: Interrupted| work(chunks, interrupted);
            let arrays = background::run(is_long, std::mem::take(&mut window), work, interrupted);
            done.extend(arrays.map_err(|error| moved(error, rows_done))?);
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
