//! Where everything of a batch lies in its buffers.
//!
//! ```text
//! input:  input addresses | input sizes | output addresses | capacities | the chunks, aligned
//! output: actual sizes | statuses | the coded chunks, aligned
//! ```
//!
//! The four arrays and the actual sizes are u64, statuses i32, one item per chunk. All of a
//! direction lies in one buffer, so that it takes one copy.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::batch::{Batch, Group};
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
        for (Group { shape, originals }, bytes) in batch.index.groups.iter().zip(&batch.bytes) {
            // Groups may need alignments of their own, none more than this.
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

    /// The number of chunks.
    pub fn count(&self) -> usize {
        self.inputs.len() - 1
    }

    /// Bytes of the input buffer.
    pub fn input_len(&self) -> usize {
        self.inputs[self.count()]
    }

    /// Bytes of the output buffer.
    pub fn output_len(&self) -> usize {
        self.outputs[self.count()]
    }

    /// Where a coded chunk begins in the output buffer; after the last, the buffer's end.
    pub fn output(&self, chunk: usize) -> usize {
        self.outputs[chunk]
    }

    /// Bytes of the actual sizes and statuses of `count` chunks.
    pub fn results_len(count: usize) -> usize {
        (12 * count).next_multiple_of(DATA_ALIGNMENT)
    }

    /// Where array `i` of the input buffer begins, from its item `first` on.
    pub fn array(&self, i: usize, first: usize) -> u64 {
        (8 * (i * self.count() + first)) as u64
    }

    /// Fills `dst`, a copy of the input buffer, for buffers at these addresses; on several
    /// threads where it pays.
    pub fn stage(
        &self,
        batch: &Batch,
        (input, output): (DevicePtr, DevicePtr),
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<()> {
        let count = self.count();
        let (arrays, data) = dst[..self.input_len()].split_at_mut(32 * count);
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
        array(&mut self.inputs.iter().map(|&at| input + at as u64));
        array(&mut batch.bytes.iter().flatten().map(|bytes| bytes.len() as u64));
        array(&mut self.outputs.iter().map(|&at| output + at as u64));
        array(&mut { capacities });

        let mut rest = data;
        let mut at = 32 * count;
        let mut pieces = self.pieces(batch);
        let work = std::iter::from_fn(move || {
            let (group, chunks) = pieces.next()?;
            let first = self.firsts[group] + chunks.start;
            let (start, end) = (self.inputs[first], self.inputs[first + chunks.len()]);
            rest.split_off_mut(..start - at)?;
            at = end;
            let dst = rest.split_off_mut(..end - start)?;
            Some((&batch.bytes[group][chunks], &self.inputs[first..], dst))
        });
        pool::run_parallel(
            work,
            || (),
            |(), (chunks, offsets, dst)| {
                for (bytes, offset) in chunks.iter().zip(offsets) {
                    copy_to(bytes, &mut dst[offset - offsets[0]..]);
                }
            },
            NO_INTERRUPT,
        )?;
        Ok(())
    }

    /// Consecutive chunks of one group, about [`COPY_BYTES`] bytes together.
    fn pieces<'b>(&'b self, batch: &'b Batch) -> impl Iterator<Item = (usize, Range<usize>)> + 'b {
        batch.bytes.iter().enumerate().flat_map(move |(i, bytes)| {
            let offsets = &self.inputs[self.firsts[i]..];
            let mut start = 0;
            std::iter::from_fn(move || {
                let until = offsets.get(start)? + COPY_BYTES;
                let end = start + offsets[start..bytes.len()].partition_point(|&at| at < until);
                let piece = (start < end).then_some((i, start..end));
                start = end;
                piece
            })
        })
    }
}
