//! Pieces of rows: what goes to the GPU in batches, and what became of it.
//!
//! A row is cut into pieces of some megabytes, so that none is too large for a batch.

use std::ops::Range;

use super::plan::{Kind, Part, Plan, each_part};
use crate::column::{DecompressOptions, Payloads};
use crate::error::{Error, Result, push, reserve};
use crate::gpu::{
    Batch, BatchResults, BatchSource, Chunk, Cost, DeviceBuffer, DevicePtr, Direction, GpuError,
    ItemId, Mirror, Session, Work, size_class,
};
use crate::kernel::Fault;
use crate::kernel::fcg1::Algorithm;
use crate::manifest::{Manifest, combine_crc32c};
use crate::pool::{self, InterruptCheck};

/// Bytes of originals in a piece.
const PIECE_BYTES: usize = 8 << 20;

/// Rows that one thread plans at a time, some microseconds each.
const STEP_ROWS: usize = 1024;

/// Consecutive chunks of one payload.
struct Piece {
    row: usize,
    payload: PayloadOf,
    work: Work,
    /// The longest original of the payload's chunks.
    longest: usize,
    /// Where the chunks are among those of the step.
    chunks: Range<usize>,
    /// The first of them in the payload.
    first: usize,
    /// Where they go in the column.
    place: Range<usize>,
    /// Whether they are the payload's last.
    is_last: bool,
}

/// What the payload of a piece is judged by.
#[derive(Clone, Copy)]
struct PayloadOf {
    algorithm: Algorithm,
    original_len: u64,
    manifest: Option<Manifest>,
    /// As of a [`Part`].
    frame: Option<(usize, usize)>,
}

/// The pieces of some rows, with all that filling batches takes: one thread does that, while
/// many plan.
#[derive(Default)]
struct StepPieces<'a> {
    pieces: Vec<Piece>,
    chunks: Vec<Chunk<'a>>,
}

/// The pieces of a column's rows, in order.
pub struct Pieces<'a> {
    steps: Vec<StepPieces<'a>>,
    /// The pieces of all steps up to each.
    ends: Vec<usize>,
}

impl<'a> Pieces<'a> {
    /// Plans the pieces of `rows`, whose values go to `values` on the device.
    pub fn plan<C: Payloads>(
        options: &DecompressOptions,
        chunks: &'a [C],
        plan: &Plan,
        offsets: &[i64],
        values: DevicePtr,
        rows: Range<usize>,
        interrupted: InterruptCheck,
    ) -> Result<Self> {
        let steps = rows.clone().step_by(STEP_ROWS);
        let step = |start| (start..rows.end.min(start + STEP_ROWS), Ok(StepPieces::default()));
        let mut steps: Vec<_> = steps.map(step).collect();
        pool::run_parallel(
            steps.iter_mut(),
            || (),
            |(), (rows, pieces)| {
                *pieces = plan_step(options, chunks, plan, offsets, values, rows.clone());
            },
            interrupted,
        )?;
        let steps = steps.into_iter().map(|(_, pieces)| pieces).collect::<Result<Vec<_>>>()?;
        let mut end = 0;
        let ends = steps.iter().map(|step| {
            end += step.pieces.len();
            end
        });
        Ok(Self { ends: ends.collect(), steps })
    }

    fn count(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// A piece, and its chunks.
    fn get(&self, piece: usize) -> (&Piece, &[Chunk<'a>]) {
        let step = self.ends.partition_point(|&end| end <= piece);
        let StepPieces { pieces, chunks } = &self.steps[step];
        let piece = &pieces[piece + pieces.len() - self.ends[step]];
        (piece, &chunks[piece.chunks.clone()])
    }
}

fn plan_step<'a, C: Payloads>(
    options: &DecompressOptions,
    chunks: &'a [C],
    plan: &Plan,
    offsets: &[i64],
    values: DevicePtr,
    rows: Range<usize>,
) -> Result<StepPieces<'a>> {
    let mut step = StepPieces::default();
    reserve(&mut step.pieces, rows.len())?;
    reserve(&mut step.chunks, rows.len())?;
    for row in rows.filter(|&row| plan.kind(row) == Kind::Gpu) {
        let (chunk, in_chunk) = plan.positions.find(row);
        let place = offsets[row] as usize..offsets[row + 1] as usize;
        let (mut at, mut done) = (place.start, Ok(()));
        each_part(options, chunks[chunk].get(in_chunk), |part| {
            if done.is_ok() {
                done = step.cut(row, part, &mut at, values);
            }
        });
        done?;
        if at != place.end {
            let changed = "a payload changed while it was read".into();
            return Err(Error::Argument(changed));
        }
    }
    Ok(step)
}

impl<'a> StepPieces<'a> {
    /// Cuts a payload, which goes to `at` in `values`, into pieces.
    fn cut(&mut self, row: usize, part: Part<'a>, at: &mut usize, values: DevicePtr) -> Result<()> {
        let Part { item, manifest, frame } = part;
        let (work, longest, original_len) = (item.work, item.longest(), item.original_len());
        let algorithm = work.encoding.algorithm;
        let payload = PayloadOf { algorithm, original_len, manifest, frame };
        let (chunk_bytes, count) = item.chunk_layout();
        let step = (PIECE_BYTES / chunk_bytes).max(1);
        let mut chunks = item.chunks();
        for first in (0..count).step_by(step) {
            let (start, from) = (*at, self.chunks.len());
            for chunk in chunks.by_ref().take(step) {
                let target = Some(values + *at as DevicePtr);
                *at += chunk.original;
                push(&mut self.chunks, Chunk { target, ..chunk })?;
            }
            let (chunks, place) = (from..self.chunks.len(), start..*at);
            let is_last = first + step >= count;
            let piece = Piece { row, payload, work, longest, chunks, first, place, is_last };
            push(&mut self.pieces, piece)?;
        }
        Ok(())
    }
}

/// Pieces as the items of a session.
pub struct PieceSource<'s, 'a> {
    options: &'s DecompressOptions,
    pieces: &'s Pieces<'a>,
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
        pieces: &'s Pieces<'a>,
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
        let (piece, _) = self.pieces.get(piece);
        if piece.first == 0 {
            (self.crc32c, self.fault) = (0, None);
        }
        self.crc32c = combine_crc32c(self.crc32c, crc32c, piece.place.len() as u64);
        self.fault = self.fault.take().or(fault);
        if !piece.is_last || self.bad.last().is_some_and(|(row, _)| *row == piece.row) {
            return Ok(());
        }
        if let Err(error) = piece.payload.confirm(self.options, self.fault.take(), self.crc32c) {
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
        self.pieces.count()
    }

    fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn fill(
        &self,
        session: &mut Session,
        pieces: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError> {
        let mut limits = session.limits();
        // Originals take no buffer of the batch's. The first batch is short, so that the GPU starts
        // early.
        if pieces.start == 0 {
            limits.bytes /= 2;
        } else {
            (limits.bytes, limits.chunks) = (2 * limits.bytes, 2 * limits.chunks);
        }
        let mut batch = Batch::with_checksums();
        for i in pieces.clone() {
            let (piece, chunks) = self.pieces.get(i);
            let shape = session.shape(piece.work, size_class(piece.longest))?;
            let mut cost = Cost::default();
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
                        let chunk = self.pieces.get(piece).0.first + i;
                        fault = fault.or(Some(error.fault(Direction::Decompress, chunk)));
                    }
                }
            }
            self.judge(piece, crc32c, fault)?;
            if let Some(mirror) = &mut self.mirror
                && piece + 1 == end
            {
                mirror.advance_to(self.buffer, self.pieces.get(piece).0.place.end)?;
            }
        }
        Ok(())
    }
}

impl PayloadOf {
    /// Judges the payload by what was at fault with it, or else by what its bytes have become.
    fn confirm(
        &self,
        options: &DecompressOptions,
        fault: Option<Fault>,
        crc32c: u32,
    ) -> Result<()> {
        let (algorithm, len) = (self.algorithm, self.original_len);
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
