//! GDeflate pages (draft-uralsky-gdeflate-00): DEFLATE dealt out to 32 lanes.
//!
//! A page is a stream of u32 words. Every lane holds a buffer of bits, begins with one
//! word and takes the next word of the page when fewer than 32 bits are left to it. Bits,
//! Huffman codes and block headers are those of RFC 1951, except that
//! - length symbol 285 is base 3 with 16 extra bits, and distances reach 65 536;
//! - a stored block has a 16-bit length without complement or alignment;
//! - symbols come from the lanes in turn, and a lane that read a length reads the
//!   distance at its next turn.
//!
//! So the place of a match in the output is known 32 turns before its source. This decoder
//! keeps one round of symbols back and writes it when the distances have come: the output
//! then grows in order, and all that lies before a match has been written.
//!
//! Which codes may be incomplete is as in zlib: a code of a single symbol of one bit, and a
//! distance code of no symbol. Bits that stand for no symbol then are an error.

mod codes;
mod output;

use std::mem::MaybeUninit;

use self::codes::{
    ABOVE_285, ALL, Codes, END, KIND, LEAVES, LENGTH, LITERAL, LONG, NO_CODE, ROOT_BITS, ROOT_MASK,
    SPECIAL, UNASSIGNED, VALUE,
};
use self::output::{Counts, PageOutput, Round};
use super::{Fault, copy_to};

/// The most bytes that a page yields.
pub const PAGE_MAX: usize = 1 << 16;

const LANES: usize = 32;

/// What is wrong with a page.
type Reason = &'static str;

/// Decodes pages with tables and a buffer, 160 KiB in all, that serve any number of them.
#[derive(Default)]
pub struct Decoder {
    codes: Codes,
    output: PageOutput,
}

impl Decoder {
    /// Decodes `page`, which must yield exactly `dst.len()` bytes, at most [`PAGE_MAX`].
    /// All of `dst` is initialised on success and none of it is written otherwise.
    pub fn decode_page(&mut self, page: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault> {
        copy_to(self.decode(page, dst.len()).map_err(Fault::corrupt)?, dst);
        Ok(())
    }

    fn decode(&mut self, page: &[u8], len: usize) -> Result<&[u8], Reason> {
        if len > PAGE_MAX {
            return Err("a page decodes to at most 65536 bytes");
        }
        let Self { codes, output } = self;
        let mut lanes = Lanes::new(page)?;
        output.start(len);
        loop {
            let last = lanes.take(0, 1)? != 0;
            match lanes.take(0, 2)? {
                0 => {
                    let len = lanes.take(0, 16)? as usize;
                    for (i, byte) in output.grow(len)?.iter_mut().enumerate() {
                        *byte = lanes.take(i % LANES, 8)? as u8;
                    }
                }
                1 => {
                    codes.set_fixed()?;
                    decode_block(&mut lanes, codes, output)?;
                }
                2 => {
                    codes.read(&mut lanes)?;
                    decode_block(&mut lanes, codes, output)?;
                }
                _ => return Err("a block has the reserved type 3"),
            }
            if last {
                break;
            }
        }
        if lanes.next < lanes.words.len() {
            return Err("words are left over after the page's last block");
        }
        output.finish()
    }
}

/// The page's words as the lanes take them.
struct Lanes<'a> {
    words: &'a [[u8; 4]],
    /// The first word that no lane has taken.
    next: usize,
    bits: [u64; LANES],
    /// How many bits each lane holds: 32 to 63.
    held: [u32; LANES],
}

const CUT: Reason = "the page ends inside a block";

impl<'a> Lanes<'a> {
    fn new(page: &'a [u8]) -> Result<Self, Reason> {
        let (words, rest) = page.as_chunks();
        if !rest.is_empty() {
            return Err("the page's length is not a multiple of 4");
        }
        let Some(first) = words.first_chunk::<LANES>() else {
            return Err("the page is shorter than one word for each of its 32 lanes");
        };
        let bits = first.map(|word| u64::from(u32::from_le_bytes(word)));
        Ok(Self { words, next: LANES, bits, held: [32; LANES] })
    }

    /// The next `n` bits of a lane, at most 32.
    #[inline]
    fn take(&mut self, lane: usize, n: u32) -> Result<u32, Reason> {
        let value = self.bits[lane] & ((1 << n) - 1);
        self.bits[lane] >>= n;
        self.held[lane] -= n;
        if self.held[lane] < 32 {
            let word = u32::from_le_bytes(*self.words.get(self.next).ok_or(CUT)?);
            self.bits[lane] |= u64::from(word) << self.held[lane];
            self.held[lane] += 32;
            self.next += 1;
        }
        Ok(value as u32)
    }

    /// Takes a symbol's bits off a lane within a round of which `window` has the words.
    /// There is no branch: which lanes take a word is not to be foreseen.
    #[inline(always)]
    fn consume(&mut self, lane: usize, entry: u32, window: &[[u8; 4]; LANES], counts: &mut Counts) {
        let held = self.held[lane].wrapping_sub(entry & ALL);
        let short = (held >> 5).wrapping_sub(1);
        let word = u32::from_le_bytes(window[counts.words as usize % LANES]) & short;
        self.bits[lane] = self.bits[lane] >> (entry & ALL) | u64::from(word) << (held & 63);
        self.held[lane] = held | 32;
        counts.words = counts.words.wrapping_sub(short);
    }

    /// The words that one round of turns may take, zeros after the page's end.
    #[inline(always)]
    fn window<'b>(&self, tail: &'b mut [[u8; 4]; LANES]) -> &'b [[u8; 4]; LANES]
    where
        'a: 'b,
    {
        let rest = self.words.get(self.next..).unwrap_or(&[]);
        rest.first_chunk().unwrap_or_else(|| {
            tail[..rest.len()].copy_from_slice(rest);
            tail
        })
    }
}

/// Decodes the body of a fixed or dynamic block.
fn decode_block(lanes: &mut Lanes, codes: &Codes, output: &mut PageOutput) -> Result<(), Reason> {
    let (mut last, mut next) = (&mut Round::default(), &mut Round::default());
    let mut ended = false;
    loop {
        decode_round(lanes, codes, last, next, &mut ended)?;
        output.write(last, next)?;
        if ended && next.counts.matches == 0 {
            return output.write(next, last);
        }
        (last, next) = (next, last);
    }
}

/// One turn of every lane, after the `last` round.
fn decode_round(
    lanes: &mut Lanes,
    codes: &Codes,
    last: &Round,
    next: &mut Round,
    ended: &mut bool,
) -> Result<(), Reason> {
    let mut tail = [[0; 4]; LANES];
    let window = lanes.window(&mut tail);
    let mut turns = Turns { codes, window, last, counts: Counts::default() };
    let mut rest = Some(0);
    if !*ended {
        rest = turns.take::<false>(0, lanes, next)?;
    }
    if let Some(start) = rest {
        turns.take::<true>(start, lanes, next)?;
        *ended = true;
    }
    next.counts = turns.counts;
    lanes.next += turns.counts.words as usize;
    if lanes.next > lanes.words.len() { Err(CUT) } else { Ok(()) }
}

/// A round in the making.
struct Turns<'a> {
    codes: &'a Codes,
    window: &'a [[u8; 4]; LANES],
    last: &'a Round,
    counts: Counts,
}

impl Turns<'_> {
    /// Turns of the lanes from `start` on. Once the block has `ENDED`, only those that
    /// read a length have one more. Stops after an end of block and says which lane is next.
    #[inline(always)]
    fn take<const ENDED: bool>(
        &mut self,
        start: usize,
        lanes: &mut Lanes,
        next: &mut Round,
    ) -> Result<Option<usize>, Reason> {
        let mut counts = self.counts;
        for lane in start..LANES {
            let distance = self.last.entries[lane] & LENGTH;
            if ENDED && distance == 0 {
                next.entries[lane] = 0;
                continue;
            }
            let bits = lanes.bits[lane];
            // `LENGTH` is where the roots of distances are.
            let mut entry = self.codes.entries[distance as usize | bits as usize & ROOT_MASK];
            if entry & SPECIAL != 0 {
                if entry & KIND == LONG {
                    let leaf = (bits >> ROOT_BITS) as usize % LEAVES;
                    entry = self.codes.entries[(entry >> VALUE) as usize + leaf];
                }
                match entry & KIND {
                    END => {
                        lanes.consume(lane, entry, self.window, &mut counts);
                        next.entries[lane] = 0;
                        self.counts = counts;
                        return Ok(Some(lane + 1));
                    }
                    ABOVE_285 => return Err("found a length symbol above 285"),
                    UNASSIGNED => return Err(NO_CODE),
                    _ => {}
                }
            }
            next.entries[lane] = entry;
            next.bits[lane] = bits as u32;
            lanes.consume(lane, entry, self.window, &mut counts);
            if !ENDED {
                next.literals[counts.literals as usize % LANES] = (entry >> VALUE) as u8;
                counts.literals += u32::from(entry & LITERAL != 0);
                next.matches[counts.matches as usize % LANES] = (lane as u8, counts.literals as u8);
                counts.matches += u32::from(entry & LENGTH != 0);
            }
        }
        self.counts = counts;
        Ok(None)
    }
}
