//! The Huffman codes of a block as lookup tables.

use std::array;

use super::{LANES, Lanes, Reason};

/// Lookup tables of a block's two codes: the literal/length roots, the distance roots,
/// then the leaves of codes that are longer than a root's bits.
pub(super) struct Codes {
    pub(super) entries: [u32; ROOTS + LEAVES * (SYMBOLS + DISTANCES) / 2],
    /// Whether they are the fixed codes, which need not be built again.
    fixed: bool,
}

pub(super) const ROOT_BITS: u32 = 11;
pub(super) const ROOT_MASK: usize = (1 << ROOT_BITS) - 1;
const ROOTS: usize = 2 << ROOT_BITS;

/// The codes of more than 11 bits that share a root: it leaves 4 bits of 15. Half as many
/// roots as symbols suffice, since in a complete code two symbols at least share one.
pub(super) const LEAVES: usize = 1 << (MAX_BITS - ROOT_BITS as usize);

const MAX_BITS: usize = 15;
const SYMBOLS: usize = 288;
const DISTANCES: usize = 32;

// An entry of the tables has these fields, and from bit `VALUE` on the symbol's base value.

/// The bits of the code and the extra bits together, 31 at most.
pub(super) const ALL: u32 = 63;
/// Set where the entry is none of a literal, length or distance but of a `KIND`.
pub(super) const SPECIAL: u32 = 1 << 8;
pub(super) const LITERAL: u32 = 1 << 9;
/// Where the lane is to look next: the distance roots are that far from the others.
pub(super) const LENGTH: u32 = 1 << ROOT_BITS;
/// Where the bits of the code alone begin: 4 bits.
pub(super) const CODE: u32 = 12;
pub(super) const VALUE: u32 = 16;

pub(super) const KIND: u32 = SPECIAL | 3 << 12;
pub(super) const UNASSIGNED: u32 = SPECIAL;
pub(super) const END: u32 = SPECIAL | 1 << 12;
pub(super) const ABOVE_285: u32 = SPECIAL | 2 << 12;
/// The value says where the root's leaves are.
pub(super) const LONG: u32 = SPECIAL | 3 << 12;

pub(super) const NO_CODE: Reason = "found bits that are not a Huffman code";

impl Default for Codes {
    fn default() -> Self {
        Self { entries: [UNASSIGNED; _], fixed: false }
    }
}

/// Entries of the literal/length symbols, without their codes' bits.
const LITERAL_ENTRIES: [u32; SYMBOLS] = {
    let mut entries = [0; SYMBOLS];
    let mut symbol = 0;
    let mut base = 3;
    while symbol < SYMBOLS as u32 {
        entries[symbol as usize] = match symbol {
            0..256 => symbol << VALUE | LITERAL,
            256 => END,
            257..285 => {
                let extra = if symbol < 265 { 0 } else { (symbol - 261) / 4 };
                base += 1 << extra;
                (base - (1 << extra)) << VALUE | LENGTH | extra
            }
            285 => 3 << VALUE | LENGTH | 16,
            _ => ABOVE_285,
        };
        symbol += 1;
    }
    entries
};

/// Entries of the distance symbols.
const DISTANCE_ENTRIES: [u32; DISTANCES] = {
    let mut entries = [0; DISTANCES];
    let mut symbol = 0;
    let mut base = 1;
    while symbol < DISTANCES as u32 {
        let extra = if symbol < 4 { 0 } else { symbol / 2 - 1 };
        entries[symbol as usize] = base << VALUE | extra;
        base += 1 << extra;
        symbol += 1;
    }
    entries
};

/// The order of the lengths of the code length code.
const LENGTH_ORDER: [usize; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

impl Codes {
    pub(super) fn set_fixed(&mut self) -> Result<(), Reason> {
        if !self.fixed {
            let mut lengths = [8; SYMBOLS];
            lengths[144..256].fill(9);
            lengths[256..280].fill(7);
            self.set(&lengths, &[5; DISTANCES])?;
            self.fixed = true;
        }
        Ok(())
    }

    /// Reads the codes of a dynamic block.
    pub(super) fn read(&mut self, lanes: &mut Lanes) -> Result<(), Reason> {
        let literals = lanes.take(0, 5)? as usize + 257;
        let distances = lanes.take(0, 5)? as usize + 1;
        let count = lanes.take(0, 4)? as usize + 4;
        self.fixed = false;
        let mut lengths = [0; LENGTH_ORDER.len()];
        for (lane, &symbol) in LENGTH_ORDER[..count].iter().enumerate() {
            lengths[symbol] = lanes.take(lane, 3)? as u8;
        }
        let symbols: [u32; LENGTH_ORDER.len()] = array::from_fn(|symbol| (symbol as u32) << VALUE);
        if self.build(0, ROOTS, &lengths, &symbols)? != CodeShape::Complete {
            return Err("the code length code is incomplete");
        }

        let mut lengths = [0; SYMBOLS + DISTANCES];
        let all = &mut lengths[..literals + distances];
        let mut at = 0;
        let mut turn = 0;
        while at < all.len() {
            let lane = turn % LANES;
            turn += 1;
            // Whatever the bits, a complete code has a symbol for them.
            let entry = self.entries[lanes.bits[lane] as usize & ROOT_MASK];
            lanes.take(lane, entry & ALL)?;
            let symbol = entry >> VALUE;
            let (length, repeat) = match symbol {
                0..16 => (symbol as u8, 1),
                16 if at == 0 => return Err("a code length is repeated with none before it"),
                16 => (all[at - 1], 3 + lanes.take(lane, 2)?),
                17 => (0, 3 + lanes.take(lane, 3)?),
                _ => (0, 11 + lanes.take(lane, 7)?),
            };
            let end = at + repeat as usize;
            all.get_mut(at..end).ok_or("more code lengths than announced")?.fill(length);
            at = end;
        }
        let (literals, distances) = all.split_at(literals);
        self.set(literals, distances)
    }

    fn set(&mut self, literals: &[u8], distances: &[u8]) -> Result<(), Reason> {
        let leaves = ROOTS + LEAVES * SYMBOLS / 2;
        if literals[256] == 0 {
            return Err("the end of block has no code");
        }
        self.build(0, ROOTS, literals, &LITERAL_ENTRIES)?;
        self.build(LENGTH as usize, leaves, distances, &DISTANCE_ENTRIES)?;
        Ok(())
    }

    /// Builds the table of one code: its roots from `root`, its leaves from `leaf`.
    fn build(
        &mut self,
        root: usize,
        mut leaf: usize,
        lengths: &[u8],
        entries: &[u32],
    ) -> Result<CodeShape, Reason> {
        let mut counts = [0u16; MAX_BITS + 1];
        for &length in lengths {
            counts[length as usize & MAX_BITS] += 1;
        }
        counts[0] = 0;
        let mut left = 1;
        // Where the symbols of each length begin when the shortest come first.
        let mut places = [0u16; MAX_BITS + 2];
        for length in 1..=MAX_BITS {
            left = 2 * left - i32::from(counts[length]);
            if left < 0 {
                return Err("a Huffman code is over-subscribed");
            }
            places[length + 1] = places[length] + counts[length];
        }
        let shape = match places[MAX_BITS + 1] {
            _ if left == 0 => CodeShape::Complete,
            0 | 1 if counts[1] == places[MAX_BITS + 1] => CodeShape::Sparse,
            _ => return Err("a Huffman code is incomplete"),
        };
        let mut sorted = [0u16; SYMBOLS];
        for (symbol, &length) in lengths.iter().enumerate() {
            if length > 0 {
                let place = &mut places[length as usize];
                sorted[*place as usize] = symbol as u16;
                *place += 1;
            }
        }

        // Each length doubles the table of the lengths below it.
        self.entries[root] = UNASSIGNED;
        let mut symbols = sorted.iter().map(|&symbol| entries[symbol as usize]);
        let mut next_code = 0u32;
        for length in 1..=MAX_BITS as u32 {
            if length <= ROOT_BITS {
                let half = 1 << (length - 1);
                self.entries.copy_within(root..root + half, root + half);
            }
            next_code <<= 1;
            for symbol in symbols.by_ref().take(counts[length as usize] as usize) {
                let entry = match symbol & SPECIAL {
                    0 => symbol + (length << CODE | length),
                    _ => symbol + length,
                };
                let code = (next_code.reverse_bits() >> (32 - length)) as usize;
                next_code += 1;
                let slot = root + (code & ROOT_MASK);
                if length <= ROOT_BITS {
                    self.entries[slot] = entry;
                    continue;
                }
                if self.entries[slot] & KIND != LONG {
                    self.entries[slot] = (leaf as u32) << VALUE | LONG;
                    leaf += LEAVES;
                }
                let leaves = (self.entries[slot] >> VALUE) as usize;
                for rest in (code >> ROOT_BITS..LEAVES).step_by(1 << (length - ROOT_BITS)) {
                    self.entries[leaves + rest] = entry;
                }
            }
        }
        Ok(shape)
    }
}

#[derive(PartialEq)]
enum CodeShape {
    Complete,
    /// No symbol, or one of one bit.
    Sparse,
}
