//! Compression codecs for values and columns, in the bytes of the S4 gateway.
//!
//! Data flows one way: bytes -> [`kernel`] and [`gpu`] -> [`codec`] -> [`manifest`] -> [`wire`] ->
//! [`column`] -> [`object`] -> Arrow, Polars, Python. A layer knows those before it and none after it; without the feature
//! `python` the last three are not there, and neither polars nor libpython is needed.

#![warn(missing_docs)]

pub mod apart;
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

#[cfg(feature = "python")]
mod arrow;
#[cfg(feature = "python")]
mod polars;
#[cfg(feature = "python")]
mod py;
