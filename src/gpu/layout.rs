//! Where everything of a batch lies in its buffers.
//!
//! ```text
//! input:  input addresses | input sizes | output addresses | capacities | residents
//!         | the chunks, aligned
//! output: actual sizes | statuses | crc32c | the coded chunks, aligned
//! ```
//!
//! The first five arrays and the actual sizes are u64, statuses i32, crc32c u32, one item per
//! chunk. All of a direction lies in one buffer, so that it takes one copy. Residents, in a batch
//! that has them, are the addresses of originals that are on the device or come to be. A chunk is
//! compressed from a copy in the batch's buffer, and decompressed straight to its resident's
//! address if that is aligned for it. The crc32c are those of originals, in a batch that has them.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::batch::{Batch, Group, Source};
use super::driver::DevicePtr;
use crate::error::Result;
use crate::kernel::copy_to;
use crate::pool::{self, NO_INTERRUPT};

/// The alignment of the first chunk after the arrays, and of each group's first.
const DATA_ALIGNMENT: usize = 256;

/// A thread copies about this many bytes at a time.
pub const COPY_BYTES: usize = 256 << 10;

/// Offsets in the buffers of a batch.
pub struct Layout {
    /// The number of chunks in the groups before each, and in all of them.
    pub firsts: Vec<usize>,
    /// Where each chunk begins in the input buffer, and the end of the last.
    inputs: Vec<usize>,
    /// Where each coded chunk begins in the output buffer, and the end of the last.
    outputs: Vec<usize>,
    /// Arrays in the input buffer.
    arrays: usize,
    has_host_chunks: bool,
    copies_residents: bool,
}

/// The arrays of the input buffer.
#[derive(Clone, Copy)]
pub enum Array {
    Inputs,
    InputSizes,
    Outputs,
    Capacities,
    Residents,
}

impl Layout {
    pub fn of(batch: &Batch) -> Self {
        let count = batch.sources.iter().map(Vec::len).sum::<usize>();
        let has_residents = batch.residents.iter().any(|residents| !residents.is_empty());
        let arrays = if has_residents { 5 } else { 4 };
        let mut layout = Self {
            firsts: vec![0],
            inputs: Vec::with_capacity(count + 1),
            outputs: Vec::with_capacity(count + 1),
            arrays,
            has_host_chunks: false,
            copies_residents: false,
        };
        let mut input = (8 * arrays * count).next_multiple_of(DATA_ALIGNMENT);
        let mut output = Self::results_len(count);
        let groups = batch.index.groups.iter().zip(&batch.sources).zip(&batch.residents);
        for ((Group { shape, originals }, sources), residents) in groups {
            // Groups may need alignments of their own, none more than this.
            input = input.next_multiple_of(DATA_ALIGNMENT);
            output = output.next_multiple_of(DATA_ALIGNMENT);
            for (i, (&original, &source)) in originals.iter().zip(sources).enumerate() {
                layout.inputs.push(input);
                layout.outputs.push(output);
                let resident = residents.get(i).copied();
                input += shape.input_len(source);
                output += shape.output_len(original, resident);
                layout.has_host_chunks |= matches!(source, Source::Host(_));
                layout.copies_residents |=
                    resident.is_some() && shape.direct_output(resident).is_none();
            }
            layout.firsts.push(layout.inputs.len());
        }
        layout.inputs.push(input);
        layout.outputs.push(output);
        layout
    }

    /// The number of chunks.
    pub fn count(&self) -> usize {
        self.inputs.len() - 1
    }

    /// Bytes of the input buffer.
    pub fn input_len(&self) -> usize {
        self.inputs[self.count()]
    }

    /// Bytes at the front of the input buffer that come from the host.
    pub fn upload_len(&self) -> usize {
        if self.has_host_chunks { self.input_len() } else { 8 * self.arrays * self.count() }
    }

    /// Whether some residents are coded by way of the batch's buffers.
    pub fn copies_residents(&self) -> bool {
        self.copies_residents
    }

    /// Bytes of the output buffer.
    pub fn output_len(&self) -> usize {
        self.outputs[self.count()]
    }

    /// Where a chunk begins in the input buffer.
    pub fn input(&self, chunk: usize) -> usize {
        self.inputs[chunk]
    }

    /// Where a coded chunk begins in the output buffer; after the last, the buffer's end.
    pub fn output(&self, chunk: usize) -> usize {
        self.outputs[chunk]
    }

    /// Bytes of the actual sizes, statuses and crc32c of `count` chunks.
    pub fn results_len(count: usize) -> usize {
        (16 * count).next_multiple_of(DATA_ALIGNMENT)
    }

    /// Where the crc32c of `count` chunks begin in the output buffer.
    pub fn crc32c(count: usize) -> DevicePtr {
        12 * count as DevicePtr
    }

    /// Where an array of the input buffer begins, from its item `first` on.
    pub fn array(&self, array: Array, first: usize) -> u64 {
        (8 * (array as usize * self.count() + first)) as u64
    }

    /// Fills `dst`, a copy of what is to be uploaded to the input buffer, for buffers at these
    /// addresses; on several threads where it pays.
    pub fn stage(
        &self,
        batch: &Batch,
        (input, output): (DevicePtr, DevicePtr),
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<()> {
        let count = self.count();
        let arrays_len = 8 * self.arrays * count;
        let (arrays, data) = dst[..self.upload_len()].split_at_mut(arrays_len);
        let mut arrays = arrays.chunks_exact_mut((8 * count).max(1));
        let mut array = |items: &mut dyn Iterator<Item = u64>| {
            let Some(array) = arrays.next() else { return };
            for (dst, item) in array.as_chunks_mut().0.iter_mut().zip(items) {
                *dst = item.to_ne_bytes().map(MaybeUninit::new);
            }
        };
        let capacities = batch.index.groups.iter().flat_map(|Group { shape, originals }| {
            originals.iter().map(|&original| shape.capacity(original) as u64)
        });
        let shapes = || {
            let groups = batch.index.groups.iter();
            groups
                .flat_map(|Group { shape, originals }| std::iter::repeat_n(shape, originals.len()))
        };
        let sources = || batch.sources.iter().flatten();
        // `None` for all chunks of a batch without residents.
        let residents = || {
            let known = batch.residents.iter().flatten().copied().map(Some);
            known.chain(std::iter::repeat(None))
        };
        array(&mut self.inputs.iter().map(|&at| input + at as DevicePtr));
        array(&mut sources().map(|source| source.len() as u64));
        let outputs = self.outputs.iter().zip(residents().zip(shapes()));
        array(&mut outputs.map(|(&at, (resident, shape))| {
            shape.direct_output(resident).unwrap_or(output + at as DevicePtr)
        }));
        array(&mut { capacities });
        array(&mut residents().flatten());

        if !self.has_host_chunks {
            return Ok(());
        }
        let mut rest = data;
        let mut at = arrays_len;
        let mut pieces = self.pieces(batch);
        let work = std::iter::from_fn(move || {
            let (group, chunks) = pieces.next()?;
            let first = self.firsts[group] + chunks.start;
            let (start, end) = (self.inputs[first], self.inputs[first + chunks.len()]);
            rest.split_off_mut(..start - at)?;
            at = end;
            let dst = rest.split_off_mut(..end - start)?;
            Some((&batch.sources[group][chunks], &self.inputs[first..], dst))
        });
        pool::run_parallel(
            work,
            || (),
            |(), (chunks, offsets, dst)| {
                for (source, offset) in chunks.iter().zip(offsets) {
                    if let Source::Host(bytes) = source {
                        copy_to(bytes, &mut dst[offset - offsets[0]..]);
                    }
                }
            },
            NO_INTERRUPT,
        )?;
        Ok(())
    }

    /// Consecutive chunks of one group, about [`COPY_BYTES`] bytes together.
    fn pieces<'b>(&'b self, batch: &'b Batch) -> impl Iterator<Item = (usize, Range<usize>)> + 'b {
        batch.sources.iter().enumerate().flat_map(move |(i, sources)| {
            let offsets = &self.inputs[self.firsts[i]..];
            let mut start = 0;
            std::iter::from_fn(move || {
                let until = offsets.get(start)? + COPY_BYTES;
                let end = start + offsets[start..sources.len()].partition_point(|&at| at < until);
                let piece = (start < end).then_some((i, start..end));
                start = end;
                piece
            })
        })
    }
}
