//! Objects decode in ranges to parts of the whole, whatever their metadata says.

use std::ops::Range;

use arbitrary::{Result, Unstructured};
use s4_codec::gpu::Device;
use s4_codec::manifest::{Manifest, crc32c};
use s4_codec::object::{Metadata, Object, ReadOptions};
use s4_codec::pool::NO_INTERRUPT;
use s4_codec::wire::index::Index;

use super::reference::MOST;

const KEYS: [&str; 8] = [
    "s4-codec",
    "x-amz-meta-s4-original-size",
    "S4-Compressed-Size",
    "s4-crc32c",
    "s4-dict-id",
    "s4-framed",
    "s4-encrypted",
    "s4-multipart",
];
const CODECS: [&str; 4] = ["passthrough", "cpu-zstd", "cpu-gzip", "no codec"];

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let keys: u8 = input.arbitrary()?;
    let lies: u8 = input.arbitrary()?;
    let codec = *input.choose(&CODECS)?;
    let size: u16 = input.arbitrary()?;
    let checksum: u32 = input.arbitrary()?;
    let range: [u16; 2] = input.arbitrary()?;
    let sidecar_len = usize::from(input.arbitrary::<u16>()?);
    let sidecar = input.bytes(sidecar_len.min(input.len()))?;
    let body = input.take_rest();

    // What fits the body, unless it is to lie.
    let truth = match codec {
        "passthrough" => Manifest::seal(body),
        _ => Manifest { original_size: size.into(), crc32c: checksum },
    };
    let stored = body.len() as u64 + u64::from(lies & 1);
    let whole_size = truth.original_size.wrapping_sub(u64::from(lies >> 1 & 1));
    let crc = truth.crc32c ^ u32::from(lies >> 2 & 1);
    let values = [
        codec.to_owned(),
        whole_size.to_string(),
        stored.to_string(),
        crc.to_string(),
        format!("{crc:016x}"),
        (lies & 8 == 0).to_string(),
        "true".to_owned(),
        (lies & 16 == 0).to_string(),
    ];
    let pairs = KEYS.iter().zip(&values).enumerate().filter(|(i, _)| keys >> i & 1 == 1);
    let pairs = pairs.map(|(_, (key, value))| (*key, value.as_str()));
    let metadata = Metadata::parse(pairs).expect("numbers");
    let metadata = (lies & 32 == 0).then_some(&metadata);
    let index = (!sidecar.is_empty()).then(|| Index::parse(sidecar).ok()).flatten();

    let read = |range| read(body, metadata, index, range);
    let Some(whole) = read(None) else { return Ok(()) };
    let len = whole.len() as u64;
    let [start, end] = range.map(|at| u64::from(at) % (len + 1));
    let part = read(Some(start..end));
    if start <= end {
        let expected = &whole[start as usize..end as usize];
        assert_eq!(part.as_deref(), Some(expected), "a part of what decodes");
    } else {
        assert_eq!(part, None, "a range that ends before it starts");
    }
    assert_eq!(read(Some(0..len + 1)), None, "a range beyond the end");
    let is_sealed = keys & 0b1000 != 0 && metadata.is_some();
    let is_payload = keys & 0b1111 == 0b1111 && keys & 0b1010_0000 == 0;
    if is_sealed && is_payload && index.is_none() {
        assert_eq!(crc32c(&whole), crc, "other bytes than the metadata's");
    }
    Ok(())
}

fn read(
    body: &[u8],
    metadata: Option<&Metadata>,
    sidecar: Option<Index>,
    range: Option<Range<u64>>,
) -> Option<Vec<u8>> {
    let limit = MOST as u64;
    let options = ReadOptions { dictionary: None, range, limit, device: Device::Cpu };
    let object = Object::plan(body, metadata, sidecar, &options).ok()?;
    let len = object.decoded_len().expect("within the limit");
    assert!(len <= MOST, "beyond the limit");
    let mut value = Vec::with_capacity(len);
    object.decode(&mut value.spare_capacity_mut()[..len], NO_INTERRUPT).ok()?;
    // SAFETY: decoding initialises all of its destination.
    unsafe { value.set_len(len) };
    Some(value)
}
