//! Ranges of rows that decode to about so many bytes, for callers that cannot hold all the
//! values of a column at once.

use super::decompress::{Decompress, bare_lens, stated_len};
use super::{Payload, Payloads};
use crate::error::Result;
use crate::kernel::Scratch;
use crate::pool::Listener;

/// Of the most that a bare payload can decode to, one part in so many counts at least: the
/// length that gzip states may be a lie, and is of its last member alone.
const SURPRISE: u64 = 4;

/// Where the ranges start, found row by row.
pub struct Pieces {
    /// A piece of more than one row decodes to at most so many bytes, by what [`room`] says.
    most: u64,
    starts: Vec<usize>,
    rows: usize,
    /// Bytes of the last piece.
    bytes: u64,
}

impl Pieces {
    pub fn new(most: u64) -> Self {
        Self { most, starts: vec![0], rows: 0, bytes: 0 }
    }

    /// Adds the rows of one more chunk.
    pub fn extend<C: Payloads>(
        &mut self,
        how: &Decompress,
        chunk: &C,
        listener: &mut Listener,
    ) -> Result<()> {
        let mut scratch = Scratch::of_thread();
        for row in 0..chunk.count() {
            listener.step()?;
            let bytes = room(how, &mut scratch, chunk.get(row));
            let together = self.bytes.saturating_add(bytes);
            if together > self.most && self.starts.last() != Some(&self.rows) {
                self.starts.push(self.rows);
                self.bytes = bytes;
            } else {
                self.bytes = together;
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// The first row of every piece.
    pub fn starts(self) -> Vec<usize> {
        self.starts
    }
}

/// The bytes that a row may come to. What is refused anyway counts nothing.
fn room(how: &Decompress, scratch: &mut Scratch, payload: Payload) -> u64 {
    let Payload::Bare(bytes) = payload else { return stated_len(how, scratch, payload) };
    let lens = bare_lens(how, &mut how.codec.kernel(scratch), bytes, how.bare_limit());
    lens.map_or(0, |(bound, guess)| guess.max(bound / SURPRISE))
}
