//! Pieces of rows: what goes to the GPU in batches, and what became of it.
//!
//! A row is cut into pieces of some megabytes, so that none is too large for a batch.

use std::ops::Range;

use super::plan::{Kind, Part, Plan, each_part};
use crate::column::{DecompressOptions, Payloads};
use crate::error::{Error, Result, push, reserve};
use crate::gpu::{
    Batch, BatchResults, BatchSource, Chunk, Cost, DeviceBuffer, DevicePtr, Direction, GpuError,
    ItemId, Mirror, Session, size_class,
};
use crate::kernel::Fault;
use crate::manifest::combine_crc32c;
use crate::pool::{self, InterruptCheck};

/// Bytes of originals in a piece.
const PIECE_BYTES: usize = 8 << 20;

/// Rows that one thread plans at a time, some microseconds each.
const STEP_ROWS: usize = 1024;

/// Consecutive chunks of one payload.
pub struct Piece<'a> {
    row: usize,
    part: Part<'a>,
    /// The first of them, and how many.
    first: usize,
    count: usize,
    /// Where they go in the column.
    at: usize,
    /// Whether they are the payload's last.
    is_last: bool,
}

/// The pieces of some rows, in order.
pub fn plan<'a, C: Payloads>(
    options: &DecompressOptions,
    chunks: &'a [C],
    plan: &Plan,
    offsets: &[i64],
    rows: Range<usize>,
    interrupted: InterruptCheck,
) -> Result<Vec<Piece<'a>>> {
    let steps = rows.clone().step_by(STEP_ROWS);
    let mut steps: Vec<_> =
        steps.map(|start| (start..rows.end.min(start + STEP_ROWS), Ok(Vec::new()))).collect();
    pool::run_parallel(
        steps.iter_mut(),
        || (),
        |(), (rows, pieces)| *pieces = plan_step(options, chunks, plan, offsets, rows.clone()),
        interrupted,
    )?;
    let steps = steps.into_iter().map(|(_, pieces)| pieces).collect::<Result<Vec<_>>>()?;
    let mut all = Vec::new();
    reserve(&mut all, steps.iter().map(Vec::len).sum())?;
    all.extend(steps.into_iter().flatten());
    Ok(all)
}

fn plan_step<'a, C: Payloads>(
    options: &DecompressOptions,
    chunks: &'a [C],
    plan: &Plan,
    offsets: &[i64],
    rows: Range<usize>,
) -> Result<Vec<Piece<'a>>> {
    let mut pieces = Vec::new();
    for row in rows.filter(|&row| plan.kind(row) == Kind::Gpu) {
        let (chunk, in_chunk) = plan.positions.find(row);
        let place = offsets[row] as usize..offsets[row + 1] as usize;
        let (mut at, mut done) = (place.start, Ok(()));
        each_part(options, chunks[chunk].get(in_chunk), |part| {
            if done.is_ok() {
                done = cut(row, part, &mut at, &mut pieces);
            }
        });
        done?;
        if at != place.end {
            let changed = "a payload changed while it was read".into();
            return Err(Error::Argument(changed));
        }
    }
    Ok(pieces)
}

/// Cuts a payload, which goes to `at`, into pieces.
fn cut<'a>(row: usize, part: Part<'a>, at: &mut usize, pieces: &mut Vec<Piece<'a>>) -> Result<()> {
    let (chunk_bytes, chunks) = part.item.chunk_layout();
    let step = (PIECE_BYTES / chunk_bytes).max(1);
    let end = *at + part.item.original_len() as usize;
    for first in (0..chunks).step_by(step) {
        let count = step.min(chunks - first);
        let is_last = first + count == chunks;
        push(pieces, Piece { row, part, first, count, at: *at, is_last })?;
        *at = if is_last { end } else { *at + count * chunk_bytes };
    }
    Ok(())
}

/// Pieces as the items of a session.
pub struct PieceSource<'s, 'a> {
    options: &'s DecompressOptions,
    pieces: &'s [Piece<'a>],
    /// The column's memory, which begins with its values.
    buffer: &'s DeviceBuffer,
    mirror: Option<&'s mut Mirror>,
    interrupted: InterruptCheck<'s>,
    /// Of the payload whose pieces are being taken: the crc32c so far, and what was wrong first.
    crc32c: u32,
    fault: Option<Fault>,
    /// Rows with their first errors, in ascending order.
    bad: Vec<(usize, Error)>,
}

impl<'s, 'a> PieceSource<'s, 'a> {
    pub fn new(
        options: &'s DecompressOptions,
        pieces: &'s [Piece<'a>],
        buffer: &'s DeviceBuffer,
        mirror: Option<&'s mut Mirror>,
        interrupted: InterruptCheck<'s>,
    ) -> Self {
        let (crc32c, fault, bad) = (0, None, Vec::new());
        Self { options, pieces, buffer, mirror, interrupted, crc32c, fault, bad }
    }

    /// The bad rows, with their errors.
    pub fn into_bad(self) -> Vec<(usize, Error)> {
        self.bad
    }

    /// Counts a piece that nvCOMP refused to begin.
    pub fn refuse(&mut self, piece: usize) -> Result<()> {
        let refused = Fault::Container("nvCOMP refuses its chunks".into());
        self.judge(piece, 0, Some(refused))
    }

    /// Goes on to the end of a piece that has this crc32c, or is at fault.
    fn judge(&mut self, piece: usize, crc32c: u32, fault: Option<Fault>) -> Result<()> {
        let piece = &self.pieces[piece];
        if piece.first == 0 {
            (self.crc32c, self.fault) = (0, None);
        }
        self.crc32c = combine_crc32c(self.crc32c, crc32c, piece.len() as u64);
        self.fault = self.fault.take().or(fault);
        if !piece.is_last || self.bad.last().is_some_and(|(row, _)| *row == piece.row) {
            return Ok(());
        }
        if let Err(error) = piece.part.confirm(self.options, self.fault.take(), self.crc32c) {
            push(&mut self.bad, (piece.row, error))?;
        }
        Ok(())
    }
}

impl<'a> BatchSource<'a> for PieceSource<'_, 'a> {
    type Error = Error;

    /// Each row is its own error.
    const SPLITS_REFUSED: bool = true;

    fn count(&self) -> usize {
        self.pieces.len()
    }

    fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn fill(
        &self,
        session: &mut Session,
        pieces: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError> {
        // Originals take no buffer of the batch's.
        let limits = session.limits();
        let limits = Cost { bytes: 2 * limits.bytes, chunks: 2 * limits.chunks, ..limits };
        let (mut batch, mut chunks) = (Batch::default(), Vec::new());
        for i in pieces.clone() {
            let piece = &self.pieces[i];
            let item = &piece.part.item;
            let shape = session.shape(item.work, size_class(item.longest()))?;
            let mut cost = Cost::default();
            chunks.clear();
            chunks.extend(piece.chunks(self.buffer.start()));
            chunks.iter().for_each(|chunk| cost.add(&shape, chunk));
            // A piece is far shorter than what is left of any GPU.
            if !batch.is_empty() && !batch.fits(cost, &limits) {
                return Ok((batch, i));
            }
            let range = batch.push_chunks(&shape, cost, chunks.iter().copied());
            batch.push_range(ItemId::of_row(i), range);
        }
        Ok((batch, pieces.end))
    }

    fn take(&mut self, pieces: Range<usize>, results: Option<&BatchResults>) -> Result<()> {
        let end = pieces.end;
        for piece in pieces {
            let found =
                results.and_then(|results| Some((results, results.find(ItemId::of_row(piece))?)));
            let Some((results, range)) = found else {
                return Err(GpuError::internal("a piece has no result").into());
            };
            let (mut crc32c, mut fault) = (0, None);
            for i in 0..range.count {
                match results.resident(range, i) {
                    Ok((len, crc)) => crc32c = combine_crc32c(crc32c, crc, len as u64),
                    Err(error) => {
                        let chunk = self.pieces[piece].first + i;
                        fault = fault.or(Some(error.fault(Direction::Decompress, chunk)));
                    }
                }
            }
            self.judge(piece, crc32c, fault)?;
            if let Some(mirror) = &mut self.mirror
                && piece + 1 == end
            {
                mirror.advance_to(self.buffer, self.pieces[piece].end())?;
            }
        }
        Ok(())
    }
}

impl<'a> Piece<'a> {
    /// Bytes of its originals.
    fn len(&self) -> usize {
        let (chunk_bytes, _) = self.part.item.chunk_layout();
        match self.is_last {
            true => self.part.item.original_len() as usize - self.first * chunk_bytes,
            false => self.count * chunk_bytes,
        }
    }

    /// The end of its place in the column.
    fn end(&self) -> usize {
        self.at + self.len()
    }

    /// The chunks, with the addresses where they go.
    fn chunks(&self, values: DevicePtr) -> impl Iterator<Item = Chunk<'a>> {
        let mut at = values + self.at as DevicePtr;
        let chunks = self.part.item.chunks().skip(self.first).take(self.count);
        chunks.map(move |chunk| {
            let target = Some(at);
            at += chunk.original as DevicePtr;
            Chunk { target, ..chunk }
        })
    }
}

impl Part<'_> {
    /// Judges the payload by what was at fault with it, or else by what its bytes have become.
    fn confirm(
        &self,
        options: &DecompressOptions,
        fault: Option<Fault>,
        crc32c: u32,
    ) -> Result<()> {
        let (algorithm, len) = (self.item.work.encoding.algorithm, self.item.original_len());
        let judged = match (fault, &self.manifest) {
            (Some(fault), Some(_)) => Err(fault.into_error(algorithm.codec(), len)),
            (Some(fault), None) => Err(options.bare_error(fault, options.bare_limit())),
            (None, Some(manifest)) => manifest.confirm_sums(len, || crc32c),
            // Only the format's own checks verify it.
            (None, None) => Ok(()),
        };
        judged.map_err(|source| match self.frame {
            Some((number, at)) => {
                Error::InFrame { number, codec: algorithm.codec(), at, source: Box::new(source) }
            }
            None => source,
        })
    }
}
