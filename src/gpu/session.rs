//! One call's use of one GPU: items go there batch by batch, in order, a few in flight at once.
//!
//! ```text
//! submit:  stage -> upload -> launch -> download sizes (compressed) or everything (decompressed)
//! advance: sizes -> offsets -> gather -> download chunks   (compressed only)
//!                -> the source places them on the device
//! collect: wait -> the source takes the chunks from pinned memory
//! ```
//!
//! While the newest batch is staged, those before it are coded, several at once, and gathered and
//! downloaded, and the source takes the oldest. Each has a stream, buffers and temporary memory of its
//! own, so that their kernels overlap too.
//!
//! Every wait has a [`Deadline`] and hears interrupts. After an interrupt the work goes on in
//! buffers that stay its own: the next call waits for it. After the deadline CUDA is lost (see
//! `driver`) and the call fails, or has the CPU do the rest.

use std::collections::VecDeque;
use std::ops::Range;
use std::thread::{self, ThreadId};

use super::batch::{Batch, BatchIndex, Cost, Shape};
use super::context::{GpuContext, SLOTS};
use super::device::Lease;
use super::driver::{Deadline, PinnedMemory, timeout};
use super::error::GpuError;
use super::layout::Layout;
use super::nvcomp::Work;
use super::policy::warn_fallback;
use super::results::{BatchResults, CompressedSizes};
use super::source::{BatchSource, Progress};
use super::trace::{Step, Trace};
use super::transfer::Transfer;
use crate::error::Error;
use crate::pool::InterruptCheck;

/// The most that one batch takes, where memory is plenty. Several such batches keep an H100 as busy
/// as larger ones would (nvCOMP 6.0), and the first is on its way sooner. Values of 1 KiB fill them
/// too.
const MAX_BATCH: Cost =
    Cost { chunks: 64 << 10, bytes: 64 << 20, device: usize::MAX, temp: usize::MAX };

/// Limits are not halved below one chunk of the usual length.
const MIN_BATCH_BYTES: usize = 64 << 10;

/// The fraction of the free memory that may be used: one in this many.
const MEMORY_SHARE: usize = 4;

/// Exclusive use of a GPU.
pub struct Session {
    lease: Lease,
    /// The thread whose call it is.
    thread: ThreadId,
    limits: Cost,
    /// Batches in flight at most.
    slots: usize,
    in_flight: VecDeque<InFlight>,
    has_failed: bool,
    has_warned: bool,
    trace: Trace,
}

/// Items that have been submitted.
struct InFlight {
    items: Range<usize>,
    /// Bytes of originals.
    bytes: usize,
    /// Their batch, unless it was empty.
    sent: Option<SentBatch>,
    /// Whether all of the batch's work is queued.
    is_advanced: bool,
}

struct SentBatch {
    index: BatchIndex,
    layout: Layout,
    slot: usize,
    /// Of a compression that is gathered: where each chunk begins after the sizes and statuses.
    /// Empty until the sizes are known.
    offsets: Vec<usize>,
}

impl Session {
    pub(super) fn new(lease: Lease, interrupted: InterruptCheck) -> Result<Self, GpuError> {
        timeout()?;
        let mut session = Self {
            lease,
            thread: thread::current().id(),
            limits: MAX_BATCH,
            slots: SLOTS,
            in_flight: VecDeque::new(),
            has_failed: false,
            has_warned: false,
            trace: Trace::new(),
        };
        session.finish_earlier_work(interrupted)?;
        session.guarded(|session| {
            let context = session.context()?;
            let free = context.primary.enter()?.free_memory()?;
            let share = (free + context.buffer_bytes()) / MEMORY_SHARE / SLOTS;
            // Half of it is temporary memory, half the batch's buffers.
            session.limits = Cost { temp: share / 2, device: share / 2, ..session.limits };
            Ok(())
        })?;
        Ok(session)
    }

    /// Works off `source` from where `progress` stands. Returns the item that no batch holds,
    /// with nothing in flight: it has to run alone before the work goes on. `None` when all
    /// items are done.
    pub fn run<'a, S: BatchSource<'a>>(
        &mut self,
        source: &mut S,
        progress: &mut Progress,
    ) -> Result<Option<usize>, S::Error> {
        let ended = self
            .finish_earlier_work(&|| source.is_interrupted())
            .map_err(S::Error::from)
            .and_then(|()| self.run_batches(source, progress));
        if ended.is_err() {
            self.abandon(&|| source.is_interrupted());
        }
        ended
    }

    /// Waits for what an interrupted call has left in flight.
    pub(super) fn finish_earlier_work(
        &mut self,
        interrupted: InterruptCheck,
    ) -> Result<(), GpuError> {
        if self.context()?.is_unfinished {
            self.wait(interrupted)?;
        }
        Ok(())
    }

    /// Waits for everything in flight.
    fn wait(&mut self, interrupted: InterruptCheck) -> Result<(), GpuError> {
        let deadline = self.deadline();
        self.guarded(|session| {
            let context = session.context()?;
            context.is_unfinished = true;
            context.resources.wait(&context.primary.enter()?, &deadline, interrupted)?;
            context.is_unfinished = false;
            Ok(())
        })
    }

    /// When to stop waiting for what is in flight.
    fn deadline(&self) -> Deadline {
        Deadline::for_work(self.in_flight.iter().map(|items| items.bytes).sum())
    }

    fn run_batches<'a, S: BatchSource<'a>>(
        &mut self,
        source: &mut S,
        progress: &mut Progress,
    ) -> Result<Option<usize>, S::Error> {
        let count = source.count();
        while progress.done < count {
            if source.is_interrupted() {
                return Err(GpuError::from(Error::Interrupted).into());
            }
            let next = self.in_flight.back().map_or(progress.done, |newest| newest.items.end);
            let filled = if next < count && !self.is_full() {
                let end = count.min(next.saturating_add(progress.max_items));
                self.trace.take_back();
                let start = self.trace.start();
                let filled = source.fill(self, next..end);
                self.trace.add(Step::Fill, start);
                filled.map(Some)
            } else {
                Ok(None)
            };
            let step = match filled {
                Ok(Some((batch, end))) if end > next => self.submit(batch, next..end, source),
                Ok(Some(_)) if self.in_flight.is_empty() => return Ok(Some(next)),
                Ok(_) => match self.collect(source) {
                    Ok((items, results)) => {
                        let end = items.end;
                        source.take(items, results.as_ref())?;
                        progress.done = end;
                        if results.is_some() {
                            progress.max_items = progress.max_items.saturating_mul(2);
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            match step {
                // What was in flight goes again, in smaller batches.
                Err(error)
                    if error.is_out_of_memory() && self.shrink(&|| source.is_interrupted())? => {}
                Err(error) if error.is_refusal() && S::SPLITS_REFUSED => {
                    let end = self.in_flight.back().map_or(next, |newest| newest.items.end);
                    progress.max_items = (end - next) / 2;
                    self.abandon(&|| source.is_interrupted());
                }
                other => other?,
            }
        }
        Ok(None)
    }

    /// Checks that this is the thread that has the GPU: a thread of the pool must not wait for
    /// one, nor use it meanwhile.
    pub fn check_thread(&self) -> Result<(), GpuError> {
        if thread::current().id() == self.thread {
            return Ok(());
        }
        Err(GpuError::internal("a session left its thread"))
    }

    pub(super) fn context(&mut self) -> Result<&mut GpuContext, GpuError> {
        self.lease.context.as_mut().ok_or_else(failed_before)
    }

    /// Runs `work`. After a panic, or an error that other work may meet again, the context is
    /// not used again.
    pub(super) fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        if self.has_failed {
            return Err(failed_before());
        }
        self.has_failed = true;
        let done = work(self).map_err(|error| self.explained(error));
        let is_fatal = |error: &GpuError| {
            !error.is_out_of_memory() && !error.is_refusal() && !error.is_interrupt()
        };
        self.has_failed = done.as_ref().is_err_and(is_fatal);
        done
    }

    /// The error of CUDA that nvCOMP met and does not name.
    fn explained(&mut self, error: GpuError) -> GpuError {
        let found = |context: &mut GpuContext| {
            let current = context.primary.enter()?;
            let mut slots = context.resources.slots.iter();
            slots.try_for_each(|slot| slot.stream.is_done(&current).map(drop))
        };
        if !error.is_cuda_in_nvcomp() {
            return error;
        }
        match self.context().and_then(found) {
            Err(named) => named,
            Ok(()) => error,
        }
    }

    /// The most that a batch may take.
    pub fn limits(&self) -> Cost {
        self.limits
    }

    /// What nvCOMP says of the chunks of a size class.
    pub fn shape(&mut self, work: Work, longest: usize) -> Result<Shape, GpuError> {
        // Asked for every value of a column.
        if let Some(known) = self.context()?.known_shape(work, longest) {
            return Ok(known);
        }
        let deadline = self.deadline();
        self.guarded(|session| session.context()?.shape(work, longest, &deadline))
    }

    /// Warns that the CPU does the rest of the call; once per call.
    pub fn fall_back(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            warn_fallback(reason.trim_start_matches("GPU: "));
        }
    }

    /// Whether the context is not used again: after any error but lack of memory, a refusal by
    /// nvCOMP and an interrupt.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether the CPU does the rest of the call.
    pub fn has_fallen_back(&self) -> bool {
        self.has_warned
    }

    /// Whether a batch has to be collected before another can be submitted.
    fn is_full(&self) -> bool {
        self.in_flight.iter().filter(|items| items.sent.is_some()).count() == self.slots
    }

    /// Submits items of `source`, whose batch is `batch`. The session is not full.
    fn submit<'a, S: BatchSource<'a>>(
        &mut self,
        batch: Batch,
        items: Range<usize>,
        source: &mut S,
    ) -> Result<(), GpuError> {
        let bytes = batch.cost.bytes;
        let is_advanced = !batch.is_empty() && batch.index.is_decompression();
        self.in_flight.push_back(InFlight { items, bytes, sent: None, is_advanced });
        if batch.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline();
        let interrupted = &|| source.is_interrupted();
        self.guarded(|session| {
            let is_free = |slot: &usize| {
                let mut sent = session.in_flight.iter().filter_map(|items| items.sent.as_ref());
                sent.all(|batch| batch.slot != *slot)
            };
            let slot = (0..SLOTS).find(is_free).unwrap_or_default();
            let layout = Layout::of(&batch);
            session.trace.take_back();
            session.trace.count(batch.cost.bytes);
            let Some(context) = &mut session.lease.context else { return Err(failed_before()) };
            let current = context.primary.enter()?;
            let transfer = Transfer {
                current: &current,
                nvcomp: context.nvcomp,
                resources: &mut context.resources,
                deadline,
                interrupted,
                trace: &mut session.trace,
            };
            transfer.send(slot, &batch, &layout)?;
            drop(current);
            let (index, offsets) = (batch.index, Vec::new());
            if let Some(items) = session.in_flight.back_mut() {
                items.sent = Some(SentBatch { index, layout, slot, offsets });
            }
            Ok(())
        })?;
        // Kernels of several batches run at once, so that none is waited for here.
        self.advance(0, source)
    }

    /// Queues placing, or gathering and downloading, the batches in flight that have been
    /// compressed, and the first `count` of them in any case.
    fn advance<'a, S: BatchSource<'a>>(
        &mut self,
        count: usize,
        source: &mut S,
    ) -> Result<(), GpuError> {
        self.guarded(|session| session.advance_batches(count, source))
    }

    fn advance_batches<'a, S: BatchSource<'a>>(
        &mut self,
        count: usize,
        source: &mut S,
    ) -> Result<(), GpuError> {
        let deadline = self.deadline();
        let Some(context) = &mut self.lease.context else { return Ok(()) };
        let waiting = self.in_flight.iter_mut().enumerate().filter(|(_, batch)| !batch.is_advanced);
        for (i, InFlight { items, sent, is_advanced, .. }) in waiting {
            let Some(SentBatch { index, layout, slot, offsets }) = sent else {
                source.place(items.clone(), None);
                *is_advanced = true;
                continue;
            };
            let current = context.primary.enter()?;
            let resources = &mut context.resources;
            if i >= count && !resources.slots[*slot].urgent.is_done(&current)? {
                break;
            }
            let trace = &mut self.trace;
            let nvcomp = context.nvcomp;
            let interrupted = &|| source.is_interrupted();
            Transfer { current: &current, nvcomp, resources, deadline, interrupted, trace }
                .wait_for_sizes(*slot)?;
            let inbound = resources.slots[*slot].inbound.as_ref();
            let inbound = inbound.map_or(&[][..], PinnedMemory::as_slice);
            let sizes = CompressedSizes { index, layout, inbound };
            let destinations = source.place(items.clone(), Some(&sizes));
            let interrupted = &|| source.is_interrupted();
            let transfer =
                Transfer { current: &current, nvcomp, resources, deadline, interrupted, trace };
            match destinations {
                Some(destinations) => transfer.place(*slot, layout, &destinations)?,
                None => *offsets = transfer.gather(*slot, index, layout)?,
            }
            *is_advanced = true;
        }
        Ok(())
    }

    /// Waits for the items that were submitted first: which they are, and the results of their
    /// batch.
    fn collect<'a, S: BatchSource<'a>>(
        &mut self,
        source: &mut S,
    ) -> Result<(Range<usize>, Option<BatchResults<'_>>), GpuError> {
        self.trace.take_back();
        self.advance(1, source)?;
        let deadline = self.deadline();
        let Some(InFlight { items, sent, .. }) = self.in_flight.pop_front() else {
            return Err(GpuError::internal("a batch result is missing"));
        };
        let Some(SentBatch { index, layout, slot, offsets }) = sent else {
            return Ok((items, None));
        };
        let interrupted = &|| source.is_interrupted();
        self.guarded(|session| {
            let Some(context) = &session.lease.context else { return Err(failed_before()) };
            let current = context.primary.enter()?;
            let stream = &context.resources.slots[slot].urgent;
            session.trace.time(Step::Wait, || stream.wait_done(&current, &deadline, interrupted))
        })?;
        self.trace.lend();
        let inbound = self.context()?.resources.slots[slot].inbound.as_ref();
        let inbound = inbound.map_or(&[][..], PinnedMemory::as_slice);
        Ok((items, Some(BatchResults { index, layout, offsets, inbound })))
    }

    /// Forgets what is in flight, once its work is done: the slots are free for other batches.
    /// An interrupt leaves the work to the next call.
    fn abandon(&mut self, interrupted: InterruptCheck) {
        let waited = self.wait(interrupted);
        self.in_flight.clear();
        self.has_failed |= waited.is_err_and(|error| !error.is_interrupt());
    }

    /// After memory ran out: forgets what is in flight, frees all buffers, halves the limits and
    /// has one batch fewer in flight, since some temporary memory does not depend on the batch.
    /// `false` where the limits cannot be halved any more.
    fn shrink(&mut self, interrupted: InterruptCheck) -> Result<bool, GpuError> {
        self.wait(interrupted)?;
        self.guarded(|session| {
            session.in_flight.clear();
            session.context()?.free_buffers()?;
            let limits = &mut session.limits;
            if limits.bytes <= MIN_BATCH_BYTES {
                return Ok(false);
            }
            *limits = Cost {
                chunks: (limits.chunks / 2).max(1),
                bytes: limits.bytes / 2,
                device: limits.device / 2,
                temp: limits.temp / 2,
            };
            session.slots = (session.slots - 1).max(1);
            Ok(true)
        })
    }
}

fn failed_before() -> GpuError {
    GpuError::Unavailable("the GPU failed earlier in this call".into())
}

impl Drop for Session {
    fn drop(&mut self) {
        // The next call starts a new context after a failure, or a panic with work in flight.
        if self.has_failed || !self.in_flight.is_empty() {
            self.lease.context = None;
        }
    }
}
