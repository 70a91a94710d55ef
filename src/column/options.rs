//! The options of decompression, and its result.

use super::bad_rows::{BadRows, OnError};
use super::content::Content;
use crate::codec::Codec;
use crate::error::Error;
use crate::gpu::Device;
use crate::kernel::Fault;
use crate::manifest::{MAX_BARE_SIZE, MAX_ORIGINAL_SIZE};

/// How a column is decompressed.
#[derive(Clone, Debug)]
pub struct DecompressOptions {
    /// The codec of payloads. Frames name their own; they take a dictionary from here.
    pub codec: Codec,
    /// Where frames of GPU codecs are decoded; payloads are decoded where their codec says.
    pub device: Device,
    /// Largest decoded row; `None` is 5 GiB with a manifest and 1 GiB without.
    pub max_size: Option<u64>,
    /// What values must be.
    pub content: Content,
    /// What a bad row does.
    pub on_error: OnError,
    /// Most bytes that all rows together may decode to.
    pub max_total_size: Option<u64>,
}

impl DecompressOptions {
    /// Any bytes, frames on the CPU, and an error at the first bad row.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            device: Device::Cpu,
            max_size: None,
            content: Content::Bytes,
            on_error: OnError::Raise,
            max_total_size: None,
        }
    }

    /// The largest size that a manifest may state.
    pub(super) fn limit(&self) -> u64 {
        self.max_size.unwrap_or(MAX_ORIGINAL_SIZE)
    }

    /// The largest size that a bare payload may decode to.
    pub(super) fn bare_limit(&self) -> u64 {
        self.max_size.unwrap_or(MAX_BARE_SIZE)
    }

    /// The error of a bare payload, which has no `original_size` to name.
    pub(super) fn bare_error(&self, fault: Fault, limit: u64) -> Error {
        match fault {
            Fault::TooLong => Error::OutputExceedsLimit { limit },
            Fault::Length { decoded } if decoded > limit => Error::OutputExceedsLimit { limit },
            other => other.into_error(self.codec.name(), limit),
        }
    }
}

/// A decompressed column.
pub struct Decompressed<V> {
    /// The values.
    pub values: V,
    /// Rows that are null because they were bad.
    pub bad_rows: BadRows,
}
