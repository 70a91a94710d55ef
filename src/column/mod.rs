//! The column engine: rows in, column out, on all cores.
//!
//! ```text
//! chunks of rows -> spans of about a millisecond -> workers -> a layout's writers -> column
//! ```
//!
//! Rows are split into spans by bytes, not by count, so that a column of one huge and a million
//! tiny values keeps every core busy. Workers take spans from one queue, the largest first
//! (`largest_first`), and run each row through the codec's kernel straight into a writer of the
//! output [`Layout`]. What the layout keeps of a row goes into the span's own slice of the result,
//! so no sorting is needed. [`Views`] keep rows in blocks and a view of each; with [`Offsets`], rows
//! whose sizes are known are decoded in their final places (`layout::in_place`), and others are
//! moved together (`layout::offsets`).
//!
//! Payloads whose own checksums are recorded are checked before any is decoded
//! (`payload_crc32c`). Which error a column reports does not depend on timing: every row before
//! the first bad one has been tried. The engine knows no Arrow, Polars or Python; it sees rows
//! through [`Rows`] and [`Payloads`].

mod arena;
mod bad_rows;
mod compress;
mod content;
mod decompress;
mod estimate;
mod frame_info;
mod largest_first;
mod layout;
mod mistake;
mod offload;
mod options;
mod payload_crc32c;
mod resident;
mod row;
mod scheduler;
mod split;

pub use bad_rows::{BadRows, BecameNull, OnError};
pub use compress::{Compressed, compress, encode};
pub use content::Content;
pub use decompress::{decompress, verify};
pub use frame_info::{FrameInfos, frame_info};
#[cfg(feature = "arrow")]
pub(crate) use layout::offsets::offsets_of;
pub use layout::offsets::{Offsets, OffsetsColumn, Scattered, Unordered};
pub use layout::view::{VIEW_MAX_BYTES, View, ViewColumn, Views};
pub use layout::{Layout, RowWriter, Written};
pub(crate) use offload::run_frames;
pub use options::{DecompressOptions, Decompressed};
pub use resident::{ResidentColumn, ResidentRows, Values, compress_resident, decompress_resident};
pub use split::Splitter;

use crate::error::{Error, Result};
use crate::kernel::fcg1::DataType;
use crate::manifest::Manifest;

/// One chunk of a column of byte strings.
pub trait Rows: Sync {
    /// The number of rows.
    fn count(&self) -> usize;
    /// `None` where the row is null.
    fn get(&self, row: usize) -> Option<&[u8]>;

    /// The type of the numbers that rows consist of, if they do.
    fn number_type(&self) -> Option<DataType> {
        None
    }

    /// Whether any row must not be compressed.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Why a row must not be compressed, if so.
    fn refusal(&self, _row: usize) -> Option<Error> {
        None
    }
}

/// One chunk of a compressed column.
pub trait Payloads: Sync {
    /// The number of rows.
    fn count(&self) -> usize;
    /// One of them.
    fn get(&self, row: usize) -> Payload<'_>;

    /// Whether the chunk records checksums of the payloads themselves.
    fn has_payload_crc32c(&self) -> bool {
        false
    }

    /// The recorded CRC-32C of the payload itself in a row, if there is one. A sealed payload
    /// that has another is refused before anything is decoded.
    ///
    /// # Errors
    /// What is recorded is not a CRC-32C.
    fn payload_crc32c(&self, _row: usize) -> Result<Option<u32>> {
        Ok(None)
    }
}

/// One row of a compressed column.
pub enum Payload<'a> {
    /// No value.
    Null,
    /// A payload that no manifest came with.
    Bare(&'a [u8]),
    /// A payload and its manifest.
    Sealed(&'a [u8], Manifest),
    /// Frames, which carry their manifests and name their codecs.
    Frames(&'a [u8]),
    /// A payload that must not be decoded, and why: its manifest is unusable, or it is not the
    /// payload that was stored.
    Refused(&'a [u8], Error),
}

/// Byte slices in memory, none of them null.
impl<T: AsRef<[u8]> + Sync> Rows for &[T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        Some(self[row].as_ref())
    }
}

/// What [`compress()`] makes. A row that is zero in all three columns counts as null.
impl Payloads for Compressed<ViewColumn> {
    fn count(&self) -> usize {
        self.original_size.len()
    }

    fn get(&self, row: usize) -> Payload<'_> {
        let payload = self.payload.get(row);
        // `compress` writes no negative size and no checksum beyond 32 bits.
        let manifest = Manifest {
            original_size: self.original_size[row] as u64,
            crc32c: self.crc32c[row] as u32,
        };
        match (payload, manifest) {
            ([], Manifest { original_size: 0, crc32c: 0 }) => Payload::Null,
            _ => Payload::Sealed(payload, manifest),
        }
    }
}

/// A column of frames, as [`encode()`] makes it.
impl Payloads for ViewColumn {
    fn count(&self) -> usize {
        self.views.len()
    }

    fn get(&self, row: usize) -> Payload<'_> {
        match self.get(row) {
            [] => Payload::Null,
            body => Payload::Frames(body),
        }
    }
}
