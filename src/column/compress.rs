//! Columns of values -> columns of payloads with their manifests.

use super::job::{Job, Spans, Worker, zeroed};
use super::view::write_row;
use super::{Rows, VIEW_MAX_BYTES, View, ViewColumn, pool};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::Manifest;

/// A compressed column. Null rows are zero in all three.
pub struct Compressed {
    pub payload: ViewColumn,
    pub original_size: Vec<u64>,
    pub crc32c: Vec<u32>,
}

/// Compresses every row of `chunks`.
pub fn compress<C: Rows>(codec: &Codec, chunks: &[C]) -> Result<Compressed> {
    let rows = chunks.iter().map(C::count).sum();
    let mut column = Compressed {
        payload: ViewColumn { views: zeroed(rows)?, blocks: Vec::new() },
        original_size: zeroed(rows)?,
        crc32c: zeroed(rows)?,
    };
    let spans = Spans::new(chunks.iter().map(C::count), |chunk, row| {
        chunks[chunk].get(row).map_or(0, <[u8]>::len)
    });
    let mut out =
        (&mut column.payload.views[..], &mut column.original_size[..], &mut column.crc32c[..]);
    let work = spans.map(|span| {
        let n = span.rows.len();
        let views = out.0.split_off_mut(..n).unwrap_or_default();
        let sizes = out.1.split_off_mut(..n).unwrap_or_default();
        let crcs = out.2.split_off_mut(..n).unwrap_or_default();
        (span, views, sizes, crcs)
    });
    let job = Job::new(rows);
    let workers = pool::work_off(
        work,
        || job.worker(),
        |worker, (span, views, sizes, crcs)| {
            let chunk = &chunks[span.chunk];
            codec.with_kernel(|kernel| {
                job.each_row(worker, &span, |worker, i, row| {
                    let Some(value) = chunk.get(row) else { return Ok(()) };
                    let manifest = compress_row(codec, kernel, worker, value, &mut views[i])
                        .map_err(|source| (source, format!("value of {} bytes", value.len())))?;
                    (sizes[i], crcs[i]) = (manifest.original_size, manifest.crc32c);
                    Ok(())
                });
            });
        },
    )?;
    column.payload.blocks = job.finish(workers)?.0;
    Ok(column)
}

fn compress_row(
    codec: &Codec,
    kernel: &mut dyn Kernel,
    worker: &mut Worker,
    value: &[u8],
    view: &mut View,
) -> Result<Manifest> {
    let size = value.len() as u64;
    let fault = |fault| codec.error(fault, size);
    if size > VIEW_MAX_BYTES {
        return Err(Error::ValueTooLong { size, limit: VIEW_MAX_BYTES });
    }
    let bound = kernel.compress_bound(value.len()).map_err(fault)?;
    *view = write_row(&mut worker.arena, bound, |room| {
        let written = kernel.compress(value, room).map_err(fault)?;
        // SAFETY: the kernel initialised the first `written` bytes.
        Ok(unsafe { room[..written].assume_init_ref() })
    })?;
    Ok(Manifest::seal(value))
}
