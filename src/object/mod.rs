//! S4 objects: a stored body and the metadata that says how to read it. See "Object" in
//! `docs/format.md`.

mod metadata;

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::body::{Body, refuse_encrypted};
use crate::codec::{Codec, Fallback};
use crate::column::{self, Rows, Scattered, Unordered};
use crate::error::{Error, Result, reserve, to_len};
use crate::gpu::{Device, ItemId, Prefetch};
use crate::kernel::dictionary_set::DictionarySet;
use crate::kernel::{Scratch, copy_to};
use crate::manifest::{Manifest, combine_crc32c};
use crate::pool::{self, InterruptCheck, NO_INTERRUPT};
use crate::wire::codec_id::CodecId;
use crate::wire::frame::Frames;
use crate::wire::index::Index;
pub use metadata::Metadata;

/// Shorter bodies are decoded on the calling thread.
const MIN_PARALLEL_BYTES: u64 = 256 << 10;

/// Bytes of the original per frame, by the length of the whole original.
pub fn pick_chunk_size(content_length: u64) -> u64 {
    match content_length {
        0..=0x10_0000 => 1 << 20,
        0x10_0001..=0x640_0000 => 4 << 20,
        _ => 16 << 20,
    }
}

/// An original, split into the bytes of each frame.
struct OriginalFrames<'a> {
    original: &'a [u8],
    size: usize,
}

impl Rows for OriginalFrames<'_> {
    fn count(&self) -> usize {
        self.original.len().div_ceil(self.size)
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        let start = row * self.size;
        self.original.get(start..self.original.len().min(start + self.size))
    }
}

/// The frames of an object's body, coded in parallel, all by the codec that its metadata names.
pub fn encode(codec: &Codec, original: &[u8], interrupted: InterruptCheck) -> Result<Scattered> {
    let size = pick_chunk_size(original.len() as u64);
    let size = to_len(size)?;
    let frames = [OriginalFrames { original, size }];
    column::encode::<Unordered, _>(codec, Fallback::Never, &frames, interrupted)
}

/// The number of frames in a body, and the crc32c of their original bytes, by their headers.
pub fn summary(body: &[u8]) -> Result<(usize, u32)> {
    let (mut frames, mut crc) = (0, 0);
    for step in Frames::new(body) {
        let manifest = step?.1.header.manifest;
        crc = combine_crc32c(crc, manifest.crc32c, manifest.original_size);
        frames += 1;
    }
    Ok((frames, crc))
}

/// Decodes a body of at most `limit` original bytes, on the CPU, with `dictionary` for the frames
/// that need one.
pub fn decode(body: &[u8], dictionary: Option<&Arc<DictionarySet>>, limit: u64) -> Result<Vec<u8>> {
    let body = Body::plan(body, dictionary, Device::Cpu, limit)?;
    let len = to_len(body.len())?;
    let mut out = Vec::new();
    reserve(&mut out, len)?;
    decode_body(&body, Device::Cpu, &mut out.spare_capacity_mut()[..len], NO_INTERRUPT)?;
    // SAFETY: decoding initialises all of its destination.
    unsafe { out.set_len(len) };
    Ok(out)
}

/// Decodes all frames of `body` to `dst`, which is as long as they say, in parallel; those of GPU
/// codecs on `device`.
pub fn decode_body(
    body: &Body,
    device: Device,
    dst: &mut [MaybeUninit<u8>],
    interrupted: InterruptCheck,
) -> Result<()> {
    let mut slots = body.slots(dst).enumerate().map(|(row, slot)| (ItemId::of_row(row), slot));
    if body.len() < MIN_PARALLEL_BYTES && device == Device::Cpu {
        let mut scratch = Scratch::of_thread();
        return slots.try_for_each(|(id, slot)| slot.decode(id, &Prefetch::None, &mut scratch));
    }
    let first_bad = AtomicUsize::new(usize::MAX);
    let (mut done, mut failures) = (0, Vec::new());
    column::run_frames(body, device, interrupted, &mut |until, prefetch| {
        let some = slots.by_ref().take(until - done);
        done = until;
        failures.extend(pool::run_parallel(
            some,
            || None,
            |failed, (id, slot)| {
                let number = slot.number();
                if number > first_bad.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = slot.decode(id, prefetch, &mut Scratch::of_thread()) {
                    first_bad.fetch_min(number, Ordering::Relaxed);
                    *failed = Some((number, error));
                }
            },
            interrupted,
        )?);
        Ok(())
    })?;
    match failures.into_iter().flatten().min_by_key(|(number, _)| *number) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// How an object is read.
pub struct ReadOptions<'a> {
    /// For frames of cpu-zstd-dict.
    pub dictionary: Option<&'a Arc<DictionarySet>>,
    /// Half-open range of the original; `None` is all of it.
    pub range: Option<Range<u64>>,
    /// The longest original to decode.
    pub limit: u64,
    /// Where payloads of GPU codecs are decoded.
    pub device: Device,
}

/// An object that can be decoded.
pub struct Object<'a> {
    content: Content<'a>,
    /// The part of the original to return.
    range: Range<u64>,
    /// The checksum of the original, if all of it is decoded.
    crc32c: Option<u32>,
    device: Device,
}

enum Content<'a> {
    Frames(Body<'a>),
    Payload(Codec, Manifest, &'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Object<'a> {
    /// Checks all that can be checked before decoding. Without metadata, the body's magic says
    /// how it is stored.
    pub fn plan(
        body: &'a [u8],
        metadata: Option<&Metadata>,
        sidecar: Option<Index>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let is_encrypted = metadata.is_some_and(|metadata| metadata.encrypted);
        if is_encrypted || sidecar.is_some_and(|index| index.sse.is_some()) {
            return Err(Error::Frame(
                "the object is encrypted; read it through the S4 gateway".into(),
            ));
        }
        refuse_encrypted(body)?;
        let has_sidecar = sidecar.is_some();
        let metadata = match metadata {
            Some(metadata) => {
                metadata.check_silence(body, has_sidecar)?;
                metadata
            }
            None => &Metadata::of_body(body, has_sidecar)?,
        };
        let actual = body.len() as u64;
        match (metadata.compressed_size, sidecar.map(|index| index.stored_len())) {
            (Some(expected), _) if expected != actual => {
                return Err(Error::StoredSizeMismatch { expected, actual });
            }
            // Where nothing else tells a body that is truncated between two frames.
            (None, Some(expected)) if expected != actual => {
                return Err(Error::SidecarMismatch { expected, actual });
            }
            _ => {}
        }
        let (mut content, len) = content(body, metadata, options)?;
        if let Some(expected) = metadata.original_size.filter(|&expected| expected != len) {
            return Err(Error::SizeMismatch { expected, actual: len });
        }
        let range = options.range.clone().unwrap_or(0..len);
        if range.start > range.end || range.end > len {
            let Range { start, end } = range;
            return Err(Error::Argument(format!(
                "byte_range ({start}, {end}) is outside the object, which has {len} bytes"
            )));
        }
        let is_whole = range == (0..len);
        if let Content::Frames(frames) = &mut content
            && !is_whole
        {
            match sizes_are_confirmed(frames, metadata, sidecar)? {
                true => frames.keep_range(&range),
                false => frames.keep_until(range.end),
            }
        }
        let crc32c = metadata.crc32c.filter(|_| is_whole);
        Ok(Self { content, range, crc32c, device: options.device })
    }

    /// Bytes that decoding returns.
    pub fn decoded_len(&self) -> Result<usize> {
        let len = self.range.end - self.range.start;
        Ok(to_len(len)?)
    }

    /// Decodes to `dst`, as long as `decoded_len` says, and initialises it.
    pub fn decode(&self, dst: &mut [MaybeUninit<u8>], interrupted: InterruptCheck) -> Result<()> {
        match &self.content {
            Content::Bytes(bytes) => {
                let Range { start, end } = self.range;
                copy_to(&bytes[start as usize..end as usize], dst);
                Ok(())
            }
            Content::Payload(codec, manifest, payload) => {
                self.decode_part(dst, 0, manifest.original_size, |dst| {
                    codec.decode(payload, manifest, dst).map(drop)
                })
            }
            Content::Frames(frames) => {
                self.decode_part(dst, frames.start(), frames.len(), |dst| {
                    decode_body(frames, self.device, dst, interrupted)
                })?;
                match (self.crc32c, frames.crc32c()) {
                    (Some(expected), actual) if actual != expected => {
                        Err(Error::CrcMismatch { expected, actual })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Decodes `len` bytes from `start` on, of which the range may be a part.
    fn decode_part(
        &self,
        dst: &mut [MaybeUninit<u8>],
        start: u64,
        len: u64,
        decode: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<()>,
    ) -> Result<()> {
        if dst.len() as u64 == len {
            return decode(dst);
        }
        let len = to_len(len)?;
        let mut whole: Vec<u8> = Vec::new();
        reserve(&mut whole, len)?;
        decode(&mut whole.spare_capacity_mut()[..len])?;
        // SAFETY: decoding initialises all of its destination.
        unsafe { whole.set_len(len) };
        let skip = (self.range.start - start) as usize;
        copy_to(&whole[skip..][..dst.len()], dst);
        Ok(())
    }
}

/// Whether something beside the frames confirms the sizes that their headers state. Otherwise
/// only decoding the frames before a range tells where it begins: headers have no checksum.
fn sizes_are_confirmed(frames: &Body, metadata: &Metadata, sidecar: Option<Index>) -> Result<bool> {
    let has_checksum = match metadata.crc32c {
        // That of all frames follows from their sizes and checksums.
        Some(expected) if expected != frames.crc32c() => {
            return Err(Error::CrcMismatch { expected, actual: frames.crc32c() });
        }
        checksum => checksum.is_some(),
    };
    // The checksum does not cover the size of the first frame, but the total does.
    let is_confirmed = has_checksum && metadata.original_size.is_some();
    Ok(is_confirmed || sidecar.is_some_and(|index| frames.is_described_by(&index)))
}

/// What the body holds, and the length of the original.
fn content<'a>(
    body: &'a [u8],
    metadata: &Metadata,
    options: &ReadOptions,
) -> Result<(Content<'a>, u64)> {
    let limit = options.limit;
    if metadata.framed {
        let dictionary = metadata.dictionary(options.dictionary).or_else(|error| {
            let mut frames = Frames::new(body).map_while(Result::ok);
            let uses_it = frames.any(|(_, frame)| frame.header.codec.needs_dictionary());
            if uses_it { Err(error) } else { Ok(None) }
        })?;
        let frames = Body::plan(body, dictionary.as_ref(), options.device, limit)?;
        let len = frames.len();
        return Ok((Content::Frames(frames), len));
    }
    if let Some((name, manifest, _)) = metadata.manifest() {
        let codec = match CodecId::from_name(name) {
            Some(id) => {
                let dictionary = match id.needs_dictionary() {
                    true => metadata.dictionary(options.dictionary)?,
                    false => None,
                };
                Codec::for_decoding(id, dictionary.as_ref())?
            }
            None => {
                return Err(Error::UnregisteredCodec(format!(
                    "the object's metadata names an unknown codec, {name:?}"
                )));
            }
        };
        let codec = codec.on(options.device);
        codec.admit(body, &manifest, limit)?;
        return Ok((Content::Payload(codec, manifest, body), manifest.original_size));
    }
    if body.len() as u64 > limit {
        return Err(Error::SizeExceedsLimit { size: body.len() as u64, limit });
    }
    Ok((Content::Bytes(body), body.len() as u64))
}
