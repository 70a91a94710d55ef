//! Which values and payloads of a row can go to a GPU.

use crate::codec::Codec;
use crate::error::{OutOfMemory, collect};
use crate::gpu::{Chunk, Direction, Source, Work, Workload};
use crate::kernel::fcg1::{Algorithm, CHUNK_BYTES, Container, Encoding};
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::wire::frame::{Frame, Frames};

/// A value or payload that can go to a GPU.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// The number of the frame within its row; 0 of a row that is a value or one payload.
    pub frame: usize,
    /// The value or the payload.
    pub bytes: &'a [u8],
    pub work: Work,
    /// Of a payload.
    container: Option<Container<'a>>,
}

impl<'a> Item<'a> {
    /// A value that can be compressed on a GPU.
    pub fn of_value(value: &'a [u8], encoding: Encoding) -> Option<Self> {
        let is_good = !value.is_empty() && encoding.packed_type().check_len(value.len()).is_ok();
        let work = Work { direction: Direction::Compress, encoding };
        is_good.then_some(Self { frame: 0, bytes: value, work, container: None })
    }

    /// A payload that can be decompressed on a GPU to `expected` bytes, if that is known, and to
    /// `limit` at most.
    pub fn of_payload(
        frame: usize,
        payload: &'a [u8],
        algorithm: Algorithm,
        expected: Option<u64>,
        limit: u64,
    ) -> Option<Self> {
        let container = Container::parse(payload, algorithm).ok()?;
        let total = container.total;
        let is_good = total > 0
            && total <= limit
            && expected.is_none_or(|expected| expected == total)
            && container.is_plain();
        let work = Work { direction: Direction::Decompress, encoding: container.encoding };
        is_good.then_some(Self { frame, bytes: payload, work, container: Some(container) })
    }

    /// The length of the longest chunk's original.
    pub fn longest(&self) -> usize {
        match &self.container {
            None => self.bytes.len().min(CHUNK_BYTES),
            Some(container) => container.total.min(container.chunk_bytes.into()) as usize,
        }
    }

    /// Bytes of the original.
    pub fn original_len(&self) -> u64 {
        self.container.map_or(self.bytes.len() as u64, |container| container.total)
    }

    /// Bytes of the original per chunk, the last one maybe less, and the number of chunks.
    pub fn chunk_layout(&self) -> (usize, usize) {
        match &self.container {
            None => (CHUNK_BYTES, self.bytes.len().div_ceil(CHUNK_BYTES)),
            Some(container) => (container.chunk_bytes as usize, container.count()),
        }
    }

    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let value = if self.container.is_none() { self.bytes } else { &[] };
        let of_container = self.container.into_iter().flat_map(|container| container.chunks());
        value
            .chunks(CHUNK_BYTES)
            .map(|bytes| Chunk::of_value(Source::Host(bytes)))
            .chain(of_container.map(|(bytes, original)| Chunk::of_payload(bytes, original)))
    }
}

/// The frames of GPU codecs in a body, with their numbers among all frames.
pub fn coded_frames(body: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>, Encoding)> {
    let frames = Frames::new(body).map_while(Result::ok).enumerate();
    frames.filter_map(|(number, (_, frame))| {
        let (encoding, _) = Codec::for_decoding(frame.header.codec, None).ok()?.encoding()?;
        Some((number, frame, encoding))
    })
}

/// The payloads in a body of frames that can go to a GPU.
pub fn items_of_frames(body: &[u8], limit: u64) -> impl Iterator<Item = Item<'_>> {
    coded_frames(body).filter_map(move |(number, frame, encoding)| {
        let expected = frame.header.manifest.original_size;
        Item::of_payload(number, frame.payload, encoding.algorithm, Some(expected), limit)
    })
}

/// Adds a payload that is to be decompressed. One that needs a GPU but cannot go to any counts for
/// nothing: its row will be an error.
pub fn add_payload(
    workload: &mut Workload,
    payload: &[u8],
    encoding: Encoding,
    expected: Option<u64>,
) {
    let algorithm = encoding.algorithm;
    let work = Work { direction: Direction::Decompress, encoding };
    let is_good = || Item::of_payload(0, payload, algorithm, expected, MAX_ORIGINAL_SIZE).is_some();
    let total = || Container::parse(payload, algorithm).map_or(0, |container| container.total);
    if work.has_cpu_fallback() || is_good() {
        workload.add(work, expected.unwrap_or_else(total));
    }
}

/// Which chunk of a column has which row.
pub struct RowPositions {
    /// The position after each chunk's last row.
    ends: Vec<usize>,
}

impl RowPositions {
    pub fn new(counts: impl Iterator<Item = usize>) -> Result<Self, OutOfMemory> {
        let mut end = 0;
        let ends = counts.map(|count| {
            end += count;
            end
        });
        Ok(Self { ends: collect(ends)? })
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The chunk that has the row at `position`, and the row's number in it.
    pub fn find(&self, position: usize) -> (usize, usize) {
        let chunk = self.ends.partition_point(|&end| end <= position);
        let start = chunk.checked_sub(1).map_or(0, |before| self.ends[before]);
        (chunk, position - start)
    }
}
