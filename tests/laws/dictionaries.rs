//! Dictionaries of any bytes: values round trip, payloads decode as libzstd decodes them.

use arbitrary::{Result, Unstructured};
use s4_codec::codec::Codec;
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};

use super::reference::{self, Verdict};

const LEVELS: [i64; 3] = [1, 3, 7];

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let level = *input.choose(&LEVELS)?;
    let len = usize::from(input.arbitrary::<u16>()?);
    let dictionary = input.bytes(len.min(input.len()))?;
    let rest = input.take_rest();
    let Ok(codec) = Codec::with_dictionary(dictionary, Some(level)) else { return Ok(()) };

    let mut payload = Vec::new();
    // A dictionary may be good enough to decode with, but not to compress with.
    if let Ok(manifest) = codec.compress(rest, &mut payload) {
        let decoded = codec.decompress(&payload, &manifest, MAX_ORIGINAL_SIZE);
        assert_eq!(decoded.as_deref(), Ok(rest));
        assert_eq!(reference::zstd(&payload, dictionary), Verdict::Value(rest.to_vec()));
    }
    match reference::zstd(rest, dictionary) {
        Verdict::Value(value) => {
            let decoded = codec.decompress(rest, &Manifest::seal(&value), MAX_ORIGINAL_SIZE);
            assert_eq!(decoded, Ok(value));
        }
        Verdict::Refused => {
            let claim = Manifest { original_size: 1000, crc32c: 1 };
            assert!(codec.decompress(rest, &claim, MAX_ORIGINAL_SIZE).is_err());
        }
        Verdict::Unknown => {}
    }
    Ok(())
}
