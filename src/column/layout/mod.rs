//! Output layouts: how the rows that workers write become a column.

pub mod discard;
pub mod in_place;
pub mod offsets;
pub mod view;

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU32;

use super::{DecompressOptions, Decompressed, Payloads};
use crate::error::Result;
use crate::kernel::copy_to;
use crate::memory::Zero;
use crate::pool::InterruptCheck;

/// A layout of columns.
pub trait Layout {
    /// What one worker writes its rows to.
    type Writer<'c>: RowWriter;

    /// A finished column.
    type Column;

    /// A writer for one of a column's workers, which number their blocks by `block_ids`.
    fn writer(block_ids: &AtomicU32) -> Self::Writer<'_>;

    /// The column of all rows, whose chunks have `counts` rows each.
    fn finish(
        written: Written<Self::Writer<'_>>,
        counts: &[usize],
        interrupted: InterruptCheck,
    ) -> Result<Self::Column>;

    /// Takes what a GPU decompresses to page-locked memory as it is, where that pays and the layout
    /// can; `None` if not.
    fn decompress_through_gpu<C: Payloads>(
        _options: &DecompressOptions,
        _chunks: &[C],
        _interrupted: InterruptCheck,
    ) -> Result<Option<Decompressed<Self::Column>>> {
        Ok(None)
    }

    /// Decompresses rows straight to their final places, if the layout has such places and the
    /// rows state their sizes credibly; `None` if not.
    fn decompress_in_place<C: Payloads>(
        _options: &DecompressOptions,
        _chunks: &[C],
        _interrupted: InterruptCheck,
    ) -> Result<Option<Decompressed<Self::Column>>> {
        Ok(None)
    }
}

/// One worker's part of the output.
pub trait RowWriter: Send {
    /// What the column keeps of each row; zero where it is null or empty.
    type Row: Zero + Send;

    /// The longest row that the layout can hold, in bytes.
    const MAX_ROW_BYTES: u64;

    /// Says how many bytes are to come in all, so that a small column takes little memory.
    fn expect(&mut self, _bytes: usize) {}

    /// Writes one row of at most `bytes`: `fill` gets that much memory, initialises its front
    /// and returns the row, which is that front.
    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<Self::Row>;

    /// Takes a finished row, and its memory where that saves a copy; else the memory stays with
    /// the caller.
    fn take(&mut self, row: &mut Vec<u8>) -> Result<Self::Row> {
        self.write(row.len(), |dst| {
            copy_to(row, dst);
            // SAFETY: `dst` is as long as `row`, which was copied over all of it.
            Ok(unsafe { dst.assume_init_ref() })
        })
    }
}

/// All rows of a column as workers wrote them: what is kept of each, and the writers.
pub struct Written<W: RowWriter> {
    /// What is kept of each row.
    pub rows: Vec<W::Row>,
    /// The workers' parts of the output.
    pub writers: Vec<W>,
}
