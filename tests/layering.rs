//! The one direction of the code: a layer uses those before it and none after it.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers in order, by their place in `src`.
const LAYERS: [&str; 19] = [
    "allocator.rs",
    "error.rs",
    "process.rs",
    "memory.rs",
    "warning.rs",
    "pool.rs",
    "signal.rs",
    "kernel",
    "manifest.rs",
    "gpu",
    "wire",
    "codec",
    "background.rs",
    "body.rs",
    "column",
    "object",
    "arrow",
    "polars",
    "py",
];

/// Libraries, and the first layer that may use each.
const LIBRARIES: [(&str, &str); 3] = [("arrow_", "arrow"), ("polars_", "polars"), ("pyo3", "py")];

/// What the source of a layer must not contain.
fn forbidden(layer: &str) -> Vec<String> {
    let place = |layer| LAYERS.iter().position(|other| *other == layer).expect("a layer");
    let later = LAYERS.iter().skip(place(layer) + 1);
    let names = later.map(|name| format!("crate::{}", name.trim_end_matches(".rs")));
    let libraries = LIBRARIES.iter().filter(|(_, first)| place(first) > place(layer));
    let mut forbidden: Vec<_> =
        names.chain(libraries.map(|(library, _)| library.to_string())).collect();
    // A list of paths would hide what it has.
    forbidden.push("use crate::{".into());
    // Threads come from one pool.
    if layer != "pool.rs" {
        forbidden.push("rayon::".into());
    }
    forbidden
}

/// Whether `line` contains `word`, and not as the start of a longer name.
fn contains(line: &str, word: &str) -> bool {
    let goes_on = |rest: &str| {
        word.starts_with("crate::") && rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    line.match_indices(word).any(|(at, _)| !goes_on(&line[at + word.len()..]))
}

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a layer of src");
    entries.flat_map(|entry| sources(&entry.expect("readable").path())).collect()
}

#[test]
fn layers_use_only_those_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for layer in LAYERS {
        let forbidden = forbidden(layer);
        for file in sources(&src.join(layer)) {
            let text = fs::read_to_string(&file).expect("readable");
            // Documentation may name what code may not use.
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in &forbidden {
                    assert!(!contains(line, word), "{}: {line:?}", file.display());
                }
            }
        }
    }
}

#[test]
fn the_core_needs_no_python() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("readable");
    for line in manifest.lines() {
        if ["pyo3", "arrow-"].iter().any(|name| line.starts_with(name)) {
            assert!(line.contains("optional = true"), "{line}");
        }
    }
}

#[test]
fn every_module_is_in_a_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).expect("readable") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        assert!(name == "lib.rs" || LAYERS.contains(&name.as_str()), "{name} is in no layer");
    }
}
