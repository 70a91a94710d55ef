//! Tables and rows that the tests share. A new codec is one row of [`codecs`].
#![allow(dead_code, reason = "no test file uses all of it")]

pub mod gdeflate;
#[cfg(feature = "nvcomp-gpu")]
pub mod gpu;
#[cfg(feature = "nvcomp-gpu")]
pub mod own_process;
#[cfg(feature = "nvcomp-gpu")]
pub mod standin;

use s4_codec::codec::Codec;
use s4_codec::column::{
    self, Compressed, DecompressOptions, Decompressed, Offsets, OffsetsColumn, Payload, Payloads,
    Rows, View, ViewColumn, Views,
};
use s4_codec::error::{Error, Result};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use s4_codec::pool::NO_INTERRUPT;

/// Every codec with its fastest and smallest level.
const CODECS: [(&str, &[i64]); 4] =
    [("passthrough", &[]), ("cpu-zstd", &[1, 19]), ("cpu-gzip", &[0, 9]), ("nvcomp-zstd", &[])];

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
    Refused(Vec<u8>, Error),
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
            Packed::Refused(payload, error) => Payload::Refused(payload, error.clone()),
        }
    }
}

/// A chunk of frames.
pub struct FrameRows(pub Vec<Vec<u8>>);

impl Payloads for FrameRows {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn get(&self, row: usize) -> Payload<'_> {
        Payload::Frames(&self.0[row])
    }
}

/// The payloads of a compressed column, which are the same in every layout.
pub fn compress<C: Rows>(codec: &Codec, chunks: &[C]) -> Result<Compressed<Vec<Vec<u8>>>> {
    let (viewed, flat) = (
        column::compress::<Views, _>(codec, chunks, NO_INTERRUPT)?,
        column::compress::<Offsets, _>(codec, chunks, NO_INTERRUPT)?,
    );
    let payload = rows_of(&viewed.payload);
    assert!(flat_rows_of(&flat.payload, chunks.iter().map(C::count)) == payload);
    assert_eq!(flat.original_size, viewed.original_size);
    assert_eq!(flat.crc32c, viewed.crc32c);
    Ok(Compressed { payload, original_size: viewed.original_size, crc32c: viewed.crc32c })
}

/// The values of a decompressed column, or its first bad row; the same in every layout.
pub fn decompress<C: Payloads>(
    how: &DecompressOptions,
    chunks: &[C],
) -> Result<Decompressed<Vec<Vec<u8>>>> {
    let flat = column::decompress::<Offsets, _>(how, chunks, NO_INTERRUPT);
    let viewed = match (column::decompress::<Views, _>(how, chunks, NO_INTERRUPT), &flat) {
        (Ok(viewed), Ok(_)) => viewed,
        (Err(Error::Row(viewed)), Err(Error::Row(flat))) => {
            assert_eq!((viewed.row, viewed.rows), (flat.row, flat.rows));
            assert_eq!(viewed.context, flat.context);
            return Err(Error::Row(viewed));
        }
        (viewed, flat) => panic!("{:?}, but flat {:?}", viewed.err(), flat.as_ref().err()),
    };
    let (values, flat) = (rows_of(&viewed.values), flat?);
    assert!(flat_rows_of(&flat.values, chunks.iter().map(C::count)) == values);
    assert_eq!(flat.bad_rows.rows(), viewed.bad_rows.rows());
    Ok(Decompressed { values, bad_rows: viewed.bad_rows })
}

/// The rows of chunks in Arrow's large binary layout.
fn flat_rows_of(chunks: &[OffsetsColumn], counts: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    assert!(chunks.iter().map(|chunk| chunk.offsets.len() - 1).eq(counts));
    let rows = |chunk: &OffsetsColumn| {
        let (offsets, bytes) = (chunk.offsets.clone(), chunk.bytes.as_ref().to_vec());
        assert_eq!((offsets[0], *offsets.last().unwrap()), (0, bytes.len() as i64));
        (1..offsets.len())
            .map(|i| bytes[offsets[i - 1] as usize..offsets[i] as usize].to_vec())
            .collect::<Vec<_>>()
    };
    chunks.iter().flat_map(rows).collect()
}

/// The rows of a column in Arrow's view layout.
fn rows_of(column: &ViewColumn) -> Vec<Vec<u8>> {
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
