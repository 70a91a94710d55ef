//! Sidecars are read as they are written, and look up what their entries say.

use arbitrary::{Result, Unstructured};
use s4_codec::wire::index::{INDEX_MAGIC, Index, Source};

/// Bytes before the entries of a version 1.
const FIXED_BYTES: usize = 32;
const ENTRY_BYTES: usize = 32;

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let is_repaired = input.arbitrary()?;
    let [start, len]: [u32; 2] = input.arbitrary()?;
    let mut sidecar = input.take_rest().to_vec();
    if is_repaired {
        repair(&mut sidecar);
    }
    let Ok(index) = Index::parse(&sidecar) else { return Ok(()) };

    assert_eq!(index.entries().count(), index.len());
    let bound = index.bind(index.source).expect("what was read can be written");
    let again = Index::parse(&bound).expect("what was written can be read");
    assert!(again.entries().eq(index.entries()));
    assert_eq!((again.source, again.sse), (index.source, index.sse));
    assert_eq!(again.bind(index.source).as_ref(), Ok(&bound));
    let unbound = index.bind(Source::default()).expect("unbinds");
    assert_eq!(Index::parse(&unbound).expect("a sidecar").source, Source::default());

    let total = index.total_original_size();
    for (start, end) in [
        (0, u64::MAX),
        (start.into(), u64::from(start) + u64::from(len)),
        (u64::from(start) << 32, u64::MAX),
        (total.wrapping_sub(1), total),
    ] {
        let end = end.min(total);
        let Some(found) = index.lookup(start, end) else { continue };
        let (first, last) = (index.get(found.first), index.get(found.last));
        let (first, last) = (first.expect("an entry"), last.expect("an entry"));
        assert!(found.first <= found.last);
        assert!(first.original_offset <= start && start < first.original_end());
        assert!(last.original_offset < end && end <= last.original_end());
        assert_eq!(found.stored, first.compressed_offset..last.compressed_end());
        assert_eq!(found.slice.end - found.slice.start, end - start);
        assert_eq!(found.slice.start + first.original_offset, start);
    }
    Ok(())
}

/// Makes the version and the number of entries fit the length.
fn repair(sidecar: &mut [u8]) {
    let whole = sidecar.len();
    let Some((front, _)) = sidecar.split_first_chunk_mut::<44>() else { return };
    front[..4].copy_from_slice(&INDEX_MAGIC);
    let version = front[4] % 3 + 1;
    front[4..8].copy_from_slice(&[version, 0, 0, 0]);
    let etag = usize::from(front[40] % 40);
    let before = match version {
        1 => FIXED_BYTES,
        2 => 44 + etag,
        _ => 44 + etag + 30,
    };
    if version > 1 {
        front[40..].copy_from_slice(&(etag as u32).to_le_bytes());
    }
    let count = whole.saturating_sub(before) / ENTRY_BYTES;
    front[8..16].copy_from_slice(&(count as u64).to_le_bytes());
}
