//! Containers decode to what their chunks decode to, one by one.

use std::mem::MaybeUninit;

use arbitrary::{Result, Unstructured};
use s4_codec::codec::Codec;
use s4_codec::gpu::Device;
use s4_codec::kernel::fcg1::{Algorithm, Container, HEADER_BYTES, MAGIC};
use s4_codec::kernel::gdeflate::Decoder;
use s4_codec::manifest::Manifest;

use super::reference::MOST;

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let algorithm = *input.choose(&Algorithm::ALL)?;
    let is_repaired = input.arbitrary()?;
    let mut container = input.take_rest().to_vec();
    if is_repaired {
        repair(&mut container, algorithm);
    }
    let codec = Codec::from_name(algorithm.codec(), None).expect("known").on(Device::Cpu);
    let reference = reference(&container, algorithm);
    let claim = match &reference {
        Some(value) => Manifest::seal(value),
        None => Manifest { original_size: 1000, crc32c: 1 },
    };
    let decoded = codec.decompress(&container, &claim, MOST as u64);
    assert_eq!(decoded.ok(), reference);
    for original_size in [claim.original_size + 1, claim.original_size.wrapping_sub(1), 4 << 30] {
        let lie = Manifest { original_size, ..claim };
        assert!(codec.decompress(&container, &lie, u64::MAX).is_err());
    }
    Ok(())
}

/// Makes the header and the table of sizes fit the bytes that follow them.
fn repair(container: &mut [u8], algorithm: Algorithm) {
    let Some((header, rest)) = container.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&[algorithm as u8, 0, 0, 0]);
    let total = u64::from(u16::from_le_bytes([header[8], header[9]]));
    header[8..16].copy_from_slice(&total.to_le_bytes());
    let chunk = u32::from(u16::from_le_bytes([header[16], header[17]])).max(1);
    // Few chunks, so that they leave room for themselves.
    let chunk = chunk.max(total.div_ceil(8) as u32);
    let count = total.div_ceil(chunk.into());
    header[16..20].copy_from_slice(&chunk.to_le_bytes());
    header[20..].copy_from_slice(&(count as u32).to_le_bytes());
    let Some((table, chunks)) = rest.split_at_mut_checked(4 * count as usize) else { return };
    let mut left = chunks.len() as u32;
    let sizes = table.as_chunks_mut().0;
    let last = sizes.len().saturating_sub(1);
    for (i, size) in sizes.iter_mut().enumerate() {
        let stated = u32::from_le_bytes(*size);
        let given = if i == last { left } else { stated.min(left) };
        *size = given.to_le_bytes();
        left -= given;
    }
}

/// The chunks, decoded one by one.
fn reference(bytes: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
    let container = Container::parse(bytes, algorithm).ok()?;
    if container.total > MOST as u64 {
        return None;
    }
    let mut value = Vec::new();
    for (chunk, len) in container.chunks() {
        let decoded = match algorithm {
            Algorithm::Zstd => zstd::bulk::decompress(chunk, len).ok()?,
            Algorithm::GDeflate => {
                let mut page = vec![MaybeUninit::new(0); len];
                Decoder::default().decode_page(chunk, &mut page).ok()?;
                // SAFETY: initialised above.
                page.iter().map(|byte| unsafe { byte.assume_init() }).collect()
            }
            Algorithm::Bitcomp => return None,
        };
        if decoded.len() != len {
            return None;
        }
        value.extend(decoded);
    }
    Some(value)
}
