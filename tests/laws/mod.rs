//! What must hold of any bytes. Each law takes bytes and panics where it is broken: `tests/laws.rs`
//! runs all of them over a corpus, `fuzz/` gives each to libFuzzer.
//!
//! Laws read settings from the front of their input and take the rest as data. `Err` means that
//! the bytes were too few to say anything.

mod arguments;
#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "arrow")]
mod arrow_c;
mod bodies;
mod containers;
mod dictionaries;
mod dictionary_sets;
#[path = "../common/gdeflate.rs"]
#[allow(dead_code, reason = "laws use a part of the encoder")]
mod encoder;
mod gdeflate;
mod objects;
mod payloads;
mod reference;
mod sidecars;
mod values;

/// A law and its name.
pub type Law = (&'static str, fn(&[u8]) -> arbitrary::Result<()>);

/// All of them.
pub const LAWS: &[Law] = &[
    ("arguments", arguments::law),
    #[cfg(feature = "arrow")]
    ("arrow", arrow::law),
    ("bodies", bodies::law),
    ("containers", containers::law),
    ("dictionaries", dictionaries::law),
    ("dictionary_sets", dictionary_sets::law),
    ("gdeflate", gdeflate::law),
    ("objects", objects::law),
    ("payloads", payloads::law),
    ("sidecars", sidecars::law),
    ("values", values::law),
];

/// Applies the law of that name.
pub fn apply(name: &str, data: &[u8]) {
    let (_, law) = LAWS.iter().find(|(known, _)| *known == name).expect("a law of that name");
    let _too_short = law(data);
}
