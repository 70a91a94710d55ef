//! Columns as Arrow arrays, of any producer: compress, decompress, encode and decode them.
//!
//! Input comes through Arrow's C data interface and is not copied. Every step of the import is
//! checked, so malformed data is an error. Output is one array for each chunk of input.
//!
//! ```
//! use arrow_array::cast::AsArray;
//! use arrow_array::{Array, BinaryArray};
//! use s4_codec::arrow::{ArrowInput, CompressOptions, compress, decompress};
//! use s4_codec::codec::{Codec, Fallback, Form};
//! use s4_codec::column::DecompressOptions;
//! use s4_codec::pool::NO_INTERRUPT;
//!
//! # fn main() -> s4_codec::error::Result<()> {
//! let values = BinaryArray::from_opt_vec(vec![Some(b"a fine body"), None]);
//! let codec = Codec::from_name("cpu-zstd", None)?;
//! let options = CompressOptions {
//!     codec: codec.clone(),
//!     payload_checksum: true,
//!     fallback: Fallback::default(),
//! };
//! let packed = compress(&options, ArrowInput::from_array(&values)?, NO_INTERRUPT)?;
//!
//! let options = DecompressOptions::new(codec);
//! let input = ArrowInput::from_array(&packed[0])?;
//! let restored = decompress(&options, Form::Payload, input, NO_INTERRUPT)?;
//! assert_eq!(restored.arrays[0].as_binary::<i64>().value(0), b"a fine body");
//! assert!(restored.arrays[0].is_null(1));
//! # Ok(())
//! # }
//! ```

mod arrays;
mod c_data;
mod column_type;
mod device;
mod display;
mod functions;
mod import;
mod import_lists;
mod input;
mod list_type;
mod number_lists;
mod numbers;
mod rows;
mod texts;
mod total_size;
mod volatile;
#[cfg(feature = "python")]
mod walks;
mod window;

pub use c_data::{CArray, CSchema, CStream};
pub use device::{
    CDeviceArray, DeviceInput, compress_from_device, data_type_of, decompress_to_device, export,
    to_host,
};
pub use functions::{CompressOptions, compress, decompress, encode, frame_info, verify};
pub use input::ArrowInput;
pub use list_type::ListType;
pub use window::ArraysWithWarning;

pub(crate) use arrays::{CRC32C, ORIGINAL_SIZE, PAYLOAD, PAYLOAD_CRC32C};
pub(crate) use column_type::check_payloads;
pub(crate) use display::{type_text, value_text};
pub(crate) use rows::{ByteRows, PayloadRows};

// What the Polars plugin and the Python module are made of.
#[cfg(feature = "python")]
pub(crate) use {
    arrays::{
        binary_array, buffer, chunk_validity, from_arrow, info_array, info_fields, manifest_array,
        manifest_fields, shared, validity,
    },
    column_type::ColumnType,
    display::unit_text,
    functions::decoding_device,
    import::{SharedArray, data_type, import, numbers},
    numbers::{CAST_ITEMS, is_number_list, item_bytes},
    texts::valid_only,
    walks::{each_value, split_rows},
};
