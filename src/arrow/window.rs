//! Input read chunk by chunk and worked on in windows of chunks, so that only one window is held
//! at a time of a producer that makes its chunks as it goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::ArrayRef;

use super::c_data::CArray;
use super::input::{ArrowInput, ColumnReader};
use crate::background;
use crate::column::{BadRows, BecameNull};
use crate::error::{Error, Result, push};
use crate::memory::probe;
use crate::pool::{InterruptCheck, Listener};
use crate::process::lock;

/// A window ends with the chunk that brings it to this size.
const WINDOW_BYTES: usize = 256 << 20;

/// The most chunks in a window, however short they are.
const WINDOW_CHUNKS: usize = 64 << 10;

/// Chunks of this many rows or more are imported in the background: the import checks each row.
const LONG_CHUNK_ROWS: i64 = 4 << 20;

/// The result of a function that can turn bad rows into nulls.
pub struct ArraysWithWarning {
    /// One array for each chunk of the input.
    pub arrays: Vec<ArrayRef>,
    /// What to warn of: bad rows that became null.
    pub warning: Option<BecameNull>,
}

/// The bad rows of all windows, by their positions in the whole input.
#[derive(Default)]
pub struct WindowedBadRows {
    bad: Mutex<BadRows>,
    rows: AtomicUsize,
}

impl WindowedBadRows {
    /// Adds the bad rows of the next window, which has `rows` rows.
    pub fn add(&self, bad: BadRows, rows: usize) -> Result<()> {
        let start = self.rows.fetch_add(rows, Ordering::Relaxed);
        Ok(lock(&self.bad).extend(bad, start)?)
    }

    /// The result of the whole call: an error where the bad rows show a mistake of the caller's.
    pub fn judge(&self, arrays: Vec<ArrayRef>) -> Result<ArraysWithWarning> {
        let bad = std::mem::take(&mut *lock(&self.bad));
        Ok(ArraysWithWarning { arrays, warning: bad.judge()? })
    }
}

/// Makes an array of each chunk of a window, perhaps on another thread.
pub trait WindowFunction<R>:
    Fn(&[R], InterruptCheck) -> Result<Vec<ArrayRef>> + Send + Sync + 'static
{
}

impl<R, F> WindowFunction<R> for F where
    F: Fn(&[R], InterruptCheck) -> Result<Vec<ArrayRef>> + Send + Sync + 'static
{
}

/// Reads all chunks and runs `function` on one window of them after another, on another thread
/// where `is_long` says so of a window's bytes and rows. The producer is asked on the calling
/// thread, which it may be bound to.
pub fn each_window<R: Send + Sync + 'static>(
    input: ArrowInput,
    column: ColumnReader<R>,
    is_long: impl Fn(usize, usize) -> bool,
    function: impl WindowFunction<R>,
    interrupted: InterruptCheck,
) -> Result<Vec<ArrayRef>> {
    let (column, function) = (Arc::new(column), Arc::new(function));
    let (mut arrays, mut rows_before, mut rows) = (Vec::new(), 0, 0usize);
    let (mut window, mut window_bytes) = (Vec::new(), 0usize);
    let mut chunks = input.chunks();
    let mut listener = Listener::new(interrupted);
    loop {
        let chunk = match chunks.next().transpose() {
            // A signal may be what made the producer fail.
            Err(_) if interrupted() => return Err(Error::Interrupted),
            other => other?,
        };
        listener.look()?;
        let is_end = chunk.is_none();
        if let Some(chunk) = chunk {
            let is_long = chunk.length >= LONG_CHUNK_ROWS;
            let column = Arc::clone(&column);
            let read = move |chunk: &Arc<CArray>, _: InterruptCheck| column.read(chunk);
            // The import takes small allocations that cannot fail, of thousands of chunks too.
            probe()?;
            let chunk = background::run(is_long, Arc::new(chunk), read, interrupted)?;
            rows = rows.checked_add(chunk.count).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
            window_bytes = window_bytes.saturating_add(chunk.bytes);
            push(&mut window, chunk.rows)?;
        }
        if is_end || window_bytes >= WINDOW_BYTES || window.len() >= WINDOW_CHUNKS {
            let is_long = is_long(window_bytes, rows - rows_before);
            let function = Arc::clone(&function);
            let work =
                move |window: &Vec<R>, interrupted: InterruptCheck| function(window, interrupted);
            let done = background::run(is_long, std::mem::take(&mut window), work, interrupted);
            for array in done.map_err(|error| with_rows_before(error, rows_before))? {
                push(&mut arrays, array)?;
            }
            (window_bytes, rows_before) = (0, rows);
        }
        if is_end {
            return Ok(arrays);
        }
    }
}

/// A window's error, with its row counted in the whole input.
fn with_rows_before(mut error: Error, rows_before: usize) -> Error {
    if let Error::Row(bad) = &mut error {
        bad.row += rows_before;
    }
    error
}
