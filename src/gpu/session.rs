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

use super::device::falls_back;
use super::driver::{Current, PinnedMemory};
use super::engine::{Engine, LANES};
use super::failure::Failure;
use super::home::Home;
use super::nvcomp::{Direction, Size, Work};
use super::queue::Turn;
use super::slab::{Chunks, Cost, Layout, Shape, Slab};
use super::timings::{Step, Timings};
use super::way::Way;

/// The most that one slab takes, where memory is plenty.
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
    timings: Timings,
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
    pub(super) fn new(turn: Turn) -> Result<Self, Failure> {
        let mut session = Self {
            turn,
            limits: MOST,
            under_way: VecDeque::new(),
            has_failed: false,
            is_given_up: false,
            timings: Timings::new(),
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
        self.turn.engine.as_mut().ok_or_else(given_up)
    }

    /// Runs `work`. After a panic, or a failure that more or other work may meet again, the
    /// engine is not used again.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.has_failed {
            return Err(given_up());
        }
        self.has_failed = true;
        let done = work(self);
        let is_fatal = |failure: &Failure| !failure.is_out_of_memory() && !failure.is_refusal();
        self.has_failed = done.as_ref().is_err_and(is_fatal);
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
            session.timings.take_back();
            session.timings.count(slab.cost.bytes);
            let Some(engine) = &mut session.turn.engine else { return Err(given_up()) };
            let current = engine.context.enter()?;
            let to = Way {
                current: &current,
                nvcomp: engine.nvcomp,
                resources: &mut engine.resources,
                timings: &mut session.timings,
            };
            to.send(lane, &slab, &layout)?;
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
        let Some(engine) = &mut self.turn.engine else { return Ok(()) };
        for slab in self.under_way.iter_mut().take(slabs).filter(|slab| !slab.is_advanced) {
            let current = engine.context.enter()?;
            let back = Way {
                current: &current,
                nvcomp: engine.nvcomp,
                resources: &mut engine.resources,
                timings: &mut self.timings,
            };
            slab.offsets = back.gather(slab.lane, &slab.chunks, &slab.layout)?;
            slab.is_advanced = true;
        }
        Ok(())
    }

    /// Waits for the slab that was sent first, and lends what came of it.
    pub fn collect(&mut self) -> Result<Option<Home<'_>>, Failure> {
        self.timings.take_back();
        self.guarded(|session| session.advance(1))?;
        let Some(slab) = self.under_way.pop_front() else { return Ok(None) };
        self.guarded(|session| {
            let Some(engine) = &session.turn.engine else { return Err(given_up()) };
            let current = engine.context.enter()?;
            let stream = &engine.resources.lanes[slab.lane].stream;
            session.timings.time(Step::Wait, || stream.synchronize(&current))
        })?;
        self.timings.lend();
        let engine = self.engine()?;
        let inbound = engine.resources.lanes[slab.lane].inbound.as_ref();
        let inbound = inbound.map_or(&[][..], PinnedMemory::as_slice);
        let UnderWay { chunks, layout, offsets, .. } = slab;
        Ok(Some(Home { chunks, layout, offsets, inbound }))
    }

    /// Forgets the slabs under way, once their work is done: the next caller's are others.
    pub fn abandon(&mut self) {
        self.under_way.clear();
        let waited = self.guarded(|session| {
            let engine = session.engine()?;
            engine.resources.wait(&engine.context.enter()?)
        });
        self.has_failed |= waited.is_err();
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

fn given_up() -> Failure {
    Failure::Unavailable("the GPU failed before in this call".into())
}

impl Drop for Session {
    fn drop(&mut self) {
        // An engine with work under way, or with a past, is not for the next call.
        if self.has_failed || !self.under_way.is_empty() {
            self.turn.engine = None;
        }
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
