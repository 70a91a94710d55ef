//! Writes GDeflate pages: enough of an encoder to test a decoder.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

const LANES: usize = 32;
const LONGEST_MATCH: usize = 3 + 0xFFFF;
const END: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    Stored,
    Fixed,
    Dynamic,
}

/// How a page is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub coding: Coding,
    /// Whether repeats are looked for.
    pub matches: bool,
    /// Bytes (stored) or tokens per block, at most 65 535 if stored.
    pub block: usize,
}

/// Each coding, with and without matches, in one block where that can be and in several.
pub const STYLES: [Style; 7] = [
    style(Coding::Stored, false, 65_535),
    style(Coding::Stored, false, 1000),
    style(Coding::Fixed, true, 65_536),
    style(Coding::Fixed, false, 700),
    style(Coding::Dynamic, true, 65_536),
    style(Coding::Dynamic, true, 3001),
    style(Coding::Dynamic, false, 65_536),
];

pub const fn style(coding: Coding, matches: bool, block: usize) -> Style {
    Style { coding, matches, block }
}

#[derive(Clone, Copy, Debug)]
pub enum Token {
    Literal(u8),
    Match { len: usize, distance: usize },
}

/// A page of `value`, 1 to 65 536 bytes.
pub fn encode(value: &[u8], style: Style) -> Vec<u8> {
    bytes_of(&encode_words(value, style))
}

/// The same in words. Lanes take those that are `None` and read nothing of them.
pub fn encode_words(value: &[u8], style: Style) -> Vec<Option<u32>> {
    let mut page = Page::default();
    if style.coding == Coding::Stored {
        let blocks = value.chunks(style.block);
        let count = blocks.len();
        blocks.enumerate().for_each(|(i, block)| page.stored(block, i + 1 == count));
    } else {
        let tokens = tokens(value, style.matches);
        let blocks = tokens.chunks(style.block);
        let count = blocks.len();
        blocks.enumerate().for_each(|(i, block)| page.coded(block, style.coding, i + 1 == count));
    }
    page.finish()
}

/// A page written by hand.
pub fn page(write: impl FnOnce(&mut Page)) -> Vec<u8> {
    let mut page = Page::default();
    write(&mut page);
    bytes_of(&page.finish())
}

fn bytes_of(words: &[Option<u32>]) -> Vec<u8> {
    words.iter().flat_map(|word| word.unwrap_or(0).to_le_bytes()).collect()
}

/// Greedy: at each byte the longest of the latest matches of its first three.
fn tokens(value: &[u8], matches: bool) -> Vec<Token> {
    const CANDIDATES: usize = 16;
    if !matches {
        return value.iter().map(|&byte| Token::Literal(byte)).collect();
    }
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let length_from = |from: usize| {
            let same = value[at..].iter().zip(&value[from..]).take_while(|(a, b)| a == b);
            same.take(LONGEST_MATCH).count()
        };
        let candidates = value.get(at..at + 3).and_then(|key| seen.get(key));
        let best = candidates
            .into_iter()
            .flat_map(|places| places.iter().rev().take(CANDIDATES))
            .map(|&from| (length_from(from), Reverse(at - from)))
            .max();
        let len = match best {
            Some((len, Reverse(distance))) => {
                tokens.push(Token::Match { len, distance });
                len
            }
            None => {
                tokens.push(Token::Literal(value[at]));
                1
            }
        };
        // Runs need few of their places.
        for place in at..at + len.min(64) {
            if let Some(key) = value.get(place..place + 3) {
                seen.entry(key).or_default().push(place);
            }
        }
        at += len;
    }
    tokens
}

/// Bits as the lanes will read them.
#[derive(Default)]
pub struct Page {
    lanes: [Vec<bool>; LANES],
    /// Every read in order: the lane and its bits.
    reads: Vec<(usize, usize)>,
}

impl Page {
    /// The next read of `lane` gives the low `n` bits of `value`.
    pub fn put(&mut self, lane: usize, value: usize, n: usize) {
        self.lanes[lane].extend((0..n).map(|bit| value >> bit & 1 != 0));
        self.reads.push((lane, n));
    }

    pub fn put_code(&mut self, lane: usize, (code, len): (usize, usize)) {
        assert!(len > 0, "a symbol without a code");
        self.put(lane, code.reverse_bits() >> (usize::BITS as usize - len), len);
    }

    /// Plays the decoder's part: a word goes out when a lane takes one.
    fn finish(self) -> Vec<Option<u32>> {
        let mut words = self.lanes.map(|bits| {
            let word = |bits: &[bool]| {
                bits.iter().enumerate().fold(0u32, |word, (i, &bit)| word | u32::from(bit) << i)
            };
            bits.chunks(32).map(word).collect::<Vec<_>>().into_iter()
        });
        let mut page = Vec::new();
        let mut take = |lane: usize| page.push(words[lane].next());
        (0..LANES).for_each(&mut take);
        let mut held = [32; LANES];
        for (lane, n) in self.reads {
            held[lane] -= n;
            if held[lane] < 32 {
                take(lane);
                held[lane] += 32;
            }
        }
        page
    }

    pub fn header(&mut self, coding: Coding, last: bool) {
        self.put(0, last.into(), 1);
        self.put(0, coding as usize, 2);
    }

    pub fn stored(&mut self, block: &[u8], last: bool) {
        self.header(Coding::Stored, last);
        self.put(0, block.len(), 16);
        for (i, &byte) in block.iter().enumerate() {
            self.put(i % LANES, byte.into(), 8);
        }
    }

    pub fn coded(&mut self, tokens: &[Token], coding: Coding, last: bool) {
        self.header(coding, last);
        let (mut lengths, mut distance_lengths) = fixed_lengths();
        if coding == Coding::Dynamic {
            let (mut counts, mut distance_counts) = ([0; 286], [0; 32]);
            counts[END] = 1;
            for token in tokens {
                match *token {
                    Token::Literal(byte) => counts[usize::from(byte)] += 1,
                    Token::Match { len, distance } => {
                        counts[length_symbol(len).symbol] += 1;
                        distance_counts[distance_symbol(distance).symbol] += 1;
                    }
                }
            }
            lengths = code_lengths(&counts, 15);
            distance_lengths = code_lengths(&distance_counts, 15);
            self.code_lengths(&lengths, &distance_lengths);
        }
        self.body(tokens, &codes(&lengths), &codes(&distance_lengths));
    }

    /// The header of a dynamic block.
    pub fn code_lengths(&mut self, literals: &[usize], distances: &[usize]) {
        let all = [literals, distances].concat();
        // Symbols of the code length code with their repeats.
        let mut runs = Vec::new();
        let mut at = 0;
        while at < all.len() {
            let length = all[at];
            let run = all[at..].iter().take_while(|&&other| other == length).count();
            let (symbol, extra, bits, used) = match (length, run) {
                (0, 11..) => (18, run.min(138) - 11, 7, run.min(138)),
                (0, 3..) => (17, run - 3, 3, run),
                (_, 4..) if length > 0 => {
                    runs.push((length, 0, 0));
                    (16, (run - 1).min(6) - 3, 2, (run - 1).min(6) + 1)
                }
                _ => (length, 0, 0, 1),
            };
            runs.push((symbol, extra, bits));
            at += used;
        }
        let mut counts = [0; 19];
        runs.iter().for_each(|&(symbol, ..)| counts[symbol] += 1);
        let mut lengths = code_lengths(&counts, 7);
        if lengths.iter().filter(|&&length| length > 0).count() == 1 {
            // This code may not be incomplete.
            lengths[if counts[0] == 0 { 0 } else { 1 }] = 1;
        }
        let codes = codes(&lengths);
        const ORDER: [usize; 19] =
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        self.put(0, literals.len() - 257, 5);
        self.put(0, distances.len() - 1, 5);
        self.put(0, ORDER.len() - 4, 4);
        ORDER.iter().enumerate().for_each(|(lane, &symbol)| self.put(lane, lengths[symbol], 3));
        for (i, (symbol, extra, bits)) in runs.into_iter().enumerate() {
            self.put_code(i % LANES, codes[symbol]);
            self.put(i % LANES, extra, bits);
        }
    }

    fn body(&mut self, tokens: &[Token], codes: &[Code], distance_codes: &[Code]) {
        let mut tokens = tokens.iter();
        let mut owed = [None; LANES];
        let mut ended = false;
        for lane in (0..LANES).cycle() {
            if let Some(distance) = owed[lane].take() {
                let distance = distance_symbol(distance);
                self.put_code(lane, distance_codes[distance.symbol]);
                self.put(lane, distance.extra, distance.bits);
            } else if !ended {
                match tokens.next() {
                    Some(&Token::Literal(byte)) => self.put_code(lane, codes[usize::from(byte)]),
                    Some(&Token::Match { len, distance }) => {
                        let len = length_symbol(len);
                        self.put_code(lane, codes[len.symbol]);
                        self.put(lane, len.extra, len.bits);
                        owed[lane] = Some(distance);
                    }
                    None => {
                        self.put_code(lane, codes[END]);
                        ended = true;
                    }
                }
            }
            if ended && owed.iter().all(Option::is_none) {
                return;
            }
        }
    }
}

struct Symbol {
    symbol: usize,
    extra: usize,
    bits: usize,
}

fn length_symbol(len: usize) -> Symbol {
    if len >= 258 {
        return Symbol { symbol: 285, extra: len - 3, bits: 16 };
    }
    let bits = if len < 11 { 0 } else { (len - 3).ilog2() as usize - 2 };
    let (group, extra) = ((len - 3) >> bits, (len - 3) & ((1 << bits) - 1));
    Symbol { symbol: 257 + 4 * bits + group, extra, bits }
}

fn distance_symbol(distance: usize) -> Symbol {
    let bits = if distance < 5 { 0 } else { (distance - 1).ilog2() as usize - 1 };
    let (group, extra) = ((distance - 1) >> bits, (distance - 1) & ((1 << bits) - 1));
    Symbol { symbol: 2 * bits + group, extra, bits }
}

/// The code lengths of literals and distances in fixed blocks.
pub fn fixed_lengths() -> (Vec<usize>, Vec<usize>) {
    let mut lengths = vec![8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    (lengths, vec![5; 32])
}

/// Lengths of a Huffman code for symbols counted so, none over `limit`.
fn code_lengths(counts: &[usize], limit: usize) -> Vec<usize> {
    let mut counts = counts.to_vec();
    loop {
        let mut nodes: BinaryHeap<_> = (0..counts.len())
            .filter(|&symbol| counts[symbol] > 0)
            .map(|symbol| Reverse((counts[symbol], vec![symbol])))
            .collect();
        let mut lengths = vec![0; counts.len()];
        if nodes.len() == 1 {
            nodes.drain().for_each(|Reverse((_, symbols))| lengths[symbols[0]] = 1);
        }
        while let (Some(Reverse((a, mut symbols))), Some(Reverse((b, others)))) =
            (nodes.pop(), nodes.pop())
        {
            symbols.extend(others);
            symbols.iter().for_each(|&symbol| lengths[symbol] += 1);
            nodes.push(Reverse((a + b, symbols)));
        }
        if lengths.iter().all(|&length| length <= limit) {
            return lengths;
        }
        // Counts that differ less give a flatter tree.
        counts.iter_mut().filter(|count| **count > 0).for_each(|count| *count = *count / 2 + 1);
    }
}

/// A code, its first bit the highest, and its length.
pub type Code = (usize, usize);

/// The canonical code of these lengths.
pub fn codes(lengths: &[usize]) -> Vec<Code> {
    let mut codes = vec![(0, 0); lengths.len()];
    let mut next = 0;
    for length in 1..=15 {
        next <<= 1;
        for symbol in (0..lengths.len()).filter(|&symbol| lengths[symbol] == length) {
            codes[symbol] = (next, length);
            next += 1;
        }
    }
    codes
}
