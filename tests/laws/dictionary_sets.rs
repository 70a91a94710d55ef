//! Sets of dictionaries are written as they are read, and decode what their members made.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use s4_codec::codec::{Codec, ZstdLevel};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, crc32c};
use s4_codec::wire::dictionary_set::{SET_MAGIC, from_bytes, to_bytes};

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let is_repaired = input.arbitrary()?;
    let mut stored = input.take_rest().to_vec();
    if is_repaired {
        repair(&mut stored);
    }
    let Ok(set) = from_bytes(&stored) else { return Ok(()) };
    assert_eq!(to_bytes(&set), Ok(stored));
    assert!(set.members().contains(set.current()));

    let set = Arc::new(set);
    let codec = Codec::Zstd { level: ZstdLevel::DEFAULT, dictionary: Some(Arc::clone(&set)) };
    let (value, mut payload) = (set.current().bytes(), Vec::new());
    if let Ok(manifest) = codec.compress(value, &mut payload) {
        let decoded = codec.decompress(&payload, &manifest, MAX_ORIGINAL_SIZE);
        assert_eq!(decoded.as_deref(), Ok(value));
    }
    Ok(())
}

/// Makes the magic, the lengths and the checksum fit.
fn repair(stored: &mut [u8]) {
    let Some((front, sum)) = stored.split_last_chunk_mut::<4>() else { return };
    let whole = front.len();
    if let Some((header, rest)) = front.split_first_chunk_mut::<16>() {
        header[..4].copy_from_slice(&SET_MAGIC);
        header[4..8].copy_from_slice(&1u32.to_le_bytes());
        let count = usize::from(header[8] % 4 + 1);
        header[8..12].copy_from_slice(&(count as u32).to_le_bytes());
        let mut left = (whole - 16).saturating_sub(4 * count);
        let lens = rest.as_chunks_mut::<4>().0.iter_mut().take(count);
        for (i, len) in lens.enumerate() {
            let stated = u32::from_le_bytes(*len) as usize;
            let given = if i + 1 == count { left } else { stated.min(left) };
            *len = (given as u32).to_le_bytes();
            left -= given;
        }
    }
    *sum = crc32c(front).to_le_bytes();
}
