//! What a GPU has for rows whose turn comes: kernels whose work is done already.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use super::home::Home;
use super::session::Session;
use super::slab::{Group, Place};
use super::value::OnGpu;
use crate::kernel::fcg1::{Encoding, HEADER_BYTES, to_header};
use crate::kernel::{Fault, Kernel, copy_to};

/// Where the work of rows is done.
pub enum Ready<'r> {
    /// On the CPU.
    Nowhere,
    /// It has been done on a GPU, of those rows that could go there.
    AtHome {
        home: &'r Home<'r>,
        /// What failed there is done again on the CPU, if it can.
        retries: bool,
    },
    /// On a GPU, now; what fails there is done on the CPU if it `falls_back`.
    There { session: Mutex<&'r mut Session>, falls_back: bool },
}

impl Ready<'_> {
    /// Whether the CPU does again what went wrong.
    pub fn retries(&self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::AtHome { retries, .. } => *retries,
            Self::There { falls_back, .. } => *falls_back,
        }
    }

    /// Runs `work` with the kernel for `input`: `cpu`, or one that has or gets it from a GPU.
    pub fn with_kernel<R>(
        &self,
        input: &[u8],
        encoding: Encoding,
        cpu: &mut dyn Kernel,
        work: impl FnOnce(&mut dyn Kernel) -> R,
    ) -> R {
        match self {
            Self::Nowhere => work(cpu),
            Self::AtHome { home, retries } => match home.chunks.find(input) {
                Some(place) if !retries || !home.has_twin(place) || home.is_good(place) => {
                    work(&mut Done { home, place, encoding })
                }
                _ => work(cpu),
            },
            Self::There { session, falls_back } => {
                let session = &mut **session.lock().unwrap_or_else(PoisonError::into_inner);
                work(&mut OnGpu { session, encoding, cpu, falls_back: *falls_back })
            }
        }
    }
}

impl Home<'_> {
    /// Whether a CPU can do the same work.
    fn has_twin(&self, place: Place) -> bool {
        self.chunks.groups[place.group].shape.work.has_twin()
    }

    /// Whether all chunks there are good.
    fn is_good(&self, place: Place) -> bool {
        (place.first..place.first + place.count).all(|i| self.chunk(place.group, i).is_ok())
    }
}

/// One value or payload whose chunks came home.
struct Done<'h> {
    home: &'h Home<'h>,
    place: Place,
    encoding: Encoding,
}

impl Done<'_> {
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

impl Kernel for Done<'_> {
    fn compress_bound(&mut self, _len: usize) -> Result<usize, Fault> {
        let chunks = self.chunks().map(|chunk| Ok(4 + chunk?.len()));
        Ok(HEADER_BYTES + chunks.sum::<Result<usize, Fault>>()?)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let (header, rest) = dst.split_at_mut(HEADER_BYTES);
        let (table, mut rest) = rest.split_at_mut(4 * self.place.count);
        let mut len = HEADER_BYTES + table.len();
        for (chunk, size) in self.chunks().zip(table.as_chunks_mut().0) {
            let chunk = chunk?;
            *size = (chunk.len() as u32).to_le_bytes().map(MaybeUninit::new);
            let written = copy_to(chunk, rest);
            rest = &mut rest[written..];
            len += written;
        }
        // The slab's chunks were fewer than 2^32.
        copy_to(&to_header(self.encoding, src.len() as u64, self.place.count as u32), header);
        Ok(len)
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
