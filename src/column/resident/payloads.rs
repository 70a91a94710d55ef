//! Columns of values -> columns of payloads, or of frames, made in a GPU's memory.
//!
//! ```text
//! values -> batches -> GPU: crc32c, chunks -> sizes to the host -> chunks to their places
//!        -> the whole column to page-locked memory -> headers
//! ```
//!
//! Where chunks go is known once their sizes are. So a batch's chunks are copied on the device to
//! where their containers have them, and the finished column is downloaded at once to memory of its
//! own size. The CPU moves no payload; it writes the headers into the gaps that were left for them.
//! Of a value that becomes a frame of passthrough the chunks are copied as they were.
//!
//! Only what is usual takes this way: everything else (a row that no batch holds, a chunk that
//! nvCOMP does not compress, too little memory) leaves the column to the workers.

use std::ops::Range;

use super::payload_column::PayloadColumn;
use crate::codec::{Codec, ValueWriter};
use crate::column::Rows;
use crate::column::compress::Compressed;
use crate::column::layout::{Layout, Part, RowWriter};
use crate::column::offload::RowPositions;
use crate::error::{Error, Result, collect, reserve, try_collect};
use crate::gpu::{
    self, Batch, BatchResults, BatchSource, Chunk, CompressedSizes, Cost, Destination,
    DeviceBuffer, DevicePtr, Direction, GpuError, ItemId, Mirror, Placement, Progress,
    SMALLEST_COLUMN, Session, Source, Work, size_class,
};
use crate::kernel::fcg1::{CHUNK_BYTES, Encoding, HEADER_BYTES};
use crate::manifest::{MAX_ORIGINAL_SIZE, combine_crc32c};
use crate::memory::{Block, zeroed};
use crate::pool::InterruptCheck;

/// What chunks may grow by, in bytes of the column per chunk, and as a fraction of the values: one
/// in this many.
const CHUNK_MARGIN: usize = 256;
const GROWTH_SHARE: usize = 8;

/// Values that can go to a GPU.
pub trait Values<'a>: Sync {
    /// The number of values.
    fn count(&self) -> usize;
    /// One of them; `None` where it is null.
    fn get(&self, row: usize) -> Option<Source<'a>>;
}

/// Values on the host.
struct HostValues<'a, C> {
    chunks: &'a [C],
    positions: RowPositions,
}

impl<'a, C: Rows> Values<'a> for HostValues<'a, C> {
    fn count(&self) -> usize {
        self.positions.count()
    }

    fn get(&self, row: usize) -> Option<Source<'a>> {
        let (chunk, row) = self.positions.find(row);
        self.chunks[chunk].get(row).map(Source::Host)
    }
}

/// Compresses every row of `chunks` on the GPU that was chosen. `None` where the workers have to
/// do it.
pub fn compress_through_gpu<L: Layout, C: Rows>(
    codec: &Codec,
    writer: ValueWriter,
    placement: Placement,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Result<Option<Compressed<L::Column>>> {
    let counts = collect(chunks.iter().map(C::count))?;
    let values = HostValues { chunks, positions: RowPositions::new(counts.iter().copied())? };
    let mut session = match gpu::open(placement.ordinal, interrupted).map_err(Error::from) {
        Err(Error::Unavailable(_)) if placement.falls_back => return Ok(None),
        other => other?,
    };
    match compress_values::<L, _>(codec, writer, &values, &counts, &mut session, interrupted) {
        Err(Error::Unavailable(_)) if placement.falls_back => Ok(None),
        other => other,
    }
}

/// Compresses every value on the GPU of the session. `None` where the workers have to do it.
pub fn compress_values<'a, L: Layout, V: Values<'a>>(
    codec: &Codec,
    writer: ValueWriter,
    values: &V,
    counts: &[usize],
    session: &mut Session,
    interrupted: InterruptCheck,
) -> Result<Option<Compressed<L::Column>>> {
    let Some((encoding, _)) = codec.encoding() else { return Ok(None) };
    let longest = <L::Writer<'_> as RowWriter>::MAX_ROW_BYTES.min(session.limits().bytes as u64);
    let Some(plan) = Plan::new(encoding, writer, values, longest)? else { return Ok(None) };
    // As much again is left for batches.
    if session.check_memory(2 * plan.capacity as u64).is_err() {
        return Ok(None);
    }
    let buffer = session.allocate(plan.capacity)?;
    let mut source = PlacingSource::new(encoding, writer, values, plan, &buffer, interrupted)?;
    match session.run(&mut source, &mut Progress::default()) {
        Ok(None) => {}
        Ok(Some(_)) | Err(Stop::Unusual) => return Ok(None),
        Err(Stop::Failed(error)) => return Err(error),
    }
    let PlacingSource { column, .. } = source;
    let Some(parts) = L::parts(&column.offsets, counts)? else { return Ok(None) };
    let mut blocks = download(session, &buffer, &column.offsets, &parts, interrupted)?;
    drop(buffer);
    for (rows, block) in parts.iter().zip(&mut blocks) {
        column.write_headers(writer, rows.clone(), block.filled_mut(), interrupted)?;
    }
    let offsets = |rows: &Range<usize>| {
        let start = column.offsets[rows.start];
        collect(column.offsets[rows.start..=rows.end].iter().map(|offset| offset - start))
    };
    let parts = parts.into_iter().zip(blocks);
    let parts = parts.map(|(rows, bytes)| Ok(Part { offsets: offsets(&rows)?, rows, bytes }));
    let payload = L::from_parts(try_collect(parts)?, &Default::default())?;
    let PayloadColumn { original_size, crc32c, .. } = column;
    Ok(Some(Compressed { payload, original_size, crc32c }))
}

/// Downloads the rows of each part to a block of its own: page-locked where there are blocks.
fn download(
    session: &mut Session,
    buffer: &DeviceBuffer,
    offsets: &[i64],
    parts: &[Range<usize>],
    interrupted: InterruptCheck,
) -> Result<Vec<Block>> {
    let place = |rows: &Range<usize>| offsets[rows.start] as usize..offsets[rows.end] as usize;
    let places = collect(parts.iter().map(place))?;
    let lens = collect(places.iter().map(Range::len))?;
    let total: usize = lens.iter().sum();
    let pinned = match total < SMALLEST_COLUMN {
        true => None,
        false => gpu::take_pinned(buffer.ordinal(), &lens)?,
    };
    let mut blocks = Vec::new();
    reserve(&mut blocks, places.len())?;
    if let Some(pinned) = pinned {
        let mut mirror = Mirror::new(session, collect(places.into_iter().zip(pinned))?)?;
        mirror.advance_to(buffer, total)?;
        blocks.extend(mirror.finish(interrupted)?.into_iter().map(Block::of));
    } else {
        for place in places {
            let mut block = Block::new(place.len())?;
            let start = buffer.start() + place.start as DevicePtr;
            // SAFETY: this part of the buffer, which nobody writes to any more.
            unsafe { session.download(start, &mut block.spare()[..place.len()])? };
            blocks.push(block);
        }
        gpu::grow_pinned();
    }
    for (block, len) in blocks.iter_mut().zip(lens) {
        // SAFETY: so many bytes were downloaded to its front.
        unsafe { block.set_len(len) };
    }
    Ok(blocks)
}

/// What is known of the values before any is compressed.
struct Plan {
    /// The chunks of all rows before each, and of all rows.
    first_chunks: Vec<usize>,
    /// The most bytes that the column may take on the device.
    capacity: usize,
}

impl Plan {
    /// `None` where some value is not for a GPU, or is longer than `longest`, or all of them are
    /// few.
    fn new<'a>(
        encoding: Encoding,
        writer: ValueWriter,
        values: &impl Values<'a>,
        longest: u64,
    ) -> Result<Option<Self>> {
        let rows = values.count();
        let mut first_chunks = zeroed::<usize>(rows + 1)?;
        let (mut bytes, mut chunks) = (0, 0);
        for row in 0..rows {
            let len = values.get(row).map_or(0, Source::len);
            if len as u64 > longest.min(MAX_ORIGINAL_SIZE)
                || encoding.packed_type().check_len(len).is_err()
            {
                return Ok(None);
            }
            bytes += len;
            chunks += len.div_ceil(CHUNK_BYTES);
            first_chunks[row + 1] = chunks;
        }
        if bytes < SMALLEST_COLUMN {
            return Ok(None);
        }
        let headers = rows * (writer.header_len() + HEADER_BYTES) + chunks * CHUNK_MARGIN;
        Ok(Some(Self { first_chunks, capacity: bytes + bytes / GROWTH_SHARE + headers }))
    }
}

/// What ends the work on this way.
enum Stop {
    /// Something that the workers have to do.
    Unusual,
    Failed(Error),
}

impl From<GpuError> for Stop {
    fn from(error: GpuError) -> Self {
        Self::Failed(error.into())
    }
}

/// Values as the items of a session, whose chunks it places in the column.
struct PlacingSource<'s, V> {
    work: Work,
    writer: ValueWriter,
    values: &'s V,
    column: PayloadColumn,
    /// Where the column is made, and how long it may become.
    start: DevicePtr,
    capacity: usize,
    interrupted: InterruptCheck<'s>,
    /// Whether a chunk was not compressed, or the column has become too long.
    is_unusual: bool,
}

impl<'s, V> PlacingSource<'s, V> {
    fn new<'a>(
        encoding: Encoding,
        writer: ValueWriter,
        values: &'s V,
        plan: Plan,
        buffer: &DeviceBuffer,
        interrupted: InterruptCheck<'s>,
    ) -> Result<Self>
    where
        V: Values<'a>,
    {
        let Plan { first_chunks, capacity } = plan;
        let column = PayloadColumn::new(encoding, values.count(), first_chunks)?;
        let (start, is_unusual) = (buffer.start(), false);
        let work = Work { direction: Direction::Compress, encoding };
        Ok(Self { work, writer, values, column, start, capacity, interrupted, is_unusual })
    }

    /// Finds the places of the chunks of a row, whose value has `len` bytes, from `at` on. Returns
    /// the row's end; `None` if it has none.
    fn place_row(
        &mut self,
        row: usize,
        len: usize,
        at: usize,
        sizes: Option<&CompressedSizes>,
        destinations: &mut [Destination],
    ) -> Option<usize> {
        let chunks = self.column.chunks_of(row);
        let (count, payload) = (chunks.len(), at + self.writer.header_len());
        let address = |at: usize| self.start + at as DevicePtr;
        let (mut first, mut end) = (0, payload + HEADER_BYTES + 4 * count);
        if count > 0 {
            let (found, lens) = sizes?.find(ItemId::of_row(row))?;
            first = found;
            let known = &mut self.column.sizes[chunks];
            for (i, (len, known)) in lens.zip(known).enumerate() {
                let len = len?;
                let to = Destination { address: address(end), len, is_original: false };
                destinations[first + i] = to;
                *known = len as u64;
                end += len;
            }
        }
        if self.writer.falls_back(len, end - payload) {
            end = payload + len;
            for (i, start) in (0..len).step_by(CHUNK_BYTES).enumerate() {
                let len = CHUNK_BYTES.min(len - start);
                let to = Destination { address: address(payload + start), len, is_original: true };
                destinations[first + i] = to;
            }
        }
        (end <= self.capacity).then_some(end)
    }
}

impl<'a, V: Values<'a>> BatchSource<'a> for PlacingSource<'_, V> {
    type Error = Stop;

    const SPLITS_REFUSED: bool = false;

    fn count(&self) -> usize {
        self.values.count()
    }

    fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn fill(
        &self,
        session: &mut Session,
        rows: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError> {
        fill_batch(self.work, self.values, session, rows)
    }

    fn place(
        &mut self,
        rows: Range<usize>,
        sizes: Option<&CompressedSizes>,
    ) -> Option<Vec<Destination>> {
        let mut destinations =
            vec![Destination::default(); sizes.map_or(0, CompressedSizes::count)];
        for row in rows {
            let mut at = self.column.offsets[row] as usize;
            if let Some(value) = self.values.get(row)
                && !self.is_unusual
            {
                match self.place_row(row, value.len(), at, sizes, &mut destinations) {
                    Some(end) => at = end,
                    None => self.is_unusual = true,
                }
            }
            self.column.offsets[row + 1] = at as i64;
        }
        if self.is_unusual {
            destinations.fill(Destination::default());
        }
        Some(destinations)
    }

    fn take(&mut self, rows: Range<usize>, results: Option<&BatchResults>) -> Result<(), Stop> {
        if self.is_unusual {
            return Err(Stop::Unusual);
        }
        for row in rows {
            let Some(value) = self.values.get(row) else { continue };
            self.column.original_size[row] = value.len() as i64;
            let Some(results) = results.filter(|_| value.len() > 0) else { continue };
            let range = results.find(ItemId::of_row(row)).ok_or(Stop::Unusual)?;
            let mut crc32c = 0;
            for i in 0..range.count {
                let (len, crc) = results.resident(range, i).map_err(|_| Stop::Unusual)?;
                crc32c = combine_crc32c(crc32c, crc, len as u64);
            }
            self.column.crc32c[row] = crc32c.into();
        }
        Ok(())
    }
}

/// A batch of as many of `rows` as fit, and the row after them. Values that are empty or that the
/// encoding refuses are left out.
pub fn fill_batch<'a>(
    work: Work,
    values: &impl Values<'a>,
    session: &mut Session,
    rows: Range<usize>,
) -> Result<(Batch<'a>, usize), GpuError> {
    let limits = session.limits();
    let mut batch = Batch::with_checksums();
    let fits = |value: &Source| work.encoding.packed_type().check_len(value.len()).is_ok();
    for row in rows.clone() {
        let value = values.get(row).filter(|value| value.len() > 0 && fits(value));
        let Some(value) = value else { continue };
        let shape = session.shape(work, size_class(value.len().min(CHUNK_BYTES)))?;
        let mut cost = Cost::default();
        chunks(value).for_each(|chunk| cost.add(&shape, &chunk));
        if !batch.fits(cost, &limits) {
            return Ok((batch, row));
        }
        let range = batch.push_chunks(&shape, cost, chunks(value));
        batch.push_range(ItemId::of_row(row), range);
    }
    Ok((batch, rows.end))
}

/// The chunks of a value.
fn chunks<'a>(value: Source<'a>) -> impl Iterator<Item = Chunk<'a>> {
    let len = value.len();
    (0..len)
        .step_by(CHUNK_BYTES)
        .map(move |at| Chunk::of_value(value.part(at..len.min(at + CHUNK_BYTES))))
}
