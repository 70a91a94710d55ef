//! nvCOMP's low-level batched API, in the versions 5 and 6.
//!
//! Every pointer to host memory that a function takes is valid for what nvCOMP's
//! documentation says, or null. That is what the blocks of unsafe code here rely on.

use std::ffi::c_void;

use super::batch::{Batch, Room};
use super::codecs::{Codec, Direction, Job, Options};
use super::faults::LaunchFault;
use super::machine::{Machine, Needs, call};
use super::status::nvcomp::{CHUNK_TOO_LARGE, CUDA_ERROR, INVALID_VALUE, NOT_SUPPORTED};
use super::status::{ILLEGAL_ADDRESS, NOT_READY};
use super::streams::{Device, Work};

type Stream = *mut c_void;

#[repr(C)]
struct Properties {
    version: u32,
    cudart_version: u32,
}

#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "nvCOMP's name")]
unsafe extern "C" fn nvcompGetProperties(properties: *mut Properties) -> i32 {
    call("nvcompGetProperties", Needs::Nothing, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(properties, INVALID_VALUE) }?;
        place.write(Properties { version: machine.version, cudart_version: 12_000 });
        Ok(())
    })
}

/// Which call for the size of temporary memory a version has.
#[derive(PartialEq)]
enum TempCall {
    /// `GetTempSizeAsync`.
    Version5,
    /// `GetTempSize`, which takes a stream as well.
    Version6,
}

/// A call's codec and direction, and its options as they came.
struct Request {
    codec: Codec,
    direction: Direction,
    options: Options,
}

impl Request {
    fn job(self, machine: &mut Machine) -> Result<Job, i32> {
        let job = Job::new(self.codec, self.direction, self.options);
        job.or_else(|what| machine.refuse(INVALID_VALUE, what))
    }

    /// # Safety
    /// `alignments` is valid for writes, or null.
    unsafe fn alignments(self, name: &'static str, alignments: *mut [usize; 3]) -> i32 {
        call(name, Needs::Nothing, |machine| {
            // SAFETY: as the caller promises.
            let place = unsafe { machine.place(alignments, INVALID_VALUE) }?;
            let alignments = self.job(machine)?.alignments();
            place.write([alignments.input, alignments.output, alignments.temp]);
            Ok(())
        })
    }

    /// # Safety
    /// `bytes` is valid for writes, or null.
    unsafe fn max_output(self, name: &'static str, max_chunk: usize, bytes: *mut usize) -> i32 {
        call(name, Needs::Nothing, |machine| {
            // SAFETY: as the caller promises.
            let place = unsafe { machine.place(bytes, INVALID_VALUE) }?;
            let job = self.job(machine)?;
            check_max_chunk(machine, job, max_chunk)?;
            place.write(job.max_output(max_chunk));
            Ok(())
        })
    }

    /// # Safety
    /// `bytes` is valid for writes, or null.
    unsafe fn temp(
        self,
        name: &'static str,
        of: TempCall,
        (count, max_chunk, total): (usize, usize, usize),
        bytes: *mut usize,
    ) -> i32 {
        // The one size that depends on the device.
        let on_device = (self.codec, self.direction) == (Codec::Zstd, Direction::Compress);
        let needs = if on_device { Needs::ContextForNvcomp } else { Needs::Nothing };
        call(name, needs, |machine| {
            let version = if of == TempCall::Version5 { 5 } else { 6 };
            if machine.version / 1000 != version {
                let what = format!("nvCOMP {} has no such call", machine.version);
                return machine.refuse(NOT_SUPPORTED, what);
            }
            // SAFETY: as the caller promises.
            let place = unsafe { machine.place(bytes, INVALID_VALUE) }?;
            let job = self.job(machine)?;
            check_max_chunk(machine, job, max_chunk)?;
            place.write(job.temp(count, max_chunk, total));
            Ok(())
        })
    }
}

fn check_max_chunk(machine: &mut Machine, job: Job, max_chunk: usize) -> Result<(), i32> {
    if max_chunk <= job.max_chunk() {
        return Ok(());
    }
    machine.refuse(CHUNK_TOO_LARGE, format!("chunks of {max_chunk} bytes"))
}

/// Queues a batch; its job comes from `request`.
fn launch(
    name: &'static str,
    request: Request,
    stream: Stream,
    batch: impl FnOnce(Job) -> Batch,
) -> i32 {
    call(name, Needs::ContextForNvcomp, |machine| {
        let stream = stream.addr() as u64;
        machine.check_stream(stream).map_err(|_| INVALID_VALUE)?;
        let batch = batch(request.job(machine)?);
        if batch.count == 0 {
            return machine.refuse(INVALID_VALUE, "a batch of no chunks");
        }
        if let Room::MaxChunk(max_chunk) = batch.room {
            check_max_chunk(machine, batch.job, max_chunk)?;
        }
        if (batch.job.codec, batch.job.direction) == (Codec::Bitcomp, Direction::Decompress) {
            // It waits for its input, and makes its plan of what that says.
            match machine.streams.synchronize(stream, &mut machine.device) {
                Err(NOT_READY) => machine.check_ends().map_err(|_| CUDA_ERROR)?,
                other => other?,
            }
            batch.examine_bitcomp(&mut machine.device)?;
        }
        let (codec, direction) = (batch.job.codec as u64, batch.job.direction as u64);
        if machine.loaded.insert((codec, direction)) {
            // The code of a kernel is loaded when it is first launched.
            machine.check_ends().map_err(|_| CUDA_ERROR)?;
        }
        let temp = batch.temp..batch.temp.saturating_add(batch.temp_bytes as u64);
        if machine.streams.needs_elsewhere(stream, &temp) {
            machine.device.log.violate("work of another stream uses the temporary memory");
        }
        let fault = machine.device.log.next_launch_fault();
        let ticket = machine.device.log.launch(codec, direction, batch.count);
        let run = Box::new(move |device: &mut Device| match fault {
            Some(LaunchFault::IllegalAccess) => {
                device.log.stick(ILLEGAL_ADDRESS);
                Err(ILLEGAL_ADDRESS)
            }
            _ => batch.run(ticket, device),
        });
        let work = Work { name, touches: batch.touches(), run };
        match fault {
            Some(LaunchFault::Endless) => machine.streams.push_endless(stream, work),
            _ => machine.streams.push(stream, work),
        }
        Ok(())
    })
}

/// The functions of one codec.
macro_rules! batched {
    ($module:ident, $codec:ident, $prefix:literal) => {
        mod $module {
            use super::*;

            const fn compress(options: Options) -> Request {
                Request { codec: Codec::$codec, direction: Direction::Compress, options }
            }

            const fn decompress(options: Options) -> Request {
                Request { codec: Codec::$codec, direction: Direction::Decompress, options }
            }

            #[unsafe(export_name = concat!($prefix, "CompressGetRequiredAlignments"))]
            unsafe extern "C" fn compress_alignments(
                options: Options,
                alignments: *mut [usize; 3],
            ) -> i32 {
                let name = concat!($prefix, "CompressGetRequiredAlignments");
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { compress(options).alignments(name, alignments) }
            }

            #[unsafe(export_name = concat!($prefix, "DecompressGetRequiredAlignments"))]
            unsafe extern "C" fn decompress_alignments(
                options: Options,
                alignments: *mut [usize; 3],
            ) -> i32 {
                let name = concat!($prefix, "DecompressGetRequiredAlignments");
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { decompress(options).alignments(name, alignments) }
            }

            #[unsafe(export_name = concat!($prefix, "CompressGetMaxOutputChunkSize"))]
            unsafe extern "C" fn max_output(
                max_chunk: usize,
                options: Options,
                bytes: *mut usize,
            ) -> i32 {
                let name = concat!($prefix, "CompressGetMaxOutputChunkSize");
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { compress(options).max_output(name, max_chunk, bytes) }
            }

            #[unsafe(export_name = concat!($prefix, "CompressGetTempSizeAsync"))]
            unsafe extern "C" fn compress_temp_5(
                count: usize,
                max_chunk: usize,
                options: Options,
                bytes: *mut usize,
                total: usize,
            ) -> i32 {
                let name = concat!($prefix, "CompressGetTempSizeAsync");
                let batch = (count, max_chunk, total);
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { compress(options).temp(name, TempCall::Version5, batch, bytes) }
            }

            #[unsafe(export_name = concat!($prefix, "DecompressGetTempSizeAsync"))]
            unsafe extern "C" fn decompress_temp_5(
                count: usize,
                max_chunk: usize,
                options: Options,
                bytes: *mut usize,
                total: usize,
            ) -> i32 {
                let name = concat!($prefix, "DecompressGetTempSizeAsync");
                let batch = (count, max_chunk, total);
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { decompress(options).temp(name, TempCall::Version5, batch, bytes) }
            }

            #[unsafe(export_name = concat!($prefix, "CompressGetTempSize"))]
            unsafe extern "C" fn compress_temp_6(
                count: usize,
                max_chunk: usize,
                options: Options,
                bytes: *mut usize,
                total: usize,
                _stream: Stream,
            ) -> i32 {
                let name = concat!($prefix, "CompressGetTempSize");
                let batch = (count, max_chunk, total);
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { compress(options).temp(name, TempCall::Version6, batch, bytes) }
            }

            #[unsafe(export_name = concat!($prefix, "DecompressGetTempSize"))]
            unsafe extern "C" fn decompress_temp_6(
                count: usize,
                max_chunk: usize,
                options: Options,
                bytes: *mut usize,
                total: usize,
                _stream: Stream,
            ) -> i32 {
                let name = concat!($prefix, "DecompressGetTempSize");
                let batch = (count, max_chunk, total);
                // SAFETY: a valid pointer or null, as the file says.
                unsafe { decompress(options).temp(name, TempCall::Version6, batch, bytes) }
            }

            #[unsafe(export_name = concat!($prefix, "CompressAsync"))]
            extern "C" fn compress_async(
                inputs: u64,
                input_sizes: u64,
                max_chunk: usize,
                count: usize,
                temp: u64,
                temp_bytes: usize,
                outputs: u64,
                output_sizes: u64,
                options: Options,
                statuses: u64,
                stream: Stream,
            ) -> i32 {
                let room = Room::MaxChunk(max_chunk);
                launch(concat!($prefix, "CompressAsync"), compress(options), stream, |job| Batch {
                    job,
                    count,
                    inputs,
                    input_sizes,
                    outputs,
                    output_sizes,
                    room,
                    statuses,
                    temp,
                    temp_bytes,
                })
            }

            #[unsafe(export_name = concat!($prefix, "DecompressAsync"))]
            extern "C" fn decompress_async(
                inputs: u64,
                input_sizes: u64,
                capacities: u64,
                output_sizes: u64,
                count: usize,
                temp: u64,
                temp_bytes: usize,
                outputs: u64,
                options: Options,
                statuses: u64,
                stream: Stream,
            ) -> i32 {
                let room = Room::Capacities(capacities);
                launch(concat!($prefix, "DecompressAsync"), decompress(options), stream, |job| {
                    Batch {
                        job,
                        count,
                        inputs,
                        input_sizes,
                        outputs,
                        output_sizes,
                        room,
                        statuses,
                        temp,
                        temp_bytes,
                    }
                })
            }
        }
    };
}

batched!(zstd, Zstd, "nvcompBatchedZstd");
batched!(gdeflate, Gdeflate, "nvcompBatchedGdeflate");
batched!(bitcomp, Bitcomp, "nvcompBatchedBitcomp");
