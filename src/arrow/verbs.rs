//! The verbs over exported Arrow data: arrays or streams in, arrays out, chunk for chunk.
//!
//! A stream is worked off in windows of chunks, so that of a producer that makes its chunks
//! as it goes, only a window's worth is held at a time.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, Fields};

use super::c_data::{CArray, CSchema, CStream};
use super::import::{Source, data_type, import};
use super::{
    ByteRows, CRC32C, ORIGINAL_SIZE, PAYLOAD, PayloadRows, info_array, large_binary,
    manifest_array, type_text, validity,
};
use crate::codec::Codec;
use crate::column::{
    self, Decompress, Payloads, Pieces, Rows, compress_flat, decompress_flat, encode_flat,
};
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

/// Compresses binary or string data to structs of a large binary payload, its
/// `original_size` and `crc32c`.
pub fn compress(codec: &Codec, input: Exported, interrupted: Interrupted) -> Result<Vec<ArrayRef>> {
    each_window_of_bytes(
        "compress",
        input,
        |chunks| {
            let column = compress_flat(codec, chunks, interrupted)?;
            let sizes = ScalarBuffer::from(column.original_size);
            let crcs = ScalarBuffer::from(column.crc32c);
            let mut first = 0;
            let arrays = chunks.iter().zip(column.payload).map(|(chunk, payload)| {
                let rows = chunk.count();
                let nulls = validity([(rows, chunk.nulls()?)].into_iter(), &[]);
                let payload = large_binary(payload, nulls.clone(), false);
                let (sizes, crcs) = (sizes.slice(first, rows), crcs.slice(first, rows));
                first += rows;
                manifest_array(payload, sizes, crcs, nulls)
            });
            arrays.collect()
        },
        interrupted,
    )
}

/// Encodes binary or string data to large binary: a frame a row.
pub fn encode(codec: &Codec, input: Exported, interrupted: Interrupted) -> Result<Vec<ArrayRef>> {
    each_window_of_bytes(
        "encode",
        input,
        |chunks| {
            let columns = encode_flat(codec, chunks, interrupted)?;
            let arrays = chunks.iter().zip(columns).map(|(chunk, column)| {
                let nulls = validity([(chunk.count(), chunk.nulls()?)].into_iter(), &[]);
                Ok(large_binary(column, nulls, false))
            });
            arrays.collect()
        },
        interrupted,
    )
}

/// The headers of binary data of frames.
pub fn frame_info(
    null_on_error: bool,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    each_window_of_bytes(
        "frame_info",
        input,
        |chunks| {
            let column = column::frame_info(chunks, null_on_error, interrupted)?;
            let mut first = 0;
            let arrays = chunks.iter().map(|chunk| {
                let rows = first..first + chunk.count();
                first = rows.end;
                let nulls = validity(
                    [(rows.len(), chunk.nulls()?)].into_iter(),
                    &bad_within(&column.bad_rows, &rows),
                );
                info_array(&column.rows[rows], nulls, DataType::LargeUtf8)
            });
            arrays.collect()
        },
        interrupted,
    )
}

/// Hands all rows of binary or string data to `take`.
pub fn each_value(
    input: Exported,
    mut take: impl FnMut(&[u8]) -> Result<()>,
    interrupted: Interrupted,
) -> Result<()> {
    let take = RefCell::new(&mut take);
    each_window_of_bytes(
        "train_dictionary",
        input,
        |chunks| {
            for chunk in chunks {
                for row in 0..chunk.count() {
                    chunk.get(row).map_or(Ok(()), |value| take.borrow_mut()(value))?;
                }
            }
            Ok(Vec::new())
        },
        interrupted,
    )
    .map(drop)
}

fn each_window_of_bytes(
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

/// Those of `bad_rows` that are in `rows`, counted from their start.
fn bad_within(bad_rows: &[usize], rows: &Range<usize>) -> Vec<usize> {
    let start = bad_rows.partition_point(|&row| row < rows.start);
    let end = bad_rows.partition_point(|&row| row < rows.end);
    bad_rows[start..end].iter().map(|row| row - rows.start).collect()
}

/// What payloads come as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What [`compress`] makes, or bare payloads.
    Compressed,
    Frames,
}

/// Decompresses or decodes payloads to large binary or large string.
pub fn decompress(
    how: &Decompress,
    form: Form,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let work = |chunks: &[PayloadRows]| decompressed(how, chunks, interrupted);
    each_window_of_payloads(form, input, work, interrupted)
}

/// The first rows of ranges of rows that decode to at most `most` bytes each, or are one row.
pub fn pieces(
    how: &Decompress,
    form: Form,
    most: u64,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Vec<usize>> {
    let pieces = RefCell::new(Pieces::new(most));
    let work = |chunks: &[PayloadRows]| {
        chunks.iter().for_each(|chunk| pieces.borrow_mut().extend(how, chunk));
        Ok(Vec::new())
    };
    each_window_of_payloads(form, input, work, interrupted)?;
    Ok(pieces.into_inner().starts())
}

fn each_window_of_payloads(
    form: Form,
    mut input: Exported,
    work: impl Fn(&[PayloadRows]) -> Result<Vec<ArrayRef>>,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    if form == Form::Frames {
        let wanted = "decode takes binary data of frames";
        let read = |array: &ArrayRef| PayloadRows::of_frames(array);
        return each_window_as(wanted, input, read, PayloadRows::bytes, work, interrupted);
    }
    let whole = input.schema()?;
    let column = match &whole {
        DataType::Struct(fields) if is_manifest(fields) => &whole,
        _ => single_column(&whole).unwrap_or(&whole),
    };
    PayloadRows::check(column, ByteRows::accepts).map_err(|error| match (error, hint(column)) {
        (Error::Type(text), hint) if hint.starts_with("; of") => Error::Type(text + hint),
        (other, _) => other,
    })?;
    let read = |array: &ArrayRef| PayloadRows::try_new(array);
    let is_table = column != &whole;
    each_window(input, &whole, is_table, read, PayloadRows::bytes, work, interrupted)
}

fn decompressed(
    how: &Decompress,
    chunks: &[PayloadRows],
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let column = decompress_flat(how, chunks, interrupted)?;
    let mut first = 0;
    let arrays = chunks.iter().zip(column.values).map(|(chunk, values)| {
        let rows = first..first + chunk.count();
        first = rows.end;
        let bad = bad_within(&column.bad_rows, &rows);
        let nulls = validity([(rows.len(), chunk.nulls())].into_iter(), &bad);
        large_binary(values, nulls, how.utf8)
    });
    Ok(arrays.collect())
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
