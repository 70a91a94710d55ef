//! What a GPU has for rows whose turn comes: kernels whose work is done already.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use super::batch::{Group, ItemId, Place};
use super::kernel::GpuKernel;
use super::results::BatchResults;
use super::session::Session;

use crate::kernel::fcg1::{ContainerWriter, CpuContainer, Encoding, HEADER_BYTES};
use crate::kernel::{Fault, Kernel, copy_to};

/// What a GPU has done of the rows of a call before they are asked for.
pub enum Prefetch<'p> {
    /// Nothing: the CPU does the work.
    None,
    /// All that could go there.
    Done {
        results: &'p BatchResults<'p>,
        /// What failed there is done again on the CPU, if it can.
        retries: bool,
    },
    /// Nothing yet: it does the work when asked; what fails there is done on the CPU if it
    /// `falls_back`.
    Live { session: &'p Mutex<Session>, falls_back: bool },
}

impl<'p> Prefetch<'p> {
    /// Whether the CPU does again what went wrong.
    pub fn retries(&self) -> bool {
        match self {
            Self::None => false,
            Self::Done { retries, .. } => *retries,
            Self::Live { falls_back, .. } => *falls_back,
        }
    }

    /// The kernel that has what became of an item.
    pub fn find(&self, id: ItemId, encoding: Encoding) -> Option<PrefetchedKernel<'p>> {
        let Self::Done { results, retries } = *self else { return None };
        let place = results.chunks.find(id)?;
        let is_final = !retries || !results.has_cpu_fallback(place) || results.is_good(place);
        is_final.then_some(PrefetchedKernel { home: results, place, encoding })
    }

    /// A kernel on the GPU that the call has, or the CPU's back.
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

impl BatchResults<'_> {
    /// Whether a CPU can do the same work.
    fn has_cpu_fallback(&self, place: Place) -> bool {
        self.chunks.groups[place.group].shape.work.has_cpu_fallback()
    }

    /// Whether all chunks there are good.
    fn is_good(&self, place: Place) -> bool {
        (place.first..place.first + place.count).all(|i| self.chunk(place.group, i).is_ok())
    }
}

/// One value or payload whose chunks came home.
pub struct PrefetchedKernel<'h> {
    home: &'h BatchResults<'h>,
    place: Place,
    encoding: Encoding,
}

impl PrefetchedKernel<'_> {
    fn group(&self) -> &Group {
        &self.home.chunks.groups[self.place.group]
    }

    /// Bytes of the original.
    fn total(&self) -> u64 {
        let Place { first, count, .. } = self.place;
        self.group().originals[first..first + count].iter().map(|&len| len as u64).sum()
    }

    fn chunks(&self) -> impl Iterator<Item = Result<&[u8], Fault>> {
        let Place { group, first, count } = self.place;
        let direction = self.group().shape.work.direction;
        (0..count)
            .map(move |i| self.home.chunk(group, first + i).map_err(|bad| bad.fault(direction, i)))
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
        let mut container = ContainerWriter::new(self.encoding, src.len(), dst)?;
        for chunk in self.chunks() {
            let chunk = chunk?;
            copy_to(chunk, container.reserve(std::iter::once(chunk.len()))?);
        }
        container.finish()
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
