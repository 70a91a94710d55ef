//! Bodies of frames decode to what their payloads decode to, whole and in ranges.

use arbitrary::{Result, Unstructured};
use s4_codec::codec::Codec;
use s4_codec::column::{self, DecompressOptions, OnError, Payload, Payloads, Views};
use s4_codec::manifest::Manifest;
use s4_codec::object;
use s4_codec::pool::NO_INTERRUPT;
use s4_codec::wire::codec_id::CodecId;
use s4_codec::wire::frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, FrameInfo, Frames, Header, Headers, PADDING_MAGIC,
};
use s4_codec::wire::index::{self, Index};

use super::reference::{self, MOST, Verdict};

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let is_repaired = input.arbitrary()?;
    let [start, end, window]: [u16; 3] = input.arbitrary()?;
    let mut body = input.take_rest().to_vec();
    if is_repaired {
        repair(&mut body);
    }
    headers_agree(&body, usize::from(window));
    let decoded = object::decode(&body, None, MOST as u64).ok();
    assert_eq!(row(&body, OnError::Raise), decoded, "as a row");
    let nulled = row(&body, OnError::Null).expect("bad rows become null");
    assert_eq!(nulled, decoded.clone().unwrap_or_default(), "as a row that may become null");
    let reference = reference(&body);
    if let Some(value) = decoded {
        assert!(reference.is_none_or(|reference| reference == value), "other bytes");
        ranges_agree(&body, &value, start.into(), end.into());
    } else if let Some(value) = reference {
        panic!("{} bytes by the reference, refused here", value.len());
    }
    Ok(())
}

/// Makes frames of what looks like them: their lengths, sizes and checksums fit.
fn repair(body: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = body.get_mut(at..) {
        if rest.starts_with(&PADDING_MAGIC) {
            let Some((len, filler)) = rest[4..].split_first_chunk_mut::<8>() else { return };
            let given = u64::from_le_bytes(*len).min(filler.len() as u64);
            *len = given.to_le_bytes();
            at += 12 + given as usize;
            continue;
        }
        let Some((header, payload)) = rest.split_first_chunk_mut::<FRAME_HEADER_BYTES>() else {
            return;
        };
        header[..4].copy_from_slice(&FRAME_MAGIC);
        let Ok(mut repaired) = Header::parse(header) else { return };
        repaired.compressed_size = repaired.compressed_size.min(payload.len() as u64);
        let payload = &payload[..repaired.compressed_size as usize];
        if let Verdict::Value(value) = by_reference(repaired.codec, payload) {
            repaired.manifest = Manifest::seal(&value);
        }
        *header = repaired.to_bytes();
        at += FRAME_HEADER_BYTES + payload.len();
    }
}

fn by_reference(codec: CodecId, payload: &[u8]) -> Verdict {
    match codec {
        CodecId::PASSTHROUGH => Verdict::Value(payload.to_vec()),
        CodecId::ZSTD => reference::zstd(payload, &[]),
        CodecId::GZIP => reference::gzip(payload),
        _ => Verdict::Unknown,
    }
}

/// What the frames decode to, if the references know all of them and every manifest fits.
fn reference(body: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for step in Frames::new(body) {
        let Frame { header, payload } = step.ok()?.1;
        match by_reference(header.codec, payload) {
            Verdict::Value(value) if Manifest::seal(&value) == header.manifest => all.extend(value),
            _ => return None,
        }
    }
    let is_only_padding = Frames::new(body).next().is_none() && !body.is_empty();
    (all.len() <= MOST && !is_only_padding).then_some(all)
}

/// Windows show the headers that the whole body shows.
fn headers_agree(body: &[u8], window: usize) {
    let window = window.max(FRAME_HEADER_BYTES);
    let mut expected = Frames::new(body).map_while(std::result::Result::ok);
    let (mut at, mut number) = (0u64, 0);
    loop {
        let start = at as usize;
        let shown = &body[start..body.len().min(start.saturating_add(window))];
        let mut headers = Headers::resume(shown, at, body.len() as u64, number);
        for (found_at, header) in headers.by_ref().map_while(std::result::Result::ok) {
            let (expected_at, frame) = expected.next().expect("no more than the body shows");
            assert_eq!((found_at, header), (expected_at as u64, frame.header));
        }
        if headers.at() == at {
            break;
        }
        (at, number) = (headers.at(), headers.number());
    }
    assert!(expected.next().is_none(), "fewer than the body shows");
    if let Ok(info) = FrameInfo::of(body) {
        assert_eq!(info.frames as usize, Frames::new(body).count());
    }
}

fn ranges_agree(body: &[u8], value: &[u8], start: u64, end: u64) {
    let sidecar = index::build(body).expect("a body that decodes");
    let index = Index::parse(&sidecar).expect("a sidecar of its own");
    assert_eq!(index.total_original_size(), value.len() as u64);
    let len = value.len() as u64;
    let (start, end) = (start % (len + 1), end % (len + 1));
    let Some(found) = index.lookup(start, end) else {
        assert!(start >= end, "a range without frames");
        return;
    };
    let stored = &body[found.stored.start as usize..found.stored.end as usize];
    let part = object::decode(stored, None, MOST as u64).expect("a body of its own");
    let slice = found.slice.start as usize..found.slice.end as usize;
    assert_eq!(part[slice], value[start as usize..end as usize]);
}

struct OneBody<'a>(&'a [u8]);

impl Payloads for OneBody<'_> {
    fn count(&self) -> usize {
        1
    }
    fn get(&self, _: usize) -> Payload<'_> {
        Payload::Frames(self.0)
    }
}

/// The only row of a column of this body.
fn row(body: &[u8], on_error: OnError) -> Option<Vec<u8>> {
    let codec = Codec::from_name("passthrough", None).expect("known");
    let max_size = Some(MOST as u64);
    let options = DecompressOptions { max_size, on_error, ..DecompressOptions::new(codec) };
    let column = column::decompress::<Views, _>(&options, &[OneBody(body)], NO_INTERRUPT);
    column.ok().map(|column| column.values.get(0).to_vec())
}
