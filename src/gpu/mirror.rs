//! Downloads the values of a buffer as they are done, while the GPU goes on with others.

use std::mem::{ManuallyDrop, forget};
use std::ops::Range;

use super::driver::{Deadline, PrimaryContext, Stream};
use super::error::GpuError;
use super::pinned::PinnedBlock;
use super::resident::DeviceBuffer;
use super::session::Session;
use crate::pool::{InterruptCheck, NO_INTERRUPT};

/// Page-locked copies of consecutive parts of a buffer, from its start on.
pub struct Mirror {
    /// The parts, and where each is copied to.
    blocks: Vec<(Range<usize>, PinnedBlock)>,
    /// Everything before this byte is queued.
    end: usize,
    stream: ManuallyDrop<Stream>,
    primary: PrimaryContext,
}

impl Mirror {
    pub fn new(
        session: &mut Session,
        blocks: Vec<(Range<usize>, PinnedBlock)>,
    ) -> Result<Self, GpuError> {
        session.guarded(|session| {
            let context = session.context()?;
            let primary = PrimaryContext::retain(context.driver, context.ordinal)?;
            let stream = ManuallyDrop::new(Stream::new(&context.primary.enter()?)?);
            Ok(Self { blocks, end: 0, stream, primary })
        })
    }

    /// Queues the download of what lies before `end` and has not been queued. It is complete.
    pub fn advance_to(&mut self, buffer: &DeviceBuffer, end: usize) -> Result<(), GpuError> {
        let queued = self.end..end.max(self.end);
        let current = self.primary.enter()?;
        for (part, block) in &self.blocks {
            let range = part.start.max(queued.start)..part.end.min(queued.end);
            if range.is_empty() {
                continue;
            }
            let offset = range.start - part.start;
            // SAFETY: both live until the stream is waited for, which dropping this does at the
            // latest; nobody else uses the block, and nobody writes to this part of the buffer.
            unsafe {
                self.stream.download(&current, block.memory(), offset, buffer.memory(), range)?;
            }
        }
        self.end = queued.end;
        Ok(())
    }

    /// Waits for all downloads; the blocks are then filled.
    pub fn finish(mut self, interrupted: InterruptCheck) -> Result<Vec<PinnedBlock>, GpuError> {
        self.wait(interrupted)?;
        Ok(std::mem::take(&mut self.blocks).into_iter().map(|(_, block)| block).collect())
    }

    fn wait(&self, interrupted: InterruptCheck) -> Result<(), GpuError> {
        let deadline = Deadline::for_work(self.end);
        self.stream.wait_done(&self.primary.enter()?, &deadline, interrupted)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if self.wait(NO_INTERRUPT).is_err() {
            // The GPU may still write to them.
            forget(std::mem::take(&mut self.blocks));
        }
        if let Ok(_current) = self.primary.enter() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.stream) };
        }
    }
}
