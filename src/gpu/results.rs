//! The results of a batch: what became of each chunk.

use std::mem::MaybeUninit;

use super::batch::{BatchIndex, ChunkRange, Group, ItemId};
use super::driver::DevicePtr;
use super::error::nvcomp_status;
use super::layout::Layout;
use super::nvcomp::Direction;
use crate::kernel::Fault;

/// The actual sizes, statuses and crc32c of a batch's chunks, as the device wrote them.
#[derive(Clone, Copy)]
pub struct RawResults<'a> {
    bytes: &'a [MaybeUninit<u8>],
    count: usize,
}

impl<'a> RawResults<'a> {
    /// Those of `count` chunks, which have been downloaded to the front of `bytes`.
    pub fn new(bytes: &'a [MaybeUninit<u8>], count: usize) -> Self {
        Self { bytes, count }
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut item = [0; N];
        let from = &self.bytes[at..at + N];
        // SAFETY: the download wrote all sizes, statuses and crc32c.
        item.copy_from_slice(unsafe { from.assume_init_ref() });
        item
    }

    fn size(&self, chunk: usize) -> u64 {
        u64::from_ne_bytes(self.read(8 * chunk))
    }

    fn status(&self, chunk: usize) -> i32 {
        i32::from_ne_bytes(self.read(8 * self.count + 4 * chunk))
    }

    fn crc32c(&self, chunk: usize) -> u32 {
        u32::from_ne_bytes(self.read(12 * self.count + 4 * chunk))
    }

    /// The length of a compressed chunk, `most` bytes at most.
    pub fn compressed_len(&self, chunk: usize, most: usize) -> Result<usize, ChunkError> {
        match (self.status(chunk), self.size(chunk)) {
            (0, len) if (1..=most as u64).contains(&len) => Ok(len as usize),
            (0, len) => Err(ChunkError::Length(len)),
            (status, _) => Err(ChunkError::Status(status)),
        }
    }

    /// Checks that a chunk was decompressed to `expected` bytes.
    fn check_decompressed(&self, chunk: usize, expected: usize) -> Result<(), ChunkError> {
        match (self.status(chunk), self.size(chunk)) {
            (0, len) if len == expected as u64 => Ok(()),
            (0, len) => Err(ChunkError::Length(len)),
            (status, _) => Err(ChunkError::Status(status)),
        }
    }
}

/// Why a chunk has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// Its status is not success.
    Status(i32),
    /// Its actual size is impossible.
    Length(u64),
}

impl ChunkError {
    /// The fault of chunk `i` of a value or payload.
    pub fn fault(self, direction: Direction, i: usize) -> Fault {
        let what = match self {
            Self::Status(status) => nvcomp_status(status),
            Self::Length(len) => format!("nvCOMP reports an impossible length of {len} bytes"),
        };
        match direction {
            Direction::Compress => Fault::Library(format!("chunk {i}: {what}")),
            Direction::Decompress => Fault::Container(format!("chunk {i}: {what}")),
        }
    }
}

/// Where a chunk of a compressed batch is copied to on the device: nowhere by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Destination {
    pub address: DevicePtr,
    pub len: usize,
    /// The chunk is copied as it was before it was compressed.
    pub is_original: bool,
}

/// The sizes of a compressed batch's chunks, which are still on the device.
pub struct CompressedSizes<'s> {
    pub(super) index: &'s BatchIndex,
    pub(super) layout: &'s Layout,
    pub(super) inbound: &'s [MaybeUninit<u8>],
}

impl CompressedSizes<'_> {
    /// The number of chunks.
    pub fn count(&self) -> usize {
        self.layout.count()
    }

    /// The chunks of an item, if it is in this batch: the number of the first in the batch, and
    /// the bytes that each was compressed to, `None` if it was not.
    pub fn find(&self, id: ItemId) -> Option<(usize, impl Iterator<Item = Option<usize>>)> {
        let ChunkRange { group, first, count } = self.index.find(id)?;
        let first = self.layout.firsts[group] + first;
        let most = self.index.groups[group].shape.max_output;
        let raw = RawResults::new(self.inbound, self.count());
        Some((first, (first..first + count).map(move |chunk| raw.compressed_len(chunk, most).ok())))
    }
}

/// A batch whose results have been downloaded.
pub struct BatchResults<'s> {
    pub(super) index: BatchIndex,
    pub(super) layout: Layout,
    /// Of a compression that was gathered: where each chunk begins after the sizes and statuses.
    pub(super) offsets: Vec<usize>,
    pub(super) inbound: &'s [MaybeUninit<u8>],
}

impl BatchResults<'_> {
    /// The chunks of an item, if it was in this batch.
    pub fn find(&self, id: ItemId) -> Option<ChunkRange> {
        self.index.find(id)
    }

    /// The group of a range of chunks.
    pub fn group(&self, range: ChunkRange) -> &Group {
        &self.index.groups[range.group]
    }

    /// Whether all chunks of a range are good.
    pub fn is_good(&self, range: ChunkRange) -> bool {
        (0..range.count).all(|i| self.chunk(range, i).is_ok())
    }

    /// The length of a chunk's original and, in a batch with checksums, its crc32c; checks that it
    /// was decompressed if that was the work.
    pub fn resident(&self, range: ChunkRange, i: usize) -> Result<(usize, u32), ChunkError> {
        let raw = RawResults::new(self.inbound, self.layout.count());
        let (group, in_group) = (self.group(range), range.first + i);
        let (chunk, len) = (self.layout.firsts[range.group] + in_group, group.originals[in_group]);
        if group.shape.work.direction == Direction::Decompress {
            raw.check_decompressed(chunk, len)?;
        }
        Ok((len, raw.crc32c(chunk)))
    }

    /// What chunk `i` of a range was coded to.
    pub fn chunk(&self, range: ChunkRange, i: usize) -> Result<&[u8], ChunkError> {
        let count = self.layout.count();
        let raw = RawResults::new(self.inbound, count);
        let Group { shape, originals } = self.group(range);
        let in_group = range.first + i;
        let chunk = self.layout.firsts[range.group] + in_group;
        let (start, len) = match shape.work.direction {
            Direction::Compress => {
                let len = raw.compressed_len(chunk, shape.max_output)?;
                (Layout::results_len(count) + self.offsets[chunk], len)
            }
            Direction::Decompress => {
                let len = originals[in_group];
                raw.check_decompressed(chunk, len)?;
                (self.layout.output(chunk), len)
            }
        };
        let bytes = &self.inbound[start..][..len];
        // SAFETY: the download of the chunk wrote all of it.
        Ok(unsafe { bytes.assume_init_ref() })
    }

    /// The chunks of a range, or the fault of the first bad one.
    pub fn chunks(&self, range: ChunkRange) -> impl Iterator<Item = Result<&[u8], Fault>> {
        let direction = self.group(range).shape.work.direction;
        (0..range.count)
            .map(move |i| self.chunk(range, i).map_err(|error| error.fault(direction, i)))
    }
}
