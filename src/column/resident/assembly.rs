//! A column while it is made in a GPU's memory.

use std::ops::Range;

use super::pieces::{PieceSource, Pieces};
use super::plan::{Kind, Plan};
use super::{ResidentColumn, column_len};
use crate::column::bad_rows::{BadRow, BadRows};
use crate::column::layout::offsets::OffsetsColumn;
use crate::column::row::describe;
use crate::column::{Content, DecompressOptions, Decompressed, OnError, Payloads};
use crate::error::{Error, Result, RowError, push};
use crate::gpu::{
    DeviceBuffer, DevicePtr, Mirror, PinnedBlock, Progress, STEP_BYTES, Session, steps,
};
use crate::kernel::copy_to;
use crate::memory::{as_bytes, as_uninit, zeroed};
use crate::pool::InterruptCheck;

/// Rows whose pieces are planned at a time, for they take some memory.
const MAX_ROWS: usize = 256 << 10;

/// A column while it is made.
pub struct Assembly<'a, C> {
    options: &'a DecompressOptions,
    pub session: &'a mut Session,
    plan: &'a Plan,
    offsets: &'a [i64],
    chunks: &'a [C],
    column: ResidentColumn,
    /// Downloads the values as they are done.
    pub mirror: Option<Mirror>,
    /// Rows that were bad on the GPU.
    pub bad: Vec<RowError>,
}

impl<'a, C: Payloads> Assembly<'a, C> {
    /// Allocates the column, for which there is room.
    pub fn new(
        options: &'a DecompressOptions,
        session: &'a mut Session,
        plan: &'a Plan,
        offsets: &'a [i64],
        chunks: &'a [C],
    ) -> Result<Self> {
        let (rows, bytes) = (plan.rows(), offsets[plan.rows()]);
        let len = column_len(bytes as u64, rows);
        let first = offsets.get(1).map(|&end| end as usize);
        let is_even =
            |width: &usize| offsets.windows(2).all(|ends| (ends[1] - ends[0]) as usize == *width);
        let column = ResidentColumn {
            buffer: session.allocate(len as usize)?,
            rows,
            bytes: bytes as usize,
            null_count: 0,
            width: first.filter(is_even),
            is_utf8: options.content == Content::Text,
        };
        let (mirror, bad) = (None, Vec::new());
        Ok(Self { options, session, plan, offsets, chunks, column, mirror, bad })
    }

    /// Where a row's bytes are.
    fn place(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// Uploads the values that the CPU decoded, by parts of the column that have any.
    pub fn upload_cpu_rows(&mut self, columns: &[OffsetsColumn]) -> Result<()> {
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
    pub fn fill(&mut self, interrupted: InterruptCheck) -> Result<()> {
        // After an interrupt the work goes on: the column's memory is freed when it is done.
        self.decode(interrupted)?;
        self.upload_offsets()?;
        if self.options.content == Content::Text {
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
            let values = self.column.buffer.start();
            let pieces =
                Pieces::plan(options, self.chunks, plan, offsets, values, rows, interrupted)?;
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
            if let Err(error) = self.options.content.check(&bytes) {
                self.add_bad(row, error)?;
            }
        }
        Ok(())
    }

    /// Waits for the downloads; the blocks that they went to, if there is a mirror.
    pub fn finish_mirror(
        &mut self,
        interrupted: InterruptCheck,
    ) -> Result<Option<Vec<PinnedBlock>>> {
        let Some(mut mirror) = self.mirror.take() else { return Ok(None) };
        mirror.advance_to(&self.column.buffer, self.column.bytes)?;
        Ok(Some(mirror.finish(interrupted)?))
    }

    /// All bad rows, with those of the CPU.
    pub fn judge(&mut self, mut bad_rows: BadRows) -> Result<BadRows> {
        let bad_on_gpu = self.bad.len();
        for bad in self.bad.drain(..) {
            bad_rows.add(bad)?;
        }
        let on_gpu = (0..self.column.rows).filter(|&row| self.plan.kind(row) == Kind::Gpu);
        on_gpu.skip(bad_on_gpu).for_each(|_| bad_rows.count_good());
        bad_rows.sort();
        Ok(bad_rows)
    }

    /// Writes which rows are not null.
    pub fn finish(mut self, bad_rows: BadRows) -> Result<Decompressed<ResidentColumn>> {
        let bad_rows = self.judge(bad_rows)?;
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
