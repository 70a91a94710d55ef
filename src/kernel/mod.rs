//! Kernels: slices in, slices out.
//!
//! A kernel fills a buffer that the caller sized. It allocates no output, computes no crc32c, and
//! knows nothing of manifests, columns or Python. It holds its settings (a level, a dictionary)
//! for one call; what is reused between calls is scratch state, kept per thread. The kernels here
//! run on the calling thread; `gpu` has the kernels of GPUs.
//!
//! What a kernel reads may change during the call: it may be a Python buffer, or an Arrow array
//! over one. Then the result is wrong, or an error; but no read or write goes beyond the slices,
//! and nothing panics. So no kernel relies on reading the same bytes twice, and a library that
//! does gets a copy.
//!
//! A new codec is a module here, a variant of [`Codec`](crate::codec::Codec) and of its
//! `AnyKernel`, and a row in the table of codec ids.

pub mod dictionary;
pub mod dictionary_set;
pub mod fcg1;
pub mod format;
pub mod gdeflate;
pub mod gzip;
pub mod passthrough;
pub mod training;
pub mod zstd;

use std::cell::Cell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};

use crate::error::{Error, OutOfMemory};

/// Why a kernel could not do its work.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The payload holds more than the destination takes.
    TooLong,
    /// The payload is not what the codec's format allows; the text says where it departs.
    Corrupt(String),
    /// The payload was made with a dictionary that is missing or another; the text says which.
    Dictionary {
        /// Which dictionary the payload needs, and which was given.
        reason: String,
        /// Whether none was given.
        is_missing: bool,
    },
    /// A container of chunks is damaged; the text says how.
    Container(String),
    /// The payload was made by the codec of this name.
    OtherCodec(&'static str),
    /// The payload holds another number of bytes than the destination takes.
    Length {
        /// Bytes that it holds.
        decoded: u64,
    },
    /// Scratch memory could not be had.
    OutOfMemory {
        /// Bytes asked for; 0 where the library does not say.
        bytes: u64,
    },
    /// The library refused for a reason that is not the data's.
    Library(String),
    /// What would do the work is missing or failed, whatever the data.
    Unavailable(String),
    /// Something else, which has its error already.
    Other(Box<Error>),
}

impl Fault {
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt(reason.into())
    }

    /// The typed error, for a payload of `codec` whose manifest or limit says `original_size`.
    pub fn into_error(self, codec: &'static str, original_size: u64) -> Error {
        match self {
            Self::TooLong => Error::DecodesTooLong { codec, original_size },
            Self::Corrupt(reason) => Error::Decode { codec, reason },
            Self::Dictionary { reason, is_missing } => {
                Error::Dictionary { codec, reason, is_missing }
            }
            Self::Container(reason) => {
                Error::Backend(format!("{codec} container is damaged: {reason}"))
            }
            Self::OtherCodec(actual) => Error::CodecMismatch { expected: codec, actual },
            Self::Length { decoded } => {
                Error::SizeMismatch { expected: original_size, actual: decoded }
            }
            Self::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            Self::Library(reason) => Error::Backend(format!("{codec}: {reason}")),
            Self::Other(error) => *error,
            Self::Unavailable(reason) => Error::Unavailable(format!("{codec}: {reason}")),
        }
    }
}

impl From<OutOfMemory> for Fault {
    fn from(OutOfMemory { bytes }: OutOfMemory) -> Self {
        Self::OutOfMemory { bytes }
    }
}

/// How long a payload decodes to be, as far as it says so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedLens {
    /// The most bytes that it can decode to; see [`Kernel::decoded_bound`].
    pub most: u64,
    /// The length that it states, at most `most`. It is a claim, which may be wrong either way.
    pub stated: Option<u64>,
}

/// One codec with its settings, bound to this thread's scratch state.
pub trait Kernel {
    /// The codec's name in the S4 wire format.
    fn name(&self) -> &'static str;

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

    /// The lengths to try for a payload whose original size is not known.
    fn decoded_lens(&mut self, payload: &[u8]) -> Result<DecodedLens, Fault> {
        let most = self.decoded_bound(payload)?;
        Ok(DecodedLens { most, stated: Some(most) })
    }

    /// Decodes the whole payload to the front of `dst` and returns the decoded length.
    /// Exactly that many bytes are then initialised. [`Fault::TooLong`] where `dst`
    /// is too short; bytes left over after the payload's end are [`Fault::Corrupt`].
    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault>;
}

/// State that kernels reuse, one set per thread.
#[derive(Default)]
pub struct Scratch {
    pub(crate) zstd: zstd::Contexts,
    pub(crate) gzip: gzip::Contexts,
    /// Made at first use, because it is large.
    pub(crate) gdeflate: Option<Box<gdeflate::Decoder>>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// This thread's scratch state until the result drops; taken again meanwhile, a fresh one.
    pub fn of_thread() -> ThreadScratch {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        ThreadScratch(ManuallyDrop::new(kept.unwrap_or_default()))
    }
}

/// Scratch state that goes back to its thread when it drops.
pub struct ThreadScratch(ManuallyDrop<Box<Scratch>>);

impl Deref for ThreadScratch {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.0
    }
}

impl DerefMut for ThreadScratch {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.0
    }
}

impl Drop for ThreadScratch {
    fn drop(&mut self) {
        // SAFETY: taken once, as this drops.
        let scratch = unsafe { ManuallyDrop::take(&mut self.0) };
        // A thread that is ending has no place for it any more.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }
}

/// Copies `src` to the front of `dst`; the caller has checked that it fits.
pub(crate) fn copy_to(src: &[u8], dst: &mut [MaybeUninit<u8>]) -> usize {
    dst[..src.len()].write_copy_of_slice(src);
    src.len()
}
