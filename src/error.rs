//! The one error type, and the one table that says which public exception each error is.

use std::collections::TryReserveError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::allocator;

/// The exception classes of the public API. `S4Error` is the base of those that
/// are about data; Python defines the tree with the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as the Python exceptions, which are documented")]
pub enum ErrorClass {
    S4Error,
    CrcMismatch,
    SizeMismatch,
    UnregisteredCodec,
    ManifestSizeExceedsLimit,
    ManifestSizeMismatch,
    CodecMismatch,
    Frame,
    Index,
    Backend,
    Io,
    Value,
    Type,
    Memory,
    Warning,
    Interrupted,
}

impl ErrorClass {
    /// The name of the Python exception.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S4Error => "S4Error",
            Self::CrcMismatch => "S4CrcMismatchError",
            Self::SizeMismatch => "S4SizeMismatchError",
            Self::UnregisteredCodec => "S4UnregisteredCodecError",
            Self::ManifestSizeExceedsLimit => "S4ManifestSizeExceedsLimitError",
            Self::ManifestSizeMismatch => "S4ManifestSizeMismatchError",
            Self::CodecMismatch => "S4CodecMismatchError",
            Self::Frame => "S4FrameError",
            Self::Index => "S4IndexError",
            Self::Backend => "S4BackendError",
            Self::Io => "S4IoError",
            Self::Value => "ValueError",
            Self::Type => "TypeError",
            Self::Memory => "MemoryError",
            Self::Warning => "RuntimeWarning",
            Self::Interrupted => "KeyboardInterrupt",
        }
    }
}

/// What went wrong, what was expected, and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what fields are")]
pub enum Error {
    /// A stated size is above the limit.
    #[error("{size} bytes exceed the limit of {limit}; raise max_size if the data is trusted")]
    SizeExceedsLimit { size: u64, limit: u64 },

    /// A payload that states no size decodes to more than the limit.
    #[error(
        "the result is longer than the limit of {limit} bytes; raise max_size if the data is trusted"
    )]
    OutputExceedsLimit { limit: u64 },

    /// A value is too long to compress, or for the layout of its column.
    #[error("the value has {size} bytes, the limit here is {limit}")]
    ValueTooLong { size: u64, limit: u64 },

    /// The payload is damaged, or of another format.
    #[error("{codec} payload does not decode: {reason}")]
    Decode { codec: &'static str, reason: String },

    /// The payload decodes to more than its manifest says.
    #[error("{codec} payload decodes to more than its original_size of {original_size} bytes")]
    DecodesTooLong { codec: &'static str, original_size: u64 },

    /// The payload decodes to another length than its manifest says.
    #[error("original_size is {expected}, but the payload decodes to {actual} bytes")]
    SizeMismatch { expected: u64, actual: u64 },

    /// The payload cannot hold what its manifest says.
    #[error("original_size is {expected}, but the payload can hold at most {most} bytes")]
    SizeImpossible { expected: u64, most: u64 },

    /// The decoded bytes have another checksum than the manifest says.
    #[error("crc32c of the decoded bytes is {actual:#010x}, expected {expected:#010x}")]
    CrcMismatch { expected: u32, actual: u32 },

    /// The payload has another checksum than was recorded of the payload itself.
    #[error(
        "crc32c of the payload itself is {actual:#010x}, expected {expected:#010x}: the stored \
         payload is damaged, so it was not decoded"
    )]
    PayloadCrcMismatch { expected: u32, actual: u32 },

    /// A value that has to be text is not UTF-8.
    #[error(
        "invalid UTF-8 at byte {position} of the value; decompress values that are not text to binary"
    )]
    InvalidUtf8 { position: usize },

    /// A value ends within an item of the lists that it has to be.
    #[error(
        "the value has {actual} bytes, expected a multiple of {bytes}: dtype has items of {bytes} bytes"
    )]
    PartialItem { bytes: u64, actual: u64 },

    /// A value has another length than the arrays that it has to be.
    #[error(
        "the value has {actual} bytes, expected {expected}: dtype has rows of {expected} bytes"
    )]
    RowWidth { expected: u64, actual: u64 },

    /// A list of numbers has an item that is none.
    #[error(
        "item {item} is null, expected only numbers; fill the null items first, or make the \
         whole row null"
    )]
    NullItem { item: usize },

    /// A manifest is missing, unusable, or contradicts what came with it.
    #[error("{0}")]
    BadManifest(String),

    /// The rows of a column decode to more than the limit for all of them.
    #[error(
        "the rows together decode to more than the max_total_size of {limit} bytes (counted so far: \
         {rows} rows of {bytes} bytes); raise max_total_size if the data is trusted"
    )]
    TotalExceedsLimit { limit: u64, rows: u64, bytes: u64 },

    /// A payload that was made with a dictionary, decoded without it or with another.
    #[error("{codec} payload does not decode: {reason}")]
    Dictionary { codec: &'static str, reason: String, is_missing: bool },

    /// A frame needs a dictionary, and none was given.
    #[error("a frame of cpu-zstd-dict needs its dictionary; pass dictionary=")]
    DictionaryRequired,

    /// Every row of a column fails for the reason that `first` has, but for `others`, which the
    /// mistake does not concern: values that are stored uncompressed.
    #[error(
        "all {rows} values {}fail for the same reason ({}); {}",
        but_for(*others),
        first.summary(),
        mistake.advice()
    )]
    Mistake { rows: usize, others: usize, mistake: Mistake, first: Box<RowError> },

    /// The codec is unknown, or not available here.
    #[error("{0}")]
    UnregisteredCodec(String),

    /// The bytes are not frames, or an object is not stored as it should be.
    #[error("{0}")]
    Frame(String),

    /// The bytes are not a valid sidecar.
    #[error("{0}")]
    Index(String),

    /// A container was written by another codec.
    #[error("expected a payload of {expected}, found one of {actual}")]
    CodecMismatch { expected: &'static str, actual: &'static str },

    /// A body is not as long as its metadata says.
    #[error("the body has {actual} bytes, but the metadata says {expected}")]
    StoredSizeMismatch { expected: u64, actual: u64 },

    /// A body is not as long as its sidecar says.
    #[error(
        "the body has {actual} bytes, but its sidecar describes one of {expected}: the body is \
         truncated, or the sidecar belongs to another"
    )]
    SidecarMismatch { expected: u64, actual: u64 },

    /// A library failed, or a container is damaged.
    #[error("{0}")]
    Backend(String),

    /// A backend that is not here or failed, whatever the data.
    #[error("{0}")]
    Unavailable(String),

    /// An argument is out of range or malformed.
    #[error("{0}")]
    Argument(String),

    /// Data is of the wrong type.
    #[error("{0}")]
    Type(String),

    /// The caller was interrupted.
    #[error("interrupted")]
    Interrupted,

    /// A warning that a filter of the caller's makes an error.
    #[error("{0}")]
    Warning(String),

    /// Memory could not be had; 0 bytes where a library does not say how many.
    #[error("{}", shortage(*bytes))]
    OutOfMemory { bytes: u64 },

    /// A frame of a body is bad.
    #[error("frame {number} ({codec}, at byte {at}): {source}")]
    InFrame { number: usize, codec: &'static str, at: usize, source: Box<Error> },

    /// A row of a column is bad.
    #[error(transparent)]
    Row(Box<RowError>),
}

/// What a caller may have mistaken a column for.
///
/// `on_error="null"` is for damaged data: a damaged row becomes null. A mistake of the caller's
/// would empty the whole column, so it is an error. A flipped bit can forge a magic, an id or a
/// codec's number, so that no row alone proves a mistake: it is one if every row of a call fails
/// for the same of these reasons, and there are two or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The payloads are those of the codec of this name.
    OtherCodec(&'static str),
    /// Frames, where payloads are expected.
    Frames,
    /// Payloads of the codec of this name, where frames are expected.
    Payloads(&'static str),
    /// Bytes that no codec made.
    NeverCompressed,
    /// zlib streams.
    Zlib,
    /// No dictionary was given.
    MissingDictionary,
    /// Another dictionary was given than the payloads were compressed with.
    OtherDictionary,
    /// Frames of a codec that this version does not have.
    UnknownCodec,
    /// Bodies that the gateway encrypted.
    Encrypted,
    /// Values of another type than was asked for.
    OtherDtype,
}

fn but_for(others: usize) -> String {
    if others == 0 { String::new() } else { format!("(but for {others} stored uncompressed) ") }
}

impl Mistake {
    /// What to pass instead.
    pub fn advice(self) -> String {
        match self {
            Self::OtherCodec(name) => format!("pass codec={name:?}, or that codec's object"),
            Self::Frames => "these are S4F2 frames: use decode".into(),
            Self::Payloads(name) => {
                format!("these are payloads, not frames: use decompress with codec={name:?}")
            }
            Self::NeverCompressed => "these values were never compressed: use them as they are, \
                                      or compress them first"
                .into(),
            Self::Zlib => {
                "these are zlib streams, which no codec here reads: decompress them with \
                           Python's zlib, and compress the values anew"
                    .into()
            }
            Self::MissingDictionary => "pass the dictionary that they were compressed with, or a \
                                        DictionarySet that has it, as dictionary="
                .into(),
            Self::OtherDictionary => "pass the dictionary that they were compressed with, or a \
                                      DictionarySet that has it"
                .into(),
            Self::UnknownCodec => {
                "upgrade s4-codec, as a later version may have their codec".into()
            }
            Self::Encrypted => "read them through the S4 gateway".into(),
            Self::OtherDtype => "pass the dtype that was compressed, or decode to binary".into(),
        }
    }
}

/// A result whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Memory that could not be had, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

impl From<OutOfMemory> for Error {
    fn from(OutOfMemory { bytes }: OutOfMemory) -> Self {
        Self::OutOfMemory { bytes }
    }
}

/// Reserves memory for exactly `additional` more items.
pub(crate) fn reserve<T>(items: &mut Vec<T>, additional: usize) -> Result<(), OutOfMemory> {
    reserve_by(items, additional, Vec::try_reserve_exact)
}

/// Reserves by `how`. Fails too if the memory would be that of the emergency pool, which is for
/// those who cannot fail.
fn reserve_by<T>(
    items: &mut Vec<T>,
    additional: usize,
    how: impl Fn(&mut Vec<T>, usize) -> Result<(), TryReserveError>,
) -> Result<(), OutOfMemory> {
    match how(items, additional) {
        Ok(()) if !allocator::contains(items.as_ptr()) => Ok(()),
        _ => Err(OutOfMemory { bytes: additional.saturating_mul(size_of::<T>()) as u64 }),
    }
}

/// Appends a copy of `bytes`; memory grows as it does with [`Vec::extend_from_slice`].
pub(crate) fn extend(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), OutOfMemory> {
    reserve_by(out, bytes.len(), Vec::try_reserve)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends `item`; memory grows as it does with [`Vec::push`].
pub(crate) fn push<T>(items: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    reserve_by(items, 1, Vec::try_reserve)?;
    items.push(item);
    Ok(())
}

/// Collects items; memory grows as it does with [`Iterator::collect`].
pub(crate) fn collect<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let mut collected = Vec::new();
    reserve(&mut collected, items.size_hint().0)?;
    for item in items {
        push(&mut collected, item)?;
    }
    Ok(collected)
}

/// Collects items up to the first error; memory grows as it does with [`Iterator::collect`].
pub(crate) fn try_collect<T>(items: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut collected = Vec::new();
    reserve(&mut collected, items.size_hint().0)?;
    for item in items {
        push(&mut collected, item?)?;
    }
    Ok(collected)
}

/// A size in memory: more than the address space holds is memory that cannot be had.
pub(crate) fn to_len(bytes: u64) -> Result<usize, OutOfMemory> {
    usize::try_from(bytes).map_err(|_| OutOfMemory { bytes })
}

/// Runs `work`; a panic, which is a defect of ours, becomes an error.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(Error::Backend(format!("internal error, please report it: {text}")))
    })
}

/// A bad row of a column, with everything needed to find and judge it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: row {row} of the {rows} in this batch ({}{context}): {source}{}",
    source.class().name(),
    name.as_ref().map_or(String::new(), |name| format!("{name}, ")),
    self.hint())]
pub struct RowError {
    /// Position in the batch, from 0.
    pub row: usize,
    /// Length of the batch.
    pub rows: usize,
    /// What the user's own expression calls the row.
    pub name: Option<String>,
    /// Codec, payload length and manifest of the row.
    pub context: String,
    /// What would explain the error, if all rows are like this.
    pub mistake: Option<Mistake>,
    /// What is wrong with it.
    pub source: Error,
}

impl RowError {
    /// The end of a message: what to do if it is no damage.
    pub fn hint(&self) -> String {
        let advice = |mistake: Mistake| format!("; if other rows fail alike: {}", mistake.advice());
        self.mistake.map_or(String::new(), advice)
    }

    /// The row and the reason, without the length of the batch.
    pub fn summary(&self) -> String {
        let Self { row, name, context, source, .. } = self;
        let name = name.as_ref().map_or(String::new(), |name| format!("{name}, "));
        format!("row {row} ({name}{context}): {}: {source}", source.class().name())
    }
}

fn shortage(bytes: u64) -> String {
    if bytes == 0 { "out of memory".into() } else { format!("could not allocate {bytes} bytes") }
}

impl Error {
    /// Whether the data it is about may be to blame; not for short memory or a missing GPU. With
    /// `on_error="null"` the row then becomes null, unless all rows show the same [`Mistake`].
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::OutOfMemory { .. }
            | Self::Unavailable(_)
            | Self::TotalExceedsLimit { .. }
            | Self::Mistake { .. }
            | Self::Warning(_)
            | Self::Interrupted => false,
            Self::InFrame { source, .. } => source.is_about_data(),
            Self::Row(row) => row.source.is_about_data(),
            _ => true,
        }
    }

    /// The public exception that this error is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::SizeExceedsLimit { .. }
            | Self::OutputExceedsLimit { .. }
            | Self::ValueTooLong { .. }
            | Self::TotalExceedsLimit { .. } => ErrorClass::ManifestSizeExceedsLimit,
            Self::Decode { .. } | Self::DecodesTooLong { .. } | Self::Dictionary { .. } => {
                ErrorClass::Io
            }
            Self::SizeMismatch { .. }
            | Self::SizeImpossible { .. }
            | Self::PartialItem { .. }
            | Self::RowWidth { .. } => ErrorClass::SizeMismatch,
            Self::CrcMismatch { .. } | Self::PayloadCrcMismatch { .. } => ErrorClass::CrcMismatch,
            Self::InvalidUtf8 { .. } | Self::NullItem { .. } | Self::BadManifest(_) => {
                ErrorClass::S4Error
            }
            Self::UnregisteredCodec(_) | Self::DictionaryRequired => ErrorClass::UnregisteredCodec,
            Self::Frame(_) => ErrorClass::Frame,
            Self::Index(_) => ErrorClass::Index,
            Self::CodecMismatch { .. } => ErrorClass::CodecMismatch,
            Self::StoredSizeMismatch { .. } | Self::SidecarMismatch { .. } => {
                ErrorClass::ManifestSizeMismatch
            }
            Self::Backend(_) | Self::Unavailable(_) => ErrorClass::Backend,
            Self::Argument(_) => ErrorClass::Value,
            Self::Type(_) => ErrorClass::Type,
            Self::OutOfMemory { .. } => ErrorClass::Memory,
            Self::Interrupted => ErrorClass::Interrupted,
            Self::Warning(_) => ErrorClass::Warning,
            Self::Mistake { first, .. } => first.source.class(),
            Self::InFrame { source, .. } => source.class(),
            Self::Row(row) => row.source.class(),
        }
    }
}
