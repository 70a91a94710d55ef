//! FCG1, the container of what GPUs write.
//!
//! ```text
//! offset 0       4          5          6  8      16           20      24
//!        "FCG1"  algorithm  data type  0  total  chunk bytes  chunks  sizes      the chunks
//!        u8 x 4  u8         u8, or 0   u16  u64  u32          u32     u32 each   in order
//! ```
//!
//! Chunk `i` holds the original's bytes from `i * chunk bytes` on. Integers are
//! little-endian. See "Container" in `docs/format.md`.

mod cpu;
mod writer;

use super::Fault;
use super::format::resembles;
use super::gdeflate::PAGE_MAX;
use super::zstd::is_plain_frame;
use crate::error::{Error, Result as CrateResult};

pub use cpu::CpuContainer;
pub use writer::ContainerWriter;

/// What containers start with.
pub const MAGIC: [u8; 4] = *b"FCG1";
/// Bytes before the table of chunk sizes.
pub const HEADER_BYTES: usize = 24;

/// Bytes of the original per chunk, as all writers have it.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The longest original of a chunk, with any algorithm but GDeflate.
const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// What chunks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// zstd frames.
    Zstd = 3,
    /// Bitcomp, a format of NVIDIA's.
    Bitcomp = 4,
    /// GDeflate pages.
    GDeflate = 5,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Bitcomp, Self::GDeflate];

    /// The name of the codec whose containers hold such chunks.
    pub const fn codec(self) -> &'static str {
        match self {
            Self::Zstd => "nvcomp-zstd",
            Self::Bitcomp => "nvcomp-bitcomp",
            Self::GDeflate => "nvcomp-gdeflate",
        }
    }

    const fn max_chunk_bytes(self) -> u32 {
        match self {
            Self::Zstd | Self::Bitcomp => MAX_CHUNK_BYTES,
            Self::GDeflate => PAGE_MAX as u32,
        }
    }
}

/// How the chunks of a container are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// What codes the chunks.
    pub algorithm: Algorithm,
    /// What Bitcomp takes its input for; `None` leaves that to the numbers of a column. Other
    /// algorithms have none.
    pub data_type: Option<DataType>,
}

impl Encoding {
    /// Coded by `algorithm` with its default settings.
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, data_type: None }
    }

    /// The same for Bitcomp of that data type; other algorithms have none.
    pub fn with_data_type(self, data_type: DataType) -> Self {
        match self.algorithm {
            Algorithm::Bitcomp => Self { data_type: Some(data_type), ..self },
            Algorithm::Zstd | Algorithm::GDeflate => self,
        }
    }

    /// The same for values that are numbers of that type, unless a type is set.
    pub fn for_numbers(self, numbers: Option<DataType>) -> Self {
        match (self.data_type, numbers) {
            (None, Some(numbers)) => self.with_data_type(numbers),
            _ => self,
        }
    }

    /// What values are packed as: `char` where nothing says otherwise.
    pub fn packed_type(self) -> DataType {
        self.data_type.unwrap_or_default()
    }
}

/// What Bitcomp takes its input for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataType(u8);

impl DataType {
    /// Name, bytes, number in the container, number in nvCOMP: floats pack as unsigned integers
    /// of their width, for their own numbers differ between versions of nvCOMP.
    const TABLE: [(&'static str, usize, u8, i32); 13] = [
        ("char", 1, 0, 0),
        ("u8", 1, 1, 1),
        ("u16", 2, 2, 3),
        ("u32", 4, 3, 5),
        ("u64", 8, 4, 7),
        ("i8", 1, 5, 0),
        ("i16", 2, 6, 2),
        ("i32", 4, 7, 4),
        ("i64", 8, 8, 6),
        ("f16", 2, 2, 3),
        ("bf16", 2, 11, 3),
        ("f32", 4, 9, 5),
        ("f64", 8, 10, 7),
    ];

    /// The data type of that name, such as `"u32"`.
    pub fn try_new(name: &str) -> CrateResult<Self> {
        match Self::TABLE.iter().position(|row| row.0 == name) {
            Some(row) => Ok(Self(row as u8)),
            None => {
                let names = Self::TABLE.map(|row| row.0).join(", ");
                Err(Error::Argument(format!(
                    "expected data_type to be one of {names}, got {name:?}"
                )))
            }
        }
    }

    /// The type of integers of that many bytes; floats pack as unsigned ones.
    pub fn of_integers(is_signed: bool, bytes: usize) -> Option<Self> {
        let letter = if is_signed { 'i' } else { 'u' };
        let is_one = |row: &(&str, usize, u8, i32)| row.1 == bytes && row.0.starts_with(letter);
        Self::TABLE.iter().position(is_one).map(|row| Self(row as u8))
    }

    const fn row(self) -> (&'static str, usize, u8, i32) {
        Self::TABLE[self.0 as usize]
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Refuses a value that is no whole number of numbers.
    pub fn check_len(self, len: usize) -> Result<(), Fault> {
        let (name, size, ..) = self.row();
        if len.is_multiple_of(size) {
            return Ok(());
        }
        Err(Fault::Library(format!(
            "a value of {len} bytes is not a multiple of the {size} bytes of {name}; \
             data_type=\"char\" takes any length"
        )))
    }

    const fn container_type(self) -> u8 {
        self.row().2
    }

    /// The first of that number in containers; types that share one pack alike.
    fn of_container(number: u8) -> Option<Self> {
        Self::TABLE.iter().position(|row| row.2 == number).map(|row| Self(row as u8))
    }

    /// Its number in nvCOMP.
    pub const fn nvcomp_type(self) -> i32 {
        self.row().3
    }
}

/// A container whose arithmetic holds.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// How its chunks are coded.
    pub encoding: Encoding,
    /// Bytes of the original.
    pub total: u64,
    /// Bytes of the original per chunk, the last one maybe less.
    pub chunk_bytes: u32,
    sizes: &'a [[u8; 4]],
    chunks: &'a [u8],
}

impl<'a> Container<'a> {
    /// Checks all that can be checked without decoding.
    pub fn parse(bytes: &'a [u8], algorithm: Algorithm) -> Result<Self, Fault> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            let len = bytes.len();
            return damaged(format!(
                "expected a header of {HEADER_BYTES} bytes, found only {len} bytes"
            ));
        };
        if header[..4] != MAGIC {
            return damaged(format!(
                "expected magic FCG1, found \"{}\"{}",
                header[..4].escape_ascii(),
                resembles(bytes)
            ));
        }
        match algorithm_of(header) {
            Some(found) if found == algorithm => {}
            Some(other) => return Err(Fault::OtherCodec(other.codec())),
            None => return damaged(format!("unknown algorithm {}", header[4])),
        }
        let data_type = DataType::of_container(header[5])
            .filter(|&known| algorithm == Algorithm::Bitcomp || known == DataType::default());
        let Some(data_type) = data_type else {
            return damaged(format!("unknown data type {} for {}", header[5], algorithm.codec()));
        };
        if header[6..8] != [0, 0] {
            return damaged("the reserved bytes 6 and 7 are not zero".into());
        }
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let total = u64::from(number(8)) | u64::from(number(12)) << 32;
        let (chunk_bytes, count) = (number(16), number(20));
        let most = algorithm.max_chunk_bytes();
        if !(1..=most).contains(&chunk_bytes) {
            return damaged(format!(
                "chunks of {chunk_bytes} bytes are outside the range of 1 to {most}"
            ));
        }
        if u64::from(count) != total.div_ceil(chunk_bytes.into()) {
            return damaged(format!(
                "{count} chunks of {chunk_bytes} bytes do not make {total} bytes"
            ));
        }
        let rest = &bytes[HEADER_BYTES..];
        let table =
            usize::try_from(u64::from(count) * 4).ok().and_then(|len| rest.split_at_checked(len));
        let Some((table, chunks)) = table else {
            return damaged(format!("the table of {count} chunk sizes is truncated"));
        };
        let (sizes, _) = table.as_chunks();
        let sum: u64 = sizes.iter().map(|size| u64::from(u32::from_le_bytes(*size))).sum();
        if sum != chunks.len() as u64 {
            return damaged(format!("expected {sum} bytes of chunks, found {}", chunks.len()));
        }
        if sizes.contains(&[0; 4]) {
            return damaged("a chunk is empty".into());
        }
        let encoding = Encoding::new(algorithm).with_data_type(data_type);
        Ok(Self { encoding, total, chunk_bytes, sizes, chunks })
    }

    /// The number of chunks.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Whether all chunks are of the shape that GPU encoders give them, which is all that a GPU
    /// decoder may be given: what it makes of other input is not defined.
    pub fn is_plain(&self) -> bool {
        self.chunks().all(|(chunk, len)| match self.encoding.algorithm {
            Algorithm::Zstd => is_plain_frame(chunk, len),
            // 32 lanes begin with a word each.
            Algorithm::GDeflate => chunk.len() >= 128 && chunk.len().is_multiple_of(4),
            Algorithm::Bitcomp => true,
        })
    }

    /// Each chunk, and how many bytes of the original it holds. Sizes that changed since they
    /// were checked end where the chunks do.
    pub fn chunks(&self) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
        let (mut rest, mut left) = (self.chunks, self.total);
        let chunk_bytes = u64::from(self.chunk_bytes);
        self.sizes.iter().map(move |size| {
            let size = u32::from_le_bytes(*size) as usize;
            let (chunk, later) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = later;
            let len = left.min(chunk_bytes);
            left -= len;
            (chunk, len as usize)
        })
    }
}

/// The algorithm that the header of a container names, if it is one that is known.
pub fn algorithm_of(container: &[u8]) -> Option<Algorithm> {
    let number = *container.get(4)?;
    Algorithm::ALL.into_iter().find(|known| *known as u8 == number)
}

fn damaged<T>(what: String) -> Result<T, Fault> {
    Err(Fault::Container(what))
}

/// How many chunks a value of `len` bytes has.
pub fn chunk_count(len: usize) -> Result<u32, Fault> {
    u32::try_from(len.div_ceil(CHUNK_BYTES))
        .map_err(|_| Fault::Library("the value has more than 2^32 chunks".into()))
}
