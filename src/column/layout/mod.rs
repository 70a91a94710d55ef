//! Output layouts: how the rows that workers write become a column.

pub mod in_place;
pub mod offsets;
pub mod reasons;
pub mod view;

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::AtomicU32;

use super::arena::ArenaRef;
use super::{BadRows, DecompressOptions, Decompressed, Payloads};
use crate::error::{Result, push};
use crate::memory::{Block, Zero};
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

    /// The ranges of rows that each need a block of their own, if the layout can take the blocks
    /// that a GPU fills: of a column whose chunks have `counts` rows and whose rows begin at these
    /// offsets.
    fn parts(_offsets: &[i64], _counts: &[usize]) -> Result<Option<Vec<Range<usize>>>> {
        Ok(None)
    }

    /// The column of such parts. Bad rows have their places in them, and are null.
    fn from_parts(parts: Vec<Part>, bad_rows: &BadRows) -> Result<Self::Column>;

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

/// Consecutive rows of a column, as a GPU's results came to the host.
pub struct Part {
    /// Their positions.
    pub rows: Range<usize>,
    /// Where they begin in `bytes`, and the last one's end. A bad row still has its place.
    pub offsets: Vec<i64>,
    /// All of them, back to back.
    pub bytes: Block,
}

/// Bytes of rows that share a part: a slice of the column keeps all of its block alive, and offsets
/// into it are signed in Arrow.
const PART_BYTES: i64 = 1 << 30;

/// Parts of at most [`PART_BYTES`] bytes each, or of one row.
fn parts_of_bytes(offsets: &[i64]) -> Result<Vec<Range<usize>>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    while start + 1 < offsets.len() {
        let most = offsets[start] + PART_BYTES;
        let end = offsets.partition_point(|&end| end <= most) - 1;
        push(&mut parts, start..end.max(start + 1))?;
        start = end.max(start + 1);
    }
    Ok(parts)
}

/// Calls `take` with the position, the place and the bytes of each row of `parts` that is not bad.
fn each_row(
    parts: &[Part],
    bad_rows: &BadRows,
    mut take: impl FnMut(usize, ArenaRef, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut bad = bad_rows.rows().iter().peekable();
    for (block, Part { rows, offsets, bytes }) in (0..).zip(parts) {
        for (row, ends) in rows.clone().zip(offsets.windows(2)) {
            if bad.next_if(|&&bad| bad == row).is_none() {
                let place = ArenaRef { block, offset: ends[0] as u32 };
                take(row, place, &bytes.as_ref()[ends[0] as usize..ends[1] as usize])?;
            }
        }
    }
    Ok(())
}

/// One worker's part of the output.
pub trait RowWriter: Send {
    /// What the column keeps of each row; zero where it is null or empty.
    type Row: Zero + Default + Send;

    /// The longest row that the layout can hold, in bytes.
    const MAX_ROW_BYTES: u64;

    /// Says how many bytes are to come in all, so that a small column takes little memory.
    fn expect(&mut self, _bytes: usize) {}

    /// Writes one row of at most `most` bytes, likely of `likely`: `fill` gets at least that much
    /// memory, initialises its front and returns the row, which is that front. Where it returns
    /// `None`, because the row does not fit, it gets more, until it had `most` bytes.
    fn write_within(
        &mut self,
        likely: usize,
        most: usize,
        fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<Self::Row>;

    /// The same of a row of at most `bytes`, which `fill` gets at once.
    #[inline]
    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<Self::Row> {
        let mut fill = Some(fill);
        self.write_within(bytes, bytes, |dst| {
            fill.take().map_or(Ok(None), |fill| fill(dst).map(Some))
        })
    }

    /// Writes why a row is bad, if the column is of reasons; else the row is left empty.
    fn report(&mut self, _reason: &str) -> Result<Self::Row> {
        Ok(Self::Row::default())
    }
}

/// All rows of a column as workers wrote them: what is kept of each, and the writers.
pub struct Written<W: RowWriter> {
    /// What is kept of each row.
    pub rows: Vec<W::Row>,
    /// The workers' parts of the output.
    pub writers: Vec<W>,
}
