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

    fn write_within(
        &mut self,
        likely: usize,
        most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<u8> {
        let kept = self.block.take().filter(|block| block.capacity() >= likely);
        let mut block = match kept {
            Some(block) => block,
            None => Block::new(likely.max(MIN_BLOCK_BYTES))?,
        };
        loop {
            let spare = block.spare();
            let len = spare.len().min(most);
            let fits = fill(&mut spare[..len]).map(|row| row.is_some());
            if fits != Ok(false) {
                self.block = Some(block).filter(|block| block.capacity() <= BLOCK_BYTES);
                return fits.map(|_| 0);
            }
            block = Block::reserve(len.saturating_mul(2).min(most), most)?;
        }
    }
}
