//! Codec `cpu-gzip`: gzip members (RFC 1952), by libdeflate.
//!
//! What is read, by one decoder whether a member stands alone or in company and whether its
//! length is known or not:
//! - one or more members back to back, empty ones included, that decode to the concatenation;
//! - of a member's header: the extra field, the name and the comment at any length, passed
//!   over; the header's CRC-16, verified where present; the reserved flags, which must be 0;
//!   time, system and the text flag, ignored;
//! - Huffman codes of up to 288 lengths and 32 distances, which is all that a block's header
//!   can state;
//! - a trailer whose CRC-32 and ISIZE fit the decoded bytes;
//! - zero bytes after the last member, as tar and tape writers pad, passed over. Anything
//!   else there is an error.
//!
//! libdeflate decodes a member into memory that holds all of it. Where its length is not
//! known, the one that the last member states is tried first; a member that proves longer is
//! decoded again in twice the room ([`Growing`]), so that all tries together take about three
//! times the work of one at most.

mod libdeflate;
mod member;

use std::mem::MaybeUninit;

use self::libdeflate::{Compressor, Decompressor, Inflated, KNOWS_OVERRUN, OVERRUN};
use self::member::{TRAILER, check_trailer, header_len};
use super::format::resembles;
use super::{Fault, Kernel, Scratch};
use crate::error::{extend, reserve};

/// The codec's name in the S4 wire format.
pub const NAME: &str = "cpu-gzip";

/// Deflate's densest code: 258 bytes for 2 bits (a 1-bit length, a 1-bit distance).
const MAX_EXPANSION: u64 = 1032;

/// Input up to this length is copied before it is compressed, to memory that stays with the
/// thread; see [`Input`].
const COPIED_BYTES: usize = 1 << 20;

/// What one thread reuses, made at first use.
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

    /// Decodes all of `payload` into `room`.
    fn decode(&mut self, payload: &[u8], room: &mut impl Room) -> Result<(), Fault> {
        if payload.is_empty() {
            return Err(Fault::corrupt("the payload is empty"));
        }
        let decompressor = match &mut self.decompressor {
            Some(kept) => kept,
            slot => slot.insert(Decompressor::new()?),
        };
        let mut rest = payload;
        loop {
            let at = payload.len() - rest.len();
            let corrupt =
                |reason| Fault::Corrupt(format!("{reason} at byte {at}{}", foreign(rest)));
            let deflated = &rest[header_len(rest).map_err(corrupt)?..];
            let stream = &deflated[..deflated.len() - TRAILER];
            let (read, written) = loop {
                match decompressor.inflate(stream, room.spare()) {
                    Inflated::Done { read, written } => break (read, written),
                    Inflated::Damaged => return Err(corrupt("a truncated or damaged member")),
                    // What deflate cannot hold at all is damage.
                    Inflated::TooLong if room.spare().len() as u64 >= most(deflated) => {
                        return Err(corrupt("a truncated or damaged member"));
                    }
                    Inflated::TooLong => room.grow(most(deflated))?,
                }
            };
            let (trailer, after) = deflated[read..].split_at(TRAILER);
            check_trailer(trailer, room.keep(written)).map_err(corrupt)?;
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.starts_with(&[0]) {
                let Some(zeros) = rest.iter().position(|&byte| byte != 0) else { return Ok(()) };
                let at = payload.len() - rest.len() + zeros;
                return Err(Fault::Corrupt(format!(
                    "expected only zero padding after the last member, found other bytes at byte {at}"
                )));
            }
        }
    }
}

/// How input is compressed, so that libdeflate does not write beyond its destination if
/// another thread changes it meanwhile; which should not be, and makes a wrong payload.
enum Input {
    /// It is read once.
    AsIs,
    /// As a copy, which costs a small part of the time while it stays in the cache.
    Copied,
    /// With room for whatever comes of it.
    Changing,
}

impl Input {
    fn of(compressor: &Compressor, len: usize) -> Self {
        match len {
            _ if compressor.reads_once() => Self::AsIs,
            COPIED_BYTES.. if KNOWS_OVERRUN => Self::Changing,
            _ => Self::Copied,
        }
    }
}

/// The most bytes that so much of a payload can decode to.
fn most(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).saturating_mul(MAX_EXPANSION)
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
            Input::AsIs | Input::Copied => bound,
        })
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let mut copy = std::mem::take(&mut self.contexts.copy);
        let compressor = self.contexts.compressor(self.level)?;
        let written = match Input::of(compressor, src.len()) {
            Input::AsIs => compressor.compress(src, dst),
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
        Ok(most(payload))
    }

    fn decoded_guess(&mut self, payload: &[u8], bound: u64) -> u64 {
        payload
            .last_chunk::<4>()
            .map_or(0, |isize| u64::from(u32::from_le_bytes(*isize)).min(bound))
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let mut room = Fixed { dst, written: 0 };
        self.contexts.decode(payload, &mut room)?;
        Ok(room.written)
    }

    fn decompress_growing(
        &mut self,
        payload: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut room = Growing::new(out, limit);
        // What text mostly comes to.
        room.reserve(payload.len().saturating_mul(4))?;
        self.contexts.decode(payload, &mut room)
    }
}

/// Where members go, one after the other.
trait Room {
    /// Room for the next member.
    fn spare(&mut self) -> &mut [MaybeUninit<u8>];

    /// Keeps the first `len` bytes of the spare room, which are initialised, and returns them.
    fn keep(&mut self, len: usize) -> &[u8];

    /// More spare room, for a member that decodes to at most so many bytes.
    fn grow(&mut self, most: u64) -> Result<(), Fault>;
}

/// Room that the caller sized.
struct Fixed<'a> {
    dst: &'a mut [MaybeUninit<u8>],
    written: usize,
}

impl Room for Fixed<'_> {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.dst[self.written..]
    }

    fn keep(&mut self, len: usize) -> &[u8] {
        let start = self.written;
        self.written += len;
        // SAFETY: libdeflate has just initialised the first `len` bytes of the spare room.
        unsafe { self.dst[start..self.written].assume_init_ref() }
    }

    fn grow(&mut self, _most: u64) -> Result<(), Fault> {
        Err(Fault::TooLong)
    }
}

/// The least that room grows to.
const SMALLEST_ROOM: usize = 64 << 10;

/// Room at the end of a vector, doubled whenever a member does not fit. Whatever the members'
/// lengths are, the tries that failed then wrote less than twice the last room together.
struct Growing<'a> {
    out: &'a mut Vec<u8>,
    /// What `out` may be long at most.
    end: usize,
    /// Bytes of `out` in use, filled or spare.
    room: usize,
}

impl<'a> Growing<'a> {
    fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        let end = out.len().saturating_add(limit);
        let room = out.capacity().min(end);
        Self { out, end, room }
    }

    /// Makes the spare room at least so long, or what the limit leaves.
    fn reserve(&mut self, spare: usize) -> Result<(), Fault> {
        let room = self.out.len().saturating_add(spare).min(self.end);
        if room > self.room {
            let more = room - self.out.len();
            reserve(self.out, more)?;
            self.room = room;
        }
        Ok(())
    }
}

impl Room for Growing<'_> {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        let len = self.room - self.out.len();
        &mut self.out.spare_capacity_mut()[..len]
    }

    fn keep(&mut self, len: usize) -> &[u8] {
        let start = self.out.len();
        // SAFETY: libdeflate has just initialised the first `len` bytes of the spare room,
        // which is within the capacity.
        unsafe { self.out.set_len(start + len) };
        &self.out[start..]
    }

    fn grow(&mut self, most: u64) -> Result<(), Fault> {
        if self.room == self.end {
            return Err(Fault::TooLong);
        }
        let doubled = self.room.saturating_mul(2).max(SMALLEST_ROOM) - self.out.len();
        self.reserve(usize::try_from(most).unwrap_or(usize::MAX).min(doubled))
    }
}

/// What a payload that is not gzip may be.
fn foreign(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(&[0x1f, 0x8b]) { "" } else { resembles(bytes) }
}
