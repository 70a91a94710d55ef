//! Decompression of rows that all state their size: each has its place in the finished
//! column before it is decoded, and is decoded there.

use std::mem::MaybeUninit;

use super::decompress::{Decompress, Decompressed, decompress_row};
use super::flat::{self, FlatColumn};
use super::job::{Job, Spans};
use super::memory::Block;
use super::output::Output;
use super::pool::{self, Interrupted};
use super::{Payload, Payloads};
use crate::error::{Error, Result};

/// Sizes are believed, for planning, up to so many times the payloads, plus [`ALWAYS`].
const CREDIBLE: u64 = 256;
const ALWAYS: u64 = 1 << 20;

/// The place of one row.
#[derive(Default)]
struct Slot<'column>(&'column mut [MaybeUninit<u8>]);

impl Output for Slot<'_> {
    type Row = i64;

    const LONGEST: u64 = i64::MAX as u64;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<i64> {
        let room = self.0.get_mut(..bytes).ok_or(Error::OutOfMemory { bytes: bytes as u64 })?;
        Ok(fill(room)?.len() as i64)
    }
}

/// The offsets of every chunk's rows, if all rows state sizes that can be believed.
fn plan<C: Payloads>(how: &Decompress, chunks: &[C]) -> Option<Vec<Vec<i64>>> {
    let (mut stated, mut held) = (0u64, 0u64);
    let mut bare = false;
    let mut plans = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let sizes = (0..chunk.count()).map(|row| match chunk.get(row) {
            Payload::Sealed(payload, manifest) => {
                held += payload.len() as u64;
                // A size above the limit is an error once its turn comes.
                let size = Some(manifest.original_size).filter(|&size| size <= how.limit());
                stated = stated.saturating_add(size.unwrap_or(0));
                size.unwrap_or(0)
            }
            Payload::Bare(_) => {
                bare = true;
                0
            }
            Payload::Null | Payload::Unsealed(..) => 0,
        });
        plans.push(flat::offsets(sizes).ok()?);
    }
    let credible = held.saturating_mul(CREDIBLE).saturating_add(ALWAYS);
    (!bare && stated <= credible).then_some(plans)
}

/// Decompresses every row of `chunks` in place; `None` where rows have to be decoded first
/// to be placed.
pub fn decompress<C: Payloads>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Option<Decompressed<Vec<FlatColumn>>>> {
    let Some(plans) = plan(how, chunks) else { return Ok(None) };
    let blocks = plans.iter().map(|offsets| Block::new(flat::last(offsets)));
    let Ok(mut blocks) = blocks.collect::<Result<Vec<_>>>() else { return Ok(None) };

    let job = Job::new(chunks.iter().map(C::count).sum());
    let mut rooms: Vec<_> = blocks.iter_mut().map(Block::spare).collect();
    let spans = Spans::new(chunks.iter().map(C::count), |chunk, row| {
        flat::row_len(&plans[chunk], row) as usize
    });
    let work = spans.map(|span| {
        let offsets = &plans[span.chunk][span.rows.start..=span.rows.end];
        let len = (offsets[span.rows.len()] - offsets[0]) as usize;
        let room = rooms[span.chunk].split_off_mut(..len).unwrap_or_default();
        (span, offsets, room)
    });
    let workers = pool::work_off(
        work,
        || job.worker(Slot::default()),
        |worker, (span, offsets, mut room)| {
            let chunk = &chunks[span.chunk];
            how.codec.with_kernel(|kernel| {
                job.each_row(worker, &span, |worker, i, row| {
                    let len = flat::row_len(offsets, i) as usize;
                    worker.out = Slot(room.split_off_mut(..len).unwrap_or_default());
                    decompress_row(how, kernel, worker, || chunk.get(row), span.first + i).map(drop)
                });
            });
        },
        interrupted,
    )?;
    let (_, bad_rows) = job.finish(workers)?;

    let mut first = 0;
    let mut columns = Vec::with_capacity(chunks.len());
    for (mut offsets, mut bytes) in plans.into_iter().zip(blocks) {
        let rows = offsets.len() - 1;
        let bad = &bad_rows[bad_rows.partition_point(|&row| row < first)..];
        let bad = &bad[..bad.partition_point(|&row| row < first + rows)];
        close_gaps(&mut offsets, bytes.spare(), bad.iter().map(|row| row - first));
        // SAFETY: rows that were not bad filled their places, and those of bad rows are gone.
        unsafe { bytes.set_len(flat::last(&offsets)) };
        columns.push(FlatColumn { offsets, bytes: bytes.settle()? });
        first += rows;
    }
    Ok(Some(Decompressed { values: columns, bad_rows }))
}

/// Takes the places of bad rows, in ascending order, out of a chunk.
fn close_gaps(
    offsets: &mut [i64],
    bytes: &mut [MaybeUninit<u8>],
    bad: impl Iterator<Item = usize>,
) {
    let mut bad = bad.peekable();
    let mut gap = 0;
    while let Some(row) = bad.next() {
        let start = offsets[row] + gap;
        gap += offsets[row + 1] - start;
        let next_bad = bad.peek().copied().unwrap_or(offsets.len() - 1);
        let kept = offsets[row + 1] as usize..offsets[next_bad] as usize;
        let moved = kept.start - gap as usize;
        bytes.copy_within(kept, moved);
        offsets[row + 1..=next_bad].iter_mut().for_each(|offset| *offset -= gap);
    }
}
