//! Codec ids and names of the S4 wire format. They never change. See "Codecs" in
//! `docs/format.md`.

use crate::error::{Error, Result};
use crate::kernel::fcg1::Algorithm;
use crate::kernel::{gzip, passthrough, zstd};

/// Names by id. Ids 4 and 5 are reserved: no codec of this version has them.
const NAMES: [&str; 9] = [
    passthrough::NAME,
    zstd::NAME,
    Algorithm::Zstd.codec(),
    Algorithm::Bitcomp.codec(),
    "nvcomp-gans",
    "dietgpu-ans",
    Algorithm::GDeflate.codec(),
    gzip::NAME,
    zstd::DICTIONARY_NAME,
];

/// The number that names a codec in a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(u32);

impl CodecId {
    /// `passthrough`
    pub const PASSTHROUGH: Self = Self(0);
    /// `cpu-zstd`
    pub const ZSTD: Self = Self(1);
    /// `cpu-gzip`
    pub const GZIP: Self = Self(7);
    /// `cpu-zstd-dict`
    pub const ZSTD_DICT: Self = Self(8);

    /// The codec of containers whose chunks are coded by `algorithm`.
    pub const fn of_container(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Zstd => 2,
            Algorithm::Bitcomp => 3,
            Algorithm::GDeflate => 6,
        })
    }

    /// How its containers are coded, if its payloads are containers.
    pub fn algorithm(self) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| Self::of_container(*algorithm) == self)
    }

    /// The id of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let id = NAMES.iter().position(|known| *known == name)?;
        u32::try_from(id).ok().map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The name, such as `"cpu-zstd"`.
    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// Whether its payloads are decoded with a dictionary.
    pub fn needs_dictionary(self) -> bool {
        self == Self::ZSTD_DICT
    }
}

impl TryFrom<u32> for CodecId {
    type Error = Error;

    fn try_from(id: u32) -> Result<Self> {
        if (id as usize) < NAMES.len() {
            return Ok(Self(id));
        }
        Err(Error::Frame(format!("unknown codec id {id}")))
    }
}
