//! The column engine: rows in, column out, on all cores.
//!
//! ```text
//! chunks of rows -> spans of about a millisecond -> workers -> blocks and views -> column
//! ```
//!
//! Rows are cut into spans by bytes, not by count, so that a column of one huge and a
//! million tiny values keeps every core busy. Workers take spans from one queue, run each
//! row through the codec's kernel straight into an arena, and write the row's view into
//! the span's own slice of the result, so that order needs no care. Polars takes arenas and
//! views as they are; for Arrow's offsets rows whose sizes are known are decoded in their place
//! (`slots`), and others copied together (`flat`).
//!
//! Which error a column reports does not depend on timing: every row before the first bad
//! one has been tried. The engine knows no Arrow, Polars or Python; it sees rows through
//! [`Rows`] and [`Payloads`].

mod ahead;
mod bad_rows;
mod compress;
mod decompress;
mod discard;
mod flat;
mod info;
mod job;
mod memory;
mod mistake;
mod output;
mod pieces;
mod slots;
mod view;

pub use ahead::decode_body;
pub use bad_rows::{BadRows, BecameNull, OnError};
pub use compress::{Compressed, compress, compress_flat, encode, encode_flat, encode_gathered};
pub use decompress::{Decompress, Decompressed, decompress, decompress_flat, verify};
pub use flat::{FlatColumn, Gathered};
pub use info::{Inspected, frame_info};
pub use job::zeroed;
pub use memory::{Block, advise_huge_pages};
pub use output::Zero;
pub use pieces::Pieces;
pub use view::{VIEW_MAX_BYTES, View, ViewColumn};

use crate::error::Error;
use crate::manifest::Manifest;

/// One chunk of a column of byte strings.
pub trait Rows: Sync {
    /// The number of rows.
    fn count(&self) -> usize;
    /// `None` where the row is null.
    fn get(&self, row: usize) -> Option<&[u8]>;
}

/// One chunk of a compressed column.
pub trait Payloads: Sync {
    /// The number of rows.
    fn count(&self) -> usize;
    fn get(&self, row: usize) -> Payload<'_>;
}

/// One row of a compressed column.
pub enum Payload<'a> {
    Null,
    /// A payload that no manifest came with.
    Bare(&'a [u8]),
    /// A payload and its manifest.
    Sealed(&'a [u8], Manifest),
    /// Frames, which carry their manifests and name their codecs.
    Frames(&'a [u8]),
    /// A payload whose manifest is unusable, and why.
    Unsealed(&'a [u8], Error),
}
