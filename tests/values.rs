//! One value: round trips, what other writers make, and every way to be wrong.

mod common;

use common::{codec, codecs, codecs_and_levels, noise, pack, text, unpack, values};
use proptest::prelude::*;
use s4_codec::codec::Codec;
use s4_codec::error::{Error, ErrorClass};
use s4_codec::kernel::training::Training;
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest, crc32c};
use zstd::zstd_safe::{self, CCtx, CParameter};

fn class(result: Result<Vec<u8>, Error>) -> ErrorClass {
    result.expect_err("must not decode").class()
}

#[test]
fn crc32c_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(crc32c(b""), 0);
}

#[test]
fn every_codec_round_trips_every_value() {
    for codec in codecs_and_levels() {
        for value in values() {
            let (payload, manifest) = pack(&codec, &value);
            assert_eq!(manifest.original_size, value.len() as u64);
            assert_eq!(manifest.crc32c, crc32c(&value));
            let decoded = unpack(&codec, &payload, manifest);
            assert!(decoded.as_ref() == Ok(&value), "{codec:?} of {} bytes", value.len());
        }
    }
}

/// What damage is to a codec: containers are not the codec library's own format.
fn damaged(codec: &Codec) -> ErrorClass {
    if codec.encoding().is_some() { ErrorClass::Backend } else { ErrorClass::Io }
}

/// What a size is that is too small: containers state theirs.
fn too_small(codec: &Codec) -> ErrorClass {
    if codec.encoding().is_some() { ErrorClass::SizeMismatch } else { ErrorClass::Io }
}

#[test]
fn every_truncation_fails() {
    for codec in codecs() {
        let (payload, manifest) = pack(&codec, &text(200));
        for len in 0..payload.len() {
            let error = unpack(&codec, &payload[..len], manifest).expect_err("a cut payload");
            let expected = match codec {
                Codec::Passthrough => ErrorClass::SizeMismatch,
                _ => damaged(&codec),
            };
            assert_eq!(error.class(), expected, "{codec:?} cut to {len}");
        }
    }
}

#[test]
fn no_bit_flip_gives_wrong_bytes() {
    for codec in codecs() {
        let value = text(200);
        let (payload, manifest) = pack(&codec, &value);
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = unpack(&codec, &flipped, manifest) {
                assert!(decoded == value, "{codec:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn trailing_bytes_fail() {
    for codec in codecs() {
        let (mut payload, manifest) = pack(&codec, &text(200));
        for extra in [&b"\0"[..], b"x", b"trailing garbage", &[0; 100]] {
            payload.truncate(pack(&codec, &text(200)).0.len());
            payload.extend_from_slice(extra);
            let decoded = unpack(&codec, &payload, manifest);
            // gzip is padded with zeros on tapes.
            if codec.name() == "cpu-gzip" && extra.iter().all(|&byte| byte == 0) {
                assert_eq!(decoded, Ok(text(200)));
            } else {
                assert_eq!(class(decoded), damaged(&codec), "{codec:?}");
            }
        }
    }
}

#[test]
fn forged_sizes_are_judged_before_memory() {
    for codec in codecs() {
        let (payload, manifest) = pack(&codec, &text(1000));
        let with =
            |original_size| class(unpack(&codec, &payload, Manifest { original_size, ..manifest }));
        assert_eq!(with(0), too_small(&codec), "{codec:?}: the payload decodes to more");
        assert_eq!(with(999), too_small(&codec), "{codec:?}: the payload decodes to more");
        for more in [1001, 4 << 30, MAX_ORIGINAL_SIZE] {
            assert_eq!(with(more), ErrorClass::SizeMismatch, "{codec:?} claims {more}");
        }
        for beyond in [MAX_ORIGINAL_SIZE + 1, 1 << 63, u64::MAX] {
            assert_eq!(with(beyond), ErrorClass::ManifestSizeExceedsLimit, "{codec:?}");
        }
    }
}

#[test]
fn the_limit_wins_over_garbage_and_may_be_lowered() {
    for codec in codecs() {
        let claim = Manifest { original_size: MAX_ORIGINAL_SIZE + 1, crc32c: 0 };
        assert_eq!(class(unpack(&codec, b"", claim)), ErrorClass::ManifestSizeExceedsLimit);
        let (payload, manifest) = pack(&codec, &text(1000));
        assert_eq!(
            class(codec.decompress(&payload, &manifest, 999)),
            ErrorClass::ManifestSizeExceedsLimit
        );
        assert!(codec.decompress(&payload, &manifest, 1000).is_ok());
    }
}

#[test]
fn a_wrong_checksum_fails() {
    for codec in codecs() {
        let (payload, manifest) = pack(&codec, &text(1000));
        let wrong = Manifest { crc32c: manifest.crc32c ^ 1, ..manifest };
        assert_eq!(class(unpack(&codec, &payload, wrong)), ErrorClass::CrcMismatch, "{codec:?}");
    }
}

#[test]
fn an_empty_payload_is_only_passthrough() {
    let nothing = Manifest { original_size: 0, crc32c: 0 };
    for codec in codecs() {
        let decoded = unpack(&codec, b"", nothing);
        match codec {
            Codec::Passthrough => assert_eq!(decoded, Ok(Vec::new())),
            _ => assert_eq!(class(decoded), damaged(&codec), "{codec:?}"),
        }
    }
}

/// A zstd frame as `set` configures it.
fn zstd_frame(value: &[u8], set: &[CParameter]) -> Vec<u8> {
    let mut context = CCtx::create();
    for &parameter in set {
        context.set_parameter(parameter).expect("a valid parameter");
    }
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(value.len()));
    context.compress2(&mut frame, value).expect("compresses");
    frame
}

const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x05\x00\x00\x00abcde";

#[test]
fn zstd_reads_what_other_writers_make() {
    let zstd = codec("cpu-zstd", None);
    let value = text(300_000);
    let manifest = Manifest::seal(&value);
    let (front, back) = value.split_at(100_001);
    let plain = |part: &[u8]| zstd_frame(part, &[]);
    let sizeless = |part: &[u8]| zstd_frame(part, &[CParameter::ContentSizeFlag(false)]);
    let summed = |part: &[u8]| zstd_frame(part, &[CParameter::ChecksumFlag(true)]);
    for (name, payload) in [
        ("no content size", sizeless(&value)),
        ("checksum", summed(&value)),
        ("wide window", zstd_frame(&value, &[CParameter::WindowLog(27)])),
        ("two frames", [plain(front), sizeless(back)].concat()),
        ("an empty frame between", [plain(front), plain(b""), summed(back)].concat()),
        ("skippable first", [SKIPPABLE.to_vec(), plain(&value)].concat()),
        ("skippable between", [sizeless(front), SKIPPABLE.to_vec(), plain(back)].concat()),
        ("skippable last", [sizeless(&value), SKIPPABLE.to_vec()].concat()),
    ] {
        assert!(unpack(&zstd, &payload, manifest).as_ref() == Ok(&value), "{name}");
        for cut in [1, 4, payload.len() / 2] {
            let cut = &payload[..payload.len() - cut];
            assert_eq!(class(unpack(&zstd, cut, manifest)), ErrorClass::Io, "{name}, cut");
        }
    }
}

/// Little that decodes to much: RLE blocks of 128 KiB.
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        frame.extend_from_slice(&(131_072u32 << 3 | 1 << 1 | last).to_le_bytes()[..3]);
        frame.push(b'A');
    }
    frame
}

#[test]
fn a_bomb_stops_at_its_claim() {
    let bomb = zstd_bomb(80_000);
    let zstd = codec("cpu-zstd", None);
    for original_size in [0, 100, 1 << 20] {
        let claim = Manifest { original_size, crc32c: 0 };
        assert_eq!(class(unpack(&zstd, &bomb, claim)), ErrorClass::Io);
    }
    let claim = Manifest { original_size: 10 << 30, crc32c: 0 };
    assert_eq!(class(unpack(&zstd, &bomb, claim)), ErrorClass::ManifestSizeExceedsLimit);
}

#[test]
fn a_true_claim_of_a_dense_payload_is_granted() {
    let zstd = codec("cpu-zstd", None);
    let value = vec![b'A'; 16 * 131_072];
    assert_eq!(unpack(&zstd, &zstd_bomb(16), Manifest::seal(&value)), Ok(value));
}

#[test]
fn a_stated_content_size_is_not_believed() {
    // A single-segment frame that states 4 GiB - 1 over one raw block of three bytes.
    let frame = b"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x19\x00\x00abc";
    let claim = Manifest { original_size: u64::from(u32::MAX), crc32c: 0 };
    let zstd = codec("cpu-zstd", None);
    assert_eq!(
        unpack(&zstd, frame, claim),
        Err(Error::SizeImpossible { expected: u64::from(u32::MAX), most: 3 })
    );
}

#[test]
fn a_block_beyond_the_formats_limit_fails() {
    // One RLE block of 2 MiB - 1, sixteen times what RFC 8878 allows.
    let frame = b"\x28\xb5\x2f\xfd\x00\x58\xfb\xff\xffa";
    let value = vec![b'a'; (2 << 20) - 1];
    let decoded = unpack(&codec("cpu-zstd", None), frame, Manifest::seal(&value));
    assert_eq!(class(decoded), ErrorClass::Io);
}

#[test]
fn levels_are_refused_never_clamped() {
    for (name, good, bad) in
        [("cpu-zstd", [1, 22], [0, -1, 23, i64::MAX]), ("cpu-gzip", [0, 9], [-1, 10, 99, i64::MIN])]
    {
        for level in good {
            assert_eq!(codec(name, Some(level)).level(), Some(level as i32));
        }
        for level in bad {
            let error = Codec::from_name(name, Some(level)).expect_err("out of range");
            assert_eq!(error.class(), ErrorClass::Value);
            assert!(error.to_string().contains(&level.to_string()), "{error}");
        }
    }
}

#[test]
fn unknown_and_missing_codecs_are_told_apart() {
    for (name, part) in
        [("lz4", "unknown"), ("CPU-ZSTD", "unknown"), ("nvcomp-gans", "not available")]
    {
        let error = Codec::from_name(name, None).expect_err("no such codec here");
        assert_eq!(error.class(), ErrorClass::UnregisteredCodec);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn training_keeps_samples_evenly() {
    let sample = |n: u32| [&n.to_be_bytes()[..], &text(40)[..]].concat();
    let (few, many) = (1..=50, 1..=10_000);
    let all_of = |samples: std::ops::RangeInclusive<u32>, most| {
        let mut training = Training::with_limit(most);
        samples.for_each(|n| training.add(&sample(n)).expect("memory"));
        training
    };
    assert_eq!(all_of(few, 44 * 50).kept(), (50, 44 * 50));
    let half = all_of(many.clone(), 44 * 5000);
    assert_eq!(half.kept(), (5000, 44 * 5000));
    let (kept, bytes) = all_of(many.clone(), 44 * 4999).kept();
    assert_eq!((kept, bytes), (2500, 44 * 2500));
    // The same as of those alone that are kept.
    let mut alone = Training::default();
    many.step_by(4).for_each(|n| alone.add(&sample(n)).expect("memory"));
    let thinned = all_of(1..=10_000, 44 * 4999);
    assert_eq!(thinned.train(2000).expect("trains"), alone.train(2000).expect("trains"));
    // Of samples that are longer than all that is taken, the fronts.
    let mut long = Training::with_limit(16_000);
    (0..100).for_each(|_| long.add(&text(100_000)).expect("memory"));
    let (kept, bytes) = long.kept();
    assert!((8..=16).contains(&kept) && bytes == kept * 1000, "{kept} of {bytes} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_round_trips(value in proptest::collection::vec(any::<u8>(), 0..5000)) {
        for codec in codecs() {
            let (payload, manifest) = pack(&codec, &value);
            prop_assert_eq!(unpack(&codec, &payload, manifest), Ok(value.clone()));
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_what_the_manifest_says(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        original_size in 0u64..100_000,
        checksum in any::<u32>(),
    ) {
        for codec in codecs() {
            let manifest = Manifest { original_size, crc32c: checksum };
            if let Ok(decoded) = unpack(&codec, &payload, manifest) {
                prop_assert_eq!(decoded.len() as u64, original_size);
                prop_assert_eq!(crc32c(&decoded), checksum);
            }
        }
    }

    #[test]
    fn damaged_payloads_never_decode_to_other_bytes(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        len in 1usize..4000,
    ) {
        for codec in codecs() {
            let value = if len % 2 == 0 { text(len) } else { noise(len) };
            let (mut payload, manifest) = pack(&codec, &value);
            for (at, byte) in &damage {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
            if let Ok(decoded) = unpack(&codec, &payload, manifest) {
                prop_assert_eq!(decoded, value);
            }
        }
    }
}
