//! The plugin's expressions, over payloads and over frames.

use arrow_array::{ArrayRef, new_empty_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::arrays::{compressed_array, compressed_type, info_type, values_array};
use super::decompression::Decompression;
use super::dictionary_sets;
use super::dtype::{Dtype, Field};
use super::ffi::{Expression, Series, export_expression};
use super::options::{OptionsError, PickledOptions};
use super::row::{check_names, name_row, row_name};
use crate::arrow::{
    ByteRows, ColumnType, CompressOptions, PayloadRows, check_payloads, decoding_device,
    info_array, valid_only, validity,
};
use crate::background::{self, is_long_compression, is_long_decompression};
use crate::codec::{Codec, Fallback, Form, ZstdLevel};
use crate::column::{self, BadRows, Content, OnError, Payloads, Rows, Views};
use crate::error::{Error, Result, try_collect};
use crate::gpu::Device;
use crate::memory::collect_chunks;
use crate::pool::InterruptCheck;
use crate::signal::Listening;
use crate::warning::warn;

export_expression!(
    CompressExpr(Form::Payload),
    _polars_plugin_compress,
    _polars_plugin_field_compress
);
export_expression!(CompressExpr(Form::Frame), _polars_plugin_encode, _polars_plugin_field_encode);
export_expression!(
    DecompressExpr(Form::Payload),
    _polars_plugin_decompress,
    _polars_plugin_field_decompress
);
export_expression!(DecompressExpr(Form::Frame), _polars_plugin_decode, _polars_plugin_field_decode);
export_expression!(VerifyExpr(Form::Payload), _polars_plugin_verify, _polars_plugin_field_verify);
export_expression!(
    VerifyExpr(Form::Frame),
    _polars_plugin_verify_frames,
    _polars_plugin_field_verify_frames
);
export_expression!(FrameInfoExpr, _polars_plugin_frame_info, _polars_plugin_field_frame_info);

impl From<OptionsError> for Error {
    fn from(OptionsError(reason): OptionsError) -> Self {
        Self::Argument(format!("invalid plugin options: {reason}"))
    }
}

const COMPRESS_OPTIONS: &[&str] = &[
    "codec",
    "level",
    "dictionary",
    "data_type",
    "codec_device",
    // Of payloads only.
    "payload_checksum",
    // Of frames only.
    "fallback",
];

/// A codec as Python passes it: by name and settings.
pub fn codec(options: &PickledOptions) -> Result<Codec> {
    let level = options.int("level")?;
    if let Some(set) = options.bytes("dictionary_set")? {
        let level = ZstdLevel::or_default(level)?;
        return Ok(Codec::Zstd { level, dictionary: Some(dictionary_sets::prepared(set)?) });
    }
    if let Some(bytes) = options.bytes("dictionary")? {
        return Codec::with_dictionary(bytes, level);
    }
    let name = options.text("codec")?.ok_or_else(|| OptionsError::from("codec is missing"))?;
    let codec = Codec::from_name(name, level)?;
    codec.with_gpu_settings(options.text("data_type")?, options.text("codec_device")?)
}

pub fn on_error(options: &PickledOptions) -> Result<OnError> {
    Ok(if options.flag("null_on_error")? { OnError::Null } else { OnError::Raise })
}

/// The type of the first input; a call without arguments has none.
fn input<'a>(inputs: &[&'a Field]) -> &'a Dtype {
    inputs.first().map_or(&Dtype::Plain(DataType::Null), |field| &field.dtype)
}

fn check_binary(function: &str, inputs: &[&Field]) -> Result<()> {
    let input = input(inputs);
    if input.is_bytes() {
        return Ok(());
    }
    Err(Error::Type(format!("{function} expects Binary or String, found {}", input.text())))
}

/// Checks that a column can be compressed: as byte strings, or as lists of numbers.
fn check_values(function: &str, inputs: &[&Field]) -> Result<()> {
    let input = input(inputs);
    if input.is_bytes() || input.number_list().is_some() {
        return Ok(());
    }
    Err(Error::Type(format!(
        "{function} expects Binary or String, or a List or Array of numbers, found {}",
        input.text()
    )))
}

/// Binary, String, or a List or Array of numbers -> the struct of payloads and manifests, or Binary
/// of frames.
struct CompressExpr(Form);

impl Expression for CompressExpr {
    type Options = CompressOptions;
    const OPTIONS: &[&str] = COMPRESS_OPTIONS;

    fn options(&self, options: &PickledOptions) -> Result<CompressOptions> {
        let payload_checksum = options.flag("payload_checksum")?;
        let fallback = Fallback::from_flag(options.flag("fallback")?);
        Ok(CompressOptions { codec: codec(options)?, payload_checksum, fallback })
    }

    fn check(&self, inputs: &[&Field]) -> Result<()> {
        match self.0 {
            Form::Payload => check_values("compress", inputs),
            Form::Frame => check_values("encode", inputs),
        }
    }

    fn output_type(&self, options: &CompressOptions) -> DataType {
        match self.0 {
            Form::Payload => compressed_type(options.payload_checksum),
            Form::Frame => DataType::BinaryView,
        }
    }

    fn evaluate(&self, inputs: &[Series], options: &CompressOptions) -> Result<Vec<ArrayRef>> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let bytes = chunks.iter().map(ByteRows::bytes).sum();
        let CompressOptions { codec, payload_checksum, fallback } = options.clone();
        let is_long = is_long_compression(&codec, bytes, rows(&chunks));
        let form = self.0;
        let work = move |chunks: &[ByteRows], interrupted: InterruptCheck| match form {
            Form::Payload => {
                let column = column::compress::<Views, _>(&codec, chunks, interrupted)?;
                let checksums =
                    payload_checksum.then(|| column.payload_checksums(interrupted)).transpose()?;
                compressed_array(column, checksums, bytes_validity(chunks, &[])?)
            }
            Form::Frame => {
                let column = column::encode::<Views, _>(&codec, fallback, chunks, interrupted)?;
                values_array(column, bytes_validity(chunks, &[])?, Content::Bytes)
            }
        };
        Ok(vec![run_interruptible(is_long, chunks, work)?])
    }
}

/// The struct of payloads and manifests, Binary of bare payloads or Binary of frames -> Binary,
/// String, or a List or Array of numbers. A second input names rows in errors.
struct DecompressExpr(Form);

impl Expression for DecompressExpr {
    type Options = Decompression;
    const OPTIONS: &[&str] = Decompression::OPTIONS;

    fn options(&self, options: &PickledOptions) -> Result<Decompression> {
        Decompression::of(options)
    }

    fn check(&self, inputs: &[&Field]) -> Result<()> {
        match self.0 {
            Form::Payload => check_payloads(input(inputs))?,
            Form::Frame => check_binary("decode", inputs)?,
        }
        check_names(inputs)
    }

    fn output_type(&self, options: &Decompression) -> DataType {
        options.output_type()
    }

    fn evaluate(&self, inputs: &[Series], options: &Decompression) -> Result<Vec<ArrayRef>> {
        let rows = inputs.first().map_or(0, Series::len);
        let names = inputs.get(1);
        // A literal comes as one row that stands for all, as input or as names.
        let literal_for = names.map(Series::len).filter(|&names| rows == 1 && names != 1);
        if literal_for == Some(0) {
            return Ok(vec![new_empty_array(&options.output_type())]);
        }
        if let Some(names) = names.map(Series::len)
            && ![1, rows].contains(&names)
            && literal_for.is_none()
        {
            return Err(Error::Argument(format!(
                "row must have 1 value or {rows}, one for each row, found {names}"
            )));
        }
        let chunks = payload_chunks(inputs, self.0)?;
        let is_long = is_long_payloads(&chunks, decoding_device(&options.options, self.0));
        let decompression = options.clone();
        let work = move |chunks: &[PayloadRows], interrupted: InterruptCheck| {
            decompression.run(chunks, literal_for, interrupted)
        };
        let (values, bad_rows) =
            run_interruptible(is_long, chunks, work).map_err(|error| name_row(error, names))?;
        warn_of(bad_rows, names)?;
        Ok(values)
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

/// The same inputs as [`DecompressExpr`] -> String: why rows are bad.
struct VerifyExpr(Form);

impl Expression for VerifyExpr {
    type Options = Decompression;
    const OPTIONS: &[&str] = Decompression::OPTIONS;

    fn options(&self, options: &PickledOptions) -> Result<Decompression> {
        Decompression::of(options)
    }

    fn check(&self, inputs: &[&Field]) -> Result<()> {
        match self.0 {
            Form::Payload => check_payloads(input(inputs)),
            Form::Frame => check_binary("verify_frames", inputs),
        }
    }

    fn output_type(&self, _: &Decompression) -> DataType {
        DataType::Utf8View
    }

    fn evaluate(&self, inputs: &[Series], options: &Decompression) -> Result<Vec<ArrayRef>> {
        let chunks = payload_chunks(inputs, self.0)?;
        let options = options.options.clone();
        let is_long = is_long_payloads(&chunks, decoding_device(&options, self.0));
        let work = move |chunks: &[PayloadRows], interrupted: InterruptCheck| {
            let column = column::verify::<Views, _>(&options, chunks, interrupted)?;
            let bad_rows = column.bad_rows.rows().iter().copied();
            let nulls = valid_only(column.values.views.len(), bad_rows)?;
            values_array(column.values, Some(nulls), Content::Text)
        };
        Ok(vec![run_interruptible(is_long, chunks, work)?])
    }
}

/// Binary of frames -> a struct of what their headers say.
struct FrameInfoExpr;

impl Expression for FrameInfoExpr {
    type Options = OnError;
    const OPTIONS: &[&str] = &["null_on_error"];

    fn options(&self, options: &PickledOptions) -> Result<OnError> {
        on_error(options)
    }

    fn check(&self, inputs: &[&Field]) -> Result<()> {
        check_binary("frame_info", inputs)
    }

    fn output_type(&self, _: &OnError) -> DataType {
        info_type()
    }

    fn evaluate(&self, inputs: &[Series], on_error: &OnError) -> Result<Vec<ArrayRef>> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        // Only headers are read, however long the rows are.
        let is_long = is_long_decompression(Device::Cpu, 0, rows(&chunks));
        let on_error = *on_error;
        let work = move |chunks: &[ByteRows], interrupted: InterruptCheck| {
            let column = column::frame_info(chunks, on_error, interrupted)?;
            let nulls = bytes_validity(chunks, column.bad_rows.rows())?;
            Ok((info_array(&column.rows, nulls, DataType::Utf8View)?, column.bad_rows))
        };
        let (info, bad_rows) = run_interruptible(is_long, chunks, work)?;
        warn_of(bad_rows, None)?;
        Ok(vec![info])
    }
}

/// Runs `work` on chunks; long work on another thread, so that an interrupt ends the call. Work on
/// a GPU stays on this one and listens itself.
fn run_interruptible<C: Send + Sync + 'static, T: Send + 'static>(
    is_long: bool,
    chunks: Vec<C>,
    work: impl FnOnce(&[C], InterruptCheck) -> Result<T> + Send + 'static,
) -> Result<T> {
    let listening = Listening::start();
    if !is_long {
        return work(&chunks, &|| listening.is_interrupted());
    }
    let work = move |chunks: &Vec<C>, interrupted: InterruptCheck| work(chunks, interrupted);
    background::run(true, chunks, work, &|| listening.is_interrupted())
}

fn rows(chunks: &[ByteRows]) -> usize {
    chunks.iter().map(Rows::count).sum()
}

fn is_long_payloads(chunks: &[PayloadRows], device: Device) -> bool {
    let bytes = chunks.iter().map(PayloadRows::bytes).sum();
    is_long_decompression(device, bytes, chunks.iter().map(Payloads::count).sum())
}

fn bytes_validity(chunks: &[ByteRows], bad_rows: &[usize]) -> Result<Option<NullBuffer>> {
    let validities = chunks.iter().map(|chunk| Ok((chunk.count(), chunk.nulls()?)));
    validity(try_collect(validities)?.into_iter(), bad_rows)
}

fn payload_chunks(inputs: &[Series], form: Form) -> Result<Vec<PayloadRows>> {
    chunks(inputs, |chunk| match form {
        Form::Payload => PayloadRows::try_new(chunk),
        Form::Frame => PayloadRows::of_frames(chunk),
    })
}

/// The chunks of the first input.
fn chunks<T>(inputs: &[Series], read: impl Fn(&ArrayRef) -> Result<T>) -> Result<Vec<T>> {
    collect_chunks(inputs.first().map_or(&[][..], |series| &series.chunks).iter().map(read))
}
