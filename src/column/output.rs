//! Where workers write rows: the one interface that the layouts of a column share.

use std::mem::MaybeUninit;

use crate::error::Result;
use crate::kernel::copy_to;

/// One worker's part of the output.
pub trait Output: Announced + Send {
    /// What the column keeps of each row; zero where it is null or empty.
    type Row: Zero + Send;

    /// The longest row that the layout can hold.
    const LONGEST: u64;

    /// Writes one row of at most `bytes`: `fill` gets the room, initialises its front and
    /// returns the row, which is that front.
    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<Self::Row>;

    /// Takes one row that is whole already, and its memory where that saves a copy; else the
    /// memory stays with the caller.
    fn take(&mut self, row: &mut Vec<u8>) -> Result<Self::Row> {
        self.write(row.len(), |room| {
            copy_to(row, room);
            // SAFETY: `room` is as long as `row`, which was copied over all of it.
            Ok(unsafe { room.assume_init_ref() })
        })
    }
}

/// What a worker writes to, told what is to come.
pub trait Announced {
    /// Says how many bytes are to come in all, so that a small column takes little memory.
    fn announce(&mut self, _bytes: usize) {}
}

/// Workers that write nothing.
impl Announced for () {}

/// A column whose rows are all written: what is kept of each, and what the workers wrote.
pub struct Written<O: Output> {
    pub rows: Vec<O::Row>,
    pub outs: Vec<O>,
}

/// Types whose all-zero bytes are a value.
///
/// # Safety
/// They are.
pub unsafe trait Zero: Copy {}

// SAFETY: integers.
unsafe impl Zero for u8 {}
// SAFETY: integers.
unsafe impl Zero for i64 {}
// SAFETY: integers.
unsafe impl Zero for u32 {}
// SAFETY: integers.
unsafe impl Zero for u64 {}
// SAFETY: integers.
unsafe impl Zero for u128 {}
