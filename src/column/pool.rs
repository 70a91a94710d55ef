//! The one thread pool, and what else lives once per process.
//!
//! A forked child has none of its parent's threads, and any lock may have been held by
//! one of them. So everything hangs off one atomic pointer that a fork clears in the child:
//! it leaks its parent's state untouched and makes its own.

use std::num::NonZero;
use std::ptr::null_mut;
#[cfg(unix)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::memory::KeptRegions;
use crate::error::{Error, Result};

static RUNTIME: AtomicPtr<Runtime> = AtomicPtr::new(null_mut());

/// What `set_num_threads` asked for; 0 while nobody asked. Outlives a fork.
static REQUESTED: AtomicUsize = AtomicUsize::new(0);

const MAX_THREADS: usize = 1024;

/// The state of one process.
#[derive(Default)]
pub struct Runtime {
    pool: Mutex<Option<Arc<ThreadPool>>>,
    pub(super) kept: KeptRegions,
}

#[cfg(unix)]
extern "C" fn forget_in_child() {
    RUNTIME.store(null_mut(), Ordering::Release);
}

impl Runtime {
    /// This process's state, made at first use.
    pub fn get() -> &'static Self {
        let seen = RUNTIME.load(Ordering::Acquire);
        // SAFETY: what the pointer holds was leaked and so lives for ever; it is shared only.
        unsafe { seen.as_ref() }.unwrap_or_else(Self::make)
    }

    #[cold]
    fn make() -> &'static Self {
        #[cfg(unix)]
        {
            static AT_FORK: AtomicBool = AtomicBool::new(false);
            if !AT_FORK.swap(true, Ordering::Relaxed) {
                // SAFETY: the handler stores one atomic, which is all a child may do.
                unsafe { libc::pthread_atfork(None, None, Some(forget_in_child)) };
            }
        }
        let fresh = Box::into_raw(Box::<Self>::default());
        let exchanged =
            RUNTIME.compare_exchange(null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        match exchanged {
            // SAFETY: leaked just above, shared only from here on.
            Ok(_) => unsafe { &*fresh },
            // SAFETY: nobody else has seen `fresh`; `theirs` was leaked like it.
            Err(theirs) => unsafe {
                drop(Box::from_raw(fresh));
                &*theirs
            },
        }
    }

    fn pool(&self, threads: usize) -> Result<Arc<ThreadPool>> {
        let mut slot = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*slot {
            return Ok(Arc::clone(pool));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("s4-codec-{index}"))
            .build()
            .map_err(|error| Error::Backend(format!("could not start threads: {error}")))?;
        Ok(Arc::clone(slot.insert(Arc::new(pool))))
    }
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
                "S4_NUM_THREADS must be a whole number from 1 to {MAX_THREADS}, it is {text:?}"
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
    let old = Runtime::get().pool.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(old);
    Ok(())
}

/// Works off `items` on as many threads as help, each with its own state from `start`, and
/// returns the states. Items are drawn as threads come for them; a single one stays on the
/// calling thread.
pub fn work_off<T: Send, S: Send>(
    mut items: impl Iterator<Item = T> + Send,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) + Sync,
) -> Result<Vec<S>> {
    // Also where one thread will do: whether the setting is valid must not hang on the data.
    let threads = num_threads()?;
    let first = items.next();
    let second = items.next();
    if second.is_none() {
        let mut state = start();
        first.into_iter().for_each(|item| work(&mut state, item));
        return Ok(vec![state]);
    }
    let pool = Runtime::get().pool(threads)?;
    let queue = Mutex::new(first.into_iter().chain(second).chain(items));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let states = Mutex::new(Vec::new());
    pool.scope(|scope| {
        for _ in 0..pool.current_num_threads() {
            scope.spawn(|_| {
                let mut state = start();
                while let Some(item) = next() {
                    work(&mut state, item);
                }
                states.lock().unwrap_or_else(PoisonError::into_inner).push(state);
            });
        }
    });
    Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner))
}
