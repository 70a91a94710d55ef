//! A stand-in for NVIDIA's `libcuda` and `libnvcomp`: the calls that this project makes of
//! both, on a machine with no GPU, so that all but the kernels themselves is tested there.
//!
//! - Work is queued and runs when its stream is synchronised, or queried often enough, no sooner. What
//!   nobody has written to holds 0xA5. So a forgotten wait shows as wrong bytes.
//! - Device addresses are numbers; each access must lie in one live allocation.
//! - What the real libraries would take amiss, or would not even notice, is recorded as a
//!   *violation*, and a test ends with none.
//! - Any call, allocation or chunk can be made to fail; a launch can be made to crash, or to run
//!   for ever, and calls that would then never return record a violation instead.
//! - Chunks are really compressed, by libzstd or as GDeflate pages; Bitcomp's chunks are of
//!   a format of our own.
//!
//! Tests steer it by the `standin_` functions below and, before it is loaded, by the
//! environment: `STANDIN_DEVICES` (1), `STANDIN_VERSION` (nvCOMP's, 5100),
//! `STANDIN_MEMORY` (bytes, 8 GiB) and `STANDIN_FAIL`
//! (`<call>:<occurrence from 0>:<status>:<sticky 0 or 1>`).
//!
//! Both libraries are one file. It may go by several names if these are links to it; a copy
//! would have a state of its own.

mod batch;
mod codecs;
mod cuda;
mod faults;
mod kernels;
mod machine;
mod memory;
mod nvcomp;
mod status;
mod streams;

use std::ffi::c_char;

use faults::{ChunkFault, LaunchFault, Trigger};
use machine::{control, put_text};

/// Forgets calls, launches, violations and planned faults. Objects stay as they are.
#[unsafe(no_mangle)]
extern "C" fn standin_reset() {
    control(|machine| machine.device.log.reset());
}

/// API calls since the last reset, all but `cuGetErrorName`.
#[unsafe(no_mangle)]
extern "C" fn standin_calls() -> u64 {
    control(|machine| machine.device.log.calls().len() as u64)
}

/// Writes the name of the `n`-th call and a NUL to `buffer`, cut to `len`, and returns its
/// length; 0 if there was no such call.
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_call_name(n: u64, buffer: *mut c_char, len: usize) -> usize {
    control(|machine| {
        let name = machine.device.log.calls().get(n as usize);
        // SAFETY: as the caller promises.
        name.map_or(0, |name| unsafe { put_text(name, buffer, len) })
    })
}

/// The `n`-th call will do nothing but return `status`, and if `sticky` so will all after it.
#[unsafe(no_mangle)]
extern "C" fn standin_fail_call(n: u64, status: i32, sticky: i32) {
    control(|machine| machine.device.log.plan(Trigger::Call(n), status, sticky != 0));
}

/// Allocations `first` to `first + count`, device and pinned, will be out of memory.
#[unsafe(no_mangle)]
extern "C" fn standin_fail_allocations(first: u64, count: u64) {
    control(|machine| machine.device.log.fail_allocations(first, count));
}

/// Sets how much memory the device has.
#[unsafe(no_mangle)]
extern "C" fn standin_set_memory(bytes: u64) {
    control(|machine| machine.device.memory.total = bytes);
}

/// Allocations, pinned ones included, streams, events, modules and context retains that
/// are live.
#[unsafe(no_mangle)]
extern "C" fn standin_live() -> u64 {
    control(|machine| machine.live())
}

/// Device bytes that are allocated.
#[unsafe(no_mangle)]
extern "C" fn standin_live_bytes() -> u64 {
    control(|machine| machine.device.memory.allocated())
}

/// Plans a fault of the `nth` chunk, counted over all launches. Its `kind` is 1 for
/// status 12, 2 for an actual size one too small, 3 for a wrong byte, 4 for an actual size
/// beyond all memory; 0 takes back all such plans.
#[unsafe(no_mangle)]
extern "C" fn standin_chunk_fault(kind: i32, nth: u64) {
    let fault = match kind {
        1 => Some(ChunkFault::Status),
        2 => Some(ChunkFault::SizeShort),
        3 => Some(ChunkFault::Byte),
        4 => Some(ChunkFault::SizeHuge),
        _ => None,
    };
    control(|machine| machine.device.log.plan_chunk(fault, nth));
}

/// The `n`-th launch will never end.
#[unsafe(no_mangle)]
extern "C" fn standin_hang_launch(n: u64) {
    control(|machine| machine.device.log.plan_launch(LaunchFault::Endless, n));
}

/// The `n`-th launch will access memory that is not its own.
#[unsafe(no_mangle)]
extern "C" fn standin_crash_launch(n: u64) {
    control(|machine| machine.device.log.plan_launch(LaunchFault::IllegalAccess, n));
}

/// How often a stream with work is queried before it is done (1, the default).
#[unsafe(no_mangle)]
extern "C" fn standin_answer_after(questions: u64) {
    control(|machine| machine.streams.questions = questions);
}

/// Whether other streams run as far as their waits let them before each operation of a
/// stream that is synchronised (1), or no further than it waits for (0, the default). A
/// device may do either; only the first shows that a buffer is written again too soon.
#[unsafe(no_mangle)]
extern "C" fn standin_run_ahead(on: i32) {
    control(|machine| machine.streams.ahead = on != 0);
}

/// How many rules were broken.
#[unsafe(no_mangle)]
extern "C" fn standin_violations() -> u64 {
    control(|machine| machine.device.log.violations().len() as u64)
}

/// Writes what the `n`-th violation was, as [`standin_call_name`] does.
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_violation(n: u64, buffer: *mut c_char, len: usize) -> usize {
    control(|machine| {
        let text = machine.device.log.violations().get(n as usize);
        // SAFETY: as the caller promises.
        text.map_or(0, |text| unsafe { put_text(text, buffer, len) })
    })
}

/// How many batches were launched.
#[unsafe(no_mangle)]
extern "C" fn standin_launches() -> u64 {
    control(|machine| machine.device.log.launches().len() as u64)
}

/// Writes five numbers about the `n`-th launch: codec (0 zstd, 1 GDeflate, 2 Bitcomp),
/// direction (0 compress, 1 decompress), chunks, and of the uncompressed sizes the largest
/// and the sum, both 0 until it has run.
///
/// # Safety
/// `out` is valid for writes, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_launch(n: u64, out: *mut [u64; 5]) {
    control(|machine| {
        // SAFETY: as the caller promises.
        let out = unsafe { out.as_mut() };
        if let (Some(out), Some(launch)) = (out, machine.device.log.launches().get(n as usize)) {
            *out = *launch;
        }
    });
}
