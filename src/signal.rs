//! Detects SIGINT for threads that cannot check for it, such as those of Polars.
//!
//! A handler counts signals and passes them on to the handler that was there. Crates that
//! chain handlers do so once; but Python's `signal.signal` replaces what it finds, which
//! notebooks and asyncio do all the time, so the handler is put back before each long call.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use crate::memory::probe;
use crate::pool::INTERRUPT_POLL;

#[cfg(unix)]
use handler::count;

#[cfg(not(unix))]
fn count() -> usize {
    0
}

static STOPS: OnceLock<fn() -> bool> = OnceLock::new();

/// Says who knows whether an interrupt stops what runs; the first call counts. Asked on a
/// thread of its own, as it may have to wait.
pub fn set_hook(stops: fn() -> bool) {
    STOPS.get_or_init(|| stops);
}

/// Whether an interrupt came since this was started.
pub struct Listening {
    heard: Cell<usize>,
    answer: RefCell<Option<Receiver<bool>>>,
    is_interrupted: Cell<bool>,
}

impl Listening {
    /// Starts to listen.
    pub fn start() -> Self {
        let heard = Cell::new(count());
        Self { heard, answer: RefCell::default(), is_interrupted: Cell::new(false) }
    }

    /// Whether an interrupt came.
    pub fn is_interrupted(&self) -> bool {
        if self.is_interrupted.get() {
            return true;
        }
        let mut answer = self.answer.borrow_mut();
        let count = count();
        if answer.is_none() && count != self.heard.replace(count) {
            *answer = ask();
        }
        if let Some(asked) = &*answer {
            match asked.try_recv() {
                Err(TryRecvError::Empty) => {}
                other => {
                    self.is_interrupted.set(other == Ok(true));
                    *answer = None;
                }
            }
        }
        self.is_interrupted.get()
    }
}

/// Where the answer of [`STOPS`] will be, mostly at once.
fn ask() -> Option<Receiver<bool>> {
    let stops = STOPS.get()?;
    let (send, receive) = channel();
    let (waits, done) = channel::<()>();
    let body = move || {
        let _ = send.send(stops());
        drop(waits);
    };
    probe().ok()?;
    thread::Builder::new().name("s4-signal".into()).spawn(body).ok()?;
    let _ = done.recv_timeout(INTERRUPT_POLL);
    Some(receive)
}

#[cfg(unix)]
mod handler {
    use std::mem::{MaybeUninit, zeroed};
    use std::ptr::{null, null_mut};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use libc::{SIG_DFL, SIG_IGN, SIGINT, c_int, c_void, sigaction, siginfo_t};

    use crate::process::{PerProcess, lock};

    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// The most foreign handlers that can be chained to.
    const PLACES: usize = 8;

    /// The foreign handlers. Each has a handler of ours that passes signals on to it only, so
    /// whatever they pass signals on to in turn, a chain cannot become a loop.
    static OTHERS: [AtomicPtr<sigaction>; PLACES] = [const { AtomicPtr::new(null_mut()) }; PLACES];

    type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

    const OURS: [Handler; PLACES] = [
        on_signal::<0>,
        on_signal::<1>,
        on_signal::<2>,
        on_signal::<3>,
        on_signal::<4>,
        on_signal::<5>,
        on_signal::<6>,
        on_signal::<7>,
    ];

    static CHANGES: PerProcess<Mutex<()>> = PerProcess::new();

    extern "C" fn on_signal<const PLACE: usize>(
        signal: c_int,
        info: *mut siginfo_t,
        context: *mut c_void,
    ) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: null, or leaked by `chain` before this handler was installed.
        let Some(other) = (unsafe { OTHERS[PLACE].load(Ordering::Acquire).as_ref() }) else {
            return;
        };
        // SAFETY: the system had this address for a handler of the kind that the flag says.
        unsafe {
            if other.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: Handler = std::mem::transmute(other.sa_sigaction);
                handler(signal, info, context);
            } else {
                let handler: extern "C" fn(c_int) = std::mem::transmute(other.sa_sigaction);
                handler(signal);
            }
        }
    }

    /// The number of interrupts so far, counted from now on if they were not before.
    pub fn count() -> usize {
        let _changing = lock(CHANGES.get());
        chain();
        COUNT.load(Ordering::Relaxed)
    }

    /// Puts a handler before that of others, if there is one: what is ignored stays so, and
    /// what ends the process needs nobody to listen.
    fn chain() {
        let mut found = MaybeUninit::<sigaction>::uninit();
        // SAFETY: asks for the present action; filled in where it succeeds.
        let found = unsafe {
            if libc::sigaction(SIGINT, null(), found.as_mut_ptr()) != 0 {
                return;
            }
            found.assume_init()
        };
        let is_ours = |handler: &Handler| *handler as usize == found.sa_sigaction;
        if [SIG_DFL, SIG_IGN].contains(&found.sa_sigaction) || OURS.iter().any(is_ours) {
            return;
        }
        for (other, handler) in OTHERS.iter().zip(OURS) {
            // SAFETY: null, or leaked below.
            match unsafe { other.load(Ordering::Acquire).as_ref() } {
                Some(other) if other.sa_sigaction != found.sa_sigaction => continue,
                Some(_) => {}
                None => other.store(Box::into_raw(Box::new(found)), Ordering::Release),
            }
            // SAFETY: all zeroes are a value of this structure of C's; flags and mask are
            // those that the other handler was installed with.
            unsafe {
                let mut ours: sigaction = zeroed();
                ours.sa_sigaction = handler as usize;
                ours.sa_flags = found.sa_flags & !libc::SA_RESETHAND | libc::SA_SIGINFO;
                ours.sa_mask = found.sa_mask;
                libc::sigaction(SIGINT, &ours, null_mut());
            }
            return;
        }
    }
}
