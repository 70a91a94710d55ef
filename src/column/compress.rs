//! Columns of values -> columns of payloads with their manifests.

use super::bad_rows::BadRow;
use super::flat::{Cuts, FlatColumn, Gathered, flatten};
use super::job::{Job, Spans, Workers, zeroed};
use super::output::{Output, Written};
use super::view::{ViewColumn, Views};
use super::{Rows, ahead};
use crate::codec::{AnyKernel, Codec, Form};
use crate::error::{Error, Result};
use crate::kernel::Scratch;
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use crate::pool::Interrupted;
use crate::wire::codec_id::CodecId;

/// A compressed column. Null rows are zero in all three. Sizes and checksums are signed, as
/// columns of them are: values end long before 2^63.
pub struct Compressed<P> {
    pub payload: P,
    pub original_size: Vec<i64>,
    pub crc32c: Vec<i64>,
}

impl<P> Compressed<P> {
    fn with_payload<Q>(self, make: impl FnOnce(P) -> Result<Q>) -> Result<Compressed<Q>> {
        let Self { payload, original_size, crc32c } = self;
        Ok(Compressed { payload: make(payload)?, original_size, crc32c })
    }
}

/// Compresses every row of `chunks`.
pub fn compress<C: Rows>(
    codec: &Codec,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Compressed<ViewColumn>> {
    let job = Job::new(chunks.iter().map(C::count).sum());
    compress_rows(codec, Form::Payload, chunks, &job, || Views(job.arena()), interrupted)?
        .with_payload(ViewColumn::try_from)
}

/// Compresses every row of `chunks`, each chunk's payloads to a column of their own.
pub fn compress_flat<C: Rows>(
    codec: &Codec,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Compressed<Vec<FlatColumn>>> {
    let counts: Vec<usize> = chunks.iter().map(C::count).collect();
    let job = Job::new(counts.iter().sum());
    compress_rows(codec, Form::Payload, chunks, &job, || Cuts(job.arena()), interrupted)?
        .with_payload(|written| flatten(written, &counts, interrupted))
}

/// Encodes every row of `chunks` as a frame.
pub fn encode<C: Rows>(
    codec: &Codec,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<ViewColumn> {
    let job = Job::new(chunks.iter().map(C::count).sum());
    compress_rows(codec, Form::Frame, chunks, &job, || Views(job.arena()), interrupted)?
        .payload
        .try_into()
}

/// Encodes every row of `chunks` as a frame, each chunk's to a column of their own.
pub fn encode_flat<C: Rows>(
    codec: &Codec,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Vec<FlatColumn>> {
    let counts: Vec<usize> = chunks.iter().map(C::count).collect();
    flatten(
        encode_rows(codec, chunks, &Job::new(counts.iter().sum()), interrupted)?,
        &counts,
        interrupted,
    )
}

/// Encodes every row as a frame, to be moved back to back.
pub fn encode_gathered<C: Rows>(
    codec: &Codec,
    rows: &C,
    interrupted: Interrupted,
) -> Result<Gathered> {
    let job = Job::new(rows.count());
    encode_rows(codec, std::slice::from_ref(rows), &job, interrupted)?.try_into()
}

fn encode_rows<'job, C: Rows>(
    codec: &Codec,
    chunks: &[C],
    job: &'job Job,
    interrupted: Interrupted,
) -> Result<Written<Cuts<'job>>> {
    let column = compress_rows(codec, Form::Frame, chunks, job, || Cuts(job.arena()), interrupted)?;
    Ok(column.payload)
}

fn compress_rows<C: Rows, O: Output>(
    codec: &Codec,
    form: Form,
    chunks: &[C],
    job: &Job,
    out: impl Fn() -> O + Sync,
    interrupted: Interrupted,
) -> Result<Compressed<Written<O>>> {
    let rows = chunks.iter().map(C::count).sum();
    let mut column = Compressed {
        payload: zeroed::<O::Row>(rows)?,
        original_size: zeroed::<i64>(rows)?,
        crc32c: zeroed::<i64>(rows)?,
    };
    let mut spans = Spans::new(chunks.iter().map(C::count), |chunk, row| {
        chunks[chunk].get(row).map_or(0, <[u8]>::len)
    });
    let mut rest = (&mut column.payload[..], &mut column.original_size[..], &mut column.crc32c[..]);
    let workers = Workers::new(|| job.worker(out()));
    ahead::compress(codec, chunks, O::LONGEST, interrupted, &mut |until, prefetch| {
        let work = spans.until(until).map(|span| {
            let n = span.rows.len();
            let payloads = rest.0.split_off_mut(..n).unwrap_or_default();
            let sizes = rest.1.split_off_mut(..n).unwrap_or_default();
            let crcs = rest.2.split_off_mut(..n).unwrap_or_default();
            (span, payloads, sizes, crcs)
        });
        workers.work_off(
            work,
            |worker, (span, payloads, sizes, crcs)| {
                let chunk = &chunks[span.chunk];
                let mut scratch = Scratch::of_thread();
                job.each_row(worker, &span, |worker, i, row| {
                    let Some(value) = chunk.get(row) else { return Ok(()) };
                    let mut kernel = codec.prefetched_kernel(value, prefetch, &mut scratch);
                    let row = compress_row(codec.id(), form, &mut kernel, &mut worker.out, value);
                    let (payload, manifest) = row.map_err(|source| BadRow {
                        source,
                        context: format!("value of {} bytes", value.len()),
                        mistake: None,
                    })?;
                    payloads[i] = payload;
                    (sizes[i], crcs[i]) = (value.len() as i64, manifest.crc32c.into());
                    Ok(())
                });
            },
            interrupted,
        )
    })?;
    let (outs, _) = job.finish(workers.finish())?;
    column.with_payload(|rows| Ok(Written { rows, outs }))
}

fn compress_row<O: Output>(
    id: CodecId,
    form: Form,
    kernel: &mut AnyKernel,
    out: &mut O,
    value: &[u8],
) -> Result<(O::Row, Manifest)> {
    let (size, limit) = (value.len() as u64, O::LONGEST.min(MAX_ORIGINAL_SIZE));
    if size > limit {
        return Err(Error::ValueTooLong { size, limit });
    }
    let bound = form.bound(kernel, value.len())?;
    let mut manifest = None;
    let row = out.write(bound, |dst| {
        let (sealed, written) = form.write(id, kernel, value, dst)?;
        manifest = Some(sealed);
        Ok(written)
    })?;
    Ok((row, manifest.unwrap_or_else(|| Manifest::seal(value))))
}
