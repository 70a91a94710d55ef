//! zstd dictionaries, prepared once per process for each direction and level.
//!
//! A dictionary is stock: trained (RFC 8878, section 5: magic, id, entropy tables, content)
//! or any other bytes as raw content.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use zstd_safe::zstd_sys::{ZSTD_ErrorCode, ZSTD_getErrorCode};
use zstd_safe::{CDict, DDict};

use crate::error::{Error, Result};
use crate::process::PerProcess;

/// Prepared dictionaries that are kept though nobody holds them, the least used ones not.
const KEPT: usize = 16;

/// What trained dictionaries begin with.
const MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// zstd's highest level.
const MAX_LEVEL: usize = 22;

static PREPARED: PerProcess<Mutex<Vec<Arc<Dictionary>>>> = PerProcess::new();

/// A dictionary and what libzstd makes of it; equal by its bytes.
pub struct Dictionary {
    bytes: Vec<u8>,
    digest: [u8; 32],
    decompress: DDict<'static>,
    /// By level, from 1 on.
    compress: [OnceLock<CDict<'static>>; MAX_LEVEL],
}

impl Dictionary {
    /// The process's one copy of the dictionary with these bytes.
    pub fn try_new(bytes: &[u8]) -> Result<Arc<Self>> {
        if bytes.is_empty() {
            return Err(Error::Backend("the dictionary is empty".into()));
        }
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let prepared = PREPARED.get();
        let find = |kept: &mut Vec<Arc<Self>>| {
            let found = kept.remove(kept.iter().position(|each| each.digest == digest)?);
            kept.push(Arc::clone(&found));
            Some(found)
        };
        if let Some(found) = find(&mut lock(prepared)) {
            return Ok(found);
        }
        // Prepared outside of the lock: it takes a while.
        let decompress =
            DDict::try_create(bytes).ok_or_else(|| match bytes.starts_with(&MAGIC) {
                true => Error::Backend(
                    "the dictionary is damaged: it has the header of a trained one, but is not valid".into(),
                ),
                false => Error::OutOfMemory { bytes: bytes.len() as u64 },
            })?;
        let compress = [const { OnceLock::new() }; MAX_LEVEL];
        let fresh = Arc::new(Self { bytes: bytes.to_vec(), digest, decompress, compress });
        let mut kept = lock(prepared);
        let dictionary = find(&mut kept).unwrap_or_else(|| {
            kept.push(Arc::clone(&fresh));
            fresh
        });
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(dictionary)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of the dictionary's object in S4: the first 16 hex digits of its SHA-256.
    pub fn id(&self) -> String {
        id(&self.digest)
    }

    /// The id that zstd frames refer to it by, if it is a trained one.
    pub(super) fn zstd_id(&self) -> Option<u32> {
        self.decompress.get_dict_id().map(std::num::NonZero::get)
    }

    pub(super) fn for_decompression(&self) -> &DDict<'static> {
        &self.decompress
    }

    /// `None` where memory ran out.
    pub(super) fn for_compression(&self, level: i32) -> Option<&CDict<'static>> {
        let slot = self.compress.get(usize::try_from(level).ok()?.checked_sub(1)?)?;
        if slot.get().is_none() {
            let fresh = CDict::try_create(&self.bytes, level)?;
            // Another thread may have been faster; both made the same.
            let _ = slot.set(fresh);
        }
        slot.get()
    }
}

/// The S4 id of a dictionary with these bytes.
pub fn dictionary_id(bytes: &[u8]) -> String {
    id(&Sha256::digest(bytes))
}

fn id(digest: &[u8]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Dictionary {}

impl Hash for Dictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Dictionary({})", self.id())
    }
}

const MEMORY: ZSTD_ErrorCode = ZSTD_ErrorCode::ZSTD_error_memory_allocation;

/// The shortest dictionary that libzstd trains.
const SMALLEST: usize = 256;

/// It reads samples by so many bytes.
const FEWEST_BYTES: usize = 8;

/// And trains on five, which three quarters of the samples have to be.
const FEWEST: usize = 7;

/// It takes fewer bytes of samples than this: `FASTCOVER_MAX_SAMPLES_SIZE` in fastcover.c.
const TOO_MANY_BYTES: usize = if usize::BITS == 64 { u32::MAX as usize } else { 1 << 30 };

/// Of one sample the front is taken, no more than this part of all, so that a few of them
/// always find room.
const SHARE: usize = 16;

/// Samples to train a dictionary on, of which as many are kept as libzstd takes.
pub struct Training {
    /// All samples that are kept, back to back.
    bytes: Vec<u8>,
    lens: Vec<usize>,
    /// Bytes to keep at most.
    most: usize,
    /// Every so manieth sample is kept.
    stride: usize,
    seen: usize,
}

impl Default for Training {
    fn default() -> Self {
        Self::with_limit(TOO_MANY_BYTES - 1)
    }
}

impl Training {
    /// Keeps at most so many bytes, which libzstd takes.
    pub fn with_limit(most: usize) -> Self {
        let most = most.min(TOO_MANY_BYTES - 1);
        Self { bytes: Vec::new(), lens: Vec::new(), most, stride: 1, seen: 0 }
    }

    /// Adds a sample; an empty one says nothing and is passed over. Where there would be too
    /// much, every other sample is kept from the first on, so that they stay spread evenly.
    pub fn add(&mut self, sample: &[u8]) -> Result<()> {
        if sample.is_empty() {
            return Ok(());
        }
        let sample = &sample[..sample.len().min(self.most / SHARE)];
        let position = self.seen;
        self.seen += 1;
        while position.is_multiple_of(self.stride) {
            if self.bytes.len() + sample.len() > self.most {
                self.thin();
                continue;
            }
            self.bytes
                .try_reserve(sample.len())
                .map_err(|_| Error::OutOfMemory { bytes: sample.len() as u64 })?;
            self.bytes.extend_from_slice(sample);
            self.lens.push(sample.len());
            break;
        }
        Ok(())
    }

    /// Keeps the first of every two samples.
    fn thin(&mut self) {
        let (mut from, mut to) = (0, 0);
        for pair in self.lens.chunks(2) {
            self.bytes.copy_within(from..from + pair[0], to);
            from += pair.iter().sum::<usize>();
            to += pair[0];
        }
        self.bytes.truncate(to);
        self.lens = self.lens.iter().copied().step_by(2).collect();
        self.stride *= 2;
    }

    /// The number of samples that are kept, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        (self.lens.len(), self.bytes.len())
    }

    /// A dictionary of at most `size` bytes, with libzstd's own settings.
    pub fn train(&self, size: usize) -> Result<Vec<u8>> {
        if size < SMALLEST {
            return Err(Error::Argument(format!(
                "size must be {SMALLEST} bytes or more, got {size}"
            )));
        }
        if self.lens.len() < FEWEST {
            return Err(Error::Backend(format!(
                "training takes at least {FEWEST} samples that are not empty, these are {}; \
                 give more samples, some thousands of the values that the dictionary is for",
                self.lens.len()
            )));
        }
        // libzstd trains on the first three quarters, and computes with less than that wrongly.
        let first: usize = self.lens[..self.lens.len() * 3 / 4].iter().sum();
        if first < FEWEST_BYTES {
            return Err(self.too_little(size, "too little to train on"));
        }
        let mut dictionary: Vec<u8> = Vec::new();
        dictionary
            .try_reserve_exact(size)
            .map_err(|_| Error::OutOfMemory { bytes: size as u64 })?;
        match zstd_safe::train_from_buffer(&mut dictionary, &self.bytes, &self.lens) {
            Ok(_) => Ok(dictionary),
            // SAFETY: tells a code's meaning.
            Err(code) if unsafe { ZSTD_getErrorCode(code) } == MEMORY => {
                Err(Error::OutOfMemory { bytes: 0 })
            }
            Err(code) => Err(self.too_little(size, zstd_safe::get_error_name(code))),
        }
    }

    fn too_little(&self, size: usize, reason: &str) -> Error {
        Error::Backend(format!(
            "no dictionary of {size} bytes can be trained on {} samples of {} bytes in all \
             ({reason}); give more samples, or a smaller size",
            self.lens.len(),
            self.bytes.len(),
        ))
    }
}
