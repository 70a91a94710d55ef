//! What compression makes of a value: a payload or a frame.

use std::mem::MaybeUninit;

use super::AnyKernel;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::Manifest;
use crate::wire::codec_id::CodecId;
use crate::wire::frame::{FRAME_HEADER_BYTES, Header};

/// How a compressed value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only the payload; its manifest is kept elsewhere.
    Payload,
    /// A frame: a header with the manifest, then the payload.
    Frame,
}

impl Form {
    /// The most bytes that a value of `len` bytes takes.
    pub(crate) fn bound(self, kernel: &mut impl Kernel, len: usize) -> Result<usize> {
        let payload = kernel
            .compress_bound(len)
            .map_err(|fault| fault.into_error(kernel.name(), len as u64))?;
        payload.checked_add(self.header_len()).ok_or(Error::OutOfMemory { bytes: u64::MAX })
    }

    /// Bytes before the payload.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::Payload => 0,
            Self::Frame => FRAME_HEADER_BYTES,
        }
    }

    /// Compresses `value` to the front of `dst`, as long as [`bound`](Self::bound) said; returns
    /// its manifest and that front.
    pub(crate) fn write<'dst>(
        self,
        id: CodecId,
        kernel: &mut AnyKernel,
        value: &[u8],
        dst: &'dst mut [MaybeUninit<u8>],
    ) -> Result<(Manifest, &'dst [u8])> {
        self.write_with(id, dst, |payload| {
            let compressed = kernel
                .compress(value, payload)
                .map_err(|fault| fault.into_error(kernel.name(), value.len() as u64))?;
            Ok((Manifest::seal(value), compressed))
        })
    }

    /// The same of a payload that `fill` writes: it returns the manifest and the payload's length.
    pub(crate) fn write_with(
        self,
        id: CodecId,
        dst: &mut [MaybeUninit<u8>],
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<(Manifest, usize)>,
    ) -> Result<(Manifest, &[u8])> {
        let start = self.header_len();
        let (header, payload) = dst.split_at_mut(start);
        let (manifest, compressed) = fill(payload)?;
        if self == Self::Frame {
            let fields = Header { codec: id, manifest, compressed_size: compressed as u64 };
            header.write_copy_of_slice(&fields.to_bytes());
        }
        // SAFETY: the header, if any, was written to the front, and `compressed` bytes after it
        // were initialised.
        Ok((manifest, unsafe { dst[..start + compressed].assume_init_ref() }))
    }
}
