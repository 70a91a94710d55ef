//! Page-locked memory that columns are downloaded to, and that then is theirs.
//!
//! A GPU fills page-locked memory at the speed of the bus, and the CPU moves no result to memory of
//! its own. But to page-lock memory takes longer than one result saves. So a column gets blocks
//! that earlier columns have given back. Where none fits, it takes the CPU's way, and a thread of
//! its own makes blocks for the next one like it.

use std::collections::BTreeMap;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::{Arc, Mutex};
use std::thread;

use super::device::primary_context;
use super::driver::{PinnedMemory, PrimaryContext};
use super::error::GpuError;
use crate::memory::OwnedMemory;
use crate::process::{PerProcess, lock};

/// Columns of fewer bytes are moved by the CPU.
pub const SMALLEST_COLUMN: usize = 16 << 20;

/// Blocks are multiples of this long, so that columns of about one size share them.
const STEP: usize = 16 << 20;

/// The most page-locked memory that all blocks together take, and the part of the machine's
/// memory that they may be: one in this many.
const MOST_BYTES: usize = 4 << 30;
const MEMORY_SHARE: usize = 8;

static POOLS: PerProcess<Mutex<BTreeMap<u32, Arc<Pool>>>> = PerProcess::new();

/// The blocks of one GPU.
struct Pool {
    context: PrimaryContext,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Given back, oldest first.
    free: Vec<PinnedMemory>,
    /// Bytes of all blocks, those in use included.
    bytes: usize,
    /// Bytes of blocks that were missing when they were last asked for.
    wanted: Vec<usize>,
    /// Whether a thread makes blocks.
    is_growing: bool,
    /// Whether blocks that come back are freed: the pool has been released.
    is_closed: bool,
}

/// A block of a pool, which gets it back when the last array that uses it is dropped.
pub struct PinnedBlock {
    memory: ManuallyDrop<PinnedMemory>,
    pool: Arc<Pool>,
}

impl PinnedBlock {
    pub fn memory(&self) -> &PinnedMemory {
        &self.memory
    }
}

impl OwnedMemory for PinnedBlock {
    fn bytes(&self) -> &[MaybeUninit<u8>] {
        self.memory.as_slice()
    }

    fn bytes_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        self.memory.as_mut_slice()
    }
}

impl Drop for PinnedBlock {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        let mut state = lock(&self.pool.state);
        if state.is_closed {
            state.bytes -= memory.len();
            drop(state);
            self.pool.free(vec![memory]);
        } else {
            state.free.push(memory);
        }
    }
}

/// Blocks for these many bytes each, if there are free ones for all; else [`grow`] makes them.
pub fn take(ordinal: u32, lens: &[usize]) -> Result<Option<Vec<PinnedBlock>>, GpuError> {
    let pool = pool(ordinal)?;
    let mut state = lock(&pool.state);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for &len in lens {
        // One that is far too long would be missed by a column that needs it.
        let fits = |memory: &PinnedMemory| memory.len() >= len && memory.len() / 2 <= len.max(STEP);
        let fitting = state.free.iter().enumerate().filter(|(_, memory)| fits(memory));
        match fitting.min_by_key(|(_, memory)| memory.len()).map(|(i, _)| i) {
            Some(i) => found.push(state.free.remove(i)),
            None => missing.push(len.max(1).next_multiple_of(STEP)),
        }
    }
    state.wanted.clear();
    if missing.is_empty() {
        let block =
            |memory| PinnedBlock { memory: ManuallyDrop::new(memory), pool: Arc::clone(&pool) };
        return Ok(Some(found.into_iter().map(block).collect()));
    }
    state.free.append(&mut found);
    // Those that are being made may be the same.
    if !state.is_growing {
        state.wanted = missing;
    }
    Ok(None)
}

/// Has blocks made that were missing. After the column that missed them: to page-lock memory slows
/// down everything that needs fresh memory.
pub fn grow() {
    for pool in lock(POOLS.get()).values() {
        pool.grow(&mut lock(&pool.state));
    }
}

/// Frees the blocks that no column uses, now, and the others when they come back.
pub fn release() {
    for pool in std::mem::take(&mut *lock(POOLS.get())).into_values() {
        let mut state = lock(&pool.state);
        state.is_closed = true;
        let evicted = evict(&mut state, 0);
        drop(state);
        pool.free(evicted);
    }
}

fn pool(ordinal: u32) -> Result<Arc<Pool>, GpuError> {
    let mut pools = lock(POOLS.get());
    if let Some(pool) = pools.get(&ordinal) {
        return Ok(Arc::clone(pool));
    }
    let pool = Pool { context: primary_context(ordinal)?, state: Mutex::default() };
    Ok(Arc::clone(pools.entry(ordinal).or_insert(Arc::new(pool))))
}

impl Pool {
    /// Makes the blocks that are wanted on a thread of its own, as far as the limit allows, at the
    /// cost of those that were given back first.
    fn grow(self: &Arc<Self>, state: &mut State) {
        if state.is_growing || state.wanted.is_empty() {
            return;
        }
        let lens = std::mem::take(&mut state.wanted);
        let (wanted, most) = (lens.iter().sum::<usize>(), most_bytes());
        let in_use = state.bytes - state.free.iter().map(PinnedMemory::len).sum::<usize>();
        if wanted > most.saturating_sub(in_use) {
            return;
        }
        let evicted = evict(state, most - wanted);
        let pool = Arc::clone(self);
        let make = move || {
            pool.free(evicted);
            for len in lens {
                let made =
                    pool.context.enter().and_then(|current| PinnedMemory::new(&current, len));
                let mut state = lock(&pool.state);
                let Ok(memory) = made else { break };
                state.bytes += len;
                state.free.push(memory);
            }
            let mut state = lock(&pool.state);
            state.is_growing = false;
            let evicted = if state.is_closed { evict(&mut state, 0) } else { Vec::new() };
            drop(state);
            pool.free(evicted);
        };
        state.is_growing = thread::Builder::new().name("s4-gpu-pin".into()).spawn(make).is_ok();
    }

    /// Frees memory, in its context; where that cannot be entered, it is leaked.
    fn free(&self, memory: Vec<PinnedMemory>) {
        match self.context.enter() {
            Ok(_current) => drop(memory),
            Err(_) => std::mem::forget(memory),
        }
    }
}

/// Takes blocks out, the oldest first, until all together have at most `most` bytes.
fn evict(state: &mut State, most: usize) -> Vec<PinnedMemory> {
    let mut count = 0;
    while state.bytes > most
        && let Some(oldest) = state.free.get(count)
    {
        state.bytes -= oldest.len();
        count += 1;
    }
    state.free.drain(..count).collect()
}

impl Drop for Pool {
    fn drop(&mut self) {
        let free = std::mem::take(&mut lock(&self.state).free);
        self.free(free);
    }
}

fn most_bytes() -> usize {
    // SAFETY: the function only answers.
    let (pages, page) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let memory =
        usize::try_from(pages).unwrap_or(0).saturating_mul(usize::try_from(page).unwrap_or(0));
    MOST_BYTES.min(memory / MEMORY_SHARE)
}
