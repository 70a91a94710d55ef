//! A batch: the chunks that make one trip to the GPU, and how they lie in its buffers.
//!
//! ```text
//! there: inputs | input sizes | outputs | capacities | the chunks, each aligned
//! back:  actual sizes | statuses | what came of the chunks, each aligned
//! ```
//!
//! The first four are arrays of u64, an item a chunk; actual sizes are u64, statuses i32. All
//! lie in one buffer, so that each way takes one copy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::MaybeUninit;

use super::driver::DevicePtr;
use super::nvcomp::{Alignments, Direction, Size, Work};
use crate::error::Result;
use crate::kernel::copy_to;
use crate::pool::{self, NEVER};

/// Where chunks begin behind the arrays.
const DATA_ALIGNMENT: usize = 256;

/// The kernel that gathers compressed chunks copies words of so many bytes.
pub const WORD: usize = 16;

/// Pieces of about so many bytes are copied at a time.
const PIECE: usize = 256 << 10;

/// What the arrays have of a chunk, there and back.
const DESCRIPTION: usize = 4 * 8 + 12;

/// Chunks are batched with others of at most four times their length.
const SMALLEST_CLASS: usize = 256;

/// The longest chunk of the size class that `len` belongs to.
pub fn class_of(len: usize) -> usize {
    let mut class = SMALLEST_CLASS;
    while class < len {
        class *= 4;
    }
    class
}

/// One chunk: what to read, and the length of its original.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    pub bytes: &'a [u8],
    pub original: usize,
}

impl<'a> Chunk<'a> {
    /// A chunk of a value, to be compressed.
    pub fn of_value(bytes: &'a [u8]) -> Self {
        Self { bytes, original: bytes.len() }
    }
}

/// What is known of all chunks of one kind of work and one size class.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub work: Work,
    /// No original is longer.
    pub longest: usize,
    pub alignments: Alignments,
    /// Room for what comes of a chunk, when compressing.
    pub max_output: usize,
    /// Temporary memory is about `temp_base` and so much more a chunk.
    pub temp_base: usize,
    pub temp_step: usize,
}

impl Shape {
    /// What a chunk takes on the way there.
    fn input_len(&self, bytes: &[u8]) -> usize {
        bytes.len().next_multiple_of(self.alignments.input)
    }

    /// Bytes that what comes of a chunk has room for.
    pub fn room(&self, original: usize) -> usize {
        match self.work.direction {
            Direction::Compress => self.max_output,
            Direction::Decompress => original,
        }
    }

    /// The same, with what aligns the next.
    fn output_len(&self, original: usize) -> usize {
        let alignment = match self.work.direction {
            Direction::Compress => WORD.max(self.alignments.output),
            Direction::Decompress => self.alignments.output,
        };
        self.room(original).next_multiple_of(alignment)
    }
}

/// What a batch takes, or may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub chunks: usize,
    /// Bytes of originals.
    pub bytes: usize,
    /// Bytes of the device's memory, without the temporary.
    pub device: usize,
    /// Temporary memory beyond the least that there must be.
    pub temp: usize,
}

impl Cost {
    /// Counts a chunk in.
    pub fn add(&mut self, shape: &Shape, chunk: &Chunk) {
        // Compressed chunks lie there twice: with room, and gathered.
        let outputs = if shape.work.direction == Direction::Compress { 2 } else { 1 };
        self.chunks += 1;
        self.bytes += chunk.original;
        self.device +=
            DESCRIPTION + shape.input_len(chunk.bytes) + outputs * shape.output_len(chunk.original);
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

/// Items that a batch keeps track of at most. Only a column whose rows share their bytes, which
/// go once, comes near it.
const MAX_ITEMS: usize = 1 << 20;

/// Where in a batch the chunks of one value or payload are.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub group: usize,
    pub first: usize,
    pub count: usize,
}

/// Chunks by launch, found again by the value or payload that they are of.
#[derive(Default)]
pub struct Chunks {
    pub groups: Vec<Group>,
    /// In ascending order.
    places: Vec<(ItemId, Place)>,
}

impl Chunks {
    /// Where the chunks of an item are, if they are here.
    pub fn find(&self, id: ItemId) -> Option<Place> {
        let found = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.places[found].1)
    }

    /// Whether all of them are compressed ones, to be decompressed.
    pub fn are_compressed(&self) -> bool {
        self.groups.iter().all(|group| group.shape.work.direction == Direction::Decompress)
    }
}

/// Chunks that are to go to the GPU.
#[derive(Default)]
pub struct Batch<'a> {
    pub chunks: Chunks,
    pub cost: Cost,
    /// What to read of each chunk, by group.
    bytes: Vec<Vec<&'a [u8]>>,
    /// Items by the address and the length of their bytes: rows that share theirs, as those of
    /// a dictionary-encoded column do, are uploaded once.
    uploads: HashMap<(usize, usize), Place>,
}

fn key(bytes: &[u8]) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

impl<'a> Batch<'a> {
    /// Adds the chunks of `whole`, which all have that shape. What is in the batch already is
    /// not added again. Items come in ascending order.
    pub fn push(
        &mut self,
        id: ItemId,
        whole: &'a [u8],
        shape: &Shape,
        cost: Cost,
        each_chunk: impl FnOnce(&mut dyn FnMut(Chunk<'a>)),
    ) {
        let Chunks { groups, places } = &mut self.chunks;
        let place = match self.uploads.entry(key(whole)) {
            Entry::Occupied(known) => {
                places.push((id, *known.get()));
                return;
            }
            Entry::Vacant(place) => place,
        };
        let same =
            |group: &Group| (group.shape.work, group.shape.longest) == (shape.work, shape.longest);
        let group = groups.iter().position(same).unwrap_or_else(|| {
            groups.push(Group { shape: *shape, originals: Vec::new() });
            self.bytes.push(Vec::new());
            groups.len() - 1
        });
        let (originals, bytes) = (&mut groups[group].originals, &mut self.bytes[group]);
        let first = originals.len();
        each_chunk(&mut |chunk| {
            originals.push(chunk.original);
            bytes.push(chunk.bytes);
        });
        places.push((id, *place.insert(Place { group, first, count: originals.len() - first })));
        self.cost = self.cost.plus(cost);
    }

    /// Whether a row of that cost still fits.
    pub fn fits(&self, cost: Cost, limits: &Cost) -> bool {
        self.chunks.places.len() < MAX_ITEMS && self.cost.plus(cost).fits(limits)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Where everything of a batch lies.
pub struct Layout {
    /// The number of chunks in the groups before each, and at the end of all.
    pub firsts: Vec<usize>,
    /// Where chunks begin on the way there, and the end of the last.
    inputs: Vec<usize>,
    /// Where what comes of them begins on the way back, and the end of the last.
    outputs: Vec<usize>,
}

impl Layout {
    pub fn of(batch: &Batch) -> Self {
        let count = batch.bytes.iter().map(Vec::len).sum::<usize>();
        let arrays = (4 * 8 * count).next_multiple_of(DATA_ALIGNMENT);
        let mut layout = Self {
            firsts: vec![0],
            inputs: Vec::with_capacity(count + 1),
            outputs: Vec::with_capacity(count + 1),
        };
        let (mut input, mut output) = (arrays, Self::results_len(count));
        for (Group { shape, originals }, bytes) in batch.chunks.groups.iter().zip(&batch.bytes) {
            // Groups begin as aligned as any may have to be.
            input = input.next_multiple_of(DATA_ALIGNMENT);
            output = output.next_multiple_of(DATA_ALIGNMENT);
            for (&original, bytes) in originals.iter().zip(bytes) {
                layout.inputs.push(input);
                layout.outputs.push(output);
                input += shape.input_len(bytes);
                output += shape.output_len(original);
            }
            layout.firsts.push(layout.inputs.len());
        }
        layout.inputs.push(input);
        layout.outputs.push(output);
        layout
    }

    /// Chunks in all.
    pub fn count(&self) -> usize {
        self.inputs.len() - 1
    }

    /// Bytes on the way there.
    pub fn input_len(&self) -> usize {
        self.inputs[self.count()]
    }

    /// Bytes of what comes of it, results included.
    pub fn output_len(&self) -> usize {
        self.outputs[self.count()]
    }

    /// Where what comes of a chunk begins.
    pub fn output(&self, chunk: usize) -> usize {
        self.outputs[chunk]
    }

    /// Bytes of actual sizes and statuses.
    pub fn results_len(count: usize) -> usize {
        (12 * count).next_multiple_of(DATA_ALIGNMENT)
    }

    /// Where array `i` of the four begins, from its item `first` on.
    pub fn array(&self, i: usize, first: usize) -> u64 {
        (8 * (i * self.count() + first)) as u64
    }

    /// Fills `room` with the arrays and the chunks, by several threads where it pays.
    pub fn stage(
        &self,
        batch: &Batch,
        (input, output): (DevicePtr, DevicePtr),
        room: &mut [MaybeUninit<u8>],
    ) -> Result<()> {
        let count = self.count();
        let (arrays, data) = room[..self.input_len()].split_at_mut(32 * count);
        let mut arrays = arrays.chunks_exact_mut((8 * count).max(1));
        let mut array = |items: &mut dyn Iterator<Item = u64>| {
            let Some(array) = arrays.next() else { return };
            for (room, item) in array.as_chunks_mut().0.iter_mut().zip(items) {
                *room = item.to_ne_bytes().map(MaybeUninit::new);
            }
        };
        let rooms = batch.chunks.groups.iter().flat_map(|Group { shape, originals }| {
            originals.iter().map(|&original| shape.room(original) as u64)
        });
        array(&mut self.inputs.iter().map(|&at| input + at as u64));
        array(&mut batch.bytes.iter().flatten().map(|bytes| bytes.len() as u64));
        array(&mut self.outputs.iter().map(|&at| output + at as u64));
        array(&mut { rooms });

        let mut rest = data;
        let mut at = 32 * count;
        let mut pieces = self.pieces(batch);
        let work = std::iter::from_fn(move || {
            let (group, chunks) = pieces.next()?;
            let first = self.firsts[group] + chunks.start;
            let (start, end) = (self.inputs[first], self.inputs[first + chunks.len()]);
            rest.split_off_mut(..start - at)?;
            at = end;
            let room = rest.split_off_mut(..end - start)?;
            Some((&batch.bytes[group][chunks], &self.inputs[first..], room))
        });
        pool::work_off(
            work,
            || (),
            |(), (chunks, offsets, room)| {
                for (bytes, offset) in chunks.iter().zip(offsets) {
                    copy_to(bytes, &mut room[offset - offsets[0]..]);
                }
            },
            NEVER,
        )?;
        Ok(())
    }

    /// Chunks of one group in a row, about [`PIECE`] together.
    fn pieces<'s>(
        &'s self,
        batch: &'s Batch,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + 's {
        batch.bytes.iter().enumerate().flat_map(move |(i, bytes)| {
            let offsets = &self.inputs[self.firsts[i]..];
            let mut start = 0;
            std::iter::from_fn(move || {
                let until = offsets.get(start)? + PIECE;
                let end = start + offsets[start..bytes.len()].partition_point(|&at| at < until);
                let piece = (start < end).then_some((i, start..end));
                start = end;
                piece
            })
        })
    }
}

/// Sizes and statuses as they came back.
#[derive(Clone, Copy)]
pub struct Results<'a> {
    bytes: &'a [MaybeUninit<u8>],
    count: usize,
}

impl<'a> Results<'a> {
    pub fn new(inbound: &'a [MaybeUninit<u8>], count: usize) -> Self {
        Self { bytes: inbound, count }
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut item = [0; N];
        let from = &self.bytes[at..at + N];
        // SAFETY: the copy that brought the results wrote all of them.
        item.copy_from_slice(unsafe { from.assume_init_ref() });
        item
    }

    pub fn size(&self, chunk: usize) -> u64 {
        u64::from_ne_bytes(self.read(8 * chunk))
    }

    pub fn status(&self, chunk: usize) -> i32 {
        i32::from_ne_bytes(self.read(8 * self.count + 4 * chunk))
    }
}
