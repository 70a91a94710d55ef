//! Codec `passthrough`: the payload is the original.

use std::mem::MaybeUninit;

use super::{Fault, Kernel, copy_to};

/// The codec's name in the S4 wire format.
pub const NAME: &str = "passthrough";

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

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        if payload.len() > dst.len() {
            return Err(Fault::TooLong);
        }
        Ok(copy_to(payload, dst))
    }
}
