//! The laws of `laws`, over what fuzzing has found and over damage to it. `fuzz/` goes further.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use proptest::prelude::*;

#[path = "laws/mod.rs"]
mod laws;

/// The packed corpus of a law.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{name}.tar.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().expect("an archive");
    let content = |entry: std::io::Result<tar::Entry<_>>| {
        let mut content = Vec::new();
        entry.and_then(|mut entry| entry.read_to_end(&mut content)).expect("an entry");
        content
    };
    entries.map(content).collect()
}

#[test]
fn laws_hold_of_the_corpus() {
    for (name, _) in laws::LAWS {
        let corpus = corpus(name);
        assert!(corpus.len() > 10, "{name} has a corpus");
        corpus.iter().for_each(|input| laws::apply(name, input));
    }
}

#[test]
fn laws_hold_of_damaged_inputs() {
    for (name, _) in laws::LAWS {
        let corpus = corpus(name);
        let damage = (any::<prop::sample::Index>(), any::<u8>());
        let damaged = (
            any::<prop::sample::Index>(),
            proptest::collection::vec(damage, 0..6),
            any::<prop::sample::Index>(),
            any::<bool>(),
        );
        let config = ProptestConfig::with_cases(300);
        proptest!(config, |((which, damage, cut, is_cut) in damaged)| {
            let mut input = which.get(&corpus).clone();
            prop_assume!(!input.is_empty());
            for (at, byte) in damage {
                let at = at.index(input.len());
                input[at] = byte;
            }
            if is_cut {
                input.truncate(cut.index(input.len()));
            }
            laws::apply(name, &input);
        });
    }
}

#[test]
fn laws_hold_of_any_bytes() {
    for (name, _) in laws::LAWS {
        let bytes = proptest::collection::vec(any::<u8>(), 0..600);
        proptest!(ProptestConfig::with_cases(200), |(input in bytes)| laws::apply(name, &input));
    }
}
