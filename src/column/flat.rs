//! Columns in Arrow's large binary layout: all of a chunk's bytes back to back in one
//! block, and 64-bit offsets into it.
//!
//! Rows whose lengths are known only once they are made go to an arena first ([`Cuts`]) and
//! move from there ([`flatten`]): in stretches of rows, on all cores, each block of the
//! arena going back as its last row leaves, so that the column is never held twice.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::job::{Spans, zeroed};
use super::memory::{Arena, Block, Place, blocks};
use super::output::{Announced, Output, Written, Zero};
use crate::error::{Error, Result};
use crate::kernel::copy_to;
use crate::pool::{self, Interrupted};

/// One chunk of byte strings.
pub struct FlatColumn {
    /// Where rows begin in `bytes`, and the last one's end; never descending, from 0.
    pub offsets: Vec<i64>,
    pub bytes: Block,
}

/// Where a row lies in an arena.
#[derive(Clone, Copy, Default)]
pub struct Cut {
    len: u64,
    block: u32,
    offset: u32,
}

// SAFETY: three integers.
unsafe impl Zero for Cut {}

/// Rows wait in an arena for [`flatten`].
pub struct Cuts<'column>(pub Arena<'column>);

impl Output for Cuts<'_> {
    type Row = Cut;

    const LONGEST: u64 = i64::MAX as u64;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<Cut> {
        let mut len = 0;
        let Place { block, offset } = self.0.write(bytes, |room| {
            len = fill(room)?.len();
            Ok(len)
        })?;
        Ok(Cut { len: len as u64, block, offset })
    }

    fn take(&mut self, row: &mut Vec<u8>) -> Result<Cut> {
        let len = row.len() as u64;
        let Place { block, offset } = self.0.take(row)?;
        Ok(Cut { len, block, offset })
    }
}

impl Announced for Cuts<'_> {
    fn announce(&mut self, bytes: usize) {
        self.0.announce(bytes);
    }
}

/// A block of an arena that goes back once all its bytes have been copied.
struct Source {
    block: RwLock<Option<Block>>,
    left: AtomicUsize,
}

impl Source {
    fn new(block: Block) -> Self {
        let left = AtomicUsize::new(block.as_ref().len());
        Self { block: RwLock::new(Some(block)), left }
    }

    /// Moves `len` bytes that no other call moves; returns how many.
    fn move_to(&self, offset: usize, len: usize, room: &mut [MaybeUninit<u8>]) -> usize {
        let moved = match &*self.block.read().unwrap_or_else(PoisonError::into_inner) {
            Some(block) => copy_to(&block.as_ref()[offset..][..len], room),
            None => 0,
        };
        if self.left.fetch_sub(moved, Ordering::AcqRel) == moved {
            self.block.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        moved
    }
}

/// Moves the rows of a column of chunks, so many rows each, out of their arenas.
pub fn flatten(
    written: Written<Cuts>,
    chunks: &[usize],
    interrupted: Interrupted,
) -> Result<Vec<FlatColumn>> {
    let Gathered { cuts, mut blocks } = written.try_into()?;
    let mut rest = &cuts[..];
    let mut columns = Vec::with_capacity(chunks.len());
    for &rows in chunks {
        let (cuts, later) = rest.split_at(rows);
        rest = later;
        let offsets = offsets(cuts.iter().map(|cut| cut.len))?;
        // One chunk whose rows all came to one block lies there as it must.
        let bytes = match (chunks, &mut blocks[..]) {
            ([_], [_]) if in_one_piece(cuts) => blocks.pop(),
            _ => None,
        };
        let capacity = if bytes.is_some() { 0 } else { last(&offsets) };
        let bytes = bytes.map_or_else(|| Block::new(capacity), Ok)?;
        columns.push(FlatColumn { offsets, bytes });
    }
    if blocks.is_empty() {
        return Ok(columns);
    }
    let places: Vec<_> =
        columns.iter_mut().map(|column| (&column.offsets[..], column.bytes.spare())).collect();
    move_out(&cuts, blocks, places, interrupted)?;
    for column in &mut columns {
        let len = last(&column.offsets);
        // SAFETY: every row was copied to its place.
        unsafe { column.bytes.set_len(len) };
    }
    Ok(columns)
}

/// Rows that wait in blocks to be moved.
pub struct Gathered {
    cuts: Vec<Cut>,
    blocks: Vec<Block>,
}

impl TryFrom<Written<Cuts<'_>>> for Gathered {
    type Error = Error;

    fn try_from(written: Written<Cuts>) -> Result<Self> {
        let blocks = blocks(written.outs.into_iter().map(|Cuts(arena)| arena))?;
        Ok(Self { cuts: written.rows, blocks })
    }
}

impl Gathered {
    /// The bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.cuts.iter().map(|cut| cut.len as usize).sum()
    }

    /// Moves all rows to `room`, which is that long, and initialises it.
    pub fn move_to(self, room: &mut [MaybeUninit<u8>], interrupted: Interrupted) -> Result<()> {
        let offsets = offsets(self.cuts.iter().map(|cut| cut.len))?;
        move_out(&self.cuts, self.blocks, vec![(&offsets, room)], interrupted)
    }
}

/// Moves rows to chunks of known offsets, on all cores.
fn move_out(
    cuts: &[Cut],
    blocks: Vec<Block>,
    places: Vec<(&[i64], &mut [MaybeUninit<u8>])>,
    interrupted: Interrupted,
) -> Result<()> {
    let sources: Vec<Source> = blocks.into_iter().map(Source::new).collect();
    let (offsets, mut rooms): (Vec<_>, Vec<_>) = places.into_iter().unzip();
    let counts = offsets.iter().map(|offsets| offsets.len() - 1);
    let spans = Spans::new(counts, |chunk, row| row_len(offsets[chunk], row) as usize);
    let work = spans.map(|span| {
        let offsets = offsets[span.chunk];
        let len = (offsets[span.rows.end] - offsets[span.rows.start]) as usize;
        let room = rooms[span.chunk].split_off_mut(..len).unwrap_or_default();
        (&cuts[span.first..][..span.rows.len()], room)
    });
    pool::work_off(work, || (), |(), (cuts, room)| move_rows(cuts, &sources, room), interrupted)?;
    Ok(())
}

/// Moves consecutive rows to `room`, which is as long as they are.
fn move_rows(cuts: &[Cut], sources: &[Source], mut room: &mut [MaybeUninit<u8>]) {
    let mut rows = cuts.iter().filter(|cut| cut.len > 0).peekable();
    while let Some(first) = rows.next() {
        let mut len = first.len as usize;
        while let Some(next) = rows.next_if(|next| follows(first, len, next)) {
            len += next.len as usize;
        }
        let moved = sources[first.block as usize].move_to(first.offset as usize, len, room);
        room = &mut room[moved..];
    }
}

/// Whether `next` lies where the `len` bytes that begin with `first` end.
fn follows(first: &Cut, len: usize, next: &Cut) -> bool {
    next.block == first.block && next.offset as usize == first.offset as usize + len
}

fn in_one_piece(cuts: &[Cut]) -> bool {
    let mut len = 0;
    cuts.iter().filter(|cut| cut.len > 0).all(|cut| {
        let start = len;
        len += cut.len as usize;
        cut.offset as usize == start
    })
}

/// Rows between two looks whether they are wanted still.
const LOOK: usize = 1 << 20;

/// Offsets of rows of these lengths.
pub fn offsets(lens: impl ExactSizeIterator<Item = u64>) -> Result<Vec<i64>> {
    let mut offsets: Vec<i64> = zeroed(lens.len() + 1)?;
    let mut end = 0u64;
    for (row, (offset, len)) in offsets[1..].iter_mut().zip(lens).enumerate() {
        if row % LOOK == LOOK - 1 && pool::stopped() {
            return Err(Error::Interrupted);
        }
        end = end.saturating_add(len);
        *offset = i64::try_from(end).map_err(|_| Error::OutOfMemory { bytes: end })?;
    }
    Ok(offsets)
}

/// The end of the last row.
pub fn last(offsets: &[i64]) -> usize {
    offsets.last().map_or(0, |&end| end as usize)
}

pub fn row_len(offsets: &[i64], row: usize) -> u64 {
    (offsets[row + 1] - offsets[row]) as u64
}
