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
//! finished column.
//!
//! A bad row that becomes null keeps its place, filled with zeros.

mod assembly;
mod compress;
mod passthrough;
mod payload_column;
mod payloads;
mod pieces;
mod plan;

pub use compress::{ResidentRows, compress_resident};
pub use payloads::{Values, compress_through_gpu};

use std::ops::Range;

use super::bad_rows::BadRows;
use super::layout::{Layout, Part, RowWriter};
use super::payload_crc32c::vet;
use super::{DecompressOptions, Decompressed, Payloads, offload};
use crate::error::{Error, Result, collect, try_collect};
use crate::gpu::{self, DeviceBuffer, Mirror, Placement, SMALLEST_COLUMN};
use crate::kernel::copy_to;
use crate::memory::Block;
use crate::pool::InterruptCheck;
use assembly::Assembly;
use plan::{Kind, Plan};

/// Parts of a column's memory begin at multiples of this many bytes.
const PART_ALIGNMENT: usize = 256;

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
    let mut session = gpu::open(ordinal, interrupted)?;
    session.make_room(column_len(plan.bytes(), plan.rows()))?;

    let (mut bad_rows, mut columns, mut first_bad) = (BadRows::default(), Vec::new(), None);
    if plan.has_cpu_rows() {
        // Frames of GPU codecs among theirs may need it.
        drop(session);
        match plan.decode_on_cpu(options, ordinal, chunks, interrupted) {
            Ok(decoded) => (columns, bad_rows) = (decoded.values, decoded.bad_rows),
            Err(Error::Row(bad)) => {
                // A row before it may be bad on the GPU.
                plan.keep_gpu_rows_before(bad.row);
                first_bad = Some(bad);
            }
            Err(other) => return Err(other),
        }
        session = gpu::open(ordinal, interrupted)?;
        session.make_room(column_len(plan.bytes(), plan.rows()))?;
    }
    let offsets = plan.offsets()?;
    let mut assembly = Assembly::new(options, &mut session, &plan, &offsets, chunks)?;
    assembly.upload_cpu_rows(&columns)?;
    drop(columns);
    assembly.fill(interrupted)?;
    match first_bad {
        Some(bad) => Err(Error::Row(bad)),
        None => assembly.finish(bad_rows),
    }
}

/// Decompresses every row of `chunks` through the memory of a GPU to page-locked memory. `None`
/// where that does not pay: with many rows that no GPU can take, with too little memory of either
/// kind, or, if the CPU is to try again, after a failure or with bad rows.
pub fn decompress_through_gpu<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Option<Decompressed<L::Column>>> {
    let placement = offload::placement(options, chunks, interrupted);
    let Some(placement) = placement else { return Ok(None) };
    match decompress_through::<L, C>(options, placement, chunks, interrupted) {
        Err(Error::Unavailable(_)) if placement.falls_back => Ok(None),
        other => other,
    }
}

fn decompress_through<L: Layout, C: Payloads>(
    options: &DecompressOptions,
    placement: Placement,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Option<Decompressed<L::Column>>> {
    let mut plan = Plan::new(options, chunks, interrupted)?;
    let most = options.max_total_size.unwrap_or(u64::MAX);
    let is_sized = (SMALLEST_COLUMN as u64..=most).contains(&plan.bytes());
    let max_row_bytes = <L::Writer<'_> as RowWriter>::MAX_ROW_BYTES;
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
    let counts = collect(chunks.iter().map(C::count))?;
    let Some(runs) = L::parts(&offsets, &counts)? else { return Ok(None) };
    let place = |run: &Range<usize>| offsets[run.start] as usize..offsets[run.end] as usize;
    let lens = collect(runs.iter().map(|run| place(run).len()))?;
    let Some(blocks) = gpu::take_pinned(placement.ordinal, &lens)? else { return Ok(None) };
    let mut session = gpu::open(placement.ordinal, interrupted)?;
    if session.check_memory(column_len(plan.bytes(), plan.rows())).is_err() {
        return Ok(None);
    }
    let mirror = Mirror::new(&mut session, collect(runs.iter().map(place).zip(blocks))?)?;
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
    let bad_rows = assembly.judge(bad_rows)?;
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
        let offsets = collect(offsets[rows.start..=rows.end].iter().map(|offset| offset - start))?;
        Ok(Part { rows, offsets, bytes })
    });
    let values = L::from_parts(try_collect(parts)?, &bad_rows)?;
    Ok(Some(Decompressed { values, bad_rows }))
}
