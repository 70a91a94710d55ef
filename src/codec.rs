//! Codecs as users choose them: settings without state, and the table of their names.

use crate::error::{Error, Result};
use crate::kernel::gzip::Gzip;
use crate::kernel::passthrough::Passthrough;
use crate::kernel::zstd::Zstd;
use crate::kernel::{Fault, Kernel, with_scratch};

/// Names by codec id, the S4 wire format's own and permanent. Ids 4 and 5 are reserved.
pub const NAMES: [&str; 9] = [
    "passthrough",
    "cpu-zstd",
    "nvcomp-zstd",
    "nvcomp-bitcomp",
    "nvcomp-gans",
    "dietgpu-ans",
    "nvcomp-gdeflate",
    "cpu-gzip",
    "cpu-zstd-dict",
];

/// A compression level, refused outside `MIN..=MAX`, never clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Level<const MIN: i32, const MAX: i32>(i32);

pub type ZstdLevel = Level<1, 22>;
pub type GzipLevel = Level<0, 9>;

impl<const MIN: i32, const MAX: i32> Level<MIN, MAX> {
    pub fn try_new(level: i64) -> Result<Self> {
        match i32::try_from(level) {
            Ok(level) if (MIN..=MAX).contains(&level) => Ok(Self(level)),
            _ => Err(Error::Argument(format!("level must be from {MIN} to {MAX}, got {level}"))),
        }
    }

    pub const fn get(self) -> i32 {
        self.0
    }
}

/// One codec and its settings: a value, equal and hashable as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    Passthrough,
    CpuZstd { level: ZstdLevel },
    CpuGzip { level: GzipLevel },
}

impl Codec {
    /// A codec by its wire name, with its default level where none is given.
    pub fn from_name(name: &str, level: Option<i64>) -> Result<Self> {
        Ok(match name {
            "passthrough" if level.is_some() => {
                return Err(Error::Argument("passthrough has no level".into()));
            }
            "passthrough" => Self::Passthrough,
            "cpu-zstd" => Self::CpuZstd { level: ZstdLevel::try_new(level.unwrap_or(3))? },
            "cpu-gzip" => Self::CpuGzip { level: GzipLevel::try_new(level.unwrap_or(6))? },
            _ if NAMES.contains(&name) => {
                return Err(Error::UnregisteredCodec(format!(
                    "codec {name:?} is not available in this version"
                )));
            }
            _ => {
                return Err(Error::UnregisteredCodec(format!(
                    "unknown codec {name:?}; the codecs are passthrough, cpu-zstd and cpu-gzip"
                )));
            }
        })
    }

    /// The compression level, of codecs that have one.
    pub const fn level(&self) -> Option<i32> {
        match self {
            Self::Passthrough => None,
            Self::CpuZstd { level } => Some(level.get()),
            Self::CpuGzip { level } => Some(level.get()),
        }
    }

    /// The codec's id in the S4 wire format.
    pub const fn id(&self) -> u32 {
        match self {
            Self::Passthrough => 0,
            Self::CpuZstd { .. } => 1,
            Self::CpuGzip { .. } => 7,
        }
    }

    /// The codec's name in the S4 wire format.
    pub const fn name(&self) -> &'static str {
        NAMES[self.id() as usize]
    }

    /// Whether compressing stays within its buffer when another thread changes the input
    /// meanwhile. libdeflate does not: it counts symbols, then reads them again to write.
    pub const fn tolerates_changing_input(&self) -> bool {
        match self {
            Self::Passthrough | Self::CpuZstd { .. } => true,
            Self::CpuGzip { .. } => false,
        }
    }

    /// Runs `work` with this codec's kernel on this thread's scratch state.
    pub(crate) fn with_kernel<R>(&self, work: impl FnOnce(&mut dyn Kernel) -> R) -> R {
        with_scratch(|scratch| match self {
            Self::Passthrough => work(&mut Passthrough),
            Self::CpuZstd { level } => work(&mut Zstd::new(level.get(), scratch)),
            Self::CpuGzip { level } => work(&mut Gzip::new(level.get(), scratch)),
        })
    }

    /// The typed error that a kernel's fault is.
    pub(crate) fn error(&self, fault: Fault, original_size: u64) -> Error {
        let codec = self.name();
        match fault {
            Fault::TooLong => Error::DecodesTooLong { codec, original_size },
            Fault::Corrupt(reason) => Error::Decode { codec, reason },
            Fault::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            Fault::Library(reason) => Error::Backend(format!("{codec}: {reason}")),
        }
    }
}
