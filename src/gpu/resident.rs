//! Device memory that outlives the call that filled it: a column's values, wherever they go next.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;

use super::context::{GpuContext, SLOTS, Slot, reserve};
use super::driver::{Current, DeviceMemory, DevicePtr, PinnedMemory, PrimaryContext, Stream};
use super::error::GpuError;
use super::kernels::Kernels;
use super::session::{Session, failed_before};
use crate::error::Result as CrateResult;
use crate::kernel::copy_to;

/// Bytes of one copy between host and device: longer ones are no faster.
const PIECE_BYTES: usize = 16 << 20;

/// Parts of a buffer begin at multiples of this.
pub const PART_ALIGNMENT: usize = 256;

/// Memory of one GPU. Dropping it waits for all work on that GPU, whose memory it may be.
pub struct DeviceBuffer {
    memory: ManuallyDrop<DeviceMemory>,
    len: usize,
    ordinal: u32,
    /// Kept alive by the memory, whatever becomes of the session's.
    primary: PrimaryContext,
}

// SAFETY: the address is a number; only `Drop` frees the memory.
unsafe impl Sync for DeviceBuffer {}

impl DeviceBuffer {
    /// Its address.
    pub fn start(&self) -> DevicePtr {
        self.memory.start()
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of its GPU.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // Without its context the memory can only be leaked.
        let Ok(current) = self.primary.enter() else { return };
        if current.synchronize().is_ok() {
            // SAFETY: dropped once, here. Nothing queued uses it: the context is synchronised.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
