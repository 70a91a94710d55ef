//! The functions over Arrow data: an array or a stream in, an array for each chunk out.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;

use super::arrays::{chunk_validity, info_array, large_binary, manifest_array, validity};
use super::input::{ArrowInput, bytes_column, payload_column, values_column};
use super::texts::valid_only;
use super::total_size::TotalSize;
use super::window::{ArraysWithWarning, WindowedBadRows, each_window};
use super::{ByteRows, PayloadRows};
use crate::background::{is_long_compression, is_long_decompression};
use crate::codec::{Codec, Fallback, Form};
use crate::column::{self, Content, DecompressOptions, Offsets, OnError, Payloads, Rows};
use crate::error::Result;
use crate::gpu::Device;
use crate::memory::collect_chunks;
use crate::pool::InterruptCheck;

/// How a column is compressed to structs, or encoded to frames.
#[derive(Clone, Debug)]
pub struct CompressOptions {
    /// The codec of the payloads.
    pub codec: Codec,
    /// Whether structs record the CRC-32C of the payloads themselves, as `payload_crc32c`.
    pub payload_checksum: bool,
    /// What frames hold of values that the codec does not shrink.
    pub fallback: Fallback,
}

/// Compresses binary data, string data or lists of numbers to structs of a large binary payload, its
/// `original_size`, its `crc32c` and, if asked for, its `payload_crc32c`.
pub fn compress(
    options: &CompressOptions,
    input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<Vec<ArrayRef>> {
    let payload_checksum = options.payload_checksum;
    compress_with(
        &options.codec,
        "compress",
        input,
        interrupted,
        move |codec, chunks, interrupted| {
            let column = column::compress::<Offsets, _>(codec, chunks, interrupted)?;
            let checksums =
                payload_checksum.then(|| column.payload_checksums(interrupted)).transpose()?;
            let checksums = checksums.map(ScalarBuffer::from);
            let sizes = ScalarBuffer::from(column.original_size);
            let crcs = ScalarBuffer::from(column.crc32c);
            let mut first = 0;
            let arrays = chunks.iter().zip(column.payload).map(|(chunk, payload)| {
                let rows = chunk.count();
                let nulls = validity([(rows, chunk.nulls()?)].into_iter(), &[])?;
                let payload = large_binary(payload, nulls.clone(), false);
                let (sizes, crcs) = (sizes.slice(first, rows), crcs.slice(first, rows));
                let checksums = checksums.as_ref().map(|all| all.slice(first, rows));
                first += rows;
                manifest_array(payload, sizes, crcs, checksums, nulls)
            });
            collect_chunks(arrays)
        },
    )
}

/// Encodes binary data, string data or lists of numbers to large binary: one frame for each row.
pub fn encode(
    options: &CompressOptions,
    input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<Vec<ArrayRef>> {
    let fallback = options.fallback;
    compress_with(
        &options.codec,
        "encode",
        input,
        interrupted,
        move |codec, chunks, interrupted| {
            let columns = column::encode::<Offsets, _>(codec, fallback, chunks, interrupted)?;
            let arrays = chunks.iter().zip(columns).map(|(chunk, column)| {
                let nulls = validity([(chunk.count(), chunk.nulls()?)].into_iter(), &[])?;
                Ok(large_binary(column, nulls, false))
            });
            collect_chunks(arrays)
        },
    )
}

/// Runs `function`, which has that name for users, on the windows of a column of values.
fn compress_with(
    codec: &Codec,
    name: &str,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
    function: impl Fn(&Codec, &[ByteRows], InterruptCheck) -> Result<Vec<ArrayRef>>
    + Send
    + Sync
    + 'static,
) -> Result<Vec<ArrayRef>> {
    let column = values_column(name, &mut input)?;
    let (codec, sized) = (codec.clone(), codec.clone());
    each_window(
        input,
        column,
        move |bytes, rows| is_long_compression(&sized, bytes, rows),
        move |chunks, interrupted| function(&codec, chunks, interrupted),
        interrupted,
    )
}

/// Reads the frame headers of binary data, to structs of `codec`, `original_size`,
/// `compressed_size`, `crc32c`, `frames` and `passthrough_frames`. Nothing is decoded.
pub fn frame_info(
    on_error: OnError,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<ArraysWithWarning> {
    let column = bytes_column("frame_info", &mut input)?;
    let bad_rows = Arc::new(WindowedBadRows::default());
    let window_bad_rows = Arc::clone(&bad_rows);
    let arrays = each_window(
        input,
        column,
        // Only headers are read, however long the rows are.
        |_, rows| is_long_decompression(Device::Cpu, 0, rows),
        move |chunks, interrupted| {
            let column = column::frame_info(chunks, on_error, interrupted)?;
            let mut first = 0;
            let arrays = chunks.iter().map(|chunk| {
                let rows = first..first + chunk.count();
                first = rows.end;
                let nulls = chunk_validity(chunk.nulls()?, column.bad_rows.rows(), &rows)?;
                info_array(&column.rows[rows], nulls, DataType::LargeUtf8)
            });
            let arrays = collect_chunks(arrays)?;
            window_bad_rows.add(column.bad_rows, column.rows.len())?;
            Ok(arrays)
        },
        interrupted,
    )?;
    bad_rows.judge(arrays)
}

/// Decompresses payloads, or decodes frames, to large binary or, with [`Content::Text`], to
/// large string.
pub fn decompress(
    options: &DecompressOptions,
    form: Form,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<ArraysWithWarning> {
    let column = payload_column("decode", form, &mut input)?;
    let bad_rows = Arc::new(WindowedBadRows::default());
    let total = TotalSize::new(options, form);
    let device = decoding_device(options, form);
    let (options, window_bad_rows) = (options.clone(), Arc::clone(&bad_rows));
    let function = move |chunks: &[PayloadRows], interrupted: InterruptCheck| {
        let options = total.limited(&options, chunks);
        let column = column::decompress::<Offsets, _>(&options, chunks, interrupted)
            .map_err(|error| total.of_all_windows(error))?;
        let mut first = 0;
        let arrays = chunks.iter().zip(column.values).map(|(chunk, values)| {
            let rows = first..first + chunk.count();
            first = rows.end;
            total.add(values.bytes.as_ref().len(), rows.len());
            let nulls = chunk_validity(chunk.nulls(), column.bad_rows.rows(), &rows)?;
            Ok(large_binary(values, nulls, options.content == Content::Text))
        });
        let arrays = collect_chunks(arrays)?;
        window_bad_rows.add(column.bad_rows, first)?;
        Ok(arrays)
    };
    let is_long = |bytes, rows| is_long_decompression(device, bytes, rows);
    let arrays = each_window(input, column, is_long, function, interrupted)?;
    bad_rows.judge(arrays)
}

/// Decompresses or decodes without keeping values, to large string: why each row is bad, null
/// where it is good.
pub fn verify(
    options: &DecompressOptions,
    form: Form,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<Vec<ArrayRef>> {
    let column = payload_column("verify_frames", form, &mut input)?;
    let (device, options) = (decoding_device(options, form), options.clone());
    let function = move |chunks: &[PayloadRows], interrupted: InterruptCheck| {
        let column = column::verify::<Offsets, _>(&options, chunks, interrupted)?;
        let mut first = 0;
        let arrays = chunks.iter().zip(column.values).map(|(chunk, reasons)| {
            let rows = first..first + chunk.count();
            first = rows.end;
            let bad = column.bad_rows.within(&rows).map(|row| row - rows.start);
            let nulls = valid_only(rows.len(), bad)?;
            Ok(large_binary(reasons, Some(nulls), true))
        });
        collect_chunks(arrays)
    };
    let is_long = |bytes, rows| is_long_decompression(device, bytes, rows);
    each_window(input, column, is_long, function, interrupted)
}

/// Where rows of `form` are decoded.
pub fn decoding_device(options: &DecompressOptions, form: Form) -> Device {
    match form {
        Form::Payload => options.codec.device().unwrap_or(Device::Cpu),
        Form::Frame => options.device,
    }
}
