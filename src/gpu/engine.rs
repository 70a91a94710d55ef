//! What is held on one GPU between calls: its context, streams, buffers and our kernel.

use super::driver::{Context, Current, DeviceMemory, Driver, Event, Kernel, PinnedMemory, Stream};
use super::failure::Failure;
use super::libraries::Libraries;
use super::nvcomp::Nvcomp;
use super::slab::Shape;

/// Slabs under way at once: one is filled, one is coded, one is brought home.
pub const LANES: usize = 3;

/// Decoders have been seen to read past the end of their input: so much more is there.
const SPARE: usize = 256;

/// Memory is taken in multiples of this, so that it seldom has to grow.
const STEP: usize = 2 << 20;
/// And small memory in powers of two from this on.
const SMALLEST: usize = 4 << 10;

/// One GPU, ready to work.
pub struct Engine {
    driver: &'static Driver,
    pub nvcomp: &'static Nvcomp,
    /// What nvCOMP said of chunks, by work and size class.
    pub shapes: Vec<Shape>,
    pub resources: Resources,
    /// Last, for the others need it when they drop.
    pub context: Context,
}

/// What lives in the context.
#[derive(Default)]
pub struct Resources {
    pub lanes: Vec<Lane>,
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

/// The stream and the buffers of one slab.
pub struct Lane {
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

impl Engine {
    pub fn start(libraries: &'static Libraries, ordinal: u32) -> Result<Self, Failure> {
        let driver = &libraries.driver;
        let context = Context::retain(driver, ordinal)?;
        let (nvcomp, resources) = (&libraries.nvcomp, Resources::default());
        let mut engine = Self { driver, nvcomp, shapes: Vec::new(), resources, context };
        let current = engine.context.enter()?;
        let resources = &mut engine.resources;
        // Each belongs to the engine at once, so that it goes if the next cannot be had.
        resources.temp.free = Some(Event::new(&current)?);
        for _ in 0..LANES {
            resources.lanes.push(Lane::new(&current)?);
        }
        drop(current);
        Ok(engine)
    }

    /// Frees all buffers.
    pub fn free_buffers(&mut self) -> Result<(), Failure> {
        let current = self.context.enter()?;
        self.resources.wait(&current)?;
        self.resources.temp.memory = None;
        for lane in &mut self.resources.lanes {
            (lane.outbound, lane.inbound) = (None, None);
            (lane.input, lane.output, lane.gathered) = (None, None, None);
        }
        Ok(())
    }

    /// Bytes of device memory that are held.
    pub fn held(&self) -> usize {
        let lane = |lane: &Lane| [&lane.input, &lane.output, &lane.gathered].map(len_of);
        let lanes: usize = self.resources.lanes.iter().flat_map(lane).sum();
        lanes + len_of(&self.resources.temp.memory)
    }
}

fn len_of(memory: &Option<DeviceMemory>) -> usize {
    memory.as_ref().map_or(0, DeviceMemory::len)
}

impl Drop for Engine {
    fn drop(&mut self) {
        let current = self.context.enter().or_else(|failure| {
            self.driver.note(Err(failure));
            // Again, for without a context nothing can be freed.
            self.context.enter()
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
    pub fn wait(&self, current: &Current) -> Result<(), Failure> {
        let mut done = Ok(());
        for lane in &self.lanes {
            // All of them, whatever the first says.
            done = done.and(lane.stream.synchronize(current));
        }
        done
    }

    /// Makes temporary memory at least so long.
    pub fn reserve_temp(&mut self, current: &Current, len: usize) -> Result<(), Failure> {
        if self.temp.memory.as_ref().is_none_or(|memory| memory.len() < len) {
            self.wait(current)?;
            reserve(&mut self.temp.memory, current, len)?;
        }
        Ok(())
    }
}

impl Lane {
    fn new(current: &Current) -> Result<Self, Failure> {
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
    fn allocate(current: &Current, len: usize) -> Result<Self, Failure>;
    fn len(&self) -> usize;
}

impl Memory for DeviceMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, Failure> {
        Self::new(current, len)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

impl Memory for PinnedMemory {
    fn allocate(current: &Current, len: usize) -> Result<Self, Failure> {
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
) -> Result<&'slot mut M, Failure> {
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
