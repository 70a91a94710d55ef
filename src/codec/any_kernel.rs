//! One kernel type for all codecs, so that a codec can return its kernel.

use std::mem::MaybeUninit;

use crate::gpu::{GpuKernel, PrefetchedKernel};
use crate::kernel::fcg1::CpuContainer;
use crate::kernel::gzip::Gzip;
use crate::kernel::passthrough::Passthrough;
use crate::kernel::zstd::Zstd;
use crate::kernel::{DecodedLens, Fault, Kernel};

/// The kernel of any codec.
pub(crate) enum AnyKernel<'k> {
    Passthrough(Passthrough),
    Zstd(Zstd<'k>),
    Gzip(Gzip<'k>),
    /// A container coded on the CPU.
    Container(CpuContainer<'k>),
    /// A container coded on a GPU, when the kernel is called.
    Gpu(GpuKernel<'k>),
    /// A container that a GPU has coded already.
    Prefetched(PrefetchedKernel<'k>),
}

/// Calls a method of the kernel that it is.
macro_rules! dispatch {
    ($self:ident, $kernel:ident => $call:expr) => {
        match $self {
            AnyKernel::Passthrough($kernel) => $call,
            AnyKernel::Zstd($kernel) => $call,
            AnyKernel::Gzip($kernel) => $call,
            AnyKernel::Container($kernel) => $call,
            AnyKernel::Gpu($kernel) => $call,
            AnyKernel::Prefetched($kernel) => $call,
        }
    };
}

impl Kernel for AnyKernel<'_> {
    fn name(&self) -> &'static str {
        dispatch!(self, kernel => kernel.name())
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        dispatch!(self, kernel => kernel.compress_bound(len))
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        dispatch!(self, kernel => kernel.compress(src, dst))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        dispatch!(self, kernel => kernel.decoded_bound(payload))
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        dispatch!(self, kernel => kernel.stated_len(payload))
    }

    fn decoded_lens(&mut self, payload: &[u8]) -> Result<DecodedLens, Fault> {
        dispatch!(self, kernel => kernel.decoded_lens(payload))
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        dispatch!(self, kernel => kernel.decompress(payload, dst))
    }
}
