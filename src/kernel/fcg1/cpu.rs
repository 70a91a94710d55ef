//! Codecs `nvcomp-zstd`, `nvcomp-gdeflate` and `nvcomp-bitcomp` on a CPU: the first is read and
//! written, the second only read, and of the third only the container is checked.

use std::mem::MaybeUninit;

use super::{Algorithm, CHUNK_BYTES, Container, ContainerWriter, DataType, Encoding, damaged};
use crate::kernel::gdeflate::{Decoder, PAGE_MAX};
use crate::kernel::zstd::Zstd;
use crate::kernel::{Fault, Kernel, Scratch};

const GDEFLATE_NEEDS_GPU: &str = "compressing to GDeflate needs an NVIDIA GPU; \
                                  gpu_status() says why none is used";
const BITCOMP_NEEDS_GPU: &str = "Bitcomp has no public format, so it needs an NVIDIA GPU \
                                 (device=); gpu_status() says whether there is one";

/// The zstd level of chunks: the codec has no setting for it.
const CHUNK_LEVEL: i32 = 3;

/// What codes the chunks of a container on the CPU.
pub enum CpuContainer<'a> {
    /// zstd frames, one per chunk.
    Zstd(Zstd<'a>),
    /// GDeflate pages, one per chunk.
    GDeflate(&'a mut Decoder),
    /// Bitcomp chunks, which no CPU codes.
    Bitcomp(DataType),
}

impl<'a> CpuContainer<'a> {
    /// The coder for `encoding`.
    pub fn new(encoding: Encoding, scratch: &'a mut Scratch) -> Self {
        match encoding.algorithm {
            Algorithm::Zstd => Self::Zstd(Zstd::new(CHUNK_LEVEL, None, scratch)),
            Algorithm::GDeflate => Self::GDeflate(scratch.gdeflate.get_or_insert_default()),
            Algorithm::Bitcomp => Self::Bitcomp(encoding.packed_type()),
        }
    }

    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Zstd(_) => Algorithm::Zstd,
            Self::GDeflate(_) => Algorithm::GDeflate,
            Self::Bitcomp(_) => Algorithm::Bitcomp,
        }
    }

    const fn encoding(&self) -> Encoding {
        match self {
            Self::Bitcomp(data_type) => {
                Encoding { algorithm: Algorithm::Bitcomp, data_type: Some(*data_type) }
            }
            other => Encoding::new(other.algorithm()),
        }
    }

    /// The most bytes that `chunk` can decode to.
    fn chunk_bound(&mut self, chunk: &[u8]) -> Result<u64, Fault> {
        match self {
            Self::Zstd(zstd) => zstd.decoded_bound(chunk),
            Self::GDeflate(_) if chunk.len().is_multiple_of(4) => Ok(PAGE_MAX as u64),
            Self::GDeflate(_) => Err(Fault::corrupt("the page's length is not a multiple of 4")),
            Self::Bitcomp(_) => Err(Fault::Unavailable(BITCOMP_NEEDS_GPU.into())),
        }
    }

    /// Decodes `chunk` to exactly `dst`.
    fn decode_chunk(&mut self, chunk: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault> {
        match self {
            Self::Zstd(zstd) => {
                let decoded = zstd.decompress(chunk, dst)? as u64;
                if decoded == dst.len() as u64 { Ok(()) } else { Err(Fault::Length { decoded }) }
            }
            Self::GDeflate(decoder) => decoder.decode_page(chunk, dst),
            Self::Bitcomp(_) => Err(Fault::Unavailable(BITCOMP_NEEDS_GPU.into())),
        }
    }

    /// Refuses what the CPU cannot compress: of two algorithms all but the empty value.
    fn check_compressible(&self, len: usize) -> Result<(), Fault> {
        let reason = match self {
            Self::Zstd(_) => return Ok(()),
            Self::GDeflate(_) => GDEFLATE_NEEDS_GPU,
            Self::Bitcomp(data_type) => {
                data_type.check_len(len)?;
                BITCOMP_NEEDS_GPU
            }
        };
        if len == 0 { Ok(()) } else { Err(Fault::Unavailable(reason.into())) }
    }
}

impl Kernel for CpuContainer<'_> {
    fn name(&self) -> &'static str {
        self.algorithm().codec()
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        self.check_compressible(len)?;
        let chunk_bound = match self {
            Self::Zstd(zstd) => zstd.compress_bound(CHUNK_BYTES)?,
            Self::GDeflate(_) | Self::Bitcomp(_) => 0,
        };
        ContainerWriter::bound(len, chunk_bound)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.check_compressible(src.len())?;
        let mut container = ContainerWriter::new(self.encoding(), src.len(), dst)?;
        if let Self::Zstd(zstd) = self {
            for chunk in src.chunks(CHUNK_BYTES) {
                container.chunk_with(|dst| zstd.compress(chunk, dst))?;
            }
        }
        container.finish()
    }

    /// The total that a container of plausible chunks states.
    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        let container = Container::parse(payload, self.algorithm())?;
        for (i, (chunk, len)) in container.chunks().enumerate() {
            let most = self.chunk_bound(chunk).map_err(|fault| in_chunk(i, fault))?;
            if most < len as u64 {
                return damaged(format!("chunk {i} of {len} bytes can hold at most {most}"));
            }
        }
        Ok(container.total)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        Container::parse(payload, self.algorithm()).map(|container| Some(container.total))
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let container = Container::parse(payload, self.algorithm())?;
        if container.total != dst.len() as u64 {
            return Err(Fault::Length { decoded: container.total });
        }
        let chunk_dsts = dst.chunks_mut(container.chunk_bytes as usize);
        for (i, ((chunk, _), dst)) in container.chunks().zip(chunk_dsts).enumerate() {
            self.decode_chunk(chunk, dst).map_err(|fault| in_chunk(i, fault))?;
        }
        Ok(dst.len())
    }
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
