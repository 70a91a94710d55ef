//! Codec `passthrough`: the payload is the original.

use std::mem::MaybeUninit;

use super::{Fault, Kernel, OnPiece, PIECES_FROM, copy_to};

/// The codec's name in the S4 wire format.
pub const NAME: &str = "passthrough";

/// Bytes of a piece, so that it is in the second-level cache.
const PIECE_BYTES: usize = 128 << 10;

/// The kernel of `passthrough`.
pub struct Passthrough;

impl Kernel for Passthrough {
    fn name(&self) -> &'static str {
        NAME
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        Ok(len)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        Ok(copy_to(src, dst))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        Ok(payload.len() as u64)
    }

    fn decompress_in_pieces(
        &mut self,
        payload: &[u8],
        dst: &mut [MaybeUninit<u8>],
        on_piece: &mut OnPiece,
    ) -> Result<usize, Fault> {
        if payload.len() > dst.len() {
            return Err(Fault::TooLong);
        }
        if payload.len() < PIECES_FROM {
            return Ok(copy_to(payload, dst));
        }
        for (piece, dst) in payload.chunks(PIECE_BYTES).zip(dst.chunks_mut(PIECE_BYTES)) {
            on_piece(dst[..piece.len()].write_copy_of_slice(piece));
        }
        Ok(payload.len())
    }
}
