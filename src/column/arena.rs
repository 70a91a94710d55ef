//! Blocks that one worker fills with rows, and the column's workers number together.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::kernel::copy_to;
use crate::memory::{BLOCK_BYTES, Block};

/// Where a row lies: which of the column's blocks, and at which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaRef {
    pub block: u32,
    pub offset: u32,
}

/// Where one worker writes its rows.
pub struct Arena<'column> {
    /// Numbers the column's blocks as its workers open them.
    ids: &'column AtomicU32,
    /// Bytes that are still to come; sizes the next block.
    expected: usize,
    open: Option<(u32, Block)>,
    full: Vec<(u32, Block)>,
}

impl<'column> Arena<'column> {
    pub fn new(ids: &'column AtomicU32) -> Self {
        Self { ids, expected: usize::MAX, open: None, full: Vec::new() }
    }

    /// Says how many bytes are to come, so that a small column gets a small block.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Lends `bytes` of memory to `fill`, which initialises its front and returns how many of
    /// those bytes to keep. A block is at most [`BLOCK_BYTES`] or one row.
    pub fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize>,
    ) -> Result<ArenaRef> {
        let fits = self.open.as_mut().is_some_and(|(_, block)| block.spare().len() >= bytes);
        if !fits && bytes > BLOCK_BYTES / 4 {
            return self.write_to_own_block(bytes, fill);
        }
        if !fits {
            let block = self.next_block(bytes)?;
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            self.full.extend(self.open.replace((id, block)));
        }
        match &mut self.open {
            Some((id, block)) => {
                let offset = block.len();
                let len = fill(&mut block.spare()[..bytes])?;
                // SAFETY: `fill` initialised that many bytes at the front of the spare part.
                unsafe { block.set_len(offset + len) };
                Ok(ArenaRef { block: *id, offset: offset as u32 })
            }
            None => Err(Error::OutOfMemory { bytes: bytes as u64 }),
        }
    }

    /// Takes a row that is too large to share a block, memory and all; others are copied, and
    /// their memory stays.
    pub fn take(&mut self, row: &mut Vec<u8>) -> Result<ArenaRef> {
        if row.len() <= BLOCK_BYTES / 4 {
            return self.write(row.len(), |dst| Ok(copy_to(row, dst)));
        }
        let block = Block::from(std::mem::take(row));
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.full.push((id, block));
        Ok(ArenaRef { block: id, offset: 0 })
    }

    /// A row too large to share a block gets its own; the open block waits for small ones.
    fn write_to_own_block(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize>,
    ) -> Result<ArenaRef> {
        let mut block = Block::new(bytes)?;
        let len = fill(&mut block.spare()[..bytes])?;
        // SAFETY: `fill` initialised that many bytes at the front.
        unsafe { block.set_len(len) };
        let block = block.shrink()?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.full.push((id, block));
        Ok(ArenaRef { block: id, offset: 0 })
    }

    fn next_block(&mut self, bytes: usize) -> Result<Block> {
        let capacity = match self.expected.max(bytes) {
            wanted if wanted > BLOCK_BYTES / 4 => BLOCK_BYTES,
            wanted => wanted,
        };
        Ok(Block::new(capacity)?)
    }

    /// The blocks and their ids.
    pub fn finish(mut self) -> Result<Vec<(u32, Block)>> {
        if let Some((id, block)) = self.open.take() {
            self.full.push((id, block.shrink()?));
        }
        Ok(self.full)
    }
}

/// The blocks of a column's arenas in the order of their ids.
pub fn blocks<'column>(arenas: impl Iterator<Item = Arena<'column>>) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for arena in arenas {
        blocks.extend(arena.finish()?);
    }
    blocks.sort_unstable_by_key(|(id, _)| *id);
    Ok(blocks.into_iter().map(|(_, block)| block).collect())
}
