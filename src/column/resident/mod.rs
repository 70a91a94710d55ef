//! Columns decompressed to a GPU's memory, and verified there.
//!
//! ```text
//! rows -> plan -> rows that no GPU can take -> CPU -> upload
//!              -> the others -> pieces -> batches -> GPU: decoded in place -> crc32c -> verified
//! ```
//!
//! Every row's place is known before anything is decoded on the GPU, so that chunks are decoded
//! where they stay. Their statuses, sizes and crc32c come home, 16 bytes for each, and the
//! manifest judges them as it judges bytes. UTF-8 is checked on the device, too, once over the
//! finished column: that takes 2.5 ms per GB on an H100.
//!
//! A bad row that becomes null keeps its place, filled with zeros.

mod compress;
mod pieces;
mod plan;

pub use compress::{ResidentRows, compress_resident};

use std::ops::Range;

use super::bad_rows::{BadRow, BadRows};
use super::layout::offsets::OffsetsColumn;
use super::payload_crc32c::vet;
use super::row::{check_utf8, describe};
use super::{DecompressOptions, Decompressed, OnError, Payloads, offload};
use crate::error::{Error, Result, RowError, push};
use crate::gpu::{
    self, DeviceBuffer, DevicePtr, Mirror, PinnedBlock, Placement, Progress, SMALLEST_COLUMN,
    STEP_BYTES, Session, steps,
};
use crate::kernel::copy_to;
use crate::memory::{Block, as_bytes, as_uninit, zeroed};
use crate::pool::InterruptCheck;
use pieces::PieceSource;
use plan::{Kind, Plan};

/// Parts of a column's memory begin at multiples of this many bytes.
const PART_ALIGNMENT: usize = 256;

/// Rows whose pieces are planned at a time, for they take some memory.
const MAX_ROWS: usize = 256 << 10;

/// A column of values in a GPU's memory: all bytes back to back, where rows begin, and which rows
/// are not null.
pub struct ResidentColumn {
    buffer: DeviceBuffer,
    rows: usize,
    bytes: usize,
    null_count: usize,
    width: Option<usize>,
    is_utf8: bool,
}

impl ResidentColumn {
    /// The memory that holds all parts.
    pub fn buffer(&self) -> &DeviceBuffer {
        &self.buffer
    }

    /// The number of values.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of null values.
    pub fn null_count(&self) -> usize {
        self.null_count
    }

    /// The bytes of each value, if all are equally long and there are any.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether values are text.
    pub fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// Where the values are in the buffer.
    pub fn values(&self) -> Range<usize> {
        0..self.bytes
    }

    /// Where the offsets are: `rows + 1` of them, i64, from 0.
    pub fn offsets(&self) -> Range<usize> {
        let start = self.bytes.next_multiple_of(PART_ALIGNMENT);
        start..start + offsets_len(self.rows)
    }

    /// Where the validity is: a bit for each row, the lowest of a byte first, 1 where the row is
    /// not null. `None` if no row is null.
    pub fn validity(&self) -> Option<Range<usize>> {
        let start = self.offsets().end.next_multiple_of(PART_ALIGNMENT);
        (self.null_count > 0).then(|| start..start + self.rows.div_ceil(8))
    }
}

fn offsets_len(rows: usize) -> usize {
    size_of::<i64>() * (rows + 1)
}

/// The memory that a column takes.
fn column_len(bytes: u64, rows: usize) -> u64 {
    let parts = offsets_len(rows) + rows.div_ceil(8) + 2 * PART_ALIGNMENT;
    bytes.saturating_add(parts as u64)
}

/// Decompresses every row of `chunks` to the memory of the GPU of that number. Rows that no GPU can
/// take are decoded on the CPU and uploaded.
pub fn decompress_resident<C: Payloads>(
    options: &DecompressOptions,
    ordinal: u32,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<ResidentColumn>> {
    match vet(chunks, interrupted)? {
        None => decompress_vetted(options, ordinal, chunks, interrupted),
        Some(chunks) => decompress_vetted(options, ordinal, &chunks, interrupted),
    }
}

fn decompress_vetted<C: Payloads>(
    options: &DecompressOptions,
    ordinal: u32,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Decompressed<ResidentColumn>> {
    let mut plan = Plan::new(options, chunks, interrupted)?;
    let needed = column_len(plan.bytes(), plan.rows());
    gpu::open(ordinal, interrupted)?.make_room(needed)?;

    let (mut bad_rows, mut columns, mut first_bad) = (BadRows::default(), Vec::new(), None);
    match plan.decode_on_cpu(options, ordinal, chunks, interrupted) {
        Ok(decoded) => (columns, bad_rows) = (decoded.values, decoded.bad_rows),
        Err(Error::Row(bad)) => {
            // A row before it may be bad on the GPU.
            plan.keep_gpu_rows_before(bad.row);
            first_bad = Some(bad);
        }
        Err(other) => return Err(other),
    }
    let offsets = plan.offsets()?;
    let mut session = gpu::open(ordinal, interrupted)?;
    let mut assembly = Assembly::new(options, &mut session, &plan, &offsets, chunks)?;
    assembly.upload_cpu_rows(&columns)?;
    drop(columns);
    assembly.fill(interrupted)?;
    match first_bad {
        Some(bad) => Err(Error::Row(bad)),
        None => assembly.finish(bad_rows),
    }
}

/// Decompresses every row of `chunks` through the memory of a GPU to page-locked memory, a block
/// for each of the ranges of rows that `split` makes of their offsets. `None` where that does not
/// pay: with many rows that no GPU can take, with too little memory of either kind, or, if the CPU
/// is to try again, after a failure or with bad rows.
pub fn through_gpu<C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    max_row_bytes: u64,
    split: impl FnOnce(&[i64]) -> Vec<Range<usize>>,
    interrupted: InterruptCheck,
) -> Result<Option<Decompressed<Vec<Part>>>> {
    let placement = offload::placement(options, chunks, interrupted);
    let Some(placement) = placement else { return Ok(None) };
    match decompress_through(options, placement, chunks, max_row_bytes, split, interrupted) {
        Err(Error::Unavailable(_)) if placement.falls_back => Ok(None),
        other => other,
    }
}

fn decompress_through<C: Payloads>(
    options: &DecompressOptions,
    placement: Placement,
    chunks: &[C],
    max_row_bytes: u64,
    split: impl FnOnce(&[i64]) -> Vec<Range<usize>>,
    interrupted: InterruptCheck,
) -> Result<Option<Decompressed<Vec<Part>>>> {
    let mut plan = Plan::new(options, chunks, interrupted)?;
    let most = options.max_total_size.unwrap_or(u64::MAX);
    let is_sized = (SMALLEST_COLUMN as u64..=most).contains(&plan.bytes());
    if !is_sized || plan.longest() > max_row_bytes || plan.cpu_bytes() > plan.bytes() / 16 {
        return Ok(None);
    }
    let on_cpu = plan.decode_on_cpu(options, placement.ordinal, chunks, interrupted);
    let (columns, bad_rows) = match on_cpu {
        Ok(decoded) if placement.retries && !decoded.bad_rows.is_empty() => return Ok(None),
        Ok(decoded) => (decoded.values, decoded.bad_rows),
        Err(Error::Row(_)) => return Ok(None),
        Err(other) => return Err(other),
    };
    let offsets = plan.offsets()?;
    let runs = split(&offsets);
    let place = |run: &Range<usize>| offsets[run.start] as usize..offsets[run.end] as usize;
    let lens: Vec<_> = runs.iter().map(|run| place(run).len()).collect();
    let Some(blocks) = gpu::take_pinned(placement.ordinal, &lens)? else { return Ok(None) };
    let mut session = gpu::open(placement.ordinal, interrupted)?;
    if session.check_memory(column_len(plan.bytes(), plan.rows())).is_err() {
        return Ok(None);
    }
    let mirror = Mirror::new(&mut session, runs.iter().map(place).zip(blocks).collect())?;
    let mut assembly = Assembly::new(options, &mut session, &plan, &offsets, chunks)?;
    assembly.mirror = Some(mirror);
    match assembly.fill(interrupted) {
        Err(Error::Row(_)) if placement.retries => return Ok(None),
        // Memory ran out.
        Err(Error::Unavailable(_)) if !assembly.session.has_failed() => return Ok(None),
        other => other?,
    }
    let Some(blocks) = assembly.finish_mirror(interrupted)? else { return Ok(None) };
    if placement.retries && !assembly.bad.is_empty() {
        return Ok(None);
    }
    let bad_rows = assembly.judge(bad_rows);
    let parts = runs.into_iter().zip(blocks).map(|(rows, block)| {
        let mut bytes = Block::of(block);
        // SAFETY: the mirror filled the block's front as far as its rows go.
        unsafe { bytes.set_len(place(&rows).len()) };
        let start = offsets[rows.start];
        for row in rows.clone().filter(|&row| plan.kind(row) == Kind::Cpu) {
            let (chunk, in_chunk) = plan.positions.find(row);
            copy_to(
                columns[chunk].get(in_chunk),
                &mut bytes.filled_mut()[(offsets[row] - start) as usize..],
            );
        }
        let offsets = offsets[rows.start..=rows.end].iter().map(|offset| offset - start).collect();
        Part { rows, offsets, bytes }
    });
    let parts = parts.collect();
    Ok(Some(Decompressed { values: parts, bad_rows }))
}

/// Consecutive rows of a column, on the host.
pub struct Part {
    /// Their positions.
    pub rows: Range<usize>,
    /// Where they begin in `bytes`, and the last one's end. A bad row still has its place.
    pub offsets: Vec<i64>,
    pub bytes: Block,
}

/// A column while it is made.
struct Assembly<'a, C> {
    options: &'a DecompressOptions,
    session: &'a mut Session,
    plan: &'a Plan,
    offsets: &'a [i64],
    chunks: &'a [C],
    column: ResidentColumn,
    /// Downloads the values as they are done.
    mirror: Option<Mirror>,
    /// Rows that were bad on the GPU.
    bad: Vec<RowError>,
}

impl<'a, C: Payloads> Assembly<'a, C> {
    fn new(
        options: &'a DecompressOptions,
        session: &'a mut Session,
        plan: &'a Plan,
        offsets: &'a [i64],
        chunks: &'a [C],
    ) -> Result<Self> {
        let (rows, bytes) = (plan.rows(), offsets[plan.rows()]);
        let len = column_len(bytes as u64, rows);
        session.make_room(len)?;
        let first = offsets.get(1).map(|&end| end as usize);
        let is_even =
            |width: &usize| offsets.windows(2).all(|ends| (ends[1] - ends[0]) as usize == *width);
        let column = ResidentColumn {
            buffer: session.allocate(len as usize)?,
            rows,
            bytes: bytes as usize,
            null_count: 0,
            width: first.filter(is_even),
            is_utf8: options.utf8,
        };
        let (mirror, bad) = (None, Vec::new());
        Ok(Self { options, session, plan, offsets, chunks, column, mirror, bad })
    }

    /// Where a row's bytes are.
    fn place(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// Uploads the values that the CPU decoded, by parts of the column that have any.
    fn upload_cpu_rows(&mut self, columns: &[OffsetsColumn]) -> Result<()> {
        let parts = self.column.bytes.div_ceil(STEP_BYTES);
        let mut has_rows = zeroed::<u8>(parts)?;
        for row in (0..self.column.rows).filter(|&row| self.plan.kind(row) == Kind::Cpu) {
            let place = self.place(row);
            if !place.is_empty() {
                let parts = place.start / STEP_BYTES..=(place.end - 1) / STEP_BYTES;
                has_rows[parts].fill(1);
            }
        }
        let ranges = (0..parts)
            .filter(|&part| has_rows[part] == 1)
            .map(|part| part * STEP_BYTES..self.column.bytes.min((part + 1) * STEP_BYTES));
        let (plan, offsets) = (self.plan, self.offsets);
        self.session.upload(&self.column.buffer, ranges, |range, dst| {
            // Between them is memory that the GPU writes to.
            let first = offsets.partition_point(|&start| start as usize <= range.start) - 1;
            let rows = (first..plan.rows()).take_while(|&row| (offsets[row] as usize) < range.end);
            for row in rows.filter(|&row| plan.kind(row) == Kind::Cpu) {
                let (chunk, in_chunk) = plan.positions.find(row);
                let value = columns[chunk].get(in_chunk);
                let start = offsets[row] as usize;
                let kept = range.start.saturating_sub(start)..value.len().min(range.end - start);
                copy_to(&value[kept.clone()], &mut dst[start + kept.start - range.start..]);
            }
        })?;
        Ok(())
    }

    /// Decodes and verifies the rows of the GPU. The lowest bad row is an error, unless it is to
    /// become null.
    fn fill(&mut self, interrupted: InterruptCheck) -> Result<()> {
        // After an interrupt the work goes on: the column's memory is freed when it is done.
        self.decode(interrupted)?;
        self.upload_offsets()?;
        if self.options.utf8 {
            self.check_utf8()?;
        }
        if self.options.on_error != OnError::Raise {
            return Ok(());
        }
        let lowest = self.bad.drain(..).min_by_key(|bad| bad.row);
        lowest.map_or(Ok(()), |bad| Err(Error::Row(Box::new(bad))))
    }

    /// Decodes the rows of the GPU, and verifies all but text.
    fn decode(&mut self, interrupted: InterruptCheck) -> Result<()> {
        let rows = self.column.rows;
        for start in (0..rows).step_by(MAX_ROWS) {
            let rows = start..rows.min(start + MAX_ROWS);
            let (options, plan, offsets) = (self.options, self.plan, self.offsets);
            let pieces = pieces::plan(options, self.chunks, plan, offsets, rows, interrupted)?;
            let mut source = PieceSource::new(
                self.options,
                &pieces,
                &self.column.buffer,
                self.mirror.as_mut(),
                interrupted,
            );
            let mut progress = Progress::default();
            while let Some(piece) = self.session.run(&mut source, &mut progress)? {
                source.refuse(piece)?;
                progress.skip_one();
            }
            for (row, error) in source.into_bad() {
                self.add_bad(row, error)?;
            }
        }
        Ok(())
    }

    /// A row of the GPU's is bad.
    fn add_bad(&mut self, row: usize, source: Error) -> Result<()> {
        let (chunk, in_chunk) = self.plan.positions.find(row);
        let context = describe(self.options, self.chunks[chunk].get(in_chunk));
        let bad = BadRow { source, context, mistake: None }.at(row, self.column.rows);
        self.session.zero(&self.column.buffer, self.place(row))?;
        push(&mut self.bad, bad)?;
        Ok(())
    }

    fn upload_offsets(&mut self) -> Result<()> {
        let offsets = as_bytes(self.offsets);
        upload(self.session, &self.column.buffer, self.column.offsets().start, offsets)
    }

    /// Checks the text of all rows; those of the CPU have passed before.
    fn check_utf8(&mut self) -> Result<()> {
        let column = &self.column;
        let marks = self.session.find_invalid_utf8(
            &column.buffer,
            column.values().start,
            column.offsets().start,
            column.rows,
        )?;
        for row in (0..marks.len()).filter(|&row| marks[row] != 0) {
            let place = self.place(row);
            let mut bytes = zeroed::<u8>(place.len())?;
            let start = self.column.buffer.start() + place.start as DevicePtr;
            // SAFETY: the row's place in the column's memory, which is complete.
            unsafe { self.session.download(start, as_uninit(&mut bytes))? };
            if let Err(error) = check_utf8(self.options, &bytes) {
                self.add_bad(row, error)?;
            }
        }
        Ok(())
    }

    /// Waits for the downloads; the blocks that they went to, if there is a mirror.
    fn finish_mirror(&mut self, interrupted: InterruptCheck) -> Result<Option<Vec<PinnedBlock>>> {
        let Some(mut mirror) = self.mirror.take() else { return Ok(None) };
        mirror.advance_to(&self.column.buffer, self.column.bytes)?;
        Ok(Some(mirror.finish(interrupted)?))
    }

    /// All bad rows, with those of the CPU.
    fn judge(&mut self, mut bad_rows: BadRows) -> BadRows {
        let bad_on_gpu = self.bad.len();
        for bad in self.bad.drain(..) {
            bad_rows.add(bad, self.options.on_error);
        }
        let on_gpu = (0..self.column.rows).filter(|&row| self.plan.kind(row) == Kind::Gpu);
        on_gpu.skip(bad_on_gpu).for_each(|_| bad_rows.count_good());
        bad_rows.sort();
        bad_rows
    }

    /// Writes which rows are not null.
    fn finish(mut self, bad_rows: BadRows) -> Result<Decompressed<ResidentColumn>> {
        let bad_rows = self.judge(bad_rows);
        let Self { session, plan, mut column, .. } = self;
        let mut validity = zeroed::<u8>(column.rows.div_ceil(8))?;
        let mut valid = 0;
        for row in (0..column.rows).filter(|&row| plan.kind(row) != Kind::Null) {
            validity[row / 8] |= 1 << (row % 8);
            valid += 1;
        }
        for &row in bad_rows.rows() {
            validity[row / 8] &= !(1 << (row % 8));
            valid -= 1;
        }
        column.null_count = column.rows - valid;
        if let Some(place) = column.validity() {
            upload(session, &column.buffer, place.start, &validity)?;
        }
        Ok(Decompressed { values: column, bad_rows })
    }
}

/// Uploads `bytes` to a place in a buffer.
fn upload(session: &mut Session, to: &DeviceBuffer, start: usize, bytes: &[u8]) -> Result<()> {
    session.upload(to, steps(start..start + bytes.len()), |range, dst| {
        copy_to(&bytes[range.start - start..range.end - start], dst);
    })?;
    Ok(())
}
