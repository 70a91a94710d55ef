//! What becomes of a process whose GPU is lost, against the stand-in: a kernel that never ends, or
//! one that accesses memory that is not its own. The call ends, later ones do not reach the driver,
//! the CPU goes on, and the process ends.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::gpu::{GPU, assert_sound, codecs, round_trip, sealed, zstd};
use common::own_process::in_own_processes;
use common::standin::Standin;
use common::{FrameRows, PackedRows, Values, pack, text, unpack};
use s4_codec::codec::{Codec, Fallback};
use s4_codec::column::{self, DecompressOptions, Offsets, Views};
use s4_codec::error::{Error, ErrorClass, Result};
use s4_codec::gpu::{self, Device};
use s4_codec::pool::NO_INTERRUPT;

const SHORT: [(&str, &str); 1] = [("S4_GPU_TIMEOUT", "0.2")];
const LONG: [(&str, &str); 1] = [("S4_GPU_TIMEOUT", "30")];

/// Three codecs, each in both directions.
const WAYS: usize = 6;

/// Work in one of these ways: a column of many batches, on a device with little memory.
fn work(gpu: &Standin, way: usize) -> impl Fn() -> Result<()> {
    gpu.set_memory(24 << 20);
    let codec = codecs(GPU).swap_remove(way / 2);
    // Of one size class and ever longer, so that buffers have to grow.
    let values: Vec<_> = (0..150).map(|i| text(8 * (2100 + 39 * i))).collect();
    let packed = values.iter().map(|value| sealed(&pack(&codec, value).0, value)).collect();
    let (rows, packed) = ([Values(values.into_iter().map(Some).collect())], [PackedRows(packed)]);
    gpu::release_memory().expect("given back");
    gpu.reset();
    move || {
        if way.is_multiple_of(2) {
            column::compress::<Views, _>(&codec, &rows, NO_INTERRUPT).map(drop)
        } else {
            let options = DecompressOptions::new(codec.clone());
            column::decompress::<Offsets, _>(&options, &packed, NO_INTERRUPT).map(drop)
        }
    }
}

/// Checks that `error` says why CUDA is lost, and that nothing calls the driver any more.
fn assert_lost(gpu: &Standin, error: &Error, reason: &str) {
    // The codec's name comes before it, or not.
    let reason_of =
        |error: &Error| error.to_string().split_once("GPU: ").map(|(_, text)| text.to_owned());
    let text = reason_of(error).expect("the GPU's error");
    assert_eq!(error.class(), ErrorClass::Backend, "{text}");
    assert!(text.contains(reason), "{text}");
    assert!(text.contains("CUDA in this process is lost"), "{text}");
    let (calls, live) = (gpu.calls(), gpu.live());
    assert!(!gpu::available());
    assert!(gpu::status().contains(reason), "{}", gpu::status());
    let started = Instant::now();
    for codec in codecs(GPU) {
        let later = round_trip(&codec).expect_err("no GPU");
        assert_eq!(reason_of(&later).as_ref(), Some(&text));
    }
    for failure in [gpu::check(0), gpu::release_memory()] {
        assert_eq!(reason_of(&failure.expect_err("no GPU").into()).as_ref(), Some(&text));
    }
    round_trip(&zstd(Device::Auto)).expect("the CPU does it");
    assert!(started.elapsed() < Duration::from_secs(5), "nothing waits");
    assert_eq!((gpu.calls(), gpu.live()), (calls, live), "the driver is left alone");
    assert_sound(gpu);
}

#[test]
fn a_kernel_that_never_ends_fails_the_call() {
    const LAUNCHES: [u64; 4] = [0, 1, 2, 3];
    let name = "a_kernel_that_never_ends_fails_the_call";
    in_own_processes(name, &SHORT, WAYS * LAUNCHES.len(), |case| {
        let gpu = Standin::take();
        let work = work(&gpu, case / LAUNCHES.len());
        gpu.hang_launch(LAUNCHES[case % LAUNCHES.len()]);
        let started = Instant::now();
        let error = work().expect_err("a kernel that never ends");
        let waited = started.elapsed();
        assert!((0.2..10.0).contains(&waited.as_secs_f64()), "{waited:?}");
        assert_lost(&gpu, &error, "the GPU was not done after 0.");
    });
}

#[test]
fn an_illegal_access_fails_the_call() {
    const LAUNCHES: [u64; 2] = [0, 4];
    let name = "an_illegal_access_fails_the_call";
    in_own_processes(name, &LONG, WAYS * LAUNCHES.len(), |case| {
        let gpu = Standin::take();
        let work = work(&gpu, case / LAUNCHES.len());
        gpu.crash_launch(LAUNCHES[case % LAUNCHES.len()]);
        let error = work().expect_err("an illegal access");
        assert_lost(&gpu, &error, "CUDA_ERROR_ILLEGAL_ADDRESS (700)");
    });
}

/// Every call may be the first to say it.
#[test]
fn a_status_that_no_context_survives_is_the_last() {
    const STEP: usize = 11;
    let name = "a_status_that_no_context_survives_is_the_last";
    in_own_processes(name, &LONG, STEP, |case| {
        let gpu = Standin::take();
        let zstd = zstd(GPU);
        round_trip(&zstd).expect("nothing fails");
        gpu.reset();
        round_trip(&zstd).expect("nothing fails");
        let calls = gpu.calls() as usize;
        // nvCOMP answers questions about sizes without CUDA.
        let is_cuda = |n: &usize| {
            let name = gpu.call_name(*n as u64);
            !(name.starts_with("nvcomp") && name.contains("Get"))
        };
        let n = (case * calls / STEP..).find(is_cuda).expect("one of them");
        let name = gpu.call_name(n as u64);
        gpu.reset();
        gpu.fail_call(n as u64, 719, 1);
        let error = [round_trip(&zstd), round_trip(&zstd)].into_iter().find_map(Result::err);
        let error = error.unwrap_or_else(|| panic!("{name} failed"));
        assert_lost(&gpu, &error, "(719)");
    });
}

/// Frames of all codecs in one batch: nvCOMP itself waits before it decodes Bitcomp.
#[test]
fn one_codec_does_not_wait_for_another_for_ever() {
    const LAUNCHES: usize = 6;
    let name = "one_codec_does_not_wait_for_another_for_ever";
    in_own_processes(name, &SHORT, LAUNCHES, |case| {
        let gpu = Standin::take();
        let value = text(150_000);
        let frame = |codec: Codec| {
            let mut frame = Vec::new();
            codec.encode_with(Fallback::Never, &value, &mut frame).expect("encodes");
            frame
        };
        let mut bodies: Vec<_> = codecs(GPU).into_iter().map(frame).collect();
        bodies.rotate_left(case / 2);
        let rows = [FrameRows(bodies)];
        let options =
            DecompressOptions { device: GPU, ..DecompressOptions::new(Codec::Passthrough) };
        gpu.reset();
        gpu.hang_launch(case as u64);
        let error = column::decompress::<Offsets, _>(&options, &rows, NO_INTERRUPT).err();
        assert_lost(&gpu, &error.expect("a kernel that never ends"), "the GPU was not done");
    });
}

#[test]
fn auto_goes_on_with_the_cpu() {
    in_own_processes("auto_goes_on_with_the_cpu", &SHORT, 2, |case| {
        let gpu = Standin::take();
        let auto = zstd(Device::Auto);
        let values = common::gpu::worthwhile();
        let rows = [Values(values.iter().cloned().map(Some).collect())];
        let large = text(20 << 20);
        gpu.hang_launch(0);
        let (column, payload) = if case == 0 {
            (Some(common::compress(&auto, &rows).expect("the CPU does it")), None)
        } else {
            (None, Some(pack(&auto, &large)))
        };
        assert!(!gpu::available());
        for (payload, value) in column.iter().flat_map(|column| &column.payload).zip(&values) {
            let manifest = s4_codec::manifest::Manifest::seal(value);
            assert!(unpack(&auto, payload, manifest).as_ref() == Ok(value));
        }
        if let Some((payload, manifest)) = payload {
            assert!(unpack(&auto, &payload, manifest).as_ref() == Ok(&large));
        }
        assert_sound(&gpu);
    });
}

#[test]
fn an_interrupt_is_heard_while_a_kernel_never_ends() {
    let name = "an_interrupt_is_heard_while_a_kernel_never_ends";
    in_own_processes(name, &LONG, 2, |case| {
        let gpu = Standin::take();
        let zstd = zstd(GPU);
        let rows = [Values(vec![Some(text(1 << 20)); 4])];
        gpu.hang_launch(0);
        let started = Instant::now();
        let interrupted = || started.elapsed() > Duration::from_millis(20);
        let error = column::compress::<Views, _>(&zstd, &rows, &interrupted).err().expect("ends");
        assert_eq!(error, Error::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_sound(&gpu);
        if case == 0 {
            // SAFETY: no other thread of this process uses the environment.
            unsafe { std::env::set_var("S4_GPU_TIMEOUT", "0.2") };
            let error = round_trip(&zstd).expect_err("the kernel never ends");
            assert_lost(&gpu, &error, "the GPU was not done after 0.2 s");
        }
    });
}

#[test]
fn calls_that_wait_for_a_lost_gpu_fail_too() {
    in_own_processes("calls_that_wait_for_a_lost_gpu_fail_too", &SHORT, 1, |_| {
        let gpu = Standin::take();
        gpu.hang_launch(0);
        thread::scope(|scope| {
            let calls = (0..3).map(|_| scope.spawn(|| round_trip(&zstd(GPU))));
            for call in calls.collect::<Vec<_>>() {
                let error = call.join().expect("no panic").expect_err("no GPU");
                assert!(error.to_string().contains("CUDA in this process is lost"), "{error}");
            }
        });
        assert_sound(&gpu);
    });
}
