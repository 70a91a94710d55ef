//! GPU codecs against the stand-in for NVIDIA's libraries: what goes there comes home right,
//! whatever fails on the way.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::standin::{ChunkFault, Standin};
use common::{Packed, PackedRows, Values, compress, decompress, noise, pack, text, unpack};
use s4_codec::codec::Codec;
use s4_codec::column::{self, Decompress};
use s4_codec::error::{Error, ErrorClass, Result};
use s4_codec::gpu::{self, Device};
use s4_codec::kernel::fcg1::DataType;
use s4_codec::manifest::Manifest;
use s4_codec::pool::NEVER;
use s4_codec::warning;

const GPU: Device = Device::Gpu(0);

/// Every codec of GPUs. Bitcomp with a data type of each width.
fn codecs(device: Device) -> Vec<Codec> {
    let bitcomp = |name| {
        let data_type = DataType::try_new(name).expect("a data type");
        Codec::NvcompBitcomp { data_type, device }
    };
    let mut codecs = vec![Codec::NvcompZstd { device }, Codec::NvcompGDeflate { device }];
    codecs.extend(["char", "i16", "f32", "u64"].map(bitcomp));
    codecs
}

/// Values around the lengths where something changes, all of whole numbers of any type.
fn values() -> Vec<Vec<u8>> {
    let lens = [0, 8, 16, 248, 256, 264, 4096, 65_528, 65_536, 65_544, 131_072, 200_000];
    lens.into_iter().map(text).chain([8, 4096, 65_536, 70_000].map(noise)).collect()
}

/// Values with a null after every third, in chunks of unlike lengths.
fn columns(values: &[Vec<u8>]) -> Vec<Values> {
    let mut rows: Vec<_> = values.iter().cloned().map(Some).collect();
    (3..rows.len()).rev().step_by(3).for_each(|i| rows.insert(i, None));
    let later = rows.split_off(rows.len() / 3);
    vec![Values(rows), Values(Vec::new()), Values(later)]
}

fn sealed(payload: &[u8], value: &[u8]) -> Packed {
    Packed::Sealed(payload.to_vec(), Manifest::seal(value))
}

#[track_caller]
fn assert_sound(gpu: &Standin) {
    assert_eq!(gpu.violations(), Vec::<String>::new());
}

#[test]
fn every_codec_round_trips_values_and_columns() {
    let gpu = Standin::take();
    for run_ahead in [0, 1] {
        gpu.run_ahead(run_ahead);
        for codec in codecs(GPU) {
            let values = values();
            let packed: Vec<_> = values.iter().map(|value| pack(&codec, value)).collect();
            for (value, (payload, manifest)) in values.iter().zip(&packed) {
                assert!(unpack(&codec, payload, *manifest).as_ref() == Ok(value), "{codec:?}");
            }
            let column = compress(&codec, &columns(&values)).expect("compresses");
            let payloads: Vec<_> = column.payload.iter().filter(|p| !p.is_empty()).collect();
            assert!(payloads.iter().zip(&packed).all(|(p, (alone, _))| *p == alone), "{codec:?}");

            let rows = packed.iter().zip(&values).map(|((payload, _), v)| sealed(payload, v));
            let bare = packed.iter().map(|(payload, _)| Packed::Bare(payload.clone()));
            let rows = PackedRows(rows.chain([Packed::Null]).chain(bare).collect());
            let restored = decompress(&Decompress::new(codec.clone()), &[rows]).expect("restores");
            let (first, second) =
                (&restored.values[..values.len()], &restored.values[values.len() + 1..]);
            assert!(first == values && second == values, "{codec:?}");
        }
        assert_sound(&gpu);
    }
}

#[test]
fn cpus_and_gpus_read_each_other() {
    let _gpu = Standin::take();
    let on = |codec: &Codec, device| codec.clone().on(device);
    for codec in codecs(GPU) {
        for value in values() {
            let (payload, manifest) = pack(&codec, &value);
            let here = unpack(&on(&codec, Device::Cpu), &payload, manifest);
            match codec {
                Codec::NvcompBitcomp { .. } if !value.is_empty() => {
                    assert_eq!(here.expect_err("no GPU").class(), ErrorClass::Backend);
                }
                _ => assert!(here.as_ref() == Ok(&value), "{codec:?}"),
            }
        }
    }
    let zstd = Codec::NvcompZstd { device: GPU };
    for value in values() {
        let (payload, manifest) = pack(&on(&zstd, Device::Cpu), &value);
        assert!(unpack(&zstd, &payload, manifest).as_ref() == Ok(&value));
    }
}

/// One frame of each codec, one row each, and all of them in one row.
fn bodies(value: &[u8]) -> Vec<Vec<u8>> {
    let others = ["cpu-zstd", "passthrough"].map(|name| Codec::from_name(name, None));
    let codecs = codecs(GPU).into_iter().chain(others.map(|codec| codec.expect("a codec")));
    let encode = |codec: Codec| {
        let mut frame = Vec::new();
        codec.encode(value, &mut frame).expect("encodes");
        frame
    };
    let mut bodies: Vec<_> = codecs.map(encode).collect();
    bodies.push(bodies.concat());
    bodies
}

#[test]
fn frames_of_all_codecs_decode_on_a_gpu() {
    let gpu = Standin::take();
    let value = text(150_000);
    let bodies = bodies(&value);
    let frames = bodies.len() - 1;
    let how = Decompress { device: GPU, ..Decompress::new(Codec::Passthrough) };
    let rows = [common::FrameRows(bodies.clone())];
    gpu.reset();
    let restored = decompress(&how, &rows).expect("decodes").values;
    assert!(gpu.launch_count() > 0, "on the GPU");
    assert!(restored[..frames].iter().all(|row| *row == value));
    assert!(restored[frames] == value.repeat(frames));

    let here = Decompress::new(Codec::Passthrough);
    let error = decompress(&here, &rows).err().expect("Bitcomp needs a GPU");
    assert_eq!(error.class(), ErrorClass::Backend);

    let body =
        s4_codec::wire::body::Body::plan(&bodies[frames], None, GPU, 1 << 30).expect("a body");
    let mut out = vec![std::mem::MaybeUninit::uninit(); value.len() * frames];
    gpu.reset();
    s4_codec::object::decode_body(&body, GPU, &mut out, NEVER).expect("decodes");
    assert!(gpu.launch_count() > 0, "on the GPU");
    // SAFETY: decoding initialises all of it.
    assert!(unsafe { out.assume_init_ref() } == value.repeat(frames));
    assert_sound(&gpu);
}

#[test]
fn a_column_of_equal_values_goes_once() {
    let gpu = Standin::take();
    struct Same(Vec<u8>, usize);
    impl column::Rows for Same {
        fn count(&self) -> usize {
            self.1
        }
        fn get(&self, _row: usize) -> Option<&[u8]> {
            Some(&self.0)
        }
    }
    let zstd = Codec::NvcompZstd { device: GPU };
    let rows = [Same(text(1000), 500)];
    let column = compress(&zstd, &rows).expect("compresses");
    assert!(column.payload.iter().all(|payload| *payload == column.payload[0]));
    // One for each of the two layouts that the helper makes.
    assert_eq!(gpu.launches().iter().map(|launch| launch[2]).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn values_of_unlike_lengths_are_batched_apart() {
    let gpu = Standin::take();
    let gdeflate = Codec::NvcompGDeflate { device: GPU };
    let rows = [Values([100, 50_000, 120, 900, 65_536, 80].map(|len| Some(text(len))).to_vec())];
    column::compress(&gdeflate, &rows, NEVER).expect("compresses");
    let mut launches: Vec<_> = gpu.launches().iter().map(|launch| (launch[3], launch[2])).collect();
    launches.sort_unstable();
    // Longest chunk of the class, and chunks.
    assert_eq!(launches, [(120, 3), (900, 1), (65_536, 2)]);
}

/// A column that takes several slabs and a value that takes several of its own, where the
/// device has little memory.
#[test]
fn little_memory_takes_more_slabs() {
    let gpu = Standin::take();
    gpu.set_memory(24 << 20);
    for codec in codecs(GPU).into_iter().take(3) {
        let mut values: Vec<_> = (0..60).map(|i| text(8 * (i * i * 5 % 3000))).collect();
        values.insert(30, text(3 << 20));
        gpu.reset();
        let column = compress(&codec, &[Values(values.iter().cloned().map(Some).collect())]);
        let column = column.expect("compresses");
        assert!(gpu.launch_count() > 6, "{codec:?} in {} launches", gpu.launch_count());
        let rows = column.payload.iter().zip(&values).map(|(payload, v)| sealed(payload, v));
        let how = Decompress::new(codec.clone());
        let restored = decompress(&how, &[PackedRows(rows.collect())]).expect("restores");
        assert!(restored.values == values, "{codec:?}");
        assert!(gpu.live_bytes() <= 24 << 20);
    }
    assert_sound(&gpu);
}

/// Compresses and restores a column of two slabs' worth of kinds, and one value.
fn round_trip(codec: &Codec) -> Result<()> {
    let values = [text(80_000), text(304), noise(9000), Vec::new()];
    let rows = [Values(values.iter().cloned().map(Some).collect())];
    let column = column::compress_flat(codec, &rows, NEVER)?;
    let offsets = &column.payload[0].offsets;
    let bytes = column.payload[0].bytes.as_ref();
    let payload = |i: usize| &bytes[offsets[i] as usize..offsets[i + 1] as usize];
    let packed = values.iter().enumerate().map(|(i, value)| sealed(payload(i), value));
    let rows = [PackedRows(packed.collect())];
    let restored = column::decompress_flat(&Decompress::new(codec.clone()), &rows, NEVER)?;
    assert!(restored.values[0].bytes.as_ref() == values.concat());

    let mut alone = Vec::new();
    let manifest = codec.compress(&values[0], &mut alone)?;
    assert!(alone == payload(0));
    assert!(codec.decompress(&alone, &manifest, u64::MAX)? == values[0]);
    Ok(())
}

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
    let mut names = std::collections::BTreeSet::new();
    // One of each kind.
    for codec in codecs(GPU).into_iter().take(3) {
        gpu.reset();
        round_trip_and_release(&codec).expect("nothing fails");
        assert_sound(&gpu);
        let calls: Vec<_> = (0..gpu.calls()).map(|n| gpu.call_name(n)).collect();
        for (n, name) in calls.iter().enumerate() {
            let before = gpu.live();
            let status = if name.starts_with("cu") { 1 } else { 11 };
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
                assert_sound(&gpu);
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
fn a_lost_context_is_said_so_and_left_behind() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
    round_trip(&zstd).expect("nothing fails");
    gpu.reset();
    round_trip(&zstd).expect("nothing fails");
    let calls = gpu.calls();
    for n in 0..calls {
        gpu.reset();
        gpu.fail_call(n, 700, 1);
        let done = round_trip(&zstd);
        let name = gpu.call_name(n);
        // Nobody waits for what is only popped.
        assert!(done.is_err() || name == "cuCtxPopCurrent_v2", "{name}");
        if let Err(error) = done {
            assert_eq!(error.class(), ErrorClass::Backend);
            let text = error.to_string();
            assert!(text.contains("context is lost") || text.contains("nvCOMP status"), "{text}");
        }
        let next = round_trip(&zstd).expect_err("it stays lost");
        assert_eq!(next.class(), ErrorClass::Backend);
        // A new process, as it were: what the lost context held is gone.
        gpu.reset();
        let _ = gpu::release_memory();
        round_trip(&zstd).expect("works again");
    }
}

#[test]
fn short_memory_splits_before_it_fails() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
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
        (ChunkFault::SizeShort, ErrorClass::Backend, "chunk 0: nvCOMP made 4999 bytes"),
        (ChunkFault::SizeHuge, ErrorClass::Backend, "chunk 0: nvCOMP made"),
        (ChunkFault::WrongByte, ErrorClass::CrcMismatch, "crc32c"),
    ];
    for codec in codecs(GPU).into_iter().take(3) {
        let value = text(5000);
        let (payload, manifest) = pack(&codec, &value);
        let rows = [PackedRows(vec![sealed(&payload, &value); 1])];
        let others = [PackedRows((0..5).map(|_| sealed(&payload, &value)).collect())];
        let how = Decompress::new(codec.clone());
        for (fault, class, words) in faults {
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error = unpack(&codec, &payload, manifest).expect_err("a bad chunk");
            assert_eq!(error.class(), class, "{codec:?} {fault:?}: {error}");
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error = column::decompress(&how, &rows, NEVER).err().expect("a bad row");
            assert_eq!(error.class(), class);
            assert!(error.to_string().contains(words), "{error}");

            let lenient = Decompress { null_on_error: true, ..how.clone() };
            gpu.reset();
            gpu.chunk_fault(fault, 2);
            let restored = column::decompress(&lenient, &others, NEVER).expect("the rest");
            assert_eq!(restored.bad_rows, [2]);
        }
        for fault in [ChunkFault::Status, ChunkFault::SizeHuge] {
            gpu.reset();
            gpu.chunk_fault(fault, 0);
            let error = codec.compress(&value, &mut Vec::new()).expect_err("a bad chunk");
            assert_eq!(error.class(), ErrorClass::Backend);
            gpu.reset();
            gpu.chunk_fault(fault, 1);
            let rows = [Values(vec![Some(text(900)), Some(text(901)), Some(text(902))])];
            let Error::Row(bad) = column::compress(&codec, &rows, NEVER).err().expect("a bad row")
            else {
                panic!("not a row's error")
            };
            assert_eq!((bad.row, bad.source.class()), (1, ErrorClass::Backend));
        }
    }
}

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// Enough bytes in values long enough for the GPU.
fn worthwhile() -> Vec<Vec<u8>> {
    vec![text(1 << 20); 20]
}

#[test]
fn auto_uses_a_gpu_where_it_pays() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: Device::Auto };
    let long = [Values(worthwhile().into_iter().map(Some).collect())];
    let short = [Values(vec![Some(text(1000)); 20_000])];
    for (rows, expected) in [(&long, true), (&short, false)] {
        gpu.reset();
        column::compress(&zstd, rows, NEVER).expect("compresses");
        assert_eq!(gpu.launch_count() > 0, expected);
    }
    for (len, expected) in [(32 << 20, true), (1000, false)] {
        gpu.reset();
        zstd.compress(&text(len), &mut Vec::new()).expect("compresses");
        assert_eq!(gpu.launch_count() > 0, expected);
    }
    // No CPU can do these.
    for codec in codecs(Device::Auto).into_iter().skip(1).take(2) {
        gpu.reset();
        codec.compress(&text(1000), &mut Vec::new()).expect("compresses");
        assert!(gpu.launch_count() > 0);
    }
}

#[test]
fn auto_falls_back_with_a_warning() {
    let gpu = Standin::take();
    warning::set_hook(|_| {
        WARNINGS.fetch_add(1, Ordering::Relaxed);
    });
    let zstd = Codec::NvcompZstd { device: Device::Auto };
    let values = worthwhile();
    let rows = [Values(values.iter().cloned().map(Some).collect())];
    let how = Decompress::new(zstd.clone());
    column::compress(&zstd, &rows, NEVER).expect("nothing fails");
    for n in [3, 10, 30, 60] {
        gpu.reset();
        gpu.fail_call(n, 719, 1);
        let before = WARNINGS.load(Ordering::Relaxed);
        let column = compress(&zstd, &rows).expect("the CPU does it");
        assert!(WARNINGS.load(Ordering::Relaxed) > before, "call {n}");
        let packed = column.payload.iter().zip(&values).map(|(payload, v)| sealed(payload, v));
        let restored = decompress(&how, &[PackedRows(packed.collect())]).expect("the CPU does it");
        assert!(restored.values == values);
    }
    gpu.reset();
    let _ = gpu::release_memory();

    // A chunk that the GPU cannot decode, the CPU can.
    let large = text(20 << 20);
    let (payload, manifest) = pack(&zstd, &large);
    gpu.reset();
    gpu.chunk_fault(ChunkFault::Status, 7);
    assert!(unpack(&zstd, &payload, manifest).as_ref() == Ok(&large));
    let rows = [PackedRows(vec![sealed(&payload, &large)])];
    gpu.reset();
    gpu.chunk_fault(ChunkFault::Status, 7);
    assert!(decompress(&how, &rows).expect("the CPU does it").values[0] == large);
}

#[test]
fn what_no_gpu_may_be_given_is_decoded_here() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
    let value = text(100_000);
    let mut odd = Vec::new();
    // Two frames in the first chunk, where a GPU's encoder writes one.
    let frame = |bytes: &[u8]| zstd_frame(bytes);
    let first = [frame(&value[..100]), frame(&value[100..65_536])].concat();
    let second = frame(&value[65_536..]);
    odd.extend(*b"FCG1\x03\0\0\0");
    odd.extend((value.len() as u64).to_le_bytes());
    odd.extend(
        [65_536u32, 2, first.len() as u32, second.len() as u32].map(u32::to_le_bytes).concat(),
    );
    odd.extend([first, second].concat());
    gpu.reset();
    assert!(unpack(&zstd, &odd, Manifest::seal(&value)).as_ref() == Ok(&value));
    let rows = [PackedRows(vec![sealed(&odd, &value)])];
    let restored = decompress(&Decompress::new(zstd), &rows).expect("decodes");
    assert!(restored.values[0] == value);
    assert_eq!(gpu.launch_count(), 0);
}

/// Everything that a container can lie about before anything is decoded, and what each lie is.
fn lies(payload: &[u8], codec: &Codec) -> Vec<(Vec<u8>, ErrorClass)> {
    let other = if matches!(codec, Codec::NvcompZstd { .. }) { 5 } else { 3 };
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

#[test]
fn no_lie_reaches_a_gpu() {
    let gpu = Standin::take();
    let value = text(100_000);
    for codec in codecs(GPU).into_iter().take(3) {
        let (payload, manifest) = pack(&codec, &value);
        let how = Decompress::new(codec.clone());
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
    let (there, here) = [GPU, Device::Cpu].map(|device| Codec::NvcompZstd { device }).into();
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

#[test]
fn chunks_of_any_length_are_read() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
    let value = text(1_500_000);
    for chunk_bytes in [1000, 65_537, 1 << 20, 16 << 20] {
        let frames: Vec<_> = value.chunks(chunk_bytes).map(zstd_frame).collect();
        let header = [chunk_bytes as u32, frames.len() as u32].into_iter();
        let sizes = frames.iter().map(|frame| frame.len() as u32);
        let numbers = header.chain(sizes).flat_map(u32::to_le_bytes);
        let mut payload = b"FCG1\x03\0\0\0".to_vec();
        payload.extend((value.len() as u64).to_le_bytes().into_iter().chain(numbers));
        payload.extend(frames.concat());
        gpu.reset();
        assert!(unpack(&zstd, &payload, Manifest::seal(&value)).as_ref() == Ok(&value));
        let rows = [PackedRows(vec![sealed(&payload, &value)])];
        let restored = decompress(&Decompress::new(zstd.clone()), &rows).expect("decodes");
        assert!(restored.values[0] == value);
        assert!(gpu.launch_count() > 0, "on the GPU");
    }
    assert_sound(&gpu);
}

fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    pack(&Codec::from_name("cpu-zstd", None).expect("a codec"), bytes).0
}

#[test]
fn whole_numbers_are_asked_for() {
    let _gpu = Standin::take();
    let data_type = DataType::try_new("f32").expect("a data type");
    for device in [GPU, Device::Auto] {
        let bitcomp = Codec::NvcompBitcomp { data_type, device };
        let words =
            "a value of 1001 bytes is no multiple of the 4 bytes of f32; data_type=\"char\"";
        let error = bitcomp.compress(&text(1001), &mut Vec::new()).expect_err("no whole number");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.class(), ErrorClass::Backend);
        let rows = [Values(vec![Some(text(1000)), Some(text(1001))])];
        let error = column::compress(&bitcomp, &rows, NEVER).err().expect("no whole number");
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error, Error::Row(bad) if bad.row == 1));
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let _gpu = Standin::take();
    let failure = gpu::check(3).expect_err("one GPU alone");
    assert_eq!(failure.to_string(), "there is no GPU 3: found is 0 alone");
    let codec = Codec::NvcompZstd { device: Device::Gpu(3) };
    let error = codec.compress(b"a value", &mut Vec::new()).expect_err("no such GPU");
    assert_eq!(error.class(), ErrorClass::Backend);
    assert!(gpu::available());
    let status = gpu::status();
    assert!(
        status.starts_with("GPU 0: Stand-in GPU 0; driver for CUDA 13.0; nvCOMP 5.1.0"),
        "{status}"
    );
}

#[test]
fn threads_take_turns() {
    let gpu = Standin::take();
    std::thread::scope(|scope| {
        for codec in codecs(GPU) {
            scope.spawn(move || (0..3).for_each(|_| round_trip(&codec).expect("its turn")));
        }
    });
    assert_sound(&gpu);
}

#[test]
fn an_interrupt_leaves_a_working_gpu() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
    let rows = [Values(vec![Some(text(1 << 20)); 4])];
    let error = column::compress(&zstd, &rows, &|| true).err().expect("interrupted");
    assert_eq!(error, Error::Interrupted);
    round_trip(&zstd).expect("works");
    assert_sound(&gpu);
}

#[test]
fn memory_stays_until_it_is_released() {
    let gpu = Standin::take();
    let zstd = Codec::NvcompZstd { device: GPU };
    round_trip(&zstd).expect("works");
    let (objects, bytes) = (gpu.live(), gpu.live_bytes());
    assert!(bytes > 0);
    round_trip(&zstd).expect("works");
    assert_eq!((gpu.live(), gpu.live_bytes()), (objects, bytes), "nothing is taken anew");
    gpu::release_memory().expect("given back");
    assert_eq!(gpu.live(), 0);
    gpu::release_memory().expect("nothing left to give back");
    assert_sound(&gpu);
}
