//! A batch: the chunks that go to the GPU together, grouped by launch, and what they cost.

use std::collections::HashMap;
use std::ops::Range;

use super::driver::DevicePtr;
use super::nvcomp::{Alignments, Direction, Size, Work};

/// The gather kernel copies compressed chunks in words of this many bytes.
pub const WORD: usize = 16;

/// Bytes of the arrays that describe one chunk, in both directions.
const DESCRIPTION: usize = 5 * 8 + 16;

/// A launch takes chunks of unlike lengths, up to a factor of four.
const SMALLEST_CLASS: usize = 256;

/// Items that a batch keeps track of at most. Only a column whose rows share their bytes, which
/// go once, comes near it.
const MAX_ITEMS: usize = 1 << 20;

/// The longest chunk of the size class of `len`.
pub fn size_class(len: usize) -> usize {
    let mut class = SMALLEST_CLASS;
    while class < len {
        class *= 4;
    }
    class
}

/// Where the bytes to read of a chunk are.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Host(&'a [u8]),
    /// On the device already: the address and the length.
    Device(DevicePtr, usize),
}

impl Source<'_> {
    pub fn len(self) -> usize {
        match self {
            Self::Host(bytes) => bytes.len(),
            Self::Device(_, len) => len,
        }
    }

    /// A part of it.
    pub fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::Host(bytes) => Self::Host(&bytes[range]),
            Self::Device(start, _) => Self::Device(start + range.start as DevicePtr, range.len()),
        }
    }
}

/// One chunk: the bytes to read, and the length of its original.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    pub source: Source<'a>,
    pub original: usize,
    /// The address where it is to be decompressed to, and to stay; `None` if it goes to the host.
    pub target: Option<DevicePtr>,
}

impl<'a> Chunk<'a> {
    /// A chunk of a value that is to be compressed.
    pub fn of_value(source: Source<'a>) -> Self {
        Self { source, original: source.len(), target: None }
    }

    /// A chunk of a payload, which decompresses to `original` bytes.
    pub fn of_payload(bytes: &'a [u8], original: usize) -> Self {
        Self { source: Source::Host(bytes), original, target: None }
    }

    /// Its address on the device before it is compressed or after it is decompressed, if it has
    /// one that is not the batch's.
    fn resident(&self) -> Option<DevicePtr> {
        match self.source {
            Source::Host(_) => self.target,
            Source::Device(address, _) => Some(address),
        }
    }
}

/// What nvCOMP says of all chunks of one kind of work and one size class.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub work: Work,
    /// The longest original.
    pub longest: usize,
    pub alignments: Alignments,
    /// The most bytes that a chunk compresses to.
    pub max_output: usize,
    /// Bytes of temporary memory that a launch takes per chunk, after the first.
    pub temp_step: usize,
}

impl Shape {
    /// The address of the device to decompress a chunk to, if it can be written where it is to
    /// stay.
    pub fn direct_output(&self, resident: Option<DevicePtr>) -> Option<DevicePtr> {
        let is_aligned =
            |address: &DevicePtr| address.is_multiple_of(self.alignments.output as DevicePtr);
        resident.filter(is_aligned).filter(|_| self.work.direction == Direction::Decompress)
    }

    /// Bytes of a chunk in the input buffer, with what aligns the next. Chunks that are on the
    /// device already are copied there: they may lie where nvCOMP cannot read them, for it needs
    /// its input aligned, and what lies behind them may not be ours.
    pub fn input_len(&self, source: Source) -> usize {
        source.len().next_multiple_of(self.alignments.input)
    }

    /// The most bytes that a chunk is coded to.
    pub fn capacity(&self, original: usize) -> usize {
        match self.work.direction {
            Direction::Compress => self.max_output,
            Direction::Decompress => original,
        }
    }

    /// Bytes of a coded chunk in the output buffer, with what aligns the next.
    pub fn output_len(&self, original: usize, resident: Option<DevicePtr>) -> usize {
        if self.direct_output(resident).is_some() {
            return 0;
        }
        let alignment = match self.work.direction {
            Direction::Compress => WORD.max(self.alignments.output),
            Direction::Decompress => self.alignments.output,
        };
        self.capacity(original).next_multiple_of(alignment)
    }
}

/// What a batch takes, or may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub chunks: usize,
    /// Bytes of originals.
    pub bytes: usize,
    /// Bytes of device memory but for temporary memory.
    pub device: usize,
    /// Bytes of temporary memory beyond what one chunk takes.
    pub temp: usize,
}

impl Cost {
    /// Adds a chunk.
    pub fn add(&mut self, shape: &Shape, chunk: &Chunk) {
        // Compressed chunks are on the device twice: as nvCOMP wrote them, and gathered.
        let outputs = if shape.work.direction == Direction::Compress { 2 } else { 1 };
        self.chunks += 1;
        self.bytes += chunk.original;
        self.device += DESCRIPTION
            + shape.input_len(chunk.source)
            + outputs * shape.output_len(chunk.original, chunk.resident());
        self.temp += shape.temp_step;
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            chunks: self.chunks + other.chunks,
            bytes: self.bytes + other.bytes,
            device: self.device + other.device,
            temp: self.temp + other.temp,
        }
    }

    pub fn fits(self, limits: &Self) -> bool {
        self.chunks <= limits.chunks
            && self.bytes <= limits.bytes
            && self.device <= limits.device
            && self.temp <= limits.temp
    }
}

/// The chunks of one launch.
pub struct Group {
    pub shape: Shape,
    /// The length of each chunk's original.
    pub originals: Vec<usize>,
}

impl Group {
    pub fn size(&self) -> Size {
        let total = self.originals.iter().sum();
        Size { chunks: self.originals.len(), longest: self.shape.longest, total }
    }
}

/// A value or payload of a call: the row's position in the column, and the frame's number
/// within the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemId {
    pub row: usize,
    pub frame: usize,
}

impl ItemId {
    /// A row that is one value or payload, or a frame of its own.
    pub fn of_row(row: usize) -> Self {
        Self { row, frame: 0 }
    }
}

/// The chunks of one item: those of a group from `first` on.
#[derive(Clone, Copy, Debug)]
pub struct ChunkRange {
    pub group: usize,
    pub first: usize,
    pub count: usize,
}

/// The groups of a batch, and which chunks belong to which item.
#[derive(Default)]
pub struct BatchIndex {
    pub groups: Vec<Group>,
    /// In ascending order.
    items: Vec<(ItemId, ChunkRange)>,
    has_checksums: bool,
}

impl BatchIndex {
    /// The chunks of an item, if it is in this batch.
    pub fn find(&self, id: ItemId) -> Option<ChunkRange> {
        let found = self.items.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.items[found].1)
    }

    /// Whether all of them are to be decompressed.
    pub fn is_decompression(&self) -> bool {
        self.groups.iter().all(|group| group.shape.work.direction == Direction::Decompress)
    }

    /// Whether the device computes the crc32c of originals. What it decompresses then stays there.
    pub fn has_checksums(&self) -> bool {
        self.has_checksums
    }
}

/// Chunks that are to go to the GPU.
#[derive(Default)]
pub struct Batch<'a> {
    pub index: BatchIndex,
    pub cost: Cost,
    /// The bytes to read of each chunk, by group.
    pub sources: Vec<Vec<Source<'a>>>,
    /// Where originals are on the device, or come to be, if they stay there; else empty.
    pub residents: Vec<Vec<DevicePtr>>,
    /// Items by the address and the length of their bytes: rows that share theirs, as those of
    /// a dictionary-encoded column do, are uploaded once.
    uploads: HashMap<(usize, usize), ChunkRange>,
}

impl<'a> Batch<'a> {
    /// An empty batch whose originals get their crc32c on the device.
    pub fn with_checksums() -> Self {
        let index = BatchIndex { has_checksums: true, ..BatchIndex::default() };
        Self { index, ..Self::default() }
    }

    /// Adds an item of these bytes: its chunks, which all have that shape, unless another item
    /// has the same bytes. Items come in ascending order.
    pub fn push_item(
        &mut self,
        id: ItemId,
        bytes: &'a [u8],
        shape: &Shape,
        cost: Cost,
        chunks: impl Iterator<Item = Chunk<'a>>,
    ) {
        let key = (bytes.as_ptr().addr(), bytes.len());
        let range = match self.uploads.get(&key) {
            Some(&known) => known,
            None => {
                let range = self.push_chunks(shape, cost, chunks);
                self.uploads.insert(key, range);
                range
            }
        };
        self.push_range(id, range);
    }

    /// Adds an item that has these chunks. Items come in ascending order.
    pub fn push_range(&mut self, id: ItemId, range: ChunkRange) {
        debug_assert!(self.index.items.last().is_none_or(|(last, _)| *last < id));
        self.index.items.push((id, range));
    }

    /// Adds chunks that have that shape and that cost together.
    pub fn push_chunks(
        &mut self,
        shape: &Shape,
        cost: Cost,
        chunks: impl Iterator<Item = Chunk<'a>>,
    ) -> ChunkRange {
        let groups = &mut self.index.groups;
        let same =
            |group: &Group| (group.shape.work, group.shape.longest) == (shape.work, shape.longest);
        let group = groups.iter().position(same).unwrap_or_else(|| {
            groups.push(Group { shape: *shape, originals: Vec::new() });
            self.sources.push(Vec::new());
            self.residents.push(Vec::new());
            groups.len() - 1
        });
        let (originals, sources) = (&mut groups[group].originals, &mut self.sources[group]);
        let first = originals.len();
        for chunk in chunks {
            originals.push(chunk.original);
            sources.push(chunk.source);
            self.residents[group].extend(chunk.resident());
        }
        debug_assert!([0, originals.len()].contains(&self.residents[group].len()));
        self.cost = self.cost.plus(cost);
        ChunkRange { group, first, count: originals.len() - first }
    }

    /// Whether items of that cost still fit.
    pub fn fits(&self, cost: Cost, limits: &Cost) -> bool {
        self.index.items.len() < MAX_ITEMS && self.cost.plus(cost).fits(limits)
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}
