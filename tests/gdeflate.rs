//! GDeflate pages: round trips, and every way for a page to be wrong.

mod common;

use std::mem::MaybeUninit;

use common::gdeflate::{Coding, Page, STYLES, Token, codes, encode, fixed_lengths, page, style};
use common::{noise, text};
use proptest::prelude::*;
use s4_codec::kernel::Fault;
use s4_codec::kernel::gdeflate::{Decoder, PAGE_MAX};

/// Stands for bytes that a decoder has not written.
const UNTOUCHED: u8 = 0xEE;

fn decode(decoder: &mut Decoder, page: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let mut dst = vec![MaybeUninit::new(UNTOUCHED); len];
    let result = decoder.decode_page(page, &mut dst);
    // SAFETY: initialised above.
    let bytes: Vec<u8> = dst.iter().map(|byte| unsafe { byte.assume_init() }).collect();
    match result {
        Ok(()) => Ok(bytes),
        Err(Fault::Corrupt(reason)) => {
            assert!(bytes.iter().all(|&byte| byte == UNTOUCHED), "{reason}, but bytes came out");
            Err(reason)
        }
        Err(fault) => panic!("{fault:?}"),
    }
}

fn fault(page: &[u8], len: usize) -> String {
    decode(&mut Decoder::default(), page, len).expect_err("must not decode")
}

/// Values of every kind that a page may treat apart, none empty.
fn values() -> Vec<Vec<u8>> {
    let sizes = [1, 2, 31, 32, 33, 100, 4096, 65_535, 65_536];
    let mut values: Vec<_> = sizes.into_iter().flat_map(|n| [text(n), noise(n)]).collect();
    values.extend([1, 100, 65_536].map(|n| vec![0; n]));
    // Matches of every short distance, those of 285's extra bits, and the farthest.
    values.push((1..40).flat_map(|n| noise(n).repeat(2 + 70 / n)).collect());
    let far = |gap: usize| [noise(300), vec![7; gap], noise(300)].concat();
    values.extend([32_000, 33_000, 48_852, 49_000, 64_900].map(far));
    // Frequencies that halve: codes of all lengths, up to 15 bits.
    values.push(
        (0..65_000u32).map(|n| (n.wrapping_mul(0x9E37_79B1).leading_zeros()) as u8).collect(),
    );
    values.push((0..16_000u32).flat_map(|n| (n * 7 + n % 3).to_le_bytes()).collect());
    values
}

#[test]
fn every_page_round_trips() {
    // One decoder: nothing of a page may be left to the next one.
    let mut decoder = Decoder::default();
    for value in values() {
        for style in STYLES {
            let page = encode(&value, style);
            let decoded = decode(&mut decoder, &page, value.len());
            let what = format!("{style:?} of {} bytes", value.len());
            assert!(decoded.as_ref() == Ok(&value), "{what}: {:?}", decoded.err());
            let longer = decode(&mut decoder, &page, value.len() + 1);
            assert!(longer.is_err(), "{what} as one more");
            let shorter = decode(&mut decoder, &page, value.len() - 1);
            let expected = "the page decodes to more bytes than expected";
            assert_eq!(shorter.err().as_deref(), Some(expected), "{what} as one less");
        }
    }
}

#[test]
fn text_gets_smaller() {
    let page = encode(&text(65_536), style(Coding::Dynamic, true, 65_536));
    assert!(page.len() < 65_536 / 3, "{}", page.len());
}

#[test]
fn a_page_may_yield_nothing() {
    for coding in [Coding::Fixed, Coding::Dynamic] {
        let empty = page(|page| page.coded(&[], coding, true));
        assert_eq!(decode(&mut Decoder::default(), &empty, 0), Ok(Vec::new()), "{coding:?}");
    }
    let many = page(|page| (0..100).for_each(|i| page.stored(b"", i == 99)));
    assert_eq!(decode(&mut Decoder::default(), &many, 0), Ok(Vec::new()));
}

#[test]
fn blocks_of_every_coding_mix() {
    let tokens: Vec<_> = text(50).into_iter().map(Token::Literal).collect();
    let mixed = page(|page| {
        page.coded(&tokens, Coding::Fixed, false);
        page.stored(&text(50), false);
        page.coded(&tokens, Coding::Dynamic, false);
        page.coded(&[Token::Match { len: 150, distance: 150 }], Coding::Dynamic, false);
        page.coded(&tokens, Coding::Fixed, true);
    });
    let decoded = decode(&mut Decoder::default(), &mixed, 350);
    assert!(decoded == Ok(text(50).repeat(7)));
}

#[test]
fn every_truncation_fails() {
    let mut decoder = Decoder::default();
    for style in STYLES {
        let (value, page) = (text(300), encode(&text(300), style));
        for len in 0..page.len() {
            let reason = decode(&mut decoder, &page[..len], value.len()).expect_err("a cut page");
            let expected = match len {
                _ if len % 4 != 0 => "the page's length is not a multiple of 4",
                0..128 => "the page is shorter than one word for each of its 32 lanes",
                _ => "the page ends inside a block",
            };
            assert_eq!(reason, expected, "{style:?} cut to {len}");
        }
    }
}

#[test]
fn left_over_words_fail() {
    for style in STYLES {
        let mut page = encode(&text(300), style);
        for _ in 0..40 {
            page.extend([0; 4]);
            assert_eq!(fault(&page, 300), "words are left over after the page's last block");
        }
    }
}

#[test]
fn a_flipped_bit_gives_the_length_or_a_reason() {
    let mut decoder = Decoder::default();
    for value in [text(60), noise(40), vec![0; 500]] {
        for style in STYLES {
            let page = encode(&value, style);
            for bit in 0..page.len() * 8 {
                let mut flipped = page.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // `decode` looks at what a fault leaves; the bytes are for a checksum to judge.
                if let Err(reason) = decode(&mut decoder, &flipped, value.len()) {
                    assert!(!reason.is_empty());
                }
            }
        }
    }
}

/// A dynamic block's header up to the lengths of the code length code.
fn code_length_code(page: &mut Page, lengths: [usize; 4]) {
    page.header(Coding::Dynamic, true);
    [5, 5, 4].into_iter().for_each(|bits| page.put(0, 0, bits));
    lengths.into_iter().enumerate().for_each(|(lane, length)| page.put(lane, length, 3));
}

/// The header of a dynamic block whose literal lengths are zero but for these.
fn dynamic(page: &mut Page, literals: &[(usize, usize)], distances: &[usize]) {
    let mut lengths = vec![0; 258];
    literals.iter().for_each(|&(symbol, length)| lengths[symbol] = length);
    page.header(Coding::Dynamic, true);
    page.code_lengths(&lengths, distances);
}

/// The body "A", a match of 3, end of block, in the codes that `A_MATCH_END` gives.
fn a_match_end(page: &mut Page, distance: usize) {
    page.put(0, 0b01, 2);
    page.put(1, 0, 1);
    page.put(2, 0b11, 2);
    page.put(1, distance, 1);
}

const A_MATCH_END: [(usize, usize); 3] = [(0x41, 2), (256, 2), (257, 1)];

#[test]
fn a_sole_distance_has_a_code_of_one_bit() {
    let page = |bit| {
        page(|page| {
            dynamic(page, &A_MATCH_END, &[1]);
            a_match_end(page, bit);
        })
    };
    assert_eq!(decode(&mut Decoder::default(), &page(0), 4), Ok(b"AAAA".to_vec()));
    assert_eq!(fault(&page(1), 4), "found bits that are not a Huffman code");
}

#[test]
fn every_fault_has_its_reason() {
    let symbol = |symbol: usize| {
        move |page: &mut Page| {
            page.header(Coding::Fixed, true);
            page.put_code(0, codes(&fixed_lengths().0)[symbol]);
        }
    };
    let tokens =
        |tokens: &'static [Token], coding| move |page: &mut Page| page.coded(tokens, coding, true);
    let above_285 = "found a length symbol above 285";
    let beyond = "a distance reaches before the start of the output";
    let over_subscribed = "a Huffman code is over-subscribed";
    let incomplete = "a Huffman code is incomplete";
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Page));
    let cases: [Case; _] = [
        ("a block has the reserved type 3", &|page| {
            page.put(0, 1, 1);
            page.put(0, 3, 2);
        }),
        (above_285, &symbol(286)),
        (above_285, &symbol(287)),
        (beyond, &tokens(&[Token::Match { len: 3, distance: 1 }], Coding::Fixed)),
        (
            beyond,
            &tokens(&[Token::Literal(1), Token::Match { len: 9, distance: 2 }], Coding::Dynamic),
        ),
        (
            beyond,
            &tokens(
                &[Token::Literal(1), Token::Match { len: 40, distance: 65_536 }],
                Coding::Fixed,
            ),
        ),
        (over_subscribed, &|page| dynamic(page, &[(1, 1), (2, 1), (256, 1)], &[1])),
        (over_subscribed, &|page| dynamic(page, &A_MATCH_END, &[1, 1, 1])),
        (over_subscribed, &|page| code_length_code(page, [1, 1, 1, 1])),
        (incomplete, &|page| dynamic(page, &[(1, 2), (256, 2)], &[1])),
        (incomplete, &|page| dynamic(page, &A_MATCH_END, &[2])),
        (incomplete, &|page| dynamic(page, &A_MATCH_END, &[2, 2])),
        (incomplete, &|page| code_length_code(page, [0, 2, 2, 0])),
        ("the code length code is incomplete", &|page| code_length_code(page, [0; 4])),
        ("the code length code is incomplete", &|page| code_length_code(page, [1, 0, 0, 0])),
        ("the end of block has no code", &|page| dynamic(page, &[(1, 1), (257, 1)], &[1])),
        ("a code length is repeated with none before it", &|page| {
            code_length_code(page, [1, 1, 0, 0]);
            page.put(0, 0, 1);
        }),
        ("more code lengths than announced", &|page| {
            code_length_code(page, [0, 0, 1, 1]);
            for lane in 0..2 {
                page.put(lane, 1, 1);
                page.put(lane, 138 - 11, 7);
            }
        }),
        ("found bits that are not a Huffman code", &|page| {
            dynamic(page, &A_MATCH_END, &[0]);
            a_match_end(page, 0);
        }),
        ("found bits that are not a Huffman code", &|page| {
            dynamic(page, &[(256, 1)], &[0]);
            page.put(0, 1, 1);
        }),
        ("the page decodes to more bytes than expected", &|page| page.stored(&[0; 101], true)),
        ("the page decodes to fewer bytes than expected", &|page| page.stored(&[0; 99], true)),
        (
            "the page decodes to more bytes than expected",
            &tokens(&[Token::Literal(1), Token::Match { len: 65_538, distance: 1 }], Coding::Fixed),
        ),
    ];
    for (i, (reason, write)) in cases.into_iter().enumerate() {
        assert_eq!(fault(&page(write), 100), reason, "case {i}");
    }
    let page = encode(&text(100), STYLES[0]);
    assert_eq!(fault(&page, PAGE_MAX + 1), "a page decodes to at most 65536 bytes");
}

proptest! {
    #[test]
    fn garbage_never_panics(
        words in prop::collection::vec(any::<u32>(), 0..600),
        first in 0..8u32,
        len in 0..5000usize,
    ) {
        let mut page: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        if let Some(byte) = page.first_mut() {
            // Every block type as often as any other.
            *byte = *byte & !7 | first as u8;
        }
        let _ = decode(&mut Decoder::default(), &page, len);
    }

    #[test]
    fn any_value_round_trips(
        value in prop::collection::vec(0..4u8, 1..2000),
        matches in any::<bool>(),
        block in 1..500usize,
    ) {
        for coding in [Coding::Stored, Coding::Fixed, Coding::Dynamic] {
            let page = encode(&value, style(coding, matches, block));
            let decoded = decode(&mut Decoder::default(), &page, value.len());
            prop_assert_eq!(decoded.as_ref(), Ok(&value));
        }
    }
}
