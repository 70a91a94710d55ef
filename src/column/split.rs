//! Ranges of rows that decode to a limited number of bytes, for callers that cannot hold all the
//! values of a column at once.

use super::estimate::{bare_lens, likely_of_bare, stated_len};
use super::{DecompressOptions, Payload, Payloads};
use crate::error::{Result, push};
use crate::kernel::Scratch;
use crate::pool::Listener;

/// A bare payload counts at least one part in this many of the most that it can decode to: the
/// length that gzip states may be wrong, and is that of its last member only.
const BOUND_SHARE: u64 = 4;

/// Finds where the ranges start, row by row.
pub struct Splitter {
    /// The most bytes that a range of more than one row decodes to, by [`decoded_len`].
    max_bytes: u64,
    starts: Vec<usize>,
    rows: usize,
    /// Bytes of the last range.
    bytes: u64,
}

impl Splitter {
    /// Ranges of at most `max_bytes` each, or of one row.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, starts: vec![0], rows: 0, bytes: 0 }
    }

    /// Adds the rows of one more chunk.
    pub fn extend<C: Payloads>(
        &mut self,
        options: &DecompressOptions,
        chunk: &C,
        listener: &mut Listener,
    ) -> Result<()> {
        let mut scratch = Scratch::of_thread();
        for row in 0..chunk.count() {
            listener.step()?;
            let bytes = decoded_len(options, &mut scratch, chunk.get(row));
            let together = self.bytes.saturating_add(bytes);
            if together > self.max_bytes && self.starts.last() != Some(&self.rows) {
                push(&mut self.starts, self.rows)?;
                self.bytes = bytes;
            } else {
                self.bytes = together;
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// The first row of every range.
    pub fn starts(self) -> Vec<usize> {
        self.starts
    }
}

/// The bytes that a row may decode to. What is refused anyway counts nothing.
fn decoded_len(options: &DecompressOptions, scratch: &mut Scratch, payload: Payload) -> u64 {
    let Payload::Bare(bytes) = payload else {
        return stated_len(options, scratch, payload).unwrap_or(0);
    };
    let limit = options.bare_limit();
    let lens = bare_lens(options, &mut options.codec.kernel(scratch), bytes, limit);
    lens.map_or(0, |lens| likely_of_bare(lens, bytes).max(lens.most / BOUND_SHARE))
}
