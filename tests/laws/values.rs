//! Values round trip, to payloads that other decoders read.

use arbitrary::{Result, Unstructured};
use s4_codec::codec::{Codec, Fallback};
use s4_codec::gpu::Device;
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use s4_codec::object;
use s4_codec::wire::frame::Frame;

use super::reference::{self, Verdict};

/// Codecs and levels that differ in how they compress.
const CODECS: [(&str, Option<i64>); 9] = [
    ("passthrough", None),
    ("cpu-zstd", Some(1)),
    ("cpu-zstd", Some(3)),
    ("cpu-zstd", Some(7)),
    ("cpu-zstd", Some(16)),
    ("cpu-gzip", Some(0)),
    ("cpu-gzip", Some(1)),
    ("cpu-gzip", Some(6)),
    ("nvcomp-zstd", None),
];

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let (name, level) = *input.choose(&CODECS)?;
    let copies = usize::from(input.arbitrary::<u8>()?);
    // Rarely enough for a second chunk or block.
    let part = input.take_rest();
    let copies = if copies < 0xf0 { copies % 4 + 1 } else { copies };
    let value = part.repeat(copies);

    let codec = Codec::from_name(name, level).expect("a codec of the table").on(Device::Cpu);
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    let manifest = codec.compress(&value, &mut payload).expect("any value compresses");
    assert_eq!(manifest, Manifest::seal(&value));
    let decoded = codec.decompress(&payload, &manifest, MAX_ORIGINAL_SIZE);
    assert_eq!(decoded.as_deref(), Ok(&value[..]));
    match name {
        "cpu-zstd" => assert_eq!(reference::zstd(&payload, &[]), Verdict::Value(value.clone())),
        "cpu-gzip" => assert_eq!(reference::gzip(&payload), Verdict::Value(value.clone())),
        _ => {}
    }

    codec.encode_with(Fallback::Never, &value, &mut frame).expect("any value encodes");
    let (parsed, rest) = Frame::parse(&frame).expect("a frame");
    assert_eq!((parsed.payload, parsed.header.manifest, rest), (&payload[..], manifest, &[][..]));
    codec.encode(&value, &mut frame).expect("any value encodes");
    assert!(frame.len() <= 28 + value.len(), "no frame is longer than one of passthrough");
    assert_eq!(object::decode(&frame, None, value.len() as u64).as_deref(), Ok(&value[..]));
    Ok(())
}
