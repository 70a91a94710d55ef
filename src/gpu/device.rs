//! Devices: the setting, which GPUs are present, and whose call has which.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use super::context::GpuContext;
use super::driver::{DevicePtr, PrimaryContext};
use super::error::GpuError;
use super::libraries::Libraries;
use super::nvcomp::Work;
use super::pinned;
use super::session::Session;
use crate::error::{Error, Result};
use crate::pool::{INTERRUPT_POLL, InterruptCheck, NO_INTERRUPT};
use crate::process::{PerProcess, lock};

const INVALID_VALUE: i32 = 1;
/// The status of a driver that finds no GPU.
const NO_DEVICE: i32 = 100;

/// Where a GPU codec runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU, which cannot do all of it.
    Cpu,
    /// The first GPU where it pays or no CPU can do the work, else the CPU.
    #[default]
    Auto,
    /// The GPU of this number, and nothing else.
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
                Error::Argument(format!(
                    "device must be the number of a GPU or 'auto', not {text:?}"
                ))
            }),
        }
    }
}

/// What a process knows of its GPUs.
#[derive(Default)]
struct Gpus {
    /// Loaded once, or why they never will be.
    libraries: Mutex<Option<Result<&'static Libraries, GpuError>>>,
    queues: Mutex<BTreeMap<u32, &'static Queue>>,
}

static GPUS: PerProcess<Gpus> = PerProcess::new();

fn libraries() -> Result<&'static Libraries, GpuError> {
    let mut known = lock(&GPUS.get().libraries);
    if let Some(known) = &*known {
        return known.clone();
    }
    let found = Libraries::load().map(|libraries| &*Box::leak(Box::new(libraries)));
    // A call that failed may succeed later; a missing library stays missing.
    if matches!(found, Ok(_) | Err(GpuError::Absent(_) | GpuError::Unavailable(_))) {
        *known = Some(found.clone());
    }
    found
}

/// The libraries and the number of GPUs, at least one.
pub(super) fn probe() -> Result<(&'static Libraries, u32), GpuError> {
    let libraries = libraries()?;
    let none = || GpuError::Absent("the NVIDIA driver finds no GPU".into());
    match libraries.driver.start() {
        Ok(0) | Err(GpuError::Cuda { status: NO_DEVICE, .. }) => Err(none()),
        Ok(count) => Ok((libraries, count)),
        Err(other) => Err(other),
    }
}

/// Whether a GPU is present and usable.
pub fn available() -> bool {
    probe().is_ok()
}

/// Which GPUs and libraries would be used, or why none.
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
    described.unwrap_or_else(|error| format!("not available: {error}"))
}

/// Checks that the GPU of this number is present.
pub fn check(ordinal: u32) -> Result<(), GpuError> {
    present(ordinal).map(drop)
}

fn present(ordinal: u32) -> Result<&'static Libraries, GpuError> {
    let (libraries, count) = probe()?;
    if ordinal < count {
        return Ok(libraries);
    }
    let present = match count {
        1 => "only GPU 0 is present".into(),
        _ => format!("GPUs 0 to {} are present", count - 1),
    };
    Err(GpuError::Unavailable(format!("there is no GPU {ordinal}; {present}")))
}

/// The number of the GPU that has the memory at this address.
pub fn ordinal_of(address: DevicePtr) -> Result<u32, GpuError> {
    let (libraries, _) = probe()?;
    libraries.driver.ordinal_of(address).map_err(|error| match error {
        GpuError::Cuda { status: INVALID_VALUE, .. } => {
            GpuError::Host(Error::Argument("expected memory of a GPU, found other memory".into()))
        }
        other => other,
    })
}

/// The most bytes that a chunk of `longest` bytes compresses to on any GPU.
pub(super) fn max_output(work: Work, longest: usize) -> Result<usize, GpuError> {
    let libraries = libraries()?;
    libraries.driver.check_usable()?;
    libraries.nvcomp.max_output(work, longest)
}

/// Takes the GPU of this number, once the calls before this one are done with it.
pub fn open(ordinal: u32, interrupted: InterruptCheck) -> Result<Session, GpuError> {
    let libraries = present(ordinal)?;
    let mut lease = queue(ordinal).take(interrupted)?;
    if lease.context.is_none() {
        lease.context = Some(GpuContext::start(libraries, ordinal)?);
    }
    Session::new(lease, interrupted)
}

/// The context of the GPU of this number.
pub(super) fn primary_context(ordinal: u32) -> Result<PrimaryContext, GpuError> {
    PrimaryContext::retain(&present(ordinal)?.driver, ordinal)
}

/// Frees the memory of all GPUs, once the calls that use them are done. Returns the first error
/// of that, or of freeing anything before.
pub fn release_memory() -> Result<(), GpuError> {
    let queues = lock(&GPUS.get().queues).clone();
    for queue in queues.values() {
        queue.take(NO_INTERRUPT)?.context = None;
    }
    pinned::release();
    match &*lock(&GPUS.get().libraries) {
        Some(Ok(libraries)) => libraries.driver.late_error(),
        _ => Ok(()),
    }
}

fn queue(ordinal: u32) -> &'static Queue {
    lock(&GPUS.get().queues).entry(ordinal).or_insert_with(|| Box::leak(Box::default()))
}

/// The calls that want one GPU, from any threads. They have it one after another.
#[derive(Default)]
struct Queue {
    owner: Mutex<Owner>,
    freed: Condvar,
}

#[derive(Default)]
struct Owner {
    /// The thread whose call has the GPU.
    thread: Option<ThreadId>,
    /// The context that the last call left.
    context: Option<GpuContext>,
}

impl Queue {
    /// Waits for the calls before this one.
    ///
    /// A thread that has the GPU cannot wait for itself: a signal handler, or a hook for
    /// warnings, that asks for it in the middle of a call gets an error.
    fn take(&'static self, interrupted: InterruptCheck) -> Result<Lease, GpuError> {
        let this = thread::current().id();
        loop {
            let owner = lock(&self.owner);
            if owner.thread == Some(this) {
                let busy = "this thread is in the middle of another call that uses it";
                return Err(GpuError::Unavailable(busy.into()));
            }
            let wait = self
                .freed
                .wait_timeout_while(owner, INTERRUPT_POLL, |owner| owner.thread.is_some());
            let mut owner = wait.unwrap_or_else(PoisonError::into_inner).0;
            if owner.thread.is_none() {
                owner.thread = Some(this);
                return Ok(Lease { queue: self, context: owner.context.take() });
            }
            // Unlocked first: the check for interrupts may run anything.
            drop(owner);
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
    }
}

/// Exclusive use of a GPU. When it ends, the next call gets the GPU, and the context if there
/// still is one, which then is fit for use.
pub(super) struct Lease {
    queue: &'static Queue,
    pub context: Option<GpuContext>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *lock(&self.queue.owner) = Owner { thread: None, context: self.context.take() };
        self.queue.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn a_panic_ends_a_lease() {
        static QUEUE: LazyLock<Queue> = LazyLock::new(Queue::default);
        let panicking = thread::spawn(|| {
            let _lease = QUEUE.take(&|| true);
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert!(QUEUE.take(&|| true).is_ok());
    }

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        static QUEUE: LazyLock<Queue> = LazyLock::new(Queue::default);
        let lease = QUEUE.take(&|| true);
        assert!(matches!(QUEUE.take(&|| false), Err(GpuError::Unavailable(_))));
        drop(lease);
        assert!(QUEUE.take(&|| true).is_ok());
    }
}
