//! Compression codecs for values and columns, in the bytes of the S4 gateway.
//!
//! A [`Codec`](codec::Codec) compresses one value to a payload and returns its
//! [`Manifest`](manifest::Manifest), the original size and crc32c that every decoder verifies.
//! [`mod@column`] does the same for all values of a column on all cores, a frame carries its manifest
//! and names its codec, and [`object`] reads and writes whole stored objects.
//!
//! ```
//! use s4_codec::codec::Codec;
//! use s4_codec::column::{self, DecompressOptions, Views};
//! use s4_codec::manifest::MAX_ORIGINAL_SIZE;
//! use s4_codec::object;
//! use s4_codec::pool::NO_INTERRUPT;
//!
//! # fn main() -> s4_codec::error::Result<()> {
//! let codec = Codec::from_name("cpu-zstd", Some(3))?;
//!
//! // A column of byte slices, compressed and restored on all cores.
//! let values = [b"GET /".repeat(100), b"GET /index.html".repeat(50), Vec::new()];
//! let compressed = column::compress::<Views, _>(&codec, &[&values[..]], NO_INTERRUPT)?;
//! assert_eq!(compressed.original_size, [500, 750, 0]);
//! let options = DecompressOptions::new(codec.clone());
//! let restored = column::decompress::<Views, _>(&options, &[compressed], NO_INTERRUPT)?;
//! assert_eq!(restored.values.get(1), values[1]);
//!
//! // One value, and its manifest.
//! let mut payload = Vec::new();
//! let manifest = codec.compress(&values[0], &mut payload)?;
//! assert_eq!(codec.decompress(&payload, &manifest, MAX_ORIGINAL_SIZE)?, values[0]);
//!
//! // A frame, which needs nothing beside it to be decoded.
//! let mut frame = Vec::new();
//! codec.encode(&values[1], &mut frame)?;
//! assert_eq!(object::decode(&frame, None, MAX_ORIGINAL_SIZE)?, values[1]);
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! Each layer uses only those to its left, which a test enforces: [`kernel`] -> [`manifest`] ->
//! [`gpu`] -> [`wire`] -> [`codec`] -> [`body`] -> [`mod@column`] -> [`object`] -> Arrow -> Polars,
//! Python. Arrow exists with the feature `arrow`, the last two with `python`. `docs/format.md`
//! describes the bytes.

#![deny(missing_docs)]

pub mod allocator;
pub mod background;
pub mod body;
pub mod codec;
pub mod column;
pub mod error;
pub mod gpu;
pub mod kernel;
pub mod manifest;
pub mod memory;
pub mod object;
pub mod pool;
mod process;
pub mod signal;
pub mod warning;
pub mod wire;

#[cfg(feature = "arrow")]
pub mod arrow;
#[cfg(feature = "python")]
mod polars;
#[cfg(feature = "python")]
mod py;

/// The Python module's own; other programs that use this crate choose theirs.
#[cfg(feature = "python")]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;
