//! Columns of frames -> what their headers say.

use super::bad_rows::{BadRow, BadRows, OnError};
use super::row::describe_frames;
use super::scheduler::{Job, Spans};
use super::{Rows, mistake};
use crate::error::{Result, reserve};
use crate::gpu::Prefetch;
use crate::pool::InterruptCheck;
use crate::wire::frame::FrameInfo;

/// The headers of every row of frames; null rows are default.
pub struct FrameInfos {
    /// What the headers say, for each row.
    pub rows: Vec<FrameInfo>,
    /// Rows that are null because they were bad.
    pub bad_rows: BadRows,
}

/// Reads the headers of every row of `chunks`. What bad rows do, `on_error` says.
pub fn frame_info<C: Rows>(
    chunks: &[C],
    on_error: OnError,
    interrupted: InterruptCheck,
) -> Result<FrameInfos> {
    let job = Job::new(chunks.iter().map(C::count).sum());
    let mut rows: Vec<FrameInfo> = Vec::new();
    reserve(&mut rows, job.rows())?;
    rows.resize(job.rows(), FrameInfo::default());
    let mut rest = &mut rows[..];
    let (_, bad_rows) = job.run(
        Spans::new(chunks.iter().map(C::count), |_, _| 0)?,
        |span| rest.split_off_mut(..span.rows.len()).unwrap_or_default(),
        || (),
        |run| run(usize::MAX, &Prefetch::None),
        |worker, span, infos, _| {
            let chunk = &chunks[span.chunk];
            job.each_row(worker, span, |worker, i, row| {
                let Some(body) = chunk.get(row) else { return Ok(()) };
                match FrameInfo::of(body) {
                    Ok(info) => {
                        infos[i] = info;
                        job.count_good(worker, 0);
                    }
                    Err(source) => {
                        let mistake = mistake::of_frames(body, &source);
                        let bad = BadRow { source, context: describe_frames(body), mistake };
                        if on_error == OnError::Raise {
                            return Err(bad);
                        }
                        job.record_bad(worker, span.first + i, bad)?;
                    }
                }
                Ok(())
            });
        },
        interrupted,
    )?;
    Ok(FrameInfos { rows, bad_rows })
}
