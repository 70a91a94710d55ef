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
    pub(crate) fn bound(self, kernel: &mut AnyKernel, len: usize) -> Result<usize> {
        let payload = kernel
            .compress_bound(len)
            .map_err(|fault| fault.into_error(kernel.name(), len as u64))?;
        match self {
            Self::Payload => Ok(payload),
            Self::Frame => payload
                .checked_add(FRAME_HEADER_BYTES)
                .ok_or(Error::OutOfMemory { bytes: u64::MAX }),
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
        let start = match self {
            Self::Payload => 0,
            Self::Frame => FRAME_HEADER_BYTES,
        };
        let (header, payload) = dst.split_at_mut(start);
        let compressed = kernel
            .compress(value, payload)
            .map_err(|fault| fault.into_error(kernel.name(), value.len() as u64))?;
        let manifest = Manifest::seal(value);
        if self == Self::Frame {
            let fields = Header { codec: id, manifest, compressed_size: compressed as u64 };
            header.write_copy_of_slice(&fields.to_bytes());
        }
        // SAFETY: the header, if any, was written to the front, and the kernel initialised
        // `compressed` bytes after it.
        Ok((manifest, unsafe { dst[..start + compressed].assume_init_ref() }))
    }
}
