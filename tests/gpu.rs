//! Round trips of GPU codecs against the stand-in for NVIDIA's libraries.

mod common;

use std::time::{Duration, Instant};

use common::gpu::{
    GPU, assert_sound, bitcomp, codecs, gdeflate, round_trip, sealed, values, worthwhile, zstd,
    zstd_frame,
};
use common::standin::Standin;
use common::{Packed, PackedRows, Values, compress, decompress, noise, pack, text, unpack};
use s4_codec::codec::{Codec, Fallback};
use s4_codec::column::{self, DecompressOptions, Views};
use s4_codec::error::{Error, ErrorClass};
use s4_codec::gpu::{self, Device};
use s4_codec::manifest::Manifest;
use s4_codec::pool::NO_INTERRUPT;

/// Values with a null after every third, in chunks of unlike lengths.
fn columns(values: &[Vec<u8>]) -> Vec<Values> {
    let mut rows: Vec<_> = values.iter().cloned().map(Some).collect();
    (3..rows.len()).rev().step_by(3).for_each(|i| rows.insert(i, None));
    let later = rows.split_off(rows.len() / 3);
    vec![Values(rows), Values(Vec::new()), Values(later)]
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
            let restored =
                decompress(&DecompressOptions::new(codec.clone()), &[rows]).expect("restores");
            let (first, second) =
                (&restored.values[..values.len()], &restored.values[values.len() + 1..]);
            assert!(first == values && second == values, "{codec:?}");
        }
        assert_sound(&gpu);
    }
}

/// Whatever lay in device memory: nvCOMP leaves words of a GDeflate page as they were.
#[test]
fn equal_values_have_equal_payloads() {
    let gpu = Standin::take();
    for codec in codecs(GPU) {
        let value = noise(3000);
        let (alone, _) = pack(&codec, &value);
        let others = (0..40).map(|i| noise(3000 + 8 * i));
        let values: Vec<_> = std::iter::once(value.clone()).chain(others).collect();
        let alone_after_others: Vec<_> = values.iter().map(|other| pack(&codec, other).0).collect();
        assert!(pack(&codec, &value).0 == alone, "{codec:?}: again");
        for rows in [values.clone(), values.iter().rev().cloned().collect()] {
            let column = compress(&codec, &[Values(rows.iter().cloned().map(Some).collect())]);
            for (row, payload) in rows.iter().zip(&column.expect("compresses").payload) {
                let same = values.iter().position(|other| other == row).expect("one of them");
                assert!(*payload == alone_after_others[same], "{codec:?}: in a column");
            }
        }
    }
    assert_sound(&gpu);
}

#[test]
fn cpus_and_gpus_read_each_other() {
    let _gpu = Standin::take();
    let on = |codec: &Codec, device| codec.clone().on(device);
    for codec in codecs(GPU) {
        for value in values() {
            let (payload, manifest) = pack(&codec, &value);
            let here = unpack(&on(&codec, Device::Cpu), &payload, manifest);
            if codec.name() == "nvcomp-bitcomp" && !value.is_empty() {
                assert_eq!(here.expect_err("no GPU").class(), ErrorClass::Backend);
            } else {
                assert!(here.as_ref() == Ok(&value), "{codec:?}");
            }
        }
    }
    let zstd = zstd(GPU);
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
        codec.encode_with(Fallback::Never, value, &mut frame).expect("encodes");
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
    let how = DecompressOptions { device: GPU, ..DecompressOptions::new(Codec::Passthrough) };
    let rows = [common::FrameRows(bodies.clone())];
    gpu.reset();
    let restored = decompress(&how, &rows).expect("decodes").values;
    assert!(gpu.launch_count() > 0, "on the GPU");
    assert!(restored[..frames].iter().all(|row| *row == value));
    assert!(restored[frames] == value.repeat(frames));

    let here = DecompressOptions::new(Codec::Passthrough);
    let error = decompress(&here, &rows).err().expect("Bitcomp needs a GPU");
    assert_eq!(error.class(), ErrorClass::Backend);

    // With the device left open, a frame that no CPU can decode decides.
    let open =
        DecompressOptions { device: Device::Auto, ..DecompressOptions::new(Codec::Passthrough) };
    assert!(decompress(&open, &rows).expect("decodes").values[frames] == value.repeat(frames));

    let body = s4_codec::body::Body::plan(&bodies[frames], None, GPU, 1 << 30).expect("a body");
    let mut out = vec![std::mem::MaybeUninit::uninit(); value.len() * frames];
    gpu.reset();
    s4_codec::object::decode_body(&body, GPU, &mut out, NO_INTERRUPT).expect("decodes");
    assert!(gpu.launch_count() > 0, "on the GPU");
    // SAFETY: decoding initialises all of it.
    assert!(unsafe { out.assume_init_ref() } == value.repeat(frames));
    assert_sound(&gpu);
}

/// Results are found by row and frame, among frames that never went to the GPU.
#[test]
fn every_frame_gets_its_own_result() {
    let gpu = Standin::take();
    let others = ["cpu-zstd", "passthrough"].map(|name| Codec::from_name(name, None));
    let others = others.map(|codec| codec.expect("a codec"));
    let [cpu, passthrough] = others;
    let codecs = [passthrough, zstd(GPU), cpu, gdeflate(GPU), bitcomp("u16", GPU)];
    let value = |row: usize, frame: usize| text(8 * (100 + 37 * (row * codecs.len() + frame)));
    let rows: Vec<Vec<Vec<u8>>> =
        (0..6).map(|row| (0..codecs.len()).map(|frame| value(row, frame)).collect()).collect();
    let bodies: Vec<Vec<u8>> = rows
        .iter()
        .map(|values| {
            let frames = codecs.iter().zip(values).map(|(codec, value)| {
                let mut frame = Vec::new();
                codec.encode_with(Fallback::Never, value, &mut frame).expect("encodes");
                frame
            });
            frames.collect::<Vec<_>>().concat()
        })
        .collect();
    gpu.reset();
    let how = DecompressOptions { device: GPU, ..DecompressOptions::new(Codec::Passthrough) };
    let restored = decompress(&how, &[common::FrameRows(bodies.clone())]).expect("decodes").values;
    assert!(gpu.launch_count() > 0, "on the GPU");
    assert!(restored.iter().zip(&rows).all(|(row, values)| *row == values.concat()));

    // And in a range of a body, whose first frames are left out.
    let (whole, stored) = (rows.concat().concat(), bodies.concat());
    let mut body = s4_codec::body::Body::plan(&stored, None, GPU, 1 << 30).expect("a body");
    body.keep_range(&(whole.len() as u64 / 3..whole.len() as u64 / 2));
    let kept = body.start() as usize..(body.start() + body.len()) as usize;
    let mut out = vec![std::mem::MaybeUninit::uninit(); kept.len()];
    gpu.reset();
    s4_codec::object::decode_body(&body, GPU, &mut out, NO_INTERRUPT).expect("decodes");
    assert!(gpu.launch_count() > 0, "on the GPU");
    // SAFETY: decoding initialises all of it.
    assert!(unsafe { out.assume_init_ref() } == &whole[kept]);
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
    let zstd = zstd(GPU);
    let rows = [Same(text(1000), 500)];
    let column = compress(&zstd, &rows).expect("compresses");
    assert!(column.payload.iter().all(|payload| *payload == column.payload[0]));
    // One for each of the two layouts that the helper makes.
    assert_eq!(gpu.launches().iter().map(|launch| launch[2]).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn values_of_unlike_lengths_are_batched_apart() {
    let gpu = Standin::take();
    let gdeflate = gdeflate(GPU);
    let rows = [Values([100, 50_000, 120, 900, 65_536, 80].map(|len| Some(text(len))).to_vec())];
    column::compress::<Views, _>(&gdeflate, &rows, NO_INTERRUPT).expect("compresses");
    let mut launches: Vec<_> = gpu.launches().iter().map(|launch| (launch[3], launch[2])).collect();
    launches.sort_unstable();
    // Longest chunk of the class, and chunks.
    assert_eq!(launches, [(120, 3), (900, 1), (65_536, 2)]);
}

/// A column that takes several batches and a value that takes several of its own, where the
/// device has little memory.
#[test]
fn little_memory_takes_more_batches() {
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
        let how = DecompressOptions::new(codec.clone());
        let restored = decompress(&how, &[PackedRows(rows.collect())]).expect("restores");
        assert!(restored.values == values, "{codec:?}");
        assert!(gpu.live_bytes() <= 24 << 20);
    }
    assert_sound(&gpu);
}

#[test]
fn auto_uses_a_gpu_where_it_pays() {
    let gpu = Standin::take();
    let zstd = zstd(Device::Auto);
    let long = [Values(worthwhile().into_iter().map(Some).collect())];
    let short = [Values(vec![Some(text(1000)); 200])];
    for (rows, expected) in [(&long, true), (&short, false)] {
        gpu.reset();
        column::compress::<Views, _>(&zstd, rows, NO_INTERRUPT).expect("compresses");
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
fn what_no_gpu_may_be_given_is_decoded_here() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
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
    let restored = decompress(&DecompressOptions::new(zstd), &rows).expect("decodes");
    assert!(restored.values[0] == value);
    assert_eq!(gpu.launch_count(), 0);
}

#[test]
fn chunks_of_any_length_are_read() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
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
        let restored = decompress(&DecompressOptions::new(zstd.clone()), &rows).expect("decodes");
        assert!(restored.values[0] == value);
        assert!(gpu.launch_count() > 0, "on the GPU");
    }
    assert_sound(&gpu);
}

#[test]
fn whole_numbers_are_asked_for() {
    let _gpu = Standin::take();
    for device in [GPU, Device::Auto] {
        let bitcomp = bitcomp("f32", device);
        let words =
            "a value of 1001 bytes is not a multiple of the 4 bytes of f32; data_type=\"char\"";
        let error = bitcomp.compress(&text(1001), &mut Vec::new()).expect_err("no whole number");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.class(), ErrorClass::Backend);
        let rows = [Values(vec![Some(text(1000)), Some(text(1001))])];
        let error = column::compress::<Views, _>(&bitcomp, &rows, NO_INTERRUPT)
            .err()
            .expect("no whole number");
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error, Error::Row(bad) if bad.row == 1));
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let _gpu = Standin::take();
    let failure = gpu::check(3).expect_err("one GPU alone");
    assert_eq!(failure.to_string(), "there is no GPU 3; only GPU 0 is present");
    let codec = zstd(Device::Gpu(3));
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
    let zstd = zstd(GPU);
    let rows = [Values(vec![Some(text(1 << 20)); 4])];
    let error = column::compress::<Views, _>(&zstd, &rows, &|| true).err().expect("interrupted");
    assert_eq!(error, Error::Interrupted);
    round_trip(&zstd).expect("works");
    assert_sound(&gpu);
}

/// The work of an interrupted call goes on, and no other call meets it.
#[test]
fn an_interrupt_while_waiting_leaves_the_work_to_the_next_call() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
    round_trip(&zstd).expect("works");
    let rows = [Values(vec![Some(text(1 << 20)); 4])];
    for ends in [round_trip as fn(&Codec) -> _, |_| gpu::release_memory().map_err(Error::from)] {
        gpu.answer_after(u64::MAX);
        let started = Instant::now();
        let interrupted = || started.elapsed() > Duration::from_millis(20);
        let error = column::compress::<Views, _>(&zstd, &rows, &interrupted).err().expect("ends");
        assert_eq!(error, Error::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        gpu.answer_after(1);
        ends(&zstd).expect("works");
        round_trip(&zstd).expect("works");
        assert_sound(&gpu);
    }
}

#[test]
fn memory_stays_until_it_is_released() {
    let gpu = Standin::take();
    let zstd = zstd(GPU);
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
