//! GPU codecs when something fails, against the stand-in for NVIDIA's libraries: errors are
//! typed, nothing is lost, the next call works, and nothing that lies reaches a GPU.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::gpu::{
    GPU, assert_sound, bitcomp, codecs, gdeflate, round_trip, sealed, worthwhile, zstd,
};
use common::standin::{ChunkFault, Standin};
use common::{Packed, PackedRows, Values, compress, decompress, pack, text, unpack};
use s4_codec::codec::Codec;
use s4_codec::column::{self, DecompressOptions, Offsets, OnError, Views};
use s4_codec::error::{Error, ErrorClass, Result};
use s4_codec::gpu::{self, Device};
use s4_codec::manifest::Manifest;
use s4_codec::pool::NO_INTERRUPT;
use s4_codec::warning;

/// A round trip, and giving everything back.
fn round_trip_and_release(codec: &Codec) -> Result<()> {
    let done = round_trip(codec);
    let released = gpu::release_memory();
    done.and(released.map_err(Error::from))
}

const FREEING: [&str; 6] = [
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuStreamDestroy_v2",
    "cuEventDestroy_v2",
    "cuModuleUnload",
    "cuDevicePrimaryCtxRelease_v2",
];

#[test]
fn any_call_may_fail_and_the_next_works() {
    let gpu = Standin::take();
    let (mut failed, mut leaks, mut lost) = (0, 0, 0);
    // What could not be freed is still there when the context goes.
    let sound = |lost: u64| {
        let found = gpu.violations();
        let mut others = found.iter().filter(|v| lost == 0 || !v.contains("the last context goes"));
        assert_eq!(others.next(), None);
    };
    let mut names = std::collections::BTreeSet::new();
    // One of each kind.
    for codec in codecs(GPU).into_iter().take(3) {
        // The libraries are loaded once in a process; what is counted comes every time.
        round_trip_and_release(&codec).expect("nothing fails");
        gpu.reset();
        round_trip_and_release(&codec).expect("nothing fails");
        sound(lost);
        let calls: Vec<_> = (0..gpu.calls()).map(|n| gpu.call_name(n)).collect();
        for (n, name) in calls.iter().enumerate() {
            let before = gpu.live();
            let status = if name.starts_with("cu") { 1 } else { 10_000 };
            gpu.reset();
            gpu.fail_call(n as u64, status, 0);
            let error = round_trip_and_release(&codec).expect_err(name);
            assert_eq!(error.class(), ErrorClass::Backend, "{name}: {error}");
            let text = error.to_string();
            let said = text.contains(name.trim_end_matches("Async"));
            assert!(said || name.contains("TempSize"), "{name}: {text}");
            let leaked = gpu.live() - before;
            if FREEING.contains(&name.as_str()) {
                assert!(leaked <= 1, "{name}: what could not be freed, and no more");
                lost += leaked;
            } else {
                assert_eq!(leaked, 0, "{name}");
                sound(lost);
                leaks += leaked;
            }
            gpu.reset();
            round_trip_and_release(&codec).unwrap_or_else(|error| panic!("after {name}: {error}"));
            failed += 1;
            names.insert(name.clone());
        }
    }
    println!(
        "{failed} calls of {} functions failed in turn: {failed} typed errors, {leaks} leaks, \
         {lost} objects whose own freeing failed, {failed} working next calls",
        names.len()
    );
}

#[test]
fn a_destroyed_context_is_said_so_and_left_behind() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
    round_trip(&zstd).expect("nothing fails");
    gpu.reset();
    round_trip(&zstd).expect("nothing fails");
    let calls = gpu.calls();
    for n in 0..calls {
        gpu.reset();
        gpu.fail_call(n, 709, 1);
        let done = round_trip(&zstd);
        let name = gpu.call_name(n);
        // Nobody waits for what is only popped.
        assert!(done.is_err() || name == "cuCtxPopCurrent_v2", "{name}");
        if let Err(error) = done {
            assert_eq!(error.class(), ErrorClass::Backend);
            let text = error.to_string();
            let said = text.contains("another library has destroyed the CUDA context");
            assert!(said || text.contains("nvCOMP status"), "{text}");
        }
        let next = round_trip(&zstd).expect_err("it stays so");
        assert_eq!(next.class(), ErrorClass::Backend);
        // A new context works.
        gpu.reset();
        let _ = gpu::release_memory();
        round_trip(&zstd).expect("works again");
    }
}

#[test]
fn short_memory_splits_before_it_fails() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
    round_trip_and_release(&zstd).expect("nothing fails");
    for first in 0..12 {
        gpu.reset();
        gpu.fail_allocations(first, 1);
        round_trip_and_release(&zstd).unwrap_or_else(|error| panic!("allocation {first}: {error}"));
        assert_eq!(gpu.live(), 0);
        assert_sound(&gpu);
    }
    gpu.reset();
    gpu.fail_allocations(0, 10_000);
    let error = round_trip_and_release(&zstd).expect_err("no memory at all");
    assert_eq!(error.class(), ErrorClass::Backend);
    assert!(error.to_string().contains("out of memory"), "{error}");
    gpu.reset();
    round_trip_and_release(&zstd).expect("works again");
}

#[test]
fn a_bad_chunk_is_its_rows_error() {
    let gpu = Standin::take();
    let faults = [
        (ChunkFault::Status, ErrorClass::Backend, "chunk 0: nvCOMP status 12"),
        (
            ChunkFault::SizeShort,
            ErrorClass::Backend,
            "chunk 0: nvCOMP reports an impossible length of 4999 bytes",
        ),
        (ChunkFault::SizeHuge, ErrorClass::Backend, "chunk 0: nvCOMP reports an impossible length"),
        (ChunkFault::WrongByte, ErrorClass::CrcMismatch, "crc32c"),
    ];
    for codec in codecs(GPU).into_iter().take(3) {
        let value = text(5000);
        let (payload, manifest) = pack(&codec, &value);
        let rows = [PackedRows(vec![sealed(&payload, &value); 1])];
        let others = [PackedRows((0..5).map(|_| sealed(&payload, &value)).collect())];
        let how = DecompressOptions::new(codec.clone());
        for (fault, class, words) in faults {
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error = unpack(&codec, &payload, manifest).expect_err("a bad chunk");
            assert_eq!(error.class(), class, "{codec:?} {fault:?}: {error}");
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error =
                column::decompress::<Views, _>(&how, &rows, NO_INTERRUPT).err().expect("a bad row");
            assert_eq!(error.class(), class);
            assert!(error.to_string().contains(words), "{error}");

            let lenient = DecompressOptions { on_error: OnError::Null, ..how.clone() };
            gpu.reset();
            gpu.chunk_fault(fault, 2);
            let restored =
                column::decompress::<Views, _>(&lenient, &others, NO_INTERRUPT).expect("the rest");
            assert_eq!(restored.bad_rows.rows(), [2]);
        }
        for fault in [ChunkFault::Status, ChunkFault::SizeHuge] {
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error = codec.compress(&value, &mut Vec::new()).expect_err("a bad chunk");
            assert_eq!(error.class(), ErrorClass::Backend);
            gpu.reset();
            gpu.chunk_fault(fault, 1);
            let rows = [Values(vec![Some(text(900)), Some(text(901)), Some(text(902))])];
            let Error::Row(bad) =
                column::compress::<Views, _>(&codec, &rows, NO_INTERRUPT).err().expect("a bad row")
            else {
                panic!("not a row's error")
            };
            assert_eq!((bad.row, bad.source.class()), (1, ErrorClass::Backend));
        }
    }
}

/// Bitcomp examines the chunks of a batch before it begins, and refuses all for one.
#[test]
fn what_a_batch_is_refused_for_is_its_rows_error() {
    const ROWS: usize = 3000;
    let gpu = Standin::take();
    let codecs = &codecs(GPU)[2..];
    let value = text(1600);
    let payloads: Vec<_> = codecs.iter().map(|codec| pack(codec, &value).0).collect();
    let rows = (0..ROWS).map(|i| sealed(&payloads[i % payloads.len()], &value));
    let mut rows = [PackedRows(rows.collect())];
    let how = DecompressOptions::new(codecs[0].clone());
    let lenient = DecompressOptions { on_error: OnError::Null, ..how.clone() };
    gpu.reset();
    let restored = decompress(&how, &rows).expect("data types of any mix").values;
    assert!(restored.iter().all(|row| *row == value));
    // Decompressed to views and to one block.
    assert_eq!(gpu.launch_count(), 2 * payloads.len() as u64, "one for each data type");

    let bad_rows = [0, 123, 124, ROWS - 1];
    for row in bad_rows {
        let mut payload = payloads[0].clone();
        // The first byte of the chunk.
        payload[28] ^= 0xFF;
        rows[0].0[row] = sealed(&payload, &value);
    }
    let Error::Row(bad) = decompress(&how, &rows).err().expect("a bad row") else {
        panic!("not a row's error")
    };
    assert_eq!((bad.row, bad.source.class()), (0, ErrorClass::Backend));
    assert!(bad.to_string().contains("refuses"), "{bad}");
    gpu.reset();
    let restored = decompress(&lenient, &rows).expect("the rest");
    assert_eq!(restored.bad_rows.rows(), bad_rows);
    let good = |row: &usize| !bad_rows.contains(row);
    assert!((0..ROWS).filter(good).all(|row| restored.values[row] == value));
    assert!(gpu.launch_count() < ROWS as u64, "halves, not row by row: {}", gpu.launch_count());
    assert_sound(&gpu);
}

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn auto_falls_back_with_a_warning() {
    let gpu = Standin::take();
    warning::set_hook(|_| {
        WARNINGS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let zstd = zstd(Device::Auto);
    let values = worthwhile();
    let rows = [Values(values.iter().cloned().map(Some).collect())];
    let how = DecompressOptions::new(zstd.clone());
    column::compress::<Views, _>(&zstd, &rows, NO_INTERRUPT).expect("nothing fails");
    for n in [3, 10, 30, 60] {
        gpu.reset();
        gpu.fail_call(n, 999, 1);
        let before = WARNINGS.load(Ordering::Relaxed);
        let column = compress(&zstd, &rows).expect("the CPU does it");
        assert!(WARNINGS.load(Ordering::Relaxed) > before, "call {n}");
        let packed = column.payload.iter().zip(&values).map(|(payload, v)| sealed(payload, v));
        let restored = decompress(&how, &[PackedRows(packed.collect())]).expect("the CPU does it");
        assert!(restored.values == values);
    }
    gpu.reset();
    let _ = gpu::release_memory();

    // A chunk that the GPU cannot decode, or decodes to other bytes, the CPU can.
    let large = text(20 << 20);
    let (payload, manifest) = pack(&zstd, &large);
    gpu.reset();
    gpu.chunk_fault(ChunkFault::Status, 7);
    assert!(unpack(&zstd, &payload, manifest).as_ref() == Ok(&large));
    let rows = [PackedRows(vec![sealed(&payload, &large)])];
    for fault in [ChunkFault::Status, ChunkFault::WrongByte] {
        gpu.reset();
        gpu.chunk_fault(fault, 7);
        assert!(decompress(&how, &rows).expect("the CPU does it").values[0] == large);
    }
}

/// Everything that a container can lie about before anything is decoded, and what each lie is.
fn lies(payload: &[u8], codec: &Codec) -> Vec<(Vec<u8>, ErrorClass)> {
    let other = if codec.name() == "nvcomp-zstd" { 5 } else { 3 };
    let set = |at: usize, bytes: &[u8]| {
        let mut payload = payload.to_vec();
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        payload
    };
    let damage = [
        set(0, b"FCG2"),
        set(4, &[9]),
        set(5, &[12]),
        set(6, &[1]),
        // Chunk length, number of chunks, and the first one's size.
        set(16, &0u32.to_le_bytes()),
        set(16, &40_000u32.to_le_bytes()),
        set(16, &u32::MAX.to_le_bytes()),
        set(20, &0u32.to_le_bytes()),
        set(20, &3u32.to_le_bytes()),
        set(20, &u32::MAX.to_le_bytes()),
        set(24, &0u32.to_le_bytes()),
        set(24, &u32::MAX.to_le_bytes()),
        // A total for which there would be another number of chunks.
        set(8, &0u64.to_le_bytes()),
        set(8, &65_536u64.to_le_bytes()),
        set(8, &u64::MAX.to_le_bytes()),
        payload[..payload.len() - 1].to_vec(),
        payload[..28].to_vec(),
        payload[..20].to_vec(),
        Vec::new(),
        [payload, b"more"].concat(),
    ];
    let mut lies: Vec<_> = damage.map(|payload| (payload, ErrorClass::Backend)).into();
    lies.push((set(4, &[other]), ErrorClass::CodecMismatch));
    lies.push((set(8, &99_999u64.to_le_bytes()), ErrorClass::SizeMismatch));
    lies
}

/// Rows that take several batches of their own: what one that failed leaves under way is nobody
/// else's.
#[test]
fn a_failed_row_leaves_nothing_to_the_next() {
    let gpu = Standin::take();
    gpu.set_memory(40 << 20);
    let values: Vec<_> = (0..4).map(|i| text((6 << 20) + i * 800_000)).collect();
    let rows = [Values(values.iter().cloned().map(Some).collect())];
    for codec in codecs(GPU).into_iter().take(3) {
        let column =
            column::compress::<Offsets, _>(&codec, &rows, NO_INTERRUPT).expect("compresses");
        let (offsets, bytes) = (&column.payload[0].offsets, column.payload[0].bytes.as_ref());
        let payload = |i: usize| bytes[offsets[i] as usize..offsets[i + 1] as usize].to_vec();
        let lenient =
            DecompressOptions { on_error: OnError::Null, ..DecompressOptions::new(codec.clone()) };
        for make in [
            (|payload: Vec<u8>, value: &[u8]| sealed(&payload, value))
                as fn(Vec<u8>, &[u8]) -> Packed,
            |payload, _| Packed::Bare(payload),
        ] {
            gpu.reset();
            gpu.chunk_fault(ChunkFault::Status, 0);
            let packed = values.iter().enumerate().map(|(i, value)| make(payload(i), value));
            let rows = [PackedRows(packed.collect())];
            let restored =
                column::decompress::<Offsets, _>(&lenient, &rows, NO_INTERRUPT).expect("the rest");
            assert_eq!(restored.bad_rows.rows(), [0], "{codec:?}");
            assert!(restored.values[0].bytes.as_ref() == values[1..].concat(), "{codec:?}");
        }
        assert_sound(&gpu);
    }
    // And where the CPU takes over a row, every payload is its own row's.
    let auto = zstd(Device::Auto);
    gpu.reset();
    gpu.chunk_fault(ChunkFault::Status, 0);
    let column = compress(&auto, &rows).expect("compresses");
    for (payload, value) in column.payload.iter().zip(&values) {
        let here = auto.clone().on(Device::Cpu);
        assert!(unpack(&here, payload, Manifest::seal(value)).as_ref() == Ok(value));
    }
}

/// A thread in the middle of a call cannot wait for itself.
#[test]
fn a_call_within_a_call_is_refused() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
    let inner = std::cell::RefCell::new(Vec::new());
    let interrupted = || {
        let value = zstd.compress(&text(100), &mut Vec::new()).map(drop);
        inner.borrow_mut().extend([value, gpu::release_memory().map_err(Error::from)]);
        false
    };
    let rows = [Values(vec![Some(text(1 << 20)); 4])];
    column::compress::<Views, _>(&zstd, &rows, &interrupted).expect("compresses");
    let inner = inner.into_inner();
    assert!(!inner.is_empty());
    for refused in inner {
        assert!(refused.expect_err("in the middle").to_string().contains("another call"));
    }
    round_trip(&zstd).expect("works");
    assert_sound(&gpu);
}

/// Where no CPU can do the work, a GPU that fails is the call's error: no row is blamed, none
/// turns null, and nothing empty is passed off as compressed.
#[test]
fn what_no_cpu_can_do_fails_whole() {
    let gpu = Standin::take();
    for codec in codecs(Device::Auto).into_iter().skip(1).take(2) {
        gpu.reset();
        let values: Vec<_> = (1..40).map(|i| text(i * 5000)).collect();
        let rows = [Values(values.iter().cloned().map(Some).collect())];
        let packed = values.iter().map(|value| sealed(&pack(&codec, value).0, value));
        let packed = [PackedRows(packed.collect())];
        let lenient =
            DecompressOptions { on_error: OnError::Null, ..DecompressOptions::new(codec.clone()) };
        let is_bitcomp = codec.name() == "nvcomp-bitcomp";
        for faults in [0, 1] {
            let break_gpu = || {
                let _ = gpu::release_memory();
                gpu.reset();
                if faults == 0 {
                    gpu.fail_allocations(0, 1_000_000);
                } else {
                    gpu.fail_call(12, 999, 1);
                }
            };
            break_gpu();
            let error =
                column::compress::<Views, _>(&codec, &rows, NO_INTERRUPT).err().expect("no GPU");
            assert_eq!((error.class(), error.is_about_data()), (ErrorClass::Backend, false));
            break_gpu();
            let error = codec.compress(&values[30], &mut Vec::new()).expect_err("no GPU");
            assert_eq!((error.class(), error.is_about_data()), (ErrorClass::Backend, false));
            break_gpu();
            match column::decompress::<Views, _>(&lenient, &packed, NO_INTERRUPT) {
                Ok(restored) => {
                    assert!(!is_bitcomp && restored.bad_rows.is_empty(), "{codec:?}");
                }
                Err(error) => {
                    assert!(is_bitcomp && !error.is_about_data(), "{codec:?}: {error}");
                }
            }
        }
        // But a bad chunk is its row's, on a GPU that works.
        let _ = gpu::release_memory();
        gpu.reset();
        gpu.chunk_fault(ChunkFault::Status, 0);
        let restored =
            column::decompress::<Views, _>(&lenient, &packed, NO_INTERRUPT).expect("the rest");
        assert_eq!(restored.bad_rows.len(), usize::from(is_bitcomp));
    }
    // On a CPU none of it is the rows' fault either.
    let here = bitcomp("char", Device::Cpu);
    assert!(here.compress(&text(100), &mut Vec::new()).is_err());
    assert!(gdeflate(Device::Cpu).compress(b"abc", &mut Vec::new()).is_err());
}

#[test]
fn no_lie_reaches_a_gpu() {
    let gpu = Standin::take();
    let value = text(100_000);
    for codec in codecs(GPU).into_iter().take(3) {
        let (payload, manifest) = pack(&codec, &value);
        let how = DecompressOptions::new(codec.clone());
        let forged = |original_size| Manifest { original_size, ..manifest };
        let mut all: Vec<_> = lies(&payload, &codec)
            .into_iter()
            .map(|(payload, class)| (payload, manifest, class))
            .collect();
        all.push((payload.clone(), forged(99_999), ErrorClass::SizeMismatch));
        all.push((payload.clone(), forged(6 << 30), ErrorClass::ManifestSizeExceedsLimit));
        for (payload, manifest, class) in all {
            gpu.reset();
            let error = unpack(&codec, &payload, manifest).expect_err("a lie");
            assert_eq!(error.class(), class, "{codec:?}: {error}");
            let rows = [PackedRows(vec![Packed::Sealed(payload, manifest)])];
            let error = decompress(&how, &rows).err().expect("a lie");
            assert_eq!(error.class(), class, "{codec:?}: {error}");
            assert_eq!(gpu.launch_count(), 0, "{error}");
        }
    }
    assert_sound(&gpu);
}

#[test]
fn frame_headers_are_vetted() {
    let gpu = Standin::take();
    let (there, here) = [GPU, Device::Cpu].map(zstd).into();
    let value = text(100_000);
    let (payload, manifest) = pack(&here, &value);
    for bit in 32 * 8..50 * 8 {
        let mut lie = payload.clone();
        lie[bit / 8] ^= 1 << (bit % 8);
        let decoded = unpack(&there, &lie, manifest);
        assert_eq!(decoded.is_ok(), unpack(&here, &lie, manifest).is_ok(), "bit {bit}");
    }
    assert_sound(&gpu);
}
