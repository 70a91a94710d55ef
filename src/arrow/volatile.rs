//! Reads of offsets, views and keys whose memory may change during a call.
//!
//! They are checked on import. But their memory may be a buffer that Python code writes to, so
//! each is read exactly once for a row and checked again: a row that has changed meanwhile is
//! wrong, but never outside its buffer.

use std::ptr;

use arrow_array::BinaryViewArray;
use arrow_buffer::{ArrowNativeType, Buffer};

/// Reads a value that another thread may change exactly once, so that the value that is checked
/// is the value that is used.
#[inline(always)]
pub fn read_once<T: Copy>(value: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { ptr::read_volatile(value) }
}

/// The bytes of a row by its offsets; empty if those are now outside the values.
#[inline]
pub fn between<'a, O: ArrowNativeType>(offsets: &[O], row: usize, values: &'a [u8]) -> &'a [u8] {
    let (start, end) = (read_once(&offsets[row]), read_once(&offsets[row + 1]));
    values.get(start.as_usize()..end.as_usize()).unwrap_or_default()
}

/// The bytes of a row by its view; empty if that is now outside its block.
#[inline]
pub fn viewed(array: &BinaryViewArray, row: usize) -> &[u8] {
    let view = &array.views()[row];
    let View { len, block, start } = View::of(read_once(view));
    if len <= View::INLINE {
        // SAFETY: a view of up to `INLINE` bytes holds them itself.
        return unsafe { BinaryViewArray::inline_value(view, len) };
    }
    let block = array.data_buffers().get(block).map_or(&[][..], Buffer::as_slice);
    block.get(start..start + len).unwrap_or_default()
}

/// A view's length and, if that exceeds [`INLINE`](Self::INLINE), the position of its bytes.
pub struct View {
    pub len: usize,
    pub block: usize,
    pub start: usize,
}

impl View {
    /// The most bytes that a view holds itself.
    pub const INLINE: usize = 12;

    #[inline]
    pub fn of(view: u128) -> Self {
        let part = |i: u32| (view >> (32 * i)) as u32 as usize;
        Self { len: part(0), block: part(2), start: part(3) }
    }
}
