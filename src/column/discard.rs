//! Output that nobody wants: rows are decoded to memory that the next ones get again.

use std::mem::MaybeUninit;

use super::memory::{BLOCK_BYTES, Block};
use super::output::{Announced, Output};
use crate::error::Result;

/// The least that is reserved.
const LEAST_BYTES: usize = 256 << 10;

/// Rows of at most so many bytes are decoded and forgotten.
#[derive(Default)]
pub struct Discard<const LONGEST: u64> {
    block: Option<Block>,
}

impl<const LONGEST: u64> Output for Discard<LONGEST> {
    type Row = u8;

    const LONGEST: u64 = LONGEST;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<u8> {
        let kept = self.block.take().filter(|block| block.capacity() >= bytes);
        let mut block = kept.map_or_else(|| Block::new(bytes.max(LEAST_BYTES)), Ok)?;
        let filled = fill(&mut block.spare()[..bytes]).map(|_| 0);
        self.block = Some(block).filter(|_| bytes <= BLOCK_BYTES);
        filled
    }
}

impl<const LONGEST: u64> Announced for Discard<LONGEST> {}
