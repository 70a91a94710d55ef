//! Columns in Arrow's large binary layout: all of a chunk's bytes back to back in one
//! block, and 64-bit offsets into it.
//!
//! Rows whose lengths are known only once they are made go to an arena first ([`ArenaWriter`])
//! and move from there ([`flatten`]): in runs of rows, on all cores, and each block of the arena
//! is freed as its last row leaves, so that the column is never held twice.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::{Layout, Part, RowWriter, Written, each_row, in_place, parts_of_bytes};
use crate::column::arena::{Arena, ArenaRef, blocks};
use crate::column::scheduler::Spans;
use crate::column::{BadRows, DecompressOptions, Decompressed, Payloads};
use crate::error::{Error, Result, collect, reserve, try_collect};
use crate::kernel::copy_to;
use crate::memory::{BLOCK_BYTES, Block, Zero, zeroed};
use crate::pool::{self, InterruptCheck};

/// One chunk of byte strings.
pub struct OffsetsColumn {
    /// Where rows begin in `bytes`, and the last one's end; never descending, from 0.
    pub offsets: Vec<i64>,
    /// All rows, back to back.
    pub bytes: Block,
}

impl OffsetsColumn {
    /// The bytes of a row; of a null row, none.
    pub fn get(&self, row: usize) -> &[u8] {
        &self.bytes.as_ref()[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

/// The layout of one [`OffsetsColumn`] for each chunk.
pub enum Offsets {}

impl Layout for Offsets {
    type Writer<'c> = ArenaWriter<'c>;
    type Column = Vec<OffsetsColumn>;

    fn writer(block_ids: &AtomicU32) -> ArenaWriter<'_> {
        ArenaWriter(Arena::new(block_ids))
    }

    fn finish(
        written: Written<ArenaWriter>,
        counts: &[usize],
        interrupted: InterruptCheck,
    ) -> Result<Vec<OffsetsColumn>> {
        flatten(written.try_into()?, counts, interrupted)
    }

    /// A part for each chunk.
    fn parts(_offsets: &[i64], counts: &[usize]) -> Result<Option<Vec<Range<usize>>>> {
        let mut end = 0;
        let part = |&count: &usize| {
            let start = end;
            end += count;
            start..end
        };
        Ok(Some(collect(counts.iter().map(part))?))
    }

    fn from_parts(parts: Vec<Part>, bad_rows: &BadRows) -> Result<Vec<OffsetsColumn>> {
        let column = |Part { rows, mut offsets, mut bytes }| {
            let bad = bad_rows.within(&rows).map(|row| row - rows.start);
            in_place::close_gaps(&mut offsets, bytes.filled_mut(), bad);
            // SAFETY: rows only moved towards the front of what was filled.
            unsafe { bytes.set_len(end_of(&offsets)) };
            Ok(OffsetsColumn { offsets, bytes: bytes.shrink()? })
        };
        try_collect(parts.into_iter().map(column))
    }

    fn decompress_in_place<C: Payloads>(
        options: &DecompressOptions,
        chunks: &[C],
        interrupted: InterruptCheck,
    ) -> Result<Option<Decompressed<Vec<OffsetsColumn>>>> {
        in_place::decompress(options, chunks, interrupted)
    }
}

/// The layout of [`Scattered`] rows.
pub enum Unordered {}

impl Layout for Unordered {
    type Writer<'c> = ArenaWriter<'c>;
    type Column = Scattered;

    fn writer(block_ids: &AtomicU32) -> ArenaWriter<'_> {
        Offsets::writer(block_ids)
    }

    fn finish(
        written: Written<ArenaWriter>,
        _counts: &[usize],
        _interrupted: InterruptCheck,
    ) -> Result<Scattered> {
        written.try_into()
    }

    fn parts(offsets: &[i64], _counts: &[usize]) -> Result<Option<Vec<Range<usize>>>> {
        parts_of_bytes(offsets).map(Some)
    }

    fn from_parts(parts: Vec<Part>, bad_rows: &BadRows) -> Result<Scattered> {
        let mut rows = zeroed::<RowRef>(parts.last().map_or(0, |part| part.rows.end))?;
        each_row(&parts, bad_rows, |row, place, bytes| {
            let ArenaRef { block, offset } = place;
            rows[row] = RowRef { len: bytes.len() as u64, block, offset };
            Ok(())
        })?;
        Ok(Scattered { rows, blocks: collect(parts.into_iter().map(|part| part.bytes))? })
    }
}

/// Where a row lies in the blocks of its column.
#[derive(Clone, Copy, Default)]
pub struct RowRef {
    len: u64,
    block: u32,
    offset: u32,
}

// SAFETY: three integers.
unsafe impl Zero for RowRef {}

/// Rows wait in an arena to be moved.
pub struct ArenaWriter<'c>(Arena<'c>);

impl RowWriter for ArenaWriter<'_> {
    type Row = RowRef;

    const MAX_ROW_BYTES: u64 = i64::MAX as u64;

    fn expect(&mut self, bytes: usize) {
        self.0.expect(bytes);
    }

    fn write_within(
        &mut self,
        likely: usize,
        most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<RowRef> {
        let mut len = 0;
        let ArenaRef { block, offset } = self.0.write(likely, most, |dst| {
            let row = fill(dst)?.map(<[u8]>::len);
            len = row.unwrap_or(0);
            Ok(row)
        })?;
        Ok(RowRef { len: len as u64, block, offset })
    }
}

/// The rows of a column, scattered over the blocks that workers wrote.
pub struct Scattered {
    rows: Vec<RowRef>,
    blocks: Vec<Block>,
}

impl TryFrom<Written<ArenaWriter<'_>>> for Scattered {
    type Error = Error;

    fn try_from(written: Written<ArenaWriter>) -> Result<Self> {
        let blocks = blocks(written.writers.into_iter().map(|ArenaWriter(arena)| arena))?;
        Ok(Self { rows: written.rows, blocks })
    }
}

impl Scattered {
    /// The bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.len as usize).sum()
    }

    /// Moves all rows to `dst`, back to back, and initialises it; it is as long as they are.
    pub fn move_to(self, dst: &mut [MaybeUninit<u8>], interrupted: InterruptCheck) -> Result<()> {
        let offsets = offsets_of(self.rows.iter().map(|row| row.len))?;
        move_out(&self.rows, self.blocks, &[&offsets], &mut [dst], interrupted)
    }
}

/// A block that is freed once all its bytes have been copied.
struct SourceBlock {
    block: RwLock<Option<Block>>,
    left: AtomicUsize,
}

impl SourceBlock {
    fn new(block: Block) -> Self {
        let left = AtomicUsize::new(block.len());
        Self { block: RwLock::new(Some(block)), left }
    }

    /// Moves `len` bytes that no other call moves; returns how many.
    fn move_to(&self, offset: usize, len: usize, dst: &mut [MaybeUninit<u8>]) -> usize {
        let moved = match &*self.block.read().unwrap_or_else(PoisonError::into_inner) {
            // A long row that has the block to itself is not held twice.
            Some(block) if len > BLOCK_BYTES && block.len() == len => None,
            Some(block) => Some(copy_to(&block.as_ref()[offset..][..len], dst)),
            None => Some(0),
        };
        let Some(moved) = moved else {
            let block = self.block.write().unwrap_or_else(PoisonError::into_inner).take();
            return block.map_or(0, |block| block.move_to(dst));
        };
        if self.left.fetch_sub(moved, Ordering::AcqRel) == moved {
            self.block.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        moved
    }
}

/// Moves rows to one column for each chunk.
fn flatten(
    scattered: Scattered,
    counts: &[usize],
    interrupted: InterruptCheck,
) -> Result<Vec<OffsetsColumn>> {
    let Scattered { rows, mut blocks } = scattered;
    let mut rest = &rows[..];
    let mut columns = Vec::new();
    reserve(&mut columns, counts.len())?;
    for &count in counts {
        let (chunk, later) = rest.split_at(count);
        rest = later;
        let offsets = offsets_of(chunk.iter().map(|row| row.len))?;
        // A single chunk whose rows are back to back in one block needs no move.
        let bytes = match (counts, &mut blocks[..]) {
            ([_], [_]) if are_back_to_back(chunk) => blocks.pop(),
            _ => None,
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => Block::new(end_of(&offsets))?,
        };
        columns.push(OffsetsColumn { offsets, bytes });
    }
    if blocks.is_empty() {
        return Ok(columns);
    }
    let (mut offsets, mut dsts) = (Vec::new(), Vec::new());
    reserve(&mut offsets, columns.len())?;
    reserve(&mut dsts, columns.len())?;
    for column in &mut columns {
        offsets.push(&column.offsets[..]);
        dsts.push(column.bytes.spare());
    }
    move_out(&rows, blocks, &offsets, &mut dsts, interrupted)?;
    for column in &mut columns {
        let len = end_of(&column.offsets);
        // SAFETY: every row was copied to its place.
        unsafe { column.bytes.set_len(len) };
    }
    Ok(columns)
}

/// Moves rows to chunks of known offsets, each with its memory, on all cores.
fn move_out(
    rows: &[RowRef],
    blocks: Vec<Block>,
    offsets: &[&[i64]],
    dsts: &mut [&mut [MaybeUninit<u8>]],
    interrupted: InterruptCheck,
) -> Result<()> {
    let sources = collect(blocks.into_iter().map(SourceBlock::new))?;
    let counts = offsets.iter().map(|offsets| offsets.len() - 1);
    let spans = Spans::new(counts, |chunk, row| row_len(offsets[chunk], row) as usize)?;
    let work = spans.map(|span| {
        let offsets = offsets[span.chunk];
        let len = (offsets[span.rows.end] - offsets[span.rows.start]) as usize;
        let dst = dsts[span.chunk].split_off_mut(..len).unwrap_or_default();
        (&rows[span.first..][..span.rows.len()], dst)
    });
    pool::run_parallel(work, || (), |(), (rows, dst)| move_rows(rows, &sources, dst), interrupted)?;
    Ok(())
}

/// Moves consecutive rows to `dst`, which is as long as they are.
fn move_rows(rows: &[RowRef], sources: &[SourceBlock], mut dst: &mut [MaybeUninit<u8>]) {
    let mut rows = rows.iter().filter(|row| row.len > 0).peekable();
    while let Some(first) = rows.next() {
        let mut len = first.len as usize;
        while let Some(next) = rows.next_if(|next| follows(first, len, next)) {
            len += next.len as usize;
        }
        let moved = sources[first.block as usize].move_to(first.offset as usize, len, dst);
        dst = &mut dst[moved..];
    }
}

/// Whether `next` lies where the `len` bytes that begin with `first` end.
fn follows(first: &RowRef, len: usize, next: &RowRef) -> bool {
    next.block == first.block && next.offset as usize == first.offset as usize + len
}

/// Whether the rows of one block are in order and without gaps.
fn are_back_to_back(rows: &[RowRef]) -> bool {
    let mut len = 0;
    rows.iter().filter(|row| row.len > 0).all(|row| {
        let start = len;
        len += row.len as usize;
        row.offset as usize == start
    })
}

/// Rows between two checks for an interrupt.
const CHECK_STRIDE: usize = 1 << 20;

/// Offsets of rows of these lengths.
pub fn offsets_of(lens: impl ExactSizeIterator<Item = u64>) -> Result<Vec<i64>> {
    let mut offsets: Vec<i64> = zeroed(lens.len() + 1)?;
    let mut end = 0u64;
    for (row, (offset, len)) in offsets[1..].iter_mut().zip(lens).enumerate() {
        if row % CHECK_STRIDE == CHECK_STRIDE - 1 && pool::stopped() {
            return Err(Error::Interrupted);
        }
        end = end.saturating_add(len);
        *offset = i64::try_from(end).map_err(|_| Error::OutOfMemory { bytes: end })?;
    }
    Ok(offsets)
}

/// The end of the last row.
pub fn end_of(offsets: &[i64]) -> usize {
    offsets.last().map_or(0, |&end| end as usize)
}

pub fn row_len(offsets: &[i64], row: usize) -> u64 {
    (offsets[row + 1] - offsets[row]) as u64
}
