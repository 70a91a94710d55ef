//! How the work on one column is cut, shared out and brought together again.

use std::alloc::{Layout, alloc_zeroed};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bad_rows::{BadRow, BadRows, OnError};
use super::memory::Arena;
use super::output::{Announced, Zero};
use crate::error::{Error, Result, RowError};
use crate::pool::{self, Interrupted};

/// Work that one span should hold: bytes, and [`ROW_COST`] a row. About a millisecond.
pub const SPAN_COST: usize = 256 << 10;

/// What a row costs beside its bytes, in bytes.
const ROW_COST: usize = 256;

/// Zeroes from the system's own fresh pages: nothing is touched before a worker writes.
pub fn zeroed<T: Zero>(rows: usize) -> Result<Vec<T>> {
    let failed = || Error::OutOfMemory { bytes: rows.saturating_mul(size_of::<T>()) as u64 };
    let layout = Layout::array::<T>(rows).map_err(|_| failed())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not empty, and is that of a vector of `rows`; zero bytes are
    // values of `T`.
    unsafe {
        let start = NonNull::new(alloc_zeroed(layout).cast::<T>()).ok_or_else(failed)?;
        Ok(Vec::from_raw_parts(start.as_ptr(), rows, rows))
    }
}

/// Rows of one chunk that one worker takes at a time.
pub struct Span {
    pub chunk: usize,
    /// Rows within the chunk.
    pub rows: Range<usize>,
    /// Position of the first of them in the column.
    pub first: usize,
    /// What the rows will likely take.
    pub bytes: usize,
}

/// Cuts chunks into spans of about [`SPAN_COST`], each only when a worker asks for it.
pub struct Spans<F> {
    /// Rows of each chunk.
    chunks: Vec<usize>,
    /// Bytes of a row, by chunk and place in it.
    bytes: F,
    chunk: usize,
    row: usize,
    first: usize,
    /// Position in the column where the spans end for now.
    until: usize,
}

impl<F: Fn(usize, usize) -> usize> Spans<F> {
    pub fn new(chunks: impl Iterator<Item = usize>, bytes: F) -> Self {
        Self { chunks: chunks.collect(), bytes, chunk: 0, row: 0, first: 0, until: usize::MAX }
    }

    /// The spans of the rows before the one at `position` that were not had yet.
    pub fn until(&mut self, position: usize) -> &mut Self {
        self.until = position;
        self
    }
}

impl<F: Fn(usize, usize) -> usize> Iterator for Spans<F> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while *self.chunks.get(self.chunk)? == self.row {
            (self.chunk, self.row) = (self.chunk + 1, 0);
        }
        let (chunk, start) = (self.chunk, self.row);
        let rows = self.chunks[chunk].min(start + self.until.saturating_sub(self.first));
        if rows == start {
            return None;
        }
        let (mut bytes, mut end) = (0usize, start);
        while end < rows && bytes.saturating_add((end - start) * ROW_COST) < SPAN_COST {
            bytes = bytes.saturating_add((self.bytes)(chunk, end));
            end += 1;
        }
        let first = self.first;
        (self.row, self.first) = (end, first + end - start);
        Some(Span { chunk, rows: start..end, first, bytes })
    }
}

/// What the workers on one column share.
pub struct Job {
    rows: usize,
    block_ids: AtomicU32,
    /// The lowest bad row so far; spans after it need not run.
    first_bad: AtomicUsize,
    total: Total,
}

/// What the rows of a column decode to, all together.
struct Total {
    limit: Option<u64>,
    bytes: AtomicU64,
    rows: AtomicU64,
    /// Whether a row was refused because it would have exceeded the limit.
    is_exceeded: AtomicBool,
}

/// A worker adds up so many bytes before it tells the others.
const TOTAL_STEP: u64 = 1 << 20;

pub struct Worker<O> {
    pub out: O,
    pub bad: BadRows,
    failed: Option<RowError>,
    /// Bytes and rows that [`Total`] has not heard of yet.
    untold: (u64, u64),
    /// Memory for rows that outgrew their guess.
    pub grown: Vec<u8>,
}

/// Workers between one lot of spans and the next.
pub struct Workers<F, O> {
    start: F,
    idle: Mutex<Vec<Worker<O>>>,
}

impl<O: Send, F: Fn() -> Worker<O> + Sync> Workers<F, O> {
    pub fn new(start: F) -> Self {
        Self { start, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker<O>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`pool::work_off`], with workers that go on from what they did before.
    pub fn work_off<T: Send>(
        &self,
        items: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut Worker<O>, T) + Sync,
        interrupted: Interrupted,
    ) -> Result<()> {
        let start = || self.idle().pop().unwrap_or_else(&self.start);
        let workers = pool::work_off(items, start, work, interrupted)?;
        self.idle().extend(workers);
        Ok(())
    }

    /// All workers that there were.
    pub fn finish(self) -> Vec<Worker<O>> {
        self.idle.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    pub fn new(rows: usize) -> Self {
        Self::with_total_limit(rows, None)
    }

    /// A job whose rows may decode to so many bytes together.
    pub fn with_total_limit(rows: usize, limit: Option<u64>) -> Self {
        let total = Total {
            limit,
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            is_exceeded: AtomicBool::new(false),
        };
        let first_bad = AtomicUsize::new(usize::MAX);
        Self { rows, block_ids: AtomicU32::new(0), first_bad, total }
    }

    /// An arena in which the column's workers number their blocks together.
    pub fn arena(&self) -> Arena<'_> {
        Arena::new(&self.block_ids)
    }

    pub fn worker<O>(&self, out: O) -> Worker<O> {
        let bad = BadRows::default();
        Worker { out, bad, failed: None, untold: (0, 0), grown: Vec::new() }
    }

    /// Counts a row of `bytes` in that decoded.
    #[inline]
    pub fn count_good<O>(&self, worker: &mut Worker<O>, bytes: u64) {
        worker.bad.count_good();
        if self.total.limit.is_some() {
            let (sum, rows) = worker.untold;
            worker.untold = (sum + bytes, rows + 1);
            if sum + bytes >= TOTAL_STEP {
                self.tell_total(worker);
            }
        }
    }

    pub fn has_total_limit(&self) -> bool {
        self.total.limit.is_some()
    }

    /// The most bytes that a worker's next row may decode to.
    pub fn remaining<O>(&self, worker: &Worker<O>) -> u64 {
        let told = || self.total.bytes.load(Ordering::Relaxed).saturating_add(worker.untold.0);
        self.total.limit.map_or(u64::MAX, |limit| limit.saturating_sub(told()))
    }

    /// The error of a row of which more would remain.
    pub fn exceeded(&self) -> Error {
        self.total.is_exceeded.store(true, Ordering::Relaxed);
        let (bytes, rows) = (&self.total.bytes, &self.total.rows);
        let (bytes, rows) = (bytes.load(Ordering::Relaxed), rows.load(Ordering::Relaxed));
        Error::TotalExceedsLimit { limit: self.total.limit.unwrap_or(u64::MAX), rows, bytes }
    }

    fn tell_total<O>(&self, worker: &mut Worker<O>) {
        let (bytes, rows) = std::mem::take(&mut worker.untold);
        if rows == 0 {
            return;
        }
        self.total.rows.fetch_add(rows, Ordering::Relaxed);
        self.total.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn check_total(&self) -> Result<()> {
        let Some(limit) = self.total.limit else { return Ok(()) };
        let is_exceeded = self.total.is_exceeded.load(Ordering::Relaxed)
            || self.total.bytes.load(Ordering::Relaxed) > limit;
        if is_exceeded { Err(self.exceeded()) } else { Ok(()) }
    }

    /// Sets a bad row aside, which ends nothing.
    pub fn set_aside<O>(&self, worker: &mut Worker<O>, row: usize, bad: BadRow, on_error: OnError) {
        worker.bad.add(bad.at(row, self.rows), on_error);
    }

    /// Runs `work(worker, index in span, row in chunk)` until a row fails, or all is given up.
    pub fn each_row<O: Announced>(
        &self,
        worker: &mut Worker<O>,
        span: &Span,
        mut work: impl FnMut(&mut Worker<O>, usize, usize) -> Result<(), BadRow>,
    ) {
        if span.first > self.first_bad.load(Ordering::Relaxed) {
            return;
        }
        let is_whole_column = span.rows.len() == self.rows;
        worker.out.announce(if is_whole_column { span.bytes } else { usize::MAX });
        for (i, row) in span.rows.clone().enumerate() {
            if self.check_total().is_err() || pool::stopped() {
                return;
            }
            if let Err(bad) = work(worker, i, row) {
                let row = span.first + i;
                self.first_bad.fetch_min(row, Ordering::Relaxed);
                if worker.failed.as_ref().is_none_or(|failed| row < failed.row) {
                    worker.failed = Some(bad.at(row, self.rows));
                }
                return;
            }
        }
        self.tell_total(worker);
    }

    /// What the workers wrote, and the column's bad rows; or its first error.
    pub fn finish<O>(&self, workers: Vec<Worker<O>>) -> Result<(Vec<O>, BadRows)> {
        self.check_total()?;
        let (mut outs, mut bad, mut failed) = (Vec::new(), BadRows::default(), Vec::new());
        for worker in workers {
            failed.extend(worker.failed);
            bad.extend(worker.bad, 0);
            outs.push(worker.out);
        }
        if let Some(first) = failed.into_iter().min_by_key(|failed| failed.row) {
            return Err(Error::Row(Box::new(first)));
        }
        bad.sort();
        Ok((outs, bad))
    }
}
