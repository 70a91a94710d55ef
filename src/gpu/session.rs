//! One call's work on one GPU: slabs go out and come home in order, a few under way at once.
//!
//! ```text
//! submit:  stage -> upload -> code -> sizes home (compressed) or all home (decompressed)
//! advance: sizes -> offsets -> gather -> chunks home       (compressed alone)
//! collect: wait -> the caller takes the chunks from pinned memory
//! ```
//!
//! While the newest slab is staged and coded, the one before it is gathered and brought home,
//! and the caller has the one before that. Each has a stream and buffers of its own; they
//! share temporary memory, which passes from launch to launch by an event.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem::MaybeUninit;

use super::driver::{Current, DevicePtr, PinnedMemory};
use super::engine::{Engine, LANES, Lane, Resources, reserve};
use super::failure::Failure;
use super::home::{Home, coded_len};
use super::nvcomp::{Batch, Direction, Nvcomp, Size, Work};
use super::queue::Queue;
use super::slab::{Chunks, Cost, Layout, Results, Shape, Slab, WORD};

/// The most that one slab takes, where memory is plenty.
const MOST: Cost = Cost { chunks: 32 << 10, bytes: 64 << 20, device: usize::MAX, temp: usize::MAX };

/// Limits are not halved below one chunk of the usual length.
const FEWEST_BYTES: usize = 64 << 10;

/// No more than one part in so many of the free memory is taken.
const SHARE: usize = 4;

/// Threads a block, and blocks, of the gathering kernel.
const GATHER_GRID: (u32, u32) = (1024, 256);

/// Exclusive use of a GPU.
pub struct Session {
    queue: &'static Queue,
    /// Absent once it was given up.
    engine: Option<Engine>,
    limits: Cost,
    under_way: VecDeque<UnderWay>,
    has_failed: bool,
}

struct UnderWay {
    chunks: Chunks,
    layout: Layout,
    lane: usize,
    /// Compressed: where each chunk begins behind the results. Empty until they are known.
    offsets: Vec<usize>,
    is_advanced: bool,
}

impl Session {
    pub(super) fn new(queue: &'static Queue, engine: Engine) -> Result<Self, Failure> {
        let mut session = Self {
            queue,
            engine: Some(engine),
            limits: MOST,
            under_way: VecDeque::new(),
            has_failed: false,
        };
        session.guarded(|session| {
            let engine = session.engine()?;
            let free = engine.context.enter()?.free_memory()?;
            let share = (free + engine.held()) / SHARE;
            // Half of it for what coding needs beside, half for the slabs.
            session.limits = Cost { temp: share / 2, device: share / 2 / LANES, ..session.limits };
            Ok(())
        })?;
        Ok(session)
    }

    fn engine(&mut self) -> Result<&mut Engine, Failure> {
        self.engine.as_mut().ok_or_else(|| Failure::Unavailable("the GPU was given up".into()))
    }

    /// Runs `work`; after any failure the engine is not used again.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let done = work(self);
        self.has_failed |= done.as_ref().is_err_and(|failure| !failure.is_out_of_memory());
        done
    }

    /// The most that a slab may take.
    pub fn limits(&self) -> Cost {
        self.limits
    }

    /// What is known of chunks of a size class, asked once.
    pub fn shape(&mut self, work: Work, longest: usize) -> Result<Shape, Failure> {
        self.guarded(|session| {
            let engine = session.engine()?;
            let known = |shape: &&Shape| shape.work == work && shape.longest == longest;
            if let Some(shape) = engine.shapes.iter().find(known) {
                return Ok(*shape);
            }
            let shape = shape_of(engine, &engine.context.enter()?, work, longest)?;
            engine.shapes.push(shape);
            Ok(shape)
        })
    }

    /// Whether a slab has to come home before another can go.
    pub fn is_full(&self) -> bool {
        self.under_way.len() == LANES
    }

    /// Whether no slab is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Sends `slab`, which is not empty, on its way. The session is not full.
    pub fn submit(&mut self, slab: Slab) -> Result<(), Failure> {
        self.guarded(|session| {
            let lane = (0..LANES).find(|lane| session.under_way.iter().all(|s| s.lane != *lane));
            let lane = lane.unwrap_or_default();
            let layout = Layout::of(&slab);
            let engine = session.engine()?;
            let current = engine.context.enter()?;
            send(engine.nvcomp, &mut engine.resources, &current, lane, &slab, &layout)?;
            drop(current);
            let is_advanced = slab.chunks.are_compressed();
            session.under_way.push_back(UnderWay {
                chunks: slab.chunks,
                layout,
                lane,
                offsets: Vec::new(),
                is_advanced,
            });
            // The newest is coded meanwhile.
            let older = session.under_way.len() - 1;
            session.advance(older)
        })
    }

    /// Gathers the first so many slabs and starts them on their way home.
    fn advance(&mut self, slabs: usize) -> Result<(), Failure> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        for slab in self.under_way.iter_mut().take(slabs).filter(|slab| !slab.is_advanced) {
            let current = engine.context.enter()?;
            gather(&mut engine.resources, &current, slab)?;
            slab.is_advanced = true;
        }
        Ok(())
    }

    /// Waits for the slab that was sent first, and lends what came of it.
    pub fn collect(&mut self) -> Result<Option<Home<'_>>, Failure> {
        self.guarded(|session| session.advance(1))?;
        let Some(slab) = self.under_way.pop_front() else { return Ok(None) };
        self.guarded(|session| {
            let engine = session.engine()?;
            let current = engine.context.enter()?;
            engine.resources.lanes[slab.lane].stream.synchronize(&current)
        })?;
        let engine = self.engine()?;
        let inbound = engine.resources.lanes[slab.lane].inbound.as_ref();
        let inbound = inbound.map_or(&[][..], PinnedMemory::as_slice);
        let UnderWay { chunks, layout, offsets, .. } = slab;
        Ok(Some(Home { chunks, layout, offsets, inbound }))
    }

    /// After a failure for lack of memory: gives up the slabs under way and all buffers, and
    /// takes half as much at a time from now on. `false` where that is not possible.
    pub fn shrink(&mut self) -> Result<bool, Failure> {
        self.guarded(|session| {
            session.under_way.clear();
            session.engine()?.free_buffers()?;
            let limits = &mut session.limits;
            if limits.bytes <= FEWEST_BYTES {
                return Ok(false);
            }
            *limits = Cost {
                chunks: (limits.chunks / 2).max(1),
                bytes: limits.bytes / 2,
                device: limits.device / 2,
                temp: limits.temp / 2,
            };
            Ok(true)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An engine with work under way, or with a past, is not for the next call.
        let is_sound = !self.has_failed && self.under_way.is_empty();
        self.queue.put_back(self.engine.take().filter(|_| is_sound));
    }
}

fn shape_of(
    engine: &Engine,
    current: &Current,
    work: Work,
    longest: usize,
) -> Result<Shape, Failure> {
    const MANY: usize = 256;
    let nvcomp = engine.nvcomp;
    let stream = &engine.resources.lanes[0].stream;
    let temp = |chunks| {
        let size = Size { chunks, longest, total: chunks * longest };
        nvcomp.temp_size(current, work, size, stream)
    };
    let (one, many) = (temp(1)?, temp(1 + MANY)?);
    let max_output = match work.direction {
        Direction::Compress => nvcomp.max_output(work, longest)?,
        Direction::Decompress => 0,
    };
    let mut alignments = nvcomp.alignments(work)?;
    for alignment in [&mut alignments.input, &mut alignments.output] {
        *alignment = (*alignment).max(1);
    }
    let temp_step = many.saturating_sub(one).div_ceil(MANY);
    Ok(Shape { work, longest, alignments, max_output, temp_base: one, temp_step })
}

/// Queues a slab's way there, its coding, and what can already come back.
fn send(
    nvcomp: &Nvcomp,
    resources: &mut Resources,
    current: &Current,
    lane: usize,
    slab: &Slab,
    layout: &Layout,
) -> Result<(), Failure> {
    let temp = slab.chunks.groups.iter().map(|group| {
        nvcomp.temp_size(current, group.shape.work, group.size(), &resources.lanes[lane].stream)
    });
    let temp = temp.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
    resources.reserve_temp(current, temp.max(1))?;
    let Resources { lanes, temp, .. } = resources;
    let Lane { stream, outbound, input, output, inbound, .. } = &mut lanes[lane];
    let outbound = reserve(outbound, current, layout.input_len())?;
    let input = &*reserve(input, current, layout.input_len())?;
    let output = &*reserve(output, current, layout.output_len())?;
    let home_len = if slab.chunks.are_compressed() {
        layout.output_len()
    } else {
        Layout::results_len(layout.count())
    };
    let inbound = &*reserve(inbound, current, home_len)?;
    layout.stage(slab, (input.start(), output.start()), outbound.as_mut_slice())?;
    // SAFETY: the lane's buffers, which nothing else uses before its stream is synchronised.
    unsafe { stream.upload(current, input, outbound, layout.input_len())? };

    let (Some(memory), Some(free)) = (&temp.memory, &temp.free) else {
        return Err(Failure::Unavailable("no temporary memory".into()));
    };
    if temp.is_used {
        stream.wait(current, free)?;
    }
    for (group, &first) in slab.chunks.groups.iter().zip(&layout.firsts) {
        let array = |i| input.start() + layout.array(i, first);
        let batch = Batch {
            inputs: array(0),
            input_sizes: array(1),
            outputs: array(2),
            capacities: array(3),
            output_sizes: output.start() + 8 * first as DevicePtr,
            statuses: output.start() + (8 * layout.count() + 4 * first) as DevicePtr,
        };
        let work = group.shape.work;
        // SAFETY: the layout placed all chunks aligned and within the buffers, which live and
        // are this lane's until the stream is synchronised; temporary memory is long enough
        // for each group, and the event keeps launches that share it apart.
        unsafe { nvcomp.launch(current, work, group.size(), batch, memory, stream)? };
    }
    free.record(current, stream)?;
    temp.is_used = true;
    // SAFETY: as above.
    unsafe { stream.download(current, inbound, 0, output, home_len) }
}

/// Waits for the sizes of compressed chunks, and queues bringing them home back to back.
fn gather(
    resources: &mut Resources,
    current: &Current,
    slab: &mut UnderWay,
) -> Result<(), Failure> {
    let layout = &slab.layout;
    let count = layout.count();
    let Resources { lanes, gather: kernel, .. } = resources;
    let lane = &mut lanes[slab.lane];
    lane.stream.synchronize(current)?;
    let (Some(outbound), Some(input), Some(kernel)) = (&mut lane.outbound, &lane.input, kernel)
    else {
        return Err(Failure::Unavailable("a slab has no buffers".into()));
    };

    // The first two arrays have served; they say now where chunks go, and how long they are.
    let mut offsets = Vec::with_capacity(count + 1);
    let mut end = 0;
    {
        let inbound = lane.inbound.as_ref().map_or(&[][..], PinnedMemory::as_slice);
        let results = Results::new(inbound, count);
        let (places, sizes) = outbound.as_mut_slice()[..16 * count].split_at_mut(8 * count);
        let places = places.as_chunks_mut().0;
        let sizes = sizes.as_chunks_mut().0;
        let groups = slab.chunks.groups.iter();
        let shapes =
            groups.flat_map(|group| std::iter::repeat_n(&group.shape, group.originals.len()));
        for (chunk, shape) in shapes.enumerate() {
            let len = coded_len(&results, chunk, shape.max_output).unwrap_or(0);
            places[chunk] = (end as u64).to_ne_bytes().map(MaybeUninit::new);
            sizes[chunk] = (len as u64).to_ne_bytes().map(MaybeUninit::new);
            offsets.push(end);
            end += len.next_multiple_of(WORD);
        }
        offsets.push(end);
    }
    slab.offsets = offsets;
    if end == 0 {
        return Ok(());
    }
    let gathered = &*reserve(&mut lane.gathered, current, end)?;
    let results_len = Layout::results_len(count);
    // What is there already stays, for sizes and statuses are read again at home.
    let inbound = &*grow(&mut lane.inbound, current, results_len, results_len + end)?;
    // SAFETY: the lane's buffers, which nothing else uses before its stream is synchronised;
    // the kernel's parameters are of its types, and its addresses lie within those buffers.
    unsafe {
        lane.stream.upload(current, input, outbound, 16 * count)?;
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
        kernel.launch(current, &lane.stream, GATHER_GRID, parameters)?;
        lane.stream.download(current, inbound, results_len, gathered, end)
    }
}

/// Pinned memory of at least `len` bytes, the first `kept` of which stay what they are.
fn grow<'slot>(
    slot: &'slot mut Option<PinnedMemory>,
    current: &Current,
    kept: usize,
    len: usize,
) -> Result<&'slot mut PinnedMemory, Failure> {
    if let Some(memory) = slot.take_if(|memory| memory.len() < len) {
        let longer = reserve(slot, current, len)?;
        longer.as_mut_slice()[..kept].copy_from_slice(&memory.as_slice()[..kept]);
    }
    reserve(slot, current, len)
}
