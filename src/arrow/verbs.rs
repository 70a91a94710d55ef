//! The verbs over exported Arrow data: arrays or streams in, arrays out, chunk for chunk.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use arrow_array::builder::LargeStringBuilder;
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;

use super::total_size::TotalSize;
use super::window::{
    Checked, Exported, Form, Windows, each_window_of_bytes, each_window_of_payloads,
};
use super::{PayloadRows, info_array, large_binary, manifest_array, validity};
use crate::background::{is_long_compression, is_long_decompression};
use crate::codec::Codec;
use crate::column::{self, DecompressOptions, Offsets, OnError, Payloads, Rows, Splitter};
use crate::error::Result;
use crate::gpu::Device;
use crate::pool::{Interrupted, Listener};

/// Compresses binary or string data to structs of a large binary payload, its
/// `original_size` and `crc32c`.
pub fn compress(codec: &Codec, input: Exported, interrupted: Interrupted) -> Result<Vec<ArrayRef>> {
    let (codec, sized) = (codec.clone(), codec.clone());
    each_window_of_bytes(
        "compress",
        input,
        move |bytes, rows| is_long_compression(&sized, bytes, rows),
        move |chunks, interrupted| {
            let column = column::compress::<Offsets, _>(&codec, chunks, interrupted)?;
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
    let (codec, sized) = (codec.clone(), codec.clone());
    each_window_of_bytes(
        "encode",
        input,
        move |bytes, rows| is_long_compression(&sized, bytes, rows),
        move |chunks, interrupted| {
            let columns = column::encode::<Offsets, _>(&codec, chunks, interrupted)?;
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
pub fn frame_info(on_error: OnError, input: Exported, interrupted: Interrupted) -> Result<Checked> {
    let windows = Arc::new(Windows::default());
    let found = Arc::clone(&windows);
    let arrays = each_window_of_bytes(
        "frame_info",
        input,
        // Headers are read, whatever the length of what they are of.
        |_, rows| is_long_decompression(Device::Cpu, 0, rows),
        move |chunks, interrupted| {
            let column = column::frame_info(chunks, on_error, interrupted)?;
            let mut first = 0;
            let arrays: Result<Vec<_>> = chunks
                .iter()
                .map(|chunk| {
                    let rows = first..first + chunk.count();
                    first = rows.end;
                    let nulls = validity(
                        [(rows.len(), chunk.nulls()?)].into_iter(),
                        &bad_within(column.bad_rows.rows(), &rows),
                    );
                    info_array(&column.rows[rows], nulls, DataType::LargeUtf8)
                })
                .collect();
            found.add(column.bad_rows, column.rows.len());
            arrays
        },
        interrupted,
    )?;
    windows.judge(arrays)
}

/// Hands all rows of binary or string data to `take`.
pub fn each_value(
    input: Exported,
    take: impl FnMut(&[u8]) -> Result<()> + Send + 'static,
    interrupted: Interrupted,
) -> Result<()> {
    let take = Mutex::new(take);
    each_window_of_bytes(
        "train_dictionary",
        input,
        |_, _| false,
        move |chunks, interrupted| {
            let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
            let mut listener = Listener::new(interrupted);
            for chunk in chunks {
                for row in 0..chunk.count() {
                    listener.step()?;
                    chunk.get(row).map_or(Ok(()), &mut *take)?;
                }
            }
            Ok(Vec::new())
        },
        interrupted,
    )
    .map(drop)
}

/// Those of `bad_rows` that are in `rows`, counted from their start.
fn bad_within(bad_rows: &[usize], rows: &Range<usize>) -> Vec<usize> {
    let start = bad_rows.partition_point(|&row| row < rows.start);
    let end = bad_rows.partition_point(|&row| row < rows.end);
    bad_rows[start..end].iter().map(|row| row - rows.start).collect()
}

/// Decompresses or decodes payloads to large binary or large string.
pub fn decompress(
    how: &DecompressOptions,
    form: Form,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Checked> {
    let windows = Arc::new(Windows::default());
    let total = TotalSize::new(how, form);
    let (device, how, found) = (device(how, form), how.clone(), Arc::clone(&windows));
    let work = move |chunks: &[PayloadRows], interrupted: Interrupted| {
        let how = total.limited(&how, chunks);
        let column = column::decompress::<Offsets, _>(&how, chunks, interrupted)
            .map_err(|error| total.of_all_windows(error))?;
        let mut first = 0;
        let arrays = chunks.iter().zip(column.values).map(|(chunk, values)| {
            let rows = first..first + chunk.count();
            first = rows.end;
            total.add(values.bytes.as_ref().len(), rows.len());
            let bad = bad_within(column.bad_rows.rows(), &rows);
            let nulls = validity([(rows.len(), chunk.nulls())].into_iter(), &bad);
            large_binary(values, nulls, how.utf8)
        });
        let arrays = arrays.collect();
        found.add(column.bad_rows, first);
        Ok(arrays)
    };
    let is_long = |bytes, rows| is_long_decompression(device, bytes, rows);
    let arrays = each_window_of_payloads("decode", form, input, is_long, work, interrupted)?;
    windows.judge(arrays)
}

/// Why each row of payloads is bad, as large string; null where it is good.
pub fn verify(
    how: &DecompressOptions,
    form: Form,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Vec<ArrayRef>> {
    let (device, how) = (device(how, form), how.clone());
    let work = move |chunks: &[PayloadRows], interrupted: Interrupted| {
        let bad = column::verify::<_, { i64::MAX as u64 }>(&how, chunks, interrupted)?;
        let (mut reasons, mut first) = (bad.reasons().iter().peekable(), 0);
        let arrays = chunks.iter().map(|chunk| {
            let mut texts = LargeStringBuilder::new();
            for row in first..first + chunk.count() {
                texts.append_option(reasons.next_if(|(bad, _)| *bad == row).map(|(_, text)| text));
            }
            first += chunk.count();
            Arc::new(texts.finish()) as ArrayRef
        });
        Ok(arrays.collect())
    };
    let is_long = |bytes, rows| is_long_decompression(device, bytes, rows);
    each_window_of_payloads("verify_frames", form, input, is_long, work, interrupted)
}

/// Where payloads of that form are decoded.
fn device(how: &DecompressOptions, form: Form) -> Device {
    match form {
        Form::Compressed => how.codec.device().unwrap_or(Device::Cpu),
        Form::Frames => how.device,
    }
}

/// The first rows of ranges of rows that decode to at most `most` bytes each, or are one row.
pub fn pieces(
    how: &DecompressOptions,
    form: Form,
    most: u64,
    input: Exported,
    interrupted: Interrupted,
) -> Result<Vec<usize>> {
    let pieces = Arc::new(Mutex::new(Splitter::new(most)));
    let (how, found) = (how.clone(), Arc::clone(&pieces));
    let work = move |chunks: &[PayloadRows], interrupted: Interrupted| {
        let mut pieces = found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listener = Listener::new(interrupted);
        chunks.iter().try_for_each(|chunk| pieces.extend(&how, chunk, &mut listener))?;
        Ok(Vec::new())
    };
    each_window_of_payloads("decode", form, input, |_, _| false, work, interrupted)?;
    let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::replace(&mut *pieces, Splitter::new(most)).starts())
}
