//! Codecs as users choose them: settings without state, and the table of their names.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{Device, OnDevice, Ready};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::fcg1::{
    Algorithm, BitcompContainer, DataType, Encoding, GDeflateContainer, ZstdContainer,
};
use crate::kernel::format::Format;
use crate::kernel::gzip::Gzip;
use crate::kernel::passthrough::Passthrough;
use crate::kernel::zstd::Zstd;
use crate::kernel::{Fault, Kernel, Scratch, with_scratch};

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

/// The number that names a codec on the wire; one of [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(u32);

impl CodecId {
    pub const fn get(self) -> u32 {
        self.0
    }

    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// The id of a name of [`NAMES`].
    pub fn from_name(name: &str) -> Option<Self> {
        let id = NAMES.iter().position(|known| *known == name)?;
        u32::try_from(id).ok().map(Self)
    }

    /// Whether its payloads are decoded with a dictionary.
    pub const fn needs_dictionary(self) -> bool {
        self.0 == 8
    }
}

impl TryFrom<u32> for CodecId {
    type Error = Error;

    fn try_from(id: u32) -> Result<Self> {
        if (id as usize) < NAMES.len() {
            return Ok(Self(id));
        }
        Err(Error::Frame(format!("codec id {id} is unknown")))
    }
}

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
    CpuZstdDict { dictionary: Arc<Dictionary>, level: ZstdLevel },
    NvcompZstd { device: Device },
    NvcompBitcomp { data_type: DataType, device: Device },
    NvcompGDeflate { device: Device },
}

impl Codec {
    /// cpu-zstd-dict with the dictionary of these bytes.
    pub fn with_dictionary(bytes: &[u8], level: Option<i64>) -> Result<Self> {
        let level = ZstdLevel::try_new(level.unwrap_or(3))?;
        Ok(Self::CpuZstdDict { dictionary: Dictionary::try_new(bytes)?, level })
    }

    /// The codec that decodes what `id` names on a CPU, with `dictionary` where it needs one.
    pub fn for_decoding(id: CodecId, dictionary: Option<&Arc<Dictionary>>) -> Result<Self> {
        let device = Device::Cpu;
        Ok(match (id.get(), dictionary) {
            (0, _) => Self::Passthrough,
            (1, _) => Self::CpuZstd { level: Level(3) },
            (2, _) => Self::NvcompZstd { device },
            (3, _) => Self::NvcompBitcomp { data_type: DataType::default(), device },
            (6, _) => Self::NvcompGDeflate { device },
            (7, _) => Self::CpuGzip { level: Level(6) },
            (8, Some(dictionary)) => {
                Self::CpuZstdDict { dictionary: Arc::clone(dictionary), level: Level(3) }
            }
            (8, None) => {
                return Err(Error::DictionaryRequired);
            }
            _ => return Self::from_name(id.name(), None),
        })
    }

    /// A codec by its wire name, with its default level where none is given; one of GPUs runs
    /// where it pays.
    pub fn from_name(name: &str, level: Option<i64>) -> Result<Self> {
        let device = Device::Auto;
        Ok(match name {
            "passthrough" | "nvcomp-zstd" | "nvcomp-bitcomp" | "nvcomp-gdeflate"
                if level.is_some() =>
            {
                return Err(Error::Argument(format!("{name} has no level")));
            }
            "passthrough" => Self::Passthrough,
            "nvcomp-zstd" => Self::NvcompZstd { device },
            "nvcomp-bitcomp" => Self::NvcompBitcomp { data_type: DataType::default(), device },
            "nvcomp-gdeflate" => Self::NvcompGDeflate { device },
            "cpu-zstd" => Self::CpuZstd { level: ZstdLevel::try_new(level.unwrap_or(3))? },
            "cpu-gzip" => Self::CpuGzip { level: GzipLevel::try_new(level.unwrap_or(6))? },
            "cpu-zstd-dict" => {
                return Err(Error::UnregisteredCodec(
                    "cpu-zstd-dict needs its dictionary: CpuZstdDict(dict_bytes)".into(),
                ));
            }
            _ if NAMES.contains(&name) => {
                return Err(Error::UnregisteredCodec(format!(
                    "codec {name:?} is not available in this version"
                )));
            }
            _ => {
                return Err(Error::UnregisteredCodec(format!(
                    "unknown codec {name:?}; the codecs are passthrough, cpu-zstd, cpu-gzip, \
                     cpu-zstd-dict (with its dictionary), nvcomp-zstd, nvcomp-bitcomp and \
                     nvcomp-gdeflate"
                )));
            }
        })
    }

    /// The compression level, of codecs that have one.
    pub const fn level(&self) -> Option<i32> {
        match self {
            Self::Passthrough
            | Self::NvcompZstd { .. }
            | Self::NvcompBitcomp { .. }
            | Self::NvcompGDeflate { .. } => None,
            Self::CpuZstd { level } => Some(level.get()),
            Self::CpuGzip { level } => Some(level.get()),
            Self::CpuZstdDict { level, .. } => Some(level.get()),
        }
    }

    /// The dictionary, of the codec that has one.
    pub fn dictionary(&self) -> Option<&Arc<Dictionary>> {
        match self {
            Self::CpuZstdDict { dictionary, .. } => Some(dictionary),
            _ => None,
        }
    }

    /// How its containers are coded, and where, if it is one of GPUs.
    pub fn encoding(&self) -> Option<(Encoding, Device)> {
        match *self {
            Self::NvcompZstd { device } => Some((Encoding::new(Algorithm::Zstd), device)),
            Self::NvcompBitcomp { data_type, device } => {
                Some((Encoding { algorithm: Algorithm::Bitcomp, data_type }, device))
            }
            Self::NvcompGDeflate { device } => Some((Encoding::new(Algorithm::GDeflate), device)),
            _ => None,
        }
    }

    /// The same with what a codec of GPUs has for settings, as text.
    pub fn with_gpu_settings(self, data_type: Option<&str>, device: Option<&str>) -> Result<Self> {
        let codec = match (self, data_type) {
            (Self::NvcompBitcomp { device, .. }, Some(name)) => {
                Self::NvcompBitcomp { data_type: DataType::try_new(name)?, device }
            }
            (other, _) => other,
        };
        Ok(match device {
            Some(device) => codec.on(device.parse()?),
            None => codec,
        })
    }

    /// What Bitcomp takes its input for.
    pub fn data_type(&self) -> Option<DataType> {
        match self {
            Self::NvcompBitcomp { data_type, .. } => Some(*data_type),
            _ => None,
        }
    }

    /// Where it runs, if it is one of GPUs.
    pub fn device(&self) -> Option<Device> {
        self.encoding().map(|(_, device)| device)
    }

    /// The same on `device`, if it is one of GPUs.
    pub fn on(self, device: Device) -> Self {
        match self {
            Self::NvcompZstd { .. } => Self::NvcompZstd { device },
            Self::NvcompBitcomp { data_type, .. } => Self::NvcompBitcomp { data_type, device },
            Self::NvcompGDeflate { .. } => Self::NvcompGDeflate { device },
            other => other,
        }
    }

    /// The codec's id in the S4 wire format.
    pub const fn id(&self) -> CodecId {
        CodecId(match self {
            Self::Passthrough => 0,
            Self::CpuZstd { .. } => 1,
            Self::NvcompZstd { .. } => 2,
            Self::NvcompBitcomp { .. } => 3,
            Self::NvcompGDeflate { .. } => 6,
            Self::CpuGzip { .. } => 7,
            Self::CpuZstdDict { .. } => 8,
        })
    }

    /// The codec's name in the S4 wire format.
    pub const fn name(&self) -> &'static str {
        self.id().name()
    }

    /// The format that its payloads begin as; passthrough's have none.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Passthrough => None,
            Self::CpuZstd { .. } | Self::CpuZstdDict { .. } => Some(Format::Zstd),
            Self::CpuGzip { .. } => Some(Format::Gzip),
            Self::NvcompZstd { .. } | Self::NvcompBitcomp { .. } | Self::NvcompGDeflate { .. } => {
                Some(Format::Container(self.encoding().map(|(encoding, _)| encoding.algorithm)))
            }
        }
    }

    /// Runs `work` with this codec's kernel on this thread's scratch state.
    pub(crate) fn with_kernel<R>(&self, work: impl FnOnce(&mut dyn Kernel) -> R) -> R {
        with_scratch(|scratch| self.with_kernel_on(scratch, work))
    }

    /// Runs `work` with this codec's kernel.
    pub(crate) fn with_kernel_on<R>(
        &self,
        scratch: &mut Scratch,
        work: impl FnOnce(&mut dyn Kernel) -> R,
    ) -> R {
        self.with_cpu_kernel(scratch, |cpu| match self.encoding() {
            None | Some((_, Device::Cpu)) => work(cpu),
            Some((encoding, device)) => work(&mut OnDevice { device, encoding, cpu }),
        })
    }

    /// Runs `work` with the kernel for `input` where others may have it ready, else with that
    /// of the CPU.
    pub(crate) fn with_ready_kernel<R>(
        &self,
        input: &[u8],
        ready: &Ready,
        scratch: &mut Scratch,
        work: impl FnOnce(&mut dyn Kernel) -> R,
    ) -> R {
        self.with_cpu_kernel(scratch, |cpu| match self.encoding() {
            None => work(cpu),
            Some((encoding, _)) => ready.with_kernel(input, encoding, cpu, work),
        })
    }

    fn with_cpu_kernel<R>(
        &self,
        scratch: &mut Scratch,
        work: impl FnOnce(&mut dyn Kernel) -> R,
    ) -> R {
        match self {
            Self::Passthrough => work(&mut Passthrough),
            Self::CpuZstd { level } => work(&mut Zstd::new(level.get(), None, scratch)),
            Self::CpuGzip { level } => work(&mut Gzip::new(level.get(), scratch)),
            Self::NvcompZstd { .. } => work(&mut ZstdContainer(Zstd::new(3, None, scratch))),
            Self::NvcompBitcomp { data_type, .. } => work(&mut BitcompContainer(*data_type)),
            Self::NvcompGDeflate { .. } => {
                work(&mut GDeflateContainer(scratch.gdeflate.get_or_insert_default()))
            }
            Self::CpuZstdDict { dictionary, level } => {
                work(&mut Zstd::new(level.get(), Some(dictionary), scratch))
            }
        }
    }

    /// The typed error that a kernel's fault is.
    pub(crate) fn error(&self, fault: Fault, original_size: u64) -> Error {
        let codec = self.name();
        match fault {
            Fault::TooLong => Error::DecodesTooLong { codec, original_size },
            Fault::Corrupt(reason) => Error::Decode { codec, reason },
            Fault::Dictionary { reason, is_missing } => {
                Error::Dictionary { codec, reason, is_missing }
            }
            Fault::Container(reason) => {
                Error::Backend(format!("{codec} container is damaged: {reason}"))
            }
            Fault::OtherCodec(actual) => Error::CodecMismatch { expected: codec, actual },
            Fault::Length { decoded } => {
                Error::SizeMismatch { expected: original_size, actual: decoded }
            }
            Fault::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            Fault::Library(reason) => Error::Backend(format!("{codec}: {reason}")),
            Fault::Other(error) => *error,
            Fault::Unavailable(reason) => Error::Unavailable(format!("{codec}: {reason}")),
        }
    }
}
