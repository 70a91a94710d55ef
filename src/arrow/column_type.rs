//! Which columns can be decompressed, decided by their type.

use arrow_schema::DataType;

use super::{ByteRows, CRC32C, ORIGINAL_SIZE, PAYLOAD, PAYLOAD_CRC32C, type_text};
use crate::error::{Error, Result};

/// A column's type: Arrow's, or that of a library with its own types and names.
pub trait ColumnType: Sized {
    /// The fields of a struct, by name; `None` for other types.
    fn fields(&self) -> Option<Vec<(&str, &Self)>>;

    /// Whether values are byte strings, or all null.
    fn is_bytes(&self) -> bool;

    /// Whether values are integers, or all null.
    fn is_integral(&self) -> bool;

    /// Its name, with advice where there is some.
    fn text(&self) -> String;
}

impl ColumnType for DataType {
    fn fields(&self) -> Option<Vec<(&str, &Self)>> {
        let Self::Struct(fields) = self else { return None };
        Some(fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect())
    }

    fn is_bytes(&self) -> bool {
        ByteRows::accepts(self)
    }

    /// Integers and decimal(p, 0) of any width.
    fn is_integral(&self) -> bool {
        self.is_integer()
            || matches!(
                self,
                Self::Null
                    | Self::Decimal32(_, 0)
                    | Self::Decimal64(_, 0)
                    | Self::Decimal128(_, 0)
                    | Self::Decimal256(_, 0)
            )
    }

    fn text(&self) -> String {
        type_text(self)
    }
}

/// The most field names in a message.
const MAX_NAMES: usize = 20;

/// Checks that a column is what compress returns, or bare payloads.
pub fn check_payloads<T: ColumnType>(column: &T) -> Result<()> {
    let Some(fields) = column.fields() else {
        return if column.is_bytes() {
            Ok(())
        } else {
            Err(Error::Type(format!(
                "expected the struct that compress returns ({PAYLOAD}, {ORIGINAL_SIZE}, \
                 {CRC32C}), or Binary for bare payloads, found {}",
                column.text()
            )))
        };
    };
    let is_missing = |wanted: &&str| !fields.iter().any(|(name, _)| name == wanted);
    let missing: Vec<_> = [PAYLOAD, ORIGINAL_SIZE, CRC32C].into_iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let mut found: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        if found.len() > MAX_NAMES {
            found.truncate(MAX_NAMES);
            found.push("...");
        }
        return Err(Error::Type(format!(
            "the struct lacks {}; it has {}",
            enumerated(&missing),
            if found.is_empty() { "no fields".into() } else { found.join(", ") }
        )));
    }
    for (name, field) in fields {
        let (accepted, expected) = match name {
            PAYLOAD => (field.is_bytes(), "Binary"),
            ORIGINAL_SIZE | CRC32C | PAYLOAD_CRC32C => {
                (field.is_integral(), "an integer type or decimal(p, 0)")
            }
            _ => continue,
        };
        if !accepted {
            let found = field.text();
            return Err(Error::Type(format!(
                "struct field {name} must be {expected}, found {found}"
            )));
        }
    }
    Ok(())
}

/// "a", "a and b", "a, b and c".
fn enumerated(names: &[&str]) -> String {
    match names {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => names.concat(),
    }
}
