//! The transfer of one batch in one slot: upload, launch, gather, download.

use std::mem::MaybeUninit;

use super::batch::{Batch, BatchIndex, WORD};
use super::context::{Resources, Slot, fits, grown, reserve};
use super::driver::{Current, Deadline, DevicePtr, PinnedMemory, Stream};
use super::error::GpuError;
use super::kernels::{Chunks, Kernels};
use super::layout::{Array, Layout};
use super::nvcomp::{DeviceArrays, Nvcomp};
use super::results::{Destination, RawResults};
use super::trace::{Step, Trace};
use crate::pool::InterruptCheck;

/// What a batch's transfer works with.
pub struct Transfer<'t> {
    pub current: &'t Current<'t>,
    pub nvcomp: &'static Nvcomp,
    pub resources: &'t mut Resources,
    /// Of waiting for what is in flight.
    pub deadline: Deadline,
    pub interrupted: InterruptCheck<'t>,
    pub trace: &'t mut Trace,
}

impl Transfer<'_> {
    /// Queues the upload of a batch, its launches, and the download of what needs no gathering:
    /// all of a decompression but what stays on the device, the sizes and statuses of a
    /// compression.
    pub fn send(self, slot: usize, batch: &Batch, layout: &Layout) -> Result<(), GpuError> {
        let Self { current, nvcomp, resources, deadline, interrupted, trace } = self;
        let (index, groups) = (&batch.index, &batch.index.groups);
        let is_new = groups.iter().any(|group| !resources.launched.contains(&group.shape.work))
            || index.has_checksums() && resources.kernels.is_none();
        let buffers = &resources.slots[slot];
        // Groups run one after another, so that the largest need serves all of them.
        let mut temp_len = 1;
        for group in groups {
            let work = group.shape.work;
            let size = nvcomp.temp_size(current, work, group.size(), &buffers.stream)?;
            temp_len = temp_len.max(size);
        }
        let (input_len, output_len) = (layout.input_len(), layout.output_len());
        let upload_len = layout.upload_len();
        let results_len = Layout::results_len(layout.count());
        let is_coming_home = index.is_decompression() && !index.has_checksums();
        let inbound_len = if is_coming_home { output_len } else { results_len };
        let is_ready = fits(&buffers.outbound, upload_len)
            && fits(&buffers.input, input_len)
            && fits(&buffers.temp, temp_len)
            && fits(&buffers.output, output_len)
            && fits(&buffers.inbound, inbound_len);
        if is_new || !is_ready {
            // Memory is not allocated or freed, nor code loaded, while a kernel runs.
            trace.time(Step::Wait, || resources.wait(current, &deadline, interrupted))?;
        }
        let Resources { slots, launched, kernels } = resources;
        let kernels = match index.has_checksums() {
            true => Some(Kernels::loaded(kernels, current)?),
            false => None,
        };
        let Slot { stream, urgent, coded, outbound, input, temp, output, inbound, .. } =
            &mut slots[slot];
        let outbound = reserve(outbound, current, upload_len)?;
        let input = &*reserve(input, current, input_len)?;
        let temp = &*reserve(temp, current, temp_len)?;
        let output = &*reserve(output, current, output_len)?;
        let inbound = &*reserve(inbound, current, inbound_len)?;
        let addresses = (input.start(), output.start());
        trace.time(Step::Stage, || layout.stage(batch, addresses, outbound.as_mut_slice()))?;
        let (stream, urgent) = (&*stream, &*urgent);
        let is_serial = trace.is_serial();
        let wait = |stream: &Stream| stream.wait_done(current, &deadline, interrupted);
        let settled = |stream| if is_serial { wait(stream) } else { Ok(()) };

        trace.time(Step::Upload, || {
            // SAFETY: the slot's buffers, which only this stream's work uses before the stream
            // is waited for.
            unsafe { stream.upload(current, input, 0, outbound, upload_len)? };
            settled(stream)
        })?;
        trace.time(Step::Code, || {
            // So that a chunk that nvCOMP skipped does not pass for a good one by what the
            // buffer held before.
            // SAFETY: as for the upload.
            unsafe { stream.fill(current, output, 0..results_len, 0xFF)? };
            let chunks = |addresses, sizes| Chunks {
                addresses: input.start() + layout.array(addresses, 0),
                sizes: input.start() + layout.array(sizes, 0),
                count: layout.count(),
            };
            let to = |array| input.start() + layout.array(array, 0);
            let crcs = output.start() + Layout::crc32c(layout.count());
            if let Some(kernels) = kernels.filter(|_| !index.is_decompression()) {
                // SAFETY: the arrays are those of the batch; the layout placed its chunks, and
                // whoever filled the batch keeps its residents.
                unsafe {
                    if layout.copies_residents() {
                        let residents = chunks(Array::Residents, Array::InputSizes);
                        kernels.copy(current, stream, residents, to(Array::Inputs))?;
                    }
                    let originals = chunks(Array::Inputs, Array::InputSizes);
                    kernels.crc32c(current, stream, originals, crcs)?;
                }
            }
            for (i, group) in groups.iter().enumerate() {
                let (first, end) = (layout.firsts[i], layout.firsts[i + 1]);
                if group.shape.work.leaves_gaps() {
                    let chunks = layout.output(first)..layout.output(end);
                    // SAFETY: as for the upload.
                    unsafe { stream.fill(current, output, chunks, 0)? };
                }
                let array = |array| input.start() + layout.array(array, first);
                let arrays = DeviceArrays {
                    inputs: array(Array::Inputs),
                    input_sizes: array(Array::InputSizes),
                    outputs: array(Array::Outputs),
                    capacities: array(Array::Capacities),
                    output_sizes: output.start() + 8 * first as DevicePtr,
                    statuses: output.start() + (8 * layout.count() + 4 * first) as DevicePtr,
                };
                let work = group.shape.work;
                if i > 0 && (is_new || work.is_examined_first()) {
                    // nvCOMP would wait itself, with no limit.
                    wait(stream)?;
                }
                // SAFETY: the layout placed all chunks aligned and within the buffers, which
                // live and are this slot's until the stream is waited for; what is
                // decompressed was vetted when it was planned; the slot's temporary memory is long
                // enough for each group, and the stream runs them one after another.
                unsafe { nvcomp.launch(current, work, group.size(), arrays, temp, stream)? };
                if is_new && !launched.contains(&work) {
                    launched.push(work);
                }
            }
            coded.record(current, stream)?;
            urgent.wait_for(current, coded)?;
            if let Some(kernels) = kernels.filter(|_| index.is_decompression()) {
                // SAFETY: as above; all work of the other stream comes first.
                unsafe {
                    if layout.copies_residents() {
                        let decoded = chunks(Array::Outputs, Array::Capacities);
                        kernels.copy(current, urgent, decoded, to(Array::Residents))?;
                    }
                    let residents = chunks(Array::Residents, Array::Capacities);
                    kernels.crc32c(current, urgent, residents, crcs)?;
                }
            }
            settled(urgent)
        })?;
        trace.time(Step::Download, || {
            // SAFETY: as for the upload; all work of the other stream comes first.
            unsafe { urgent.download(current, inbound, 0, output, 0..inbound_len)? };
            settled(urgent)
        })
    }

    /// Waits for the sizes of a batch's compressed chunks.
    pub fn wait_for_sizes(&mut self, slot: usize) -> Result<(), GpuError> {
        let Self { current, resources, deadline, interrupted, trace, .. } = self;
        let urgent = &resources.slots[slot].urgent;
        trace.time(Step::Wait, || urgent.wait_done(current, deadline, *interrupted))
    }

    /// Queues copying chunks to where they go on the device, as compressed or as they were before.
    /// Their sizes have come.
    pub fn place(
        self,
        slot: usize,
        layout: &Layout,
        destinations: &[Destination],
    ) -> Result<(), GpuError> {
        let Self { current, resources, trace, .. } = self;
        let Resources { slots, kernels, .. } = resources;
        let Slot { urgent, outbound, input, output, .. } = &mut slots[slot];
        let (Some(outbound), Some(input), Some(output)) = (outbound, input, output) else {
            return Err(no_buffers());
        };
        let kernels = Kernels::loaded(kernels, current)?;
        // The first three arrays have served: now they hold where chunks lie, their lengths, and
        // where they go.
        let count = destinations.len();
        let (arrays, _) = outbound.as_mut_slice()[..24 * count].as_chunks_mut();
        for (i, to) in destinations.iter().enumerate() {
            let from = match to.is_original {
                true => input.start() + layout.input(i) as DevicePtr,
                false => output.start() + layout.output(i) as DevicePtr,
            };
            for (array, item) in [from, to.len as u64, to.address].into_iter().enumerate() {
                arrays[array * count + i] = item.to_ne_bytes().map(MaybeUninit::new);
            }
        }
        let array = |i: usize| input.start() + (8 * i * count) as DevicePtr;
        let chunks = Chunks { addresses: array(0), sizes: array(1), count };
        trace.time(Step::Gather, || {
            // SAFETY: the slot's buffers, which only this stream's work uses before the stream is
            // waited for; chunks lie within them, and their destinations in memory of the source's.
            unsafe {
                urgent.upload(current, input, 0, outbound, 24 * count)?;
                kernels.copy(current, urgent, chunks, array(2))
            }
        })
    }

    /// Queues gathering compressed chunks, whose sizes have come, and their download. Returns
    /// where each begins after the sizes and statuses, and the end of the last.
    pub fn gather(
        self,
        slot: usize,
        index: &BatchIndex,
        layout: &Layout,
    ) -> Result<Vec<usize>, GpuError> {
        let Self { current, resources, deadline, interrupted, trace, .. } = self;
        let count = layout.count();
        let Slot { outbound, gathered, inbound, .. } = &mut resources.slots[slot];
        let Some(outbound) = outbound else { return Err(no_buffers()) };

        // The first two arrays have served: now they hold where chunks go, and their lengths.
        let results = inbound.as_ref().map_or(&[][..], PinnedMemory::as_slice);
        let raw = RawResults::new(results, count);
        let offsets = gathered_offsets(index, &raw, count, outbound.as_mut_slice());
        let end = offsets[count];
        if end == 0 {
            return Ok(offsets);
        }
        let results_len = Layout::results_len(count);
        let is_ready = fits(gathered, end) && fits(inbound, results_len + end);
        if resources.kernels.is_none() || !is_ready {
            // As when a batch is sent.
            trace.time(Step::Wait, || resources.wait(current, &deadline, interrupted))?;
        }
        let Resources { slots, kernels, .. } = resources;
        let Slot { urgent, outbound, input, gathered, inbound, .. } = &mut slots[slot];
        let (Some(outbound), Some(input)) = (outbound, input) else { return Err(no_buffers()) };
        let kernels = Kernels::loaded(kernels, current)?;
        let gathered = &*reserve(gathered, current, end)?;
        // The sizes and statuses stay: the results are read from them again.
        let inbound = &*grow(inbound, current, results_len, results_len + end)?;
        let is_serial = trace.is_serial();
        let wait = || urgent.wait_done(current, &deadline, interrupted);
        let settled = || if is_serial { wait() } else { Ok(()) };
        trace.time(Step::Gather, || {
            let chunks = Chunks {
                addresses: input.start() + layout.array(Array::Outputs, 0),
                sizes: input.start() + layout.array(Array::InputSizes, 0),
                count,
            };
            let (offsets, target) = (input.start(), gathered.start());
            // SAFETY: the slot's buffers, which only this stream's work uses before the stream
            // is waited for; the addresses and lengths that the arrays hold lie within them.
            unsafe {
                urgent.upload(current, input, 0, outbound, 16 * count)?;
                kernels.gather(current, urgent, chunks, offsets, target)?;
            }
            settled()
        })?;
        trace.time(Step::Download, || {
            // SAFETY: as above.
            unsafe { urgent.download(current, inbound, results_len, gathered, 0..end)? };
            settled()
        })?;
        Ok(offsets)
    }
}

fn no_buffers() -> GpuError {
    GpuError::internal("a batch in flight has no buffers")
}

/// Where compressed chunks go back to back, each at a multiple of a word, and the end of the
/// last. The same and their lengths are written as two arrays to the front of `arrays`. Bad
/// chunks take no bytes.
fn gathered_offsets(
    index: &BatchIndex,
    raw: &RawResults,
    count: usize,
    arrays: &mut [MaybeUninit<u8>],
) -> Vec<usize> {
    let (starts, sizes) = arrays[..16 * count].split_at_mut(8 * count);
    let (starts, sizes) = (starts.as_chunks_mut().0, sizes.as_chunks_mut().0);
    let shapes = index
        .groups
        .iter()
        .flat_map(|group| std::iter::repeat_n(&group.shape, group.originals.len()));
    let mut offsets = Vec::with_capacity(count + 1);
    let mut end = 0;
    for (chunk, shape) in shapes.enumerate() {
        let len = raw.compressed_len(chunk, shape.max_output).unwrap_or(0);
        starts[chunk] = (end as u64).to_ne_bytes().map(MaybeUninit::new);
        sizes[chunk] = (len as u64).to_ne_bytes().map(MaybeUninit::new);
        offsets.push(end);
        end += len.next_multiple_of(WORD);
    }
    offsets.push(end);
    offsets
}

/// Makes `buffer` at least `len` bytes long and keeps its first `kept` bytes.
fn grow<'b>(
    buffer: &'b mut Option<PinnedMemory>,
    current: &Current,
    kept: usize,
    len: usize,
) -> Result<&'b mut PinnedMemory, GpuError> {
    if let Some(memory) = buffer.take_if(|memory| memory.len() < len) {
        let longer = reserve(buffer, current, grown(memory.len(), len))?;
        longer.as_mut_slice()[..kept].copy_from_slice(&memory.as_slice()[..kept]);
    }
    reserve(buffer, current, len)
}
