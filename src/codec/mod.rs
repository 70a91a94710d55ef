//! Codecs as users choose them: settings without state, and one value compressed or decoded.
//!
//! ```text
//! Codec::compress -> Codec::kernel -> ValueWriter::write -> Kernel::compress -> Manifest::seal
//! Codec::admit  -> Codec::kernel -> Manifest::admit -> Kernel::decoded_bound
//! Codec::decode -> Codec::kernel -> Manifest::decode -> Kernel::decompress -> Manifest::confirm
//! ```

mod any_kernel;
mod form;
mod names;

use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::error::{Error, Result, reserve};
use crate::gpu::{Device, GpuKernel, ItemId, Prefetch};
use crate::kernel::Scratch;
use crate::kernel::dictionary::Dictionary;
use crate::kernel::dictionary_set::DictionarySet;
use crate::kernel::fcg1::{CpuContainer, DataType, Encoding};
use crate::kernel::format::Format;
use crate::kernel::gzip::Gzip;
use crate::kernel::passthrough::Passthrough;
use crate::kernel::zstd::Zstd;
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest, UNCHECKED_BYTES};
use crate::wire::codec_id::CodecId;

pub(crate) use any_kernel::AnyKernel;
pub(crate) use form::ValueWriter;
pub use form::{Fallback, Form};

/// A compression level, refused outside `MIN..=MAX`, never clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Level<const MIN: i32, const MAX: i32, const DEFAULT: i32>(i32);

/// zstd's levels, of which the negative ones are left out.
pub type ZstdLevel = Level<1, 22, 3>;
/// gzip's levels; 0 stores.
pub type GzipLevel = Level<0, 9, 6>;

impl<const MIN: i32, const MAX: i32, const DEFAULT: i32> Level<MIN, MAX, DEFAULT> {
    /// The default level.
    pub const DEFAULT: Self = Self(DEFAULT);

    /// The level of that number.
    pub fn try_new(level: i64) -> Result<Self> {
        match i32::try_from(level) {
            Ok(level) if (MIN..=MAX).contains(&level) => Ok(Self(level)),
            _ => Err(Error::Argument(format!("level must be from {MIN} to {MAX}, got {level}"))),
        }
    }

    /// The level of that number, or the default where none is given.
    pub fn or_default(level: Option<i64>) -> Result<Self> {
        level.map_or(Ok(Self::DEFAULT), Self::try_new)
    }

    /// The nearest level to that number.
    pub fn clamped(level: i64) -> Self {
        Self(level.clamp(MIN.into(), MAX.into()) as i32)
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// One codec and its settings: a value, equal and hashable as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// No compression: the payload is the value.
    Passthrough,
    /// zstd (RFC 8878): `cpu-zstd`, or `cpu-zstd-dict` with a dictionary.
    Zstd {
        /// The compression level.
        level: ZstdLevel,
        /// The current one compresses, and payloads are decoded each with the one that it names.
        dictionary: Option<Arc<DictionarySet>>,
    },
    /// gzip (RFC 1952): `cpu-gzip`.
    Gzip {
        /// The compression level.
        level: GzipLevel,
    },
    /// Containers of chunks as GPUs write them: the `nvcomp-*` codecs.
    Nvcomp {
        /// How the chunks are coded.
        encoding: Encoding,
        /// Where it runs.
        device: Device,
    },
}

impl Codec {
    /// cpu-zstd-dict with the dictionary of these bytes.
    pub fn with_dictionary(bytes: &[u8], level: Option<i64>) -> Result<Self> {
        let level = ZstdLevel::or_default(level)?;
        let dictionary = DictionarySet::single(Dictionary::try_new(bytes)?);
        Ok(Self::Zstd { level, dictionary: Some(Arc::new(dictionary)) })
    }

    /// A codec by its wire name, or `zstd` or `gzip` for short, with its default level where none
    /// is given; a GPU codec runs on [`Device::Auto`].
    pub fn from_name(name: &str, level: Option<i64>) -> Result<Self> {
        Self::from_id(names::find(name)?, level)
    }

    fn from_id(id: CodecId, level: Option<i64>) -> Result<Self> {
        let codec = match (id, id.algorithm()) {
            (CodecId::ZSTD, _) => {
                Self::Zstd { level: ZstdLevel::or_default(level)?, dictionary: None }
            }
            (CodecId::GZIP, _) => Self::Gzip { level: GzipLevel::or_default(level)? },
            (CodecId::PASSTHROUGH, _) => Self::Passthrough,
            (_, Some(algorithm)) => {
                Self::Nvcomp { encoding: Encoding::new(algorithm), device: Device::Auto }
            }
            (CodecId::ZSTD_DICT, _) => {
                return Err(Error::UnregisteredCodec(
                    "cpu-zstd-dict needs its dictionary: CpuZstdDict(dict_bytes)".into(),
                ));
            }
            _ => {
                return Err(Error::UnregisteredCodec(format!(
                    "codec {:?} is not available in this version",
                    id.name()
                )));
            }
        };
        if level.is_some() && codec.level().is_none() {
            return Err(Error::Argument(format!("{} has no level; leave it out", id.name())));
        }
        Ok(codec)
    }

    /// The codec that decodes what `id` names on a CPU, with those of `dictionary` where it needs
    /// one.
    pub fn for_decoding(id: CodecId, dictionary: Option<&Arc<DictionarySet>>) -> Result<Self> {
        if !id.needs_dictionary() {
            return Self::from_id(id, None).map(|codec| codec.on(Device::Cpu));
        }
        let dictionary = dictionary.ok_or(Error::DictionaryRequired)?;
        Ok(Self::Zstd { level: ZstdLevel::DEFAULT, dictionary: Some(Arc::clone(dictionary)) })
    }

    /// The compression level, of a codec that has one.
    pub const fn level(&self) -> Option<i32> {
        match self {
            Self::Zstd { level, .. } => Some(level.get()),
            Self::Gzip { level } => Some(level.get()),
            Self::Passthrough | Self::Nvcomp { .. } => None,
        }
    }

    /// The dictionaries, of a codec that has them.
    pub fn dictionary(&self) -> Option<&Arc<DictionarySet>> {
        match self {
            Self::Zstd { dictionary, .. } => dictionary.as_ref(),
            _ => None,
        }
    }

    /// How its containers are coded, and where, of a GPU codec.
    pub fn encoding(&self) -> Option<(Encoding, Device)> {
        match *self {
            Self::Nvcomp { encoding, device } => Some((encoding, device)),
            _ => None,
        }
    }

    /// The same with the settings of a GPU codec, as text.
    pub fn with_gpu_settings(self, data_type: Option<&str>, device: Option<&str>) -> Result<Self> {
        let data_type = data_type.map(DataType::try_new).transpose()?;
        let device = device.map(str::parse).transpose()?;
        Ok(match self {
            Self::Nvcomp { encoding, device: default } => Self::Nvcomp {
                encoding: data_type.map_or(encoding, |kind| encoding.with_data_type(kind)),
                device: device.unwrap_or(default),
            },
            other => other,
        })
    }

    /// What Bitcomp takes its input for; `None` where the column says, and of other codecs.
    pub fn data_type(&self) -> Option<DataType> {
        self.encoding().and_then(|(encoding, _)| encoding.data_type)
    }

    /// The same for values that are numbers of that type, where Bitcomp has no type of its own.
    pub fn for_numbers(&self, numbers: Option<DataType>) -> Self {
        match *self {
            Self::Nvcomp { encoding, device } => {
                Self::Nvcomp { encoding: encoding.for_numbers(numbers), device }
            }
            _ => self.clone(),
        }
    }

    /// Where a GPU codec runs.
    pub fn device(&self) -> Option<Device> {
        self.encoding().map(|(_, device)| device)
    }

    /// The same on `device`, of a GPU codec; others are returned as they are.
    pub fn on(self, device: Device) -> Self {
        match self {
            Self::Nvcomp { encoding, .. } => Self::Nvcomp { encoding, device },
            other => other,
        }
    }

    /// The codec's id in the S4 wire format.
    pub const fn id(&self) -> CodecId {
        match self {
            Self::Passthrough => CodecId::PASSTHROUGH,
            Self::Zstd { dictionary: None, .. } => CodecId::ZSTD,
            Self::Zstd { dictionary: Some(_), .. } => CodecId::ZSTD_DICT,
            Self::Gzip { .. } => CodecId::GZIP,
            Self::Nvcomp { encoding, .. } => CodecId::of_container(encoding.algorithm),
        }
    }

    /// The codec's name in the S4 wire format.
    pub const fn name(&self) -> &'static str {
        self.id().name()
    }

    /// The format that its payloads begin as; passthrough's have none.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Passthrough => None,
            Self::Zstd { .. } => Some(Format::Zstd),
            Self::Gzip { .. } => Some(Format::Gzip),
            Self::Nvcomp { encoding, .. } => Some(Format::Container(Some(encoding.algorithm))),
        }
    }

    /// This codec's kernel for one value, on `scratch`.
    pub(crate) fn kernel<'k>(&'k self, scratch: &'k mut Scratch) -> AnyKernel<'k> {
        match *self {
            Self::Nvcomp { encoding, device } if device != Device::Cpu => {
                let cpu_fallback = CpuContainer::new(encoding, scratch);
                AnyKernel::Gpu(GpuKernel::on_device(device, encoding, cpu_fallback))
            }
            _ => self.cpu_kernel(scratch),
        }
    }

    /// The kernel for one item of a call, of which a GPU has done or does what `prefetch` says.
    pub(crate) fn prefetched_kernel<'k>(
        &'k self,
        id: ItemId,
        prefetch: &'k Prefetch<'k>,
        scratch: &'k mut Scratch,
    ) -> AnyKernel<'k> {
        let Self::Nvcomp { encoding, .. } = *self else { return self.cpu_kernel(scratch) };
        if let Some(kernel) = prefetch.find(id, encoding) {
            return AnyKernel::Prefetched(kernel);
        }
        let cpu = CpuContainer::new(encoding, scratch);
        match prefetch.live_kernel(encoding, cpu) {
            Ok(kernel) => AnyKernel::Gpu(kernel),
            Err(cpu) => AnyKernel::Container(cpu),
        }
    }

    fn cpu_kernel<'k>(&'k self, scratch: &'k mut Scratch) -> AnyKernel<'k> {
        match self {
            Self::Passthrough => AnyKernel::Passthrough(Passthrough),
            Self::Zstd { level, dictionary } => {
                AnyKernel::Zstd(Zstd::new(level.get(), dictionary.as_deref(), scratch))
            }
            Self::Gzip { level } => AnyKernel::Gzip(Gzip::new(level.get(), scratch)),
            Self::Nvcomp { encoding, .. } => {
                AnyKernel::Container(CpuContainer::new(*encoding, scratch))
            }
        }
    }
}

/// One value.
impl Codec {
    /// Compresses `data` into `payload`, whose content is replaced and whose memory is
    /// reused.
    pub fn compress(&self, data: &[u8], payload: &mut Vec<u8>) -> Result<Manifest> {
        let writer = ValueWriter::new(self, Form::Payload, Fallback::Never);
        self.write_value(writer, data, payload)
    }

    /// Compresses `data` to a frame in `frame`, whose content is replaced and whose memory is
    /// reused. Of data that does not shrink it is a frame of passthrough.
    pub fn encode(&self, data: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        self.encode_with(Fallback::Passthrough, data, frame)
    }

    /// As [`encode`](Self::encode), where `fallback` says what a frame holds of data that does not
    /// shrink.
    pub fn encode_with(&self, fallback: Fallback, data: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        self.write_value(ValueWriter::new(self, Form::Frame, fallback), data, frame).map(drop)
    }

    fn write_value(&self, writer: ValueWriter, data: &[u8], out: &mut Vec<u8>) -> Result<Manifest> {
        let size = data.len() as u64;
        if size > MAX_ORIGINAL_SIZE {
            return Err(Error::ValueTooLong { size, limit: MAX_ORIGINAL_SIZE });
        }
        let mut scratch = Scratch::of_thread();
        let mut kernel = self.kernel(&mut scratch);
        let bound = writer.bound(&mut kernel, data.len())?;
        out.clear();
        reserve(out, bound)?;
        let (manifest, written) = writer.write(&mut kernel, data, out.spare_capacity_mut())?;
        let len = written.len();
        // SAFETY: `write` returned the first `len` bytes of the spare capacity, initialised,
        // and the vector was cleared.
        unsafe { out.set_len(len) };
        Ok(manifest)
    }

    /// The bytes that `payload` decodes to, by [`Manifest::admit`].
    pub fn admit(&self, payload: &[u8], manifest: &Manifest, limit: u64) -> Result<usize> {
        self.admit_within(payload, manifest, limit, UNCHECKED_BYTES)
    }

    /// As [`admit`](Self::admit), where claims up to `unchecked` bytes are admitted unread.
    pub(crate) fn admit_within(
        &self,
        payload: &[u8],
        manifest: &Manifest,
        limit: u64,
        unchecked: u64,
    ) -> Result<usize> {
        let mut scratch = Scratch::of_thread();
        manifest.admit_within(&mut self.kernel(&mut scratch), payload, limit, unchecked)
    }

    /// Decodes and confirms `payload` in `dst`, which `admit` sized.
    pub fn decode<'dst>(
        &self,
        payload: &[u8],
        manifest: &Manifest,
        dst: &'dst mut [MaybeUninit<u8>],
    ) -> Result<&'dst [u8]> {
        let mut scratch = Scratch::of_thread();
        manifest.decode(&mut self.kernel(&mut scratch), payload, dst)
    }

    /// Decodes one value of at most `limit` bytes.
    pub fn decompress(&self, payload: &[u8], manifest: &Manifest, limit: u64) -> Result<Vec<u8>> {
        let len = self.admit(payload, manifest, limit)?;
        let mut out = Vec::new();
        reserve(&mut out, len)?;
        let len = self.decode(payload, manifest, &mut out.spare_capacity_mut()[..len])?.len();
        // SAFETY: `decode` returned the first `len` bytes of the spare capacity, initialised.
        unsafe { out.set_len(len) };
        Ok(out)
    }
}
