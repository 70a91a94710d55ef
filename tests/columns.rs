//! Columns: the engine against the codecs value by value.

mod common;

use common::{Packed, PackedRows, Values, codec, codecs, compress, decompress, noise, pack, text};
use s4_codec::background;
use s4_codec::codec::{Codec, Fallback};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use s4_codec::column::{
    self, Content, DecompressOptions, Offsets, OnError, Payload, Payloads, Rows, Views,
};
use s4_codec::error::{Error, ErrorClass, RowError};
use s4_codec::manifest::Manifest;
use s4_codec::pool::{self, NO_INTERRUPT};
use s4_codec::wire::frame::FRAME_HEADER_BYTES;

fn how(codec: &Codec) -> DecompressOptions {
    DecompressOptions::new(codec.clone())
}

/// Rows of every size with nulls between, enough for several spans and threads.
fn rows() -> Vec<Option<Vec<u8>>> {
    let mut rows: Vec<_> = (0..6000).map(|i| (i % 11 != 3).then(|| text(i * 7919 % 400))).collect();
    rows.push(Some(text(12 << 20)));
    rows.push(Some(noise(2 << 20)));
    rows.push(None);
    rows.extend((0..1000).map(|i| Some(noise(i % 40))));
    rows
}

fn sealed(codec: &Codec, value: &[u8]) -> Packed {
    let (payload, manifest) = pack(codec, value);
    Packed::Sealed(payload, manifest)
}

fn bad_row(error: Error) -> RowError {
    match error {
        Error::Row(row) => *row,
        other => panic!("not a row's error: {other}"),
    }
}

#[test]
fn columns_round_trip_however_chunked() {
    let rows = rows();
    for codec in codecs() {
        for chunk in [1, 999, rows.len()] {
            let chunks: Vec<_> = rows.chunks(chunk).map(|rows| Values(rows.to_vec())).collect();
            let packed = compress(&codec, &chunks).expect("compresses");
            let payloads = packed.payload;
            assert_eq!(payloads.len(), rows.len());
            let sealed = |i: usize, payload: &Vec<u8>| {
                let stated = (packed.original_size[i], packed.crc32c[i]);
                match &rows[i] {
                    None => Packed::Null,
                    Some(value) => {
                        let manifest = Manifest::seal(value);
                        assert_eq!(stated, (manifest.original_size as i64, manifest.crc32c.into()));
                        Packed::Sealed(payload.clone(), manifest)
                    }
                }
            };
            let sealed: Vec<_> = payloads.iter().enumerate().map(|(i, p)| sealed(i, p)).collect();
            let chunks: Vec<_> =
                sealed.chunks(chunk).map(|rows| PackedRows(rows.to_vec())).collect();
            let restored = decompress(&how(&codec), &chunks).expect("decompresses");
            let expected = rows.iter().map(|row| row.clone().unwrap_or_default());
            assert!(restored.values.into_iter().eq(expected), "{codec:?} by {chunk}");
            assert!(restored.bad_rows.is_empty());
        }
    }
}

#[test]
fn frames_are_those_of_values_and_grow_by_their_headers_alone() {
    let values: Vec<_> = rows().into_iter().flatten().collect();
    for codec in codecs() {
        for fallback in [Fallback::Passthrough, Fallback::Never] {
            let chunks = &[&values[..]];
            let views = column::encode::<Views, _>(&codec, fallback, chunks, NO_INTERRUPT);
            let offsets = column::encode::<Offsets, _>(&codec, fallback, chunks, NO_INTERRUPT);
            let (views, offsets) = (views.expect("encodes"), &offsets.expect("encodes")[0]);
            let mut frame = Vec::new();
            for (row, value) in values.iter().enumerate() {
                codec.encode_with(fallback, value, &mut frame).expect("encodes");
                let place = offsets.offsets[row] as usize..offsets.offsets[row + 1] as usize;
                assert!(views.get(row) == frame && offsets.bytes.as_ref()[place] == frame[..]);
                let growth = frame.len().saturating_sub(value.len());
                assert!(growth <= FRAME_HEADER_BYTES || fallback == Fallback::Never, "{codec:?}");
            }
        }
    }
}

#[test]
fn bare_payloads_decode_without_a_manifest() {
    for codec in codecs() {
        let values: Vec<_> = rows().into_iter().flatten().collect();
        let payloads = values.iter().map(|value| Packed::Bare(pack(&codec, value).0)).collect();
        let restored = decompress(&how(&codec), &[PackedRows(payloads)]).expect("decompresses");
        assert!(restored.values == values, "{codec:?}");
    }
}

#[test]
fn bare_gzip_of_many_members_outgrows_what_its_last_one_states() {
    let gzip = codec("cpu-gzip", None);
    let (long, short) = (text(5 << 20), text(10));
    let member = |value: &[u8]| pack(&gzip, value).0;
    let payload = [member(&long), member(&short)].concat();
    let rows = [PackedRows(vec![Packed::Bare(payload.clone())])];
    let restored = decompress(&how(&gzip), &rows).expect("decompresses");
    assert!(restored.values == [[long.clone(), short].concat()]);

    let limit = Some(long.len() as u64);
    let limited = DecompressOptions { max_size: limit, ..how(&gzip) };
    let error = decompress(&limited, &rows).err().expect("above the limit");
    assert_eq!(error.class(), ErrorClass::ManifestSizeExceedsLimit);

    let cut = [PackedRows(vec![Packed::Bare(payload[..payload.len() - 9].to_vec())])];
    assert_eq!(decompress(&how(&gzip), &cut).err().expect("cut").class(), ErrorClass::Io);
}

#[test]
fn bare_gzip_of_very_many_members_is_linear() {
    let gzip = codec("cpu-gzip", None);
    let payload = [pack(&gzip, &vec![0; 8 << 20]).0, pack(&gzip, b"x").0.repeat(8000)].concat();
    let rows = [PackedRows(vec![Packed::Bare(payload)])];
    let restored = decompress(&how(&gzip), &rows).expect("decompresses");
    assert_eq!(restored.values[0].len(), (8 << 20) + 8000);
}

#[test]
fn bare_payloads_obey_the_limit() {
    for codec in codecs() {
        let rows = [PackedRows(vec![Packed::Bare(pack(&codec, &text(100_000)).0)])];
        for (max_size, fits) in [(99_999, false), (100_000, true), (1, false), (0, false)] {
            let limited = DecompressOptions { max_size: Some(max_size), ..how(&codec) };
            match decompress(&limited, &rows) {
                Ok(_) => assert!(fits, "{codec:?} within {max_size}"),
                Err(error) => {
                    assert!(!fits, "{codec:?} within {max_size}: {error}");
                    assert_eq!(error.class(), ErrorClass::ManifestSizeExceedsLimit, "{error}");
                }
            }
        }
    }
}

#[test]
fn the_first_bad_row_is_named_whatever_the_threads() {
    let zstd = codec("cpu-zstd", None);
    let good = sealed(&zstd, &text(300));
    for threads in [1, 2, 7] {
        pool::set_num_threads(threads).expect("a valid number");
        for _ in 0..20 {
            let mut rows = vec![good.clone(); 20_000];
            for bad in [19_999, 12_345, 4321] {
                let Packed::Sealed(payload, manifest) = good.clone() else { unreachable!() };
                let crc32c = manifest.crc32c ^ 1;
                rows[bad] = Packed::Sealed(payload, Manifest { crc32c, ..manifest });
            }
            let tail = rows.split_off(10_000);
            let chunks = [PackedRows(rows), PackedRows(tail)];
            let bad = bad_row(decompress(&how(&zstd), &chunks).err().expect("bad rows"));
            assert_eq!((bad.row, bad.rows), (4321, 20_000));
            assert_eq!(bad.source.class(), ErrorClass::CrcMismatch);
            assert!(bad.to_string().contains("original_size 300"), "{bad}");
        }
    }
}

#[test]
fn bad_rows_become_null_and_the_rest_survives() {
    for codec in codecs() {
        let value = text(300);
        let (payload, manifest) = pack(&codec, &value);
        let forged = |original_size| Manifest { original_size, ..manifest };
        let mut bad = vec![
            Packed::Sealed(payload.clone(), Manifest { crc32c: !manifest.crc32c, ..manifest }),
            Packed::Sealed(payload.clone(), forged(0)),
            Packed::Sealed(payload.clone(), forged(301)),
            Packed::Sealed(payload.clone(), forged(4 << 30)),
            Packed::Sealed(payload.clone(), forged(1 << 63)),
            Packed::Sealed(payload[..payload.len() / 2].to_vec(), manifest),
            Packed::Sealed([&payload[..], b"more"].concat(), manifest),
            Packed::Refused(payload.clone(), Error::BadManifest("crc32c is null".into())),
        ];
        if codec != Codec::Passthrough {
            bad.push(Packed::Bare(b"S4F2 and the rest of a frame".to_vec()));
        }
        let mut rows = Vec::new();
        for bad in &bad {
            rows.extend([sealed(&codec, &value), Packed::Null, bad.clone()]);
            let alone = [PackedRows(vec![bad.clone()])];
            assert!(decompress(&how(&codec), &alone).is_err(), "raises unless asked");
        }
        let lenient = DecompressOptions { on_error: OnError::Null, ..how(&codec) };
        let restored = decompress(&lenient, &[PackedRows(rows)]).expect("bad rows are null");
        assert!(restored.bad_rows.rows().iter().copied().eq((0..bad.len()).map(|i| 3 * i + 2)));
        for (i, row) in restored.values.into_iter().enumerate() {
            assert_eq!(row, if i % 3 == 0 { value.clone() } else { Vec::new() }, "row {i}");
        }
    }
}

#[test]
fn text_is_checked() {
    let good = "größe".as_bytes().to_vec();
    let bad = [b"fourteen bytes", &b"\xff"[..], b"!"].concat();
    for codec in codecs() {
        let column = |value: &[u8]| [PackedRows(vec![sealed(&codec, value)])];
        let utf8 = DecompressOptions { content: Content::Text, ..how(&codec) };
        assert!(decompress(&utf8, &column(&good)).is_ok());
        assert!(decompress(&how(&codec), &column(&bad)).is_ok(), "bytes need not be text");
        let error = bad_row(decompress(&utf8, &column(&bad)).err().expect("not text"));
        assert_eq!(error.source, Error::InvalidUtf8 { position: 14 });
        let bare = [PackedRows(vec![Packed::Bare(pack(&codec, &bad).0)])];
        assert!(decompress(&utf8, &bare).is_err(), "bare payloads too");
    }
}

#[test]
fn lengths_are_checked() {
    for codec in codecs() {
        let wanted = |content| DecompressOptions { content, ..how(&codec) };
        let column = |value: &[u8]| [PackedRows(vec![sealed(&codec, value)])];
        let error = |content, value: &[u8]| {
            let bare = [PackedRows(vec![Packed::Bare(pack(&codec, value).0)])];
            assert!(decompress(&wanted(content), &bare).is_err(), "bare payloads too");
            let error = bad_row(decompress(&wanted(content), &column(value)).err().expect("bad"));
            assert_eq!(error.source.class(), ErrorClass::SizeMismatch);
            error.source
        };
        for good in [&b""[..], b"four", b"and eight"[..8].as_ref()] {
            assert!(decompress(&wanted(Content::Items(4)), &column(good)).is_ok());
            assert!(decompress(&wanted(Content::Fixed(good.len())), &column(good)).is_ok());
        }
        let partial = Error::PartialItem { bytes: 4, actual: 6 };
        assert_eq!(error(Content::Items(4), b"sixsix"), partial);
        for value in [&b"sixsix"[..], b"", &[7; 100]] {
            let other = Error::RowWidth { expected: 8, actual: value.len() as u64 };
            assert_eq!(error(Content::Fixed(8), value), other);
        }
    }
}

#[test]
fn rows_of_a_fixed_length_keep_their_places() {
    for codec in codecs() {
        let (good, bad) = (sealed(&codec, b"eight by"), sealed(&codec, b"seven b"));
        let (content, on_error) = (Content::Fixed(8), OnError::Null);
        let options = DecompressOptions { content, on_error, ..how(&codec) };
        let column = [PackedRows(vec![good.clone(), Packed::Null, bad, good])];
        let column = column::decompress::<Offsets, _>(&options, &column, NO_INTERRUPT);
        let column = column.expect("one row is good");
        assert_eq!(column.bad_rows.rows(), [2]);
        assert_eq!(column.values[0].offsets, [0, 8, 16, 24, 32]);
        let expected = [&b"eight by"[..], &[0; 16], b"eight by"].concat();
        assert_eq!(column.values[0].bytes.as_ref(), expected);
    }
}

#[test]
fn empty_columns_are_columns() {
    for codec in codecs() {
        assert!(compress::<Values>(&codec, &[]).expect("no chunk").payload.is_empty());
        assert!(compress(&codec, &[Values(Vec::new())]).expect("no row").payload.is_empty());
        let nulls = decompress(&how(&codec), &[PackedRows(vec![Packed::Null; 5])]).expect("nulls");
        assert_eq!(nulls.values, vec![Vec::<u8>::new(); 5]);
    }
}

#[test]
fn thread_counts_are_checked() {
    for threads in [0, -1, 1025, i64::MAX] {
        let error = pool::set_num_threads(threads).expect_err("out of range");
        assert_eq!(error.class(), ErrorClass::Value);
    }
}

#[test]
fn forged_sizes_spare_the_rest() {
    let zstd = codec("cpu-zstd", None);
    let good = sealed(&zstd, &text(300));
    let Packed::Sealed(payload, manifest) = good.clone() else { unreachable!() };
    let forged = Packed::Sealed(payload, Manifest { original_size: 5 << 30, ..manifest });
    let rows = [PackedRows([vec![forged; 100_000], vec![good]].concat())];
    let lenient = DecompressOptions { on_error: OnError::Null, ..how(&zstd) };
    let restored = decompress(&lenient, &rows).expect("bad rows are null");
    assert_eq!(restored.bad_rows.len(), 100_000);
    assert_eq!(restored.values[100_000], text(300));
}

#[test]
fn an_interrupt_ends_the_work() {
    pool::set_num_threads(2).expect("a valid number");
    let rows = [Values(vec![Some(text(1 << 20)); 200])];
    let asked = std::cell::Cell::new(0);
    let interrupted = || {
        asked.set(asked.get() + 1);
        true
    };
    let slow = codec("cpu-zstd", Some(19));
    let error =
        column::compress::<Views, _>(&slow, &rows, &interrupted).err().expect("interrupted");
    assert_eq!((error, asked.get()), (Error::Interrupted, 1));
}

#[test]
fn work_apart_is_left_behind() {
    let (ended, since) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let theirs = Arc::clone(&ended);
    let work = move |seconds: &u64, _: pool::InterruptCheck| {
        std::thread::sleep(Duration::from_secs(*seconds));
        theirs.store(true, Ordering::Relaxed);
        Ok(())
    };
    let error = background::run(true, 3, work, &|| true).expect_err("interrupted");
    assert_eq!((error, ended.load(Ordering::Relaxed)), (Error::Interrupted, false));
    assert!(since.elapsed() < Duration::from_secs(2));
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let length = |text: &String, _: pool::InterruptCheck| Ok(text.len());
    assert_eq!(background::run(true, "text".to_owned(), length, NO_INTERRUPT), Ok(4));
    let panics = |_: &(), _: pool::InterruptCheck| -> Result<(), Error> { panic!("a defect") };
    let error = background::run(true, (), panics, NO_INTERRUPT).expect_err("panicked");
    assert!(error.to_string().contains("a defect"), "{error}");
}

/// Equal rows that count how often one was looked at.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl Rows for Counted {
    fn count(&self) -> usize {
        500
    }

    fn get(&self, _: usize) -> Option<&[u8]> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(&self.0)
    }
}

#[test]
fn work_apart_stops_between_rows() {
    let looks = Arc::new(AtomicUsize::new(0));
    let rows = vec![Counted(text(20), Arc::clone(&looks))];
    let asked = AtomicUsize::new(0);
    let work = |rows: &Vec<Counted>, interrupted: pool::InterruptCheck| {
        while !interrupted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        column::compress::<Views, _>(&codec("cpu-zstd", Some(3)), rows, interrupted).map(drop)
    };
    let interrupted = || asked.fetch_add(1, Ordering::Relaxed) > 0;
    assert_eq!(background::run(true, rows, work, &interrupted), Err(Error::Interrupted));
    // Every row for its length, and none to be compressed.
    while Arc::strong_count(&looks) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(looks.load(Ordering::Relaxed), 500);
}

/// One row that is a payload when first looked at, and null from then on.
struct Fickle {
    row: Packed,
    looks: AtomicUsize,
}

impl Payloads for Fickle {
    fn count(&self) -> usize {
        1
    }
    fn get(&self, _row: usize) -> Payload<'_> {
        match (&self.row, self.looks.fetch_add(1, Ordering::Relaxed)) {
            (Packed::Sealed(payload, manifest), 0) => Payload::Sealed(payload, *manifest),
            _ => Payload::Null,
        }
    }
}

#[test]
fn a_row_that_turns_null_leaves_no_bytes() {
    let zstd = codec("cpu-zstd", None);
    let rows = [Fickle { row: sealed(&zstd, &text(5000)), looks: AtomicUsize::new(0) }];
    let restored =
        column::decompress::<Offsets, _>(&how(&zstd), &rows, NO_INTERRUPT).expect("a null");
    assert_eq!(
        (&restored.values[0].offsets[..], restored.values[0].bytes.as_ref().len()),
        (&[0, 0][..], 0)
    );
}

/// Values that count how often each is read: first to cut spans, then to compress it.
struct ReadCounts {
    values: Vec<Vec<u8>>,
    reads: Vec<AtomicUsize>,
    /// How many were compressed before the last was.
    before_last: AtomicUsize,
}

impl Rows for ReadCounts {
    fn count(&self) -> usize {
        self.values.len()
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        let again = self.reads[row].fetch_add(1, Ordering::Relaxed) > 0;
        if again && row + 1 == self.values.len() {
            let done = self.reads.iter().filter(|reads| reads.load(Ordering::Relaxed) > 1);
            self.before_last.store(done.count(), Ordering::Relaxed);
        }
        Some(&self.values[row])
    }
}

#[test]
fn a_large_value_at_the_end_does_not_wait_for_all_others() {
    let small = 300_000;
    let mut values = vec![Vec::new(); small];
    values.push(vec![0; 16 << 20]);
    let reads = values.iter().map(|_| AtomicUsize::new(0)).collect();
    let rows = [ReadCounts { values, reads, before_last: AtomicUsize::new(usize::MAX) }];
    column::compress::<Views, _>(&codec("passthrough", None), &rows, NO_INTERRUPT)
        .expect("compresses");
    let before = rows[0].before_last.load(Ordering::Relaxed);
    assert!(before < small / 2, "{before} of {small} small values were compressed before it");
}

/// Values that note which threads read them.
struct Readers(Vec<Vec<u8>>, Mutex<HashSet<ThreadId>>);

impl Rows for Readers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        self.1.lock().expect("no panic").insert(thread::current().id());
        Some(&self.0[row])
    }
}

#[test]
fn a_small_column_at_a_slow_level_is_shared_by_all_threads() {
    let threads = || {
        pool::set_num_threads(6).expect("a valid number");
        let rows = [Readers(vec![text(4 << 10); 64], Mutex::default())];
        column::compress::<Views, _>(&codec("cpu-zstd", Some(19)), &rows, NO_INTERRUPT)
            .expect("compresses");
        rows[0].1.lock().expect("no panic").len()
    };
    // Other tests set the number of threads too.
    assert!((0..20).any(|_| threads() > 3), "at most 3 threads compress 256 KiB in 64 values");
}
