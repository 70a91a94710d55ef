//! Where workers write rows: the one interface that the layouts of a column share.

use std::mem::MaybeUninit;

use crate::error::Result;

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
