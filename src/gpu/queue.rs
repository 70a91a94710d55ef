//! One queue a GPU: calls have it one after another, whatever threads they come from.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    is_taken: bool,
    /// What the last call left.
    engine: Option<Engine>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls before this one. Whoever gets the GPU puts it back.
    pub fn take(&self, interrupted: Interrupted) -> Result<Option<Engine>, Failure> {
        let mut place = self.lock();
        while place.is_taken {
            let waited = self.freed.wait_timeout(place, PATIENCE);
            place = waited.unwrap_or_else(PoisonError::into_inner).0;
            if place.is_taken && interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        place.is_taken = true;
        Ok(place.engine.take())
    }

    /// Lets the next call have the GPU, and the engine if it is fit for use.
    pub fn put_back(&self, engine: Option<Engine>) {
        let mut place = self.lock();
        (place.is_taken, place.engine) = (false, engine);
        drop(place);
        self.freed.notify_one();
    }
}
