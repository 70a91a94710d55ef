//! One queue a GPU: calls have it one after another, whatever threads they come from.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::context::GpuContext;
use super::error::GpuError;
use crate::error::Error;
use crate::pool::{Interrupted, PATIENCE};

#[derive(Default)]
pub struct Queue {
    place: Mutex<Place>,
    freed: Condvar,
}

#[derive(Default)]
struct Place {
    /// The thread whose call has the GPU.
    owner: Option<ThreadId>,
    /// What the last call left.
    context: Option<GpuContext>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls before this one.
    ///
    /// A thread that has it cannot wait for itself: a signal handler, or a hook for warnings,
    /// that asks for the GPU in the middle of a call gets an error.
    pub fn take(&'static self, interrupted: Interrupted) -> Result<Turn, GpuError> {
        let this = thread::current().id();
        loop {
            let place = self.lock();
            if place.owner == Some(this) {
                let busy = "this thread is in the middle of another call that uses it";
                return Err(GpuError::Unavailable(busy.into()));
            }
            let wait = self.freed.wait_timeout_while(place, PATIENCE, |p| p.owner.is_some());
            let mut place = wait.unwrap_or_else(PoisonError::into_inner).0;
            if place.owner.is_none() {
                place.owner = Some(this);
                return Ok(Turn { queue: self, context: place.context.take() });
            }
            // Which may run anything, so that nothing is locked meanwhile.
            drop(place);
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
    }
}

/// Exclusive use of a GPU. Its end lets the next call have the GPU, and the context if there
/// still is one, which then is fit for use.
pub struct Turn {
    queue: &'static Queue,
    pub context: Option<GpuContext>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut place = self.queue.lock();
        (place.owner, place.context) = (None, self.context.take());
        drop(place);
        self.queue.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_by_a_panic() {
        let queue: &Queue = Box::leak(Box::default());
        let panicking = thread::spawn(|| {
            let _turn = queue.take(&|| true);
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert!(queue.take(&|| true).is_ok());
    }

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        let queue: &Queue = Box::leak(Box::default());
        let turn = queue.take(&|| true);
        assert!(matches!(queue.take(&|| false), Err(GpuError::Unavailable(_))));
        drop(turn);
        assert!(queue.take(&|| true).is_ok());
    }
}
