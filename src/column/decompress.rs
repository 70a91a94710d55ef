//! Columns of payloads, with or without manifests -> columns of values.

use super::estimate::likely_len;
use super::layout::reasons::Reasons;
use super::layout::{Layout, RowWriter, Written};
use super::payload_crc32c::{Vetted, vet};
use super::resident::decompress_through_gpu;
use super::row::RowDecoder;
use super::scheduler::{Job, Spans};
use super::{BadRows, DecompressOptions, Decompressed, OnError, Payloads, offload};
use crate::error::{Result, collect};
use crate::gpu;
use crate::kernel::Scratch;
use crate::memory::zeroed;
use crate::pool::InterruptCheck;

/// Decompresses every row of `chunks`.
pub fn decompress<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<L::Column>> {
    match vet(chunks, interrupted)? {
        None => decompress_vetted::<L, C>(options, chunks, interrupted),
        Some(chunks) => decompress_vetted::<L, Vetted<C>>(options, &chunks, interrupted),
    }
}

fn decompress_vetted<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<L::Column>> {
    match decompress_through_gpu::<L, C>(options, chunks, interrupted)? {
        Some(column) => Ok(column),
        None => {
            let column = decompress_by_workers::<L, C>(options, chunks, interrupted);
            gpu::grow_pinned();
            column
        }
    }
}

/// The same, where workers decode each row or take it from a batch of the GPU's.
pub(super) fn decompress_by_workers<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<L::Column>> {
    // With offsets this is the usual case: rows state their sizes.
    if let Some(column) = L::decompress_in_place(options, chunks, interrupted)? {
        return Ok(column);
    }
    let counts = collect(chunks.iter().map(C::count))?;
    let job = Job::with_total_limit(counts.iter().sum(), options.max_total_size);
    let writer = || L::writer(job.block_ids());
    let (written, bad_rows) = decompress_rows(options, chunks, &job, writer, interrupted)?;
    Ok(Decompressed { values: L::finish(written, &counts, interrupted)?, bad_rows })
}

/// Decompresses every row of `chunks` and keeps none: the column is of the reasons why rows are bad,
/// with the others empty. A value that is too long for the layout is bad.
pub fn verify<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<L::Column>> {
    match vet(chunks, interrupted)? {
        None => verify_vetted::<L, C>(options, chunks, interrupted),
        Some(chunks) => verify_vetted::<L, Vetted<C>>(options, &chunks, interrupted),
    }
}

fn verify_vetted<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<L::Column>> {
    let options = DecompressOptions { on_error: OnError::Report, ..options.clone() };
    let counts = collect(chunks.iter().map(C::count))?;
    let job = Job::with_total_limit(counts.iter().sum(), options.max_total_size);
    let writer = || Reasons::of::<L>(job.block_ids());
    let (written, bad_rows) = decompress_rows(&options, chunks, &job, writer, interrupted)?;
    let writers = collect(written.writers.into_iter().map(Reasons::into_inner))?;
    let written = Written { rows: written.rows, writers };
    Ok(Decompressed { values: L::finish(written, &counts, interrupted)?, bad_rows })
}

fn decompress_rows<C: Payloads, W: RowWriter>(
    options: &DecompressOptions,
    chunks: &[C],
    job: &Job,
    writer: impl Fn() -> W + Sync,
    interrupted: InterruptCheck,
) -> Result<(Written<W>, BadRows)> {
    let mut rows = zeroed::<W::Row>(job.rows())?;
    let mut rest = &mut rows[..];
    let (writers, bad_rows) = job.run(
        Spans::new(chunks.iter().map(C::count), |chunk, row| likely_len(chunks[chunk].get(row)))?,
        |span| rest.split_off_mut(..span.rows.len()).unwrap_or_default(),
        writer,
        |run| offload::decompress(options, chunks, interrupted, run),
        |worker, span, values, prefetch| {
            worker.out.expect(job.expected_bytes(span));
            let chunk = &chunks[span.chunk];
            let scratch = &mut *Scratch::of_thread();
            let mut decoder = RowDecoder { options, job, prefetch, scratch };
            job.each_row(worker, span, |worker, i, row| {
                if let Some(value) = decoder.decode(worker, || chunk.get(row), span.first + i)? {
                    values[i] = value;
                }
                Ok(())
            });
        },
        interrupted,
    )?;
    Ok((Written { rows, writers }, bad_rows))
}
