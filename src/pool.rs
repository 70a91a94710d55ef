//! The one thread pool of the process, and how work is shared out on it.
//!
//! Work on the pool never waits for a GPU: whoever holds one may be waiting for the pool.

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::memory::probe;
use crate::process::{PerProcess, lock};

static POOL: PerProcess<Mutex<Option<Arc<ThreadPool>>>> = PerProcess::new();

/// What `set_num_threads` asked for; 0 for the default. Outlives a fork.
static REQUESTED: AtomicUsize = AtomicUsize::new(0);

const MAX_THREADS: usize = 1024;

/// This process's pool of `threads` threads, made at first use and when the number changes.
fn pool(threads: usize) -> Result<Arc<ThreadPool>> {
    let mut slot = lock(POOL.get());
    if let Some(pool) = slot.as_ref().filter(|pool| pool.current_num_threads() == threads) {
        return Ok(Arc::clone(pool));
    }
    probe()?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("s4-codec-{index}"))
        .build()
        .map_err(|error| Error::Backend(format!("could not start threads: {error}")))?;
    Ok(Arc::clone(slot.insert(Arc::new(pool))))
}

/// Threads that columns run on: what [`set_num_threads`] said, else `S4_NUM_THREADS`, else
/// the cores that this process may use.
pub fn num_threads() -> Result<usize> {
    match REQUESTED.load(Ordering::Relaxed) {
        0 => {}
        requested => return Ok(requested),
    }
    match std::env::var_os("S4_NUM_THREADS").map(|text| text.to_string_lossy().into_owned()) {
        Some(text) if !text.trim().is_empty() => match text.trim().parse::<usize>() {
            Ok(threads) if (1..=MAX_THREADS).contains(&threads) => Ok(threads),
            _ => Err(Error::Argument(format!(
                "S4_NUM_THREADS must be a whole number from 1 to {MAX_THREADS}, got {text:?}"
            ))),
        },
        _ => Ok(std::thread::available_parallelism().map_or(1, NonZero::get)),
    }
}

/// Sets the number of threads for columns from now on. Work in flight ends where it runs.
pub fn set_num_threads(threads: i64) -> Result<()> {
    let valid = usize::try_from(threads).ok().filter(|n| (1..=MAX_THREADS).contains(n));
    let Some(valid) = valid else {
        return Err(Error::Argument(format!(
            "the number of threads must be from 1 to {MAX_THREADS}, got {threads}"
        )));
    };
    REQUESTED.store(valid, Ordering::Relaxed);
    abandon();
    Ok(())
}

/// Leaves the pool to the work in flight; the next call makes another.
pub fn abandon() {
    let old = lock(POOL.get()).take();
    drop(old);
}

/// Asked by the calling thread every [`INTERRUPT_POLL`] while the pool works; `true` ends the work.
pub type InterruptCheck<'a> = &'a dyn Fn() -> bool;

/// For calls that cannot be interrupted.
pub const NO_INTERRUPT: InterruptCheck = &|| false;

/// The longest time between two checks for an interrupt.
pub const INTERRUPT_POLL: Duration = Duration::from_millis(50);

thread_local! {
    /// Set when the work of this thread is cancelled.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Whether the work of this thread is cancelled. Checked between rows, as one may take seconds.
pub fn stopped() -> bool {
    STOP.with_borrow(|stop| stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)))
}

/// Runs `work`, in which [`stopped`] reads `stop`.
pub fn stopped_by<R>(stop: &Arc<AtomicBool>, work: impl FnOnce() -> R) -> R {
    struct Restored(Option<Arc<AtomicBool>>);
    impl Drop for Restored {
        fn drop(&mut self) {
            STOP.set(self.0.take());
        }
    }
    let _restored = Restored(STOP.replace(Some(Arc::clone(stop))));
    work()
}

/// Checks for interrupts in a loop over rows on the calling thread.
pub struct Listener<'a> {
    interrupted: InterruptCheck<'a>,
    steps: u32,
    looked: Instant,
}

impl<'a> Listener<'a> {
    /// Steps between two reads of the clock.
    const STRIDE: u32 = 4096;

    /// Asks `interrupted` from time to time.
    pub fn new(interrupted: InterruptCheck<'a>) -> Self {
        Self { interrupted, steps: 0, looked: Instant::now() }
    }

    /// Counts one row; fails after an interrupt.
    #[inline]
    pub fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps < Self::STRIDE { Ok(()) } else { self.look() }
    }

    /// Checks now, for instance after a chunk of rows.
    pub fn look(&mut self) -> Result<()> {
        self.steps = 0;
        if stopped() {
            return Err(Error::Interrupted);
        }
        if self.looked.elapsed() > INTERRUPT_POLL {
            if (self.interrupted)() {
                return Err(Error::Interrupted);
            }
            self.looked = Instant::now();
        }
        Ok(())
    }
}

/// Runs `work` on all `items`, on all threads of the pool, each with its own state from `start`,
/// and returns the states. Threads take items from one queue; a single item runs on the calling
/// thread. After an interrupt the rows in progress are finished and no others started.
pub fn run_parallel<T: Send, S: Send>(
    mut items: impl Iterator<Item = T> + Send,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) + Sync,
    interrupted: InterruptCheck,
) -> Result<Vec<S>> {
    // Checked before a single item too: whether the setting is valid must not depend on the data.
    let threads = num_threads()?;
    let first = items.next();
    let second = items.next();
    if second.is_none() {
        let mut state = start();
        first.into_iter().for_each(|item| work(&mut state, item));
        return if stopped() { Err(Error::Interrupted) } else { Ok(vec![state]) };
    }
    let pool = pool(threads)?;
    let queue = Mutex::new(Some(first.into_iter().chain(second).chain(items)));
    let next = || lock(&queue).as_mut().and_then(Iterator::next);
    let states = Mutex::new(Vec::new());
    let busy = Busy::new(pool.current_num_threads());
    let stop = Arc::new(AtomicBool::new(false));
    // The calling thread waits in place, where it can look for interrupts.
    pool.in_place_scope(|scope| {
        for _ in 0..pool.current_num_threads() {
            scope.spawn(|_| {
                let _done = busy.done_on_drop();
                stopped_by(&stop, || {
                    let mut state = start();
                    while let Some(item) = next() {
                        work(&mut state, item);
                    }
                    lock(&states).push(state);
                });
            });
        }
        while !busy.wait(INTERRUPT_POLL) {
            if interrupted() {
                stop.store(true, Ordering::Relaxed);
                *lock(&queue) = None;
                break;
            }
        }
    });
    if lock(&queue).is_none() {
        return Err(Error::Interrupted);
    }
    Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// How many threads are still at work.
struct Busy {
    threads: Mutex<usize>,
    idle: Condvar,
}

impl Busy {
    fn new(threads: usize) -> Self {
        Self { threads: Mutex::new(threads), idle: Condvar::new() }
    }

    /// Counts a thread off when the result drops, even in a panic.
    fn done_on_drop(&self) -> impl Drop + '_ {
        struct Done<'a>(&'a Busy);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                *lock(&self.0.threads) -= 1;
                self.0.idle.notify_one();
            }
        }
        Done(self)
    }

    /// Waits for at most `time`; returns whether all are done.
    fn wait(&self, time: Duration) -> bool {
        let (threads, _) = self
            .idle
            .wait_timeout_while(lock(&self.threads), time, |threads| *threads > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *threads == 0
    }
}
