//! Tables and rows that the tests share. A new codec is one row of [`codecs`].
#![allow(dead_code, reason = "no test file uses all of it")]

use s4_codec::codec::Codec;
use s4_codec::column::{Payload, Payloads, Rows, View, ViewColumn};
use s4_codec::error::{Error, Result};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};

/// Every codec with its fastest and smallest level.
const CODECS: [(&str, &[i64]); 3] =
    [("passthrough", &[]), ("cpu-zstd", &[1, 19]), ("cpu-gzip", &[0, 9])];

/// Every codec at its default level.
pub fn codecs() -> Vec<Codec> {
    CODECS.iter().map(|(name, _)| codec(name, None)).collect()
}

/// Every codec at every level of the table and its default.
pub fn codecs_and_levels() -> Vec<Codec> {
    let others = |(name, levels): &(&'static str, &'static [i64])| {
        let name = *name;
        levels.iter().map(move |&level| codec(name, Some(level)))
    };
    codecs().into_iter().chain(CODECS.iter().flat_map(others)).collect()
}

pub fn codec(name: &str, level: Option<i64>) -> Codec {
    Codec::from_name(name, level).expect("a codec of the table")
}

/// Text that compresses, of any length.
pub fn text(len: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|n| format!("{n} GET /item/{} 200 {}\n", n * 37 % 101, n * n % 977).into_bytes())
        .take(len)
        .collect()
}

/// Bytes that do not compress (xorshift64).
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Values of every kind that a codec may treat apart.
pub fn values() -> Vec<Vec<u8>> {
    let mut values = vec![Vec::new(), vec![0; 200_000], text(1 << 20), noise(300_000)];
    values.extend([1, 2, 11, 12, 13, 100, 4095, 65_535, 65_536, 65_537].map(text));
    values.extend([1, 12, 13, 1000].map(noise));
    values
}

pub fn pack(codec: &Codec, value: &[u8]) -> (Vec<u8>, Manifest) {
    let mut payload = Vec::new();
    let manifest = codec.compress(value, &mut payload).expect("compresses");
    (payload, manifest)
}

pub fn unpack(codec: &Codec, payload: &[u8], manifest: Manifest) -> Result<Vec<u8>> {
    codec.decompress(payload, &manifest, MAX_ORIGINAL_SIZE)
}

/// A chunk of values.
pub struct Values(pub Vec<Option<Vec<u8>>>);

impl Rows for Values {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn get(&self, row: usize) -> Option<&[u8]> {
        self.0[row].as_deref()
    }
}

/// One owned row of a compressed column.
#[derive(Clone)]
pub enum Packed {
    Null,
    Bare(Vec<u8>),
    Sealed(Vec<u8>, Manifest),
    Unsealed(Vec<u8>, Error),
}

/// A chunk of payloads.
#[derive(Clone)]
pub struct PackedRows(pub Vec<Packed>);

impl Payloads for PackedRows {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn get(&self, row: usize) -> Payload<'_> {
        match &self.0[row] {
            Packed::Null => Payload::Null,
            Packed::Bare(payload) => Payload::Bare(payload),
            Packed::Sealed(payload, manifest) => Payload::Sealed(payload, *manifest),
            Packed::Unsealed(payload, error) => Payload::Unsealed(payload, error.clone()),
        }
    }
}

/// The rows of a column in Arrow's view layout.
pub fn rows_of(column: &ViewColumn) -> Vec<Vec<u8>> {
    let row = |view: &View| {
        let bytes = view.to_le_bytes();
        let field = |i: usize| u32::from_le_bytes(bytes[4 * i..][..4].try_into().unwrap()) as usize;
        let len = field(0);
        if len <= 12 {
            return bytes[4..4 + len].to_vec();
        }
        let row = &column.blocks[field(2)].as_ref()[field(3)..][..len];
        assert_eq!(row[..4], bytes[4..8], "a view's prefix is its row's first four bytes");
        row.to_vec()
    };
    column.views.iter().map(row).collect()
}
