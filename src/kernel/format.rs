//! What the first bytes of a payload tell of its format.

use super::fcg1::{self, Algorithm};
use super::{gzip, zstd};

/// A format that its first bytes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// zstd frames, skippable ones among them.
    Zstd,
    /// gzip members.
    Gzip,
    /// A zlib stream, which no codec reads, though its deflate is gzip's.
    Zlib,
    /// nvCOMP chunks of the algorithm, if it is one that is known.
    Container(Option<Algorithm>),
    /// S4F2 frames and S4P1 paddings.
    Frames,
    /// A body that the gateway encrypted.
    Encrypted,
}

impl Format {
    /// The format that `bytes` begin as.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The window of 32 KiB that all compressors use, at zlib's four levels.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Self::Zlib,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'F', b'C', b'G', b'1', ..] => Self::Container(fcg1::algorithm_of(bytes)),
            [b'S', b'4', b'F', b'2', ..] | [b'S', b'4', b'P', b'1', ..] => Self::Frames,
            [b'S', b'4', b'E', b'1'..=b'6', ..] => Self::Encrypted,
            _ => return None,
        })
    }

    /// Whether a codec that reads the one reads the other as well, as far as magics tell.
    pub fn is_like(self, other: Self) -> bool {
        matches!((self, other), (Self::Container(_), Self::Container(_))) || self == other
    }

    /// Whether `bytes` are the front of such a format, cut before they tell it from others.
    /// None at all are not.
    pub fn may_begin_as(self, bytes: &[u8]) -> bool {
        let magics: &[&[u8]] = match self {
            Self::Zstd => &[b"\x28\xb5\x2f"],
            Self::Gzip => &[b"\x1f"],
            Self::Zlib => &[b"\x78"],
            Self::Container(_) => &[b"FCG"],
            Self::Frames => &[b"S4F", b"S4P"],
            Self::Encrypted => &[b"S4E"],
        };
        !bytes.is_empty() && magics.iter().any(|magic| magic.starts_with(bytes))
    }

    /// The codec whose payloads these are.
    pub const fn codec(self) -> Option<&'static str> {
        match self {
            Self::Zstd => Some(zstd::NAME),
            Self::Gzip => Some(gzip::NAME),
            Self::Container(Some(algorithm)) => Some(algorithm.codec()),
            Self::Zlib | Self::Container(None) | Self::Frames | Self::Encrypted => None,
        }
    }
}

/// What bytes of another format look like, as the end of a message about damage.
pub(crate) fn resembles(bytes: &[u8]) -> &'static str {
    match Format::of(bytes) {
        Some(Format::Gzip) => "; these bytes look like gzip",
        Some(Format::Zlib) => "; these bytes look like zlib, which no codec here reads",
        Some(Format::Zstd) => "; these bytes look like zstd",
        Some(Format::Frames) => "; these bytes look like an S4F2 frame",
        Some(Format::Container(_)) => {
            "; these bytes look like an nvCOMP container (NvcompZstd, NvcompBitcomp or NvcompGDeflate)"
        }
        Some(Format::Encrypted) => "; these bytes look like an encrypted S4 object",
        None if bytes.starts_with(b"S4IX") => "; these bytes look like a sidecar",
        None => "",
    }
}
