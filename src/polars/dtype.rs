//! Polars' types, as it exports them, under the names that Polars gives them.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField};

use super::metadata::Metadata;
use crate::arrow::{
    CAST_ITEMS, CSchema, ColumnType, PAYLOAD, data_type, is_number_list, item_bytes, unit_text,
};

/// What to do about a column of Python objects.
pub const OBJECTS: &str = " (Python objects, whose bytes Polars cannot read); convert it to a \
     Binary column first: pl.Series([bytes(value), ...], dtype=pl.Binary) or \
     map_elements(bytes, return_dtype=pl.Binary) for memoryview and bytearray, value.bytes for \
     UUID";

/// The deepest nesting of types that is read.
const MAX_DEPTH: usize = 32;

/// A column or a struct's field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub dtype: Dtype,
}

/// A column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Dtype {
    /// A type that Arrow has too.
    Plain(DataType),
    Int128,
    UInt128,
    /// Python objects, of which only the addresses are exported.
    Object,
    /// Codes of text.
    Categorical(DataType),
    Enum(DataType),
    List(Box<Dtype>),
    Array(Box<Dtype>, usize),
    Struct(Vec<Field>),
    /// An extension type by its name, which is read as its storage type.
    Extension(String, Box<Dtype>),
    /// An unknown type, by its format in Arrow's C data interface.
    Unknown(String),
}

impl Field {
    pub fn of(schema: &CSchema) -> Self {
        Self::at(schema, 0)
    }

    fn at(schema: &CSchema, depth: usize) -> Self {
        let name = schema.name().to_string();
        let storage = dtype(schema, depth);
        let dtype = match extension_name(schema) {
            Some(extension) => Dtype::Extension(extension, storage.into()),
            None => storage,
        };
        Self { name, dtype }
    }
}

/// The name of an extension type. Categorical and Enum are not such types: their metadata is
/// for Polars.
fn extension_name(schema: &CSchema) -> Option<String> {
    if schema.dictionary().is_some() {
        return None;
    }
    let (_, name) = Metadata::of(schema).find(|(key, _)| *key == b"ARROW:extension:name")?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn dtype(schema: &CSchema, depth: usize) -> Dtype {
    let format = schema.format().unwrap_or("");
    let unknown = || Dtype::Unknown(format.into());
    if depth >= MAX_DEPTH {
        return unknown();
    }
    let Ok(children) = schema.children() else { return unknown() };
    let mut children = children.into_iter().map(|child| Field::at(child, depth + 1));
    match format {
        // A 128-bit integer is laid out as a decimal of the widest precision.
        "_pli128" => Dtype::Int128,
        "_plu128" => Dtype::UInt128,
        "+s" => Dtype::Struct(children.collect()),
        "+L" => children.next().map_or_else(unknown, |inner| Dtype::List(inner.dtype.into())),
        // Polars has no type of fixed-size bytes: these are pointers.
        _ if format.starts_with("w:") => Dtype::Object,
        _ => match format.strip_prefix("+w:").map(str::parse) {
            Some(Ok(width)) => children
                .next()
                .map_or_else(unknown, |inner| Dtype::Array(inner.dtype.into(), width)),
            _ => plain(schema).unwrap_or_else(unknown),
        },
    }
}

/// A type that Arrow has too, or codes of text.
fn plain(schema: &CSchema) -> Option<Dtype> {
    Some(match data_type(schema).ok()? {
        codes @ DataType::Dictionary(..) => {
            let is_enum = Metadata::of(schema).any(|(key, _)| key.starts_with(b"_PL_ENUM"));
            if is_enum { Dtype::Enum(codes) } else { Dtype::Categorical(codes) }
        }
        plain if !plain.is_nested() => Dtype::Plain(plain),
        _ => return None,
    })
}

impl Dtype {
    /// Whether values are or contain Python objects.
    pub fn holds_objects(&self) -> bool {
        match self {
            Self::Object => true,
            Self::List(inner) | Self::Array(inner, _) | Self::Extension(_, inner) => {
                inner.holds_objects()
            }
            Self::Struct(fields) => fields.iter().any(|field| field.dtype.holds_objects()),
            _ => false,
        }
    }

    /// The Arrow type of lists of numbers; `None` for other types.
    pub fn number_list(&self) -> Option<DataType> {
        let data_type = match self {
            Self::List(item) => DataType::LargeList(item.list_field()?),
            Self::Array(item, len) => {
                DataType::FixedSizeList(item.list_field()?, i32::try_from(*len).ok()?)
            }
            Self::Extension(_, storage) => return storage.number_list(),
            _ => return None,
        };
        Some(data_type).filter(is_number_list)
    }

    /// The field of lists of this type: a number, or an array of numbers.
    fn list_field(&self) -> Option<Arc<ArrowField>> {
        let item = match self {
            Self::Plain(number) => number.clone(),
            arrays => arrays.number_list()?,
        };
        item_bytes(&item)?;
        Some(Arc::new(ArrowField::new_list_field(item, true)))
    }

    /// What to do about a column of the wrong type.
    fn advice(&self) -> &'static str {
        match self {
            _ if self.holds_objects() => OBJECTS,
            Self::Categorical(_) | Self::Enum(_) => "; cast it to String first",
            Self::List(_) | Self::Array(..) => CAST_ITEMS,
            Self::Struct(fields) if fields.iter().any(|field| field.name == PAYLOAD) => {
                "; pass a compressed column to decompress or verify"
            }
            _ => "",
        }
    }
}

impl ColumnType for Dtype {
    fn fields(&self) -> Option<Vec<(&str, &Self)>> {
        match self {
            Self::Struct(fields) => {
                Some(fields.iter().map(|field| (field.name.as_str(), &field.dtype)).collect())
            }
            Self::Extension(_, storage) => storage.fields(),
            _ => None,
        }
    }

    /// Categorical and Enum are codes of text, but not accepted as text.
    fn is_bytes(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.is_bytes(),
            Self::Extension(_, storage) => storage.is_bytes(),
            _ => false,
        }
    }

    fn is_integral(&self) -> bool {
        match self {
            Self::Int128 | Self::UInt128 => true,
            Self::Plain(plain) => plain.is_integral(),
            Self::Extension(_, storage) => storage.is_integral(),
            _ => false,
        }
    }

    fn text(&self) -> String {
        format!("{self}{}", self.advice())
    }
}

/// The most fields of a struct in a message.
const MAX_FIELDS: usize = 5;

/// As Polars writes its types: `List(Int64)`, `Datetime('us', 'Europe/Paris')`.
impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(plain) => fmt_plain(plain, f),
            Self::Int128 => f.write_str("Int128"),
            Self::UInt128 => f.write_str("UInt128"),
            Self::Object => f.write_str("Object"),
            Self::Categorical(_) => f.write_str("Categorical"),
            Self::Enum(_) => f.write_str("Enum"),
            Self::List(inner) => write!(f, "List({inner})"),
            Self::Array(inner, width) => write!(f, "Array({inner}, {width})"),
            Self::Struct(fields) => {
                f.write_str("Struct({")?;
                for (i, field) in fields.iter().take(MAX_FIELDS).enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}'{}': {}", field.name, field.dtype)?;
                }
                f.write_str(if fields.len() > MAX_FIELDS { ", ...})" } else { "})" })
            }
            Self::Extension(name, storage) => write!(f, "Extension('{name}', {storage})"),
            Self::Unknown(format) => write!(f, "a type of the Arrow format '{format}'"),
        }
    }
}

fn fmt_plain(plain: &DataType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match plain {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => f.write_str("String"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => f.write_str("Binary"),
        DataType::Date32 => f.write_str("Date"),
        DataType::Time64(_) => f.write_str("Time"),
        DataType::Timestamp(unit, None) => write!(f, "Datetime('{}')", unit_text(unit)),
        DataType::Timestamp(unit, Some(zone)) => {
            write!(f, "Datetime('{}', '{zone}')", unit_text(unit))
        }
        DataType::Duration(unit) => write!(f, "Duration('{}')", unit_text(unit)),
        DataType::Decimal128(precision, scale) => write!(f, "Decimal({precision}, {scale})"),
        other => write!(f, "{other}"),
    }
}
