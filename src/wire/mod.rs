//! The S4 wire format: self-describing frames, and sidecars that index them.
//!
//! Parsers work on slices, copy nothing and check every length against the slice before they use
//! it. `docs/format.md` specifies the bytes and defines the terms.

pub mod codec_id;
pub mod dictionary_set;
pub mod frame;
pub mod index;

/// Little-endian integers at fixed places of a slice that is long enough.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
