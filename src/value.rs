//! One value: compressed or encoded to a frame, and back.

use std::mem::MaybeUninit;

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use crate::wire::frame;

impl Codec {
    /// Compresses `data` into `payload`, whose content is replaced and whose memory is
    /// reused.
    pub fn compress(&self, data: &[u8], payload: &mut Vec<u8>) -> Result<Manifest> {
        let size = data.len() as u64;
        if size > MAX_ORIGINAL_SIZE {
            return Err(Error::ValueTooLong { size, limit: MAX_ORIGINAL_SIZE });
        }
        payload.clear();
        self.with_kernel(|kernel| {
            let bound =
                kernel.compress_bound(data.len()).map_err(|fault| self.error(fault, size))?;
            payload
                .try_reserve_exact(bound)
                .map_err(|_| Error::OutOfMemory { bytes: bound as u64 })?;
            let written = kernel
                .compress(data, payload.spare_capacity_mut())
                .map_err(|fault| self.error(fault, size))?;
            // SAFETY: the kernel initialised the first `written` bytes of the spare capacity,
            // which is all of it: the vector was cleared.
            unsafe { payload.set_len(written) };
            Ok(Manifest::seal(data))
        })
    }

    /// Compresses `data` to a frame in `frame`, whose content is replaced and whose memory is
    /// reused.
    pub fn encode(&self, data: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        let size = data.len() as u64;
        if size > MAX_ORIGINAL_SIZE {
            return Err(Error::ValueTooLong { size, limit: MAX_ORIGINAL_SIZE });
        }
        frame.clear();
        self.with_kernel(|kernel| {
            let bound = frame::bound(self, kernel, data)?;
            frame
                .try_reserve_exact(bound)
                .map_err(|_| Error::OutOfMemory { bytes: bound as u64 })?;
            let (_, written) = frame::write(self, kernel, data, frame.spare_capacity_mut())?;
            let len = written.len();
            // SAFETY: `write` returned the first `len` bytes of the spare capacity, initialised.
            unsafe { frame.set_len(len) };
            Ok(())
        })
    }

    /// The room that `payload` needs, after [`Manifest::admit`].
    pub fn admit(&self, payload: &[u8], manifest: &Manifest, limit: u64) -> Result<usize> {
        self.with_kernel(|kernel| manifest.admit(self, kernel, payload, limit))
    }

    /// As [`admit`](Self::admit), where claims up to `free` are granted unseen.
    pub(crate) fn admit_within(
        &self,
        payload: &[u8],
        manifest: &Manifest,
        limit: u64,
        free: u64,
    ) -> Result<usize> {
        self.with_kernel(|kernel| manifest.admit_within(self, kernel, payload, limit, free))
    }

    /// Decodes and confirms `payload` in `room`, which `admit` sized.
    pub fn decode<'room>(
        &self,
        payload: &[u8],
        manifest: &Manifest,
        room: &'room mut [MaybeUninit<u8>],
    ) -> Result<&'room [u8]> {
        self.with_kernel(|kernel| manifest.decode(self, kernel, payload, room))
    }

    /// Decodes one value of at most `limit` bytes.
    pub fn decompress(&self, payload: &[u8], manifest: &Manifest, limit: u64) -> Result<Vec<u8>> {
        let room = self.admit(payload, manifest, limit)?;
        let mut out = Vec::new();
        out.try_reserve_exact(room).map_err(|_| Error::OutOfMemory { bytes: room as u64 })?;
        let len = self.decode(payload, manifest, &mut out.spare_capacity_mut()[..room])?.len();
        // SAFETY: `decode` returned the first `len` bytes of the spare capacity, initialised.
        unsafe { out.set_len(len) };
        Ok(out)
    }
}
