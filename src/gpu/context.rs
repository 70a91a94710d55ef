//! What is kept on one GPU between calls: its context, streams and buffers, and the kernels.

use super::batch::Shape;
use super::driver::{
    Current, Deadline, DeviceMemory, Driver, Event, PinnedMemory, PrimaryContext, Stream,
};
use super::error::GpuError;
use super::kernels::Kernels;
use super::libraries::Libraries;
use super::nvcomp::{Direction, Nvcomp, Size, Work};
use crate::pool::{InterruptCheck, NO_INTERRUPT};

/// Batches in flight at once. Those whose kernels run at once end at about the same time: as many
/// again are queued while the host takes their results.
pub const SLOTS: usize = 6;

/// Bytes after the end of each buffer: decoders have been seen to read past their input.
const SPARE: usize = 256;

/// Buffers are multiples of this long, so that they seldom have to grow.
const STEP: usize = 2 << 20;
/// Shorter ones are powers of two from this on.
const SMALLEST: usize = 4 << 10;

/// One GPU, ready to work.
pub struct GpuContext {
    pub driver: &'static Driver,
    pub ordinal: u32,
    pub nvcomp: &'static Nvcomp,
    /// What nvCOMP said of chunks, by work and size class.
    shapes: Vec<Shape>,
    pub resources: Resources,
    /// Whether an interrupted call has left work in flight.
    pub is_unfinished: bool,
    /// Declared last: the others are freed in it.
    pub primary: PrimaryContext,
}

/// What lives in the context.
#[derive(Default)]
pub struct Resources {
    pub slots: Vec<Slot>,
    /// What has been launched, so that its code is loaded.
    pub launched: Vec<Work>,
    /// Loaded when they are first needed.
    pub kernels: Option<Kernels>,
}

/// The streams and the buffers of one batch.
pub struct Slot {
    /// For the upload, and for nvCOMP's kernels.
    pub stream: Stream,
    /// For what comes after them: it must not wait until the kernels of other batches, which are
    /// long, leave it room.
    pub urgent: Stream,
    /// The end of nvCOMP's kernels.
    pub coded: Event,
    /// To upload: the arrays that describe the chunks, then the chunks.
    pub outbound: Option<PinnedMemory>,
    pub input: Option<DeviceMemory>,
    /// The launches' temporary memory. Slots that shared theirs would run one after another.
    pub temp: Option<DeviceMemory>,
    /// The chunks' actual sizes and statuses, then the coded chunks.
    pub output: Option<DeviceMemory>,
    /// Compressed chunks, back to back.
    pub gathered: Option<DeviceMemory>,
    /// What has been downloaded.
    pub inbound: Option<PinnedMemory>,
}

impl GpuContext {
    pub fn start(libraries: &'static Libraries, ordinal: u32) -> Result<Self, GpuError> {
        let driver = &libraries.driver;
        let primary = PrimaryContext::retain(driver, ordinal)?;
        let mut context = Self {
            driver,
            ordinal,
            nvcomp: &libraries.nvcomp,
            shapes: Vec::new(),
            resources: Resources::default(),
            is_unfinished: false,
            primary,
        };
        let current = context.primary.enter()?;
        let resources = &mut context.resources;
        // Each belongs to the context at once, which frees it if the next cannot be made.
        for _ in 0..SLOTS {
            resources.slots.push(Slot::new(&current)?);
        }
        drop(current);
        Ok(context)
    }

    /// What nvCOMP said of the chunks of a size class, if it was asked.
    pub fn known_shape(&self, work: Work, longest: usize) -> Option<Shape> {
        let known = |shape: &&Shape| shape.work == work && shape.longest == longest;
        self.shapes.iter().find(known).copied()
    }

    /// Asks nvCOMP of the chunks of a size class.
    pub fn shape(
        &mut self,
        work: Work,
        longest: usize,
        deadline: &Deadline,
    ) -> Result<Shape, GpuError> {
        let shape = self.query_shape(work, longest, deadline)?;
        self.shapes.push(shape);
        Ok(shape)
    }

    fn query_shape(
        &self,
        work: Work,
        longest: usize,
        deadline: &Deadline,
    ) -> Result<Shape, GpuError> {
        const MANY: usize = 256;
        let nvcomp = self.nvcomp;
        let current = self.primary.enter()?;
        // Code may be loaded to answer.
        self.resources.wait(&current, deadline, NO_INTERRUPT)?;
        let stream = &self.resources.slots[0].stream;
        let temp = |chunks| {
            let size = Size { chunks, longest, total: chunks * longest };
            nvcomp.temp_size(&current, work, size, stream)
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
        Ok(Shape { work, longest, alignments, max_output, temp_step })
    }

    /// Frees all buffers. No work is in flight.
    pub fn free_buffers(&mut self) -> Result<(), GpuError> {
        let _current = self.primary.enter()?;
        for slot in &mut self.resources.slots {
            (slot.outbound, slot.inbound) = (None, None);
            (slot.input, slot.temp, slot.output, slot.gathered) = (None, None, None, None);
        }
        Ok(())
    }

    /// Bytes of device memory that the buffers take.
    pub fn buffer_bytes(&self) -> usize {
        let buffers = |slot: &Slot| {
            [&slot.input, &slot.temp, &slot.output, &slot.gathered]
                .map(|memory| memory.as_ref().map_or(0, DeviceMemory::len))
        };
        self.resources.slots.iter().flat_map(buffers).sum()
    }
}

impl Drop for GpuContext {
    fn drop(&mut self) {
        let current = self.primary.enter().or_else(|error| {
            self.driver.note(Err(error));
            // Once more: without a context nothing can be freed.
            self.primary.enter()
        });
        if let Ok(current) = &current {
            // Running work must not lose its buffers.
            let deadline = Deadline::for_work(0);
            self.driver.note(self.resources.wait(current, &deadline, NO_INTERRUPT));
        }
        self.resources = Resources::default();
    }
}

impl Resources {
    /// Waits until all queued work is done.
    pub fn wait(
        &self,
        current: &Current,
        deadline: &Deadline,
        interrupted: InterruptCheck,
    ) -> Result<(), GpuError> {
        let mut done = Ok(());
        for slot in &self.slots {
            // All of them, whatever the first says.
            done = done.and(slot.stream.wait_done(current, deadline, interrupted));
            done = done.and(slot.urgent.wait_done(current, deadline, interrupted));
        }
        done
    }
}

impl Slot {
    fn new(current: &Current) -> Result<Self, GpuError> {
        Ok(Self {
            stream: Stream::new(current)?,
            urgent: Stream::urgent(current)?,
            coded: Event::new(current)?,
            outbound: None,
            input: None,
            temp: None,
            output: None,
            gathered: None,
            inbound: None,
        })
    }
}

/// Memory of the device, or pinned memory of the host.
pub trait Allocate: Sized {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError>;
    fn len(&self) -> usize;
}

impl Allocate for DeviceMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError> {
        Self::new(current, len)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

impl Allocate for PinnedMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError> {
        Self::new(current, len)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Whether `buffer` is at least `len` bytes long.
pub fn fits<M: Allocate>(buffer: &Option<M>, len: usize) -> bool {
    buffer.as_ref().is_some_and(|memory| memory.len() >= len)
}

/// Makes `buffer` at least `len` bytes long; its content may be lost. No kernel runs unless it
/// [`fits`] already.
pub fn reserve<'b, M: Allocate>(
    buffer: &'b mut Option<M>,
    current: &Current,
    len: usize,
) -> Result<&'b mut M, GpuError> {
    // Freed first, so that both are never held at once.
    let shorter = buffer.take_if(|memory| memory.len() < len).map(|memory| memory.len());
    match buffer {
        Some(memory) => Ok(memory),
        None => {
            let len = shorter.map_or(len, |shorter| grown(shorter, len));
            Ok(buffer.insert(M::allocate(current, rounded(len))?))
        }
    }
}

/// The length to allocate where `shorter` is less than `len`: a quarter more than before at
/// least, because the next batch may be a little longer again.
pub fn grown(shorter: usize, len: usize) -> usize {
    len.max(shorter + shorter / 4)
}

fn rounded(len: usize) -> usize {
    let len = len + SPARE;
    if len < STEP { len.next_power_of_two().max(SMALLEST) } else { len.next_multiple_of(STEP) }
}
