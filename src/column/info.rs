//! Columns of frames -> what their headers say.

use super::bad_rows::{BadRow, BadRows, OnError};
use super::decompress::describe_frames;
use super::job::{Job, Spans};
use super::{Rows, mistake};
use crate::error::{Error, Result};
use crate::pool::{self, Interrupted};
use crate::wire::frame::FrameInfo;

/// The headers of every row of frames; null rows are default.
pub struct Inspected {
    pub rows: Vec<FrameInfo>,
    /// Rows that are null because they were bad.
    pub bad_rows: BadRows,
}

/// Reads the headers of every row of `chunks`. What bad rows do, `on_error` says.
pub fn frame_info<C: Rows>(
    chunks: &[C],
    on_error: OnError,
    interrupted: Interrupted,
) -> Result<Inspected> {
    let count = chunks.iter().map(C::count).sum();
    let mut rows: Vec<FrameInfo> = Vec::new();
    rows.try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory { bytes: (count * size_of::<FrameInfo>()) as u64 })?;
    rows.resize(count, FrameInfo::default());
    let mut rest = &mut rows[..];
    let work = Spans::new(chunks.iter().map(C::count), |_, _| 0).map(|span| {
        let rows = rest.split_off_mut(..span.rows.len()).unwrap_or_default();
        (span, rows)
    });
    let job = Job::new(count);
    let workers = pool::work_off(
        work,
        || job.worker(()),
        |worker, (span, rows)| {
            let chunk = &chunks[span.chunk];
            job.each_row(worker, &span, |worker, i, row| {
                let Some(body) = chunk.get(row) else { return Ok(()) };
                match FrameInfo::of(body) {
                    Ok(info) => {
                        rows[i] = info;
                        job.count_good(worker, 0);
                    }
                    Err(source) => {
                        let mistake = mistake::of_frames(body, &source);
                        let bad = BadRow { source, context: describe_frames(body), mistake };
                        if on_error == OnError::Raise {
                            return Err(bad);
                        }
                        job.set_aside(worker, span.first + i, bad, on_error);
                    }
                }
                Ok(())
            });
        },
        interrupted,
    )?;
    let (_, bad_rows) = job.finish(workers)?;
    Ok(Inspected { rows, bad_rows })
}
