//! What a page yields.

use super::codes::{ALL, CODE, VALUE};
use super::{LANES, PAGE_MAX, Reason};

/// One round of symbols: what each lane read at its turn.
pub(super) struct Round {
    /// The symbols' entries of [`Codes`](super::codes::Codes), zero where a lane read nothing.
    pub(super) entries: [u32; LANES],
    /// The lanes' bits from the symbol's code on.
    pub(super) bits: [u32; LANES],
    /// The literals alone. There is room for reads of `LANES` bytes anywhere in them.
    pub(super) literals: [u8; 2 * LANES],
    /// The lanes that read a length, with the number of literals before it.
    pub(super) matches: [(u8, u8); LANES],
    pub(super) counts: Counts,
}

/// How many literals and matches a round has, and words its lanes took.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) literals: u32,
    pub(super) matches: u32,
    pub(super) words: u32,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            entries: [0; _],
            bits: [0; _],
            literals: [0; _],
            matches: [(0, 0); _],
            counts: Counts::default(),
        }
    }
}

impl Round {
    /// A symbol's base value with its extra bits.
    #[inline(always)]
    fn value(&self, lane: usize) -> usize {
        let (entry, bits) = (self.entries[lane], u64::from(self.bits[lane]));
        let extra = (bits & ((1 << (entry & ALL)) - 1)) >> (entry >> CODE & 15);
        (entry >> VALUE) as usize + extra as usize
    }
}

/// A page's bytes in a buffer of its own, which is twice as large: chunks are written
/// whole, over the end of what they are for, and what comes next overwrites the rest.
pub(super) struct PageOutput {
    bytes: Box<[u8; MASK + 1 + LANES]>,
    len: usize,
    limit: usize,
}

/// Masked indexes need no bounds checks. No index goes beyond it: `len` exceeds the limit
/// of [`PAGE_MAX`] by the literals of one round before that is noticed.
const MASK: usize = 2 * PAGE_MAX - 1;

const CHUNK: usize = 16;

const TOO_LONG: Reason = "the page decodes to more bytes than expected";

impl Default for PageOutput {
    fn default() -> Self {
        let bytes = vec![0; MASK + 1 + LANES].into_boxed_slice();
        Self { bytes: bytes.try_into().expect("the same size"), len: 0, limit: 0 }
    }
}

impl PageOutput {
    pub(super) fn start(&mut self, limit: usize) {
        (self.len, self.limit) = (0, limit);
    }

    pub(super) fn finish(&self) -> Result<&[u8], Reason> {
        if self.len < self.limit {
            return Err("the page decodes to fewer bytes than expected");
        }
        Ok(&self.bytes[..self.limit])
    }

    /// The next `len` bytes, to be overwritten.
    pub(super) fn grow(&mut self, len: usize) -> Result<&mut [u8], Reason> {
        let start = self.len;
        if len > self.limit - start {
            return Err(TOO_LONG);
        }
        self.len += len;
        Ok(&mut self.bytes[start..][..len])
    }

    /// Writes the literals and matches of a round; the `next` one has the distances.
    ///
    /// It goes from match to match, with all literals between two as one: whether the
    /// next symbol is a literal is nothing that a processor could foresee.
    pub(super) fn write(&mut self, round: &Round, next: &Round) -> Result<(), Reason> {
        let mut at = self.len;
        let mut written = 0;
        let matches = (round.counts.matches as usize).min(LANES);
        for &(lane, literals) in &round.matches[..matches] {
            self.write_literals(at, round, written);
            at += usize::from(literals - written);
            written = literals;
            let lane = usize::from(lane) % LANES;
            let (len, distance) = (round.value(lane), next.value(lane));
            if distance > at {
                return Err("a distance reaches before the start of the output");
            }
            if len > self.limit.saturating_sub(at) {
                return Err(TOO_LONG);
            }
            self.write_match(at, distance, len);
            at += len;
        }
        self.write_literals(at, round, written);
        at += round.counts.literals as usize - usize::from(written);
        self.len = at;
        if at > self.limit { Err(TOO_LONG) } else { Ok(()) }
    }

    /// Writes at `at` the literals after the first `written`.
    #[inline(always)]
    fn write_literals(&mut self, at: usize, round: &Round, written: u8) {
        // If all have been written, the first serve as well.
        let (at, written) = (at & MASK, usize::from(written) % LANES);
        self.bytes[at..at + LANES].copy_from_slice(&round.literals[written..written + LANES]);
    }

    /// Writes at `at` the `len` bytes from `distance` before it on.
    #[inline(always)]
    fn write_match(&mut self, at: usize, distance: usize, len: usize) {
        let end = at + len;
        if distance >= CHUNK {
            self.copy_chunk(at - distance, at);
            self.copy_chunk(at - distance + CHUNK, at + CHUNK);
            let mut at = at + 2 * CHUNK;
            while at < end {
                self.copy_chunk(at - distance, at);
                at += CHUNK;
            }
        } else if len <= 8 {
            // Bytes of the newest stores: a chunk would have to wait for all of them.
            for at in at..end {
                self.bytes[at & MASK] = self.bytes[(at - distance) & MASK];
            }
        } else {
            self.repeat(at, distance, end);
        }
    }

    #[inline(always)]
    fn copy_chunk(&mut self, from: usize, to: usize) {
        let from = from & MASK;
        self.bytes.copy_within(from..from + CHUNK, to & MASK);
    }

    /// Writes the `distance` bytes before `at` until `end`, again and again.
    #[inline]
    fn repeat(&mut self, mut at: usize, distance: usize, end: usize) {
        let from = (at - distance) & MASK;
        let mut chunk = [0; CHUNK];
        chunk.copy_from_slice(&self.bytes[from..from + CHUNK]);
        let mut pattern = u128::from_le_bytes(chunk) & ((1 << (8 * distance)) - 1);
        let mut filled = distance;
        while filled < CHUNK {
            pattern |= pattern << (8 * filled);
            filled *= 2;
        }
        let step = CHUNK - CHUNK % distance;
        while at < end {
            let to = at & MASK;
            self.bytes[to..to + CHUNK].copy_from_slice(&pattern.to_le_bytes());
            at += step;
        }
    }
}
