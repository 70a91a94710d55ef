//! Decompression of rows that all state their size, or whose payloads do: each has its place
//! in the finished column before it is decoded, and is decoded there. Where all rows are equally
//! long, null rows have a place too, filled with zeros, as Arrow's fixed-size lists have it.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use super::RowWriter;
use super::offsets::{OffsetsColumn, end_of, offsets_of, row_len};
use crate::column::estimate::stated_len;
use crate::column::row::RowDecoder;
use crate::column::scheduler::{Job, Spans};
use crate::column::{DecompressOptions, Decompressed, Payload, Payloads, offload};
use crate::error::{Error, Result, collect, reserve, try_collect};
use crate::kernel::Scratch;
use crate::memory::{Block, zeroed};
use crate::pool::{self, InterruptCheck};

/// Stated sizes are credible up to this many times the payloads' bytes, plus [`ALWAYS_CREDIBLE`].
const CREDIBLE_RATIO: u64 = 256;
const ALWAYS_CREDIBLE: u64 = 1 << 20;

/// Writes the one row whose place it has.
struct InPlace<'column> {
    dst: &'column mut [MaybeUninit<u8>],
    /// Set by a row of another length than its place: a bare payload that stated a wrong one.
    misplaced: &'column AtomicBool,
}

impl RowWriter for InPlace<'_> {
    type Row = u64;

    const MAX_ROW_BYTES: u64 = i64::MAX as u64;

    fn write_within(
        &mut self,
        likely: usize,
        _most: usize,
        mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<Option<&[u8]>>,
    ) -> Result<u64> {
        let place = self.dst.len();
        if let Some(dst) = self.dst.get_mut(..likely)
            && let Some(row) = fill(dst)?
            && row.len() == place
        {
            return Ok(place as u64);
        }
        self.misplaced.store(true, Ordering::Relaxed);
        Err(Error::SizeMismatch { expected: place as u64, actual: likely as u64 })
    }
}

/// What a row states, and the length of its payload. What is not stated is not credible.
fn stated_and_held(
    options: &DecompressOptions,
    scratch: &mut Scratch,
    payload: Payload,
) -> (u64, u64) {
    let held = match payload {
        Payload::Sealed(bytes, _) | Payload::Bare(bytes) | Payload::Frames(bytes) => {
            bytes.len() as u64
        }
        Payload::Null | Payload::Refused(..) => 0,
    };
    (stated_len(options, scratch, payload).unwrap_or(u64::MAX), held)
}

/// The offsets of every chunk's rows, if the sizes that they state are credible.
fn plan<C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Option<Vec<Vec<i64>>>> {
    let mut lens: Vec<u64> = zeroed(chunks.iter().map(C::count).sum())?;
    let mut rest = &mut lens[..];
    let work = Spans::new(chunks.iter().map(C::count), |_, _| 0)?.map(|span| {
        let lens = rest.split_off_mut(..span.rows.len()).unwrap_or_default();
        (span, lens)
    });
    let sums = pool::run_parallel(
        work,
        || (0u64, 0u64),
        |(stated, held), (span, lens)| {
            let mut scratch = Scratch::of_thread();
            for (row, len) in span.rows.zip(lens) {
                let payload = chunks[span.chunk].get(row);
                let (states, holds) = stated_and_held(options, &mut scratch, payload);
                *len = options.content.width().map_or(states, |width| width as u64);
                *stated = stated.saturating_add(states);
                *held += holds;
            }
        },
        interrupted,
    )?;
    let stated = sums.iter().fold(0u64, |sum, (stated, _)| sum.saturating_add(*stated));
    let held = sums.iter().map(|(_, held)| held).sum::<u64>();
    let credible = held.saturating_mul(CREDIBLE_RATIO).saturating_add(ALWAYS_CREDIBLE);
    if stated > credible.min(options.max_total_size.unwrap_or(u64::MAX)) {
        return Ok(None);
    }
    let mut rest = &lens[..];
    let plans = chunks.iter().map(|chunk| {
        let (lens, later) = rest.split_at(chunk.count());
        rest = later;
        offsets_of(lens.iter().copied())
    });
    try_collect(plans).map(Some)
}

/// Decompresses every row of `chunks` in place; `None` where rows have to be decoded first
/// to be placed.
pub fn decompress<C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Option<Decompressed<Vec<OffsetsColumn>>>> {
    let Some(plans) = plan(options, chunks, interrupted)? else { return Ok(None) };
    let blocks = plans.iter().map(|offsets| Ok(Block::new(end_of(offsets))?));
    let Ok(mut blocks) = try_collect(blocks) else { return Ok(None) };

    let is_padded = options.content.width().is_some();
    let misplaced = AtomicBool::new(false);
    let job = &Job::with_total_limit(chunks.iter().map(C::count).sum(), options.max_total_size);
    let mut dsts = collect(blocks.iter_mut().map(Block::spare))?;
    let done = job.run(
        Spans::new(chunks.iter().map(C::count), |chunk, row| row_len(&plans[chunk], row) as usize)?,
        |span| {
            let offsets = &plans[span.chunk][span.rows.start..=span.rows.end];
            let len = (offsets[span.rows.len()] - offsets[0]) as usize;
            (offsets, dsts[span.chunk].split_off_mut(..len).unwrap_or_default())
        },
        || InPlace { dst: &mut [], misplaced: &misplaced },
        |run| offload::decompress(options, chunks, interrupted, run),
        |worker, span, (offsets, mut dst), prefetch| {
            if misplaced.load(Ordering::Relaxed) {
                return;
            }
            let chunk = &chunks[span.chunk];
            let scratch = &mut *Scratch::of_thread();
            let mut decoder = RowDecoder { options, job, prefetch, scratch };
            job.each_row(worker, span, |worker, i, row| {
                let len = row_len(offsets, i) as usize;
                worker.out.dst = dst.split_off_mut(..len).unwrap_or_default();
                let bad_before = worker.bad.len();
                let value = decoder.decode(worker, || chunk.get(row), span.first + i)?;
                if value.is_none() && is_padded {
                    worker.out.dst.fill(MaybeUninit::new(0));
                } else if value.is_none() && len > 0 && worker.bad.len() == bad_before {
                    // A row that turned null since it was planned leaves its place unwritten.
                    misplaced.store(true, Ordering::Relaxed);
                }
                Ok(())
            });
        },
        interrupted,
    );
    if misplaced.load(Ordering::Relaxed) && !matches!(done, Err(Error::Interrupted)) {
        return Ok(None);
    }
    let (_, bad_rows) = done?;

    let mut first = 0;
    let mut columns = Vec::new();
    reserve(&mut columns, chunks.len())?;
    for (mut offsets, mut bytes) in plans.into_iter().zip(blocks) {
        let rows = first..first + offsets.len() - 1;
        let bad = bad_rows.within(&rows).map(|row| row - first);
        if !is_padded {
            close_gaps(&mut offsets, bytes.spare(), bad);
        }
        // SAFETY: rows that were not bad filled their places, and those of bad rows are gone or
        // filled with zeros.
        unsafe { bytes.set_len(end_of(&offsets)) };
        columns.push(OffsetsColumn { offsets, bytes: bytes.shrink()? });
        first = rows.end;
    }
    Ok(Some(Decompressed { values: columns, bad_rows }))
}

/// Takes the places of bad rows, in ascending order, out of a chunk.
pub fn close_gaps(
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
