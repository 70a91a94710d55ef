//! Which GPU, if any: the setting, what is there, and the way to it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::context::GpuContext;
use super::error::GpuError;
use super::libraries::Libraries;
use super::queue::Queue;
use super::session::Session;
use crate::error::{Error, Result};
use crate::pool::{Interrupted, NEVER};
use crate::process::PerProcess;
use crate::warning::warn;

/// `auto` uses a GPU for values of at least so many bytes on average. Not measured yet: the
/// published S4 project found one core faster than its GPU path at 8 KiB.
const AUTO_VALUE_BYTES: u64 = 32 << 10;

/// And for so many bytes together, for which the way there and back pays.
const AUTO_TOTAL_BYTES: u64 = 16 << 20;

/// Statuses of a driver that finds no GPU.
const NO_DEVICE: i32 = 100;

/// Where a codec of GPUs runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// On the CPU, as far as that can be.
    Cpu,
    /// On the first GPU where there is one and it pays, else on the CPU.
    #[default]
    Auto,
    /// On the GPU of that number, or not at all.
    Gpu(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Auto => f.write_str("auto"),
            Self::Gpu(number) => number.fmt(f),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(Self::Auto),
            number => number.parse().map(Self::Gpu).map_err(|_| {
                Error::Argument(format!("device must be a GPU's number or 'auto', not {text:?}"))
            }),
        }
    }
}

/// Whether so many bytes in so many values are for a GPU rather than for a CPU.
pub fn worthwhile(bytes: u64, values: u64) -> bool {
    bytes >= AUTO_TOTAL_BYTES && bytes / values.max(1) >= AUTO_VALUE_BYTES
}

/// What one process knows of its GPUs.
#[derive(Default)]
struct Gpus {
    /// Loaded once, or why they never will be.
    libraries: Mutex<Option<Result<&'static Libraries, GpuError>>>,
    queues: Mutex<BTreeMap<u32, &'static Queue>>,
}

static GPUS: PerProcess<Gpus> = PerProcess::new();

fn libraries() -> Result<&'static Libraries, GpuError> {
    let mut known = GPUS.get().libraries.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*known {
        return known.clone();
    }
    let found = Libraries::load().map(|libraries| &*Box::leak(Box::new(libraries)));
    // What a call failed for may pass; what is not there stays away.
    if matches!(found, Ok(_) | Err(GpuError::Absent(_) | GpuError::Unavailable(_))) {
        *known = Some(found.clone());
    }
    found
}

/// The libraries, and the number of GPUs, of which there is one at least.
fn probe() -> Result<(&'static Libraries, u32), GpuError> {
    let libraries = libraries()?;
    let none = || GpuError::Absent("the NVIDIA driver finds no GPU".into());
    match libraries.driver.start() {
        Ok(0) | Err(GpuError::Cuda { status: NO_DEVICE, .. }) => Err(none()),
        Ok(count) => Ok((libraries, count)),
        Err(other) => Err(other),
    }
}

/// Whether there is a GPU that can be used.
pub fn available() -> bool {
    probe().is_ok()
}

/// Whether `auto` may use a GPU. Warns where there seems to be one that cannot be used.
pub fn available_or_warn() -> bool {
    match probe() {
        Ok(_) => true,
        Err(GpuError::Absent(_)) => false,
        Err(failure) => {
            falls_back(&failure.to_string());
            false
        }
    }
}

/// Says that the CPU does what a GPU was to do.
pub fn falls_back(reason: &str) {
    if let Err(error) = warn(&format!("GPU: {reason}; the CPU does the work instead")) {
        // The work goes on in any case.
        eprintln!("s4-codec: {error}");
    }
}

/// Which GPUs and libraries would be used, or why there is none.
pub fn status() -> String {
    let described = probe().and_then(|(libraries, count)| {
        let driver = &libraries.driver;
        let names =
            (0..count).map(|ordinal| Ok(format!("GPU {ordinal}: {}", driver.name(ordinal)?)));
        let names = names.collect::<Result<Vec<_>, GpuError>>()?.join(", ");
        let version = driver.version()?;
        let (major, minor) = (version / 1000, version / 10 % 100);
        let nvcomp = libraries.nvcomp.describe();
        Ok(format!("{names}; driver for CUDA {major}.{minor}; {nvcomp}"))
    });
    described.unwrap_or_else(|failure| format!("not available: {failure}"))
}

/// Checks that the GPU of that number is there.
pub fn check(ordinal: u32) -> Result<(), GpuError> {
    found(ordinal).map(drop)
}

fn found(ordinal: u32) -> Result<&'static Libraries, GpuError> {
    let (libraries, count) = probe()?;
    if ordinal < count {
        return Ok(libraries);
    }
    let there =
        if count == 1 { "GPU 0 alone is".into() } else { format!("0 to {} are", count - 1) };
    Err(GpuError::Unavailable(format!("there is no GPU {ordinal}; {there} there")))
}

/// Takes the GPU of that number, once the calls before this one are done with it.
pub fn open(ordinal: u32, interrupted: Interrupted) -> Result<Session, GpuError> {
    let libraries = found(ordinal)?;
    let mut turn = queue(ordinal).take(interrupted)?;
    if turn.context.is_none() {
        turn.context = Some(GpuContext::start(libraries, ordinal)?);
    }
    Session::new(turn)
}

fn queue(ordinal: u32) -> &'static Queue {
    let mut queues = GPUS.get().queues.lock().unwrap_or_else(PoisonError::into_inner);
    queues.entry(ordinal).or_insert_with(|| Box::leak(Box::default()))
}

/// The most bytes that a container of a value of `len` bytes has, coded on any GPU.
pub(super) fn max_output(work: super::Work, longest: usize) -> Result<usize, GpuError> {
    libraries()?.nvcomp.max_output(work, longest)
}

/// Gives all memory of all GPUs back, once the calls that use them are done. Says what failed
/// of that, or of giving back anything before.
pub fn release_memory() -> Result<(), GpuError> {
    let queues = GPUS.get().queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for queue in queues.values() {
        queue.take(NEVER)?.context = None;
    }
    let known = GPUS.get().libraries.lock().unwrap_or_else(PoisonError::into_inner);
    match &*known {
        Some(Ok(libraries)) => libraries.driver.late_failure(),
        _ => Ok(()),
    }
}
