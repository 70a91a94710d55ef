//! What decoded values must be.

use crate::error::{Error, Result};

/// What values must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Any bytes.
    #[default]
    Bytes,
    /// UTF-8.
    Text,
    /// Any number of items of this many bytes each.
    Items(usize),
    /// Exactly this many bytes.
    Fixed(usize),
}

impl Content {
    /// The bytes of every value, if all are equally long.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Fixed(width) => Some(width),
            _ => None,
        }
    }

    /// Checks a value.
    pub fn check(self, value: &[u8]) -> Result<()> {
        self.check_len(value.len() as u64)?;
        if self == Self::Text && simdutf8::basic::from_utf8(value).is_err() {
            let position = std::str::from_utf8(value).err().map_or(0, |error| error.valid_up_to());
            return Err(Error::InvalidUtf8 { position });
        }
        Ok(())
    }

    /// Checks the length of a value.
    pub fn check_len(self, actual: u64) -> Result<()> {
        match self {
            Self::Items(bytes) if !actual.is_multiple_of(bytes as u64) => {
                Err(Error::PartialItem { bytes: bytes as u64, actual })
            }
            Self::Fixed(expected) if actual != expected as u64 => {
                Err(Error::RowWidth { expected: expected as u64, actual })
            }
            _ => Ok(()),
        }
    }
}
