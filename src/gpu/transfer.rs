//! The way of one batch: staged, uploaded, coded, gathered and brought home, in one slot.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;

use super::batch::{Batch, Chunks, Layout, Results, WORD};
use super::context::{Resources, Slot, grown, reserve};
use super::driver::{Current, DevicePtr, Kernel, PinnedMemory};
use super::error::GpuError;
use super::nvcomp::{DeviceArrays, Nvcomp};
use super::results::compressed_len;
use super::trace::{Step, Trace};

/// `gather.cu`, compiled.
const GATHER: &CStr =
    match CStr::from_bytes_with_nul(concat!(include_str!("gather.ptx"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("PTX has no zero byte"),
    };

/// Threads a block, and blocks, of the gathering kernel.
const GATHER_GRID: (u32, u32) = (1024, 256);

/// What a batch needs on its way there or back.
pub struct Transfer<'w> {
    pub current: &'w Current<'w>,
    pub nvcomp: &'static Nvcomp,
    pub resources: &'w mut Resources,
    pub trace: &'w mut Trace,
}

impl Transfer<'_> {
    /// Queues a batch's way there, its coding, and what can already come back.
    pub fn send(self, slot: usize, batch: &Batch, layout: &Layout) -> Result<(), GpuError> {
        let Self { current, nvcomp, resources, trace } = self;
        let temp = batch.chunks.groups.iter().map(|group| {
            nvcomp.temp_size(current, group.shape.work, group.size(), &resources.slots[slot].stream)
        });
        let temp = temp.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
        resources.reserve_temp(current, temp.max(1))?;
        let Resources { slots, temp, .. } = resources;
        let Slot { stream, outbound, input, output, inbound, .. } = &mut slots[slot];
        let outbound = reserve(outbound, current, layout.input_len())?;
        let input = &*reserve(input, current, layout.input_len())?;
        let output = &*reserve(output, current, layout.output_len())?;
        let home_len = if batch.chunks.are_compressed() {
            layout.output_len()
        } else {
            Layout::results_len(layout.count())
        };
        let inbound = &*reserve(inbound, current, home_len)?;
        let addresses = (input.start(), output.start());
        trace.time(Step::Stage, || layout.stage(batch, addresses, outbound.as_mut_slice()))?;
        let stream = &*stream;
        let is_serial = trace.is_serial();
        let settled = || if is_serial { stream.synchronize(current) } else { Ok(()) };

        trace.time(Step::Upload, || {
            // SAFETY: the slot's buffers, which nothing else uses before its stream is
            // synchronised.
            unsafe { stream.upload(current, input, outbound, layout.input_len())? };
            settled()
        })?;
        let (Some(memory), Some(free)) = (&temp.memory, &temp.free) else {
            return Err(GpuError::Unavailable("no temporary memory".into()));
        };
        if temp.is_used {
            stream.wait(current, free)?;
        }
        trace.time(Step::Code, || {
            // A chunk that nvCOMP passed over must not seem done by what was there before.
            // SAFETY: as for the upload.
            unsafe { stream.fill(current, output, 0xFF, Layout::results_len(layout.count()))? };
            for (group, &first) in batch.chunks.groups.iter().zip(&layout.firsts) {
                let array = |i| input.start() + layout.array(i, first);
                let batch = DeviceArrays {
                    inputs: array(0),
                    input_sizes: array(1),
                    outputs: array(2),
                    capacities: array(3),
                    output_sizes: output.start() + 8 * first as DevicePtr,
                    statuses: output.start() + (8 * layout.count() + 4 * first) as DevicePtr,
                };
                let work = group.shape.work;
                // SAFETY: the layout placed all chunks aligned and within the buffers, which
                // live and are this slot's until the stream is synchronised; temporary memory
                // is long enough for each group, and the event keeps launches that share it
                // apart.
                unsafe { nvcomp.launch(current, work, group.size(), batch, memory, stream)? };
            }
            settled()
        })?;
        free.record(current, stream)?;
        temp.is_used = true;
        trace.time(Step::Download, || {
            // SAFETY: as for the upload.
            unsafe { stream.download(current, inbound, 0, output, home_len)? };
            settled()
        })
    }

    /// Waits for the sizes of compressed chunks, and queues bringing them home back to back:
    /// where each begins behind the results, and the end of the last.
    pub fn gather(
        self,
        slot: usize,
        chunks: &Chunks,
        layout: &Layout,
    ) -> Result<Vec<usize>, GpuError> {
        let Self { current, resources, trace, .. } = self;
        let count = layout.count();
        let Resources { slots, gather: kernel, .. } = resources;
        let slot = &mut slots[slot];
        let stream = &slot.stream;
        trace.time(Step::Wait, || stream.synchronize(current))?;
        let (Some(outbound), Some(input)) = (&mut slot.outbound, &slot.input) else {
            return Err(GpuError::Unavailable("a batch has no buffers".into()));
        };
        let kernel = match kernel {
            Some(kernel) => kernel,
            none => none.insert(Kernel::load(current, GATHER, c"s4_gather")?),
        };

        // The first two arrays have served; they say now where chunks go, and how long they are.
        let inbound = slot.inbound.as_ref().map_or(&[][..], PinnedMemory::as_slice);
        let results = Results::new(inbound, count);
        let offsets = places(chunks, &results, count, outbound.as_mut_slice());
        let end = offsets[count];
        if end == 0 {
            return Ok(offsets);
        }
        let gathered = &*reserve(&mut slot.gathered, current, end)?;
        let results_len = Layout::results_len(count);
        // What is there already stays, for sizes and statuses are read again at home.
        let inbound = &*grow(&mut slot.inbound, current, results_len, results_len + end)?;
        let is_serial = trace.is_serial();
        let settled = || if is_serial { stream.synchronize(current) } else { Ok(()) };
        trace.time(Step::Gather, || {
            let mut sources: DevicePtr = input.start() + layout.array(2, 0);
            let mut sizes: DevicePtr = input.start() + layout.array(1, 0);
            let mut places: DevicePtr = input.start();
            let mut target: DevicePtr = gathered.start();
            let mut chunks = count as u32;
            let parameters: &mut [*mut c_void] = &mut [
                (&raw mut sources).cast(),
                (&raw mut sizes).cast(),
                (&raw mut places).cast(),
                (&raw mut target).cast(),
                (&raw mut chunks).cast(),
            ];
            // SAFETY: the slot's buffers, which nothing else uses before its stream is
            // synchronised; the kernel's parameters are of its types, and its addresses lie
            // within those buffers.
            unsafe {
                stream.upload(current, input, outbound, 16 * count)?;
                kernel.launch(current, stream, GATHER_GRID, parameters)?;
            }
            settled()
        })?;
        trace.time(Step::Download, || {
            // SAFETY: as above.
            unsafe { stream.download(current, inbound, results_len, gathered, end)? };
            settled()
        })?;
        Ok(offsets)
    }
}

/// Where chunks go back to back, each at a multiple of a word, and the end of the last; the
/// same, and their lengths, as two arrays at the front of `arrays`. Bad chunks are left out.
fn places(
    chunks: &Chunks,
    results: &Results,
    count: usize,
    arrays: &mut [MaybeUninit<u8>],
) -> Vec<usize> {
    let (starts, sizes) = arrays[..16 * count].split_at_mut(8 * count);
    let (starts, sizes) = (starts.as_chunks_mut().0, sizes.as_chunks_mut().0);
    let shapes = chunks
        .groups
        .iter()
        .flat_map(|group| std::iter::repeat_n(&group.shape, group.originals.len()));
    let mut offsets = Vec::with_capacity(count + 1);
    let mut end = 0;
    for (chunk, shape) in shapes.enumerate() {
        let len = compressed_len(results, chunk, shape.max_output).unwrap_or(0);
        starts[chunk] = (end as u64).to_ne_bytes().map(MaybeUninit::new);
        sizes[chunk] = (len as u64).to_ne_bytes().map(MaybeUninit::new);
        offsets.push(end);
        end += len.next_multiple_of(WORD);
    }
    offsets.push(end);
    offsets
}

/// Pinned memory of at least `len` bytes, the first `kept` of which stay what they are.
fn grow<'slot>(
    slot: &'slot mut Option<PinnedMemory>,
    current: &Current,
    kept: usize,
    len: usize,
) -> Result<&'slot mut PinnedMemory, GpuError> {
    if let Some(memory) = slot.take_if(|memory| memory.len() < len) {
        let longer = reserve(slot, current, grown(memory.len(), len))?;
        longer.as_mut_slice()[..kept].copy_from_slice(&memory.as_slice()[..kept]);
    }
    reserve(slot, current, len)
}
