//! Work that a GPU does for a call ahead of the workers that ask for it.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use super::batch::{ChunkRange, ItemId};
use super::kernel::GpuKernel;
use super::results::BatchResults;
use super::session::Session;
use crate::kernel::fcg1::{ContainerWriter, CpuContainer, Encoding, HEADER_BYTES};
use crate::kernel::{Fault, Kernel, copy_to};
use crate::manifest::{Manifest, combine_crc32c};

/// What a GPU has for the items of a call.
pub enum Prefetch<'p> {
    /// Nothing: the CPU does the work.
    None,
    /// The results of a batch, with all items that could go to the GPU.
    Done {
        results: &'p BatchResults<'p>,
        /// The CPU tries each item that failed on the GPU.
        retries: bool,
    },
    /// Nothing yet: each item goes to the GPU when its kernel is called, on the thread that
    /// has the session.
    Live {
        session: &'p Mutex<Session>,
        /// If the GPU fails, the CPU does the work.
        falls_back: bool,
    },
}

impl<'p> Prefetch<'p> {
    /// Whether the CPU tries each item that failed on the GPU.
    pub fn retries(&self) -> bool {
        match self {
            Self::None => false,
            Self::Done { retries, .. } => *retries,
            Self::Live { falls_back, .. } => *falls_back,
        }
    }

    /// The results of an item, unless there are none or the CPU is to try again.
    pub fn find(&self, id: ItemId, encoding: Encoding) -> Option<PrefetchedKernel<'p>> {
        let Self::Done { results, retries } = *self else { return None };
        let chunks = results.find(id)?;
        let is_final = !retries
            || !results.group(chunks).shape.work.has_cpu_fallback()
            || results.is_good(chunks);
        is_final.then_some(PrefetchedKernel { results, chunks, encoding })
    }

    /// A kernel on the GPU of a live session; else gives `cpu` back.
    pub fn live_kernel<'k>(
        &self,
        encoding: Encoding,
        cpu: CpuContainer<'k>,
    ) -> Result<GpuKernel<'k>, CpuContainer<'k>>
    where
        'p: 'k,
    {
        match *self {
            Self::Live { session, falls_back } => {
                Ok(GpuKernel::in_session(session, falls_back, encoding, cpu))
            }
            Self::None | Self::Done { .. } => Err(cpu),
        }
    }
}

/// A kernel for one item whose work is done: it copies the results.
pub struct PrefetchedKernel<'r> {
    results: &'r BatchResults<'r>,
    chunks: ChunkRange,
    encoding: Encoding,
}

impl PrefetchedKernel<'_> {
    /// Bytes of the original.
    fn total(&self) -> u64 {
        let ChunkRange { first, count, .. } = self.chunks;
        let originals = &self.results.group(self.chunks).originals;
        originals[first..first + count].iter().map(|&len| len as u64).sum()
    }

    fn chunks(&self) -> impl Iterator<Item = Result<&[u8], Fault>> {
        self.results.chunks(self.chunks)
    }

    /// Writes the payload of a value of `len` bytes.
    pub fn write(&self, len: usize, dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let mut container = ContainerWriter::new(self.encoding, len, dst)?;
        for chunk in self.chunks() {
            let chunk = chunk?;
            copy_to(chunk, container.reserve(std::iter::once(chunk.len()))?);
        }
        container.finish()
    }

    /// The manifest of the value, which is on the device.
    pub fn manifest(&self) -> Result<Manifest, Fault> {
        let direction = self.results.group(self.chunks).shape.work.direction;
        let mut manifest = Manifest { original_size: 0, crc32c: 0 };
        for i in 0..self.chunks.count {
            let chunk = self.results.resident(self.chunks, i);
            let (len, crc32c) = chunk.map_err(|error| error.fault(direction, i))?;
            manifest.original_size += len as u64;
            manifest.crc32c = combine_crc32c(manifest.crc32c, crc32c, len as u64);
        }
        Ok(manifest)
    }
}

impl Kernel for PrefetchedKernel<'_> {
    fn name(&self) -> &'static str {
        self.encoding.algorithm.codec()
    }

    fn compress_bound(&mut self, _len: usize) -> Result<usize, Fault> {
        let chunks = self.chunks().map(|chunk| Ok(4 + chunk?.len()));
        Ok(HEADER_BYTES + chunks.sum::<Result<usize, Fault>>()?)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.write(src.len(), dst)
    }

    fn decoded_bound(&mut self, _payload: &[u8]) -> Result<u64, Fault> {
        Ok(self.total())
    }

    fn stated_len(&mut self, _payload: &[u8]) -> Result<Option<u64>, Fault> {
        Ok(Some(self.total()))
    }

    fn decompress(&mut self, _payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let decoded = self.total();
        if decoded != dst.len() as u64 {
            return Err(Fault::Length { decoded });
        }
        let mut at = 0;
        for chunk in self.chunks() {
            at += copy_to(chunk?, &mut dst[at..]);
        }
        Ok(at)
    }
}
