//! The project's own kernels: what each does to device memory, and what it may not be given.

use std::ffi::c_void;
use std::ops::Range;

use super::memory::{Memory, overlap};
use super::status::ILLEGAL_ADDRESS;
use super::streams::Device;

/// Gathering moves words of 16 bytes.
const WORD: u64 = 16;

/// One kernel.
#[derive(Clone, Copy)]
pub enum Kernel {
    /// Lays chunks side by side.
    Gather,
    /// Copies chunks from and to any addresses.
    Copy,
    /// Writes each chunk's crc32c.
    Crc32c,
    /// Marks rows that are not UTF-8.
    Utf8,
}

impl Kernel {
    const ALL: [Self; 4] = [Self::Gather, Self::Copy, Self::Crc32c, Self::Utf8];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gather => "s4_gather",
            Self::Copy => "s4_copy",
            Self::Crc32c => "s4_crc32c",
            Self::Utf8 => "s4_utf8",
        }
    }

    /// Whether this PTX has all kernels.
    pub fn all_in(ptx: &str) -> bool {
        Self::ALL.iter().all(|kernel| ptx.contains(&format!(".entry {}(", kernel.name())))
    }

    /// The kernel of this name, and its number.
    pub fn find(name: &[u8]) -> Option<u64> {
        Self::ALL.iter().position(|kernel| kernel.name().as_bytes() == name).map(|i| i as u64)
    }

    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The bytes of each parameter.
    fn parameters(self) -> &'static [usize] {
        match self {
            Self::Gather => &[8, 8, 8, 8, 4],
            Self::Copy | Self::Crc32c => &[8, 8, 8, 4],
            Self::Utf8 => &[8, 8, 8, 8],
        }
    }
}

/// A kernel with its parameters: device addresses, then the number of chunks or rows.
pub struct Launch {
    pub kernel: Kernel,
    addresses: Vec<u64>,
    count: usize,
}

impl Launch {
    /// `None` if a parameter is null.
    ///
    /// # Safety
    /// `params` is null or an array of as many pointers as the kernel has parameters, each null
    /// or to a value of the parameter.
    pub unsafe fn new(kernel: Kernel, params: *const *const c_void) -> Option<Self> {
        if params.is_null() {
            return None;
        }
        let values = kernel.parameters().iter().enumerate().map(|(i, bytes)| {
            // SAFETY: as the caller promises; the pointer is looked at before it is read.
            unsafe {
                let value = *params.add(i);
                match (value.is_null(), bytes) {
                    (true, _) => None,
                    (false, 8) => Some(value.cast::<u64>().read_unaligned()),
                    (false, _) => Some(value.cast::<u32>().read_unaligned().into()),
                }
            }
        });
        let mut addresses = values.collect::<Option<Vec<_>>>()?;
        let count = addresses.pop()? as usize;
        Some(Self { kernel, addresses, count })
    }

    /// The addresses that are known before the kernel runs.
    pub fn touches(&self) -> Vec<Range<u64>> {
        let bytes = match self.kernel {
            Kernel::Utf8 => 1,
            _ => 8 * self.count as u64,
        };
        let (last, arrays) = self.addresses.split_last().unwrap_or((&0, &[]));
        let arrays = arrays.iter().map(|&array| array..array.saturating_add(bytes));
        arrays.chain(std::iter::once(*last..last.saturating_add(1))).collect()
    }

    pub fn run(self, device: &mut Device) -> Result<(), i32> {
        let (memory, count) = (&mut device.memory, self.count);
        let done = match (self.kernel, &self.addresses[..]) {
            (Kernel::Gather, &[sources, sizes, offsets, target]) => {
                gather(memory, [sources, sizes, offsets], target, count)
            }
            (Kernel::Copy, &[sources, sizes, targets]) => {
                copy(memory, [sources, sizes, targets], count)
            }
            (Kernel::Crc32c, &[chunks, sizes, crcs]) => {
                crc32c(memory, [chunks, sizes], crcs, count)
            }
            (Kernel::Utf8, &[values, offsets, bad]) => utf8(memory, values, offsets, bad, count),
            _ => Err("a parameter is missing".into()),
        };
        done.or_else(|what| device.log.refuse(ILLEGAL_ADDRESS, what))
    }
}

type Done = Result<(), String>;

fn arrays<const N: usize>(
    memory: &mut Memory,
    addresses: [u64; N],
    count: usize,
) -> Result<[Vec<u64>; N], String> {
    let mut found = [const { Vec::new() }; N];
    for (array, address) in found.iter_mut().zip(addresses) {
        let missing = || format!("array {address:#x} is not in device memory, or misaligned");
        *array = memory.numbers(address, count).ok_or_else(missing)?;
    }
    Ok(found)
}

/// Copies within device memory.
fn copy_bytes(memory: &mut Memory, from: u64, to: u64, len: usize) -> Done {
    let outside = || format!("{len} bytes from {from:#x} to {to:#x}: not in device memory");
    let bytes = memory.access(from, len).ok_or_else(outside)?.to_vec();
    memory.access(to, len).ok_or_else(outside)?.copy_from_slice(&bytes);
    Ok(())
}

fn gather(memory: &mut Memory, addresses: [u64; 3], target: u64, count: usize) -> Done {
    let [sources, sizes, offsets] = arrays(memory, addresses, count)?;
    let mut targets = Vec::new();
    for ((&from, size), offset) in sources.iter().zip(sizes).zip(offsets) {
        if [from, target, offset].iter().any(|number| !number.is_multiple_of(WORD)) {
            return Err(format!("the chunk at {from:#x} is misaligned"));
        }
        let to = target.saturating_add(offset);
        let len = size.div_ceil(WORD).saturating_mul(WORD);
        copy_bytes(memory, from, to, len as usize)?;
        targets.push(to..to.saturating_add(len));
    }
    if overlap(targets) { Err("chunks overlap at the target".into()) } else { Ok(()) }
}

fn copy(memory: &mut Memory, addresses: [u64; 3], count: usize) -> Done {
    let [sources, sizes, targets] = arrays(memory, addresses, count)?;
    let mut written = Vec::new();
    for ((from, size), to) in sources.into_iter().zip(sizes).zip(targets) {
        if from != to {
            copy_bytes(memory, from, to, size as usize)?;
            written.push(to..to.saturating_add(size));
        }
    }
    if overlap(written) { Err("chunks overlap at the target".into()) } else { Ok(()) }
}

fn crc32c(memory: &mut Memory, addresses: [u64; 2], crcs: u64, count: usize) -> Done {
    let [chunks, sizes] = arrays(memory, addresses, count)?;
    let mut found = Vec::new();
    for (chunk, size) in chunks.into_iter().zip(sizes) {
        let bytes = memory.access(chunk, size as usize);
        let bytes = bytes.ok_or_else(|| format!("chunk {chunk:#x} is not in device memory"))?;
        found.extend_from_slice(&crc_fast::crc32_iscsi(bytes).to_le_bytes());
    }
    let target = memory.access(crcs, found.len()).filter(|_| crcs.is_multiple_of(4));
    target.ok_or("the crcs are not in device memory, or misaligned")?.copy_from_slice(&found);
    Ok(())
}

fn utf8(memory: &mut Memory, values: u64, offsets: u64, bad: u64, rows: usize) -> Done {
    let [offsets] = arrays(memory, [offsets], rows + 1)?;
    if offsets[0] != 0 || !offsets.is_sorted() {
        return Err("offsets do not begin at 0, or descend".into());
    }
    for (row, ends) in offsets.windows(2).enumerate() {
        let row_bytes = memory.access(values + ends[0], (ends[1] - ends[0]) as usize);
        let row_bytes = row_bytes.ok_or_else(|| format!("row {row} is not in device memory"))?;
        let is_bad = std::str::from_utf8(row_bytes).is_err();
        let mark =
            memory.access(bad + row as u64, 1).ok_or("the marks are not in device memory")?;
        if is_bad {
            mark[0] = 1;
        }
    }
    Ok(())
}
