//! What the tests of GPU codecs share.

use s4_codec::codec::Codec;
use s4_codec::column::{self, DecompressOptions, Offsets};
use s4_codec::error::Result;
use s4_codec::gpu::Device;
use s4_codec::kernel::fcg1::{Algorithm, DataType, Encoding};
use s4_codec::manifest::Manifest;
use s4_codec::pool::{self, NO_INTERRUPT};

use super::standin::Standin;
use super::{Packed, PackedRows, Values, noise, pack, text};

pub const GPU: Device = Device::Gpu(0);

/// The GPU codec of an algorithm.
pub fn gpu_codec(algorithm: Algorithm, device: Device) -> Codec {
    Codec::Nvcomp { encoding: Encoding::new(algorithm), device }
}

/// Bitcomp of a data type.
pub fn bitcomp(data_type: &str, device: Device) -> Codec {
    let data_type = DataType::try_new(data_type).expect("a data type");
    let encoding = Encoding::new(Algorithm::Bitcomp).with_data_type(data_type);
    Codec::Nvcomp { encoding, device }
}

/// Every codec of GPUs. Bitcomp with a data type of each width.
pub fn codecs(device: Device) -> Vec<Codec> {
    let mut codecs = vec![zstd(device), gdeflate(device)];
    codecs.extend(["char", "i16", "f32", "u64"].map(|data_type| bitcomp(data_type, device)));
    codecs
}

pub fn zstd(device: Device) -> Codec {
    gpu_codec(Algorithm::Zstd, device)
}

pub fn gdeflate(device: Device) -> Codec {
    gpu_codec(Algorithm::GDeflate, device)
}

/// Values around the lengths where something changes, all of whole numbers of any type.
pub fn values() -> Vec<Vec<u8>> {
    let lens = [0, 8, 16, 248, 256, 264, 4096, 65_528, 65_536, 65_544, 131_072, 200_000];
    lens.into_iter().map(text).chain([8, 4096, 65_536, 70_000].map(noise)).collect()
}

pub fn sealed(payload: &[u8], value: &[u8]) -> Packed {
    Packed::Sealed(payload.to_vec(), Manifest::seal(value))
}

#[track_caller]
pub fn assert_sound(gpu: &Standin) {
    assert_eq!(gpu.violations(), Vec::<String>::new());
}

/// Compresses and restores a column of values of two size classes, and one value.
pub fn round_trip(codec: &Codec) -> Result<()> {
    let values = [text(80_000), text(304), noise(9000), Vec::new()];
    let rows = [Values(values.iter().cloned().map(Some).collect())];
    let column = column::compress::<Offsets, _>(codec, &rows, NO_INTERRUPT)?;
    let offsets = &column.payload[0].offsets;
    let bytes = column.payload[0].bytes.as_ref();
    let payload = |i: usize| &bytes[offsets[i] as usize..offsets[i + 1] as usize];
    let packed = values.iter().enumerate().map(|(i, value)| sealed(payload(i), value));
    let rows = [PackedRows(packed.collect())];
    let restored = column::decompress::<Offsets, _>(
        &DecompressOptions::new(codec.clone()),
        &rows,
        NO_INTERRUPT,
    )?;
    assert!(restored.values[0].bytes.as_ref() == values.concat());

    let mut alone = Vec::new();
    let manifest = codec.compress(&values[0], &mut alone)?;
    assert!(alone == payload(0));
    assert!(codec.decompress(&alone, &manifest, u64::MAX)? == values[0]);
    Ok(())
}

pub fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    pack(&Codec::from_name("cpu-zstd", None).expect("a codec"), bytes).0
}

/// Enough bytes for a GPU to be faster than two threads, which columns run on from now on.
pub fn worthwhile() -> Vec<Vec<u8>> {
    pool::set_num_threads(2).expect("a valid number");
    vec![text(1 << 20); 20]
}
