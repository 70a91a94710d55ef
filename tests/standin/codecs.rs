//! nvCOMP's codecs: what they ask for, and what they make of a chunk.

use std::mem::MaybeUninit;

use s4_codec::kernel::Fault;
use s4_codec::kernel::gdeflate::{Decoder, PAGE_MAX};
use zstd::zstd_safe;
use zstd::zstd_safe::zstd_sys::{self, ZSTD_ErrorCode};

use self::gdeflate_encoder::{Coding, style};
use super::status::nvcomp::{CANNOT_COMPRESS, CANNOT_DECOMPRESS, INVALID_VALUE, OUTPUT_TOO_SMALL};

#[path = "../common/gdeflate.rs"]
#[allow(dead_code, reason = "one style is enough here")]
mod gdeflate_encoder;

const MIB: usize = 1 << 20;

/// The options of any codec in one direction, which are passed by value.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Options([i32; 16]);

#[derive(Clone, Copy, PartialEq)]
pub enum Codec {
    Zstd,
    Gdeflate,
    Bitcomp,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    Compress,
    Decompress,
}

/// What a batch needs: alignments of a chunk's input and output and of temporary memory.
#[derive(Clone, Copy)]
pub struct Alignments {
    pub input: usize,
    pub output: usize,
    pub temp: usize,
}

/// A codec with its options, in one direction.
#[derive(Clone, Copy)]
pub struct Job {
    pub codec: Codec,
    pub direction: Direction,
    options: [i32; 16],
}

impl Job {
    /// Checks the options: all that has no meaning must be zero.
    pub fn new(codec: Codec, direction: Direction, options: Options) -> Result<Self, String> {
        let Options(options) = options;
        let [first, second, ..] = options;
        let meaningful = match (codec, direction) {
            (Codec::Gdeflate, Direction::Compress) if first < 1 => {
                return Err(format!("algorithm {first} of GDeflate"));
            }
            (Codec::Gdeflate, Direction::Compress) => 1,
            (Codec::Bitcomp, Direction::Compress) if first != 0 || !(0..8).contains(&second) => {
                return Err(format!("algorithm {first}, data type {second} of Bitcomp"));
            }
            (Codec::Bitcomp, Direction::Compress) => 2,
            _ => 0,
        };
        if options[meaningful..].iter().any(|&option| option != 0) {
            return Err(format!("options that must be zero are not: {options:?}"));
        }
        Ok(Self { codec, direction, options })
    }

    /// The size of what Bitcomp compresses. The types are i8, u8, i16, u16 and so on.
    pub fn type_size(&self) -> usize {
        1 << (self.options[1] / 2)
    }

    pub fn alignments(&self) -> Alignments {
        let (input, output, temp) = match (self.codec, self.direction) {
            (Codec::Zstd, Direction::Compress) => (4, 1, 1),
            (Codec::Zstd, Direction::Decompress) => (1, 1, 8),
            (Codec::Gdeflate, Direction::Compress) => (1, 4, 8),
            (Codec::Gdeflate, Direction::Decompress) => (4, 1, 1),
            (Codec::Bitcomp, Direction::Compress) => (self.type_size(), 8, 1),
            (Codec::Bitcomp, Direction::Decompress) => (8, 8, 4),
        };
        Alignments { input, output, temp }
    }

    /// The largest chunk, uncompressed.
    pub fn max_chunk(&self) -> usize {
        match self.codec {
            Codec::Zstd | Codec::Bitcomp => 16 * MIB,
            Codec::Gdeflate => PAGE_MAX,
        }
    }

    /// The room that a compressed chunk needs.
    pub fn max_output(&self, max_chunk: usize) -> usize {
        let more = match self.codec {
            // Up to here one block and a header of 8 bytes at most; libzstd cuts what is
            // larger as it likes.
            Codec::Zstd if max_chunk < 256 + (64 << 10) => 11,
            Codec::Zstd => return zstd_safe::compress_bound(max_chunk),
            Codec::Gdeflate => max_chunk.saturating_add(288),
            Codec::Bitcomp => 96.max(8232_usize.saturating_sub(max_chunk)),
        };
        max_chunk.saturating_add(more)
    }

    /// Bytes of temporary memory for `count` chunks, the largest `max_chunk`, all of them
    /// together `total`.
    pub fn temp(&self, count: usize, max_chunk: usize, total: usize) -> usize {
        match (self.codec, self.direction) {
            (Codec::Zstd, Direction::Compress) => count.saturating_mul(1024).saturating_add(MIB),
            (Codec::Zstd, Direction::Decompress) => {
                let chunks = count.saturating_mul(max_chunk).min(total).saturating_mul(3);
                count.saturating_mul(6936).saturating_add(chunks)
            }
            (Codec::Gdeflate, Direction::Compress) => {
                count.saturating_mul(max_chunk.saturating_mul(6).max(32_900))
            }
            (Codec::Gdeflate, Direction::Decompress) => count.saturating_mul(16),
            (Codec::Bitcomp, _) => 0,
        }
    }

    /// Codes one chunk to the front of `output` and returns how long it became, or its status.
    pub fn run(&self, input: &[u8], output: &mut [u8]) -> Result<usize, i32> {
        let room = output.len();
        let coded = match (self.codec, self.direction) {
            (Codec::Zstd, Direction::Compress) => zstd_compress(input, 3),
            (Codec::Zstd, Direction::Decompress) => zstd_decompress(input, room),
            (Codec::Gdeflate, Direction::Compress) => return gdeflate_compress(input, output),
            (Codec::Gdeflate, Direction::Decompress) => gdeflate_decompress(input, room),
            (Codec::Bitcomp, Direction::Compress) => return self.bitcomp_compress(input, output),
            (Codec::Bitcomp, Direction::Decompress) => bitcomp_decompress(input, room),
        }?;
        output.get_mut(..coded.len()).ok_or(OUTPUT_TOO_SMALL)?.copy_from_slice(&coded);
        Ok(coded.len())
    }

    /// As nvCOMP does, leaves some bytes as they were: the last two of the header's eight.
    fn bitcomp_compress(&self, input: &[u8], output: &mut [u8]) -> Result<usize, i32> {
        if !input.len().is_multiple_of(self.type_size()) {
            return Err(INVALID_VALUE);
        }
        let packed = zstd_compress(input, 1)?;
        let (packing, body) =
            if packed.len() < input.len() { (PACKED, &packed[..]) } else { (0, input) };
        let chunk = output.get_mut(..8 + body.len()).ok_or(OUTPUT_TOO_SMALL)?;
        chunk[..2].copy_from_slice(&[BITCOMP_MAGIC, self.options[1] as u8 | packing]);
        chunk[2..6].copy_from_slice(&(input.len() as u32).to_le_bytes());
        chunk[8..].copy_from_slice(body);
        Ok(chunk.len())
    }
}

fn zstd_compress(input: &[u8], level: i32) -> Result<Vec<u8>, i32> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(input.len()));
    zstd_safe::compress(&mut frame, input, level).map_err(|_| CANNOT_COMPRESS)?;
    Ok(frame)
}

fn zstd_decompress(input: &[u8], room: usize) -> Result<Vec<u8>, i32> {
    if zstd_safe::find_frame_compressed_size(input) != Ok(input.len()) {
        return Err(CANNOT_DECOMPRESS);
    }
    let mut plain = Vec::with_capacity(room);
    match zstd_safe::decompress(&mut plain, input) {
        Ok(_) => Ok(plain),
        // SAFETY: a pure function of its argument.
        Err(code) => Err(match unsafe { zstd_sys::ZSTD_getErrorCode(code) } {
            ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall => OUTPUT_TOO_SMALL,
            _ => CANNOT_DECOMPRESS,
        }),
    }
}

/// Entropy coding alone, for speed; stored where that is shorter. As nvCOMP does, leaves the words
/// that no lane reads as they were.
fn gdeflate_compress(input: &[u8], output: &mut [u8]) -> Result<usize, i32> {
    let encode = |style| gdeflate_encoder::encode_words(input, style);
    let mut page = encode(style(Coding::Dynamic, false, PAGE_MAX));
    if 4 * page.len() >= input.len() {
        page = encode(style(Coding::Stored, false, 0xFFFF));
    }
    let output = output.get_mut(..4 * page.len()).ok_or(OUTPUT_TOO_SMALL)?;
    for (place, word) in output.as_chunks_mut().0.iter_mut().zip(&page) {
        *place = word.map_or(*place, u32::to_le_bytes);
    }
    Ok(output.len())
}

/// The decoder has to be told how much a page yields, which is at most `room`. It says
/// whether a page yields more or fewer bytes than that, by which the number is found.
fn gdeflate_decompress(input: &[u8], room: usize) -> Result<Vec<u8>, i32> {
    let mut decoder = Decoder::default();
    let mut plain = vec![MaybeUninit::uninit(); room];
    let (mut low, mut high) = (0, room);
    let mut len = room;
    loop {
        match decoder.decode_page(input, &mut plain[..len]) {
            Ok(()) => break,
            Err(Fault::Corrupt(reason)) if reason.contains("more bytes") => {
                if len == high {
                    return Err(OUTPUT_TOO_SMALL);
                }
                low = len + 1;
            }
            Err(Fault::Corrupt(reason)) if reason.contains("fewer bytes") && len > low => {
                high = len;
            }
            Err(_) => return Err(CANNOT_DECOMPRESS),
        }
        len = low + (high - low) / 2;
    }
    // SAFETY: the decoder has initialised this part.
    Ok(unsafe { plain[..len].assume_init_ref() }.to_vec())
}

const BITCOMP_MAGIC: u8 = 0xBC;

/// Set in the byte of the data type where zstd made the bytes fewer.
const PACKED: u8 = 0x80;

/// The data type of a chunk that begins as Bitcomp's do.
pub fn bitcomp_data_type(chunk: &[u8]) -> Option<u8> {
    let (&[BITCOMP_MAGIC, kind, ..], _) = chunk.split_first_chunk::<6>()? else { return None };
    Some(kind & !PACKED).filter(|&data_type| data_type < 8)
}

fn bitcomp_decompress(input: &[u8], room: usize) -> Result<Vec<u8>, i32> {
    let Some((&[BITCOMP_MAGIC, kind, a, b, c, d, _, _], body)) = input.split_first_chunk() else {
        return Err(CANNOT_DECOMPRESS);
    };
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > room {
        return Err(OUTPUT_TOO_SMALL);
    }
    let plain = if kind & PACKED == 0 { body.to_vec() } else { zstd_decompress(body, len)? };
    if plain.len() == len && kind & !PACKED < 8 { Ok(plain) } else { Err(CANNOT_DECOMPRESS) }
}
