//! Where rows lie in the buffers of an array.
//!
//! Offsets, views and keys are checked on import. But their memory may be a buffer that Python
//! writes to, so each is read once and checked again whenever a row is: rows that were changed
//! meanwhile are wrong, and never outside of their buffers.

use std::ptr;

use arrow_array::BinaryViewArray;
use arrow_buffer::{ArrowNativeType, Buffer};

/// Reads what another thread may change, just once: what is checked is what is used.
#[inline(always)]
pub fn read_once<T: Copy>(place: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { ptr::read_volatile(place) }
}

/// The bytes of a row by its offsets; none where those lie outside of the values now.
#[inline]
pub fn between<'a, O: ArrowNativeType>(offsets: &[O], row: usize, values: &'a [u8]) -> &'a [u8] {
    let (start, end) = (read_once(&offsets[row]), read_once(&offsets[row + 1]));
    values.get(start.as_usize()..end.as_usize()).unwrap_or_default()
}

/// The bytes of a row by its view; none where that lies outside of its block now.
#[inline]
pub fn viewed(array: &BinaryViewArray, row: usize) -> &[u8] {
    let place = &array.views()[row];
    let View { len, block, start } = View::of(read_once(place));
    if len <= View::INLINE {
        // SAFETY: the view holds so many bytes itself.
        return unsafe { BinaryViewArray::inline_value(place, len) };
    }
    let block = array.data_buffers().get(block).map_or(&[][..], Buffer::as_slice);
    block.get(start..start + len).unwrap_or_default()
}

/// A view's length, and where it points to if it is longer than [`INLINE`](Self::INLINE).
pub struct View {
    pub len: usize,
    pub block: usize,
    pub start: usize,
}

impl View {
    /// So many bytes are in the view itself.
    pub const INLINE: usize = 12;

    #[inline]
    pub fn of(view: u128) -> Self {
        let part = |i: u32| (view >> (32 * i)) as u32 as usize;
        Self { len: part(0), block: part(2), start: part(3) }
    }
}
