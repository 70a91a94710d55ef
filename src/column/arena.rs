//! Blocks that one worker fills with rows, and the column's workers number together.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Result, collect, push};
use crate::memory::{BLOCK_BYTES, Block};

/// The largest rows that share a block.
const SHARING_BYTES: usize = BLOCK_BYTES / 4;

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

    /// Lends memory to `fill` for a row of at most `most` bytes, likely of `likely`. `fill`
    /// initialises its front and returns how many of those bytes to keep, or `None` where the
    /// row does not fit. Then it gets more: at first what the open block has left, then a block
    /// that rows share, and then one of the row's own, which keeps no more than the row fills.
    /// It had `most` bytes in the end.
    pub fn write(
        &mut self,
        mut likely: usize,
        most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<usize>>,
    ) -> Result<ArenaRef> {
        let mut tried = None;
        while tried.is_none_or(|tried| tried < likely)
            && let Some((id, block)) = self.shared_block(likely)?
        {
            let offset = block.len();
            let spare = block.spare();
            let len = spare.len().min(most);
            if let Some(kept) = fill(&mut spare[..len])? {
                // SAFETY: `fill` initialised that many bytes at the front of the spare part.
                unsafe { block.set_len(offset + kept) };
                return Ok(ArenaRef { block: *id, offset: offset as u32 });
            }
            (tried, likely) = (Some(len), most.min(SHARING_BYTES));
        }
        loop {
            let least = tried.map_or(likely, |tried| tried.saturating_mul(2).min(most));
            let mut block = Block::reserve(least, most)?;
            let spare = block.spare();
            let len = spare.len().min(most);
            if let Some(kept) = fill(&mut spare[..len])? {
                // SAFETY: `fill` initialised that many bytes at the front.
                unsafe { block.set_len(kept) };
                let block = block.shrink()?;
                let id = self.ids.fetch_add(1, Ordering::Relaxed);
                push(&mut self.full, (id, block))?;
                return Ok(ArenaRef { block: id, offset: 0 });
            }
            tried = Some(len);
        }
    }

    /// The open block, with at least `bytes` left; `None` for a row that is too large to share
    /// one, which leaves it to smaller rows.
    fn shared_block(&mut self, bytes: usize) -> Result<Option<&mut (u32, Block)>> {
        if self.open.as_mut().is_none_or(|(_, block)| block.spare().len() < bytes) {
            if bytes > SHARING_BYTES {
                return Ok(None);
            }
            let block = self.next_block(bytes)?;
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            if let Some((id, full)) = self.open.replace((id, block)) {
                push(&mut self.full, (id, full.shrink()?))?;
            }
        }
        Ok(self.open.as_mut())
    }

    fn next_block(&mut self, bytes: usize) -> Result<Block> {
        let capacity = match self.expected.max(bytes) {
            wanted if wanted > SHARING_BYTES => BLOCK_BYTES,
            wanted => wanted,
        };
        Ok(Block::new(capacity)?)
    }

    /// The blocks and their ids.
    pub fn finish(mut self) -> Result<Vec<(u32, Block)>> {
        if let Some((id, block)) = self.open.take() {
            push(&mut self.full, (id, block.shrink()?))?;
        }
        Ok(self.full)
    }
}

/// The blocks of a column's arenas in the order of their ids.
pub fn blocks<'column>(arenas: impl Iterator<Item = Arena<'column>>) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for arena in arenas {
        for block in arena.finish()? {
            push(&mut blocks, block)?;
        }
    }
    blocks.sort_unstable_by_key(|(id, _)| *id);
    Ok(collect(blocks.into_iter().map(|(_, block)| block))?)
}
