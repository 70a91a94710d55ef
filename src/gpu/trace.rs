//! How long the steps of a session take: `S4_GPU_TIMINGS=1` prints a line per session to standard
//! error. With `S4_GPU_TIMINGS=serial` each step is waited for, so that none overlaps another;
//! else `Wait` is what the overlap does not hide.

use std::fmt;
use std::time::{Duration, Instant};

/// The steps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The source fills the batch.
    Fill,
    Stage,
    Upload,
    Code,
    Gather,
    Download,
    Wait,
    /// The source's part: from a batch's results to the next call of the session.
    Assemble,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Fill,
        Self::Stage,
        Self::Upload,
        Self::Code,
        Self::Gather,
        Self::Download,
        Self::Wait,
        Self::Assemble,
    ];
}

/// The times of one session.
pub struct Trace {
    is_on: bool,
    is_serial: bool,
    started: Instant,
    /// By step.
    spent: [Duration; Step::ALL.len()],
    batches: usize,
    bytes: usize,
    /// When the source got the results that it has.
    lent: Option<Instant>,
}

impl Trace {
    pub fn new() -> Self {
        let mode = std::env::var_os("S4_GPU_TIMINGS").unwrap_or_default();
        Self {
            is_on: !mode.is_empty(),
            is_serial: mode == "serial",
            started: Instant::now(),
            spent: Default::default(),
            batches: 0,
            bytes: 0,
            lent: None,
        }
    }

    /// Whether to wait for each step.
    pub fn is_serial(&self) -> bool {
        self.is_serial
    }

    /// Counts a batch of `bytes` bytes of originals.
    pub fn count(&mut self, bytes: usize) {
        self.batches += 1;
        self.bytes += bytes;
    }

    /// Runs `work` and adds its time to a step.
    pub fn time<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
        let start = self.start();
        let done = work();
        self.add(step, start);
        done
    }

    /// When a step starts, if its time counts.
    pub fn start(&self) -> Option<Instant> {
        self.is_on.then(Instant::now)
    }

    /// Adds the time since `start` to a step.
    pub fn add(&mut self, step: Step, start: Option<Instant>) {
        self.spent[step as usize] += start.map_or(Duration::ZERO, |start| start.elapsed());
    }

    /// The source has results from now on.
    pub fn lend(&mut self) {
        self.lent = self.start();
    }

    /// The source is done with its results.
    pub fn take_back(&mut self) {
        let since = self.lent.take();
        self.add(Step::Assemble, since);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.started.elapsed().as_secs_f64();
        let Self { batches, bytes, .. } = self;
        write!(
            f,
            "gpu session: {batches} batches, {bytes} bytes of originals, {total:.6} s in all"
        )?;
        for step in Step::ALL {
            let seconds = self.spent[step as usize].as_secs_f64();
            write!(f, ", {step:?} {seconds:.6}")?;
        }
        Ok(())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.take_back();
        if self.is_on && self.batches > 0 {
            eprintln!("{self}");
        }
    }
}
