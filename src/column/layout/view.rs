//! Columns in Arrow's variable-size binary view layout: a 16-byte view a row, which holds
//! up to 12 bytes itself and else points into one of the column's blocks. Workers append
//! rows in any order, and no row is copied to make the column.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::AtomicU32;

use super::{Layout, Part, RowWriter, Written, each_row, parts_of_bytes};
use crate::column::BadRows;
use crate::column::arena::{Arena, ArenaRef, blocks};
use crate::error::{Error, Result, collect};
use crate::memory::{Block, zeroed};
use crate::pool::InterruptCheck;

/// One row, as Arrow lays it out: length, then 12 bytes, or 4 bytes of prefix, block
/// index and offset; each u32, little-endian. Null and empty rows are all zero.
pub type View = u128;

/// A value fits one view's u32 length; Polars keeps the largest for itself.
pub const VIEW_MAX_BYTES: u64 = u32::MAX as u64 - 1;

const INLINE: usize = 12;

/// A column of byte strings.
#[derive(Default)]
pub struct ViewColumn {
    /// A view for each row.
    pub views: Vec<View>,
    /// What views of longer rows point into.
    pub blocks: Vec<Block>,
}

impl ViewColumn {
    /// The bytes of a row; of a null row, none.
    pub fn get(&self, row: usize) -> &[u8] {
        let view = &self.views[row];
        let field = |i: u32| (view >> (32 * i)) as u32 as usize;
        let len = field(0);
        if len > INLINE {
            return &self.blocks[field(2)].as_ref()[field(3)..][..len];
        }
        // SAFETY: a view is 16 initialised bytes, of which the row's follow the first 4 in
        // memory order, as Arrow has it on the little-endian machines that this runs on.
        let bytes = unsafe { &*std::ptr::from_ref(view).cast::<[u8; 16]>() };
        &bytes[4..4 + len]
    }
}

/// The layout of [`ViewColumn`].
pub enum Views {}

impl Layout for Views {
    type Writer<'c> = ViewWriter<'c>;
    type Column = ViewColumn;

    fn writer(block_ids: &AtomicU32) -> ViewWriter<'_> {
        ViewWriter(Arena::new(block_ids))
    }

    fn finish(
        written: Written<ViewWriter>,
        _counts: &[usize],
        _interrupted: InterruptCheck,
    ) -> Result<ViewColumn> {
        let blocks = blocks(written.writers.into_iter().map(|ViewWriter(arena)| arena))?;
        Ok(ViewColumn { views: written.rows, blocks })
    }

    fn parts(offsets: &[i64], _counts: &[usize]) -> Result<Option<Vec<Range<usize>>>> {
        parts_of_bytes(offsets).map(Some)
    }

    fn from_parts(parts: Vec<Part>, bad_rows: &BadRows) -> Result<ViewColumn> {
        let mut views = zeroed::<View>(parts.last().map_or(0, |part| part.rows.end))?;
        each_row(&parts, bad_rows, |row, place, bytes| {
            views[row] = with_place(view_of(bytes)?, place);
            Ok(())
        })?;
        Ok(ViewColumn { views, blocks: collect(parts.into_iter().map(|part| part.bytes))? })
    }
}

/// Rows become views.
pub struct ViewWriter<'c>(Arena<'c>);

impl RowWriter for ViewWriter<'_> {
    type Row = View;

    const MAX_ROW_BYTES: u64 = VIEW_MAX_BYTES;

    fn expect(&mut self, bytes: usize) {
        self.0.expect(bytes);
    }

    fn write_within(
        &mut self,
        likely: usize,
        most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<View> {
        let mut view = 0;
        let arena_ref = self.0.write(likely, most, |dst| {
            let Some(row) = fill(dst)? else { return Ok(None) };
            view = view_of(row)?;
            // What the view holds itself need not stay.
            Ok(Some(if row.len() <= INLINE { 0 } else { row.len() }))
        })?;
        Ok(with_place(view, arena_ref))
    }
}

/// The view of a row, which does not say yet where a longer one lies.
fn view_of(row: &[u8]) -> Result<View> {
    let size = row.len() as u64;
    if size > VIEW_MAX_BYTES {
        return Err(Error::ValueTooLong { size, limit: VIEW_MAX_BYTES });
    }
    let front = &row[..row.len().min(if row.len() <= INLINE { INLINE } else { 4 })];
    let mut bytes = [0; INLINE + 4];
    bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
    bytes[4..4 + front.len()].copy_from_slice(front);
    Ok(View::from_le_bytes(bytes))
}

/// Adds the place of the row, unless the view holds the row itself.
fn with_place(view: View, ArenaRef { block, offset }: ArenaRef) -> View {
    if view as u32 as usize <= INLINE {
        return view;
    }
    view | View::from(block) << 64 | View::from(offset) << 96
}
