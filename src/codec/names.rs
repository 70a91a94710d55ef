//! Codecs by the names that callers give: those of the S4 wire format, and short ones.

use crate::error::{Error, Result};
use crate::kernel::fcg1::Algorithm;
use crate::wire::codec_id::CodecId;

/// The codecs of this version, as messages list them.
const CODECS: [CodecId; 7] = [
    CodecId::PASSTHROUGH,
    CodecId::ZSTD,
    CodecId::GZIP,
    CodecId::ZSTD_DICT,
    CodecId::of_container(Algorithm::Zstd),
    CodecId::of_container(Algorithm::Bitcomp),
    CodecId::of_container(Algorithm::GDeflate),
];

/// Short names. Only callers use them: stored data has the names of S4.
const ALIASES: [(&str, CodecId); 2] = [("zstd", CodecId::ZSTD), ("gzip", CodecId::GZIP)];

/// The codec that a caller names.
pub fn find(name: &str) -> Result<CodecId> {
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, id)| *id);
    CodecId::from_name(name).or_else(alias).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    let hint = match closest(name) {
        Some(known) => format!("did you mean {known:?}? The"),
        None => "the".into(),
    };
    let codecs = CODECS.map(listed).join(", ");
    Error::UnregisteredCodec(format!("unknown codec {name:?}; {hint} codecs are {codecs}"))
}

/// A codec in the list of all.
fn listed(id: CodecId) -> String {
    let name = id.name();
    match ALIASES.iter().find(|(_, of)| *of == id) {
        Some((alias, _)) => format!("{name} (or {alias})"),
        None if id.needs_dictionary() => format!("{name} (with its dictionary)"),
        None => name.into(),
    }
}

/// The name that `name` was probably meant to be: the same but for case and punctuation, as
/// `CpuZstd` is, with a third of its characters changed at most, or of which it is a part.
fn closest(name: &str) -> Option<&'static str> {
    let name = letters(name);
    let most = name.chars().count().max(3) / 3;
    ALIASES
        .iter()
        .map(|(alias, _)| *alias)
        .chain(CODECS.map(CodecId::name))
        .map(|known| (letters(known), known))
        .map(|(other, known)| (strsim::osa_distance(&name, &other), other, known))
        .filter(|(distance, other, _)| *distance <= most || is_part_of(&name, other))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., known)| known)
}

/// Whether `name` is a part of `other`, of two letters at least, as `gz` and `bitcomp` are.
fn is_part_of(name: &str, other: &str) -> bool {
    name.len() > 1 && other.contains(name)
}

/// Letters and digits of a name, in lower case.
fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
