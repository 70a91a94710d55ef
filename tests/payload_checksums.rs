//! Payloads' own checksums: recorded of what was compressed, and checked before anything decodes.

mod common;

use common::gpu::{self, GPU, assert_sound, worthwhile};
use common::standin::Standin;
use common::{Packed, PackedRows, Values, codecs, decompress, pack, text};
use s4_codec::codec::Codec;
use s4_codec::column::{self, DecompressOptions, Offsets, OnError, Payload, Payloads, Views};
use s4_codec::error::{Error, ErrorClass, Result};
use s4_codec::gpu::Device;
use s4_codec::manifest::crc32c;
use s4_codec::pool::NO_INTERRUPT;

/// A chunk of payloads, and what is recorded of each.
struct Recorded(PackedRows, Vec<Result<Option<u32>>>);

impl Payloads for Recorded {
    fn count(&self) -> usize {
        self.0.count()
    }
    fn get(&self, row: usize) -> Payload<'_> {
        self.0.get(row)
    }
    fn has_payload_crc32c(&self) -> bool {
        true
    }
    fn payload_crc32c(&self, row: usize) -> Result<Option<u32>> {
        self.1[row].clone()
    }
}

/// Distinct values that compress, of whole numbers of any type.
fn values(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| text(8 * (20 + i))).collect()
}

/// The payloads of values with their checksums, one bit of those in `damaged` flipped.
fn recorded(codec: &Codec, values: &[Vec<u8>], damaged: &[usize]) -> Recorded {
    let rows = values.iter().enumerate().map(|(row, value)| {
        let (mut payload, manifest) = pack(codec, value);
        let checksum = crc32c(&payload);
        if damaged.contains(&row) {
            let middle = payload.len() / 2;
            payload[middle] ^= 1;
        }
        (Packed::Sealed(payload, manifest), Ok(Some(checksum)))
    });
    let (rows, checksums) = rows.unzip();
    Recorded(PackedRows(rows), checksums)
}

/// The chunks that were sent to be decompressed since the last reset.
fn chunks_sent(gpu: &Standin) -> u64 {
    gpu.launches().iter().filter(|launch| launch[1] == 1).map(|launch| launch[2]).sum()
}

#[test]
fn what_was_compressed_is_recorded_alike_in_every_layout() {
    // GPU codecs may use it, and other tests count what it is sent.
    let _gpu = Standin::take();
    let rows = values(1200).into_iter().enumerate();
    let rows: Vec<_> = rows.map(|(i, value)| (i % 11 != 3).then_some(value)).collect();
    for codec in codecs() {
        for cut in [0, 1, 777] {
            let (first, later) = rows.split_at(cut);
            let chunks = [Values(first.to_vec()), Values(later.to_vec())];
            let viewed = column::compress::<Views, _>(&codec, &chunks, NO_INTERRUPT);
            let flat = column::compress::<Offsets, _>(&codec, &chunks, NO_INTERRUPT);
            let viewed = viewed.expect("compresses");
            let checksums = viewed.payload_checksums(NO_INTERRUPT).expect("reads");
            let expected = rows.iter().map(|row| match row {
                Some(value) => crc32c(&pack(&codec, value).0).into(),
                None => 0,
            });
            assert!(checksums.iter().copied().eq(expected), "{codec:?}");
            let flat = flat.expect("compresses").payload_checksums(NO_INTERRUPT).expect("reads");
            assert_eq!(flat, checksums);
        }
    }
}

#[test]
fn damaged_payloads_are_refused_whatever_the_codec() {
    // GPU codecs may use it, and other tests count what it is sent.
    let _gpu = Standin::take();
    let values = values(1500);
    for codec in codecs() {
        let whole =
            decompress(&DecompressOptions::new(codec.clone()), &[recorded(&codec, &values, &[])]);
        assert!(whole.expect("nothing is damaged").values == values, "{codec:?}");

        let chunks = [
            recorded(&codec, &values[..600], &[599]),
            recorded(&codec, &values[600..], &[0, 555, 899]),
        ];
        let how = DecompressOptions::new(codec.clone());
        let Error::Row(bad) = decompress(&how, &chunks).err().expect("damage") else {
            panic!("not a row's error")
        };
        assert_eq!((bad.row, bad.rows, bad.mistake), (599, 1500, None), "{codec:?}");
        let Error::PayloadCrcMismatch { expected, actual } = bad.source else {
            panic!("{codec:?}: {bad}")
        };
        let Packed::Sealed(payload, _) = &chunks[0].0.0[599] else { unreachable!() };
        assert_eq!((Ok(Some(expected)), actual), (chunks[0].1[599].clone(), crc32c(payload)));
        assert_eq!(bad.source.class(), ErrorClass::CrcMismatch);

        let lenient = DecompressOptions { on_error: OnError::Null, ..how.clone() };
        let restored = decompress(&lenient, &chunks).expect("bad rows are null");
        assert_eq!(restored.bad_rows.rows(), [599, 600, 1155, 1499]);
        for (row, (restored, value)) in restored.values.iter().zip(&values).enumerate() {
            let is_bad = [599, 600, 1155, 1499].contains(&row);
            assert!(restored == if is_bad { &[][..] } else { value }, "{codec:?} row {row}");
        }
        let report = column::verify::<Views, _>(&how, &chunks, NO_INTERRUPT);
        let report = report.expect("reports");
        assert_eq!(report.bad_rows.rows(), [599, 600, 1155, 1499]);
        for row in 0..values.len() {
            let reason = str::from_utf8(report.values.get(row)).expect("text");
            let is_bad = report.bad_rows.rows().contains(&row);
            let expected = "S4CrcMismatchError: crc32c of the payload itself";
            assert!(reason.starts_with(if is_bad { expected } else { "" }), "{reason}");
            assert_eq!(reason.is_empty(), !is_bad);
        }
    }
}

/// What is not recorded is not checked; what cannot be a checksum is the row's error.
#[test]
fn a_row_may_have_no_checksum() {
    // GPU codecs may use it, and other tests count what it is sent.
    let _gpu = Standin::take();
    for codec in codecs() {
        let values = values(3);
        let mut chunk = recorded(&codec, &values, &[1]);
        chunk.1[1] = Ok(None);
        let how = DecompressOptions::new(codec.clone());
        let error = decompress(&how, &[chunk]).err().expect("damage");
        let Error::Row(bad) = error else { panic!("not a row's error") };
        assert_eq!(bad.row, 1);
        assert!(!matches!(bad.source, Error::PayloadCrcMismatch { .. }), "it was decoded");

        let mut chunk = recorded(&codec, &values, &[]);
        let reason = Error::BadManifest("not a checksum".into());
        chunk.1[0] = Err(reason.clone());
        let error = decompress(&how, &[chunk]).err().expect("a bad row");
        let Error::Row(bad) = error else { panic!("not a row's error") };
        assert_eq!((bad.row, bad.source), (0, reason));
    }
}

#[test]
fn damaged_payloads_are_never_sent_to_a_gpu() {
    let gpu = Standin::take();
    let values = values(7);
    for codec in gpu::codecs(GPU) {
        let lenient =
            DecompressOptions { on_error: OnError::Null, ..DecompressOptions::new(codec.clone()) };
        for damaged in [&[][..], &[3], &[0, 5, 6], &[0, 1, 2, 3, 4, 5, 6]] {
            let chunks = [recorded(&codec, &values, damaged)];
            gpu.reset();
            let restored = column::decompress::<Views, _>(&lenient, &chunks, NO_INTERRUPT);
            assert_eq!(restored.expect("the rest").bad_rows.rows(), damaged, "{codec:?}");
            let good = (values.len() - damaged.len()) as u64;
            assert_eq!(chunks_sent(&gpu), good, "{codec:?}: a chunk for each good row");

            gpu.reset();
            let resident = column::decompress_resident(&lenient, 0, &chunks, NO_INTERRUPT);
            assert_eq!(resident.expect("the rest").bad_rows.rows(), damaged, "{codec:?}");
            assert_eq!(chunks_sent(&gpu), good, "{codec:?}: to stay there");

            // As they are without checksums.
            let Recorded(chunk, _) = &chunks[0];
            gpu.reset();
            let _ =
                column::decompress::<Views, _>(&lenient, std::slice::from_ref(chunk), NO_INTERRUPT);
            assert_eq!(chunks_sent(&gpu), values.len() as u64, "{codec:?}");
        }
    }
    assert_sound(&gpu);
}

#[test]
fn damage_alone_needs_no_gpu() {
    let gpu = Standin::take();
    for codec in gpu::codecs(Device::Auto) {
        let values = worthwhile();
        let all: Vec<usize> = (0..values.len()).collect();
        let lenient =
            DecompressOptions { on_error: OnError::Null, ..DecompressOptions::new(codec.clone()) };
        let chunks = [recorded(&codec, &values, &all)];
        gpu.reset();
        let restored = column::decompress::<Offsets, _>(&lenient, &chunks, NO_INTERRUPT);
        assert_eq!(restored.expect("no values").bad_rows.len(), values.len());
        assert_eq!(gpu.calls(), 0, "{codec:?}");
    }
}
