//! Arrow arrays <-> rows and columns. Nothing is copied either way.

mod text;

use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, PrimitiveArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};

use crate::column::{Block, Compressed, Decompressed, Payload, Payloads, Rows, ViewColumn};
use crate::error::{Error, Result};
use crate::manifest::Manifest;

pub use text::{type_text, value_text};

/// The fields of a compressed column.
pub const PAYLOAD: &str = "payload";
pub const ORIGINAL_SIZE: &str = "original_size";
pub const CRC32C: &str = "crc32c";

/// The type of a compressed column: `struct<payload, original_size, crc32c>`.
pub fn manifest_type() -> DataType {
    DataType::Struct(Fields::from(vec![
        Field::new(PAYLOAD, DataType::BinaryView, true),
        Field::new(ORIGINAL_SIZE, DataType::UInt64, true),
        Field::new(CRC32C, DataType::UInt32, true),
    ]))
}

/// One chunk of byte strings, in any layout that a column may have.
pub enum ByteRows {
    View(BinaryViewArray),
    /// So many nulls.
    Null(usize),
}

impl ByteRows {
    /// Whether a column of this type can be read as byte strings.
    pub fn accepts(data_type: &DataType) -> bool {
        matches!(data_type, DataType::BinaryView | DataType::Utf8View | DataType::Null)
    }

    pub fn try_new(array: &dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::BinaryView => Ok(Self::View(array.as_binary_view().clone())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view().clone().to_binary_view())),
            DataType::Null => Ok(Self::Null(array.len())),
            other => Err(Error::Argument(format!("expected Binary or String, got {other}"))),
        }
    }

    pub fn nulls(&self) -> Option<NullBuffer> {
        match self {
            Self::View(array) => array.nulls().cloned(),
            Self::Null(rows) => Some(NullBuffer::new_null(*rows)),
        }
    }
}

impl Rows for ByteRows {
    fn count(&self) -> usize {
        match self {
            Self::View(array) => array.len(),
            Self::Null(rows) => *rows,
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::View(array) if array.is_valid(row) => Some(array.value(row)),
            _ => None,
        }
    }
}

/// One chunk of a compressed column.
pub struct PayloadRows {
    payload: ByteRows,
    manifests: Option<Manifests>,
    nulls: Option<NullBuffer>,
}

/// Sizes and checksums as they came, and as they are used: null where they do not fit.
struct Manifests {
    original_size: UInt64Array,
    crc32c: UInt32Array,
    given_size: ArrayRef,
    given_crc: ArrayRef,
}

impl PayloadRows {
    /// Checks that a column of this type can be decompressed.
    pub fn check(data_type: &DataType) -> Result<()> {
        let DataType::Struct(fields) = data_type else {
            return if ByteRows::accepts(data_type) {
                Ok(())
            } else {
                Err(Error::Argument(format!(
                    "expected the struct that compress makes ({PAYLOAD}, {ORIGINAL_SIZE}, {CRC32C}), \
                     or Binary for bare payloads; got {}",
                    type_text(data_type)
                )))
            };
        };
        let missing: Vec<_> = [PAYLOAD, ORIGINAL_SIZE, CRC32C]
            .into_iter()
            .filter(|name| fields.find(name).is_none())
            .collect();
        if !missing.is_empty() {
            let found: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            return Err(Error::Argument(format!(
                "the struct lacks {}; it has {}",
                missing.join(" and "),
                found.join(", ")
            )));
        }
        for field in fields {
            let (accepted, expected) = match field.name().as_str() {
                PAYLOAD => (ByteRows::accepts(field.data_type()), "Binary"),
                ORIGINAL_SIZE | CRC32C => {
                    (is_whole(field.data_type()), "an integer type or decimal(p, 0)")
                }
                _ => continue,
            };
            if !accepted {
                return Err(Error::Argument(format!(
                    "struct field {} must be {expected}, it is {}",
                    field.name(),
                    type_text(field.data_type())
                )));
            }
        }
        Ok(())
    }

    pub fn try_new(array: &dyn Array) -> Result<Self> {
        Self::check(array.data_type())?;
        let Some(columns) = array.as_struct_opt() else {
            let payload = ByteRows::try_new(array)?;
            let nulls = payload.nulls();
            return Ok(Self { payload, manifests: None, nulls });
        };
        let field = |name| columns.column_by_name(name).map(Arc::clone).ok_or_else(|| lacks(name));
        let payload = ByteRows::try_new(&field(PAYLOAD)?)?;
        let nulls = NullBuffer::union(columns.nulls(), payload.nulls().as_ref());
        let (given_size, given_crc) = (field(ORIGINAL_SIZE)?, field(CRC32C)?);
        let manifests = Manifests {
            original_size: whole::<UInt64Type>(&given_size)?,
            crc32c: whole::<UInt32Type>(&given_crc)?,
            given_size,
            given_crc,
        };
        Ok(Self { payload, manifests: Some(manifests), nulls })
    }

    pub fn nulls(&self) -> Option<NullBuffer> {
        self.nulls.clone()
    }
}

fn lacks(name: &str) -> Error {
    Error::Argument(format!("the struct lacks {name}"))
}

/// Integers of any width, and what Spark makes of ours: decimal(20, 0).
fn is_whole(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Null | DataType::Decimal128(_, 0))
}

/// Whole numbers as `T`, null where they do not fit.
fn whole<T>(array: &ArrayRef) -> Result<PrimitiveArray<T>>
where
    T: ArrowPrimitiveType<Native: TryFrom<i128>>,
{
    macro_rules! narrow {
        ($from:ty) => {
            Ok(array.as_primitive::<$from>().unary_opt(|n| T::Native::try_from(i128::from(n)).ok()))
        };
    }
    match array.data_type() {
        same if *same == T::DATA_TYPE => Ok(array.as_primitive::<T>().clone()),
        DataType::Null => Ok(PrimitiveArray::new_null(array.len())),
        DataType::Int8 => narrow!(Int8Type),
        DataType::Int16 => narrow!(Int16Type),
        DataType::Int32 => narrow!(Int32Type),
        DataType::Int64 => narrow!(Int64Type),
        DataType::UInt8 => narrow!(UInt8Type),
        DataType::UInt16 => narrow!(UInt16Type),
        DataType::UInt32 => narrow!(UInt32Type),
        DataType::UInt64 => narrow!(UInt64Type),
        DataType::Decimal128(_, 0) => narrow!(Decimal128Type),
        other => Err(Error::Argument(format!("expected an integer type, got {other}"))),
    }
}

impl Manifests {
    fn get(&self, row: usize) -> Result<Manifest> {
        if self.original_size.is_null(row) {
            return Err(misfit(ORIGINAL_SIZE, &self.given_size, row, "2^64"));
        }
        if self.crc32c.is_null(row) {
            return Err(misfit(CRC32C, &self.given_crc, row, "2^32"));
        }
        let (original_size, crc32c) = (self.original_size.value(row), self.crc32c.value(row));
        Ok(Manifest { original_size, crc32c })
    }
}

fn misfit(name: &str, given: &ArrayRef, row: usize, end: &str) -> Error {
    Error::BadManifest(if given.is_null(row) || given.data_type() == &DataType::Null {
        format!("the row has a payload but its {name} is null")
    } else {
        format!("{name} must be from 0 to below {end}, it is {}", value_text(given, row))
    })
}

impl Payloads for PayloadRows {
    fn count(&self) -> usize {
        self.payload.count()
    }

    #[inline]
    fn get(&self, row: usize) -> Payload<'_> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Payload::Null;
        }
        match (self.payload.get(row), &self.manifests) {
            (None, _) => Payload::Null,
            (Some(payload), None) => Payload::Bare(payload),
            (Some(payload), Some(manifests)) => match manifests.get(row) {
                Ok(manifest) => Payload::Sealed(payload, manifest),
                Err(error) => Payload::Unsealed(payload, error),
            },
        }
    }
}

/// The validity of a whole column from that of its chunks, with further rows made null.
pub fn validity(
    chunks: impl Iterator<Item = (usize, Option<NullBuffer>)>,
    bad_rows: &[usize],
) -> Option<NullBuffer> {
    let mut bits = BooleanBufferBuilder::new(0);
    for (rows, nulls) in chunks {
        match nulls {
            Some(nulls) => bits.append_buffer(nulls.inner()),
            None => bits.append_n(rows, true),
        }
    }
    bad_rows.iter().for_each(|&row| bits.set_bit(row, false));
    Some(NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0)
}

/// A column as an Arrow array that owns its blocks.
fn binary_view(column: ViewColumn, nulls: Option<NullBuffer>) -> BinaryViewArray {
    let buffers = column.blocks.into_iter().map(buffer).collect();
    // SAFETY: the column engine made the views, each inside its block.
    unsafe { BinaryViewArray::new_unchecked(ScalarBuffer::from(column.views), buffers, nulls) }
}

fn buffer(block: Block) -> Buffer {
    let block = Arc::new(block);
    let bytes: &[u8] = (*block).as_ref();
    let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
    // SAFETY: `start` and `len` are the block's written bytes; they are never written or
    // moved again, and the buffer keeps the block.
    unsafe { Buffer::from_custom_allocation(start, len, block) }
}

/// The struct array of [`manifest_type`].
pub fn compressed_array(column: Compressed, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = manifest_type() else { return Err(lacks(PAYLOAD)) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(binary_view(column.payload, nulls.clone())),
        Arc::new(UInt64Array::new(column.original_size.into(), nulls.clone())),
        Arc::new(UInt32Array::new(column.crc32c.into(), nulls.clone())),
    ];
    StructArray::try_new(fields, columns, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(from_arrow)
}

/// The values of a decompressed column; `utf8` says that the engine checked them as text.
pub fn decompressed_array(column: Decompressed, nulls: Option<NullBuffer>, utf8: bool) -> ArrayRef {
    let array = binary_view(column.values, nulls);
    if utf8 {
        // SAFETY: the engine checked every row as UTF-8; null rows are empty.
        Arc::new(unsafe { array.to_string_view_unchecked() })
    } else {
        Arc::new(array)
    }
}

pub fn from_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::MemoryError(reason) => Error::Backend(reason),
        other => Error::Argument(other.to_string()),
    }
}
