//! libnvcomp, bound at run time: its batched calls for the three codecs, of versions 5 and 6.
//!
//! Bound by version, never by whether a symbol is present: 4.x has functions of the same names
//! with other arguments. Source: the headers of nvCOMP 5.1 and 6.0.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};

use super::driver::{Current, DeviceMemory, DevicePtr, Stream};
use super::error::GpuError;
use super::library::Library;
use crate::kernel::fcg1::{Algorithm, Encoding};

/// Versions whose functions take these arguments; 5.1 is 5100.
const SUPPORTED: std::ops::RangeInclusive<u32> = 5000..=6999;

/// The options of any codec in either direction. Unused fields must be zero.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Options([c_int; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Compress,
    Decompress,
}

/// What a batch does: the direction, and how its chunks are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub direction: Direction,
    pub encoding: Encoding,
}

impl Work {
    /// Whether nvCOMP examines the chunks before it queues the work: for Bitcomp it waits for the
    /// stream, reads from the first chunk what they must have in common, and refuses all if one is
    /// bad or of another data type.
    pub fn is_examined_first(self) -> bool {
        self.direction == Direction::Decompress && self.encoding.algorithm == Algorithm::Bitcomp
    }

    /// Whether nvCOMP leaves bytes within a coded chunk as they were: of a GDeflate page the words
    /// that no lane reads, and some of a short Bitcomp chunk. They must be zero before the launch,
    /// or memory of other values would be stored, and equal values would not have equal payloads.
    pub fn leaves_gaps(self) -> bool {
        self.direction == Direction::Compress && self.encoding.algorithm != Algorithm::Zstd
    }

    fn options(self) -> Options {
        let mut options = [0; 16];
        if self.direction == Direction::Compress {
            match self.encoding.algorithm {
                Algorithm::Zstd => {}
                // 0 is entropy coding only; 1 is the library's own default.
                Algorithm::GDeflate => options[0] = 1,
                Algorithm::Bitcomp => options[1] = self.encoding.packed_type().nvcomp_type(),
            }
        }
        Options(options)
    }
}

/// Chunks and temporary memory must begin at multiples of these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Alignments {
    pub input: usize,
    pub output: usize,
    pub temp: usize,
}

/// The size of a launch: chunks, bytes of the longest original, bytes of all originals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub chunks: usize,
    pub longest: usize,
    pub total: usize,
}

/// Invalid value, not supported, cannot decompress.
const REFUSALS: [c_int; 3] = [10, 11, 12];

type GetMaxOutput = unsafe extern "C" fn(usize, Options, *mut usize) -> c_int;
type GetAlignments = unsafe extern "C" fn(Options, *mut Alignments) -> c_int;
type GetTempSize5 = unsafe extern "C" fn(usize, usize, Options, *mut usize, usize) -> c_int;
type GetTempSize6 =
    unsafe extern "C" fn(usize, usize, Options, *mut usize, usize, *mut c_void) -> c_int;
type Compress = unsafe extern "C" fn(
    DevicePtr,
    DevicePtr,
    usize,
    usize,
    DevicePtr,
    usize,
    DevicePtr,
    DevicePtr,
    Options,
    DevicePtr,
    *mut c_void,
) -> c_int;
type Decompress = unsafe extern "C" fn(
    DevicePtr,
    DevicePtr,
    DevicePtr,
    DevicePtr,
    usize,
    DevicePtr,
    usize,
    DevicePtr,
    Options,
    DevicePtr,
    *mut c_void,
) -> c_int;

#[derive(Clone, Copy)]
enum GetTempSize {
    V5(GetTempSize5),
    V6(GetTempSize6),
}

/// The functions of one algorithm.
struct Functions {
    name: &'static str,
    max_output: GetMaxOutput,
    /// By direction.
    alignments: [GetAlignments; 2],
    temp_size: [GetTempSize; 2],
    compress: Compress,
    decompress: Decompress,
}

/// A loaded libnvcomp.
pub struct Nvcomp {
    version: u32,
    path: PathBuf,
    /// By [`Algorithm`]: zstd, Bitcomp, GDeflate.
    codecs: [Functions; 3],
}

/// Addresses of the arrays on the device that describe the chunks of a launch.
#[derive(Clone, Copy)]
pub struct DeviceArrays {
    /// Addresses and sizes of the chunks.
    pub inputs: DevicePtr,
    pub input_sizes: DevicePtr,
    /// Addresses to write the coded chunks to.
    pub outputs: DevicePtr,
    /// Bytes that fit there; only decompression reads them.
    pub capacities: DevicePtr,
    /// Written: actual sizes and statuses.
    pub output_sizes: DevicePtr,
    pub statuses: DevicePtr,
}

impl Nvcomp {
    /// Binds all functions of `library`, which was loaded from `path`.
    pub fn bind(library: &'static Library, path: &Path) -> Result<Self, GpuError> {
        let find = Finder { library, path };
        let mut properties = [0u32; 2];
        // SAFETY: the function has this type, and writes two numbers.
        let status = unsafe {
            let get: unsafe extern "C" fn(*mut u32) -> c_int = find.get("nvcompGetProperties")?;
            get(properties.as_mut_ptr())
        };
        check("nvcompGetProperties", status)?;
        let [version, _] = properties;
        if !SUPPORTED.contains(&version) {
            return Err(GpuError::Unavailable(format!(
                "{} is nvCOMP {}; versions 5 and 6 are supported",
                path.display(),
                dotted(version)
            )));
        }
        // SAFETY: the library has that version.
        let codecs = unsafe {
            [
                Functions::bind(&find, "Zstd", version)?,
                Functions::bind(&find, "Bitcomp", version)?,
                Functions::bind(&find, "Gdeflate", version)?,
            ]
        };
        Ok(Self { version, path: path.to_owned(), codecs })
    }

    /// The version, such as "5.1.0", and the library's path.
    pub fn describe(&self) -> String {
        format!("nvCOMP {} ({})", dotted(self.version), self.path.display())
    }

    fn codec(&self, work: Work) -> &Functions {
        &self.codecs[match work.encoding.algorithm {
            Algorithm::Zstd => 0,
            Algorithm::Bitcomp => 1,
            Algorithm::GDeflate => 2,
        }]
    }

    /// The most bytes that a chunk of `longest` bytes can compress to.
    pub fn max_output(&self, work: Work, longest: usize) -> Result<usize, GpuError> {
        let (codec, mut bytes) = (self.codec(work), 0);
        // SAFETY: the function writes one number.
        let status = unsafe { (codec.max_output)(longest, work.options(), &raw mut bytes) };
        codec.check(work, "GetMaxOutputChunkSize", status)?;
        Ok(bytes)
    }

    /// The alignments that a launch needs.
    pub fn alignments(&self, work: Work) -> Result<Alignments, GpuError> {
        let (codec, mut found) = (self.codec(work), Alignments::default());
        // SAFETY: the function writes three numbers.
        let status =
            unsafe { (codec.alignments[work.direction as usize])(work.options(), &raw mut found) };
        codec.check(work, "GetRequiredAlignments", status)?;
        Ok(found)
    }

    /// Bytes of temporary memory that a launch of that size takes.
    pub fn temp_size(
        &self,
        _current: &Current,
        work: Work,
        size: Size,
        stream: &Stream,
    ) -> Result<usize, GpuError> {
        let (codec, options, mut bytes) = (self.codec(work), work.options(), 0);
        let Size { chunks, longest, total } = size;
        // SAFETY: the functions write one number, and the stream is alive.
        let status = unsafe {
            match codec.temp_size[work.direction as usize] {
                GetTempSize::V5(get) => get(chunks, longest, options, &raw mut bytes, total),
                GetTempSize::V6(get) => {
                    get(chunks, longest, options, &raw mut bytes, total, stream.handle())
                }
            }
        };
        codec.check(work, "GetTempSize", status)?;
        Ok(bytes)
    }

    /// Queues coding the chunks that `arrays` describe.
    ///
    /// # Safety
    /// - Each array has `size.chunks` items, and their chunks lie in device memory, as aligned
    ///   as [`alignments`](Self::alignments) says and as long as `size` and the arrays say.
    /// - The memory of each output is as long as [`max_output`](Self::max_output), or its
    ///   capacity, says.
    /// - Chunks to decompress have passed [`Container::is_plain`](crate::kernel::fcg1::Container::is_plain).
    /// - `temp` is as long as [`temp_size`](Self::temp_size) says, and no other launch uses it
    ///   at the same time.
    /// - All of this memory lives until the stream's work is done, and only work of this stream
    ///   uses it.
    pub unsafe fn launch(
        &self,
        current: &Current,
        work: Work,
        size: Size,
        arrays: DeviceArrays,
        temp: &DeviceMemory,
        stream: &Stream,
    ) -> Result<(), GpuError> {
        let (codec, options) = (self.codec(work), work.options());
        let (temp, temp_bytes, stream) = (temp.start(), temp.len(), stream.handle());
        let DeviceArrays { inputs, input_sizes, outputs, capacities, output_sizes, statuses } =
            arrays;
        current.check_usable()?;
        // SAFETY: as the caller promises.
        let status = unsafe {
            match work.direction {
                Direction::Compress => (codec.compress)(
                    inputs,
                    input_sizes,
                    size.longest,
                    size.chunks,
                    temp,
                    temp_bytes,
                    outputs,
                    output_sizes,
                    options,
                    statuses,
                    stream,
                ),
                Direction::Decompress => (codec.decompress)(
                    inputs,
                    input_sizes,
                    capacities,
                    output_sizes,
                    size.chunks,
                    temp,
                    temp_bytes,
                    outputs,
                    options,
                    statuses,
                    stream,
                ),
            }
        };
        match codec.check(work, "Async", status) {
            Err(GpuError::Nvcomp { call, status })
                if work.is_examined_first() && REFUSALS.contains(&status) =>
            {
                Err(GpuError::Refused { call, status })
            }
            other => other,
        }
    }
}

impl Functions {
    /// # Safety
    /// The library has that version.
    unsafe fn bind(find: &Finder, name: &'static str, version: u32) -> Result<Self, GpuError> {
        let symbol = |direction: Direction, call| format!("nvcompBatched{name}{direction:?}{call}");
        let (to, from) = (Direction::Compress, Direction::Decompress);
        let temp_size = |direction| {
            // SAFETY: the functions have these types in these versions.
            unsafe {
                if version < 6000 {
                    find.get(&symbol(direction, "GetTempSizeAsync")).map(GetTempSize::V5)
                } else {
                    find.get(&symbol(direction, "GetTempSize")).map(GetTempSize::V6)
                }
            }
        };
        // SAFETY: the functions have these types in all supported versions.
        unsafe {
            Ok(Self {
                name,
                max_output: find.get(&symbol(to, "GetMaxOutputChunkSize"))?,
                alignments: [
                    find.get(&symbol(to, "GetRequiredAlignments"))?,
                    find.get(&symbol(from, "GetRequiredAlignments"))?,
                ],
                temp_size: [temp_size(to)?, temp_size(from)?],
                compress: find.get(&symbol(to, "Async"))?,
                decompress: find.get(&symbol(from, "Async"))?,
            })
        }
    }

    fn check(&self, work: Work, call: &str, status: c_int) -> Result<(), GpuError> {
        let (name, direction) = (self.name, work.direction);
        check(&format!("nvcompBatched{name}{direction:?}{call}"), status)
    }
}

struct Finder<'a> {
    library: &'a Library,
    path: &'a Path,
}

impl Finder<'_> {
    /// # Safety
    /// `T` is the type of the function.
    unsafe fn get<T: Copy>(&self, name: &str) -> Result<T, GpuError> {
        // SAFETY: as the caller promises.
        match unsafe { self.library.get::<T>(name) } {
            Ok(found) => Ok(*found),
            Err(_) => {
                let path = self.path.display();
                Err(GpuError::Unavailable(format!("{path} lacks {name}; is it libnvcomp?")))
            }
        }
    }
}

fn check(call: &str, status: c_int) -> Result<(), GpuError> {
    if status == 0 { Ok(()) } else { Err(GpuError::Nvcomp { call: call.into(), status }) }
}

/// 5100 as "5.1.0".
fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1000, version / 100 % 10, version % 100)
}
