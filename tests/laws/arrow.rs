//! Arrow data from any producer is compressed and restored, or refused.

use std::ptr;

use arbitrary::{Result, Unstructured};
use s4_codec::arrow::{
    ArrowInput, CArray, CSchema, CStream, CompressOptions, compress, decompress, encode,
    frame_info, verify,
};
use s4_codec::codec::{Codec, Fallback, Form};
use s4_codec::column::{DecompressOptions, OnError};
use s4_codec::pool::NO_INTERRUPT;

use super::arrow_c::Type;
use super::reference::MOST;

const CODECS: [&str; 3] = ["passthrough", "cpu-zstd", "cpu-gzip"];

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let [codec, function, shape]: [u8; 3] = input.arbitrary()?;
    let name = CODECS[usize::from(codec) % CODECS.len()];
    let codec = Codec::from_name(name, None).expect("known");
    let data_type = Type::any(&mut input, 3)?;
    let given = if shape % 2 == 0 {
        array(&data_type, &mut input)?
    } else {
        stream(&data_type, &mut input)?
    };
    let Ok(given) = given else { return Ok(()) };
    let on_error = if shape & 2 == 0 { OnError::Raise } else { OnError::Null };
    let max_size = Some(MOST as u64);
    let options = DecompressOptions { max_size, on_error, ..DecompressOptions::new(codec.clone()) };
    let form = if shape & 4 == 0 { Form::Payload } else { Form::Frame };
    match function % 6 {
        0 => drop(decompress(&options, form, given, NO_INTERRUPT)),
        1 => drop(verify(&options, form, given, NO_INTERRUPT)),
        2 => drop(frame_info(on_error, given, NO_INTERRUPT)),
        _ => round_trip(codec, form, &options, given),
    }
    Ok(())
}

/// What compresses is restored, to values that compress to the same.
fn round_trip(codec: Codec, form: Form, options: &DecompressOptions, given: ArrowInput) {
    let forward = CompressOptions { codec, payload_checksum: true, fallback: Fallback::default() };
    let pack = |given| match form {
        Form::Payload => compress(&forward, given, NO_INTERRUPT),
        Form::Frame => encode(&forward, given, NO_INTERRUPT),
    };
    let Ok(packed) = pack(given) else { return };
    for packed in packed {
        let input = ArrowInput::from_array(&packed).expect("exports");
        let values = decompress(options, form, input, NO_INTERRUPT).expect("what was compressed");
        assert!(values.warning.is_none(), "no row is bad");
        let values = &values.arrays[0];
        assert_eq!((values.len(), values.null_count()), (packed.len(), packed.null_count()));
        let input = ArrowInput::from_array(values).expect("exports");
        let again = pack(input).expect("bytes");
        assert_eq!(&*again[0], &*packed);
    }
}

type Taken = s4_codec::error::Result<ArrowInput>;

fn array(data_type: &Type, input: &mut Unstructured) -> Result<Taken> {
    let mut array = data_type.array(input)?;
    // SAFETY: a structure of the interface that is used by nobody else, as are the others.
    let array = unsafe { CArray::take(ptr::from_mut(&mut array).cast()) }.expect("not released");
    let mut schema = data_type.schema(input)?;
    // SAFETY: as above.
    let schema = unsafe { CSchema::take(ptr::from_mut(&mut schema).cast()) };
    Ok(schema.map(|schema| ArrowInput::Array(schema, array)))
}

fn stream(data_type: &Type, input: &mut Unstructured) -> Result<Taken> {
    let mut stream = data_type.stream(input)?;
    // SAFETY: as above.
    let stream = unsafe { CStream::take(ptr::from_mut(&mut stream).cast()) };
    Ok(stream.map(ArrowInput::Stream))
}
