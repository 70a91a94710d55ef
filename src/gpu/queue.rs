//! One queue a GPU: calls have it one after another, whatever threads they come from.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::engine::Engine;
use super::failure::Failure;
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
    engine: Option<Engine>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls before this one. Whoever gets the GPU puts it back.
    ///
    /// A thread that has it cannot wait for itself: a signal handler, or a hook for warnings,
    /// that asks for the GPU in the middle of a call gets an error.
    pub fn take(&self, interrupted: Interrupted) -> Result<Option<Engine>, Failure> {
        let this = thread::current().id();
        loop {
            let place = self.lock();
            if place.owner == Some(this) {
                let busy = "this thread is in the middle of another call that uses it";
                return Err(Failure::Unavailable(busy.into()));
            }
            let wait = self.freed.wait_timeout_while(place, PATIENCE, |p| p.owner.is_some());
            let mut place = wait.unwrap_or_else(PoisonError::into_inner).0;
            if place.owner.is_none() {
                place.owner = Some(this);
                return Ok(place.engine.take());
            }
            // Which may run anything, so that nothing is locked meanwhile.
            drop(place);
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
    }

    /// Lets the next call have the GPU, and the engine if it is fit for use.
    pub fn put_back(&self, engine: Option<Engine>) {
        let mut place = self.lock();
        (place.owner, place.engine) = (None, engine);
        drop(place);
        self.freed.notify_one();
    }
}
