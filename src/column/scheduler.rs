//! How the work on one column is split into spans, run by workers and merged.
//!
//! ```text
//! chunks of rows -> spans of about a millisecond -> workers -> what each worker wrote
//! ```

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::bad_rows::{BadRow, BadRows};
use super::largest_first::LargestFirst;
use crate::background::{ROW_COST, short_value_bytes};
use crate::codec::Codec;
use crate::error::{Error, OutOfMemory, Result, RowError, collect};
use crate::gpu::Prefetch;
use crate::pool::{self, InterruptCheck};
use crate::process::lock;

/// Work that one span should hold: bytes, and [`ROW_COST`] a row. About a millisecond of
/// decompressing, or of compressing at a low level.
pub const SPAN_COST: usize = 256 << 10;

/// Spans that compressing [`short_value_bytes`] takes: each is about a millisecond.
const SHORT_VALUE_SPANS: usize = 16;

/// Rows of one chunk that one worker takes at a time.
pub struct Span {
    pub chunk: usize,
    /// Rows within the chunk.
    pub rows: Range<usize>,
    /// Position of the first of them in the column.
    pub first: usize,
    /// Bytes that the rows are likely to take.
    pub bytes: usize,
}

/// Cuts chunks into spans of about equal work, each only when a worker asks for it.
pub struct Spans<F> {
    /// Work that one span should hold.
    cost: usize,
    /// Rows of each chunk.
    chunks: Vec<usize>,
    /// Bytes of a row, by chunk and place in it.
    bytes: F,
    chunk: usize,
    row: usize,
    first: usize,
    /// Position in the column where the spans end for now.
    end: usize,
}

impl<F: Fn(usize, usize) -> usize> Spans<F> {
    pub fn new(chunks: impl Iterator<Item = usize>, bytes: F) -> Result<Self, OutOfMemory> {
        let (chunks, end) = (collect(chunks)?, usize::MAX);
        Ok(Self { cost: SPAN_COST, chunks, bytes, chunk: 0, row: 0, first: 0, end })
    }

    /// The same for compressing, so that a column at a slow level is shared by all threads too.
    pub fn for_compression(self, codec: &Codec) -> Self {
        let cost = short_value_bytes(codec) / SHORT_VALUE_SPANS;
        Self { cost, ..self }
    }

    /// The spans before position `end` that have not been handed out.
    fn until(&mut self, end: usize) -> &mut Self {
        self.end = end;
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
        let rows = self.chunks[chunk].min(start + self.end.saturating_sub(self.first));
        if rows == start {
            return None;
        }
        let (mut bytes, mut end) = (0usize, start);
        while end < rows && bytes.saturating_add((end - start) * ROW_COST) < self.cost {
            bytes = bytes.saturating_add((self.bytes)(chunk, end));
            end += 1;
        }
        let first = self.first;
        (self.row, self.first) = (end, first + end - start);
        Some(Span { chunk, rows: start..end, first, bytes })
    }
}

/// Runs all rows up to a position that have not run, with the GPU's results for them.
pub type RunRows<'r> = &'r mut dyn FnMut(usize, &Prefetch) -> Result<()>;

/// What the workers on one column share.
pub struct Job {
    rows: usize,
    block_ids: AtomicU32,
    /// The lowest bad row so far; spans after it need not run.
    first_bad: AtomicUsize,
    total: Total,
}

/// The decoded bytes of all rows of a column.
struct Total {
    limit: Option<u64>,
    bytes: AtomicU64,
    rows: AtomicU64,
    /// Whether a row was refused because it would have exceeded the limit.
    is_exceeded: AtomicBool,
}

/// Bytes that a worker counts on its own before it adds them to the total.
const TOTAL_STEP: u64 = 1 << 20;

/// One worker's state: what it has written, and which rows were bad.
pub struct Worker<O> {
    pub out: O,
    pub bad: BadRows,
    failed: Option<RowError>,
    /// Bytes and rows not yet added to [`Total`].
    pending: (u64, u64),
}

impl Job {
    pub fn new(rows: usize) -> Self {
        Self::with_total_limit(rows, None)
    }

    /// A job whose rows may decode to at most `limit` bytes together.
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

    /// Rows of the column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers the blocks of the column's workers.
    pub fn block_ids(&self) -> &AtomicU32 {
        &self.block_ids
    }

    /// Runs `work` on all `spans`, on all cores. Each worker writes to an output from `writer`;
    /// each span comes with the part of the result that `split` takes off for it.
    ///
    /// `offload` calls its argument with the end of a range of rows and the GPU's results for
    /// them, range after range, up to the end of the column.
    pub fn run<O: Send, P: Send, F: Fn(usize, usize) -> usize + Send>(
        &self,
        mut spans: Spans<F>,
        mut split: impl FnMut(&Span) -> P + Send,
        writer: impl Fn() -> O + Sync,
        offload: impl FnOnce(RunRows) -> Result<()>,
        work: impl Fn(&mut Worker<O>, &Span, P, &Prefetch) + Sync,
        interrupted: InterruptCheck,
    ) -> Result<(Vec<O>, BadRows)> {
        // Workers between one range and the next.
        let idle: Mutex<Vec<Worker<O>>> = Mutex::default();
        let start = || {
            let fresh =
                || Worker { out: writer(), bad: BadRows::default(), failed: None, pending: (0, 0) };
            let worker = lock(&idle).pop();
            worker.unwrap_or_else(fresh)
        };
        offload(&mut |end, prefetch| {
            let items = spans.until(end).map(|span| {
                let part = split(&span);
                (span, part)
            });
            let run = |worker: &mut Worker<O>, (span, part)| work(worker, &span, part, prefetch);
            let items = LargestFirst::new(items);
            let workers = pool::run_parallel(items, start, run, interrupted)?;
            lock(&idle).extend(workers);
            Ok(())
        })?;
        let workers = std::mem::take(&mut *lock(&idle));
        self.finish(workers)
    }

    /// Counts a row that decoded to `bytes` bytes.
    #[inline]
    pub fn count_good<O>(&self, worker: &mut Worker<O>, bytes: u64) {
        worker.bad.count_good();
        if self.total.limit.is_some() {
            let (sum, rows) = worker.pending;
            worker.pending = (sum + bytes, rows + 1);
            if sum + bytes >= TOTAL_STEP {
                self.add_total(worker);
            }
        }
    }

    pub fn has_total_limit(&self) -> bool {
        self.total.limit.is_some()
    }

    /// The most bytes that a worker's next row may decode to.
    pub fn remaining<O>(&self, worker: &Worker<O>) -> u64 {
        let added = || self.total.bytes.load(Ordering::Relaxed).saturating_add(worker.pending.0);
        self.total.limit.map_or(u64::MAX, |limit| limit.saturating_sub(added()))
    }

    /// The error of a row of which more would remain.
    pub fn exceeded(&self) -> Error {
        self.total.is_exceeded.store(true, Ordering::Relaxed);
        let (bytes, rows) = (&self.total.bytes, &self.total.rows);
        let (bytes, rows) = (bytes.load(Ordering::Relaxed), rows.load(Ordering::Relaxed));
        Error::TotalExceedsLimit { limit: self.total.limit.unwrap_or(u64::MAX), rows, bytes }
    }

    fn add_total<O>(&self, worker: &mut Worker<O>) {
        let (bytes, rows) = std::mem::take(&mut worker.pending);
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

    /// Records a bad row and goes on.
    pub fn record_bad<O>(&self, worker: &mut Worker<O>, row: usize, bad: BadRow) -> Result<()> {
        Ok(worker.bad.add(bad.at(row, self.rows))?)
    }

    /// Bytes that a worker should expect when it starts on `span`.
    pub fn expected_bytes(&self, span: &Span) -> usize {
        if span.rows.len() == self.rows { span.bytes } else { usize::MAX }
    }

    /// Runs `work(worker, index in span, row in chunk)` until a row fails or the call is
    /// interrupted.
    pub fn each_row<O>(
        &self,
        worker: &mut Worker<O>,
        span: &Span,
        mut work: impl FnMut(&mut Worker<O>, usize, usize) -> Result<(), BadRow>,
    ) {
        if span.first > self.first_bad.load(Ordering::Relaxed) {
            return;
        }
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
        self.add_total(worker);
    }

    /// What the workers wrote, and the column's bad rows; or its first error.
    fn finish<O>(&self, workers: Vec<Worker<O>>) -> Result<(Vec<O>, BadRows)> {
        self.check_total()?;
        let (mut outs, mut bad, mut failed) = (Vec::new(), BadRows::default(), Vec::new());
        for worker in workers {
            failed.extend(worker.failed);
            bad.extend(worker.bad, 0)?;
            outs.push(worker.out);
        }
        if let Some(first) = failed.into_iter().min_by_key(|failed| failed.row) {
            return Err(Error::Row(Box::new(first)));
        }
        bad.sort();
        Ok((outs, bad))
    }
}
