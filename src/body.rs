//! Stored bodies: their frames, admitted and decoded. See "Body" in `docs/format.md`.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::Codec;
use crate::error::{Error, Result, push};
use crate::gpu::{Device, ItemId, Prefetch};
use crate::kernel::Scratch;
use crate::kernel::dictionary_set::DictionarySet;
use crate::kernel::format::Format;
use crate::manifest::{Manifest, UNCHECKED_BYTES, combine_crc32c};
use crate::wire::frame::{Frame, Frames};
use crate::wire::index::{Entry, Index};

/// Refuses an encrypted body.
pub fn refuse_encrypted(body: &[u8]) -> Result<()> {
    if Format::of(body) != Some(Format::Encrypted) {
        return Ok(());
    }
    Err(Error::Frame(format!(
        "the body is SSE-encrypted ({}); read it through the S4 gateway",
        body[..4].escape_ascii()
    )))
}

/// One frame to decode, and its place in the original.
struct Planned<'a> {
    number: usize,
    at: usize,
    codec: Codec,
    frame: Frame<'a>,
    original: Range<u64>,
}

impl Planned<'_> {
    fn manifest(&self) -> &Manifest {
        &self.frame.header.manifest
    }

    fn error(&self, source: Error) -> Error {
        let (number, at, codec) = (self.number, self.at, self.frame.header.codec.name());
        Error::InFrame { number, codec, at, source: Box::new(source) }
    }
}

/// The frames of a body, or those of a range of it, admitted but not decoded.
pub struct Body<'a> {
    frames: Vec<Planned<'a>>,
    /// The range of the original that they hold.
    original: Range<u64>,
}

impl<'a> Body<'a> {
    /// Walks `body` and admits every frame, all together within `limit` bytes, those of GPU
    /// codecs for `device`. An empty body is the empty object; a body of only padding is an error.
    pub fn plan(
        body: &'a [u8],
        dictionary: Option<&Arc<DictionarySet>>,
        device: Device,
        limit: u64,
    ) -> Result<Self> {
        refuse_encrypted(body)?;
        let mut frames: Vec<Planned> = Vec::new();
        let mut total = 0u64;
        // The structure of all of the body first, then what each frame claims.
        for (number, step) in Frames::new(body).enumerate() {
            let (at, frame) = step?;
            let id = frame.header.codec;
            let codec = Codec::for_decoding(id, dictionary).map_err(|source| Error::InFrame {
                number,
                codec: id.name(),
                at,
                source: Box::new(source),
            })?;
            let codec = codec.on(device);
            let end = total.saturating_add(frame.header.manifest.original_size);
            push(&mut frames, Planned { number, at, codec, frame, original: total..end })?;
            total = end;
        }
        for frame in &frames {
            let before = frame.original.start;
            let within = limit.saturating_sub(before);
            let unchecked = UNCHECKED_BYTES.saturating_sub(before);
            let payload = frame.frame.payload;
            let admitted = frame.codec.admit_within(payload, frame.manifest(), within, unchecked);
            admitted.map_err(|error| {
                frame.error(match error {
                    Error::SizeExceedsLimit { size, .. } => {
                        Error::SizeExceedsLimit { size: before.saturating_add(size), limit }
                    }
                    other => other,
                })
            })?;
        }
        if frames.is_empty() && !body.is_empty() {
            return Err(Error::Frame("expected at least one frame, found only padding".into()));
        }
        Ok(Self { frames, original: 0..total })
    }

    /// Bytes that the frames decode to.
    pub fn len(&self) -> u64 {
        self.original.end - self.original.start
    }

    /// Whether the frames decode to nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The codec, the manifest and the payload of a frame, by its place among those kept.
    pub fn frame(&self, i: usize) -> (&Codec, &Manifest, &'a [u8]) {
        let frame = &self.frames[i];
        (&frame.codec, frame.manifest(), frame.frame.payload)
    }

    /// Where the first frame begins in the original.
    pub fn start(&self) -> u64 {
        self.original.start
    }

    /// Whether a sidecar describes these frames.
    pub fn is_described_by(&self, index: &Index) -> bool {
        let entries = self.frames.iter().map(|frame| Entry {
            original_offset: frame.original.start,
            original_size: frame.manifest().original_size,
            compressed_offset: frame.at as u64,
            compressed_size: frame.frame.stored_len() as u64,
        });
        entries.eq(index.entries())
    }

    /// Keeps only the frames that hold some of `range` of the original.
    pub fn keep_range(&mut self, range: &Range<u64>) {
        self.keep(range.start, |frame| {
            frame.original.start < range.end && range.start < frame.original.end
        });
    }

    /// Keeps only the frames before `end` of the original, also those that hold nothing.
    pub fn keep_until(&mut self, end: u64) {
        self.keep(0, |frame| frame.original.start < end);
    }

    fn keep(&mut self, start: u64, is_kept: impl FnMut(&Planned) -> bool) {
        self.frames.retain(is_kept);
        self.original = match (self.frames.first(), self.frames.last()) {
            (Some(first), Some(last)) => first.original.start..last.original.end,
            _ => start..start,
        };
    }

    /// The crc32c of all that the frames hold, once they have been verified.
    pub fn crc32c(&self) -> u32 {
        self.frames.iter().fold(0, |crc, frame| {
            let manifest = frame.manifest();
            combine_crc32c(crc, manifest.crc32c, manifest.original_size)
        })
    }

    /// Each frame with its part of `dst`, which is as long as [`len`](Self::len).
    pub fn slots<'dst>(
        &self,
        dst: &'dst mut [MaybeUninit<u8>],
    ) -> impl Iterator<Item = FrameSlot<'_, 'a, 'dst>> {
        let mut rest = dst;
        self.frames.iter().map(move |frame| {
            let len = usize::try_from(frame.manifest().original_size).unwrap_or(usize::MAX);
            FrameSlot { frame, dst: rest.split_off_mut(..len).unwrap_or_default() }
        })
    }
}

/// One frame and the destination of its original bytes.
pub struct FrameSlot<'plan, 'body, 'dst> {
    frame: &'plan Planned<'body>,
    dst: &'dst mut [MaybeUninit<u8>],
}

impl FrameSlot<'_, '_, '_> {
    /// Decodes and verifies the frame, or takes it from `prefetch`, where it is item `id`; all of
    /// its destination is then initialised.
    pub(crate) fn decode(
        self,
        id: ItemId,
        prefetch: &Prefetch,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Self { frame, dst } = self;
        let payload = frame.frame.payload;
        let mut kernel = frame.codec.prefetched_kernel(id, prefetch, scratch);
        let decoded = frame.manifest().decode(&mut kernel, payload, dst);
        decoded.map(drop).map_err(|source| frame.error(source))
    }

    /// The frame's number in the body.
    pub fn number(&self) -> usize {
        self.frame.number
    }
}
