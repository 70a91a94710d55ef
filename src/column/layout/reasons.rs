//! Columns of reasons instead of values: rows are decoded to memory that the next rows overwrite,
//! and of a bad row the reason is written where its value would be.

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU32;

use super::{Layout, RowWriter};
use crate::error::Result;
use crate::kernel::copy_to;
use crate::memory::{BLOCK_BYTES, Block};

/// The least memory to reserve.
const MIN_BLOCK_BYTES: usize = 256 << 10;

/// Forgets values, and writes reasons to a writer of the column's layout.
pub struct Reasons<W> {
    reasons: W,
    block: Option<Block>,
}

impl<W: RowWriter> Reasons<W> {
    /// A writer for one of a column's workers.
    pub fn of<'c, L: Layout<Writer<'c> = W>>(block_ids: &'c AtomicU32) -> Self {
        Self { reasons: L::writer(block_ids), block: None }
    }

    /// What has the reasons.
    pub fn into_inner(self) -> W {
        self.reasons
    }
}

impl<W: RowWriter> RowWriter for Reasons<W> {
    type Row = W::Row;

    const MAX_ROW_BYTES: u64 = W::MAX_ROW_BYTES;

    fn write_within(
        &mut self,
        likely: usize,
        most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<W::Row> {
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
                return fits.map(|_| W::Row::default());
            }
            block = Block::reserve(len.saturating_mul(2).min(most), most)?;
        }
    }

    fn report(&mut self, reason: &str) -> Result<W::Row> {
        self.reasons.write(reason.len(), |dst| {
            let len = copy_to(reason.as_bytes(), dst);
            // SAFETY: just copied there.
            Ok(unsafe { dst[..len].assume_init_ref() })
        })
    }
}
