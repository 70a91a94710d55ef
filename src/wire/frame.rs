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
//! Integers are little-endian; `crc32c` is that of this frame's original bytes. See "Frame",
//! "Padding" and "Body" in `docs/format.md`.

use super::codec_id::CodecId;
use super::{u32_at, u64_at};
use crate::error::{Error, Result};
use crate::kernel::format::resembles;
use crate::manifest::Manifest;

/// What frames start with.
pub const FRAME_MAGIC: [u8; 4] = *b"S4F2";
/// What paddings start with.
pub const PADDING_MAGIC: [u8; 4] = *b"S4P1";
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 28;
/// Bytes of a padding before its filler.
pub const PADDING_HEADER_BYTES: usize = 12;

/// The length of a body for [`Headers`] while it is unknown, as a stream's is until its end.
pub const UNKNOWN_LEN: u64 = u64::MAX;

/// What a frame says of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The codec of the payload.
    pub codec: CodecId,
    /// What the payload decodes to.
    pub manifest: Manifest,
    /// Bytes of the payload.
    pub compressed_size: u64,
}

impl Header {
    /// The header as it is stored.
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
                "expected a frame header of {FRAME_HEADER_BYTES} bytes, but only {} are left",
                bytes.len()
            )));
        };
        if header[..4] != FRAME_MAGIC {
            let (found, look) = (header[..4].escape_ascii(), resembles(bytes));
            return Err(malformed(format!("expected magic S4F2, found \"{found}\"{look}")));
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
    /// What the frame says of its payload.
    pub header: Header,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `body`; also returns what follows it.
    pub fn parse(body: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let header = Header::parse(body)?;
        let rest = &body[FRAME_HEADER_BYTES..];
        let (payload, rest) = split(rest, header.compressed_size)
            .ok_or_else(|| cut_payload(header.compressed_size, rest.len() as u64))?;
        Ok((Self { header, payload }, rest))
    }

    /// The frame's length in the body.
    pub fn stored_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

/// The first `len` bytes and the rest, if there are that many.
fn split(bytes: &[u8], len: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(len).ok()?)
}

fn malformed(what: String) -> Error {
    Error::Frame(what)
}

fn cut_payload(expected: u64, left: u64) -> Error {
    malformed(format!("the frame's payload should have {expected} bytes, but only {left} are left"))
}

/// The headers of a body in order, paddings passed over, as far as a window of the body shows
/// them. Payloads and paddings may reach beyond the window. Ends after the first error.
#[derive(Clone)]
pub struct Headers<'a> {
    window: &'a [u8],
    /// Where the window begins in the body.
    start: u64,
    at: u64,
    len: u64,
    count: usize,
    previous: (u64, usize),
}

impl<'a> Headers<'a> {
    /// From byte `at` of a body of `len` bytes on, where the window begins and the frame
    /// numbered `count` or paddings before it. Of a body of [`UNKNOWN_LEN`], payloads and
    /// paddings may reach beyond its end.
    pub fn resume(window: &'a [u8], at: u64, len: u64, count: usize) -> Self {
        Self { window, start: at, at, len, count, previous: (at, count) }
    }

    /// Where the next header begins in the body.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The number of the next frame.
    pub fn number(&self) -> usize {
        self.count
    }

    /// Where the last frame or padding begins, and the number of frames before it.
    pub fn previous(&self) -> (u64, usize) {
        self.previous
    }

    fn step(&mut self) -> Result<Option<(u64, Header)>> {
        loop {
            let begin = usize::try_from(self.at - self.start).unwrap_or(usize::MAX);
            let bytes = self.window.get(begin..).unwrap_or_default();
            let left = self.len - self.at;
            let is_shown = bytes.len() >= FRAME_HEADER_BYTES || bytes.len() as u64 == left;
            if left == 0 || !is_shown {
                return Ok(None);
            }
            if let Some(after_magic) = bytes.strip_prefix(&PADDING_MAGIC) {
                let Some(len) = after_magic.first_chunk().map(|len| u64::from_le_bytes(*len))
                else {
                    return Err(malformed("the padding's header is truncated".into()));
                };
                let left = left - PADDING_HEADER_BYTES as u64;
                if len > left && self.len != UNKNOWN_LEN {
                    return Err(malformed(format!(
                        "the padding should have {len} bytes, but only {left} are left"
                    )));
                }
                self.previous = (self.at, self.count);
                self.at = (self.at + PADDING_HEADER_BYTES as u64).saturating_add(len);
                continue;
            }
            let header = Header::parse(bytes)?;
            let left = left - FRAME_HEADER_BYTES as u64;
            if header.compressed_size > left && self.len != UNKNOWN_LEN {
                return Err(cut_payload(header.compressed_size, left));
            }
            let at = self.at;
            self.previous = (at, self.count);
            self.at = (at + FRAME_HEADER_BYTES as u64).saturating_add(header.compressed_size);
            self.count += 1;
            return Ok(Some((at, header)));
        }
    }
}

impl Iterator for Headers<'_> {
    /// Where the frame begins in the body, and its header.
    type Item = Result<(u64, Header)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().map_err(|error| {
            let (at, count) = (self.at, self.count);
            self.len = self.at;
            malformed(format!("frame {count}, at byte {at}: {error}"))
        });
        step.transpose()
    }
}

/// The frames of a body in order, paddings passed over, each with its place. Ends after the
/// first error.
#[derive(Clone)]
pub struct Frames<'a> {
    body: &'a [u8],
    headers: Headers<'a>,
}

impl<'a> Frames<'a> {
    /// All frames of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self::resume(body, 0, 0)
    }

    /// The frames from byte `at` on, before which there are `count`.
    pub fn resume(body: &'a [u8], at: usize, count: usize) -> Self {
        let window = body.get(at..).unwrap_or_default();
        let len = body.len().max(at) as u64;
        Self { body, headers: Headers::resume(window, at as u64, len, count) }
    }

    /// Where the next frame or padding begins, and the number of frames before it.
    pub fn position(&self) -> (usize, usize) {
        (self.headers.at() as usize, self.headers.number())
    }
}

impl<'a> Iterator for Frames<'a> {
    /// Where the frame begins in the body, and the frame.
    type Item = Result<(usize, Frame<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.headers.next()?;
        Some(step.map(|(at, header)| {
            // All of the body is shown, so each frame's end was found within it.
            let at = at as usize;
            let payload = &self.body[at + FRAME_HEADER_BYTES..][..header.compressed_size as usize];
            (at, Frame { header, payload })
        }))
    }
}

/// What the headers of a body say, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// `None` where frames differ, or there are none.
    pub codec: Option<CodecId>,
    /// Sums over all frames, below 2^63.
    pub original_size: u64,
    /// Bytes of all payloads.
    pub compressed_size: u64,
    /// Of the only frame, where it is one.
    pub crc32c: Option<u32>,
    /// The number of frames.
    pub frames: u32,
    /// Those of them that store their original as it is.
    pub passthrough_frames: u32,
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
            info.passthrough_frames += u32::from(codec == CodecId::PASSTHROUGH);
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
