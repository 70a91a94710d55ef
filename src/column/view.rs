//! Columns in Arrow's variable-size binary view layout: a 16-byte view a row, which holds
//! up to 12 bytes itself and else points into one of the column's blocks. Workers append
//! rows in any order, and no row is copied to make the column.

use std::mem::MaybeUninit;

use super::memory::{Arena, Block, Place, blocks};
use super::output::{Announced, Output, Written};
use crate::error::{Error, Result};

/// One row, as Arrow lays it out: length, then 12 bytes, or 4 bytes of prefix, block
/// index and offset; each u32, little-endian. Null and empty rows are all zero.
pub type View = u128;

/// A value fits one view's u32 length; Polars keeps the largest for itself.
pub const VIEW_MAX_BYTES: u64 = u32::MAX as u64 - 1;

const INLINE: usize = 12;

/// A column of byte strings.
#[derive(Default)]
pub struct ViewColumn {
    pub views: Vec<View>,
    pub blocks: Vec<Block>,
}

impl TryFrom<Written<Views<'_>>> for ViewColumn {
    type Error = Error;

    fn try_from(written: Written<Views>) -> Result<Self> {
        let blocks = blocks(written.outs.into_iter().map(|Views(arena)| arena))?;
        Ok(Self { views: written.rows, blocks })
    }
}

/// Rows become views.
pub struct Views<'column>(pub Arena<'column>);

impl Output for Views<'_> {
    type Row = View;

    const LONGEST: u64 = VIEW_MAX_BYTES;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<View> {
        let mut view = 0;
        let place = self.0.write(bytes, |room| {
            let row = fill(room)?;
            view = view_of(row)?;
            // What the view holds itself need not stay.
            Ok(if row.len() <= INLINE { 0 } else { row.len() })
        })?;
        Ok(placed(view, place))
    }

    fn take(&mut self, row: &mut Vec<u8>) -> Result<View> {
        let view = view_of(row)?;
        if row.len() <= INLINE {
            return Ok(view);
        }
        Ok(placed(view, self.0.take(row)?))
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

/// A view whose row lies there, if it does not hold it itself.
fn placed(view: View, Place { block, offset }: Place) -> View {
    if view as u32 as usize <= INLINE {
        return view;
    }
    view | View::from(block) << 64 | View::from(offset) << 96
}

impl Announced for Views<'_> {
    fn announce(&mut self, bytes: usize) {
        self.0.announce(bytes);
    }
}
