//! Decompression as the plugin's expressions have it: its options, and the arrays that it makes.

use arrow_array::{ArrayRef, new_empty_array};
use arrow_schema::DataType;

use super::arrays::{values_array, values_type};
use super::expressions::{codec, on_error};
use super::options::{OptionsError, PickledOptions};
use super::row::{repeated, repeated_bytes};
use crate::arrow::{ListType, PayloadRows, binary_array, chunk_validity, validity};
use crate::column::{self, BadRows, Content, DecompressOptions, Offsets, Payloads, Views};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::memory::collect_chunks;
use crate::pool::InterruptCheck;

/// How a column is decompressed, and the type of lists that its values become, if so.
#[derive(Clone)]
pub struct Decompression {
    pub options: DecompressOptions,
    lists: Option<ListType>,
}

/// Arrays of values, and the rows that are null in them because they were bad.
type Values = (Vec<ArrayRef>, BadRows);

impl Decompression {
    /// The names of its options.
    pub const OPTIONS: &[&str] = &[
        "codec",
        "level",
        "dictionary",
        "dictionary_set",
        "data_type",
        "codec_device",
        "utf8",
        "lists",
        "null_on_error",
        "max_size",
        // Of frames only.
        "device",
    ];

    pub fn of(options: &PickledOptions) -> Result<Self> {
        let limit =
            |size: i64| size.try_into().map_err(|_| OptionsError::from("max_size is negative"));
        let lists = options.text("lists")?.map(ListType::parse).transpose()?;
        let content = match &lists {
            Some(lists) => lists.content(),
            None if options.flag("utf8")? => Content::Text,
            None => Content::Bytes,
        };
        if content == Content::Fixed(0) {
            return Err(Error::Type(
                "Polars cannot read an Array of no items from a plugin; use dtype=pl.List".into(),
            ));
        }
        let options = DecompressOptions {
            codec: codec(options)?,
            device: options.text("device")?.map_or(Ok(Device::Cpu), str::parse)?,
            max_size: options.int("max_size")?.map(limit).transpose()?,
            content,
            on_error: on_error(options)?,
            max_total_size: None,
        };
        Ok(Self { options, lists })
    }

    /// The type of values.
    pub fn output_type(&self) -> DataType {
        match &self.lists {
            Some(lists) => lists.data_type().clone(),
            None => values_type(self.options.content),
        }
    }

    /// Decompresses chunks; a literal is repeated for as many rows as `literal_for` says.
    pub fn run(
        &self,
        chunks: &[PayloadRows],
        literal_for: Option<usize>,
        interrupted: InterruptCheck,
    ) -> Result<Values> {
        match &self.lists {
            Some(lists) => self.to_lists(lists, chunks, literal_for, interrupted),
            None => self.to_views(chunks, literal_for, interrupted),
        }
    }

    fn to_views(
        &self,
        chunks: &[PayloadRows],
        literal_for: Option<usize>,
        interrupted: InterruptCheck,
    ) -> Result<Values> {
        let column = column::decompress::<Views, _>(&self.options, chunks, interrupted)?;
        let validities = chunks.iter().map(|chunk| (chunk.count(), chunk.nulls()));
        let nulls = validity(validities, column.bad_rows.rows())?;
        let values = values_array(column.values, nulls, self.options.content)?;
        let values = match literal_for {
            Some(rows) => repeated(&values, rows)?,
            None => values,
        };
        Ok((vec![values], column.bad_rows))
    }

    /// An array for each chunk, so that none is copied to join them.
    fn to_lists(
        &self,
        lists: &ListType,
        chunks: &[PayloadRows],
        literal_for: Option<usize>,
        interrupted: InterruptCheck,
    ) -> Result<Values> {
        let column = column::decompress::<Offsets, _>(&self.options, chunks, interrupted)?;
        let bad_rows = column.bad_rows;
        let mut first = 0;
        let values = chunks.iter().zip(column.values).map(|(chunk, values)| {
            let rows = first..first + chunk.count();
            first = rows.end;
            let nulls = chunk_validity(chunk.nulls(), bad_rows.rows(), &rows)?;
            let values = binary_array(values, nulls);
            lists.read(match literal_for {
                Some(rows) => repeated_bytes(&values, rows)?,
                None => values,
            })
        });
        let mut values = collect_chunks(values)?;
        if values.is_empty() {
            values.push(new_empty_array(lists.data_type()));
        }
        Ok((values, bad_rows))
    }
}
