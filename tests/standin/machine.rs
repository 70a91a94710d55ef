//! All that the stand-in knows, behind one lock, and what every exported call begins with.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::faults::{Log, Trigger};
use super::memory::Memory;
use super::status;
use super::streams::{Device, Streams};

/// Contexts, one a device, and handles are numbers that no mapping has.
const FIRST_CONTEXT: u64 = 0x6000_0000_0000;
const FIRST_HANDLE: u64 = 0x6100_0000_0000;

const DEFAULT_MEMORY: u64 = 8 << 30;

pub struct Machine {
    pub devices: c_int,
    /// nvCOMP's version.
    pub version: u32,
    pub initialised: bool,
    /// How often each device's context is retained.
    retained: BTreeMap<c_int, u64>,
    pub device: Device,
    pub streams: Streams,
    /// Modules, each with the handle of its first function.
    pub modules: BTreeMap<u64, u64>,
    /// The codecs and directions of nvCOMP that were ever launched.
    pub loaded: BTreeSet<(u64, u64)>,
}

/// What a call needs to have happened before.
#[derive(Clone, Copy, PartialEq)]
pub enum Needs {
    Nothing,
    /// `cuInit`.
    Init,
    /// A current context.
    Context,
    /// A current context, of which nvCOMP reports the lack.
    ContextForNvcomp,
}

static MACHINE: LazyLock<Mutex<Machine>> =
    LazyLock::new(|| Mutex::new(Machine::from_environment()));

thread_local! {
    static CONTEXTS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A panic elsewhere leaves the state as usable as before.
fn lock() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handles are this far apart.
pub const HANDLE_STEP: u64 = 16;

/// A handle, or address of no memory, that was never given out before.
pub fn new_handle() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST_HANDLE);
    NEXT.fetch_add(HANDLE_STEP, Ordering::Relaxed)
}

/// An exported call: logs it, does `work` unless a fault or what it `needs` forbids, and
/// returns its status. Nothing unwinds to the caller.
pub fn call(
    name: &'static str,
    needs: Needs,
    work: impl FnOnce(&mut Machine) -> Result<(), i32>,
) -> i32 {
    let guarded = || {
        let mut machine = lock();
        machine.device.log.begin(name)?;
        machine.require(needs)?;
        work(&mut machine)
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(Ok(())) => 0,
        Ok(Err(status)) => status,
        Err(_) => {
            lock().device.log.violate("the stand-in panicked");
            status::UNKNOWN
        }
    }
}

/// An export that is for tests and leaves no trace in the log.
pub fn control<T: Default>(work: impl FnOnce(&mut Machine) -> T) -> T {
    catch_unwind(AssertUnwindSafe(|| work(&mut lock()))).unwrap_or_default()
}

impl Machine {
    fn from_environment() -> Self {
        let mut log = Log::default();
        log.attribute("the environment");
        let devices = setting(&mut log, "STANDIN_DEVICES").unwrap_or(1);
        let version = setting(&mut log, "STANDIN_VERSION").unwrap_or(5100);
        let memory = setting(&mut log, "STANDIN_MEMORY").unwrap_or(DEFAULT_MEMORY);
        if let Some(Failure { trigger, status, sticky }) = setting(&mut log, "STANDIN_FAIL") {
            log.plan(trigger, status, sticky);
        }
        Self {
            devices,
            version,
            initialised: false,
            retained: BTreeMap::new(),
            device: Device { memory: Memory::new(memory), log },
            streams: Streams::default(),
            modules: BTreeMap::new(),
            loaded: BTreeSet::new(),
        }
    }

    fn require(&mut self, needs: Needs) -> Result<(), i32> {
        let driver = matches!(needs, Needs::Init | Needs::Context);
        if driver && !self.initialised {
            return self.refuse(status::NOT_INITIALIZED, "nobody called cuInit");
        }
        let lack = match needs {
            Needs::Nothing | Needs::Init => return Ok(()),
            Needs::Context => status::INVALID_CONTEXT,
            Needs::ContextForNvcomp => status::nvcomp::CUDA_ERROR,
        };
        if self.context().is_some() {
            return Ok(());
        }
        self.refuse(lack, "no context is current")
    }

    /// The context that is current on this thread.
    pub fn context(&self) -> Option<u64> {
        let context = CONTEXTS.with_borrow(|contexts| contexts.last().copied())?;
        self.is_retained(context).then_some(context)
    }

    fn is_retained(&self, context: u64) -> bool {
        self.retained.keys().any(|&device| context_of(device) == context)
    }

    pub fn push_context(&mut self, context: u64) -> Result<(), i32> {
        if !self.is_retained(context) {
            return self.refuse(status::INVALID_CONTEXT, "a context that nobody retains");
        }
        CONTEXTS.with_borrow_mut(|contexts| contexts.push(context));
        Ok(())
    }

    pub fn pop_context(&mut self) -> Result<u64, i32> {
        match CONTEXTS.with_borrow_mut(Vec::pop) {
            Some(context) => Ok(context),
            None => self.refuse(status::INVALID_CONTEXT, "no context was pushed"),
        }
    }

    pub fn retain(&mut self, device: c_int) -> u64 {
        *self.retained.entry(device).or_default() += 1;
        context_of(device)
    }

    pub fn release(&mut self, device: c_int) -> Result<(), i32> {
        let Some(retains) = self.retained.get_mut(&device) else {
            return self.refuse(status::INVALID_CONTEXT, "a context that nobody retains");
        };
        *retains -= 1;
        if *retains == 0 {
            self.retained.remove(&device);
        }
        let live = self.live();
        if self.retained.is_empty() && live > 0 {
            self.device.log.violate(format!("the last context goes, {live} objects are in it"));
        }
        Ok(())
    }

    /// Allocations, streams, events, modules and retains.
    pub fn live(&self) -> u64 {
        let objects = self.device.memory.live() + self.streams.live() + self.modules.len();
        objects as u64 + self.retained.values().sum::<u64>()
    }

    pub fn refuse<T>(&mut self, status: i32, what: impl AsRef<str>) -> Result<T, i32> {
        self.device.log.refuse(status, what)
    }

    /// Records that a call would wait for ever, if a kernel never ends. Those were seen to on an
    /// H100 that free memory or destroy a context; others, that load code or lock pages, may.
    pub fn check_ends(&mut self) -> Result<(), i32> {
        if !self.streams.are_hung() {
            return Ok(());
        }
        self.refuse(status::UNKNOWN, "waits for a kernel that never ends")
    }

    /// Checks that a stream is live and of the current context.
    pub fn check_stream(&mut self, stream: u64) -> Result<(), i32> {
        match self.streams.context(stream) {
            Some(context) if Some(context) == self.context() => Ok(()),
            Some(_) => self.refuse(status::INVALID_HANDLE, "the stream is of another context"),
            None => self.refuse(status::INVALID_HANDLE, format!("{stream:#x} is no stream")),
        }
    }

    /// Where the caller wants a result.
    ///
    /// # Safety
    /// `place` is null, or valid for writes for as long as the call lasts.
    pub unsafe fn place<'a, T>(
        &mut self,
        place: *mut T,
        status: i32,
    ) -> Result<&'a mut MaybeUninit<T>, i32> {
        // SAFETY: valid as the caller promises, and memory without a value may be anything.
        match unsafe { place.cast::<MaybeUninit<T>>().as_mut() } {
            Some(place) => Ok(place),
            None => self.refuse(status, "no place for the result"),
        }
    }
}

fn context_of(device: c_int) -> u64 {
    FIRST_CONTEXT + 16 * u64::from(device.unsigned_abs())
}

/// Copies `text` and a NUL to a buffer, cut to its length, and returns the whole length.
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes, or null.
pub unsafe fn put_text(text: &str, buffer: *mut c_char, len: usize) -> usize {
    if !buffer.is_null() && len > 0 {
        let cut = text.len().min(len - 1);
        // SAFETY: `cut` bytes and the NUL are within `len`, and `text` is memory of our own.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), cut);
            buffer.add(cut).write(0);
        }
    }
    text.len()
}

/// A setting of the environment; one that makes no sense is a violation.
fn setting<T: FromStr>(log: &mut Log, name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        log.violate(format!("{name}={text} makes no sense"));
    }
    parsed
}

/// `<call>:<occurrence>:<status>:<sticky>`.
struct Failure {
    trigger: Trigger,
    status: i32,
    sticky: bool,
}

impl FromStr for Failure {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<_> = text.split(':').collect();
        let &[name, nth, status, sticky] = &parts[..] else { return Err(()) };
        let nth = nth.parse().map_err(|_| ())?;
        let status = status.parse().map_err(|_| ())?;
        Ok(Self { trigger: Trigger::Occurrence(name.into(), nth), status, sticky: sticky == "1" })
    }
}
