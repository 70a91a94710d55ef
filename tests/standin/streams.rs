//! Streams and events: work waits in queues until somebody synchronises, or has asked often enough
//! whether it is done.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::faults::Log;
use super::machine::new_handle;
use super::memory::Memory;
use super::status::NOT_READY;

/// What queued work runs on.
pub struct Device {
    pub memory: Memory,
    pub log: Log,
}

type Run = Box<dyn FnOnce(&mut Device) -> Result<(), i32> + Send>;

/// What a call queued.
pub struct Work {
    /// The call.
    pub name: &'static str,
    /// Addresses and handles that must stay alive until the work has run.
    pub touches: Vec<Range<u64>>,
    pub run: Run,
}

enum Operation {
    Work(Work),
    /// A kernel that never ends, and what it touches.
    Endless(Work),
    Record {
        event: u64,
    },
    Wait {
        event: u64,
        mark: Mark,
    },
}

/// The point at which a stream has run so many operations.
#[derive(Clone, Copy)]
struct Mark {
    stream: u64,
    ran: u64,
}

struct Stream {
    context: u64,
    queue: VecDeque<Operation>,
    ran: u64,
    /// Questions whether the work is done, since any was queued.
    asked: u64,
}

impl Stream {
    /// How many operations will have run when the queue is empty.
    fn queued(&self) -> u64 {
        self.ran + self.queue.len() as u64
    }
}

pub struct Streams {
    streams: BTreeMap<u64, Stream>,
    /// Each with its latest record.
    events: BTreeMap<u64, Option<Mark>>,
    /// Whether other streams run as far as they can before each operation of one that is
    /// synchronised, rather than no further than it waits for. Both are orders that a
    /// device may choose; this one shows where a stream should have waited and did not.
    pub ahead: bool,
    /// How often a stream with work is asked before it is done.
    pub questions: u64,
}

impl Default for Streams {
    fn default() -> Self {
        Self { streams: BTreeMap::new(), events: BTreeMap::new(), ahead: false, questions: 1 }
    }
}

impl Streams {
    /// Streams and events.
    pub fn live(&self) -> usize {
        self.streams.len() + self.events.len()
    }

    pub fn create_stream(&mut self, context: u64) -> u64 {
        let handle = new_handle();
        let stream = Stream { context, queue: VecDeque::new(), ran: 0, asked: 0 };
        self.streams.insert(handle, stream);
        handle
    }

    /// The context that a live stream belongs to.
    pub fn context(&self, stream: u64) -> Option<u64> {
        self.streams.get(&stream).map(|stream| stream.context)
    }

    /// The live streams of a context.
    pub fn of_context(&self, context: Option<u64>) -> Vec<u64> {
        let in_context = self.streams.iter().filter(|(_, stream)| Some(stream.context) == context);
        in_context.map(|(&handle, _)| handle).collect()
    }

    pub fn remove_stream(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    pub fn create_event(&mut self) -> u64 {
        let handle = new_handle();
        self.events.insert(handle, None);
        handle
    }

    pub fn has_event(&self, event: u64) -> bool {
        self.events.contains_key(&event)
    }

    pub fn remove_event(&mut self, event: u64) {
        self.events.remove(&event);
    }

    pub fn push(&mut self, stream: u64, work: Work) {
        self.enqueue(stream, Operation::Work(work));
    }

    /// Queues a kernel that never ends in place of `work`.
    pub fn push_endless(&mut self, stream: u64, work: Work) {
        self.enqueue(stream, Operation::Endless(work));
    }

    /// Whether a kernel that never ends is queued anywhere: most of CUDA then waits for ever.
    pub fn are_hung(&self) -> bool {
        let mut queued = self.streams.values().flat_map(|stream| &stream.queue);
        queued.any(|operation| matches!(operation, Operation::Endless(_)))
    }

    pub fn record(&mut self, event: u64, stream: u64) {
        self.enqueue(stream, Operation::Record { event });
        let ran = self.streams.get(&stream).map(Stream::queued);
        self.events.insert(event, ran.map(|ran| Mark { stream, ran }));
    }

    /// Makes a stream wait for the event's latest record; without one there is nothing
    /// to wait for.
    pub fn wait(&mut self, stream: u64, event: u64) {
        if let Some(&Some(mark)) = self.events.get(&event) {
            self.enqueue(stream, Operation::Wait { event, mark });
        }
    }

    fn enqueue(&mut self, stream: u64, operation: Operation) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.queue.push_back(operation);
            stream.asked = 0;
        }
    }

    /// Whether work of another stream is queued that touches one of these addresses.
    pub fn needs_elsewhere(&self, stream: u64, range: &Range<u64>) -> bool {
        let meets = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let others = self.streams.iter().filter(|(handle, _)| **handle != stream);
        others.flat_map(|(_, other)| &other.queue).any(|operation| match operation {
            Operation::Work(work) | Operation::Endless(work) => work.touches.iter().any(meets),
            Operation::Record { .. } | Operation::Wait { .. } => false,
        })
    }

    /// The queued call, if any, that needs one of these addresses or handles.
    pub fn needs(&self, range: &Range<u64>) -> Option<&'static str> {
        let meets = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let mut queued = self.streams.values().flat_map(|stream| &stream.queue);
        queued.find_map(|operation| match operation {
            Operation::Work(work) | Operation::Endless(work) => {
                work.touches.iter().any(meets).then_some(work.name)
            }
            Operation::Record { event } => range.contains(event).then_some("cuEventRecord"),
            Operation::Wait { event, .. } => range.contains(event).then_some("cuStreamWaitEvent"),
        })
    }

    /// Whether a stream is done, which it is not at the first questions.
    pub fn query(&mut self, handle: u64, device: &mut Device) -> Result<(), i32> {
        let Some(stream) = self.streams.get_mut(&handle) else { return Ok(()) };
        stream.asked += 1;
        if !stream.queue.is_empty() && stream.asked <= self.questions {
            return Err(NOT_READY);
        }
        self.synchronize(handle, device)
    }

    /// Runs what comes before an event.
    pub fn query_event(&mut self, event: u64, device: &mut Device) -> Result<(), i32> {
        match self.events.get(&event) {
            Some(&Some(mark)) => self.run(mark, device),
            _ => Ok(()),
        }
    }

    /// Runs all that a stream has queued, and what that waits for. Returns the first error, or
    /// that a kernel never ends.
    pub fn synchronize(&mut self, stream: u64, device: &mut Device) -> Result<(), i32> {
        let ran = self.streams.get(&stream).map_or(0, Stream::queued);
        self.run(Mark { stream, ran }, device)
    }

    /// Waits are for records made earlier, so that streams never wait for each other.
    fn run(&mut self, until: Mark, device: &mut Device) -> Result<(), i32> {
        let mut outcome = Ok(());
        while !self.reached(until) {
            if self.is_hung(until.stream) {
                return Err(NOT_READY);
            }
            if self.ahead {
                outcome = outcome.and(self.run_others(until.stream, device));
            }
            outcome = outcome.and(match self.blocked(until.stream) {
                Some(mark) if self.is_hung(mark.stream) => return Err(NOT_READY),
                Some(mark) => self.run(mark, device),
                None => self.step(until.stream, device),
            });
        }
        outcome
    }

    fn reached(&self, mark: Mark) -> bool {
        self.streams.get(&mark.stream).is_none_or(|stream| stream.ran >= mark.ran)
    }

    /// Whether the stream's next operation never ends.
    fn is_hung(&self, stream: u64) -> bool {
        let next = self.streams.get(&stream).and_then(|stream| stream.queue.front());
        matches!(next, Some(Operation::Endless(_)))
    }

    /// What the stream waits for next, if that has not come yet.
    fn blocked(&self, stream: u64) -> Option<Mark> {
        match self.streams.get(&stream)?.queue.front()? {
            Operation::Wait { mark, .. } => Some(*mark).filter(|mark| !self.reached(*mark)),
            _ => None,
        }
    }

    fn run_others(&mut self, stream: u64, device: &mut Device) -> Result<(), i32> {
        let mut outcome = Ok(());
        loop {
            let may_run = |(handle, other): &(&u64, &Stream)| {
                **handle != stream
                    && !other.queue.is_empty()
                    && !self.is_hung(**handle)
                    && self.blocked(**handle).is_none()
            };
            let Some((&other, _)) = self.streams.iter().find(may_run) else { return outcome };
            outcome = outcome.and(self.step(other, device));
        }
    }

    fn step(&mut self, stream: u64, device: &mut Device) -> Result<(), i32> {
        let Some(stream) = self.streams.get_mut(&stream) else { return Ok(()) };
        let operation = stream.queue.pop_front();
        stream.ran += 1;
        let Some(Operation::Work(work)) = operation else { return Ok(()) };
        let caller = device.log.attribute(work.name);
        let outcome = (work.run)(device);
        device.log.attribute(caller);
        outcome
    }
}
