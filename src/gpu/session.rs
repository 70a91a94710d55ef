//! One call's work on one GPU: batches go out and come home in order, a few under way at once.
//!
//! ```text
//! submit:  stage -> upload -> code -> sizes home (compressed) or all home (decompressed)
//! advance: sizes -> offsets -> gather -> chunks home       (compressed alone)
//! collect: wait -> the caller takes the chunks from pinned memory
//! ```
//!
//! While the newest batch is staged and coded, the one before it is gathered and brought home,
//! and the caller has the one before that. RunRows has a stream and buffers of its own; they
//! share temporary memory, which passes from launch to launch by an event.

use std::collections::VecDeque;

use super::batch::{Batch, Chunks, Cost, Layout, Shape};
use super::context::{GpuContext, SLOTS};
use super::device::falls_back;
use super::driver::{Current, PinnedMemory};
use super::error::GpuError;
use super::nvcomp::{Direction, Size, Work};
use super::queue::Turn;
use super::results::BatchResults;
use super::trace::{Step, Trace};
use super::transfer::Transfer;

/// The most that one batch takes, where memory is plenty.
const MOST: Cost = Cost { chunks: 32 << 10, bytes: 64 << 20, device: usize::MAX, temp: usize::MAX };

/// Limits are not halved below one chunk of the usual length.
const FEWEST_BYTES: usize = 64 << 10;

/// No more than one part in so many of the free memory is taken.
const SHARE: usize = 4;

/// Exclusive use of a GPU.
pub struct Session {
    turn: Turn,
    limits: Cost,
    under_way: VecDeque<UnderWay>,
    has_failed: bool,
    is_given_up: bool,
    trace: Trace,
}

struct UnderWay {
    chunks: Chunks,
    layout: Layout,
    slot: usize,
    /// Compressed: where each chunk begins behind the results. Empty until they are known.
    offsets: Vec<usize>,
    is_advanced: bool,
}

impl Session {
    pub(super) fn new(turn: Turn) -> Result<Self, GpuError> {
        let mut session = Self {
            turn,
            limits: MOST,
            under_way: VecDeque::new(),
            has_failed: false,
            is_given_up: false,
            trace: Trace::new(),
        };
        session.guarded(|session| {
            let context = session.context()?;
            let free = context.primary.enter()?.free_memory()?;
            let share = (free + context.held()) / SHARE;
            // Half of it for what coding needs beside, half for the batches.
            session.limits = Cost { temp: share / 2, device: share / 2 / SLOTS, ..session.limits };
            Ok(())
        })?;
        Ok(session)
    }

    fn context(&mut self) -> Result<&mut GpuContext, GpuError> {
        self.turn.context.as_mut().ok_or_else(given_up)
    }

    /// Runs `work`. After a panic, or a failure that more or other work may meet again, the
    /// context is not used again.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        if self.has_failed {
            return Err(given_up());
        }
        self.has_failed = true;
        let done = work(self);
        let is_fatal = |failure: &GpuError| !failure.is_out_of_memory() && !failure.is_refusal();
        self.has_failed = done.as_ref().is_err_and(is_fatal);
        done
    }

    /// The most that a batch may take.
    pub fn limits(&self) -> Cost {
        self.limits
    }

    /// What is known of chunks of a size class, asked once.
    pub fn shape(&mut self, work: Work, longest: usize) -> Result<Shape, GpuError> {
        self.guarded(|session| {
            let context = session.context()?;
            let known = |shape: &&Shape| shape.work == work && shape.longest == longest;
            if let Some(shape) = context.shapes.iter().find(known) {
                return Ok(*shape);
            }
            let shape = shape_of(context, &context.primary.enter()?, work, longest)?;
            context.shapes.push(shape);
            Ok(shape)
        })
    }

    /// Says that the CPU does the work from now on; once, however many values there are.
    pub fn give_up(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_given_up, true) {
            falls_back(reason.trim_start_matches("GPU: "));
        }
    }

    /// Whether the CPU does the work.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Whether a batch has to come home before another can go.
    pub fn is_full(&self) -> bool {
        self.under_way.len() == SLOTS
    }

    /// Whether no batch is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Sends `batch`, which is not empty, on its way. The session is not full.
    pub fn submit(&mut self, batch: Batch) -> Result<(), GpuError> {
        self.guarded(|session| {
            let slot = (0..SLOTS).find(|slot| session.under_way.iter().all(|s| s.slot != *slot));
            let slot = slot.unwrap_or_default();
            let layout = Layout::of(&batch);
            session.trace.take_back();
            session.trace.count(batch.cost.bytes);
            let Some(context) = &mut session.turn.context else { return Err(given_up()) };
            let current = context.primary.enter()?;
            let to = Transfer {
                current: &current,
                nvcomp: context.nvcomp,
                resources: &mut context.resources,
                trace: &mut session.trace,
            };
            to.send(slot, &batch, &layout)?;
            drop(current);
            let is_advanced = batch.chunks.are_compressed();
            session.under_way.push_back(UnderWay {
                chunks: batch.chunks,
                layout,
                slot,
                offsets: Vec::new(),
                is_advanced,
            });
            // The newest is coded meanwhile.
            let older = session.under_way.len() - 1;
            session.advance(older)
        })
    }

    /// Gathers the first so many batches and starts them on their way home.
    fn advance(&mut self, batches: usize) -> Result<(), GpuError> {
        let Some(context) = &mut self.turn.context else { return Ok(()) };
        for batch in self.under_way.iter_mut().take(batches).filter(|batch| !batch.is_advanced) {
            let current = context.primary.enter()?;
            let back = Transfer {
                current: &current,
                nvcomp: context.nvcomp,
                resources: &mut context.resources,
                trace: &mut self.trace,
            };
            batch.offsets = back.gather(batch.slot, &batch.chunks, &batch.layout)?;
            batch.is_advanced = true;
        }
        Ok(())
    }

    /// Waits for the batch that was sent first, and lends what came of it.
    pub fn collect(&mut self) -> Result<Option<BatchResults<'_>>, GpuError> {
        self.trace.take_back();
        self.guarded(|session| session.advance(1))?;
        let Some(batch) = self.under_way.pop_front() else { return Ok(None) };
        self.guarded(|session| {
            let Some(context) = &session.turn.context else { return Err(given_up()) };
            let current = context.primary.enter()?;
            let stream = &context.resources.slots[batch.slot].stream;
            session.trace.time(Step::Wait, || stream.synchronize(&current))
        })?;
        self.trace.lend();
        let context = self.context()?;
        let inbound = context.resources.slots[batch.slot].inbound.as_ref();
        let inbound = inbound.map_or(&[][..], PinnedMemory::as_slice);
        let UnderWay { chunks, layout, offsets, .. } = batch;
        Ok(Some(BatchResults { chunks, layout, offsets, inbound }))
    }

    /// Forgets the batches under way, once their work is done: the next caller's are others.
    pub fn abandon(&mut self) {
        self.under_way.clear();
        let waited = self.guarded(|session| {
            let context = session.context()?;
            context.resources.wait(&context.primary.enter()?)
        });
        self.has_failed |= waited.is_err();
    }

    /// After a failure for lack of memory: gives up the batches under way and all buffers, and
    /// takes half as much at a time from now on. `false` where that is not possible.
    pub fn shrink(&mut self) -> Result<bool, GpuError> {
        self.guarded(|session| {
            session.under_way.clear();
            session.context()?.free_buffers()?;
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

fn given_up() -> GpuError {
    GpuError::Unavailable("the GPU failed before in this call".into())
}

impl Drop for Session {
    fn drop(&mut self) {
        // An context with work under way, or with a past, is not for the next call.
        if self.has_failed || !self.under_way.is_empty() {
            self.turn.context = None;
        }
    }
}

fn shape_of(
    context: &GpuContext,
    current: &Current,
    work: Work,
    longest: usize,
) -> Result<Shape, GpuError> {
    const MANY: usize = 256;
    let nvcomp = context.nvcomp;
    let stream = &context.resources.slots[0].stream;
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
