//! Polars expressions: series in, column engine, series out.

mod ffi;
mod import;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::arrow::{
    ByteRows, PayloadRows, compressed_array, decompressed_array, frames_array, info_array,
    info_type, manifest_type, reasons_array, type_text, validity, value_text,
};
use crate::codec::Codec;
use crate::column::{self, BadRows, Decompress, OnError, Payloads, Rows, VIEW_MAX_BYTES};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::pool::NEVER;
use crate::warning::warn;
use ffi::{Expression, Series, export_expression};

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

/// A codec as Python passes it: by name and settings.
#[derive(Deserialize)]
struct CodecOptions {
    name: String,
    level: Option<i64>,
    dictionary: Option<ByteBuf>,
    device: Option<String>,
    data_type: Option<String>,
}

impl CodecOptions {
    fn codec(&self) -> Result<Codec> {
        if let Some(bytes) = &self.dictionary {
            return Codec::with_dictionary(bytes, self.level);
        }
        let codec = Codec::from_name(&self.name, self.level)?;
        codec.with_gpu_settings(self.data_type.as_deref(), self.device.as_deref())
    }
}

#[derive(Deserialize)]
struct CompressOptions {
    codec: CodecOptions,
}

/// Categorical and Enum are dictionaries of strings, but no one takes them for text.
fn is_binary(data_type: &DataType) -> bool {
    ByteRows::accepts(data_type) && !matches!(data_type, DataType::Dictionary(..))
}

fn check_binary(verb: &str, inputs: &[Field]) -> Result<()> {
    let input = inputs.first().map_or(&DataType::Null, Field::data_type);
    if is_binary(input) {
        return Ok(());
    }
    Err(Error::Type(format!("{verb} takes Binary or String, got {}", type_text(input))))
}

/// Binary or String -> the manifest struct.
struct CompressExpr;

impl Expression for CompressExpr {
    type Options = CompressOptions;

    fn output_type(inputs: &[Field], options: &CompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        check_binary("compress", inputs)?;
        Ok(manifest_type(DataType::BinaryView))
    }

    fn evaluate(inputs: &[Series], options: &CompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let column = column::compress(&options.codec.codec()?, &chunks, NEVER)?;
        let nulls = validity(bytes_validity(&chunks)?.into_iter(), &[]);
        compressed_array(column, nulls)
    }
}

#[derive(Deserialize)]
struct DecompressOptions {
    codec: CodecOptions,
    utf8: bool,
    null_on_error: bool,
    max_size: Option<u64>,
    /// Of frames alone.
    device: Option<String>,
}

impl DecompressOptions {
    fn engine(&self) -> Result<Decompress> {
        Ok(Decompress {
            codec: self.codec.codec()?,
            device: self.device.as_deref().map_or(Ok(Device::Cpu), str::parse)?,
            max_size: self.max_size,
            utf8: self.utf8,
            on_error: if self.null_on_error { OnError::Null } else { OnError::Raise },
            max_total_size: None,
        })
    }
}

/// The manifest struct, or Binary of bare payloads -> Binary or String. A second input
/// names rows in errors.
struct DecompressExpr;

impl Expression for DecompressExpr {
    type Options = DecompressOptions;

    fn output_type(inputs: &[Field], options: &DecompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        PayloadRows::check(inputs.first().map_or(&DataType::Null, Field::data_type), is_binary)?;
        Ok(if options.utf8 { DataType::Utf8View } else { DataType::BinaryView })
    }

    fn evaluate(inputs: &[Series], options: &DecompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| PayloadRows::try_new(chunk))?;
        decompressed(&chunks, inputs, options)
    }
}

/// Binary or String -> Binary of frames.
struct EncodeExpr;

impl Expression for EncodeExpr {
    type Options = CompressOptions;

    fn output_type(inputs: &[Field], options: &CompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        check_binary("encode", inputs)?;
        Ok(DataType::BinaryView)
    }

    fn evaluate(inputs: &[Series], options: &CompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let column = column::encode(&options.codec.codec()?, &chunks, NEVER)?;
        let nulls = validity(bytes_validity(&chunks)?.into_iter(), &[]);
        Ok(frames_array(column, nulls))
    }
}

/// Binary of frames -> Binary or String. A second input names rows in errors.
struct DecodeExpr;

impl Expression for DecodeExpr {
    type Options = DecompressOptions;

    fn output_type(inputs: &[Field], options: &DecompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        check_binary("decode", inputs)?;
        Ok(if options.utf8 { DataType::Utf8View } else { DataType::BinaryView })
    }

    fn evaluate(inputs: &[Series], options: &DecompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| PayloadRows::of_frames(chunk))?;
        decompressed(&chunks, inputs, options)
    }
}

fn decompressed(
    chunks: &[PayloadRows],
    inputs: &[Series],
    options: &DecompressOptions,
) -> Result<ArrayRef> {
    if let [column, names] = inputs
        && ![1, column.len()].contains(&names.len())
    {
        let (rows, names) = (column.len(), names.len());
        return Err(Error::Argument(format!("row has {names} values for {rows} rows")));
    }
    let column = column::decompress(&options.engine()?, chunks, NEVER)
        .map_err(|error| name_row(error, inputs.get(1)))?;
    let nulls =
        validity(chunks.iter().map(|chunk| (chunk.count(), chunk.nulls())), column.bad_rows.rows());
    warn_of(column.bad_rows, inputs.get(1))?;
    Ok(decompressed_array(column.values, nulls, options.utf8))
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

    fn output_type(inputs: &[Field], options: &DecompressOptions) -> Result<DataType> {
        DecompressExpr::output_type(inputs, options)?;
        Ok(DataType::Utf8View)
    }

    fn evaluate(inputs: &[Series], options: &DecompressOptions) -> Result<ArrayRef> {
        reasons(&chunks(inputs, |chunk| PayloadRows::try_new(chunk))?, options)
    }
}

/// Binary of frames -> String: why rows are bad.
struct VerifyFramesExpr;

impl Expression for VerifyFramesExpr {
    type Options = DecompressOptions;

    fn output_type(inputs: &[Field], options: &DecompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        check_binary("verify_frames", inputs)?;
        Ok(DataType::Utf8View)
    }

    fn evaluate(inputs: &[Series], options: &DecompressOptions) -> Result<ArrayRef> {
        reasons(&chunks(inputs, |chunk| PayloadRows::of_frames(chunk))?, options)
    }
}

fn reasons(chunks: &[PayloadRows], options: &DecompressOptions) -> Result<ArrayRef> {
    let bad = column::verify::<_, VIEW_MAX_BYTES>(&options.engine()?, chunks, NEVER)?;
    Ok(reasons_array(bad.reasons(), chunks.iter().map(Payloads::count).sum()))
}

#[derive(Deserialize)]
struct FrameInfoOptions {
    null_on_error: bool,
}

/// Binary of frames -> a struct of what their headers say.
struct FrameInfoExpr;

impl Expression for FrameInfoExpr {
    type Options = FrameInfoOptions;

    fn output_type(inputs: &[Field], _: &FrameInfoOptions) -> Result<DataType> {
        check_binary("frame_info", inputs)?;
        Ok(info_type(DataType::Utf8View))
    }

    fn evaluate(inputs: &[Series], options: &FrameInfoOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let on_error = if options.null_on_error { OnError::Null } else { OnError::Raise };
        let column = column::frame_info(&chunks, on_error, NEVER)?;
        let nulls = validity(bytes_validity(&chunks)?.into_iter(), column.bad_rows.rows());
        warn_of(column.bad_rows, None)?;
        info_array(&column.rows, nulls, DataType::Utf8View)
    }
}

fn bytes_validity(chunks: &[ByteRows]) -> Result<Vec<(usize, Option<NullBuffer>)>> {
    chunks.iter().map(|chunk| Ok((chunk.count(), chunk.nulls()?))).collect()
}

fn chunks<T>(inputs: &[Series], read: impl Fn(&ArrayRef) -> Result<T>) -> Result<Vec<T>> {
    inputs.first().map_or(&[][..], |series| &series.chunks).iter().map(read).collect()
}

/// Adds to a row's error what the user's own `row` expression says of that row.
fn name_row(mut error: Error, names: Option<&Series>) -> Error {
    if let Error::Row(bad) | Error::Mistake { first: bad, .. } = &mut error {
        bad.name = row_name(bad.row, names);
    }
    error
}

/// What the user's own `row` expression says of a row.
fn row_name(row: usize, names: Option<&Series>) -> Option<String> {
    let names = names?;
    // A literal comes as one row that stands for all.
    let (chunk, row) = names.locate(if names.len() == 1 { 0 } else { row })?;
    let column = Some(names.field.name().as_str()).filter(|name| !name.is_empty());
    // Lists and their like are not imported, so all to tell is their type.
    let text = match names.field.data_type() {
        list if list.is_nested() && !matches!(list, DataType::Struct(_)) => {
            format!("a {}", type_text(list))
        }
        _ => value_text(chunk, row),
    };
    Some(format!("{} = {text}", column.unwrap_or("row")))
}
