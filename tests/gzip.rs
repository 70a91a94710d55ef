//! gzip payloads as other writers make them, and the work and memory that reading them takes.
//! What becomes of each member, wherever it stands: `tests/python/test_gzip_members.py`.

mod common;

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Packed, PackedRows, codec, noise, pack, text, unpack};
use s4_codec::column::{self, DecompressOptions, Offsets};
use s4_codec::error::{Error, ErrorClass};
use s4_codec::kernel::gzip::Gzip;
use s4_codec::kernel::{Kernel, Scratch};
use s4_codec::manifest::Manifest;
use s4_codec::pool::NO_INTERRUPT;

fn member(value: &[u8]) -> Vec<u8> {
    pack(&codec("cpu-gzip", None), value).0
}

/// A member with a name, a comment, an extra field and a time.
fn named(value: &[u8]) -> Vec<u8> {
    let plain = member(value);
    let header = b"\x1f\x8b\x08\x1c\x01\0\0\0\0\x03\x02\0xxa.log\0a comment\0";
    [&header[..], &plain[10..]].concat()
}

/// Decodes a payload that does not come with its length.
fn bare(payload: &[u8], max_size: Option<u64>) -> Result<Vec<u8>, Error> {
    let how = DecompressOptions { max_size, ..DecompressOptions::new(codec("cpu-gzip", None)) };
    let rows = PackedRows(vec![Packed::Bare(payload.to_vec())]);
    let column = column::decompress::<Offsets, _>(&how, &[rows], NO_INTERRUPT);
    column.map(|column| column.values[0].bytes.as_ref().to_vec()).map_err(|error| match error {
        Error::Row(row) => row.source,
        other => other,
    })
}

#[test]
fn what_other_writers_make_is_read() {
    let gzip = codec("cpu-gzip", None);
    let value = text(300_000);
    let manifest = Manifest::seal(&value);
    let (front, back) = value.split_at(100_001);
    for (name, payload) in [
        ("name, comment, extra field and time", named(&value)),
        ("two members", [member(front), named(back)].concat()),
        ("an empty member last", [member(front), member(back), member(b"")].concat()),
        ("padding", [member(&value), vec![0; 1000]].concat()),
    ] {
        assert!(unpack(&gzip, &payload, manifest).as_ref() == Ok(&value), "{name}");
        assert!(bare(&payload, None).as_ref() == Ok(&value), "{name}, bare");
        let end = payload.iter().rposition(|&byte| byte != 0).expect("bytes") + 1;
        for cut in [4, 8, end / 2] {
            let cut = &payload[..end - cut];
            let error = unpack(&gzip, cut, manifest).expect_err("a cut payload");
            assert_eq!(error.class(), ErrorClass::Io, "{name}, cut");
            assert_eq!(bare(cut, None).expect_err("cut").class(), ErrorClass::Io, "{name}, cut");
        }
    }
    let both = [member(front), member(back)].concat();
    let error = unpack(&gzip, &both, Manifest::seal(front)).expect_err("a member unclaimed");
    assert_eq!(error.class(), ErrorClass::Io);
}

#[test]
fn the_limit_holds_whatever_members_state() {
    let value = text(100_000);
    let (front, back) = value.split_at(99_000);
    for payload in [
        member(&value),
        [member(front), member(back)].concat(),
        [member(&value), member(b"")].concat(),
        [member(&value), vec![0; 512]].concat(),
    ] {
        assert_eq!(bare(&payload, Some(100_000)), Ok(value.clone()));
        for limit in [0, 1000, 99_000, 99_999] {
            let error = bare(&payload, Some(limit)).expect_err("too long");
            assert_eq!(error.class(), ErrorClass::ManifestSizeExceedsLimit, "{limit}");
        }
    }
}

#[test]
fn members_of_any_lengths_take_linear_time() {
    let tiny: Vec<u8> = member(b"a").repeat(400_000);
    let falling: Vec<u8> = (0..12).rev().flat_map(|n| member(&vec![b'a'; 1 << (n + 12)])).collect();
    let rising: Vec<u8> = (0..12).flat_map(|n| member(&vec![b'a'; 1 << (n + 12)])).collect();
    let start = Instant::now();
    assert_eq!(bare(&tiny, None).map(|value| value.len()), Ok(400_000));
    assert_eq!(bare(&falling, None).map(|value| value.len()), Ok(4095 << 12));
    assert_eq!(bare(&rising, None).map(|value| value.len()), Ok(4095 << 12));
    let long_name = [b"\x1f\x8b\x08\x08\0\0\0\0\0\xff", &vec![b'n'; 1 << 20][..], b"\0"].concat();
    let named = [&long_name[..], &member(&vec![0; 8 << 20])[10..], &member(b"")].concat();
    assert_eq!(bare(&named, None).map(|value| value.len()), Ok(8 << 20));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn values_on_either_side_of_the_copy_round_trip() {
    for level in [0, 1, 6, 9] {
        let gzip = codec("cpu-gzip", Some(level));
        for len in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
            for value in [text(len), noise(len)] {
                let (payload, manifest) = pack(&gzip, &value);
                assert!(unpack(&gzip, &payload, manifest) == Ok(value), "{level}, {len}");
            }
        }
    }
}

/// Bytes below 64, and seldom each of the others, whose codes are long.
fn usual(len: usize) -> Vec<u8> {
    let others = (0..=255).cycle();
    let mixed = noise(len).into_iter().zip(others).enumerate();
    mixed.map(|(i, (byte, other))| if i % 199 == 0 { other } else { byte % 64 }).collect()
}

/// The others.
fn unusual(len: usize) -> Vec<u8> {
    noise(len).into_iter().map(|byte| 64 + byte % 192).collect()
}

/// Compresses `memory`, which changes meanwhile, and returns where bytes behind the bound were
/// written.
fn overrun(level: i32, memory: *const u8, len: usize) -> Option<usize> {
    const BEHIND: usize = 2 << 20;
    let mut scratch = Scratch::default();
    let mut gzip = Gzip::new(level, &mut scratch);
    let bound = gzip.compress_bound(len).expect("a bound");
    (0..4 + 9_000_000 / len).find_map(|_| {
        let mut room = vec![MaybeUninit::new(0xA5u8); bound + BEHIND];
        let (dst, behind) = room.split_at_mut(bound);
        // SAFETY: memory of that length. That it is written meanwhile is what nobody should
        // do, and what the test is about.
        let src = unsafe { std::slice::from_raw_parts(memory, len) };
        let written = gzip.compress(src, dst).unwrap_or(0);
        if written > bound {
            return Some(written - bound);
        }
        // SAFETY: initialised above.
        let behind = unsafe { behind.assume_init_ref() };
        behind.iter().rposition(|&byte| byte != 0xA5)
    })
}

#[test]
fn input_that_changes_meanwhile_stays_within_the_bound() {
    for len in [20_000, 300_000, 3 << 19] {
        let contents = [usual(len), unusual(len)];
        let mut memory = contents[0].clone();
        let memory = memory.as_mut_ptr();
        let (address, ended) = (memory.expose_provenance(), AtomicBool::new(false));
        let overruns = thread::scope(|scope| {
            scope.spawn(|| {
                let memory = ptr::with_exposed_provenance_mut::<u8>(address);
                for pause in (0..20).cycle().map(|n| Duration::from_micros(n * 200)) {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    for content in &contents {
                        // SAFETY: as long as `content`; that it is read meanwhile: see `overrun`.
                        unsafe { ptr::copy_nonoverlapping(content.as_ptr(), memory, len) };
                        thread::sleep(pause);
                    }
                }
            });
            let overruns = [0, 1, 4, 6, 9].map(|level| overrun(level, memory, len));
            ended.store(true, Ordering::Relaxed);
            overruns
        });
        assert_eq!(overruns, [None; 5], "{len} bytes");
    }
}
