//! Arrow arrays as the rows that the column engine sees.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    AnyDictionaryArray, Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray,
    Int64Array, LargeBinaryArray,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::number_lists::NumberLists;
use super::numbers::is_number_list;
use super::texts::validity_of;
use super::volatile::{between, read_once, viewed};
use super::{
    CRC32C, ORIGINAL_SIZE, PAYLOAD, PAYLOAD_CRC32C, check_payloads, type_text, value_text,
};
use crate::column::{Payload, Payloads, Rows};
use crate::error::{Error, Result};
use crate::kernel::fcg1;
use crate::manifest::Manifest;
use crate::memory::zeroed;

/// One chunk of byte strings, in any layout that a column may have.
pub enum ByteRows {
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    View(BinaryViewArray),
    FixedSize(FixedSizeBinaryArray),
    /// Lists of numbers, as the bytes of their items.
    Numbers(NumberLists),
    Dictionary {
        keys: Keys,
        values: Box<ByteRows>,
        /// The number of values.
        count: usize,
        nulls: Option<NullBuffer>,
    },
    /// Nulls only; this many.
    Null(usize),
}

/// The key of each row: the position of its value in the dictionary.
macro_rules! keys {
    ($($name:ident: $native:ty, $arrow:ty;)*) => {
        pub enum Keys {
            $($name(ScalarBuffer<$native>),)*
        }

        impl Keys {
            fn new(dictionary: &dyn AnyDictionaryArray) -> Option<Self> {
                let keys = dictionary.keys();
                Some(match keys.data_type() {
                    $(DataType::$name => Self::$name(keys.as_primitive::<$arrow>().values().clone()),)*
                    _ => return None,
                })
            }

            fn len(&self) -> usize {
                match self {
                    $(Self::$name(keys) => keys.len(),)*
                }
            }

            /// The key of a row that is not null.
            #[inline]
            fn get(&self, row: usize) -> usize {
                match self {
                    $(Self::$name(keys) => read_once(&keys[row]).as_usize(),)*
                }
            }
        }
    };
}

keys! {
    Int8: i8, Int8Type;
    Int16: i16, Int16Type;
    Int32: i32, Int32Type;
    Int64: i64, Int64Type;
    UInt8: u8, UInt8Type;
    UInt16: u16, UInt16Type;
    UInt32: u32, UInt32Type;
    UInt64: u64, UInt64Type;
}

impl ByteRows {
    /// Whether a column of this type can be read as byte strings.
    pub fn accepts(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(_, values) => Self::accepts(values),
            DataType::Null => true,
            other => other.is_binary() || other.is_string(),
        }
    }

    /// Whether it can be compressed: as byte strings, or as lists of numbers.
    pub fn accepts_values(data_type: &DataType) -> bool {
        Self::accepts(data_type) || is_number_list(data_type)
    }

    pub fn try_new(array: &dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Self::View(array.as_binary_view().clone()),
            DataType::Utf8 => Self::Binary(array.as_string().clone().into()),
            DataType::LargeUtf8 => Self::LargeBinary(array.as_string().clone().into()),
            DataType::Utf8View => Self::View(array.as_string_view().clone().to_binary_view()),
            DataType::FixedSizeBinary(_) => Self::FixedSize(array.as_fixed_size_binary().clone()),
            DataType::Dictionary(_, values) if Self::accepts(values) => {
                let dictionary = array.as_any_dictionary();
                let keys = Keys::new(dictionary).ok_or_else(|| unreadable(array.data_type()))?;
                let values = Box::new(Self::try_new(dictionary.values())?);
                let nulls = dictionary.keys().nulls().cloned();
                Self::Dictionary { keys, count: values.count(), values, nulls }
            }
            DataType::Null => Self::Null(array.len()),
            other => match NumberLists::new(array) {
                Some(lists) => Self::Numbers(lists),
                None => return Err(unreadable(other)),
            },
        })
    }

    /// The bytes of all rows; for a dictionary those of its values.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Binary(array) => span(array.value_offsets()),
            Self::LargeBinary(array) => span(array.value_offsets()),
            Self::View(array) => array.views().iter().map(|&view| view as u32 as usize).sum(),
            Self::FixedSize(array) => array.value_data().len(),
            Self::Numbers(lists) => lists.bytes(),
            Self::Dictionary { values, .. } => values.bytes(),
            Self::Null(_) => 0,
        }
    }

    pub fn nulls(&self) -> Result<Option<NullBuffer>> {
        Ok(match self {
            Self::Binary(array) => array.nulls().cloned(),
            Self::LargeBinary(array) => array.nulls().cloned(),
            Self::View(array) => array.nulls().cloned(),
            Self::FixedSize(array) => array.nulls().cloned(),
            Self::Numbers(lists) => lists.nulls().cloned(),
            Self::Dictionary { values, nulls, .. } if !values.has_nulls() => nulls.clone(),
            Self::Dictionary { .. } => Some(self.nulls_by_row()?),
            Self::Null(rows) => Some(NullBuffer::new(bits(*rows)?)),
        })
    }

    fn has_nulls(&self) -> bool {
        match self {
            Self::Binary(array) => array.null_count() > 0,
            Self::LargeBinary(array) => array.null_count() > 0,
            Self::View(array) => array.null_count() > 0,
            Self::FixedSize(array) => array.null_count() > 0,
            Self::Numbers(lists) => lists.nulls().is_some_and(|nulls| nulls.null_count() > 0),
            Self::Dictionary { values, nulls, .. } => nulls.is_some() || values.has_nulls(),
            Self::Null(rows) => *rows > 0,
        }
    }

    fn nulls_by_row(&self) -> Result<NullBuffer> {
        let are_valid = (0..self.count()).map(|row| self.get(row).is_some());
        Ok(validity_of(self.count(), are_valid)?)
    }
}

/// Zero bits. `rows` may be a mere claim, so there may not be enough memory.
fn bits(rows: usize) -> Result<BooleanBuffer> {
    let bytes = zeroed::<u8>(rows.div_ceil(8))?;
    Ok(BooleanBuffer::new(Buffer::from_vec(bytes), 0, rows))
}

fn span<O: ArrowNativeType>(offsets: &[O]) -> usize {
    let end = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    end(offsets.last()).saturating_sub(end(offsets.first()))
}

fn unreadable(data_type: &DataType) -> Error {
    Error::Type(format!("expected binary or string data, found {}", type_text(data_type)))
}

impl Rows for ByteRows {
    fn count(&self) -> usize {
        match self {
            Self::Binary(array) => array.len(),
            Self::LargeBinary(array) => array.len(),
            Self::View(array) => array.len(),
            Self::FixedSize(array) => array.len(),
            Self::Numbers(lists) => lists.count(),
            Self::Dictionary { keys, .. } => keys.len(),
            Self::Null(rows) => *rows,
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Binary(array) => {
                array.is_valid(row).then(|| between(array.value_offsets(), row, array.value_data()))
            }
            Self::LargeBinary(array) => {
                array.is_valid(row).then(|| between(array.value_offsets(), row, array.value_data()))
            }
            Self::View(array) => array.is_valid(row).then(|| viewed(array, row)),
            Self::FixedSize(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Numbers(lists) => lists.get(row),
            Self::Dictionary { keys, values, count, nulls } => {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let key = if valid { keys.get(row) } else { *count };
                if key < *count { values.get(key) } else { None }
            }
            Self::Null(_) => None,
        }
    }

    fn number_type(&self) -> Option<fcg1::DataType> {
        match self {
            Self::Numbers(lists) => lists.number_type(),
            _ => None,
        }
    }

    fn may_refuse(&self) -> bool {
        match self {
            Self::Numbers(lists) => lists.may_refuse(),
            _ => false,
        }
    }

    #[inline]
    fn refusal(&self, row: usize) -> Option<Error> {
        match self {
            Self::Numbers(lists) => lists.refusal(row),
            _ => None,
        }
    }
}

/// One chunk of a compressed column.
pub struct PayloadRows {
    payload: ByteRows,
    manifests: Option<Manifests>,
    /// The checksums of the payloads themselves, null where none is recorded.
    payload_crc32c: Option<ArrayRef>,
    are_frames: bool,
    nulls: Option<NullBuffer>,
}

/// The sizes and checksums of a chunk.
struct Manifests {
    original_size: ArrayRef,
    crc32c: ArrayRef,
    /// The same, if they have the types that compress returns.
    usual: Option<(Int64Array, Int64Array)>,
}

impl PayloadRows {
    pub fn try_new(array: &dyn Array) -> Result<Self> {
        check_payloads(array.data_type())?;
        let Some(columns) = array.as_struct_opt() else {
            let payload = ByteRows::try_new(array)?;
            let nulls = payload.nulls()?;
            return Ok(Self::without_manifests(payload, nulls, false));
        };
        let field = |name| columns.column_by_name(name).map(Arc::clone).ok_or_else(|| lacks(name));
        let payload = ByteRows::try_new(&field(PAYLOAD)?)?;
        let nulls = NullBuffer::union(columns.nulls(), payload.nulls()?.as_ref());
        let manifests = Manifests::new(field(ORIGINAL_SIZE)?, field(CRC32C)?);
        let payload_crc32c = columns.column_by_name(PAYLOAD_CRC32C).map(Arc::clone);
        let payload_crc32c = payload_crc32c.filter(|array| array.data_type() != &DataType::Null);
        Ok(Self { payload, manifests: Some(manifests), payload_crc32c, are_frames: false, nulls })
    }

    /// A chunk of frames.
    pub fn of_frames(array: &dyn Array) -> Result<Self> {
        let payload = ByteRows::try_new(array)?;
        let nulls = payload.nulls()?;
        Ok(Self::without_manifests(payload, nulls, true))
    }

    fn without_manifests(payload: ByteRows, nulls: Option<NullBuffer>, are_frames: bool) -> Self {
        Self { payload, manifests: None, payload_crc32c: None, are_frames, nulls }
    }

    /// Whether payloads have no sizes and checksums.
    pub fn is_bare(&self) -> bool {
        self.manifests.is_none() && !self.are_frames
    }

    /// The bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.payload.bytes()
    }

    pub fn nulls(&self) -> Option<NullBuffer> {
        self.nulls.clone()
    }
}

fn lacks(name: &str) -> Error {
    Error::Type(format!("the struct lacks {name}"))
}

/// The integer in a row; `None` where it is null, or does not fit 128 bits.
#[inline]
fn integer(array: &ArrayRef, row: usize) -> Option<i128> {
    macro_rules! number {
        ($type:ty) => {
            array.as_primitive::<$type>().value(row).into()
        };
    }
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::UInt64 => number!(UInt64Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int8 => number!(Int8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::Decimal32(..) => number!(Decimal32Type),
        DataType::Decimal64(..) => number!(Decimal64Type),
        DataType::Decimal128(..) => number!(Decimal128Type),
        DataType::Decimal256(..) => {
            return array.as_primitive::<Decimal256Type>().value(row).to_i128();
        }
        _ => return None,
    })
}

impl Manifests {
    fn new(original_size: ArrayRef, crc32c: ArrayRef) -> Self {
        let sizes = original_size.as_primitive_opt::<Int64Type>().cloned();
        let usual = sizes.zip(crc32c.as_primitive_opt::<Int64Type>().cloned());
        Self { original_size, crc32c, usual }
    }

    #[inline]
    fn get(&self, row: usize) -> Result<Manifest> {
        if let Some((sizes, crcs)) = &self.usual
            && sizes.is_valid(row)
            && crcs.is_valid(row)
            && let Ok(original_size) = sizes.value(row).try_into()
            && let Ok(crc32c) = crcs.value(row).try_into()
        {
            return Ok(Manifest { original_size, crc32c });
        }
        self.get_any(row)
    }

    fn get_any(&self, row: usize) -> Result<Manifest> {
        let number = |array| integer(array, row);
        let Some(original_size) = number(&self.original_size).and_then(|n| n.try_into().ok())
        else {
            return Err(out_of_range(ORIGINAL_SIZE, &self.original_size, row, "2^64"));
        };
        let Some(crc32c) = number(&self.crc32c).and_then(|n| n.try_into().ok()) else {
            return Err(out_of_range(CRC32C, &self.crc32c, row, "2^32"));
        };
        Ok(Manifest { original_size, crc32c })
    }
}

fn out_of_range(name: &str, given: &ArrayRef, row: usize, end: &str) -> Error {
    Error::BadManifest(if given.is_null(row) || given.data_type() == &DataType::Null {
        format!("the row has a payload but its {name} is null")
    } else {
        format!("{name} must be from 0 to below {end}, found {}", value_text(given, row))
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
            (Some(body), None) if self.are_frames => Payload::Frames(body),
            (Some(payload), None) => Payload::Bare(payload),
            (Some(payload), Some(manifests)) => match manifests.get(row) {
                Ok(manifest) => Payload::Sealed(payload, manifest),
                Err(error) => Payload::Refused(payload, error),
            },
        }
    }

    fn has_payload_crc32c(&self) -> bool {
        self.payload_crc32c.is_some()
    }

    fn payload_crc32c(&self, row: usize) -> Result<Option<u32>> {
        let Some(array) = self.payload_crc32c.as_ref().filter(|array| array.is_valid(row)) else {
            return Ok(None);
        };
        let checksum = integer(array, row).and_then(|n| n.try_into().ok());
        checksum.map(Some).ok_or_else(|| out_of_range(PAYLOAD_CRC32C, array, row, "2^32"))
    }
}
