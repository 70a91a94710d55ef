//! Values from 16 MiB on, which are checked piece by piece while they are decoded.

mod common;

use std::sync::LazyLock;

use common::{codec, codecs, noise, pack, text, unpack};
use s4_codec::error::{Error, ErrorClass};
use s4_codec::manifest::{Manifest, crc32c};
use zstd::zstd_safe::{self, CCtx, CParameter};

const LONG: usize = 16 << 20;
const BLOCK: usize = 128 << 10;

/// Text, with noise in the middle: blocks of all kinds that libzstd writes.
static VALUE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (text, noise) = (text(12 << 20), noise(1 << 20));
    let (front, back) = text.split_at(6 << 20);
    [front, &vec![7; 2 << 20], &noise, back, front].concat()
});

fn zstd_frame(value: &[u8], set: &[CParameter]) -> Vec<u8> {
    let mut context = CCtx::create();
    for &parameter in [CParameter::CompressionLevel(1)].iter().chain(set) {
        context.set_parameter(parameter).expect("a valid parameter");
    }
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(value.len()));
    context.compress2(&mut frame, value).expect("compresses");
    frame
}

/// What libzstd makes of `payload` in one call, if it is `len` bytes.
fn in_one_call(payload: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(len);
    zstd_safe::decompress(&mut decoded, payload).ok().filter(|&actual| actual == len)?;
    Some(decoded)
}

#[test]
fn values_of_any_length_round_trip_and_are_checked() {
    for codec in codecs() {
        for len in [LONG - 1, LONG, LONG + 1, LONG + BLOCK - 1, LONG + BLOCK] {
            let value = &VALUE[..len];
            let (payload, manifest) = pack(&codec, value);
            assert_eq!(manifest, Manifest { original_size: len as u64, crc32c: crc32c(value) });
            assert!(unpack(&codec, &payload, manifest).as_deref() == Ok(value), "{codec:?} {len}");
            let forged = Manifest { crc32c: !manifest.crc32c, ..manifest };
            let expected = Error::CrcMismatch { expected: forged.crc32c, actual: manifest.crc32c };
            assert_eq!(unpack(&codec, &payload, forged), Err(expected), "{codec:?} {len}");
        }
    }
}

#[test]
fn a_changed_byte_is_found_in_any_piece() {
    for codec in codecs() {
        let (mut payload, manifest) = pack(&codec, &VALUE);
        let step = payload.len() / 12;
        for at in (step / 2..payload.len()).step_by(step) {
            payload[at] ^= 0x10;
            let decoded = unpack(&codec, &payload, manifest);
            assert!(decoded.is_err() || decoded.as_ref() == Ok(&*VALUE), "{codec:?} at {at}");
            payload[at] ^= 0x10;
        }
    }
}

#[test]
fn zstd_frames_decode_as_in_one_call() {
    let zstd = codec("cpu-zstd", None);
    let plain = |part: &[u8]| zstd_frame(part, &[]);
    let sizeless = |part: &[u8]| zstd_frame(part, &[CParameter::ContentSizeFlag(false)]);
    let summed = |part: &[u8]| zstd_frame(part, &[CParameter::ChecksumFlag(true)]);
    let skippable = b"\x50\x2a\x4d\x18\x05\x00\x00\x00abcde".to_vec();
    let (front, back) = VALUE.split_at((9 << 20) + 1);
    let small = zstd_frame(front, &[CParameter::WindowLog(10), CParameter::ContentSizeFlag(false)]);
    let manifest = Manifest::seal(&VALUE);
    for (name, payload) in [
        ("no content size", sizeless(&VALUE)),
        ("checksum", summed(&VALUE)),
        ("wide window", zstd_frame(&VALUE, &[CParameter::WindowLog(27)])),
        ("small window", [small, plain(back)].concat()),
        ("empty frame between", [summed(front), plain(b""), sizeless(back)].concat()),
        (
            "skippable",
            [&skippable, &plain(front), &skippable, &plain(back), &skippable]
                .map(|f| &**f)
                .concat(),
        ),
    ] {
        assert!(unpack(&zstd, &payload, manifest).as_ref() == Ok(&*VALUE), "{name}");
        // Ends at, before and after the ends of frames, and anywhere.
        let frame = zstd_safe::find_frame_compressed_size(&payload).expect("a frame");
        let cuts = [0, 4, 5, 8, frame, frame + 1, frame + 4, payload.len() / 2];
        for cut in cuts.into_iter().chain([1, 2, 3, 4, 7].map(|n| payload.len() - n)) {
            let Some(cut) = payload.get(..cut).filter(|cut| cut.len() < payload.len()) else {
                continue;
            };
            let decoded = unpack(&zstd, cut, manifest);
            assert!(decoded.is_err(), "{name}, cut to {}", cut.len());
        }
        for at in [0, 4, 5, 6, 9, 14].into_iter().chain((1..8).map(|n| payload.len() / 8 * n)) {
            let mut damaged = payload.clone();
            damaged[at] ^= 1;
            let expected = in_one_call(&damaged, VALUE.len()).filter(|decoded| *decoded == *VALUE);
            assert_eq!(unpack(&zstd, &damaged, manifest).ok(), expected, "{name}, changed at {at}");
        }
        let short = Manifest { original_size: manifest.original_size - 1, ..manifest };
        let decoded = unpack(&zstd, &payload, short).expect_err("decodes to more");
        assert!(matches!(decoded, Error::DecodesTooLong { .. }), "{name}: {decoded}");
        let long = Manifest { original_size: manifest.original_size + 1, ..manifest };
        let decoded = unpack(&zstd, &payload, long).expect_err("decodes to less");
        assert_eq!(decoded.class(), ErrorClass::SizeMismatch, "{name}: {decoded}");
    }
}

/// A frame of RLE blocks of 128 KiB, another block, and an empty raw one.
fn rle_frame(header: &[u8], blocks: usize, other: &[u8]) -> Vec<u8> {
    let mut frame = [b"\x28\xb5\x2f\xfd", header].concat();
    for _ in 0..blocks {
        frame.extend_from_slice(&((BLOCK as u32) << 3 | 1 << 1).to_le_bytes()[..3]);
        frame.push(b'A');
    }
    [&frame, other, &[1, 0, 0]].concat()
}

#[test]
fn every_window_that_libzstd_reads_is_read() {
    let zstd = codec("cpu-zstd", None);
    let value = vec![b'A'; LONG];
    // 2 GiB, which is the most that a stream accepts, and the most of 31 bits.
    for window in [21 << 3, 21 << 3 | 7] {
        let frame = rle_frame(&[0, window], LONG / BLOCK, &[]);
        assert!(unpack(&zstd, &frame, Manifest::seal(&value)).as_ref() == Ok(&value), "{window}");
        let narrow = rle_frame(&[0, 10 << 3], LONG / BLOCK, &[]);
        let frames = [narrow, frame.clone(), frame].concat();
        let all = value.repeat(3);
        assert!(unpack(&zstd, &frames, Manifest::seal(&all)).as_ref() == Ok(&all), "{window}");
    }
    let frame = rle_frame(&[0, 22 << 3], LONG / BLOCK, &[]);
    let error = unpack(&zstd, &frame, Manifest::seal(&value)).expect_err("4 GiB");
    assert_eq!(error.class(), ErrorClass::Io);
}

#[test]
fn a_wrong_content_size_fails_if_the_last_block_is_empty() {
    let zstd = codec("cpu-zstd", None);
    let value = vec![b'A'; LONG + 2];
    // A compressed block of two literals and no sequences: as long as its bound it is not.
    let compressed = [4 << 3 | 2 << 1, 0, 0, 2 << 3, b'A', b'A', 0];
    let back = rle_frame(&[0, 10 << 3], LONG / BLOCK / 2, &[]);
    for (stated, holds) in [(LONG / 2 + 2, true), (LONG / 2 + 3, false)] {
        // A content size of eight bytes, and a window of 1 MiB.
        let header = [&[0xc0, 10 << 3][..], &(stated as u64).to_le_bytes()].concat();
        let front = rle_frame(&header, LONG / BLOCK / 2, &compressed);
        let frames = [front, back.clone()].concat();
        assert_eq!(in_one_call(&frames, value.len()).is_some(), holds, "{stated}");
        match unpack(&zstd, &frames, Manifest::seal(&value)) {
            Ok(decoded) => assert!(holds && decoded == value, "{stated}"),
            Err(error) => assert!(!holds && error.class() == ErrorClass::Io, "{stated}: {error}"),
        }
    }
}
