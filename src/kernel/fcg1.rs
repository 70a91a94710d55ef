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
use super::zstd::{Zstd, is_plain_frame};
use super::{Fault, Kernel, copy_to};
use crate::error::{Error, Result as CrateResult};

pub const MAGIC: [u8; 4] = *b"FCG1";
pub const HEADER_BYTES: usize = 24;

/// Bytes of the original per chunk, as all writers have it.
pub const CHUNK_BYTES: usize = 64 << 10;

/// A chunk of any algorithm is at most so long.
const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// What chunks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Zstd = 3,
    Bitcomp = 4,
    GDeflate = 5,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Zstd, Self::Bitcomp, Self::GDeflate];

    /// The name of the codec whose containers hold such chunks.
    pub const fn codec(self) -> &'static str {
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

/// How the chunks of a container are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    pub algorithm: Algorithm,
    /// What Bitcomp takes its input for; `char` for others.
    pub data_type: DataType,
}

impl Encoding {
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, data_type: DataType::default() }
    }
}

/// What Bitcomp takes its input for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataType(u8);

impl DataType {
    /// Name, bytes, number in the container, number in nvCOMP: floats pack as unsigned integers
    /// of their width, for their own numbers differ between versions of nvCOMP.
    const TABLE: [(&'static str, usize, u8, i32); 13] = [
        ("char", 1, 0, 0),
        ("u8", 1, 1, 1),
        ("u16", 2, 2, 3),
        ("u32", 4, 3, 5),
        ("u64", 8, 4, 7),
        ("i8", 1, 5, 0),
        ("i16", 2, 6, 2),
        ("i32", 4, 7, 4),
        ("i64", 8, 8, 6),
        ("f16", 2, 2, 3),
        ("bf16", 2, 11, 3),
        ("f32", 4, 9, 5),
        ("f64", 8, 10, 7),
    ];

    pub fn try_new(name: &str) -> CrateResult<Self> {
        match Self::TABLE.iter().position(|row| row.0 == name) {
            Some(row) => Ok(Self(row as u8)),
            None => {
                let names = Self::TABLE.map(|row| row.0).join(", ");
                Err(Error::Argument(format!("data_type must be one of {names}, not {name:?}")))
            }
        }
    }

    const fn row(self) -> (&'static str, usize, u8, i32) {
        Self::TABLE[self.0 as usize]
    }

    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Refuses a value that is no whole number of numbers.
    pub fn check_len(self, len: usize) -> Result<(), Fault> {
        let (name, size, ..) = self.row();
        if len.is_multiple_of(size) {
            return Ok(());
        }
        Err(Fault::Library(format!(
            "a value of {len} bytes is no multiple of the {size} bytes of {name}; \
             data_type=\"char\" takes any length"
        )))
    }

    const fn container_type(self) -> u8 {
        self.row().2
    }

    /// Its number in nvCOMP.
    pub const fn nvcomp_type(self) -> i32 {
        self.row().3
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

    /// The number of chunks.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Whether all chunks are of the shape that GPU encoders give them, which is all that a GPU
    /// decoder may be given: what it makes of other input is not defined.
    pub fn is_plain(&self, algorithm: Algorithm) -> bool {
        self.chunks().all(|(chunk, len)| match algorithm {
            Algorithm::Zstd => is_plain_frame(chunk, len),
            // 32 lanes begin with a word each.
            Algorithm::GDeflate => chunk.len() >= 128 && chunk.len().is_multiple_of(4),
            Algorithm::Bitcomp => true,
        })
    }

    /// Each chunk, and how many bytes of the original it holds.
    pub fn chunks(&self) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
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
        let count = chunk_count(src.len())?;
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
        let encoding = Encoding::new(Algorithm::Zstd);
        header.write_copy_of_slice(&to_header(encoding, src.len() as u64, count));
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
pub fn to_header(encoding: Encoding, total: u64, count: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = encoding.algorithm as u8;
    header[5] = encoding.data_type.container_type();
    header[8..16].copy_from_slice(&total.to_le_bytes());
    header[16..20].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    header[20..].copy_from_slice(&count.to_le_bytes());
    header
}

/// How many chunks a value of `len` bytes has.
pub fn chunk_count(len: usize) -> Result<u32, Fault> {
    u32::try_from(len.div_ceil(CHUNK_BYTES))
        .map_err(|_| Fault::Library("the value has more than 2^32 chunks".into()))
}

/// The room for a container where only that of an empty value can be made.
fn bound_of_empty(len: usize, reason: &str) -> Result<usize, Fault> {
    if len == 0 { Ok(HEADER_BYTES) } else { Err(Fault::Unavailable(reason.into())) }
}

fn write_empty(encoding: Encoding, dst: &mut [MaybeUninit<u8>]) -> usize {
    copy_to(&to_header(encoding, 0, 0), dst)
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
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        bound_of_empty(len, DEFLATING_NEEDS_GPU)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        bound_of_empty(src.len(), DEFLATING_NEEDS_GPU)?;
        Ok(write_empty(Encoding::new(Algorithm::GDeflate), dst))
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
pub struct BitcompContainer(pub DataType);

const DEFLATING_NEEDS_GPU: &str = "compressing to GDeflate takes an NVIDIA GPU; \
                                   gpu_status() says why none is used";
const NEEDS_GPU: &str = "Bitcomp has no public format, so that it takes an NVIDIA GPU \
                         (device=); gpu_status() says whether there is one";

impl Kernel for BitcompContainer {
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        self.0.check_len(len)?;
        bound_of_empty(len, NEEDS_GPU)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.compress_bound(src.len())?;
        let encoding = Encoding { algorithm: Algorithm::Bitcomp, data_type: self.0 };
        Ok(write_empty(encoding, dst))
    }

    /// Nothing, for nothing is decoded.
    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        match Container::parse(payload, Algorithm::Bitcomp)?.total {
            0 => Ok(0),
            _ => Err(Fault::Library(NEEDS_GPU.into())),
        }
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
