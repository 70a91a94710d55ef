//! Codec `cpu-gzip`: gzip members (RFC 1952), by libdeflate.
//!
//! One decoder reads single and concatenated members, whether or not their lengths are known:
//! - one or more members back to back, empty ones included, which decode to the concatenation;
//! - in a member's header: the extra field, the name and the comment, of any length, skipped;
//!   the header's CRC-16, verified where present; the reserved flags, which must be 0; time,
//!   system and the text flag, ignored;
//! - Huffman codes of up to 288 lengths and 32 distances, which is all that a block's header
//!   can state;
//! - a trailer whose CRC-32 and ISIZE fit the decoded bytes;
//! - zero bytes after the last member, with which tar and tape writers pad, skipped. Anything
//!   else there is an error.
//!
//! libdeflate decodes a member into memory that holds all of it. Only the last member's length
//! is found without decoding: see `stated_len`.

mod libdeflate;
mod member;

use std::mem::MaybeUninit;

use self::libdeflate::{Compressor, Decompressor, Inflated, KNOWS_OVERRUN, OVERRUN};
use self::member::{TRAILER, check_trailer, header_len};
use super::format::resembles;
use super::{DecodedLens, Fault, Kernel, Scratch};
use crate::error::extend;

/// The codec's name in the S4 wire format.
pub const NAME: &str = "cpu-gzip";

/// Deflate's densest code: 258 bytes for 2 bits (a 1-bit length, a 1-bit distance).
const MAX_EXPANSION: u64 = 1032;

/// Input up to this length is copied before it is compressed, to memory that the thread keeps;
/// see [`Input`].
const COPIED_BYTES: usize = 1 << 20;

/// The state that one thread reuses, made at first use.
#[derive(Default)]
pub struct Contexts {
    compressor: Option<Compressor>,
    decompressor: Option<Decompressor>,
    copy: Vec<u8>,
}

/// The kernel of `cpu-gzip`.
pub struct Gzip<'a> {
    level: i32,
    contexts: &'a mut Contexts,
}

impl<'a> Gzip<'a> {
    /// A kernel of that level.
    pub fn new(level: i32, scratch: &'a mut Scratch) -> Self {
        Self { level, contexts: &mut scratch.gzip }
    }
}

impl Contexts {
    fn compressor(&mut self, level: i32) -> Result<&mut Compressor, Fault> {
        // libdeflate fixes the level when it allocates, so another level is another compressor.
        let kept = self.compressor.take().filter(|kept| kept.level() == level);
        let compressor = kept.map_or_else(|| Compressor::new(level), Ok)?;
        Ok(self.compressor.insert(compressor))
    }

    /// Decodes all of `payload` to the front of `dst`; returns the decoded length.
    fn decode(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        if payload.is_empty() {
            return Err(Fault::corrupt("the payload is empty"));
        }
        let decompressor = match &mut self.decompressor {
            Some(kept) => kept,
            slot => slot.insert(Decompressor::new()?),
        };
        let (mut rest, mut len) = (payload, 0);
        loop {
            let at = payload.len() - rest.len();
            let corrupt =
                |reason| Fault::Corrupt(format!("{reason} at byte {at}{}", foreign(rest)));
            let deflated = &rest[header_len(rest).map_err(corrupt)?..];
            let stream = &deflated[..deflated.len() - TRAILER];
            let spare = &mut dst[len..];
            let (read, written) = match decompressor.inflate(stream, spare) {
                Inflated::Done { read, written } => (read, written),
                // More than deflate can hold is damage.
                Inflated::TooLong if (spare.len() as u64) < decoded_most(deflated) => {
                    return Err(Fault::TooLong);
                }
                Inflated::TooLong | Inflated::Damaged => {
                    return Err(corrupt("a truncated or damaged member"));
                }
            };
            // SAFETY: libdeflate has just initialised the first `written` bytes of `spare`.
            let decoded = unsafe { spare[..written].assume_init_ref() };
            let (trailer, after) = deflated[read..].split_at(TRAILER);
            check_trailer(trailer, decoded).map_err(corrupt)?;
            (rest, len) = (after, len + written);
            if rest.is_empty() {
                return Ok(len);
            }
            if rest.starts_with(&[0]) {
                let Some(zeros) = rest.iter().position(|&byte| byte != 0) else { return Ok(len) };
                let at = payload.len() - rest.len() + zeros;
                return Err(Fault::Corrupt(format!(
                    "expected only zero padding after the last member, found other bytes at byte {at}"
                )));
            }
        }
    }
}

/// How input is compressed, so that libdeflate does not write beyond its destination if
/// another thread changes the input meanwhile, which makes a wrong payload in any case.
enum Input {
    /// In place: libdeflate reads each byte once.
    InPlace,
    /// As a copy, which costs little while it fits the cache.
    Copied,
    /// In place, with a destination that is long enough whatever the input changes to.
    Changing,
}

impl Input {
    fn of(compressor: &Compressor, len: usize) -> Self {
        match len {
            _ if compressor.reads_once() => Self::InPlace,
            COPIED_BYTES.. if KNOWS_OVERRUN => Self::Changing,
            _ => Self::Copied,
        }
    }
}

/// The most bytes that `bytes` can decode to.
fn decoded_most(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).saturating_mul(MAX_EXPANSION)
}

/// The length that the last member states (ISIZE), unless the payload shows that it has more
/// members: one alone is at most a little longer than what it decodes to.
fn stated_len(payload: &[u8]) -> Option<u64> {
    // A header and a trailer with a usual name.
    const WRAPPER: u64 = 64;
    let isize = u64::from(u32::from_le_bytes(*payload.last_chunk()?));
    let is_one_member = payload.len() as u64 <= isize + isize / 64 + WRAPPER;
    (is_one_member && isize <= decoded_most(payload)).then_some(isize)
}

impl Kernel for Gzip<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        let compressor = self.contexts.compressor(self.level)?;
        let bound = compressor.bound(len);
        Ok(match Input::of(compressor, len) {
            Input::Changing => bound.saturating_add(OVERRUN),
            Input::InPlace | Input::Copied => bound,
        })
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let mut copy = std::mem::take(&mut self.contexts.copy);
        let compressor = self.contexts.compressor(self.level)?;
        let written = match Input::of(compressor, src.len()) {
            Input::InPlace => compressor.compress(src, dst),
            Input::Changing => compressor.compress_changing(src, dst),
            Input::Copied => {
                copy.clear();
                extend(&mut copy, src)?;
                compressor.compress(&copy, dst)
            }
        };
        self.contexts.copy = copy;
        written
            .ok_or_else(|| Fault::Library("the destination is shorter than compress_bound".into()))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        Ok(decoded_most(payload))
    }

    fn decoded_lens(&mut self, payload: &[u8]) -> Result<DecodedLens, Fault> {
        Ok(DecodedLens { most: decoded_most(payload), stated: stated_len(payload) })
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.contexts.decode(payload, dst)
    }
}

/// What a payload that is not gzip may be.
fn foreign(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(&[0x1f, 0x8b]) { "" } else { resembles(bytes) }
}
