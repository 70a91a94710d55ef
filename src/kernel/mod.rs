//! CPU kernels: slices in, slices out.
//!
//! The contract of a kernel: it fills a buffer that the caller sized, allocates no
//! output, computes no crc32c, starts no thread, and knows nothing of manifests,
//! columns or Python. Settings (a level, a dictionary) come with every call through
//! the codec; what is reused between calls is scratch state, kept per thread and
//! never holding a setting.
//!
//! What a kernel reads may change meanwhile: a buffer of Python's, or an Arrow array over
//! one. Then the result is wrong, or an error; but no read or write goes beyond the slices,
//! and nothing panics. So nothing that was read once is relied upon to be read again, and a
//! library that does rely on it gets a copy.
//!
//! A new codec is a module here, a variant of [`Codec`](crate::codec::Codec) and its
//! arm in `Codec::with_cpu_kernel`.

pub mod dictionary;
pub mod fcg1;
pub mod format;
pub mod gdeflate;
pub mod gzip;
pub mod passthrough;
pub mod zstd;

use std::cell::RefCell;
use std::mem::MaybeUninit;

use crate::error::Error;

/// Why a kernel could not do its work.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The payload holds more than the destination takes.
    TooLong,
    /// The payload is not what the codec's format allows; the text says where it departs.
    Corrupt(String),
    /// The payload was made with a dictionary that is missing or another; the text says which.
    Dictionary { reason: String, is_missing: bool },
    /// A container of chunks is damaged; the text says how.
    Container(String),
    /// The payload was made by the codec of this name.
    OtherCodec(&'static str),
    /// The payload holds so many bytes, which is not what the destination takes.
    Length { decoded: u64 },
    /// Scratch memory could not be had.
    OutOfMemory { bytes: u64 },
    /// The library refused for a reason that is not the data's.
    Library(String),
    /// What does the work is not here, or failed: nothing that the data is to blame for.
    Unavailable(String),
    /// Something else, which has its error already.
    Other(Box<Error>),
}

impl Fault {
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt(reason.into())
    }
}

/// One codec with its settings, bound to this thread's scratch state.
pub trait Kernel {
    /// The most bytes that `compress` can write for `len` bytes of input.
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault>;

    /// Compresses all of `src` to the front of `dst`, at least `compress_bound` long,
    /// and returns the payload's length. Exactly that many bytes are then initialised.
    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault>;

    /// The most bytes that `payload` can decode to, from its structure alone: nothing
    /// is decoded, and no length that the payload merely states is believed.
    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault>;

    /// The decoded length that the format itself states and vouches for, if it does.
    fn stated_len(&mut self, _payload: &[u8]) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    /// A length to try first for a payload whose original size is not known;
    /// at most `bound`, which is what `decoded_bound` said.
    fn decoded_guess(&mut self, _payload: &[u8], bound: u64) -> u64 {
        bound
    }

    /// Decodes the whole payload to the front of `dst` and returns the decoded length.
    /// Exactly that many bytes are then initialised. [`Fault::TooLong`] where `dst`
    /// is too short; bytes left over after the payload's end are [`Fault::Corrupt`].
    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault>;

    /// Appends the decoded payload to `out`, growing it as needed, never by more than
    /// `limit` in all. For payloads that outgrew `decoded_guess`.
    fn decompress_growing(
        &mut self,
        payload: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let bound = self.decoded_bound(payload)?;
        let room = usize::try_from(bound).unwrap_or(usize::MAX).min(limit);
        out.try_reserve_exact(room).map_err(|_| Fault::OutOfMemory { bytes: room as u64 })?;
        let written = self.decompress(payload, &mut out.spare_capacity_mut()[..room])?;
        // SAFETY: `decompress` initialised the first `written` bytes of the spare capacity.
        unsafe { out.set_len(out.len() + written) };
        Ok(())
    }
}

/// State that kernels reuse, one set per thread.
#[derive(Default)]
pub struct Scratch {
    pub(crate) zstd: zstd::Contexts,
    pub(crate) gzip: gzip::Contexts,
    /// Made at first use, for it is large.
    pub(crate) gdeflate: Option<Box<gdeflate::Decoder>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends this thread's scratch state; a nested loan gets a fresh one.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}

/// Copies `src` to the front of `dst`; the caller has checked that it fits.
pub(crate) fn copy_to(src: &[u8], dst: &mut [MaybeUninit<u8>]) -> usize {
    dst[..src.len()].write_copy_of_slice(src);
    src.len()
}
