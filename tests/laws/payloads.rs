//! Payloads from anywhere decode to what other decoders make of them, or not at all.

use arbitrary::{Result, Unstructured};
use s4_codec::codec::Codec;
use s4_codec::column::{self, DecompressOptions, Offsets, OnError, Payload, Payloads, Views};
use s4_codec::manifest::{MAX_ORIGINAL_SIZE, Manifest};
use s4_codec::pool::NO_INTERRUPT;

use super::reference::{self, MOST, Verdict};

const ZSTD: u8 = 0;
/// gzip whose trailer is made to fit, so that the stream before it decides.
const REPAIRED: u8 = 2;

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let form = input.arbitrary::<u8>()? % 3;
    let lie = input.arbitrary::<u8>()?;
    let rest = input.take_rest();
    let repaired;
    let (codec, payload, verdict) = match form {
        ZSTD => ("cpu-zstd", rest, reference::zstd(rest, &[])),
        REPAIRED => {
            repaired = with_trailer(rest);
            ("cpu-gzip", &repaired[..], reference::gzip(&repaired))
        }
        _ => ("cpu-gzip", rest, reference::gzip(rest)),
    };
    let codec = Codec::from_name(codec, None).expect("known");
    match verdict {
        Verdict::Value(value) => judge_value(&codec, payload, &value, lie),
        Verdict::Refused => judge_refusal(&codec, payload, form == ZSTD),
        Verdict::Unknown => drop(bare(&codec, payload, MOST as u64)),
    }
    Ok(())
}

fn with_trailer(deflated: &[u8]) -> Vec<u8> {
    let mut member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let (len, value) = reference::deflate(deflated).unwrap_or((deflated.len(), Vec::new()));
    let mut crc = flate2::Crc::new();
    crc.update(&value);
    member.extend_from_slice(&deflated[..len]);
    member.extend_from_slice(&crc.sum().to_le_bytes());
    member.extend_from_slice(&crc.amount().to_le_bytes());
    // What follows the stream is what follows the member.
    member.extend_from_slice(&deflated[len..]);
    member
}

fn judge_value(codec: &Codec, payload: &[u8], value: &[u8], lie: u8) {
    let manifest = Manifest::seal(value);
    let decode = |manifest: &Manifest| codec.decompress(payload, manifest, MAX_ORIGINAL_SIZE);
    assert_eq!(decode(&manifest).as_deref(), Ok(value), "sealed");
    let limit = value.len() as u64;
    assert_eq!(bare(codec, payload, limit).as_deref(), Some(value), "bare");
    if let Some(less) = limit.checked_sub(1) {
        assert_eq!(bare(codec, payload, less), None, "bare, beyond the limit");
    }
    let lie = u64::from(lie) + 1;
    for false_size in [limit.wrapping_add(lie), limit.wrapping_sub(lie), lie << 32] {
        assert!(decode(&Manifest { original_size: false_size, ..manifest }).is_err(), "a lie");
    }
    assert!(decode(&Manifest { crc32c: manifest.crc32c ^ lie as u32, ..manifest }).is_err());
}

/// libdeflate takes some codes for complete that others refuse; what it decodes then fits the
/// member's own checksum.
fn judge_refusal(codec: &Codec, payload: &[u8], must_refuse: bool) {
    let decoded = bare(codec, payload, MOST as u64);
    assert!(decoded.is_none() || !must_refuse, "decodes what libzstd refuses");
    for original_size in [0, 1, 1000, u64::from(u32::MAX)] {
        let result = codec.decompress(payload, &Manifest { original_size, crc32c: 1 }, MOST as u64);
        assert!(result.is_err());
    }
}

struct OneBare<'a>(&'a [u8]);

impl Payloads for OneBare<'_> {
    fn count(&self) -> usize {
        1
    }
    fn get(&self, _: usize) -> Payload<'_> {
        Payload::Bare(self.0)
    }
}

/// The only row of a column of this payload, without a manifest; the same in every layout.
fn bare(codec: &Codec, payload: &[u8], limit: u64) -> Option<Vec<u8>> {
    let options = DecompressOptions {
        max_size: Some(limit),
        on_error: OnError::Raise,
        ..DecompressOptions::new(codec.clone())
    };
    let column = [OneBare(payload)];
    let views = column::decompress::<Views, _>(&options, &column, NO_INTERRUPT);
    let flat = column::decompress::<Offsets, _>(&options, &column, NO_INTERRUPT);
    let views = views.ok().map(|column| column.values.get(0).to_vec());
    let flat = flat.ok().map(|column| column.values[0].bytes.as_ref().to_vec());
    assert!(views == flat, "the layouts differ");
    views
}
