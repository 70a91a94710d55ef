//! The limit of what a whole call decodes to, kept over its windows.

use std::sync::atomic::{AtomicU64, Ordering};

use super::PayloadRows;
use super::window::Form;
use crate::column::DecompressOptions;
use crate::error::Error;

/// What all windows may decode to together.
pub struct TotalSize {
    /// `None` where only input of bare payloads is limited, by what it is long.
    stated: Option<u64>,
    /// Whether rows may come without a size.
    may_be_bare: bool,
    input: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// Bare payloads may decode to so many times their length, and to [`BARE_BYTES`] in any case.
const BARE_EXPANSION: u64 = 64;
const BARE_BYTES: u64 = 4 << 30;

impl TotalSize {
    pub fn new(how: &DecompressOptions, form: Form) -> Self {
        let zero = || AtomicU64::new(0);
        let (stated, may_be_bare) = (how.max_total_size, form == Form::Compressed);
        Self { stated, may_be_bare, input: zero(), rows: zero(), bytes: zero() }
    }

    /// Options for the next window, which may decode to what is left.
    pub fn limited(&self, how: &DecompressOptions, chunks: &[PayloadRows]) -> DecompressOptions {
        let input: usize = chunks.iter().map(PayloadRows::bytes).sum();
        self.input.fetch_add(input as u64, Ordering::Relaxed);
        let is_bare = self.may_be_bare && chunks.iter().any(PayloadRows::is_bare);
        let max_total_size = self.limit(is_bare).map(|limit| limit.saturating_sub(self.bytes()));
        DecompressOptions { max_total_size, ..how.clone() }
    }

    fn limit(&self, is_bare: bool) -> Option<u64> {
        let bare =
            || BARE_BYTES.max(self.input.load(Ordering::Relaxed).saturating_mul(BARE_EXPANSION));
        self.stated.or_else(|| is_bare.then(bare))
    }

    pub fn add(&self, bytes: usize, rows: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Bytes that the windows so far decoded to.
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A window's error, told of all windows.
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
