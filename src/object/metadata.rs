//! The metadata of stored objects.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kernel::dictionary_set::DictionarySet;
use crate::kernel::format::Format;
use crate::manifest::Manifest;

/// The metadata of an object, as far as readers use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    codec: Option<String>,
    pub(super) original_size: Option<u64>,
    pub(super) compressed_size: Option<u64>,
    pub(super) crc32c: Option<u32>,
    dictionary_id: Option<String>,
    pub(super) framed: bool,
    pub(super) encrypted: bool,
    /// Whether any key starts with `s4-`.
    is_s4: bool,
}

impl Metadata {
    /// Reads `s4-*` keys, in any case, with or without the prefix `x-amz-meta-`.
    pub fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut metadata = Self::default();
        for (key, value) in pairs {
            let key = key.to_ascii_lowercase();
            let key = key.strip_prefix("x-amz-meta-").unwrap_or(&key);
            if !key.starts_with("s4-") {
                continue;
            }
            metadata.is_s4 = true;
            match key {
                "s4-codec" => metadata.codec = Some(value.to_owned()),
                "s4-original-size" => metadata.original_size = Some(number(key, value)?),
                "s4-compressed-size" => metadata.compressed_size = Some(number(key, value)?),
                "s4-crc32c" => metadata.crc32c = Some(number(key, value)?),
                "s4-dict-id" => metadata.dictionary_id = Some(value.to_owned()),
                "s4-framed" | "s4-multipart" => metadata.framed |= value == "true",
                "s4-encrypted" => metadata.encrypted = true,
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// Metadata derived from the body: frames by their magic, anything else as it is.
    pub(super) fn of_body(body: &[u8], has_sidecar: bool) -> Result<Self> {
        let framed = starts_as_frames(body) || has_sidecar && body.is_empty();
        if has_sidecar && !framed {
            return Err(Error::Frame(format!(
                "a sidecar was given, but the body is not frames: expected magic S4F2 or S4P1, \
                 found {}; pass the object's metadata",
                body[..body.len().min(4)].escape_ascii()
            )));
        }
        Ok(Self { framed, ..Self::default() })
    }

    /// Whether the body is frames, which can be read one by one, and the lengths of the original
    /// and of the body where they are stated.
    pub fn frames(&self) -> (bool, Option<u64>, Option<u64>) {
        (self.framed && !self.encrypted, self.original_size, self.compressed_size)
    }

    /// The codec, manifest and stored length of an unframed payload, if all four values are there.
    pub(super) fn manifest(&self) -> Option<(&str, Manifest, u64)> {
        let manifest = Manifest { original_size: self.original_size?, crc32c: self.crc32c? };
        Some((self.codec.as_deref()?, manifest, self.compressed_size?))
    }

    /// Refuses metadata that does not say how the object is stored, where anything else shows
    /// that it is an S4 object.
    pub(super) fn check_silence(&self, body: &[u8], has_sidecar: bool) -> Result<()> {
        if self.framed || self.manifest().is_some() {
            return Ok(());
        }
        let sign = match (starts_as_frames(body), has_sidecar, self.is_s4) {
            (true, ..) => format!("the body starts with {}", body[..4].escape_ascii()),
            (_, true, _) => "a sidecar was given".into(),
            (.., true) => "a key starts with s4-".into(),
            _ => return Ok(()),
        };
        Err(unusable(format!(
            "it does not say how the object is stored (s4-framed, s4-multipart, or all of \
             s4-codec, s4-original-size, s4-compressed-size and s4-crc32c), but {sign}; pass the \
             metadata that the object is stored with, or metadata=None to let the body say what \
             it is"
        )))
    }

    /// The dictionaries for a body that needs one: the one that the metadata names is current.
    pub(super) fn dictionary(
        &self,
        given: Option<&Arc<DictionarySet>>,
    ) -> Result<Option<Arc<DictionarySet>>> {
        match (&self.dictionary_id, given) {
            (Some(wanted), None) => Err(Error::UnregisteredCodec(format!(
                "the object needs the dictionary {wanted} (.s4dict/{wanted}); pass dictionary="
            ))),
            (Some(wanted), Some(given)) => match given.with_current(wanted) {
                Some(set) => Ok(Some(Arc::new(set))),
                None => Err(Error::BadManifest(format!(
                    "expected the dictionary {wanted}, got {}; pass the dictionary that the \
                     object names",
                    given.list_ids()
                ))),
            },
            (None, given) => Ok(given.cloned()),
        }
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    let kind = std::any::type_name::<T>();
    value.parse().map_err(|_| unusable(format!("{key} is not a valid {kind}: {value:?}")))
}

/// Whether a body starts with a frame or a padding.
fn starts_as_frames(body: &[u8]) -> bool {
    Format::of(body) == Some(Format::Frames)
}

fn unusable(what: String) -> Error {
    Error::Frame(format!("unusable metadata: {what}"))
}
