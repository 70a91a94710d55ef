//! State that lives once per process, forks included, and the one way to lock it.
//!
//! A forked child has none of its parent's threads, and any lock may have been held by
//! one of them. So such state hangs off one atomic pointer that no longer counts after a
//! fork: the child leaks its parent's state untouched and makes its own.

use std::ptr::null_mut;
#[cfg(unix)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Forks between the first process that used this and the present one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

#[cfg(unix)]
extern "C" fn count_in_child() {
    GENERATION.fetch_add(1, Ordering::Release);
}

/// A static value that every process makes for itself at first use.
pub struct PerProcess<T>(AtomicPtr<(u64, T)>);

impl<T: Default + Send + Sync> PerProcess<T> {
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// This process's value.
    pub fn get(&'static self) -> &'static T {
        let seen = self.0.load(Ordering::Acquire);
        // SAFETY: what the pointer holds was leaked and so lives for ever; it is shared only.
        match unsafe { seen.as_ref() } {
            Some((generation, value)) if *generation == GENERATION.load(Ordering::Acquire) => value,
            _ => self.make(seen),
        }
    }

    #[cold]
    fn make(&'static self, seen: *mut (u64, T)) -> &'static T {
        #[cfg(unix)]
        {
            static AT_FORK: AtomicBool = AtomicBool::new(false);
            if !AT_FORK.swap(true, Ordering::Relaxed) {
                // SAFETY: the handler changes one atomic, which is all a child may do.
                unsafe { libc::pthread_atfork(None, None, Some(count_in_child)) };
            }
        }
        let generation = GENERATION.load(Ordering::Acquire);
        let fresh = Box::into_raw(Box::new((generation, T::default())));
        match self.0.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: leaked just above, shared only from here on.
            Ok(_) => unsafe { &(*fresh).1 },
            // SAFETY: nobody else has seen `fresh`; `theirs` was leaked like it, by a thread
            // of this process, since no other runs here.
            Err(theirs) => unsafe {
                drop(Box::from_raw(fresh));
                &(*theirs).1
            },
        }
    }
}

/// Locks `mutex`, whether or not a thread panicked while it held it: what is kept under locks
/// here is whole at any time.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `mutex` holds, which nobody else can lock meanwhile; as whole as under [`lock`].
pub(crate) fn exclusive<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}
