//! Decodes block by block straight to the destination, and shows each block while it is in cache.
//!
//! libzstd's stream decoder says how many bytes it takes to decode one more block, and keeps none
//! of them if it is given exactly those. With a stable output buffer it writes to that alone, and
//! finds earlier bytes there, whatever the window.

use std::mem::MaybeUninit;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::{
    self, ZSTD_error_corruption_detected, ZSTD_error_frameParameter_windowTooLarge,
    ZSTD_error_srcSize_wrong,
};
use zstd::zstd_safe::{
    self, DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, SafeResult, WriteBuf,
};

use super::{Destination, error_code};
use crate::kernel::OnPiece;

/// libzstd's largest window, as a power of two.
const MAX_WINDOW_LOG: u32 = if cfg!(target_pointer_width = "64") { 31 } else { 30 };

/// No longer result has pieces: the window of a frame can be as large as its content.
pub const MAX_BYTES: usize = 1 << MAX_WINDOW_LOG;

/// What the first call of a frame takes: its magic and one byte of its header.
const FRAME_START: usize = 5;

/// Decodes all frames, without a dictionary, and returns the decoded length.
pub fn decode(
    context: &mut DCtx,
    frames: &[u8],
    dst: &mut [MaybeUninit<u8>],
    on_piece: &mut OnPiece,
) -> SafeResult {
    // Ends what a failed call left.
    context.reset(ResetDirective::SessionOnly)?;
    context.set_parameter(DParameter::StableOutBuffer(true))?;
    context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
    let (mut rest, mut dst) = (frames, Destination::new(dst));
    while !rest.is_empty() {
        match decode_frame(context, rest, &mut dst, on_piece) {
            Ok(read) => rest = &rest[read..],
            // Its header states more than a stream accepts, but not more than libzstd reads.
            Err(code) if error_code(code) == ZSTD_error_frameParameter_windowTooLarge => {
                let (written, spare) = (dst.filled, &mut dst.bytes[dst.filled..]);
                let decoded = context.decompress(&mut Destination::new(spare), rest);
                return decoded.map(|len| written + len);
            }
            Err(code) => return Err(code),
        }
    }
    Ok(dst.filled)
}

/// Decodes the first frame and returns its length.
fn decode_frame(
    context: &mut DCtx,
    frames: &[u8],
    dst: &mut Destination,
    on_piece: &mut OnPiece,
) -> SafeResult {
    let (start, mut read, mut wanted) = (dst.filled, 0, FRAME_START);
    while wanted > 0 {
        let rest = &frames[read..];
        if rest.is_empty() {
            return Err(code(ZSTD_error_srcSize_wrong));
        }
        let (filled, mut input) = (dst.filled, InBuffer::around(&rest[..wanted.min(rest.len())]));
        let mut output = OutBuffer::around_pos(dst, filled);
        wanted = context.decompress_stream(&mut output, &mut input)?;
        read += input.pos;
        if dst.filled > filled {
            on_piece(&dst.as_slice()[filled..]);
        }
    }
    // Unlike a call for the whole frame, a stream does not compare them if the last block is empty.
    match zstd_safe::get_frame_content_size(&frames[..read]) {
        Ok(Some(size)) if size != (dst.filled - start) as u64 => {
            Err(code(ZSTD_error_corruption_detected))
        }
        _ => Ok(read),
    }
}

/// What libzstd's functions return for that error.
fn code(error: ZSTD_ErrorCode) -> ErrorCode {
    (error as ErrorCode).wrapping_neg()
}
