//! What is known of the payloads of a column that a GPU makes, and their headers.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::codec::ValueWriter;
use crate::error::Result;
use crate::kernel::Fault;
use crate::kernel::fcg1::{ContainerWriter, Encoding};
use crate::manifest::Manifest;
use crate::memory::zeroed;
use crate::pool::{self, InterruptCheck};

/// Rows whose headers one thread writes at a time.
const STEP_ROWS: usize = 1024;

/// A column of payloads, all but its bytes.
pub struct PayloadColumn {
    encoding: Encoding,
    /// Where rows begin, and the last one's end.
    pub offsets: Vec<i64>,
    /// The chunks of all rows before each, and of all rows.
    first_chunks: Vec<usize>,
    /// The compressed bytes of each chunk.
    pub sizes: Vec<u64>,
    pub original_size: Vec<i64>,
    pub crc32c: Vec<i64>,
}

impl PayloadColumn {
    /// A column of so many rows, of which nothing else is known yet.
    pub fn new(encoding: Encoding, rows: usize, first_chunks: Vec<usize>) -> Result<Self> {
        Ok(Self {
            encoding,
            offsets: zeroed(rows + 1)?,
            sizes: zeroed(first_chunks[rows])?,
            first_chunks,
            original_size: zeroed(rows)?,
            crc32c: zeroed(rows)?,
        })
    }

    /// A row's chunks among those of all rows.
    pub fn chunks_of(&self, row: usize) -> Range<usize> {
        self.first_chunks[row]..self.first_chunks[row + 1]
    }

    /// Writes the headers of these rows, which are all of `dst`, on all cores: their chunks are
    /// where they belong.
    pub fn write_headers(
        &self,
        writer: ValueWriter,
        rows: Range<usize>,
        dst: &mut [MaybeUninit<u8>],
        interrupted: InterruptCheck,
    ) -> Result<()> {
        let mut rest = dst;
        let steps = rows.clone().step_by(STEP_ROWS).map(move |start| {
            let rows = start..rows.end.min(start + STEP_ROWS);
            let len = (self.offsets[rows.end] - self.offsets[rows.start]) as usize;
            (rows, rest.split_off_mut(..len).unwrap_or_default())
        });
        let results = pool::run_parallel(
            steps,
            || Ok(()),
            |done, (rows, mut dst)| {
                for row in rows {
                    let len = (self.offsets[row + 1] - self.offsets[row]) as usize;
                    let dst = dst.split_off_mut(..len).unwrap_or_default();
                    if len > 0 && done.is_ok() {
                        *done = self.write_header(writer, row, dst);
                    }
                }
            },
            interrupted,
        )?;
        results.into_iter().collect()
    }

    fn write_header(
        &self,
        writer: ValueWriter,
        row: usize,
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<()> {
        let original_size = self.original_size[row] as u64;
        let manifest = Manifest { original_size, crc32c: self.crc32c[row] as u32 };
        // A payload that is as long as its value is the value.
        if writer.falls_back(original_size as usize, dst.len() - writer.header_len()) {
            return writer.seal_original(dst, manifest);
        }
        let fault = |fault: Fault| fault.into_error(self.encoding.algorithm.codec(), original_size);
        let chunks = &self.sizes[self.chunks_of(row)];
        let written = writer.write_payload(dst, manifest, |payload| {
            let container = ContainerWriter::new(self.encoding, original_size as usize, payload);
            let mut container = container.map_err(fault)?;
            container.reserve(chunks.iter().map(|&len| len as usize)).map_err(fault)?;
            container.finish().map_err(fault)
        });
        written.map(drop)
    }
}
