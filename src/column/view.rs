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
            if row.len() as u64 > VIEW_MAX_BYTES {
                let size = row.len() as u64;
                return Err(Error::ValueTooLong { size, limit: VIEW_MAX_BYTES });
            }
            view = row.len() as View;
            if row.len() <= INLINE {
                let mut bytes = [0; INLINE + 4];
                bytes[4..4 + row.len()].copy_from_slice(row);
                view |= View::from_le_bytes(bytes);
                return Ok(0);
            }
            let prefix = u32::from_le_bytes([row[0], row[1], row[2], row[3]]);
            view |= View::from(prefix) << 32;
            Ok(row.len())
        })?;
        if view as u32 as usize > INLINE {
            let Place { block, offset } = place;
            view |= View::from(block) << 64 | View::from(offset) << 96;
        }
        Ok(view)
    }
}

impl Announced for Views<'_> {
    fn announce(&mut self, bytes: usize) {
        self.0.announce(bytes);
    }
}
