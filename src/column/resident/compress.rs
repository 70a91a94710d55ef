//! Columns of values in a GPU's memory -> columns of payloads, or of frames, on the host.
//!
//! Values stay on the GPU: a batch copies its own next to each other, where their crc32c are
//! computed, too, and only compressed bytes come home. What the GPU does not compress (empty
//! values, one that no batch holds, the values of CPU codecs) is downloaded and takes the way of
//! values on the host. Values that become frames of passthrough are downloaded at the end.

use std::ops::Range;
use std::sync::Mutex;

use super::passthrough;
use super::payloads::{Values, compress_values, fill_batch};
use crate::codec::{Codec, Fallback, Form, ValueWriter};
use crate::column::bad_rows::BadRow;
use crate::column::compress::{Compressed, compress_row};
use crate::column::layout::{Layout, RowWriter, Written};
use crate::column::scheduler::{Job, RunRows, Spans};
use crate::error::{Error, Result, push};
use crate::gpu::{
    Batch, BatchResults, BatchSource, Device, Direction, GpuError, ItemId, Prefetch,
    PrefetchedKernel, Progress, Session, Source, Work,
};
use crate::kernel::fcg1::Encoding;
use crate::kernel::{Fault, Kernel, Scratch};
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use crate::memory::{as_uninit, zeroed};
use crate::pool::InterruptCheck;
use crate::process::{exclusive, lock};

/// Values in a GPU's memory. They are in order in live memory, and what is between two of them is
/// live as well.
pub trait ResidentRows: Values<'static> {
    /// The number of the GPU.
    fn ordinal(&self) -> u32;
}

/// Compresses every row with a GPU codec, on the GPU that has them. `fallback` says what frames hold
/// of values that do not shrink.
pub fn compress_resident<L: Layout, R: ResidentRows>(
    codec: &Codec,
    form: Form,
    fallback: Fallback,
    rows: &R,
    mut session: Session,
    interrupted: InterruptCheck,
) -> Result<Compressed<L::Column>> {
    let codec = &codec.clone().on(Device::Gpu(rows.ordinal()));
    let Some((encoding, _)) = codec.encoding() else {
        return Err(GpuError::internal("a codec of the CPU's came to a GPU").into());
    };
    let writer = ValueWriter::new(codec, form, fallback);
    let counts = [rows.count()];
    match compress_values::<L, R>(codec, writer, rows, &counts, &mut session, interrupted) {
        Ok(Some(column)) => return Ok(column),
        Ok(None) => {}
        Err(error) => {
            // The caller's memory may go now.
            session.settle();
            return Err(error);
        }
    }
    let job = Job::new(rows.count());
    let mut written = zeroed::<<L::Writer<'_> as RowWriter>::Row>(rows.count())?;
    let mut original_size = zeroed::<i64>(rows.count())?;
    let mut crc32c = zeroed::<i64>(rows.count())?;
    let mut rest = (&mut written[..], &mut original_size[..], &mut crc32c[..]);
    // The value of a row that no batch holds, while that row runs.
    let alone = Mutex::new(Vec::new());
    // Rows whose values are stored as they are.
    let mut unshrunk = Mutex::new(Vec::new());
    let mut session = Mutex::new(session);
    let (mut writers, _) = job.run(
        Spans::new(std::iter::once(rows.count()), |_, row| rows.get(row).map_or(0, Source::len))?,
        |span| {
            let n = span.rows.len();
            let rows = rest.0.split_off_mut(..n).unwrap_or_default();
            let sizes = rest.1.split_off_mut(..n).unwrap_or_default();
            (rows, sizes, rest.2.split_off_mut(..n).unwrap_or_default())
        },
        || L::writer(job.block_ids()),
        |run| run_on_gpu(&mut session, encoding, rows, &alone, interrupted, run),
        |worker, span, (written, sizes, crcs), prefetch| {
            worker.out.expect(job.expected_bytes(span));
            let mut scratch = Scratch::of_thread();
            job.each_row(worker, span, |worker, i, row| {
                let Some(len) = rows.get(row).map(Source::len) else { return Ok(()) };
                let id = ItemId::of_row(row);
                let out = &mut worker.out;
                let compressed = match (prefetch.find(id, encoding), prefetch) {
                    (Some(kernel), _) => write_prefetched(codec, writer, kernel, out, len),
                    (None, Prefetch::None | Prefetch::Done { .. }) if len > 0 => {
                        Err(not_compressed(encoding, len))
                    }
                    (None, prefetch) => {
                        let value = std::mem::take(&mut *lock(&alone));
                        let mut kernel = codec.prefetched_kernel(id, prefetch, &mut scratch);
                        compress_row(writer, &mut kernel, out, &value).map(Some)
                    }
                };
                let kept = compressed.and_then(|compressed| {
                    match compressed {
                        Some((row, manifest)) => {
                            written[i] = row;
                            (sizes[i], crcs[i]) = (len as i64, manifest.crc32c.into());
                        }
                        None => push(&mut lock(&unshrunk), row)?,
                    }
                    Ok(())
                });
                kept.map_err(|source| BadRow {
                    source,
                    context: format!("value of {len} bytes"),
                    mistake: None,
                })
            });
        },
        interrupted,
    )?;
    let unshrunk = exclusive(&mut unshrunk);
    if !unshrunk.is_empty() {
        unshrunk.sort_unstable();
        let mut out = L::writer(job.block_ids());
        let session = exclusive(&mut session);
        passthrough::write_frames(session, rows, unshrunk, &mut out, &mut written, interrupted)?;
        writers.push(out);
    }
    drop(session);
    let payload = L::finish(Written { rows: written, writers }, &counts, interrupted)?;
    Ok(Compressed { payload, original_size, crc32c })
}

/// Why a value was not sent to the GPU.
fn not_compressed(encoding: Encoding, len: usize) -> Error {
    match encoding.packed_type().check_len(len) {
        Err(fault) => fault.into_error(encoding.algorithm.codec(), len as u64),
        Ok(()) => GpuError::internal("a value has no result").into(),
    }
}

/// Writes what the GPU made of a value of `len` bytes; nothing where the value is to be stored as it
/// is.
fn write_prefetched<W: RowWriter>(
    codec: &Codec,
    writer: ValueWriter,
    mut kernel: PrefetchedKernel,
    out: &mut W,
    len: usize,
) -> Result<Option<(W::Row, Manifest)>> {
    let (size, limit) = (len as u64, W::MAX_ROW_BYTES.min(MAX_ORIGINAL_SIZE));
    if size > limit {
        return Err(Error::ValueTooLong { size, limit });
    }
    let error = |fault: Fault| fault.into_error(codec.name(), size);
    // Exactly what is written.
    if writer.falls_back(len, kernel.compress_bound(len).map_err(error)?) {
        return Ok(None);
    }
    let manifest = kernel.manifest().map_err(error)?;
    let bound = writer.bound(&mut kernel, len)?;
    let row = out.write(bound, |dst| {
        writer.write_payload(dst, manifest, |payload| kernel.write(len, payload).map_err(error))
    })?;
    Ok(Some((row, manifest)))
}

fn run_on_gpu<R: ResidentRows>(
    session: &mut Mutex<Session>,
    encoding: Encoding,
    rows: &R,
    alone: &Mutex<Vec<u8>>,
    interrupted: InterruptCheck,
    run_rows: RunRows,
) -> Result<()> {
    let work = Work { direction: Direction::Compress, encoding };
    let mut source = ValueSource { work, rows, interrupted, run_rows };
    let done = run_batches(session, &mut source, alone);
    if done.is_err() {
        // The caller's memory may go now.
        exclusive(session).settle();
    }
    done
}

fn run_batches<R: ResidentRows>(
    session: &mut Mutex<Session>,
    source: &mut ValueSource<R>,
    alone: &Mutex<Vec<u8>>,
) -> Result<()> {
    let mut progress = Progress::default();
    while let Some(row) = exclusive(session).run(source, &mut progress)? {
        if let Some(Source::Device(address, len)) = source.rows.get(row) {
            let mut value = zeroed::<u8>(len)?;
            // SAFETY: the row is live device memory.
            unsafe { exclusive(session).download(address, as_uninit(&mut value))? };
            *lock(alone) = value;
        }
        (source.run_rows)(row + 1, &Prefetch::Live { session, falls_back: false })?;
        progress.skip_one();
    }
    Ok(())
}

/// Values as the items of a session.
struct ValueSource<'r, R> {
    work: Work,
    rows: &'r R,
    interrupted: InterruptCheck<'r>,
    run_rows: RunRows<'r>,
}

impl<R: ResidentRows> BatchSource<'static> for ValueSource<'_, R> {
    type Error = Error;

    const SPLITS_REFUSED: bool = false;

    fn count(&self) -> usize {
        self.rows.count()
    }

    fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn fill(
        &self,
        session: &mut Session,
        rows: Range<usize>,
    ) -> Result<(Batch<'static>, usize), GpuError> {
        fill_batch(self.work, self.rows, session, rows)
    }

    fn take(&mut self, rows: Range<usize>, results: Option<&BatchResults>) -> Result<()> {
        let prefetch = match results {
            Some(results) => Prefetch::Done { results, retries: false },
            None => Prefetch::None,
        };
        (self.run_rows)(rows.end, &prefetch)
    }
}
