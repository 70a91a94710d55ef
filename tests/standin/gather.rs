//! The kernel `s4_gather`, which lays chunks side by side.

use std::ffi::c_void;
use std::ops::Range;

use super::memory::overlap;
use super::status::ILLEGAL_ADDRESS;
use super::streams::Device;

pub const NAME: &str = "s4_gather";

/// What a module's PTX must contain.
pub const ENTRY: &str = ".entry s4_gather";

/// The kernel moves words of 16 bytes.
const WORD: u64 = 16;

/// The parameters of a launch: device addresses of arrays, and of where the chunks go.
#[derive(Clone, Copy)]
pub struct Gather {
    sources: u64,
    sizes: u64,
    offsets: u64,
    target: u64,
    count: u32,
}

impl Gather {
    /// The values that a launch's parameters point to; `None` if one is null.
    ///
    /// # Safety
    /// `params` is null or an array of five pointers, each null or to a value of the
    /// kernel's parameter.
    pub unsafe fn from_params(params: *const *const c_void) -> Option<Self> {
        // SAFETY: null or an array of five, as the caller promises.
        let &params = unsafe { params.cast::<[*const c_void; 5]>().as_ref()? };
        if params.iter().any(|param| param.is_null()) {
            return None;
        }
        let [sources, sizes, offsets, target, count] = params;
        // SAFETY: none is null, and so each is a parameter's value.
        let address = |param: *const c_void| unsafe { param.cast::<u64>().read_unaligned() };
        Some(Self {
            sources: address(sources),
            sizes: address(sizes),
            offsets: address(offsets),
            target: address(target),
            // SAFETY: as with the others.
            count: unsafe { count.cast::<u32>().read_unaligned() },
        })
    }

    /// The addresses that are known before the kernel runs.
    pub fn touches(&self) -> Vec<Range<u64>> {
        let bytes = 8 * u64::from(self.count);
        let arrays = [self.sources, self.sizes, self.offsets];
        let arrays = arrays.map(|array| array..array.saturating_add(bytes));
        let target = self.target..self.target.saturating_add(1);
        arrays.into_iter().chain([target]).collect()
    }

    pub fn run(self, device: &mut Device) -> Result<(), i32> {
        let Device { memory, log } = device;
        let arrays = [self.sources, self.sizes, self.offsets];
        let arrays = arrays.map(|array| memory.numbers(array, self.count as usize));
        let [Some(sources), Some(sizes), Some(offsets)] = arrays else {
            return log.refuse(ILLEGAL_ADDRESS, "an array is not in device memory, or misaligned");
        };
        let mut outcome = Ok(());
        let mut targets = Vec::new();
        for (i, ((&from, size), offset)) in sources.iter().zip(sizes).zip(offsets).enumerate() {
            if [from, self.target, offset].iter().any(|number| !number.is_multiple_of(WORD)) {
                outcome = log.refuse(ILLEGAL_ADDRESS, format!("chunk {i} is misaligned"));
                continue;
            }
            let to = self.target.saturating_add(offset);
            let len = size.div_ceil(WORD).saturating_mul(WORD);
            let bytes = memory.access(from, len as usize).map(|bytes| bytes.to_vec());
            match (bytes, memory.access(to, len as usize)) {
                (Some(bytes), Some(target)) => target.copy_from_slice(&bytes),
                _ => {
                    let what = format!("chunk {i}, {len} bytes from {from:#x} to {to:#x}");
                    outcome = log.refuse(ILLEGAL_ADDRESS, format!("{what}: not in device memory"));
                }
            }
            targets.push(to..to.saturating_add(len));
        }
        if overlap(targets) {
            log.violate("chunks overlap at the target");
        }
        outcome
    }
}
