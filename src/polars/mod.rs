//! The Polars plugin: series in, column engine, series out.

mod arrays;
mod decompression;
mod dictionary_sets;
mod dtype;
mod expressions;
mod ffi;
mod import;
mod metadata;
mod options;
mod row;

pub use dtype::OBJECTS;
