//! Columns of values -> columns of payloads with their manifests, or of frames.

use super::bad_rows::BadRow;
use super::layout::{Layout, RowWriter, Written};
use super::resident::compress_through_gpu;
use super::scheduler::{Job, Spans};
use super::{Rows, offload};
use crate::codec::{AnyKernel, Codec, Fallback, Form, ValueWriter};
use crate::error::{Error, Result, collect};
use crate::gpu::ItemId;
use crate::kernel::Scratch;
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use crate::memory::zeroed;
use crate::pool::InterruptCheck;

/// A compressed column. Null rows are zero in all three. Sizes and checksums are signed, as
/// columns of them are: no value is near 2^63 bytes.
pub struct Compressed<P> {
    /// The payloads.
    pub payload: P,
    /// Bytes before compression, for each row.
    pub original_size: Vec<i64>,
    /// CRC-32C of the bytes before compression, for each row.
    pub crc32c: Vec<i64>,
}

/// Compresses every row of `chunks`.
pub fn compress<L: Layout, C: Rows>(
    codec: &Codec,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Compressed<L::Column>> {
    let writer = ValueWriter::new(codec, Form::Payload, Fallback::Never);
    compress_to::<L, C>(codec, writer, chunks, interrupted)
}

/// Encodes every row of `chunks` as a frame; `fallback` says what that holds of a value that does
/// not shrink.
pub fn encode<L: Layout, C: Rows>(
    codec: &Codec,
    fallback: Fallback,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<L::Column> {
    let writer = ValueWriter::new(codec, Form::Frame, fallback);
    Ok(compress_to::<L, C>(codec, writer, chunks, interrupted)?.payload)
}

fn compress_to<L: Layout, C: Rows>(
    codec: &Codec,
    writer: ValueWriter,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Compressed<L::Column>> {
    let codec = &codec.for_numbers(chunks.iter().find_map(C::number_type));
    let max_row_bytes = <L::Writer<'_> as RowWriter>::MAX_ROW_BYTES;
    let placement = offload::compress_placement(codec, chunks, max_row_bytes, interrupted);
    if let Some(placement) = placement
        && !chunks.iter().any(C::may_refuse)
        && let Some(column) =
            compress_through_gpu::<L, C>(codec, writer, placement, chunks, interrupted)?
    {
        return Ok(column);
    }
    let counts = collect(chunks.iter().map(C::count))?;
    let job = Job::new(counts.iter().sum());
    let mut rows = zeroed::<<L::Writer<'_> as RowWriter>::Row>(job.rows())?;
    let mut original_size = zeroed::<i64>(job.rows())?;
    let mut crc32c = zeroed::<i64>(job.rows())?;
    let mut rest = (&mut rows[..], &mut original_size[..], &mut crc32c[..]);
    let (writers, _) = job.run(
        Spans::new(counts.iter().copied(), |chunk, row| {
            chunks[chunk].get(row).map_or(0, <[u8]>::len)
        })?
        .for_compression(codec),
        |span| {
            let n = span.rows.len();
            let rows = rest.0.split_off_mut(..n).unwrap_or_default();
            let sizes = rest.1.split_off_mut(..n).unwrap_or_default();
            (rows, sizes, rest.2.split_off_mut(..n).unwrap_or_default())
        },
        || L::writer(job.block_ids()),
        |run| offload::compress(codec, placement, chunks, max_row_bytes, interrupted, run),
        |worker, span, (rows, sizes, crcs), prefetch| {
            worker.out.expect(job.expected_bytes(span));
            let chunk = &chunks[span.chunk];
            let mut scratch = Scratch::of_thread();
            job.each_row(worker, span, |worker, i, row| {
                let Some(value) = chunk.get(row) else { return Ok(()) };
                let id = ItemId::of_row(span.first + i);
                let mut kernel = codec.prefetched_kernel(id, prefetch, &mut scratch);
                let row = match chunk.refusal(row) {
                    Some(refusal) => Err(refusal),
                    None => compress_row(writer, &mut kernel, &mut worker.out, value),
                };
                let (row, manifest) = row.map_err(|source| BadRow {
                    source,
                    context: format!("value of {} bytes", value.len()),
                    mistake: None,
                })?;
                rows[i] = row;
                (sizes[i], crcs[i]) = (value.len() as i64, manifest.crc32c.into());
                Ok(())
            });
        },
        interrupted,
    )?;
    let payload = L::finish(Written { rows, writers }, &counts, interrupted)?;
    Ok(Compressed { payload, original_size, crc32c })
}

pub(super) fn compress_row<W: RowWriter>(
    writer: ValueWriter,
    kernel: &mut AnyKernel,
    out: &mut W,
    value: &[u8],
) -> Result<(W::Row, Manifest)> {
    let (size, limit) = (value.len() as u64, W::MAX_ROW_BYTES.min(MAX_ORIGINAL_SIZE));
    if size > limit {
        return Err(Error::ValueTooLong { size, limit });
    }
    let bound = writer.bound(kernel, value.len())?;
    let mut manifest = None;
    let row = out.write(bound, |dst| {
        let (sealed, written) = writer.write(kernel, value, dst)?;
        manifest = Some(sealed);
        Ok(written)
    })?;
    Ok((row, manifest.unwrap_or_else(|| Manifest::seal(value))))
}
