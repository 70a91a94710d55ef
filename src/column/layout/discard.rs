//! Discarded output: rows are decoded to memory that the next rows overwrite.

use std::mem::MaybeUninit;

use super::RowWriter;
use crate::error::Result;
use crate::memory::{BLOCK_BYTES, Block};

/// The least memory to reserve.
const MIN_BLOCK_BYTES: usize = 256 << 10;

/// Forgets rows, of at most `MAX_ROW_BYTES` bytes.
#[derive(Default)]
pub struct Discard<const MAX_ROW_BYTES: u64> {
    block: Option<Block>,
}

impl<const MAX_ROW_BYTES: u64> RowWriter for Discard<MAX_ROW_BYTES> {
    type Row = u8;

    const MAX_ROW_BYTES: u64 = MAX_ROW_BYTES;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<u8> {
        let kept = self.block.take().filter(|block| block.capacity() >= bytes);
        let mut block = match kept {
            Some(block) => block,
            None => Block::new(bytes.max(MIN_BLOCK_BYTES))?,
        };
        let filled = fill(&mut block.spare()[..bytes]).map(|_| 0);
        self.block = Some(block).filter(|_| bytes <= BLOCK_BYTES);
        filled
    }
}
