//! A batch that came home: what became of each chunk.

use std::mem::MaybeUninit;

use super::batch::{Chunks, Group, Layout, Results};
use super::error::nvcomp_status;
use super::nvcomp::Direction;
use crate::kernel::Fault;

/// The length of a coded chunk, or what its status says.
pub fn compressed_len(results: &Results, chunk: usize, most: usize) -> Result<usize, ChunkError> {
    match (results.status(chunk), results.size(chunk)) {
        (0, len) if (1..=most as u64).contains(&len) => Ok(len as usize),
        (0, len) => Err(ChunkError::Length(len)),
        (status, _) => Err(ChunkError::Status(status)),
    }
}

/// What is wrong with a chunk that came home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    Status(i32),
    /// It has a length that it cannot have.
    Length(u64),
}

impl ChunkError {
    /// The fault that chunk `i` is to blame for.
    pub fn fault(self, direction: Direction, i: usize) -> Fault {
        let what = match self {
            Self::Status(status) => nvcomp_status(status),
            Self::Length(len) => format!("nvCOMP made {len} bytes of it, which cannot be"),
        };
        match direction {
            Direction::Compress => Fault::Library(format!("chunk {i}: {what}")),
            Direction::Decompress => Fault::Container(format!("chunk {i}: {what}")),
        }
    }
}

/// A batch that came home.
pub struct BatchResults<'s> {
    pub chunks: Chunks,
    pub(super) layout: Layout,
    /// Of compressed chunks: where each begins behind the results.
    pub(super) offsets: Vec<usize>,
    pub(super) inbound: &'s [MaybeUninit<u8>],
}

impl BatchResults<'_> {
    /// The chunks of a group.
    pub fn count(&self, group: usize) -> usize {
        self.chunks.groups.get(group).map_or(0, |group| group.originals.len())
    }

    /// What came of chunk `i` of a group.
    pub fn chunk(&self, group: usize, i: usize) -> Result<&[u8], ChunkError> {
        let count = self.layout.count();
        let results = Results::new(self.inbound, count);
        let chunk = self.layout.firsts[group] + i;
        let Group { shape, originals } = &self.chunks.groups[group];
        let Some(&original) = originals.get(i) else { return Err(ChunkError::Length(0)) };
        let (start, len) = match shape.work.direction {
            Direction::Compress => {
                let len = compressed_len(&results, chunk, shape.max_output)?;
                (Layout::results_len(count) + self.offsets[chunk], len)
            }
            Direction::Decompress => {
                let len = original;
                match (results.status(chunk), results.size(chunk)) {
                    (0, actual) if actual == len as u64 => (self.layout.output(chunk), len),
                    (0, actual) => return Err(ChunkError::Length(actual)),
                    (status, _) => return Err(ChunkError::Status(status)),
                }
            }
        };
        let bytes = &self.inbound[start..][..len];
        // SAFETY: the copy that brought the chunk home wrote all of it, and is done.
        Ok(unsafe { bytes.assume_init_ref() })
    }
}
