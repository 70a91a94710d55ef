//! Polars expressions: series in, column engine, series out.

mod ffi;
mod import;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field};
use serde::Deserialize;

use crate::arrow::{
    ByteRows, PayloadRows, compressed_array, decompressed_array, manifest_type, type_text,
    validity, value_text,
};
use crate::codec::Codec;
use crate::column::{self, Decompress, NEVER, Payloads, Rows};
use crate::error::{Error, Result};
use ffi::{Expression, Series, export_expression};

export_expression!(CompressExpr, _polars_plugin_compress, _polars_plugin_field_compress);
export_expression!(DecompressExpr, _polars_plugin_decompress, _polars_plugin_field_decompress);

/// A codec as Python passes it: by name and settings.
#[derive(Deserialize)]
struct CodecOptions {
    name: String,
    level: Option<i64>,
}

impl CodecOptions {
    fn codec(&self) -> Result<Codec> {
        Codec::from_name(&self.name, self.level)
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

/// Binary or String -> the manifest struct.
struct CompressExpr;

impl Expression for CompressExpr {
    type Options = CompressOptions;

    fn output_type(inputs: &[Field], options: &CompressOptions) -> Result<DataType> {
        options.codec.codec()?;
        let input = inputs.first().map_or(&DataType::Null, Field::data_type);
        if is_binary(input) {
            Ok(manifest_type(DataType::BinaryView))
        } else {
            Err(Error::Type(format!("compress takes Binary or String, got {}", type_text(input))))
        }
    }

    fn evaluate(inputs: &[Series], options: &CompressOptions) -> Result<ArrayRef> {
        let chunks = chunks(inputs, |chunk| ByteRows::try_new(chunk))?;
        let column = column::compress(&options.codec.codec()?, &chunks, NEVER)?;
        let nulls = validity(chunks.iter().map(|chunk| (chunk.count(), chunk.nulls())), &[]);
        compressed_array(column, nulls)
    }
}

#[derive(Deserialize)]
struct DecompressOptions {
    codec: CodecOptions,
    utf8: bool,
    null_on_error: bool,
    max_size: Option<u64>,
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
        if let [column, names] = inputs
            && ![1, column.len()].contains(&names.len())
        {
            let (rows, names) = (column.len(), names.len());
            return Err(Error::Argument(format!("row has {names} values for {rows} rows")));
        }
        let how = Decompress {
            codec: options.codec.codec()?,
            max_size: options.max_size,
            utf8: options.utf8,
            null_on_error: options.null_on_error,
        };
        let column = column::decompress(&how, &chunks, NEVER)
            .map_err(|error| name_row(error, inputs.get(1)))?;
        let nulls =
            validity(chunks.iter().map(|chunk| (chunk.count(), chunk.nulls())), &column.bad_rows);
        Ok(decompressed_array(column, nulls, options.utf8))
    }
}

fn chunks<T>(inputs: &[Series], read: impl Fn(&ArrayRef) -> Result<T>) -> Result<Vec<T>> {
    inputs.first().map_or(&[][..], |series| &series.chunks).iter().map(read).collect()
}

/// Adds to a row's error what the user's own `row` expression says of that row.
fn name_row(mut error: Error, names: Option<&Series>) -> Error {
    if let (Error::Row(bad), Some(names)) = (&mut error, names) {
        // A literal comes as one row that stands for all.
        let at = if names.len() == 1 { 0 } else { bad.row };
        if let Some((chunk, at)) = names.locate(at) {
            let column = Some(names.field.name().as_str()).filter(|name| !name.is_empty());
            // Lists and their like are not imported, so all to tell is their type.
            let text = match names.field.data_type() {
                list if list.is_nested() && !matches!(list, DataType::Struct(_)) => {
                    format!("a {}", type_text(list))
                }
                _ => value_text(chunk, at),
            };
            bad.name = Some(format!("{} = {text}", column.unwrap_or("row")));
        }
    }
    error
}
