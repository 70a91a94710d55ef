//! S4F2 frames and S4P1 paddings, of which every stored body is made.
//!
//! ```text
//! offset 0       4         8               16                24       28
//!        "S4F2"  codec id  original_size   compressed_size   crc32c   payload
//!        u8 x 4  u32       u64             u64               u32      compressed_size bytes
//!
//! offset 0       4         12
//!        "S4P1"  length    filler, skipped unread
//! ```
//!
//! Integers are little-endian; `crc32c` is that of this frame's original bytes.

use std::mem::MaybeUninit;

use super::{u32_at, u64_at};
use crate::codec::{Codec, CodecId};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::Manifest;

pub const FRAME_MAGIC: [u8; 4] = *b"S4F2";
pub const PADDING_MAGIC: [u8; 4] = *b"S4P1";
pub const FRAME_HEADER_BYTES: usize = 28;
pub const PADDING_HEADER_BYTES: usize = 12;

/// What a frame says of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub codec: CodecId,
    pub manifest: Manifest,
    pub compressed_size: u64,
}

impl Header {
    pub fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&self.codec.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.manifest.original_size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.compressed_size.to_le_bytes());
        bytes[24..].copy_from_slice(&self.manifest.crc32c.to_le_bytes());
        bytes
    }

    /// Reads the front of `bytes`: that all of it is there, the magic, the codec.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(malformed(format!(
                "a frame header has {FRAME_HEADER_BYTES} bytes, but only {} are left",
                bytes.len()
            )));
        };
        if header[..4] != FRAME_MAGIC {
            let found = header[..4].escape_ascii();
            return Err(malformed(format!("a frame begins with S4F2, here is {found}")));
        }
        let codec = CodecId::try_from(u32_at(header, 4))?;
        let manifest = Manifest { original_size: u64_at(header, 8), crc32c: u32_at(header, 24) };
        Ok(Self { codec, manifest, compressed_size: u64_at(header, 16) })
    }
}

/// The number of the codec that the frame at the front of `body` names, known or not.
pub fn codec_number(body: &[u8]) -> Option<u32> {
    (body.len() >= 8 && body.starts_with(&FRAME_MAGIC)).then(|| u32_at(body, 4))
}

/// One frame of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: Header,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `body`; also returns what follows it.
    pub fn parse(body: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let header = Header::parse(body)?;
        let rest = &body[FRAME_HEADER_BYTES..];
        let (payload, rest) = split(rest, header.compressed_size).ok_or_else(|| {
            malformed(format!(
                "the frame's payload should have {} bytes, but only {} are left",
                header.compressed_size,
                rest.len()
            ))
        })?;
        Ok((Self { header, payload }, rest))
    }

    /// The frame's length in the body.
    pub fn stored_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

/// The most bytes that the frame of `value` takes.
pub fn bound(codec: &Codec, kernel: &mut dyn Kernel, value: &[u8]) -> Result<usize> {
    let size = value.len() as u64;
    let payload = kernel.compress_bound(value.len()).map_err(|fault| codec.error(fault, size))?;
    payload.checked_add(FRAME_HEADER_BYTES).ok_or(Error::OutOfMemory { bytes: u64::MAX })
}

/// Compresses `value` to a frame at the front of `room`, as long as [`bound`] said; returns
/// its header and all of it.
pub fn write<'room>(
    codec: &Codec,
    kernel: &mut dyn Kernel,
    value: &[u8],
    room: &'room mut [MaybeUninit<u8>],
) -> Result<(Header, &'room [u8])> {
    let (front, payload) = room.split_at_mut(FRAME_HEADER_BYTES);
    let size = value.len() as u64;
    let len = kernel.compress(value, payload).map_err(|fault| codec.error(fault, size))?;
    let header =
        Header { codec: codec.id(), manifest: Manifest::seal(value), compressed_size: len as u64 };
    front.write_copy_of_slice(&header.to_bytes());
    // SAFETY: the header was written to the front, and the kernel initialised `len` bytes.
    Ok((header, unsafe { room[..FRAME_HEADER_BYTES + len].assume_init_ref() }))
}

/// The first `len` bytes and the others, if there are so many.
fn split(bytes: &[u8], len: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(len).ok()?)
}

fn malformed(what: String) -> Error {
    Error::Frame(what)
}

/// The frames of a body in order, paddings passed over, each with its place. Ends after the
/// first error.
#[derive(Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Frames<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self::resume(body, 0, 0)
    }

    /// The frames from byte `at` on, before which there are `count`.
    pub fn resume(body: &'a [u8], at: usize, count: usize) -> Self {
        Self { rest: body.get(at..).unwrap_or_default(), at, count }
    }

    /// Where the next frame or padding begins, and the number of frames before it.
    pub fn position(&self) -> (usize, usize) {
        (self.at, self.count)
    }

    /// Skips paddings; the bytes of the next frame, or `None` at the end.
    fn after_paddings(&mut self) -> Result<Option<&'a [u8]>> {
        while let Some(after_magic) = self.rest.strip_prefix(&PADDING_MAGIC) {
            let Some(len) = after_magic.first_chunk().map(|len| u64::from_le_bytes(*len)) else {
                return Err(malformed("the padding's header is cut".into()));
            };
            let filler = &self.rest[PADDING_HEADER_BYTES..];
            let (_, rest) = split(filler, len).ok_or_else(|| {
                malformed(format!(
                    "the padding should have {len} bytes, but only {} are left",
                    filler.len()
                ))
            })?;
            self.advance_to(rest);
        }
        Ok(Some(self.rest).filter(|rest| !rest.is_empty()))
    }

    fn advance_to(&mut self, rest: &'a [u8]) {
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
    }

    fn step(&mut self) -> Result<Option<(usize, Frame<'a>)>> {
        let Some(bytes) = self.after_paddings()? else { return Ok(None) };
        let (frame, rest) = Frame::parse(bytes)?;
        let at = self.at;
        self.advance_to(rest);
        self.count += 1;
        Ok(Some((at, frame)))
    }
}

impl<'a> Iterator for Frames<'a> {
    /// Where the frame begins in the body, and the frame.
    type Item = Result<(usize, Frame<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().map_err(|error| {
            let (at, count) = (self.at, self.count);
            self.rest = &[];
            malformed(format!("frame {count}, at byte {at}: {error}"))
        });
        step.transpose()
    }
}

/// What the headers of a body say, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// `None` where frames differ, or there are none.
    pub codec: Option<CodecId>,
    /// Sums over all frames, below 2^63.
    pub original_size: u64,
    pub compressed_size: u64,
    /// Of the only frame, where it is one.
    pub crc32c: Option<u32>,
    pub frames: u32,
}

impl FrameInfo {
    /// Walks the headers of `body`; nothing is decoded.
    pub fn of(body: &[u8]) -> Result<Self> {
        let mut info = Self::default();
        let too_much = || malformed("the sizes of the frames add up to 2^63 bytes or more".into());
        for step in Frames::new(body) {
            let Header { codec, manifest, compressed_size } = step?.1.header;
            let is_first = info.frames == 0;
            info.codec = Some(codec).filter(|codec| is_first || info.codec == Some(*codec));
            info.crc32c = Some(manifest.crc32c).filter(|_| is_first);
            info.original_size = info
                .original_size
                .checked_add(manifest.original_size)
                .filter(|&sum| i64::try_from(sum).is_ok())
                .ok_or_else(too_much)?;
            info.compressed_size += compressed_size;
            info.frames += 1;
        }
        Ok(info)
    }
}

/// A padding that lifts a part of `len` bytes to at least `least`.
pub fn padding(len: usize, least: usize) -> Vec<u8> {
    let Some(missing) = least.checked_sub(len).filter(|&missing| missing > 0) else {
        return Vec::new();
    };
    let filler = missing.saturating_sub(PADDING_HEADER_BYTES);
    let mut padding = Vec::with_capacity(PADDING_HEADER_BYTES + filler);
    padding.extend_from_slice(&PADDING_MAGIC);
    padding.extend_from_slice(&(filler as u64).to_le_bytes());
    padding.resize(PADDING_HEADER_BYTES + filler, 0);
    padding
}
