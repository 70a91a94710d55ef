//! Frames, paddings, sidecars and containers.

mod common;

use std::mem::MaybeUninit;

use common::gdeflate::{STYLES, encode as gdeflate_page};
use common::{codecs, noise, pack, text, unpack};
use proptest::prelude::*;
use s4_codec::body::Body;
use s4_codec::codec::{Codec, Fallback};
use s4_codec::error::ErrorClass;
use s4_codec::gpu::Device;
use s4_codec::kernel::dictionary::{Dictionary, dictionary_id};
use s4_codec::kernel::fcg1::{Algorithm, CHUNK_BYTES, ContainerWriter, Encoding};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use s4_codec::object::pick_chunk_size;
use s4_codec::wire::codec_id::CodecId;
use s4_codec::wire::frame::{Frame, FrameInfo, Frames, Headers, padding};
use s4_codec::wire::index::{Index, Source, build};

fn frame(codec: &Codec, value: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    codec.encode_with(Fallback::Never, value, &mut frame).expect("encodes");
    frame
}

/// Values of several codecs as one body, with paddings between.
fn body(values: &[Vec<u8>]) -> Vec<u8> {
    let codecs = codecs();
    let mut body = Vec::new();
    for (i, value) in values.iter().enumerate() {
        body.extend(frame(&codecs[i % codecs.len()], value));
        body.extend(padding(body.len(), body.len() + i * 7));
    }
    body
}

#[test]
fn frames_are_parsed_back() {
    for codec in codecs() {
        let made = frame(&codec, &text(500));
        let (parsed, rest) = Frame::parse(&made).expect("a frame");
        assert!(rest.is_empty());
        assert_eq!(parsed.header.codec, codec.id());
        assert_eq!(parsed.header.manifest, Manifest::seal(&text(500)));
        let value = unpack(&codec, parsed.payload, parsed.header.manifest);
        assert_eq!(value, Ok(text(500)));
    }
}

#[test]
fn a_padding_reaches_the_least_and_little_more() {
    for missing in 0..100 {
        let filled = 1000 + padding(1000, 1000 + missing).len();
        let over = filled - (1000 + missing);
        assert!(over <= 11 && (missing >= 12 || missing == 0 || filled == 1012), "{missing}");
    }
    assert!(padding(10, 5).is_empty());
}

#[test]
fn every_truncation_of_a_body_fails_or_ends_between_frames() {
    let whole = body(&[text(100), noise(50), text(0), text(300)]);
    let ends: Vec<_> =
        (0..=whole.len()).filter(|&n| Frames::new(&whole[..n]).all(|f| f.is_ok())).collect();
    // Before and after each of four frames and of the paddings that follow three of them.
    assert_eq!(ends.len(), 1 + 4 + 3);
    for cut in (0..whole.len()).filter(|n| !ends.contains(n)) {
        let error = FrameInfo::of(&whole[..cut]).expect_err("cut");
        assert_eq!(error.class(), ErrorClass::Frame, "{cut}");
    }
}

#[test]
fn windows_of_any_size_show_the_same_headers() {
    let whole = body(&[text(100), noise(50), text(0), text(300)]);
    let all: Vec<_> = Frames::new(&whole)
        .map(|f| f.map(|(at, f)| (at as u64, f.header)).expect("good"))
        .collect();
    // A header has 28 bytes, and less would never show one.
    for size in 28..=whole.len() {
        for cut in [0, 1, 5] {
            let body = &whole[..whole.len() - cut];
            let (mut at, mut number, mut found) = (0, 0, Vec::new());
            let error = loop {
                let start = at as usize;
                let window = &body[start..body.len().min(start + size)];
                let mut headers = Headers::resume(window, at, body.len() as u64, number);
                let good = headers.by_ref().take_while(Result::is_ok);
                found.extend(good.map(|step| step.expect("good")));
                (at, number) = (headers.at(), headers.number());
                if at == body.len() as u64 {
                    break None;
                }
                let mut again =
                    Headers::resume(&body[at as usize..], at, body.len() as u64, number);
                if let Some(Err(error)) = again.next() {
                    break Some(error.to_string());
                }
            };
            let expected = Frames::new(body).find_map(Result::err).map(|error| error.to_string());
            assert_eq!(error, expected, "windows of {size} bytes, {cut} cut");
            assert_eq!(found, all[..number], "windows of {size} bytes, {cut} cut");
        }
    }
}

#[test]
fn every_header_field_may_be_forged() {
    let whole = frame(&codecs()[1], &text(100));
    for field in 0..28 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut forged = whole.clone();
            forged[field] = value;
            if forged == whole {
                continue;
            }
            // Another claim, another codec, no frame: never other bytes.
            assert!(
                Body::plan(&forged, None, Device::Cpu, MAX_ORIGINAL_SIZE).is_err()
                    || decode(&forged).is_err()
            );
        }
    }
}

fn decode(bytes: &[u8]) -> s4_codec::error::Result<Vec<u8>> {
    s4_codec::object::decode(bytes, None, MAX_ORIGINAL_SIZE)
}

/// Pages of every style in a container.
fn gdeflate_container(value: &[u8]) -> Vec<u8> {
    let pages: Vec<_> = value
        .chunks(CHUNK_BYTES)
        .enumerate()
        .map(|(i, chunk)| gdeflate_page(chunk, STYLES[i % STYLES.len()]))
        .collect();
    let len = ContainerWriter::bound(value.len(), 2 * CHUNK_BYTES).expect("a length");
    let mut container = vec![MaybeUninit::new(0); len];
    let encoding = Encoding::new(Algorithm::GDeflate);
    let mut writer = ContainerWriter::new(encoding, value.len(), &mut container).expect("fits");
    for page in pages {
        let dst = writer.reserve(std::iter::once(page.len())).expect("fits");
        dst.write_copy_of_slice(&page);
    }
    let len = writer.finish().expect("all pages");
    // SAFETY: initialised when it was made.
    container[..len].iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

#[test]
fn gdeflate_containers_decode() {
    let codec = Codec::from_name("nvcomp-gdeflate", None).expect("known");
    for value in [vec![], text(1), text(CHUNK_BYTES), text(CHUNK_BYTES + 1), noise(300_000)] {
        let payload = gdeflate_container(&value);
        let manifest = Manifest::seal(&value);
        assert_eq!(unpack(&codec, &payload, manifest), Ok(value.clone()));
        let step = 1 + payload.len() / 500;
        for cut in (0..payload.len()).step_by(step) {
            assert!(unpack(&codec, &payload[..cut], manifest).is_err(), "cut to {cut}");
        }
    }
    let mut payload = Vec::new();
    let error = codec.compress(&text(10), &mut payload).expect_err("no encoder on a CPU");
    assert_eq!(error.class(), ErrorClass::Backend);
}

#[test]
fn containers_are_checked_before_anything_is_decoded() {
    let codec = Codec::from_name("nvcomp-zstd", None).expect("known");
    let value = text(200_000);
    let (good, manifest) = pack(&codec, &value);
    let u32_at = |at: usize, number: u32| {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
        bad
    };
    for (what, bad, expected) in [
        ("magic", u32_at(0, 0), ErrorClass::Backend),
        ("another algorithm", u32_at(4, 5), ErrorClass::CodecMismatch),
        ("unknown algorithm", u32_at(4, 99), ErrorClass::Backend),
        ("data type", u32_at(4, 3 | 1 << 8), ErrorClass::Backend),
        ("reserved", u32_at(4, 3 | 1 << 16), ErrorClass::Backend),
        ("total", u32_at(8, 200_001), ErrorClass::SizeMismatch),
        ("total of 2^62", u32_at(12, 1 << 30), ErrorClass::Backend),
        ("no chunk size", u32_at(16, 0), ErrorClass::Backend),
        ("chunk size", u32_at(16, u32::MAX), ErrorClass::Backend),
        ("count", u32_at(20, u32::MAX), ErrorClass::Backend),
        ("one chunk less", u32_at(20, 3), ErrorClass::Backend),
        ("a chunk's size", u32_at(24, 0), ErrorClass::Backend),
        ("a chunk's size past the end", u32_at(24, u32::MAX), ErrorClass::Backend),
        ("left over", [&good[..], b"x"].concat(), ErrorClass::Backend),
    ] {
        let error = unpack(&codec, &bad, manifest).expect_err(what);
        assert_eq!(error.class(), expected, "{what}: {error}");
    }
    for cut in (0..good.len()).step_by(37) {
        let error = unpack(&codec, &good[..cut], manifest).expect_err("cut");
        assert_eq!(error.class(), ErrorClass::Backend, "cut to {cut}");
    }
}

#[test]
fn dictionaries_are_one_per_process() {
    let bytes = text(5000);
    let (one, two) = (Dictionary::try_new(&bytes), Dictionary::try_new(&bytes));
    let (one, two) = (one.expect("raw content"), two.expect("raw content"));
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    assert_eq!(one.id(), dictionary_id(&bytes));
    let codec = Codec::with_dictionary(&bytes, Some(9)).expect("a codec");
    let (payload, manifest) = pack(&codec, &text(4000));
    assert!(payload.len() < 100, "most of the value is in the dictionary");
    assert_eq!(unpack(&codec, &payload, manifest), Ok(text(4000)));
    let id = CodecId::try_from(8).expect("known");
    assert_eq!(
        Codec::for_decoding(id, None).expect_err("no dictionary").class(),
        ErrorClass::UnregisteredCodec
    );
}

#[test]
fn chunk_sizes_follow_the_length() {
    const MIB: u64 = 1 << 20;
    for (len, size) in [(0, 1), (MIB, 1), (MIB + 1, 4), (100 * MIB, 4), (100 * MIB + 1, 16)] {
        assert_eq!(pick_chunk_size(len), size * MIB);
    }
}

fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_round_trip(values in values()) {
        let body = body(&values);
        prop_assert_eq!(decode(&body), Ok(values.concat()));
        prop_assert_eq!(FrameInfo::of(&body).map(|info| info.frames), Ok(values.len() as u32));
    }

    #[test]
    fn no_flip_of_a_body_gives_other_bytes(values in values(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut body = body(&values);
        prop_assume!(!body.is_empty());
        let at = at.index(body.len());
        body[at] ^= 1u8 << bit;
        if let Ok(decoded) = decode(&body) {
            prop_assert_eq!(decoded, values.concat());
        }
    }

    #[test]
    fn sidecars_find_every_range(values in values(), start in 0u64..3000, len in 0u64..3000) {
        let body = body(&values);
        let sidecar = build(&body).expect("a body");
        let index = Index::parse(&sidecar).expect("a sidecar");
        let whole = values.concat();
        prop_assert_eq!(index.total_original_size(), whole.len() as u64);
        let end = (start + len).min(whole.len() as u64);
        match index.lookup(start, start + len) {
            None => prop_assert!(start >= end),
            Some(found) => {
                let stored = &body[found.stored.start as usize..found.stored.end as usize];
                let part = decode(stored).expect("a body of its own");
                let slice = found.slice.start as usize..found.slice.end as usize;
                prop_assert_eq!(&part[slice], &whole[start as usize..end as usize]);
            }
        }
    }

    #[test]
    fn sidecars_keep_what_they_are_bound_to(values in values(), size: u64, etag in "[ -~]{0,40}") {
        let sidecar = build(&body(&values)).expect("a body");
        let index = Index::parse(&sidecar).expect("a sidecar");
        let source = Source { compressed_size: Some(size), etag: Some(&etag) };
        let bound = index.bind(source).expect("binds");
        let read = Index::parse(&bound).expect("a sidecar");
        prop_assert_eq!(read.source.compressed_size.unwrap_or(0), size);
        prop_assert_eq!(read.source.etag.unwrap_or(""), &etag);
        prop_assert!(read.entries().eq(index.entries()));
        prop_assert_eq!(read.bind(Source::default()), Ok(sidecar.clone()));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), magic in 0..5usize) {
        let magics = [&b"S4F2\x01\0\0\0"[..], b"S4P1", b"S4IX\x02\0\0\0", b"FCG1\x05\0\0\0", b""];
        let bytes = [magics[magic], &bytes].concat();
        let _ = decode(&bytes);
        let _ = Index::parse(&bytes).map(|index| index.lookup(0, u64::MAX));
        for name in ["nvcomp-zstd", "nvcomp-gdeflate", "nvcomp-bitcomp", "cpu-zstd", "cpu-gzip"] {
            let codec = Codec::from_name(name, None).expect("known");
            let claim = Manifest { original_size: 1000, crc32c: 0 };
            prop_assert!(unpack(&codec, &bytes, claim).is_err());
        }
    }
}
