//! Polars expressions: series in, column engine, series out.

mod dtype;
mod ffi;
mod import;
mod options;
mod row;

use arrow_array::{ArrayRef, new_empty_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use crate::arrow::{
    ByteRows, ColumnType, PayloadRows, check_payloads, compressed_array, decompressed_array,
    frames_array, info_array, info_type, manifest_type, reasons_array, validity,
};
use crate::background::{self, is_long_compression, is_long_decompression};
use crate::codec::Codec;
use crate::column::{
    self, BadRows, DecompressOptions, OnError, Payloads, Rows, VIEW_MAX_BYTES, Views,
};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::pool::{Interrupted, NEVER};
use crate::signal::Listening;
use crate::warning::warn;
pub use dtype::OBJECTS;
use dtype::{Dtype, Field};
use ffi::{Expression, Series, export_expression};
use options::{Fault, Options};
use row::{check_names, name_row, repeated, row_name};

export_expression!(CompressExpr, _polars_plugin_compress, _polars_plugin_field_compress);
export_expression!(DecompressExpr, _polars_plugin_decompress, _polars_plugin_field_decompress);
export_expression!(EncodeExpr, _polars_plugin_encode, _polars_plugin_field_encode);
export_expression!(DecodeExpr, _polars_plugin_decode, _polars_plugin_field_decode);
export_expression!(VerifyExpr, _polars_plugin_verify, _polars_plugin_field_verify);
export_expression!(
    VerifyFramesExpr,
    _polars_plugin_verify_frames,
    _polars_plugin_field_verify_frames
);
export_expression!(FrameInfoExpr, _polars_plugin_frame_info, _polars_plugin_field_frame_info);

impl From<Fault> for Error {
    fn from(Fault(fault): Fault) -> Self {
        Self::Argument(format!("unreadable plugin options: {fault}"))
    }
}

const CODEC_OPTIONS: &[&str] = &["codec", "level", "dictionary", "data_type", "codec_device"];

/// A codec as Python passes it: by name and settings.
fn codec(options: &Options) -> Result<Codec> {
    let level = options.int("level")?;
    if let Some(bytes) = options.bytes("dictionary")? {
        return Codec::with_dictionary(bytes, level);
    }
    let name = options.text("codec")?.ok_or_else(|| Fault::from("codec is missing"))?;
    let codec = Codec::from_name(name, level)?;
    codec.with_gpu_settings(options.text("data_type")?, options.text("codec_device")?)
}

/// The type of what a function is of; a call without arguments has none.
fn input<'a>(inputs: &[&'a Field]) -> &'a Dtype {
    inputs.first().map_or(&Dtype::Plain(DataType::Null), |field| &field.dtype)
}

fn check_binary(verb: &str, inputs: &[&Field]) -> Result<()> {
    let input = input(inputs);
    if input.is_bytes() {
        return Ok(());
    }
    Err(Error::Type(format!("{verb} takes Binary or String, got {}", input.text())))
}

/// Binary or String -> the manifest struct.
struct CompressExpr;

impl Expression for CompressExpr {
    type Options = Codec;
    const OPTIONS: &[&str] = CODEC_OPTIONS;

    fn options(options: &Options) -> Result<Codec> {
        codec(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_binary("compress", inputs)
    }

    fn output_type(_: &Codec) -> DataType {
        manifest_type(DataType::BinaryView)
    }

    fn evaluate(inputs: &[Series], codec: &Codec) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let ((bytes, rows), codec) = (load(&chunks), codec.clone());
        heard(is_long_compression(&codec, bytes, rows), chunks, move |chunks, interrupted| {
            let column = column::compress::<Views, _>(&codec, chunks, interrupted)?;
            let nulls = validity(bytes_validity(chunks)?.into_iter(), &[]);
            compressed_array(column, nulls)
        })
    }
}

const DECOMPRESS_OPTIONS: &[&str] = &[
    "codec",
    "level",
    "dictionary",
    "data_type",
    "codec_device",
    "utf8",
    "null_on_error",
    "max_size",
    // Of frames alone.
    "device",
];

fn decompress_options(options: &Options) -> Result<DecompressOptions> {
    let limit = |size: i64| size.try_into().map_err(|_| Fault::from("max_size is negative"));
    Ok(DecompressOptions {
        codec: codec(options)?,
        device: options.text("device")?.map_or(Ok(Device::Cpu), str::parse)?,
        max_size: options.int("max_size")?.map(limit).transpose()?,
        utf8: options.flag("utf8")?,
        on_error: on_error(options)?,
        max_total_size: None,
    })
}

fn on_error(options: &Options) -> Result<OnError> {
    Ok(if options.flag("null_on_error")? { OnError::Null } else { OnError::Raise })
}

fn decompressed_type(how: &DecompressOptions) -> DataType {
    if how.utf8 { DataType::Utf8View } else { DataType::BinaryView }
}

/// The manifest struct, or Binary of bare payloads -> Binary or String. A second input
/// names rows in errors.
struct DecompressExpr;

impl Expression for DecompressExpr {
    type Options = DecompressOptions;
    const OPTIONS: &[&str] = DECOMPRESS_OPTIONS;

    fn options(options: &Options) -> Result<DecompressOptions> {
        decompress_options(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_payloads(input(inputs))?;
        check_names(inputs)
    }

    fn output_type(how: &DecompressOptions) -> DataType {
        decompressed_type(how)
    }

    fn evaluate(inputs: &[Series], how: &DecompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| PayloadRows::try_new(chunk))?;
        decompressed(chunks, inputs, how, device(how))
    }
}

/// Binary or String -> Binary of frames.
struct EncodeExpr;

impl Expression for EncodeExpr {
    type Options = Codec;
    const OPTIONS: &[&str] = CODEC_OPTIONS;

    fn options(options: &Options) -> Result<Codec> {
        codec(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_binary("encode", inputs)
    }

    fn output_type(_: &Codec) -> DataType {
        DataType::BinaryView
    }

    fn evaluate(inputs: &[Series], codec: &Codec) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let ((bytes, rows), codec) = (load(&chunks), codec.clone());
        heard(is_long_compression(&codec, bytes, rows), chunks, move |chunks, interrupted| {
            let column = column::encode::<Views, _>(&codec, chunks, interrupted)?;
            let nulls = validity(bytes_validity(chunks)?.into_iter(), &[]);
            Ok(frames_array(column, nulls))
        })
    }
}

/// Binary of frames -> Binary or String. A second input names rows in errors.
struct DecodeExpr;

impl Expression for DecodeExpr {
    type Options = DecompressOptions;
    const OPTIONS: &[&str] = DECOMPRESS_OPTIONS;

    fn options(options: &Options) -> Result<DecompressOptions> {
        decompress_options(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_binary("decode", inputs)?;
        check_names(inputs)
    }

    fn output_type(how: &DecompressOptions) -> DataType {
        decompressed_type(how)
    }

    fn evaluate(inputs: &[Series], how: &DecompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| PayloadRows::of_frames(chunk))?;
        decompressed(chunks, inputs, how, how.device)
    }
}

fn decompressed(
    chunks: Vec<PayloadRows>,
    inputs: &[Series],
    how: &DecompressOptions,
    device: Device,
) -> Result<ArrayRef> {
    let rows = inputs.first().map_or(0, Series::len);
    let names = inputs.get(1);
    // A literal comes as one row that stands for all, on either side.
    let literal_for = names.map(Series::len).filter(|&names| rows == 1 && names != 1);
    if literal_for == Some(0) {
        return Ok(new_empty_array(&decompressed_type(how)));
    }
    if let Some(names) = names.map(Series::len)
        && ![1, rows].contains(&names)
        && literal_for.is_none()
    {
        return Err(Error::Argument(format!("row has {names} values for {rows} rows")));
    }
    let options = how.clone();
    let work = move |chunks: &[PayloadRows], interrupted: Interrupted| {
        let column = column::decompress::<Views, _>(&options, chunks, interrupted)?;
        let bad_rows = column.bad_rows;
        let nulls =
            validity(chunks.iter().map(|chunk| (chunk.count(), chunk.nulls())), bad_rows.rows());
        Ok((decompressed_array(column.values, nulls, options.utf8), bad_rows))
    };
    let (values, bad_rows) = heard(is_long_payloads(&chunks, device), chunks, work)
        .map_err(|error| name_row(error, names))?;
    warn_of(bad_rows, names)?;
    match literal_for {
        Some(rows) => repeated(&values, rows),
        None => Ok(values),
    }
}

/// Judges the bad rows of a call, and warns where some became null.
fn warn_of(bad_rows: BadRows, names: Option<&Series>) -> Result<()> {
    match bad_rows.judge().map_err(|error| name_row(error, names))? {
        Some(mut warning) => {
            warning.first.name = row_name(warning.first.row, names);
            warn(&warning.to_string())
        }
        None => Ok(()),
    }
}

/// The manifest struct, or Binary of bare payloads -> String: why rows are bad.
struct VerifyExpr;

impl Expression for VerifyExpr {
    type Options = DecompressOptions;
    const OPTIONS: &[&str] = DECOMPRESS_OPTIONS;

    fn options(options: &Options) -> Result<DecompressOptions> {
        decompress_options(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_payloads(input(inputs))
    }

    fn output_type(_: &DecompressOptions) -> DataType {
        DataType::Utf8View
    }

    fn evaluate(inputs: &[Series], how: &DecompressOptions) -> Result<ArrayRef> {
        reasons(chunks(inputs, |chunk| PayloadRows::try_new(chunk))?, how, device(how))
    }
}

/// Binary of frames -> String: why rows are bad.
struct VerifyFramesExpr;

impl Expression for VerifyFramesExpr {
    type Options = DecompressOptions;
    const OPTIONS: &[&str] = DECOMPRESS_OPTIONS;

    fn options(options: &Options) -> Result<DecompressOptions> {
        decompress_options(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_binary("verify_frames", inputs)
    }

    fn output_type(_: &DecompressOptions) -> DataType {
        DataType::Utf8View
    }

    fn evaluate(inputs: &[Series], how: &DecompressOptions) -> Result<ArrayRef> {
        reasons(chunks(inputs, |chunk| PayloadRows::of_frames(chunk))?, how, how.device)
    }
}

fn reasons(chunks: Vec<PayloadRows>, how: &DecompressOptions, device: Device) -> Result<ArrayRef> {
    let how = how.clone();
    heard(is_long_payloads(&chunks, device), chunks, move |chunks, interrupted| {
        let bad = column::verify::<_, VIEW_MAX_BYTES>(&how, chunks, interrupted)?;
        Ok(reasons_array(bad.reasons(), chunks.iter().map(Payloads::count).sum()))
    })
}

/// Binary of frames -> a struct of what their headers say.
struct FrameInfoExpr;

impl Expression for FrameInfoExpr {
    type Options = OnError;
    const OPTIONS: &[&str] = &["null_on_error"];

    fn options(options: &Options) -> Result<OnError> {
        on_error(options)
    }

    fn check(inputs: &[&Field]) -> Result<()> {
        check_binary("frame_info", inputs)
    }

    fn output_type(_: &OnError) -> DataType {
        info_type(DataType::Utf8View)
    }

    fn evaluate(inputs: &[Series], on_error: &OnError) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let (on_error, (_, rows)) = (*on_error, load(&chunks));
        let work = move |chunks: &[ByteRows], interrupted: Interrupted| {
            let column = column::frame_info(chunks, on_error, interrupted)?;
            let nulls = validity(bytes_validity(chunks)?.into_iter(), column.bad_rows.rows());
            Ok((info_array(&column.rows, nulls, DataType::Utf8View)?, column.bad_rows))
        };
        let (info, bad_rows) = heard(is_long_decompression(Device::Cpu, 0, rows), chunks, work)?;
        warn_of(bad_rows, None)?;
        Ok(info)
    }
}

/// Runs `work` on chunks; long work apart, so that an interrupt ends the call.
fn heard<C: Send + Sync + 'static, T: Send + 'static>(
    is_long: bool,
    chunks: Vec<C>,
    work: impl FnOnce(&[C], Interrupted) -> Result<T> + Send + 'static,
) -> Result<T> {
    if !is_long {
        return work(&chunks, NEVER);
    }
    let listening = Listening::start();
    let work = move |chunks: &Vec<C>, interrupted: Interrupted| work(chunks, interrupted);
    background::run(true, chunks, work, &|| listening.is_interrupted())
}

/// The bytes and the number of all rows.
fn load(chunks: &[ByteRows]) -> (usize, usize) {
    (chunks.iter().map(ByteRows::bytes).sum(), chunks.iter().map(Rows::count).sum())
}

fn is_long_payloads(chunks: &[PayloadRows], device: Device) -> bool {
    let bytes = chunks.iter().map(PayloadRows::bytes).sum();
    is_long_decompression(device, bytes, chunks.iter().map(Payloads::count).sum())
}

/// Where payloads are decoded that are no frames.
fn device(how: &DecompressOptions) -> Device {
    how.codec.device().unwrap_or(Device::Cpu)
}

fn bytes_validity(chunks: &[ByteRows]) -> Result<Vec<(usize, Option<NullBuffer>)>> {
    chunks.iter().map(|chunk| Ok((chunk.count(), chunk.nulls()?))).collect()
}

fn chunks<T>(inputs: &[Series], read: impl Fn(&ArrayRef) -> Result<T>) -> Result<Vec<T>> {
    inputs.first().map_or(&[][..], |series| &series.chunks).iter().map(read).collect()
}
