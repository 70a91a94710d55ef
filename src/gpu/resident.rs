//! Device memory that outlives the call that fills it, and what a session does with it.

use std::collections::VecDeque;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;

use super::context::{Resources, Slot, reserve};
use super::driver::{
    Current, Deadline, DeviceMemory, DevicePtr, PinnedMemory, PrimaryContext, Stream,
    wait_for_event,
};
use super::error::GpuError;
use super::kernels::Kernels;
use super::layout::COPY_BYTES;
use super::session::Session;
use crate::error::Error;
use crate::memory::zeroed;
use crate::pool::{self, InterruptCheck, NO_INTERRUPT};

/// Bytes that are uploaded or downloaded at a time: longer copies are no faster.
pub const STEP_BYTES: usize = 16 << 20;

/// Memory of one GPU. It is freed on whatever thread drops it, once all work on that GPU is done,
/// for other libraries may have queued work that uses it.
pub struct DeviceBuffer {
    memory: ManuallyDrop<DeviceMemory>,
    ordinal: u32,
    /// Its own hold on the context, which may outlive the session's.
    primary: ManuallyDrop<PrimaryContext>,
}

// SAFETY: the address is a number, and shared references do not free the memory.
unsafe impl Sync for DeviceBuffer {}

impl DeviceBuffer {
    /// Its address.
    pub fn start(&self) -> DevicePtr {
        self.memory.start()
    }

    pub(super) fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// The number of its GPU.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: neither is used again.
        let (primary, memory) = unsafe {
            (ManuallyDrop::take(&mut self.primary), ManuallyDrop::take(&mut self.memory))
        };
        primary.free_when_done(memory);
    }
}

impl Session {
    /// Checks that `bytes` of device memory are free, after giving up what is kept for the next
    /// batch where they are not. Nothing is in flight.
    pub fn make_room(&mut self, bytes: u64) -> Result<(), GpuError> {
        let (_, free) = self.free_memory()?;
        if bytes <= free {
            return Ok(());
        }
        self.guarded(|session| session.context()?.free_buffers())?;
        self.check_memory(bytes)
    }

    /// Checks that `bytes` of device memory are free.
    pub fn check_memory(&mut self, bytes: u64) -> Result<(), GpuError> {
        let (ordinal, free) = self.free_memory()?;
        if bytes <= free {
            return Ok(());
        }
        Err(GpuError::Unavailable(format!(
            "the column takes {bytes} bytes of device memory, but GPU {ordinal} has {free} bytes \
             free; pass fewer rows at a time"
        )))
    }

    /// The number of the GPU, and its free bytes.
    fn free_memory(&mut self) -> Result<(u32, u64), GpuError> {
        self.guarded(|session| {
            let context = session.context()?;
            Ok((context.ordinal, context.primary.enter()?.free_memory()? as u64))
        })
    }

    /// Allocates device memory that outlives the session.
    pub fn allocate(&mut self, len: usize) -> Result<DeviceBuffer, GpuError> {
        self.guarded(|session| {
            let context = session.context()?;
            let ordinal = context.ordinal;
            let primary = PrimaryContext::retain(context.driver, ordinal)?;
            let memory = DeviceMemory::new(&context.primary.enter()?, len)?;
            let (memory, primary) = (ManuallyDrop::new(memory), ManuallyDrop::new(primary));
            Ok(DeviceBuffer { memory, ordinal, primary })
        })
    }

    /// Uploads ranges of a buffer, each of [`STEP_BYTES`] at most, which `fill` fills.
    pub fn upload(
        &mut self,
        to: &DeviceBuffer,
        ranges: impl Iterator<Item = Range<usize>>,
        mut fill: impl FnMut(Range<usize>, &mut [MaybeUninit<u8>]),
    ) -> Result<(), GpuError> {
        let queue = |current: &Current, slot: &mut Slot, range: &Range<usize>| {
            let outbound = reserve(&mut slot.outbound, current, range.len())?;
            fill(range.clone(), &mut outbound.as_mut_slice()[..range.len()]);
            // SAFETY: the slot's buffer, and memory that only this call uses, until the slot is
            // waited for.
            unsafe { slot.stream.upload(current, &to.memory, range.start, outbound, range.len()) }
        };
        self.each_step(ranges, queue, |_, _| Ok(()))
    }

    /// Downloads device memory from `start` on to `dst`, which is then initialised.
    ///
    /// # Safety
    /// So much device memory is live there, and nobody writes to it.
    pub unsafe fn download(
        &mut self,
        start: DevicePtr,
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<(), GpuError> {
        let queue = |current: &Current, slot: &mut Slot, range: &Range<usize>| {
            let inbound = reserve(&mut slot.inbound, current, range.len())?;
            let from = start + range.start as DevicePtr;
            // SAFETY: the slot's buffer is not used otherwise until the slot is waited for; the
            // rest is as the caller promises.
            unsafe { slot.stream.download_from(current, inbound, from, range.len()) }
        };
        let len = dst.len();
        let take = |slot: &Slot, done: Range<usize>| {
            let inbound = slot.inbound.as_ref().map_or(&[][..], PinnedMemory::as_slice);
            copy_in_parallel(&inbound[..done.len()], &mut dst[done])
        };
        self.each_step(steps(0..len), queue, take)
    }

    /// Fills a range of a buffer with zeros.
    pub fn zero(&mut self, buffer: &DeviceBuffer, range: Range<usize>) -> Result<(), GpuError> {
        let queue = |current: &Current, slot: &mut Slot, range: &Range<usize>| {
            // SAFETY: memory that only this call uses, until the slot is waited for.
            unsafe { slot.stream.fill(current, &buffer.memory, range.clone(), 0) }
        };
        let range = Some(range).filter(|range| !range.is_empty());
        self.each_step(range.into_iter(), queue, |_, _| Ok(()))
    }

    /// Finds the rows of a buffer that are not UTF-8: a byte for each row, 0 where it is. Values
    /// and offsets (i64, from 0, not descending, within the values) begin at these bytes of the
    /// buffer.
    pub fn find_invalid_utf8(
        &mut self,
        buffer: &DeviceBuffer,
        values: usize,
        offsets: usize,
        rows: usize,
    ) -> Result<Vec<u8>, GpuError> {
        let mut marks = zeroed::<u8>(rows).map_err(Error::from)?;
        self.guarded(|session| {
            let context = session.context()?;
            let Resources { slots, kernels, .. } = &mut context.resources;
            let current = context.primary.enter()?;
            let kernels = Kernels::loaded(kernels, &current)?;
            let Slot { stream, output, inbound, .. } = &mut slots[0];
            let output = &*reserve(output, &current, rows)?;
            let inbound = &*reserve(inbound, &current, rows)?;
            let (values, offsets) =
                (buffer.start() + values as DevicePtr, buffer.start() + offsets as DevicePtr);
            // SAFETY: the slot's buffers, as long as there are rows, and a buffer that nobody
            // writes to, until the stream is waited for; the caller's offsets are valid.
            unsafe {
                stream.fill(&current, output, 0..rows, 0)?;
                kernels.utf8(&current, stream, values, offsets, output.start(), rows)?;
                stream.download(&current, inbound, 0, output, 0..rows)?;
            }
            stream.wait_done(&current, &Deadline::for_work(0), NO_INTERRUPT)?;
            // SAFETY: the download wrote a mark for each row.
            marks.copy_from_slice(unsafe { inbound.as_slice()[..rows].assume_init_ref() });
            Ok(())
        })?;
        Ok(marks)
    }

    /// Waits for a stream of another library's: its handle, or 1 or 2 for the default streams.
    pub fn wait_for_stream(
        &mut self,
        stream: u64,
        interrupted: InterruptCheck,
    ) -> Result<(), GpuError> {
        self.guarded(|session| {
            let current = session.context()?.primary.enter()?;
            // SAFETY: the handle of a live stream, as its owner says, which is not destroyed here.
            let stream = ManuallyDrop::new(unsafe { Stream::of_handle(&current, stream) });
            stream.wait_done(&current, &Deadline::none(), interrupted)
        })
    }

    /// Waits for an event of another library's.
    pub fn wait_for_event(
        &mut self,
        event: u64,
        interrupted: InterruptCheck,
    ) -> Result<(), GpuError> {
        self.guarded(|session| {
            let current = session.context()?.primary.enter()?;
            // SAFETY: the handle of a live event, as its owner says.
            unsafe { wait_for_event(&current, event, &Deadline::none(), interrupted) }
        })
    }

    /// Waits for what an interrupted call has left in flight, whose memory is about to go.
    pub fn settle(&mut self) {
        // After an error the context goes as well, which waits.
        let _ = self.finish_earlier_work(NO_INTERRUPT);
    }

    /// Queues work on ranges, slot by slot, and calls `done` with each once it is.
    fn each_step(
        &mut self,
        ranges: impl Iterator<Item = Range<usize>>,
        mut queue: impl FnMut(&Current, &mut Slot, &Range<usize>) -> Result<(), GpuError>,
        mut done: impl FnMut(&Slot, Range<usize>) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        self.guarded(|session| {
            let context = session.context()?;
            let current = context.primary.enter()?;
            let slots = &mut context.resources.slots;
            let mut queued: VecDeque<(usize, Range<usize>)> = VecDeque::new();
            let mut finish = |slot: &Slot, range| {
                slot.stream.wait_done(&current, &Deadline::for_work(0), NO_INTERRUPT)?;
                done(slot, range)
            };
            for (slot, range) in (0..slots.len()).cycle().zip(ranges) {
                if queued.len() == slots.len()
                    && let Some((oldest, range)) = queued.pop_front()
                {
                    finish(&slots[oldest], range)?;
                }
                queue(&current, &mut slots[slot], &range)?;
                queued.push_back((slot, range));
            }
            queued.into_iter().try_for_each(|(slot, range)| finish(&slots[slot], range))
        })
    }
}

/// Copies memory of one length, on several threads where it pays.
fn copy_in_parallel(src: &[MaybeUninit<u8>], dst: &mut [MaybeUninit<u8>]) -> Result<(), GpuError> {
    let pieces = src.chunks(COPY_BYTES).zip(dst.chunks_mut(COPY_BYTES));
    pool::run_parallel(pieces, || (), |(), (src, dst)| dst.copy_from_slice(src), NO_INTERRUPT)?;
    Ok(())
}

/// A range in steps of [`STEP_BYTES`].
pub fn steps(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(STEP_BYTES).map(move |start| start..end.min(start + STEP_BYTES))
}
