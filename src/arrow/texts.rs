//! Arrays of texts and validity bitmaps, made in memory that is reserved fallibly: Arrow's own
//! builders end the process where memory is short.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{ArrayRef, LargeStringArray, StringViewArray};
use arrow_buffer::{
    BooleanBufferBuilder, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};

use super::arrays::shared;
use crate::error::{OutOfMemory, extend, push, reserve};

/// A text of up to this many bytes lies in its view.
const INLINE: usize = 12;

/// A bitmap to be built, with memory for `rows` rows.
pub fn bits(rows: usize) -> Result<BooleanBufferBuilder, OutOfMemory> {
    let mut bytes: Vec<u8> = Vec::new();
    reserve(&mut bytes, rows.div_ceil(8))?;
    Ok(BooleanBufferBuilder::new_from_buffer(MutableBuffer::from(bytes), 0))
}

/// The validity of `rows` rows.
pub fn validity_of(
    rows: usize,
    are_valid: impl Iterator<Item = bool>,
) -> Result<NullBuffer, OutOfMemory> {
    let mut validity = bits(rows)?;
    are_valid.for_each(|is_valid| validity.append(is_valid));
    Ok(NullBuffer::new(validity.finish()))
}

/// The validity of `rows` rows of which only those at these positions are valid.
pub fn valid_only(
    rows: usize,
    valid: impl Iterator<Item = usize>,
) -> Result<NullBuffer, OutOfMemory> {
    let mut validity = bits(rows)?;
    validity.append_n(rows, false);
    valid.for_each(|row| validity.set_bit(row, true));
    Ok(NullBuffer::new(validity.finish()))
}

/// `rows` texts as a large string array.
pub fn large_strings<'t>(
    rows: usize,
    texts: impl Iterator<Item = Option<&'t str>> + Clone,
) -> Result<ArrayRef, OutOfMemory> {
    let (mut offsets, mut bytes) = (Vec::new(), Vec::new());
    reserve(&mut offsets, rows + 1)?;
    offsets.push(0);
    let validity = validity_of(rows, texts.clone().map(|text| text.is_some()))?;
    for text in texts {
        extend(&mut bytes, text.unwrap_or_default().as_bytes())?;
        push(&mut offsets, bytes.len() as i64)?;
    }
    // SAFETY: the offsets ascend from 0 to the length of the bytes, which are whole texts.
    let array = unsafe {
        let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets));
        LargeStringArray::new_unchecked(offsets, Buffer::from_vec(bytes), Some(validity))
    };
    Ok(Arc::new(array))
}

/// `rows` texts as a string view array.
pub fn string_views<'t>(
    rows: usize,
    texts: impl Iterator<Item = Option<&'t str>> + Clone,
) -> Result<ArrayRef, OutOfMemory> {
    let (mut views, mut bytes, mut full) = (Vec::new(), Vec::new(), Vec::new());
    reserve(&mut views, rows)?;
    let validity = validity_of(rows, texts.clone().map(|text| text.is_some()))?;
    for text in texts {
        let text = text.unwrap_or_default().as_bytes();
        // Offsets into a buffer are signed 32-bit integers.
        if bytes.len() + text.len() > i32::MAX as usize {
            push(&mut full, Buffer::from_vec(std::mem::take(&mut bytes)))?;
        }
        let view = make_view(text, full.len() as u32, bytes.len() as u32);
        if text.len() > INLINE {
            extend(&mut bytes, text)?;
        }
        push(&mut views, view)?;
    }
    push(&mut full, Buffer::from_vec(bytes))?;
    let full = shared(full)?;
    // SAFETY: each view is of a whole text, which lies in it or in its buffer.
    let array =
        unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), full, Some(validity)) };
    Ok(Arc::new(array))
}
