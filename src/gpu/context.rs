//! What is held on one GPU between calls: its context, streams, buffers and our kernel.

use super::batch::Shape;
use super::driver::{
    Current, DeviceMemory, Driver, Event, Kernel, PinnedMemory, PrimaryContext, Stream,
};
use super::error::GpuError;
use super::libraries::Libraries;
use super::nvcomp::Nvcomp;

/// Slabs under way at once: one is filled, one is coded, one is brought home.
pub const SLOTS: usize = 3;

/// Decoders have been seen to read past the end of their input: so much more is there.
const SPARE: usize = 256;

/// Memory is taken in multiples of this, so that it seldom has to grow.
const STEP: usize = 2 << 20;
/// And small memory in powers of two from this on.
const SMALLEST: usize = 4 << 10;

/// One GPU, ready to work.
pub struct GpuContext {
    driver: &'static Driver,
    pub nvcomp: &'static Nvcomp,
    /// What nvCOMP said of chunks, by work and size class.
    pub shapes: Vec<Shape>,
    pub resources: Resources,
    /// Last, for the others need it when they drop.
    pub primary: PrimaryContext,
}

/// What lives in the context.
#[derive(Default)]
pub struct Resources {
    pub slots: Vec<Slot>,
    /// What coding needs beside its input and output; one launch at a time has it.
    pub temp: Temp,
    /// Loaded for the first column that is compressed.
    pub gather: Option<Kernel>,
}

/// Temporary memory, and the point in the stream that used it last when it is free again.
#[derive(Default)]
pub struct Temp {
    pub memory: Option<DeviceMemory>,
    pub free: Option<Event>,
    pub is_used: bool,
}

/// The stream and the buffers of one batch.
pub struct Slot {
    pub stream: Stream,
    /// What goes to the GPU: the chunks' descriptions, then the chunks.
    pub outbound: Option<PinnedMemory>,
    pub input: Option<DeviceMemory>,
    /// What comes of it: the chunks' actual sizes and statuses, then room for each chunk.
    pub output: Option<DeviceMemory>,
    /// Compressed chunks without the room between them.
    pub gathered: Option<DeviceMemory>,
    /// What comes back.
    pub inbound: Option<PinnedMemory>,
}

impl GpuContext {
    pub fn start(libraries: &'static Libraries, ordinal: u32) -> Result<Self, GpuError> {
        let driver = &libraries.driver;
        let primary = PrimaryContext::retain(driver, ordinal)?;
        let (nvcomp, resources) = (&libraries.nvcomp, Resources::default());
        let mut context = Self { driver, nvcomp, shapes: Vec::new(), resources, primary };
        let current = context.primary.enter()?;
        let resources = &mut context.resources;
        // RunRows belongs to the context at once, so that it goes if the next cannot be had.
        resources.temp.free = Some(Event::new(&current)?);
        for _ in 0..SLOTS {
            resources.slots.push(Slot::new(&current)?);
        }
        drop(current);
        Ok(context)
    }

    /// Frees all buffers.
    pub fn free_buffers(&mut self) -> Result<(), GpuError> {
        let current = self.primary.enter()?;
        self.resources.wait(&current)?;
        self.resources.temp.memory = None;
        for slot in &mut self.resources.slots {
            (slot.outbound, slot.inbound) = (None, None);
            (slot.input, slot.output, slot.gathered) = (None, None, None);
        }
        Ok(())
    }

    /// Bytes of device memory that are held.
    pub fn held(&self) -> usize {
        let slot = |slot: &Slot| [&slot.input, &slot.output, &slot.gathered].map(len_of);
        let slots: usize = self.resources.slots.iter().flat_map(slot).sum();
        slots + len_of(&self.resources.temp.memory)
    }
}

fn len_of(memory: &Option<DeviceMemory>) -> usize {
    memory.as_ref().map_or(0, DeviceMemory::len)
}

impl Drop for GpuContext {
    fn drop(&mut self) {
        let current = self.primary.enter().or_else(|failure| {
            self.driver.note(Err(failure));
            // Again, for without a context nothing can be freed.
            self.primary.enter()
        });
        if let Ok(current) = &current {
            // Nothing may be freed under running work.
            self.driver.note(self.resources.wait(current));
        }
        self.resources = Resources::default();
    }
}

impl Resources {
    /// Waits until all queued work is done.
    pub fn wait(&self, current: &Current) -> Result<(), GpuError> {
        let mut done = Ok(());
        for slot in &self.slots {
            // All of them, whatever the first says.
            done = done.and(slot.stream.synchronize(current));
        }
        done
    }

    /// Makes temporary memory at least so long.
    pub fn reserve_temp(&mut self, current: &Current, len: usize) -> Result<(), GpuError> {
        if self.temp.memory.as_ref().is_none_or(|memory| memory.len() < len) {
            self.wait(current)?;
            reserve(&mut self.temp.memory, current, len)?;
        }
        Ok(())
    }
}

impl Slot {
    fn new(current: &Current) -> Result<Self, GpuError> {
        Ok(Self {
            stream: Stream::new(current)?,
            outbound: None,
            input: None,
            output: None,
            gathered: None,
            inbound: None,
        })
    }
}

/// Memory of either kind.
pub trait Memory: Sized {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError>;
    fn len(&self) -> usize;
}

impl Memory for DeviceMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError> {
        Self::new(current, len)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

impl Memory for PinnedMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, GpuError> {
        Self::new(current, len)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Memory of at least `len` bytes in `slot`, whose content may be lost; no queued work uses it.
pub fn reserve<'slot, M: Memory>(
    slot: &'slot mut Option<M>,
    current: &Current,
    len: usize,
) -> Result<&'slot mut M, GpuError> {
    // First, so that both are never held at once.
    let shorter = slot.take_if(|memory| memory.len() < len).map(|memory| memory.len());
    match slot {
        Some(memory) => Ok(memory),
        None => {
            let len = shorter.map_or(len, |shorter| grown(shorter, len));
            Ok(slot.insert(M::allocate(current, rounded(len))?))
        }
    }
}

/// The length to take where `shorter` is not enough for `len`: a quarter more than before at
/// least, for the next may be a little longer again.
pub fn grown(shorter: usize, len: usize) -> usize {
    len.max(shorter + shorter / 4)
}

fn rounded(len: usize) -> usize {
    let len = len + SPARE;
    if len < STEP { len.next_power_of_two().max(SMALLEST) } else { len.next_multiple_of(STEP) }
}
