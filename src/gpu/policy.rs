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
//! Work pays from [`PAYS_TOTAL_BYTES`] in values of [`PAYS_VALUE_BYTES`] on average. Where the
//! data names its codecs (frames), a frame that no CPU can decode is its own row's error and must
//! not cost other rows theirs: it makes the call ask for a GPU, but the CPU stays the fallback.
//! With [`Device::Auto`] the CPU also tries each item that failed on the GPU, if it can do such
//! work at all ([`Work::has_cpu_fallback`]).

use super::device::{Device, probe};
use super::error::GpuError;
use super::nvcomp::{Direction, Work};
use crate::kernel::fcg1::Algorithm;
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::warning::warn;

/// Not measured yet: the published S4 project found one core faster than its GPU path at 8 KiB.
const PAYS_VALUE_BYTES: u64 = 32 << 10;

/// Enough for the transfers to pay.
const PAYS_TOTAL_BYTES: u64 = 16 << 20;

impl Work {
    /// Whether a CPU can do the same.
    pub fn has_cpu_fallback(self) -> bool {
        match self.encoding.algorithm {
            Algorithm::Zstd => true,
            Algorithm::GDeflate => self.direction == Direction::Decompress,
            Algorithm::Bitcomp => false,
        }
    }
}

/// What a call has to do.
#[derive(Default)]
pub struct Workload {
    bytes: u64,
    values: u64,
    /// Whether no CPU can do some of it.
    needs_gpu: bool,
}

impl Workload {
    /// Adds a value of `len` bytes.
    pub fn add(&mut self, len: u64, has_cpu_fallback: bool) {
        self.bytes = self.bytes.saturating_add(len.min(MAX_ORIGINAL_SIZE));
        self.values += 1;
        self.needs_gpu |= len > 0 && !has_cpu_fallback;
    }

    /// One value of `len` bytes.
    pub fn of_value(work: Work, len: u64) -> Self {
        let mut workload = Self::default();
        workload.add(len, work.has_cpu_fallback());
        workload
    }

    fn pays(&self) -> bool {
        self.bytes >= PAYS_TOTAL_BYTES && self.bytes / self.values.max(1) >= PAYS_VALUE_BYTES
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
        let (needs_gpu, pays) = (workload.needs_gpu, workload.pays());
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
