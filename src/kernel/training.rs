//! Training a zstd dictionary on samples, of which as many are kept as libzstd takes.

use zstd::zstd_safe;
use zstd::zstd_safe::zstd_sys::{ZSTD_ErrorCode, ZSTD_getErrorCode};

use crate::error::{Error, Result, extend, push, reserve};

const MEMORY: ZSTD_ErrorCode = ZSTD_ErrorCode::ZSTD_error_memory_allocation;

/// The shortest dictionary that libzstd trains.
const MIN_SIZE: usize = 256;

/// It reads samples in steps of this many bytes.
const FEWEST_BYTES: usize = 8;

/// And trains on five, which three quarters of the samples have to be.
const FEWEST: usize = 7;

/// It takes fewer bytes of samples than this: `FASTCOVER_MAX_SAMPLES_SIZE` in fastcover.c.
const TOO_MANY_BYTES: usize = if usize::BITS == 64 { u32::MAX as usize } else { 1 << 30 };

/// One sample takes at most one part in this many of all that is kept, so that a few always fit.
const SAMPLE_SHARE: usize = 16;

/// One in this many samples is held out to measure with.
const HELD_OUT: u64 = 5;

/// The most bytes that are kept to measure with.
const HELD_OUT_BYTES: usize = 64 << 20;

/// Samples to train a dictionary on, of which as many are kept as libzstd takes.
pub struct Training {
    /// All samples that are kept, back to back.
    bytes: Vec<u8>,
    lens: Vec<usize>,
    /// Most bytes to keep.
    max_bytes: usize,
    /// Every sample whose number is a multiple of this is kept.
    stride: usize,
    seen: usize,
}

impl Default for Training {
    fn default() -> Self {
        Self::with_limit(TOO_MANY_BYTES - 1)
    }
}

impl Training {
    /// Keeps at most `max_bytes`, and no more than libzstd takes.
    pub fn with_limit(max_bytes: usize) -> Self {
        let max_bytes = max_bytes.min(TOO_MANY_BYTES - 1);
        Self { bytes: Vec::new(), lens: Vec::new(), max_bytes, stride: 1, seen: 0 }
    }

    /// Adds a sample; an empty one is skipped. When the limit is reached, every other sample is
    /// dropped, so that those kept stay spread evenly.
    pub fn add(&mut self, sample: &[u8]) -> Result<()> {
        if sample.is_empty() {
            return Ok(());
        }
        let sample = &sample[..sample.len().min(self.max_bytes / SAMPLE_SHARE)];
        let position = self.seen;
        self.seen += 1;
        while position.is_multiple_of(self.stride) {
            if self.bytes.len() + sample.len() > self.max_bytes {
                self.thin();
                continue;
            }
            extend(&mut self.bytes, sample)?;
            push(&mut self.lens, sample.len())?;
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
        let mut position = 0;
        self.lens.retain(|_| {
            position += 1;
            position % 2 == 1
        });
        self.stride *= 2;
    }

    /// The number of samples kept, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        (self.lens.len(), self.bytes.len())
    }

    /// The samples kept.
    pub fn samples(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lens.iter().map(move |&len| rest.split_off(..len).unwrap_or_default())
    }

    /// A dictionary of at most `size` bytes, with libzstd's own settings.
    pub fn train(&self, size: usize) -> Result<Vec<u8>> {
        if size < MIN_SIZE {
            return Err(Error::Argument(format!(
                "size must be at least {MIN_SIZE} bytes, got {size}"
            )));
        }
        if self.lens.len() < FEWEST {
            return Err(Error::Backend(format!(
                "expected at least {FEWEST} samples that are not empty, got {}; give more samples: \
                 a few thousand of the values that the dictionary is for",
                self.lens.len()
            )));
        }
        // libzstd trains on the first three quarters, and computes with less than that wrongly.
        let first: usize = self.lens[..self.lens.len() * 3 / 4].iter().sum();
        if first < FEWEST_BYTES {
            return Err(self.too_little(size, "too little to train on"));
        }
        let mut dictionary: Vec<u8> = Vec::new();
        reserve(&mut dictionary, size)?;
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

/// Samples to train on, and others to measure with: of every five in a row, the seed picks one.
pub struct SplitSamples {
    /// Those to train on.
    pub training: Training,
    /// Those held out, of which a part is kept.
    pub held_out: Training,
    seed: u64,
    seen: u64,
}

impl SplitSamples {
    /// No samples yet. Equal seeds split equal samples alike.
    pub fn new(seed: u64) -> Self {
        let held_out = Training::with_limit(HELD_OUT_BYTES);
        Self { training: Training::default(), held_out, seed, seen: 0 }
    }

    /// Adds a sample to one part; an empty one is skipped.
    pub fn add(&mut self, sample: &[u8]) -> Result<()> {
        if sample.is_empty() {
            return Ok(());
        }
        let (group, place) = (self.seen / HELD_OUT, self.seen % HELD_OUT);
        self.seen += 1;
        let picked = mix(self.seed ^ mix(group)) % HELD_OUT;
        if place == picked { self.held_out.add(sample) } else { self.training.add(sample) }
    }

    /// A dictionary of at most `size` bytes, trained on the samples that are not held out.
    pub fn train(&self, size: usize) -> Result<Vec<u8>> {
        // So many leave enough to train on, whatever the seed.
        const LEAST: u64 = 9;
        if self.seen < LEAST {
            return Err(Error::Backend(format!(
                "expected at least {LEAST} samples that are not empty, of which one in {HELD_OUT} \
                 is held out to measure with, got {}; give more samples: a few thousand of the \
                 values that the dictionary is for",
                self.seen
            )));
        }
        self.training.train(size)
    }
}

/// The output function of SplitMix64.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
