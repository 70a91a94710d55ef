//! Codecs `nvcomp-zstd` and `nvcomp-gdeflate` on a CPU: FCG1, the container of what GPUs
//! write, read chunk by chunk; and written, for zstd, in the same bytes.
//!
//! ```text
//! offset 0       4          5          6  8      16           20      24
//!        "FCG1"  algorithm  data type  0  total  chunk bytes  chunks  sizes      the chunks
//!        u8 x 4  u8         u8, or 0   u16  u64  u32          u32     u32 each   in order
//! ```
//!
//! Chunk `i` holds the original's bytes from `i * chunk bytes` on. Integers are
//! little-endian.

use std::mem::MaybeUninit;
use std::slice::ChunksMut;

use super::gdeflate::{Decoder, PAGE_MAX};
use super::zstd::Zstd;
use super::{Fault, Kernel};

pub const MAGIC: [u8; 4] = *b"FCG1";
pub const HEADER_BYTES: usize = 24;

/// Bytes of the original per chunk, as all writers have it.
pub const CHUNK_BYTES: usize = 64 << 10;

/// A chunk of any algorithm is at most so long.
const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// What chunks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Zstd = 3,
    Bitcomp = 4,
    GDeflate = 5,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Zstd, Self::Bitcomp, Self::GDeflate];

    const fn codec(self) -> &'static str {
        match self {
            Self::Zstd => "nvcomp-zstd",
            Self::Bitcomp => "nvcomp-bitcomp",
            Self::GDeflate => "nvcomp-gdeflate",
        }
    }

    const fn max_chunk_bytes(self) -> u32 {
        match self {
            Self::Zstd | Self::Bitcomp => MAX_CHUNK_BYTES,
            Self::GDeflate => PAGE_MAX as u32,
        }
    }
}

/// A container whose arithmetic holds.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// Bytes of the original.
    pub total: u64,
    /// Bytes of the original per chunk, the last one maybe less.
    pub chunk_bytes: u32,
    sizes: &'a [[u8; 4]],
    chunks: &'a [u8],
}

impl<'a> Container<'a> {
    /// Checks all that can be checked without decoding.
    pub fn parse(bytes: &'a [u8], algorithm: Algorithm) -> Result<Self, Fault> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            let len = bytes.len();
            return damaged(format!(
                "a container has at least {HEADER_BYTES} bytes, here are {len}"
            ));
        };
        if header[..4] != MAGIC {
            return damaged(format!(
                "a container begins with FCG1, here is {}",
                header[..4].escape_ascii()
            ));
        }
        match Algorithm::ALL.into_iter().find(|known| *known as u8 == header[4]) {
            Some(found) if found == algorithm => {}
            Some(other) => return Err(Fault::OtherCodec(other.codec())),
            None => return damaged(format!("algorithm {} is unknown", header[4])),
        }
        let most = if algorithm == Algorithm::Bitcomp { 11 } else { 0 };
        if header[5] > most || header[6..8] != [0, 0] {
            return damaged("bytes 5 to 7 are not what they must be".into());
        }
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let total = u64::from(number(8)) | u64::from(number(12)) << 32;
        let (chunk_bytes, count) = (number(16), number(20));
        let most = algorithm.max_chunk_bytes();
        if !(1..=most).contains(&chunk_bytes) {
            return damaged(format!("chunks of {chunk_bytes} bytes; there may be 1 to {most}"));
        }
        if u64::from(count) != total.div_ceil(chunk_bytes.into()) {
            return damaged(format!("{count} chunks of {chunk_bytes} bytes for {total} in all"));
        }
        let rest = &bytes[HEADER_BYTES..];
        let table =
            usize::try_from(u64::from(count) * 4).ok().and_then(|len| rest.split_at_checked(len));
        let Some((table, chunks)) = table else {
            return damaged(format!("the sizes of {count} chunks are cut"));
        };
        let (sizes, _) = table.as_chunks();
        let sum: u64 = sizes.iter().map(|size| u64::from(u32::from_le_bytes(*size))).sum();
        if sum != chunks.len() as u64 {
            return damaged(format!("the chunks have {sum} bytes, here are {}", chunks.len()));
        }
        if sizes.contains(&[0; 4]) {
            return damaged("a chunk has no bytes".into());
        }
        Ok(Self { total, chunk_bytes, sizes, chunks })
    }

    /// Each chunk, and how many bytes of the original it holds.
    pub fn chunks(&self) -> impl Iterator<Item = (&'a [u8], usize)> {
        let (mut rest, mut left) = (self.chunks, self.total);
        let chunk_bytes = u64::from(self.chunk_bytes);
        self.sizes.iter().map(move |size| {
            let (chunk, later) = rest.split_at(u32::from_le_bytes(*size) as usize);
            rest = later;
            let len = left.min(chunk_bytes);
            left -= len;
            (chunk, len as usize)
        })
    }
}

fn damaged<T>(what: String) -> Result<T, Fault> {
    Err(Fault::Container(what))
}

/// How the chunks of one algorithm are read.
trait Chunks {
    const ALGORITHM: Algorithm;

    /// The most bytes that `chunk` can decode to.
    fn bound(&mut self, chunk: &[u8]) -> Result<u64, Fault>;

    /// Decodes `chunk` to exactly `dst`.
    fn decode(&mut self, chunk: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault>;
}

/// The total that a container of plausible chunks states.
fn bound_of<C: Chunks>(chunks: &mut C, payload: &[u8]) -> Result<u64, Fault> {
    let container = Container::parse(payload, C::ALGORITHM)?;
    for (i, (chunk, len)) in container.chunks().enumerate() {
        let most = chunks.bound(chunk).map_err(|fault| in_chunk(i, fault))?;
        if most < len as u64 {
            return damaged(format!("chunk {i} of {len} bytes can hold at most {most}"));
        }
    }
    Ok(container.total)
}

fn stated_by(payload: &[u8], algorithm: Algorithm) -> Result<Option<u64>, Fault> {
    Container::parse(payload, algorithm).map(|container| Some(container.total))
}

fn decode_all<C: Chunks>(
    chunks: &mut C,
    payload: &[u8],
    dst: &mut [MaybeUninit<u8>],
) -> Result<usize, Fault> {
    let container = Container::parse(payload, C::ALGORITHM)?;
    if container.total != dst.len() as u64 {
        return Err(Fault::Length { decoded: container.total });
    }
    let rooms: ChunksMut<MaybeUninit<u8>> = dst.chunks_mut(container.chunk_bytes as usize);
    for (i, ((chunk, _), room)) in container.chunks().zip(rooms).enumerate() {
        chunks.decode(chunk, room).map_err(|fault| in_chunk(i, fault))?;
    }
    Ok(dst.len())
}

/// What is wrong with one chunk is wrong with the container.
fn in_chunk(i: usize, fault: Fault) -> Fault {
    match fault {
        Fault::Corrupt(reason) | Fault::Container(reason) => {
            Fault::Container(format!("chunk {i}: {reason}"))
        }
        Fault::TooLong | Fault::Length { .. } => {
            Fault::Container(format!("chunk {i} is not as long as the container says"))
        }
        other => other,
    }
}

/// zstd frames, one a chunk.
pub struct ZstdContainer<'a>(pub Zstd<'a>);

impl Chunks for ZstdContainer<'_> {
    const ALGORITHM: Algorithm = Algorithm::Zstd;

    fn bound(&mut self, chunk: &[u8]) -> Result<u64, Fault> {
        self.0.decoded_bound(chunk)
    }

    fn decode(&mut self, chunk: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault> {
        let decoded = self.0.decompress(chunk, dst)? as u64;
        if decoded == dst.len() as u64 { Ok(()) } else { Err(Fault::Length { decoded }) }
    }
}

impl Kernel for ZstdContainer<'_> {
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        let count = len.div_ceil(CHUNK_BYTES);
        let one = self.0.compress_bound(CHUNK_BYTES)?;
        let bound = count.checked_mul(4 + one).and_then(|chunks| chunks.checked_add(HEADER_BYTES));
        bound.ok_or(Fault::OutOfMemory { bytes: u64::MAX })
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let chunks = src.chunks(CHUNK_BYTES);
        let count = u32::try_from(chunks.len())
            .map_err(|_| Fault::Library("the value has more than 2^32 chunks".into()))?;
        let (header, rest) = dst.split_at_mut(HEADER_BYTES);
        let (table, mut rest) = rest.split_at_mut(count as usize * 4);
        let mut len = HEADER_BYTES + table.len();
        for (chunk, size) in chunks.zip(table.chunks_exact_mut(4)) {
            let written = self.0.compress(chunk, rest)?;
            // A chunk of 64 KiB compresses to little more at most.
            size.write_copy_of_slice(&(written as u32).to_le_bytes());
            rest = &mut rest[written..];
            len += written;
        }
        header.write_copy_of_slice(&to_header(Algorithm::Zstd, src.len() as u64, count));
        Ok(len)
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        bound_of(self, payload)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        stated_by(payload, Algorithm::Zstd)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        decode_all(self, payload, dst)
    }
}

/// The header of a container of 64 KiB chunks.
pub fn to_header(algorithm: Algorithm, total: u64, count: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = algorithm as u8;
    header[8..16].copy_from_slice(&total.to_le_bytes());
    header[16..20].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    header[20..].copy_from_slice(&count.to_le_bytes());
    header
}

/// GDeflate pages, one a chunk.
pub struct GDeflateContainer<'a>(pub &'a mut Decoder);

impl Chunks for GDeflateContainer<'_> {
    const ALGORITHM: Algorithm = Algorithm::GDeflate;

    fn bound(&mut self, chunk: &[u8]) -> Result<u64, Fault> {
        if !chunk.len().is_multiple_of(4) {
            return Err(Fault::corrupt("the page's length is not a multiple of 4"));
        }
        Ok(PAGE_MAX as u64)
    }

    fn decode(&mut self, chunk: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault> {
        self.0.decode_page(chunk, dst)
    }
}

impl Kernel for GDeflateContainer<'_> {
    fn compress_bound(&mut self, _len: usize) -> Result<usize, Fault> {
        Err(Fault::Library("compressing to GDeflate needs a GPU".into()))
    }

    fn compress(&mut self, _src: &[u8], _dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        Err(Fault::Library("compressing to GDeflate needs a GPU".into()))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        bound_of(self, payload)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        stated_by(payload, Algorithm::GDeflate)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        decode_all(self, payload, dst)
    }
}

/// Bitcomp chunks, of which a CPU can check the container alone.
pub struct BitcompContainer;

const NEEDS_GPU: &str = "Bitcomp has no public format, so that it takes an NVIDIA GPU";

impl Kernel for BitcompContainer {
    fn compress_bound(&mut self, _len: usize) -> Result<usize, Fault> {
        Err(Fault::Library(NEEDS_GPU.into()))
    }

    fn compress(&mut self, _src: &[u8], _dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        Err(Fault::Library(NEEDS_GPU.into()))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        Container::parse(payload, Algorithm::Bitcomp).map(|container| container.total)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        stated_by(payload, Algorithm::Bitcomp)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let container = Container::parse(payload, Algorithm::Bitcomp)?;
        if container.total != dst.len() as u64 {
            return Err(Fault::Length { decoded: container.total });
        }
        if dst.is_empty() { Ok(0) } else { Err(Fault::Library(NEEDS_GPU.into())) }
    }
}
