//! GPU or CPU: decided here, once for a column and once for each value coded alone, from the
//! setting and from what there is to do.
//!
//! | setting | runs on | if the GPU fails |
//! |---|---|---|
//! | [`Device::Cpu`] | the CPU | |
//! | [`Device::Gpu`] | that GPU | the call fails |
//! | [`Device::Auto`], work that no CPU can do | GPU 0 | the call fails |
//! | [`Device::Auto`], work that pays, a usable GPU | GPU 0 | the CPU does the rest, with a warning |
//! | [`Device::Auto`], anything else | the CPU | |
//!
//! Work pays if by the measured rates in [`COSTS`] the GPU does it sooner than the threads that
//! columns run on. Where the data names its codecs (frames), a frame that no CPU can decode is its
//! own row's error and must not cost other rows theirs: it makes the call ask for a GPU, but the
//! CPU stays the fallback. With [`Device::Auto`] the CPU also tries each item that failed on the
//! GPU, if it can do such work at all ([`Work::has_cpu_fallback`]).

use super::device::{Device, probe};
use super::error::GpuError;
use super::nvcomp::{Direction, Work};
use crate::kernel::fcg1::Algorithm;
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::pool;
use crate::warning::warn;

/// What work that both can do costs, from host memory to host memory.
struct Costs {
    algorithm: Algorithm,
    direction: Direction,
    /// Nanoseconds that any work takes on a GPU: launches, and the latency of a chunk.
    gpu_start: f64,
    /// By average size of the values, ascending.
    rates: &'static [Rates],
}

/// GB/s of originals, which is bytes per nanosecond, for values of at least `value_size` bytes.
struct Rates {
    value_size: u64,
    gpu: f64,
    /// One CPU core.
    core: f64,
}

const fn rates(value_size: u64, gpu: f64, core: f64) -> Rates {
    Rates { value_size, gpu, core }
}

/// Measured with `benches/gpu.py --part sizes` on an H100 (PCIe 5.0 x16) with 16 cores and nvCOMP
/// 6.0: columns of 256 MiB of log text, of 64 MiB below 1 KiB (`benches/results/h100/sizes.json`).
/// `core` is a sixteenth of all cores, which decode no faster than their memory takes it. The start
/// is what columns of 1 to 64 MiB take beyond their rate.
static COSTS: [Costs; 3] = [
    Costs {
        algorithm: Algorithm::Zstd,
        direction: Direction::Compress,
        gpu_start: 6.0e6,
        rates: &[
            rates(0, 0.7, 0.03),
            rates(1 << 10, 2.7, 0.086),
            rates(4 << 10, 7.3, 0.171),
            rates(16 << 10, 12.0, 0.267),
            rates(64 << 10, 13.8, 0.27),
            rates(256 << 10, 13.7, 0.275),
            rates(1 << 20, 14.2, 0.402),
            rates(16 << 20, 14.2, 0.29),
        ],
    },
    Costs {
        algorithm: Algorithm::Zstd,
        direction: Direction::Decompress,
        gpu_start: 1.7e6,
        rates: &[
            rates(0, 0.8, 0.126),
            rates(1 << 10, 2.9, 0.167),
            rates(4 << 10, 11.5, 0.325),
            rates(16 << 10, 20.8, 0.474),
            rates(64 << 10, 24.7, 0.631),
            rates(256 << 10, 24.0, 0.579),
            rates(1 << 20, 23.9, 0.757),
            rates(16 << 20, 24.7, 0.576),
        ],
    },
    Costs {
        algorithm: Algorithm::GDeflate,
        direction: Direction::Decompress,
        gpu_start: 3.0e6,
        rates: &[
            rates(0, 0.7, 0.627),
            rates(1 << 10, 2.3, 0.113),
            rates(4 << 10, 10.0, 0.231),
            rates(16 << 10, 19.8, 0.375),
            rates(64 << 10, 24.3, 0.447),
            rates(256 << 10, 25.5, 0.474),
            rates(1 << 20, 26.2, 0.477),
            rates(16 << 20, 25.9, 0.296),
        ],
    },
];

impl Costs {
    /// Nanoseconds on the GPU after the start, and on `threads` threads.
    fn times(&self, load: &Load, threads: usize) -> (f64, f64) {
        let average = load.bytes / load.values;
        let known = self.rates.partition_point(|rates| rates.value_size <= average);
        let rates = &self.rates[known - 1];
        // A value is coded by one thread.
        let cores = load.values.min(threads as u64) as f64;
        let bytes = load.bytes as f64;
        (bytes / rates.gpu, bytes / (rates.core * cores))
    }
}

impl Work {
    /// Whether a CPU can do the same.
    pub fn has_cpu_fallback(self) -> bool {
        self.costs().is_some()
    }

    /// Its place in [`COSTS`], which holds all that a CPU can do as well.
    fn costs(self) -> Option<usize> {
        let kind = (self.encoding.algorithm, self.direction);
        COSTS.iter().position(|costs| (costs.algorithm, costs.direction) == kind)
    }
}

/// Values of one kind of work.
#[derive(Clone, Copy, Default)]
struct Load {
    bytes: u64,
    values: u64,
}

/// What a call has to do.
#[derive(Default)]
pub struct Workload {
    /// By place in [`COSTS`].
    loads: [Load; COSTS.len()],
    /// Whether no CPU can do some of it.
    needs_gpu: bool,
}

impl Workload {
    /// Adds a value whose original has `len` bytes.
    pub fn add(&mut self, work: Work, len: u64) {
        let Some(place) = work.costs() else {
            self.needs_gpu |= len > 0;
            return;
        };
        let load = &mut self.loads[place];
        load.bytes = load.bytes.saturating_add(len.min(MAX_ORIGINAL_SIZE));
        load.values += 1;
    }

    /// One value whose original has `len` bytes.
    pub fn of_value(work: Work, len: u64) -> Self {
        let mut workload = Self::default();
        workload.add(work, len);
        workload
    }

    /// Whether the GPU does it sooner than `threads` threads.
    fn pays(&self, threads: usize) -> bool {
        let (mut start, mut on_gpu, mut on_cpu) = (0.0, 0.0, 0.0);
        for (costs, load) in COSTS.iter().zip(&self.loads).filter(|(_, load)| load.values > 0) {
            let (gpu, cpu) = costs.times(load, threads);
            start = costs.gpu_start.max(start);
            on_gpu += gpu;
            on_cpu += cpu;
        }
        start + on_gpu < on_cpu
    }
}

/// Who names the codecs of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecFrom {
    /// The caller, for all of it.
    Caller,
    /// The data, frame by frame.
    Frames,
}

/// The GPU that a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub ordinal: u32,
    /// If the GPU fails, the CPU does the rest.
    pub falls_back: bool,
    /// The CPU tries each item that failed on the GPU.
    pub retries: bool,
}

impl Placement {
    /// The GPU for a call, or `None` for the CPU. `workload` is asked only if it matters.
    pub fn choose(
        device: Device,
        codec: CodecFrom,
        workload: impl FnOnce() -> Workload,
    ) -> Option<Self> {
        let ordinal = match device {
            Device::Cpu => return None,
            Device::Gpu(ordinal) => {
                return Some(Self { ordinal, falls_back: false, retries: false });
            }
            Device::Auto => 0,
        };
        let workload = workload();
        let needs_gpu = workload.needs_gpu;
        // A bad number of threads is an error wherever the work begins.
        let pays = workload.pays(pool::num_threads().unwrap_or(1));
        let (is_chosen, falls_back) = match codec {
            CodecFrom::Caller => (needs_gpu || pays && is_usable(), !needs_gpu),
            CodecFrom::Frames => ((needs_gpu || pays) && is_usable(), true),
        };
        is_chosen.then_some(Self { ordinal, falls_back, retries: true })
    }
}

/// Whether a call with this setting may use a GPU, whatever it has to do.
pub fn may_use(device: Device) -> bool {
    match device {
        Device::Cpu => false,
        Device::Gpu(_) => true,
        Device::Auto => probe().is_ok(),
    }
}

/// Whether `auto` may use a GPU. Warns where one seems present but is not usable.
fn is_usable() -> bool {
    match probe() {
        Ok(_) => true,
        Err(GpuError::Absent(_)) => false,
        Err(error) => {
            warn_fallback(&error.to_string());
            false
        }
    }
}

/// Warns that the CPU does what a GPU was to do.
pub fn warn_fallback(reason: &str) {
    if let Err(error) = warn(&format!("GPU: {reason}; the CPU does the work instead")) {
        // A filter makes the warning an error, but the work goes on.
        eprintln!("s4-codec: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fcg1::Encoding;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn works() -> [Work; COSTS.len()] {
        let work = |costs: &Costs| Work {
            direction: costs.direction,
            encoding: Encoding::new(costs.algorithm),
        };
        COSTS.each_ref().map(work)
    }

    fn pays(work: Work, value_size: u64, column_size: u64, threads: usize) -> bool {
        let mut workload = Workload::default();
        for _ in 0..column_size / value_size {
            workload.add(work, value_size);
        }
        assert!(!workload.needs_gpu);
        workload.pays(threads)
    }

    #[test]
    fn the_table_is_in_order() {
        for costs in &COSTS {
            assert_eq!(costs.rates[0].value_size, 0);
            assert!(costs.rates.is_sorted_by(|a, b| a.value_size < b.value_size));
            assert!(costs.rates.iter().all(|rates| rates.gpu > 0.0 && rates.core > 0.0));
        }
    }

    #[test]
    fn a_gpu_pays_where_it_was_measured_to() {
        let [compress, decompress, gdeflate] = works();
        let size = 64 << 10;
        for (work, value_size, column_size, threads, expected) in [
            // As measured, on 16 cores.
            (compress, size, MIB, 16, false),
            (compress, size, 16 * MIB, 16, false),
            (compress, size, 256 * MIB, 16, true),
            (decompress, size, MIB, 16, false),
            (decompress, size, 16 * MIB, 16, false),
            (decompress, size, 256 * MIB, 16, true),
            (decompress, size, GIB, 16, true),
            (decompress, 256, 64 * MIB, 16, false),
            (decompress, 1 << 10, 256 * MIB, 16, true),
            (decompress, 16 * MIB, GIB, 16, true),
            (gdeflate, size, 64 * MIB, 16, true),
            // The fewer cores, the sooner.
            (compress, size, 16 * MIB, 4, true),
            (decompress, size, 16 * MIB, 4, true),
            (gdeflate, size, 16 * MIB, 4, true),
            (compress, size, MIB, 1, false),
            // A single value has one thread, however many there are.
            (compress, 16 * MIB, 16 * MIB, 16, true),
            (decompress, 16 * MIB, 16 * MIB, 16, true),
            (decompress, size, size, 16, false),
        ] {
            let found = pays(work, value_size, column_size, threads);
            assert_eq!(found, expected, "{work:?}, {value_size}, {column_size}, {threads}");
        }
    }

    #[test]
    fn more_bytes_and_fewer_threads_never_speak_against_a_gpu() {
        for work in works() {
            for value_size in [100, 1 << 10, 5000, 64 << 10, MIB] {
                for threads in [1, 2, 8, 64] {
                    let by_size =
                        [1, 8, 64, 512].map(|mib| pays(work, value_size, mib * MIB, threads));
                    assert!(by_size.is_sorted(), "{work:?}, {value_size}, {threads}");
                }
                let by_threads = [64, 8, 2, 1].map(|n| pays(work, value_size, 64 * MIB, n));
                assert!(by_threads.is_sorted(), "{work:?}, {value_size}");
            }
        }
    }

    #[test]
    fn the_parts_of_a_workload_add_up() {
        let [compress, _, gdeflate] = works();
        let mut workload = Workload::default();
        assert!(!workload.pays(1), "nothing");
        workload.add(gdeflate, MIB);
        assert!(!workload.pays(1), "1 MiB");
        for _ in 0..16 {
            workload.add(compress, MIB);
        }
        assert!(workload.pays(1), "17 MiB");
    }

    #[test]
    fn what_no_cpu_can_do_needs_a_gpu() {
        for (algorithm, direction, expected) in [
            (Algorithm::Zstd, Direction::Compress, false),
            (Algorithm::Zstd, Direction::Decompress, false),
            (Algorithm::GDeflate, Direction::Compress, true),
            (Algorithm::GDeflate, Direction::Decompress, false),
            (Algorithm::Bitcomp, Direction::Compress, true),
            (Algorithm::Bitcomp, Direction::Decompress, true),
        ] {
            let work = Work { direction, encoding: Encoding::new(algorithm) };
            assert_eq!(work.has_cpu_fallback(), !expected, "{work:?}");
            assert_eq!(Workload::of_value(work, 1).needs_gpu, expected, "{work:?}");
            assert!(!Workload::of_value(work, 0).needs_gpu, "{work:?}");
        }
    }
}
