//! Codecs `cpu-zstd` and `cpu-zstd-dict`: zstd frames (RFC 8878) by libzstd.
//!
//! Written: one frame that states its content size, without checksum,
//! and with a dictionary's id where there is a trained one.
//! Read: any sequence of frames, with or without content size and checksum, with
//! skippable frames anywhere, and nothing else.

use std::mem::MaybeUninit;
use std::num::NonZero;

use zstd::zstd_safe::zstd_sys::{self, ZSTD_ErrorCode};
use zstd::zstd_safe::{self, CCtx, DCtx, DDict, WriteBuf, get_error_name};

use super::dictionary_set::DictionarySet;
use super::format::resembles;
use super::{DecodedLens, Fault, Kernel, Scratch};

/// The name of the codec without a dictionary in the S4 wire format.
pub const NAME: &str = "cpu-zstd";
/// And of the codec with one.
pub const DICTIONARY_NAME: &str = "cpu-zstd-dict";

/// Above level 12 a context larger than this is not kept: level 22 on a large value takes over 700 MB.
const KEPT_CONTEXT_BYTES: usize = 32 << 20;

/// No block decodes to more (RFC 8878, 3.1.1.2.4).
const BLOCK_MAX: u64 = 128 << 10;

const MAGIC: u32 = 0xFD2F_B528;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

/// Contexts of one thread, made at first use.
#[derive(Default)]
pub struct Contexts {
    compress: Option<CCtx<'static>>,
    decompress: Option<DCtx<'static>>,
}

/// The kernel of both zstd codecs.
pub struct Zstd<'a> {
    level: i32,
    dictionary: Option<&'a DictionarySet>,
    contexts: &'a mut Contexts,
}

impl<'a> Zstd<'a> {
    /// A kernel of that level, with dictionaries or without.
    pub fn new(
        level: i32,
        dictionary: Option<&'a DictionarySet>,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { level, dictionary, contexts: &mut scratch.zstd }
    }

    /// Decodes all frames with `prepared`, or without a dictionary.
    fn decode(
        &mut self,
        frames: &[u8],
        dst: &mut [MaybeUninit<u8>],
        prepared: Option<&DDict<'static>>,
    ) -> Result<usize, Fault> {
        let context = match &mut self.contexts.decompress {
            Some(context) => context,
            slot => slot.insert(DCtx::try_create().ok_or(Fault::OutOfMemory { bytes: 0 })?),
        };
        let dst = &mut Destination(dst);
        let written = match prepared {
            None => context.decompress(dst, frames),
            Some(prepared) => context.decompress_using_ddict(dst, frames, prepared),
        };
        written.map_err(|code| match error_code(code) {
            ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall => Fault::TooLong,
            ZSTD_ErrorCode::ZSTD_error_memory_allocation => Fault::OutOfMemory { bytes: 0 },
            ZSTD_ErrorCode::ZSTD_error_dictionary_wrong => self.dictionary_fault(frames),
            // The walk says better than libzstd where the payload is truncated or of another
            // format.
            _ => match decoded_bound(frames) {
                Err(fault) => fault,
                Ok(_) => Fault::corrupt(get_error_name(code)),
            },
        })
    }

    /// Decodes frame by frame, each with the dictionary that it names; one that names none with
    /// the current dictionary, which a frame made without any ignores.
    fn decode_each(
        &mut self,
        payload: &[u8],
        dst: &mut [MaybeUninit<u8>],
        set: &DictionarySet,
    ) -> Result<usize, Fault> {
        let (mut rest, mut written) = (payload, 0);
        while !rest.is_empty() {
            let dictionary = match dictionary_id(rest) {
                None => set.current(),
                Some(id) => set.with_zstd_id(id).ok_or_else(|| self.dictionary_fault(rest))?,
            };
            let prepared = dictionary.for_decompression();
            let frame = match zstd_safe::find_frame_compressed_size(rest) {
                Ok(len) => rest.split_off(..len),
                Err(_) => None,
            };
            let Some(frame) = frame else {
                // Not a whole frame. The walk over all of the payload says where it ends.
                decoded_bound(payload)?;
                return self.decode(rest, dst, Some(prepared));
            };
            written += self.decode(frame, &mut dst[written..], Some(prepared))?;
        }
        Ok(written)
    }

    /// What the first frame that cannot be decoded asked for.
    fn dictionary_fault(&self, mut frames: &[u8]) -> Fault {
        let has = |id| self.dictionary.is_some_and(|set| set.with_zstd_id(id).is_some());
        let wanted = loop {
            match dictionary_id(frames).filter(|&id| !has(id)) {
                Some(id) => break format!("the dictionary with zstd id {id}"),
                None => match zstd_safe::find_frame_compressed_size(frames) {
                    Ok(len) if len > 0 && frames.split_off(..len).is_some() => {}
                    _ => break "a dictionary".into(),
                },
            }
        };
        let given = match self.dictionary {
            None => "this codec has none".into(),
            Some(set) => match (set.list_zstd_ids(), set.only()) {
                (ids, _) if ids.is_empty() => "this codec's is raw content without an id".into(),
                (id, Some(_)) => format!("this codec's has id {id}"),
                (ids, None) => format!("the set has those with ids {ids}"),
            },
        };
        Fault::Dictionary {
            reason: format!("a frame was made with {wanted}; {given}"),
            is_missing: self.dictionary.is_none(),
        }
    }
}

/// The id of the dictionary that the first frame names.
fn dictionary_id(frames: &[u8]) -> Option<u32> {
    zstd_safe::get_dict_id_from_frame(frames).map(NonZero::get)
}

impl Kernel for Zstd<'_> {
    fn name(&self) -> &'static str {
        if self.dictionary.is_some() { DICTIONARY_NAME } else { NAME }
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        Ok(zstd_safe::compress_bound(len))
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let context = match &mut self.contexts.compress {
            Some(context) => context,
            slot => slot.insert(CCtx::try_create().ok_or(Fault::OutOfMemory { bytes: 0 })?),
        };
        let dst = &mut Destination(dst);
        // The one-shot calls take the level and ignore sticky parameters.
        let written = match self.dictionary {
            None => context.compress(dst, src, self.level),
            Some(set) => {
                let dictionary = set.current();
                let prepared = dictionary
                    .for_compression(self.level)
                    .ok_or(Fault::OutOfMemory { bytes: dictionary.bytes().len() as u64 })?;
                context.compress_using_cdict(dst, src, prepared)
            }
        };
        let written = written.map_err(|code| match error_code(code) {
            ZSTD_ErrorCode::ZSTD_error_memory_allocation => {
                Fault::OutOfMemory { bytes: src.len() as u64 }
            }
            _ => Fault::Library(get_error_name(code).to_string()),
        });
        if self.level > 12 && context.sizeof() > KEPT_CONTEXT_BYTES {
            self.contexts.compress = None;
        }
        written
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        decoded_bound(payload)
    }

    fn decoded_lens(&mut self, payload: &[u8]) -> Result<DecodedLens, Fault> {
        decoded_lens(payload)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        if payload.is_empty() {
            // libzstd calls no frame at all a success.
            return Err(Fault::corrupt("the payload is empty"));
        }
        match self.dictionary {
            None => self.decode(payload, dst, None),
            Some(set) => match set.only() {
                Some(only) => self.decode(payload, dst, Some(only.for_decompression())),
                None => self.decode_each(payload, dst, set),
            },
        }
    }
}

pub(super) fn error_code(code: usize) -> ZSTD_ErrorCode {
    // SAFETY: a pure function of its argument.
    unsafe { zstd_sys::ZSTD_getErrorCode(code) }
}

/// Lets libzstd write into uninitialised memory.
struct Destination<'a>(&'a mut [MaybeUninit<u8>]);

// SAFETY: the pointer and capacity are those of one exclusively borrowed slice, and
// `as_slice` claims none of it as initialised.
unsafe impl WriteBuf for Destination<'_> {
    fn as_slice(&self) -> &[u8] {
        &[]
    }
    fn capacity(&self) -> usize {
        self.0.len()
    }
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
    unsafe fn filled_until(&mut self, _n: usize) {}
}

fn decoded_bound(payload: &[u8]) -> Result<u64, Fault> {
    decoded_lens(payload).map(|lens| lens.most)
}

/// Walks the headers of every frame and block and adds up the most that each can yield:
/// raw and RLE blocks state their size, a compressed block yields at most
/// min(window, 128 KiB), and a frame at most its content size where it states one.
///
/// `ZSTD_decompressBound` will not do: it repeats the stated content size, even 4 GiB
/// over 100 bytes of blocks.
fn decoded_lens(payload: &[u8]) -> Result<DecodedLens, Fault> {
    let mut rest = Reader(payload);
    let (mut most, mut all_state_it) = (0u64, true);
    while !rest.0.is_empty() {
        let left = rest.0.len();
        if left < 4 && left < payload.len() {
            return Err(Fault::corrupt(format!("{left} bytes follow the last frame")));
        }
        let magic = rest.le(4)? as u32;
        if magic & !0xF == SKIPPABLE_MAGIC {
            let len = rest.le(4)?;
            rest.skip(len)?;
        } else if magic == MAGIC {
            let frame = walk_frame(&mut rest)?;
            most = most.saturating_add(frame.most);
            all_state_it &= frame.states_len;
        } else {
            let at = payload.len() - rest.0.len() - 4;
            let look = resembles(&payload[at..]);
            return Err(Fault::corrupt(format!("no zstd frame starts at byte {at}{look}")));
        }
    }
    Ok(DecodedLens { most, stated: all_state_it.then_some(most) })
}

/// What the headers of a frame's blocks say.
struct Walked {
    /// Bytes that it decodes to at most.
    most: u64,
    /// And at least: those of raw and RLE blocks.
    least: u64,
    /// Whether it states its content size, or all its blocks do.
    states_len: bool,
    /// Whether no block is larger than the window lets it be.
    blocks_fit: bool,
}

/// Reads one frame after its magic (RFC 8878, 3.1.1.1 and 3.1.1.2).
fn walk_frame(rest: &mut Reader) -> Result<Walked, Fault> {
    let descriptor = rest.le(1)?;
    let single_segment = descriptor & 0x20 != 0;
    let window = if single_segment { None } else { Some(window_of(rest.le(1)?)) };
    rest.skip([0, 1, 2, 4][(descriptor & 3) as usize])?;
    let content_size = match descriptor >> 6 {
        0 if single_segment => Some(rest.le(1)?),
        0 => None,
        1 => Some(rest.le(2)? + 256),
        2 => Some(rest.le(4)?),
        _ => Some(rest.le(8)?),
    };
    let block_max = window.or(content_size).map_or(BLOCK_MAX, |window| window.min(BLOCK_MAX));

    let (mut blocks, mut least, mut blocks_fit) = (0u64, 0u64, true);
    loop {
        let header = rest.le(3)?;
        let (last, kind, size) = (header & 1 != 0, header >> 1 & 3, header >> 3);
        if size > BLOCK_MAX {
            return Err(Fault::corrupt("a block is larger than 128 KiB"));
        }
        blocks_fit &= size <= block_max;
        match kind {
            0 => {
                rest.skip(size)?;
                (blocks, least) = (blocks + size, least + size);
            }
            1 => {
                rest.skip(1)?;
                (blocks, least) = (blocks + size, least + size);
            }
            2 => {
                rest.skip(size)?;
                blocks += block_max;
            }
            _ => return Err(Fault::corrupt("a block has the reserved type")),
        }
        if last {
            break;
        }
    }
    let has_checksum = descriptor & 4 != 0;
    if has_checksum {
        rest.skip(4)?;
    }
    let most = content_size.map_or(blocks, |size| size.min(blocks));
    let states_len = content_size.is_some() || least == most;
    Ok(Walked { most, least, states_len, blocks_fit })
}

/// Whether `chunk` is one frame, and nothing else, that can hold `len` bytes and asks for
/// nothing special: no dictionary, no checksum, no large window, no other content size.
pub fn is_plain_frame(chunk: &[u8], len: usize) -> bool {
    const LARGEST_WINDOW: u64 = 8 << 20;
    let mut rest = Reader(chunk);
    let is_frame = rest.le(4).is_ok_and(|magic| magic as u32 == MAGIC);
    let Some(&descriptor) = rest.0.first() else { return false };
    let (has_size, has_window) = (descriptor >> 5 != 0, descriptor & 0x20 == 0);
    // Reserved bit, checksum and dictionary id.
    let is_special = descriptor & 0b0000_1111 != 0;
    if !is_frame || is_special {
        return false;
    }
    let window_byte = rest.0.get(1).copied().unwrap_or(u8::MAX);
    if has_window && window_of(window_byte.into()) > LARGEST_WINDOW {
        return false;
    }
    let states_other_size =
        has_size && zstd_safe::get_frame_content_size(chunk).ok().flatten() != Some(len as u64);
    let holds = walk_frame(&mut rest)
        .is_ok_and(|frame| (frame.least..=frame.most).contains(&(len as u64)) && frame.blocks_fit);
    holds && rest.0.is_empty() && !states_other_size
}

/// What a window descriptor says.
fn window_of(byte: u64) -> u64 {
    let base = 1u64 << (10 + (byte >> 3));
    base + base / 8 * (byte & 7)
}

/// Little-endian integers off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    #[inline]
    fn le(&mut self, n: usize) -> Result<u64, Fault> {
        let (bytes, rest) = self.0.split_at_checked(n).ok_or_else(cut)?;
        self.0 = rest;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    #[inline]
    fn skip(&mut self, n: u64) -> Result<(), Fault> {
        let n = usize::try_from(n).map_err(|_| cut())?;
        self.0 = self.0.get(n..).ok_or_else(cut)?;
        Ok(())
    }
}

fn cut() -> Fault {
    Fault::corrupt("the payload ends inside a frame")
}
