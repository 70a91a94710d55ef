//! What tests see and plan: the log of calls, launches and violations, and faults.

use std::collections::BTreeMap;
use std::ops::Range;

use super::status::nvcomp::CUDA_ERROR;

/// When a call is to fail.
pub enum Trigger {
    /// The n-th call of all.
    Call(u64),
    /// The n-th call of this name.
    Occurrence(String, u64),
}

struct Plan {
    trigger: Trigger,
    status: i32,
    sticky: bool,
}

/// What goes wrong with one chunk of a launch.
#[derive(Clone, Copy, PartialEq)]
pub enum ChunkFault {
    /// The chunk's status says that it could not be decoded.
    Status,
    /// The actual size is reported as one less.
    SizeShort,
    /// A byte of the output is wrong and the status is success.
    Byte,
    /// The actual size is reported as larger than any memory.
    SizeHuge,
}

/// What goes wrong with a launch as a whole.
#[derive(Clone, Copy, PartialEq)]
pub enum LaunchFault {
    /// It never ends.
    Endless,
    /// It accesses memory that is not its own, after which every call fails.
    IllegalAccess,
}

/// Everything since the last reset.
#[derive(Default)]
pub struct Log {
    calls: Vec<&'static str>,
    /// The call, or the queued work, that violations are laid to.
    at_work: &'static str,
    violations: Vec<String>,
    launches: Vec<[u64; 5]>,
    plans: Vec<Plan>,
    /// The status that every call has failed with since a sticky fault.
    stuck: Option<i32>,
    allocations: u64,
    failing_allocations: Range<u64>,
    chunks: u64,
    chunk_faults: BTreeMap<u64, ChunkFault>,
    /// By launch.
    launch_faults: BTreeMap<u64, LaunchFault>,
    /// Tells the launches of before a reset from those of after.
    resets: u64,
}

/// A launch's place in the log.
#[derive(Clone, Copy)]
pub struct Ticket {
    resets: u64,
    launch: usize,
    first_chunk: u64,
}

impl Log {
    pub fn reset(&mut self) {
        *self = Self { resets: self.resets + 1, ..Self::default() };
    }

    /// Logs a call; the error is a planned one.
    pub fn begin(&mut self, name: &'static str) -> Result<(), i32> {
        let earlier = self.calls.len();
        self.calls.push(name);
        self.at_work = name;
        // nvCOMP does not name an error of CUDA's.
        let stuck = |status| if name.starts_with("nvcomp") { CUDA_ERROR } else { status };
        if let Some(status) = self.stuck {
            return Err(stuck(status));
        }
        let occurrences = || self.calls[..earlier].iter().filter(|&&other| other == name).count();
        let due = |plan: &&Plan| match &plan.trigger {
            Trigger::Call(nth) => *nth == earlier as u64,
            Trigger::Occurrence(of, nth) => of == name && *nth == occurrences() as u64,
        };
        let Some(plan) = self.plans.iter().find(due) else { return Ok(()) };
        self.stuck = plan.sticky.then_some(plan.status);
        Err(self.stuck.map_or(plan.status, stuck))
    }

    /// Attributes violations to the queued work of this name; returns the previous one.
    pub fn attribute(&mut self, name: &'static str) -> &'static str {
        std::mem::replace(&mut self.at_work, name)
    }

    pub fn calls(&self) -> &[&'static str] {
        &self.calls
    }

    pub fn plan(&mut self, trigger: Trigger, status: i32, sticky: bool) {
        self.plans.push(Plan { trigger, status, sticky });
    }

    pub fn violate(&mut self, what: impl AsRef<str>) {
        self.violations.push(format!("{}: {}", self.at_work, what.as_ref()));
    }

    /// A violation that the API itself would answer with an error.
    pub fn refuse<T>(&mut self, status: i32, what: impl AsRef<str>) -> Result<T, i32> {
        self.violate(what);
        Err(status)
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn fail_allocations(&mut self, first: u64, count: u64) {
        self.failing_allocations = first..first.saturating_add(count);
    }

    /// Counts an allocation and says whether it is to fail.
    pub fn allocation_fails(&mut self) -> bool {
        self.allocations += 1;
        self.failing_allocations.contains(&(self.allocations - 1))
    }

    /// Plans a fault of a chunk, or with `None` takes back all of these.
    pub fn plan_chunk(&mut self, fault: Option<ChunkFault>, nth: u64) {
        match fault {
            Some(fault) => drop(self.chunk_faults.insert(nth, fault)),
            None => self.chunk_faults.clear(),
        }
    }

    /// Plans a fault of the `nth` launch.
    pub fn plan_launch(&mut self, fault: LaunchFault, nth: u64) {
        self.launch_faults.insert(nth, fault);
    }

    /// The planned fault of the next launch.
    pub fn next_launch_fault(&self) -> Option<LaunchFault> {
        self.launch_faults.get(&(self.launches.len() as u64)).copied()
    }

    /// From now on every call fails with `status`.
    pub fn stick(&mut self, status: i32) {
        self.stuck = Some(status);
    }

    /// Logs a launch of `count` chunks.
    pub fn launch(&mut self, codec: u64, direction: u64, count: usize) -> Ticket {
        let (launch, first_chunk) = (self.launches.len(), self.chunks);
        self.launches.push([codec, direction, count as u64, 0, 0]);
        self.chunks = self.chunks.saturating_add(count as u64);
        Ticket { resets: self.resets, launch, first_chunk }
    }

    /// Adds to a launch what device memory holds only when it runs.
    pub fn launch_ran(&mut self, ticket: Ticket, max_chunk: usize, total: usize) {
        if ticket.resets == self.resets {
            self.launches[ticket.launch][3..].copy_from_slice(&[max_chunk as u64, total as u64]);
        }
    }

    pub fn launches(&self) -> &[[u64; 5]] {
        &self.launches
    }

    pub fn chunk_fault(&self, ticket: Ticket, chunk: usize) -> Option<ChunkFault> {
        let fault = self.chunk_faults.get(&(ticket.first_chunk + chunk as u64));
        fault.filter(|_| ticket.resets == self.resets).copied()
    }
}
