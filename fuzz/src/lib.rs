//! The laws of `tests/laws`, for libFuzzer.

#[path = "../../tests/laws/mod.rs"]
pub mod laws;
