//! The limit on the bytes that a whole call decodes to, kept over its windows.

use std::sync::atomic::{AtomicU64, Ordering};

use super::PayloadRows;
use crate::codec::Form;
use crate::column::DecompressOptions;
use crate::error::Error;

/// What all windows may decode to together.
pub struct TotalSize {
    /// The caller's limit. Without one only bare payloads are limited, by their length.
    stated: Option<u64>,
    /// Whether rows may come without a size.
    may_be_bare: bool,
    /// Payload bytes of the windows so far, with the one at work.
    input: AtomicU64,
    /// Rows and decoded bytes of the windows before.
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// Bare payloads may decode to this many times their length, and to [`BARE_BYTES`] in any case.
const BARE_EXPANSION: u64 = 64;
const BARE_BYTES: u64 = 4 << 30;

impl TotalSize {
    pub fn new(options: &DecompressOptions, form: Form) -> Self {
        let zero = || AtomicU64::new(0);
        let (stated, may_be_bare) = (options.max_total_size, form == Form::Payload);
        Self { stated, may_be_bare, input: zero(), rows: zero(), bytes: zero() }
    }

    /// Options for the next window: it may decode to what is left of the limit.
    pub fn limited(
        &self,
        options: &DecompressOptions,
        chunks: &[PayloadRows],
    ) -> DecompressOptions {
        let input: usize = chunks.iter().map(PayloadRows::bytes).sum();
        self.input.fetch_add(input as u64, Ordering::Relaxed);
        let is_bare = self.may_be_bare && chunks.iter().any(PayloadRows::is_bare);
        let max_total_size = self.limit(is_bare).map(|limit| limit.saturating_sub(self.bytes()));
        DecompressOptions { max_total_size, ..options.clone() }
    }

    fn limit(&self, is_bare: bool) -> Option<u64> {
        let bare =
            || BARE_BYTES.max(self.input.load(Ordering::Relaxed).saturating_mul(BARE_EXPANSION));
        self.stated.or_else(|| is_bare.then(bare))
    }

    /// Adds what a window's chunk decoded to.
    pub fn add(&self, bytes: usize, rows: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A window's error, with the limit and the sizes of the whole call.
    pub fn of_all_windows(&self, error: Error) -> Error {
        match error {
            Error::TotalExceedsLimit { limit, rows, bytes } => Error::TotalExceedsLimit {
                limit: limit + self.bytes(),
                rows: rows + self.rows.load(Ordering::Relaxed),
                bytes: bytes + self.bytes(),
            },
            other => other,
        }
    }
}
