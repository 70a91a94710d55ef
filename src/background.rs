//! Long calls on a background thread, while the calling thread listens for interrupts.
//!
//! A call of libzstd cannot be stopped, and at high levels it takes up to minutes. So long calls
//! run in the background. After an interrupt the caller returns; the thread finishes the library
//! calls in progress, with its inputs kept alive, and drops the results.

use std::mem::forget;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::codec::Codec;
use crate::error::{Error, Result, catch_panic};
use crate::gpu::{self, Device};
use crate::memory::probe;
use crate::pool::{self, INTERRUPT_POLL, InterruptCheck};
use crate::process::{PerProcess, lock};

/// How long the caller waits for the thread after an interrupt.
const GRACE: Duration = Duration::from_millis(150);

/// The overhead of a row, in bytes: a row without any costs as much time as this many bytes.
pub(crate) const ROW_COST: usize = 256;

/// Decompressing this many bytes of payloads takes a few milliseconds.
pub const SHORT_PAYLOAD_BYTES: usize = 1 << 20;

/// Whether compressing `bytes` bytes in `rows` rows takes ten milliseconds or more, and so is
/// worth a background thread, which costs some hundredths of a millisecond.
pub fn is_long_compression(codec: &Codec, bytes: usize, rows: usize) -> bool {
    let device = codec.device().unwrap_or(Device::Cpu);
    let work = bytes.saturating_add(rows.saturating_mul(ROW_COST));
    work > short_value_bytes(codec) && !is_for_gpu(device)
}

/// Compressing this many bytes takes ten to twenty milliseconds.
pub(crate) fn short_value_bytes(codec: &Codec) -> usize {
    match codec.level() {
        None | Some(..=3) => 4 << 20,
        Some(4..=9) => 1 << 20,
        Some(10..=15) => 128 << 10,
        Some(_) => 32 << 10,
    }
}

/// The same for decompressing payloads of `bytes` bytes in `rows` rows.
pub fn is_long_decompression(device: Device, bytes: usize, rows: usize) -> bool {
    bytes.saturating_add(rows.saturating_mul(ROW_COST)) > SHORT_PAYLOAD_BYTES && !is_for_gpu(device)
}

/// GPU work stays on the calling thread: its waits are short, and it must not be abandoned while
/// work is in flight.
fn is_for_gpu(device: Device) -> bool {
    gpu::may_use(device)
}

/// Runs `work`: in the background if it is long, else on the calling thread.
pub fn run<I: Send + Sync + 'static, T: Send + 'static>(
    is_long: bool,
    inputs: I,
    work: impl FnOnce(&I, InterruptCheck) -> Result<T> + Send + 'static,
    interrupted: InterruptCheck,
) -> Result<T> {
    if !is_long {
        return work(&inputs, interrupted);
    }
    let inputs = Arc::new(Kept(Some(inputs)));
    let call = Arc::new(Call { state: Mutex::new(State::Working), changed: Condvar::new() });
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = (Arc::clone(&inputs), Arc::clone(&call), Arc::clone(&stop));
    let body = move || {
        let (inputs, call, stop) = theirs;
        let done = pool::stopped_by(&stop, || {
            catch_panic(|| match &inputs.0 {
                Some(inputs) => work(inputs, &|| stop.load(Ordering::Relaxed)),
                None => Err(Error::Interrupted),
            })
        });
        call.finish(done, inputs);
    };
    let thread = Thread::take()?;
    thread.start(Box::new(body))?;
    while !call.wait(INTERRUPT_POLL) {
        if interrupted() {
            stop.store(true, Ordering::Relaxed);
            if !call.wait(GRACE) && call.abandon() {
                // Its threads are busy for a while, so the next call gets another pool.
                pool::abandon();
            }
            return Err(Error::Interrupted);
        }
    }
    thread.keep();
    let done = call.take();
    // The last reference: the thread dropped its own before it reported the result.
    drop(Arc::into_inner(inputs).and_then(|mut kept| kept.0.take()));
    done
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that runs calls one after another; it ends after its call once this is dropped.
struct Thread(Sender<Work>);

/// Idle threads. Waking one is faster than starting one, by far on a busy machine.
static IDLE: PerProcess<Mutex<Vec<Thread>>> = PerProcess::new();

const MAX_IDLE: usize = 4;

impl Thread {
    fn take() -> Result<Self> {
        if let Some(idle) = IDLE.get().lock().ok().and_then(|mut idle| idle.pop()) {
            return Ok(idle);
        }
        probe()?;
        let (send, receive) = channel::<Work>();
        thread::Builder::new()
            .name("s4-call".into())
            .spawn(move || receive.into_iter().for_each(|work| work()))
            .map_err(|error| Error::Backend(format!("could not start a thread: {error}")))?;
        Ok(Self(send))
    }

    fn start(&self, work: Work) -> Result<()> {
        self.0.send(work).map_err(|_| Error::Backend("internal error: a thread ended early".into()))
    }

    /// Keeps the thread for the next call.
    fn keep(self) {
        if let Ok(mut idle) = IDLE.get().lock()
            && idle.len() < MAX_IDLE
        {
            idle.push(self);
        }
    }
}

enum State<T> {
    Working,
    Done(Result<T>),
    /// The caller has returned.
    Abandoned,
}

struct Call<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Call<T> {
    /// Hands over the result. If the caller has returned, drops it and then the inputs.
    fn finish<I>(&self, done: Result<T>, inputs: Arc<Kept<I>>) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Abandoned) {
            drop(state);
            drop(done);
            drop(inputs);
            return;
        }
        // The caller holds them too.
        drop(inputs);
        *state = State::Done(done);
        self.changed.notify_one();
    }

    /// Waits for at most `time`; returns whether the call is done.
    fn wait(&self, time: Duration) -> bool {
        let state = lock(&self.state);
        let is_working = |state: &mut State<T>| matches!(state, State::Working);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, is_working)
            .unwrap_or_else(PoisonError::into_inner);
        !matches!(*state, State::Working)
    }

    /// Records that the caller returns; whether the call was still running.
    fn abandon(&self) -> bool {
        let mut state = lock(&self.state);
        let was_working = matches!(*state, State::Working);
        if was_working {
            *state = State::Abandoned;
        }
        was_working
    }

    fn take(&self) -> Result<T> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Abandoned) {
            State::Done(done) => done,
            _ => Err(Error::Interrupted),
        }
    }
}

/// Releases memory that belongs to another runtime, such as Python, on a thread which that
/// runtime does not know; it does nothing once the runtime has ended.
type Release = fn(&mut dyn FnMut());

static RELEASE: OnceLock<Release> = OnceLock::new();

/// Sets what releases the inputs of an abandoned call; only the first call counts.
pub fn set_release(release: Release) {
    RELEASE.get_or_init(|| release);
}

/// Inputs that [`RELEASE`] may have to release.
struct Kept<I>(Option<I>);

impl<I> Drop for Kept<I> {
    fn drop(&mut self) {
        let Some(release) = RELEASE.get().filter(|_| self.0.is_some()) else { return };
        let mut inputs = self.0.take();
        release(&mut || drop(inputs.take()));
        // The runtime has ended, and the process is about to.
        forget(inputs);
    }
}
