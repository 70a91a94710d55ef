//! Decompression of rows that all state their size, or whose payloads do: each has its place
//! in the finished column before it is decoded, and is decoded there.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use super::decompress::{Decompress, Decompressed, decompress_row, stated_len};
use super::flat::{self, FlatColumn};
use super::job::{Job, Spans, Workers, zeroed};
use super::memory::Block;
use super::output::{Announced, Output};
use super::{Payload, Payloads, ahead};
use crate::error::{Error, Result};
use crate::kernel::Scratch;
use crate::pool::{self, Interrupted};

/// Sizes are believed, for planning, up to so many times the payloads, plus [`ALWAYS`].
const CREDIBLE: u64 = 256;
const ALWAYS: u64 = 1 << 20;

/// The place of one row.
struct Slot<'column> {
    room: &'column mut [MaybeUninit<u8>],
    /// Set by a row of another length than its place: a bare payload that said so.
    misplaced: &'column AtomicBool,
}

impl Output for Slot<'_> {
    type Row = u64;

    const LONGEST: u64 = i64::MAX as u64;

    fn write(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&[u8]>,
    ) -> Result<u64> {
        let place = self.room.len();
        if let Some(room) = self.room.get_mut(..bytes) {
            let row = fill(room)?;
            if row.len() == place {
                return Ok(place as u64);
            }
        }
        self.misplaced.store(true, Ordering::Relaxed);
        Err(Error::SizeMismatch { expected: place as u64, actual: bytes as u64 })
    }
}

impl Announced for Slot<'_> {}

/// What a row states, and the length of its payload.
fn stated_and_held(how: &Decompress, scratch: &mut Scratch, payload: Payload) -> (u64, u64) {
    let held = match payload {
        Payload::Sealed(bytes, _) | Payload::Bare(bytes) | Payload::Frames(bytes) => {
            bytes.len() as u64
        }
        Payload::Null | Payload::Unsealed(..) => 0,
    };
    (stated_len(how, scratch, payload), held)
}

/// The offsets of every chunk's rows, if the sizes that they state can be believed.
fn plan<C: Payloads>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Option<Vec<Vec<i64>>>> {
    let mut lens: Vec<u64> = zeroed(chunks.iter().map(C::count).sum())?;
    let mut rest = &mut lens[..];
    let work = Spans::new(chunks.iter().map(C::count), |_, _| 0).map(|span| {
        let lens = rest.split_off_mut(..span.rows.len()).unwrap_or_default();
        (span, lens)
    });
    let sums = pool::work_off(
        work,
        || (0u64, 0u64),
        |(stated, held), (span, lens)| {
            let mut scratch = Scratch::of_thread();
            for (row, len) in span.rows.zip(lens) {
                let payload = chunks[span.chunk].get(row);
                let (states, holds) = stated_and_held(how, &mut scratch, payload);
                *len = states;
                *stated = stated.saturating_add(states);
                *held += holds;
            }
        },
        interrupted,
    )?;
    let stated = sums.iter().fold(0u64, |sum, (stated, _)| sum.saturating_add(*stated));
    let held = sums.iter().map(|(_, held)| held).sum::<u64>();
    let credible = held.saturating_mul(CREDIBLE).saturating_add(ALWAYS);
    if stated > credible.min(how.max_total_size.unwrap_or(u64::MAX)) {
        return Ok(None);
    }
    let mut rest = &lens[..];
    let plans = chunks.iter().map(|chunk| {
        let (lens, later) = rest.split_at(chunk.count());
        rest = later;
        flat::offsets(lens.iter().copied())
    });
    plans.collect::<Result<_>>().map(Some)
}

/// Decompresses every row of `chunks` in place; `None` where rows have to be decoded first
/// to be placed.
pub fn decompress<C: Payloads>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Option<Decompressed<Vec<FlatColumn>>>> {
    let Some(plans) = plan(how, chunks, interrupted)? else { return Ok(None) };
    let blocks = plans.iter().map(|offsets| Block::new(flat::last(offsets)));
    let Ok(mut blocks) = blocks.collect::<Result<Vec<_>>>() else { return Ok(None) };

    let misplaced = AtomicBool::new(false);
    let job = Job::with_total_limit(chunks.iter().map(C::count).sum(), how.max_total_size);
    let mut rooms: Vec<_> = blocks.iter_mut().map(Block::spare).collect();
    let mut spans = Spans::new(chunks.iter().map(C::count), |chunk, row| {
        flat::row_len(&plans[chunk], row) as usize
    });
    let workers = Workers::new(|| job.worker(Slot { room: &mut [], misplaced: &misplaced }));
    ahead::decompress(how, chunks, interrupted, &mut |until, prefetch| {
        let work = spans.until(until).map(|span| {
            let offsets = &plans[span.chunk][span.rows.start..=span.rows.end];
            let len = (offsets[span.rows.len()] - offsets[0]) as usize;
            let room = rooms[span.chunk].split_off_mut(..len).unwrap_or_default();
            (span, offsets, room)
        });
        workers.work_off(
            work,
            |worker, (span, offsets, mut room)| {
                if misplaced.load(Ordering::Relaxed) {
                    return;
                }
                let chunk = &chunks[span.chunk];
                let scratch = &mut *Scratch::of_thread();
                job.each_row(worker, &span, |worker, i, row| {
                    let len = flat::row_len(offsets, i) as usize;
                    worker.out.room = room.split_off_mut(..len).unwrap_or_default();
                    let bad_before = worker.bad.len();
                    let (payload, position) = (|| chunk.get(row), span.first + i);
                    let value =
                        decompress_row(how, &job, prefetch, scratch, worker, payload, position)?;
                    // A row that turned null since it was planned leaves its place unwritten.
                    if value.is_none() && len > 0 && worker.bad.len() == bad_before {
                        misplaced.store(true, Ordering::Relaxed);
                    }
                    Ok(())
                });
            },
            interrupted,
        )
    })?;
    if misplaced.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let (_, bad_rows) = job.finish(workers.finish())?;

    let mut first = 0;
    let mut columns = Vec::with_capacity(chunks.len());
    for (mut offsets, mut bytes) in plans.into_iter().zip(blocks) {
        let rows = offsets.len() - 1;
        let bad = bad_rows.rows();
        let bad = &bad[bad.partition_point(|&row| row < first)..];
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
