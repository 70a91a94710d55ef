//! Writes a container: chunk by chunk, or many whose lengths are known at once.

use std::mem::MaybeUninit;

use super::{CHUNK_BYTES, Encoding, HEADER_BYTES, MAGIC, chunk_count};
use crate::kernel::{Fault, copy_to};

/// A container of 64 KiB chunks on its way into `dst`.
pub struct ContainerWriter<'d> {
    /// Where the lengths of the chunks to come go.
    sizes: &'d mut [[MaybeUninit<u8>; 4]],
    /// Where the chunks to come go.
    rest: &'d mut [MaybeUninit<u8>],
    written: usize,
}

impl<'d> ContainerWriter<'d> {
    /// The most bytes of a container of a value of `len` bytes whose chunks have at most
    /// `chunk_bound` bytes each.
    pub fn bound(len: usize, chunk_bound: usize) -> Result<usize, Fault> {
        let chunks = (chunk_count(len)? as usize).checked_mul(4 + chunk_bound);
        let bound = chunks.and_then(|chunks| chunks.checked_add(HEADER_BYTES));
        bound.ok_or(Fault::OutOfMemory { bytes: u64::MAX })
    }

    /// Writes the header for a value of `len` bytes; `dst` is as long as [`bound`](Self::bound)
    /// says, or as long as the chunks that come make it.
    pub fn new(
        encoding: Encoding,
        len: usize,
        dst: &'d mut [MaybeUninit<u8>],
    ) -> Result<Self, Fault> {
        let count = chunk_count(len)?;
        let table = count as usize * 4;
        if dst.len() < HEADER_BYTES + table {
            return Err(too_short());
        }
        let (header, rest) = dst.split_at_mut(HEADER_BYTES);
        copy_to(&header_of(encoding, len as u64, count), header);
        let (sizes, rest) = rest.split_at_mut(table);
        Ok(Self { sizes: sizes.as_chunks_mut().0, rest, written: HEADER_BYTES + table })
    }

    /// Writes the next chunk: `fill` gets all the space left and returns the chunk's length.
    pub fn chunk_with(
        &mut self,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Fault>,
    ) -> Result<(), Fault> {
        let len = fill(self.rest)?;
        self.reserve(std::iter::once(len)).map(drop)
    }

    /// Writes the lengths of the next chunks and returns where they go, back to back.
    pub fn reserve(
        &mut self,
        lens: impl Iterator<Item = usize>,
    ) -> Result<&'d mut [MaybeUninit<u8>], Fault> {
        let mut total = 0;
        for len in lens {
            let size = self.sizes.split_off_first_mut().ok_or_else(too_short)?;
            // A chunk of 64 KiB compresses to little more at most.
            *size = (len as u32).to_le_bytes().map(MaybeUninit::new);
            total += len;
        }
        self.written += total;
        self.rest.split_off_mut(..total).ok_or_else(too_short)
    }

    /// The length of the container, once all its chunks are written.
    pub fn finish(self) -> Result<usize, Fault> {
        if self.sizes.is_empty() {
            return Ok(self.written);
        }
        Err(Fault::Library(format!("internal error: {} chunks are missing", self.sizes.len())))
    }
}

fn too_short() -> Fault {
    Fault::Library("internal error: the destination is shorter than the container".into())
}

fn header_of(encoding: Encoding, total: u64, count: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = encoding.algorithm as u8;
    header[5] = encoding.packed_type().container_type();
    header[8..16].copy_from_slice(&total.to_le_bytes());
    header[16..20].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    header[20..].copy_from_slice(&count.to_le_bytes());
    header
}
