//! Sets of dictionaries: every payload finds its own, and stored sets bear any bytes.

mod common;

use std::sync::Arc;

use common::{pack, text, unpack};
use proptest::prelude::*;
use s4_codec::body::Body;
use s4_codec::codec::{Codec, ZstdLevel};
use s4_codec::error::{Error, ErrorClass};
use s4_codec::gpu::Device;
use s4_codec::kernel::dictionary::Dictionary;
use s4_codec::kernel::dictionary_set::{DictionarySet, MAX_DICTIONARIES};
use s4_codec::kernel::training::{SplitSamples, Training};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest, crc32c};
use s4_codec::object;
use s4_codec::wire::dictionary_set::{from_bytes, to_bytes};

/// A value of one generation of data.
fn value(generation: usize, n: usize) -> Vec<u8> {
    format!("generation {}: user {n} saw item {}, {}", generation * 7919, n * n, n % 7).into_bytes()
}

fn trained(generation: usize) -> Arc<Dictionary> {
    let mut training = Training::default();
    (0..500).for_each(|n| training.add(&value(generation, n)).expect("memory"));
    Dictionary::try_new(&training.train(512).expect("trains")).expect("a dictionary")
}

fn generations(count: usize) -> Vec<Arc<Dictionary>> {
    (0..count).map(trained).collect()
}

fn set(members: &[Arc<Dictionary>]) -> Arc<DictionarySet> {
    let current = members.len().saturating_sub(1);
    Arc::new(DictionarySet::try_new(members.to_vec(), current).expect("a set"))
}

fn codec(set: &Arc<DictionarySet>) -> Codec {
    Codec::Zstd { level: ZstdLevel::DEFAULT, dictionary: Some(Arc::clone(set)) }
}

/// The codec that compresses with a dictionary of its own.
fn alone(dictionary: &Arc<Dictionary>) -> Codec {
    codec(&Arc::new(DictionarySet::single(Arc::clone(dictionary))))
}

fn dictionary_error(result: Result<Vec<u8>, Error>) -> String {
    match result.expect_err("has no dictionary for it") {
        Error::Dictionary { reason, is_missing: false, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn each_payload_finds_its_dictionary() {
    let members = generations(3);
    for count in 1..=3 {
        let set = set(&members[..count]);
        assert_eq!(set.current(), &members[count - 1]);
        let (ours, manifest) = pack(&codec(&set), &value(count, 9));
        assert_eq!(unpack(&alone(set.current()), &ours, manifest), Ok(value(count, 9)));
        for (generation, dictionary) in members.iter().enumerate() {
            let (payload, manifest) = pack(&alone(dictionary), &value(generation, 3));
            let decoded = unpack(&codec(&set), &payload, manifest);
            if generation < count {
                assert_eq!(decoded, Ok(value(generation, 3)));
                continue;
            }
            let reason = dictionary_error(decoded);
            let id = dictionary.zstd_id().expect("trained");
            assert!(reason.contains(&format!("with zstd id {id};")), "{reason}");
            let given = members[0].zstd_id().expect("trained").to_string();
            assert!(reason.ends_with(&given), "{reason}");
        }
    }
}

#[test]
fn frames_of_one_payload_choose_one_by_one() {
    let members = generations(3);
    let set = codec(&set(&members));
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let plain = Codec::from_name("cpu-zstd", None).expect("a codec");
    let (mut payload, mut whole) = (Vec::new(), Vec::new());
    for (generation, dictionary) in members.iter().enumerate() {
        payload.extend(pack(&alone(dictionary), &value(generation, 5)).0);
        payload.extend(skippable);
        payload.extend(pack(&plain, &value(generation, 6)).0);
        whole.extend([value(generation, 5), value(generation, 6)].concat());
    }
    let manifest = Manifest::seal(&whole);
    assert_eq!(unpack(&set, &payload, manifest), Ok(whole.clone()));
    // One dictionary is too few, and the message names the first that it is not.
    for (dictionary, first_other) in [(0, 1), (1, 0)] {
        let reason = dictionary_error(unpack(&alone(&members[dictionary]), &payload, manifest));
        let id = members[first_other].zstd_id().expect("trained");
        assert!(reason.contains(&format!("with zstd id {id};")), "{reason}");
    }
    for len in 0..payload.len() {
        unpack(&set, &payload[..len], manifest).expect_err("a cut payload");
    }
    let longer = [&payload[..], b"mor"].concat();
    let error = unpack(&set, &longer, manifest).expect_err("bytes after the end");
    assert!(error.to_string().contains("follow the last frame"), "{error}");
    let short = Manifest { original_size: manifest.original_size - 1, ..manifest };
    let error = unpack(&set, &payload, short).expect_err("one byte too many");
    assert!(matches!(error, Error::DecodesTooLong { .. }), "{error}");
}

#[test]
fn a_frame_without_an_id_takes_the_current_dictionary() {
    let members = generations(2);
    let mut context = zstd::zstd_safe::CCtx::create();
    context.load_dictionary(members[1].bytes()).expect("loads");
    context.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false)).expect("is set");
    let mut payload = Vec::with_capacity(500);
    context.compress2(&mut payload, &value(1, 8)).expect("compresses");
    let manifest = Manifest::seal(&value(1, 8));
    assert_eq!(unpack(&codec(&set(&members)), &payload, manifest), Ok(value(1, 8)));
}

#[test]
fn sets_that_payloads_could_not_choose_from_are_refused() {
    let refused = |members: Vec<Arc<Dictionary>>, current| {
        let error = DictionarySet::try_new(members, current).expect_err("is refused");
        assert_eq!(error.class(), ErrorClass::Value);
        error.to_string()
    };
    let members = generations(2);
    assert!(refused(Vec::new(), 0).contains("one dictionary or more"));
    assert!(refused(members.clone(), 2).contains("position 2"));
    let raw = Dictionary::try_new(&text(900)).expect("raw content");
    let reason = refused(vec![Arc::clone(&members[0]), Arc::clone(&raw)], 0);
    assert!(reason.contains(&raw.id()) && reason.contains("number 1"), "{reason}");
    let mut forged = members[1].bytes().to_vec();
    forged[4..8].copy_from_slice(&members[0].bytes()[4..8]);
    let forged = Dictionary::try_new(&forged).expect("another id");
    let reason = refused(vec![Arc::clone(&members[0]), Arc::clone(&forged)], 0);
    for id in [members[0].id(), forged.id(), members[0].zstd_id().expect("trained").to_string()] {
        assert!(reason.contains(&id), "{reason}");
    }
    let many = vec![Arc::clone(&members[0]); MAX_DICTIONARIES + 1];
    assert!(refused(many, 0).contains("exceed the maximum"));
}

#[test]
fn bodies_and_objects_take_sets() {
    let members = generations(3);
    let mut body = Vec::new();
    for (generation, dictionary) in members.iter().enumerate() {
        let mut frame = Vec::new();
        alone(dictionary).encode(&value(generation, 4), &mut frame).expect("encodes");
        body.extend(frame);
    }
    let whole: Vec<u8> = (0..3).flat_map(|generation| value(generation, 4)).collect();
    let all = set(&members);
    assert_eq!(object::decode(&body, Some(&all), MAX_ORIGINAL_SIZE), Ok(whole));
    let two = set(&members[..2]);
    let error = object::decode(&body, Some(&two), MAX_ORIGINAL_SIZE).expect_err("one is missing");
    assert!(error.to_string().starts_with("frame 2 (cpu-zstd-dict"), "{error}");
    assert!(Body::plan(&body, None, Device::Cpu, MAX_ORIGINAL_SIZE).is_err());
}

#[test]
fn stored_sets_are_read_back() {
    let members = generations(3);
    for current in 0..3 {
        let set = DictionarySet::try_new(members.clone(), current).expect("a set");
        let stored = to_bytes(&set).expect("memory");
        assert_eq!(from_bytes(&stored), Ok(set));
    }
}

/// The same bytes with a checksum that fits them.
fn sealed(mut stored: Vec<u8>) -> Vec<u8> {
    let end = stored.len() - 4;
    let checksum = crc32c(&stored[..end]);
    stored[end..].copy_from_slice(&checksum.to_le_bytes());
    stored
}

#[test]
fn damaged_and_forged_sets_are_refused() {
    let stored = to_bytes(&set(&generations(2))).expect("memory");
    let refused = |bytes: &[u8], what: &str| {
        let error = from_bytes(bytes).expect_err(what);
        assert_eq!(error.class(), ErrorClass::Frame, "{what}: {error}");
        error.to_string()
    };
    for len in 0..stored.len() {
        refused(&stored[..len], "cut");
    }
    for at in 0..stored.len() {
        let mut flipped = stored.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped, "a flipped bit");
    }
    refused(&[&stored[..], b"more"].concat(), "bytes after the end");
    // What a checksum that fits does not make good.
    for (at, number, what) in [
        (4, 2, "expected version 1, found 2"),
        (8, 0, "follow its last dictionary"),
        (8, 1, "follow its last dictionary"),
        (8, 1024, "end too early"),
        (8, u32::MAX, "exceed the maximum"),
        (12, 2, "position 2"),
        (12, u32::MAX, "position"),
        (16, 0, "empty"),
        (16, u32::MAX, "end too early"),
        (20, 1, "follow its last dictionary"),
        (24, 0, "raw content"),
    ] {
        let mut forged = stored.clone();
        forged[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let reason = refused(&sealed(forged), what);
        assert!(reason.contains(what), "{what}: {reason}");
    }
    let none = sealed([b"S4DS\x01\0\0\0", &[0; 12][..]].concat());
    assert!(refused(&none, "no dictionary").contains("one dictionary or more"));
    let mut damaged = stored.clone();
    damaged[32..60].fill(0xff);
    assert!(refused(&sealed(damaged), "its tables").contains("damaged"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_set_or_an_error(
        count in 0u32..5, current in 0u32..5, rest in prop::collection::vec(any::<u8>(), 4..200),
    ) {
        let numbers = [1, count, current].map(u32::to_le_bytes).concat();
        let _ = from_bytes(&sealed([&b"S4DS"[..], &numbers, &rest].concat()));
        let _ = from_bytes(&rest);
    }
}

#[test]
fn samples_are_split_by_the_seed() {
    let split = |seed, count: usize| {
        let mut split = SplitSamples::new(seed);
        for n in 0..count {
            split.add(&value(0, n)).expect("memory");
            split.add(b"").expect("is skipped");
        }
        split
    };
    let held_out = |seed| {
        let split = split(seed, 1000);
        assert_eq!((split.training.kept().0, split.held_out.kept().0), (800, 200));
        let samples: Vec<_> = split.held_out.samples().map(<[u8]>::to_vec).collect();
        assert!(split.training.samples().all(|sample| !samples.iter().any(|one| one == sample)));
        samples
    };
    assert_eq!(held_out(1), held_out(1));
    assert_ne!(held_out(1), held_out(2));
    for seed in 0..50 {
        assert!(split(seed, 8).train(256).is_err(), "too few");
        let least = split(seed, 9);
        assert!(least.training.kept().0 >= 7 && least.held_out.kept().0 >= 1);
    }
}
