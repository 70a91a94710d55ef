//! Codecs `nvcomp-zstd`, `nvcomp-gdeflate` and `nvcomp-bitcomp` on a CPU, as far as that can
//! be: the first is read and written, the second read, and of the third the container checked.

use std::mem::MaybeUninit;
use std::slice::ChunksMut;

use super::{
    Algorithm, CHUNK_BYTES, Container, DataType, Encoding, HEADER_BYTES, chunk_count, damaged,
    to_header,
};
use crate::kernel::gdeflate::{Decoder, PAGE_MAX};
use crate::kernel::zstd::Zstd;
use crate::kernel::{Fault, Kernel, copy_to};

const DEFLATING_NEEDS_GPU: &str = "compressing to GDeflate takes an NVIDIA GPU; \
                                   gpu_status() says why none is used";
const NEEDS_GPU: &str = "Bitcomp has no public format, so that it takes an NVIDIA GPU \
                         (device=); gpu_status() says whether there is one";

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
            _ => Err(Fault::Unavailable(NEEDS_GPU.into())),
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
        if dst.is_empty() { Ok(0) } else { Err(Fault::Unavailable(NEEDS_GPU.into())) }
    }
}
