//! Long calls on a thread of their own, while the calling thread listens for interrupts.
//!
//! One call of libzstd cannot be stopped, and at high levels it takes up to minutes. So what
//! may take long runs apart. After an interrupt the caller leaves; the thread finishes the
//! calls that are in hand, with its inputs kept alive, and drops what came of them.

use std::mem::forget;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::codec::Codec;
use crate::error::{Error, Result, catch_panic};
use crate::gpu::{self, Device};
use crate::pool::{self, Interrupted, PATIENCE};
use crate::process::{PerProcess, lock};

/// After an interrupt the thread may take so long to end in order.
const GRACE: Duration = Duration::from_millis(150);

/// What a row costs beside its bytes, in bytes.
const ROW_COST: usize = 256;

/// Decompressing so many bytes of payloads takes some milliseconds.
pub const SHORT_PAYLOADS: usize = 1 << 20;

/// Whether compressing so many bytes, in so many rows, is worth another thread, which
/// takes some hundredths of a millisecond: not under about ten milliseconds.
pub fn is_long(codec: &Codec, bytes: usize, rows: usize) -> bool {
    let short = match codec.level() {
        None | Some(..=3) => 4 << 20,
        Some(4..=9) => 1 << 20,
        Some(10..=15) => 128 << 10,
        Some(_) => 32 << 10,
    };
    let device = codec.device().unwrap_or(Device::Cpu);
    bytes.saturating_add(rows.saturating_mul(ROW_COST)) > short && !is_for_gpu(device)
}

/// The same of decompressing payloads of so many bytes together.
pub fn is_long_back(device: Device, bytes: usize, rows: usize) -> bool {
    bytes.saturating_add(rows.saturating_mul(ROW_COST)) > SHORT_PAYLOADS && !is_for_gpu(device)
}

/// Work on a GPU stays where it is: its waits are short, and a GPU must not be left behind
/// with work under way.
fn is_for_gpu(device: Device) -> bool {
    match device {
        Device::Cpu => false,
        Device::Gpu(_) => true,
        Device::Auto => gpu::available(),
    }
}

/// Runs `work`: here, or apart if it is long.
pub fn run<I: Send + Sync + 'static, T: Send + 'static>(
    is_long: bool,
    inputs: I,
    work: impl FnOnce(&I, Interrupted) -> Result<T> + Send + 'static,
    interrupted: Interrupted,
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
    while !call.wait(PATIENCE) {
        if interrupted() {
            stop.store(true, Ordering::Relaxed);
            if !call.wait(GRACE) && call.abandon() {
                // Its threads are busy for a while, and not to be waited for.
                pool::abandon();
            }
            return Err(Error::Interrupted);
        }
    }
    thread.keep();
    let done = call.take();
    // The last to go, as the thread let them go before it said that it was done.
    drop(Arc::into_inner(inputs).and_then(|mut kept| kept.0.take()));
    done
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread for calls, one after another; it ends after its call once this has been dropped.
struct Thread(Sender<Work>);

/// Threads without a call. To wake one is quicker than to start one, by far on a busy machine.
static IDLE: PerProcess<Mutex<Vec<Thread>>> = PerProcess::new();

const MOST_IDLE: usize = 4;

impl Thread {
    fn take() -> Result<Self> {
        if let Some(idle) = IDLE.get().lock().ok().and_then(|mut idle| idle.pop()) {
            return Ok(idle);
        }
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

    /// Keeps the thread, whose call is over, for the next.
    fn keep(self) {
        if let Ok(mut idle) = IDLE.get().lock()
            && idle.len() < MOST_IDLE
        {
            idle.push(self);
        }
    }
}

enum State<T> {
    Working,
    Done(Result<T>),
    /// Nobody waits any more.
    Abandoned,
}

struct Call<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Call<T> {
    /// Hands over what came of the inputs; drops both, the inputs last, if nobody waits.
    fn finish<I>(&self, done: Result<T>, inputs: Arc<Kept<I>>) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Abandoned) {
            drop(state);
            drop(done);
            drop(inputs);
            return;
        }
        // The caller has them too.
        drop(inputs);
        *state = State::Done(done);
        self.changed.notify_one();
    }

    /// Waits so long at most; whether it is done.
    fn wait(&self, time: Duration) -> bool {
        let state = lock(&self.state);
        let is_working = |state: &mut State<T>| matches!(state, State::Working);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, is_working)
            .unwrap_or_else(PoisonError::into_inner);
        !matches!(*state, State::Working)
    }

    /// Says that nobody waits any more; whether there was something to wait for.
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

/// What releases memory of others, such as Python, on a thread that they do not know; it may
/// decline, once they are gone.
type Release = fn(&mut dyn FnMut());

static RELEASE: OnceLock<Release> = OnceLock::new();

/// Says who releases the inputs of a call that was left behind; the first call counts.
pub fn set_release(release: Release) {
    RELEASE.get_or_init(|| release);
}

/// Inputs that may have to be released by [`RELEASE`].
struct Kept<I>(Option<I>);

impl<I> Drop for Kept<I> {
    fn drop(&mut self) {
        let Some(release) = RELEASE.get().filter(|_| self.0.is_some()) else { return };
        let mut inputs = self.0.take();
        release(&mut || drop(inputs.take()));
        // Their owners are gone, and so is the process in a moment.
        forget(inputs);
    }
}
