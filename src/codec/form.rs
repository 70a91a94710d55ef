//! What compression makes of a value: a payload or a frame.

use std::mem::MaybeUninit;

use super::{AnyKernel, Codec};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, copy_to};
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

/// What the frame of a value holds that its codec does not shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The value itself: the frame is that of passthrough, so that no frame is longer than its
    /// value by more than its header.
    #[default]
    Passthrough,
    /// What the codec made of it.
    Never,
}

impl Fallback {
    /// To passthrough, if `falls_back`.
    pub fn from_flag(falls_back: bool) -> Self {
        if falls_back { Self::Passthrough } else { Self::Never }
    }
}

/// Writes values as one codec's payloads or frames.
#[derive(Clone, Copy)]
pub(crate) struct ValueWriter {
    codec: CodecId,
    form: Form,
    fallback: Fallback,
}

impl ValueWriter {
    pub fn new(codec: &Codec, form: Form, fallback: Fallback) -> Self {
        Self { codec: codec.id(), form, fallback }
    }

    /// The most bytes that a value of `len` bytes takes.
    pub fn bound(self, kernel: &mut impl Kernel, len: usize) -> Result<usize> {
        let payload = kernel
            .compress_bound(len)
            .map_err(|fault| fault.into_error(kernel.name(), len as u64))?;
        payload.checked_add(self.header_len()).ok_or(Error::OutOfMemory { bytes: u64::MAX })
    }

    /// Bytes before the payload.
    pub const fn header_len(self) -> usize {
        match self.form {
            Form::Payload => 0,
            Form::Frame => FRAME_HEADER_BYTES,
        }
    }

    /// Whether a value of `len` bytes, of which the codec made `compressed`, is stored as it is.
    pub fn falls_back(self, len: usize, compressed: usize) -> bool {
        (self.form, self.fallback) == (Form::Frame, Fallback::Passthrough) && compressed >= len
    }

    /// Compresses `value` to the front of `dst`, as long as [`bound`](Self::bound) said; returns
    /// its manifest and that front.
    pub fn write<'dst>(
        self,
        kernel: &mut AnyKernel,
        value: &[u8],
        dst: &'dst mut [MaybeUninit<u8>],
    ) -> Result<(Manifest, &'dst [u8])> {
        self.write_with(dst, |payload| {
            let compressed = kernel
                .compress(value, payload)
                .map_err(|fault| fault.into_error(kernel.name(), value.len() as u64))?;
            let (codec, compressed) = if self.falls_back(value.len(), compressed) {
                // What the codec wrote there is no shorter.
                (CodecId::PASSTHROUGH, copy_to(value, payload))
            } else {
                (self.codec, compressed)
            };
            let (manifest, compressed_size) = (Manifest::seal(value), compressed as u64);
            Ok(Header { codec, manifest, compressed_size })
        })
    }

    /// The same of a payload that `write` writes, which never falls back.
    pub fn write_payload(
        self,
        dst: &mut [MaybeUninit<u8>],
        manifest: Manifest,
        write: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize>,
    ) -> Result<&[u8]> {
        let written = self.write_with(dst, |payload| {
            let compressed_size = write(payload)? as u64;
            Ok(Header { codec: self.codec, manifest, compressed_size })
        });
        written.map(|(_, written)| written)
    }

    /// The same of a value that falls back and is in its place already, which it fills.
    pub fn seal_original(self, dst: &mut [MaybeUninit<u8>], manifest: Manifest) -> Result<()> {
        let written = self.write_with(dst, |payload| {
            let compressed_size = payload.len() as u64;
            Ok(Header { codec: CodecId::PASSTHROUGH, manifest, compressed_size })
        });
        written.map(drop)
    }

    /// Has `fill` write a payload and describe it, and writes the header.
    fn write_with(
        self,
        dst: &mut [MaybeUninit<u8>],
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<Header>,
    ) -> Result<(Manifest, &[u8])> {
        let start = self.header_len();
        let (front, payload) = dst.split_at_mut(start);
        let header = fill(payload)?;
        if self.form == Form::Frame {
            front.write_copy_of_slice(&header.to_bytes());
        }
        let end = start + header.compressed_size as usize;
        // SAFETY: the header, if any, was written to the front, and `fill` initialised the
        // payload after it, as long as it said.
        Ok((header.manifest, unsafe { dst[..end].assume_init_ref() }))
    }
}
