//! The one direction of the code: a layer uses those before it and none after it.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, its place in `src`, and the words that its source must not contain.
const LAYERS: [(&str, &[&str]); 9] = [
    (
        "kernel",
        &[
            "crate::manifest",
            "crate::gpu",
            "crate::column",
            "crate::codec::",
            "rayon",
            "arrow",
            "pyo3",
        ],
    ),
    (
        "gpu",
        &["crate::manifest", "crate::column", "crate::codec::", "crate::wire", "arrow", "pyo3"],
    ),
    ("codec.rs", &["crate::manifest", "crate::column", "rayon", "arrow", "pyo3"]),
    ("manifest.rs", &["crate::column", "rayon", "arrow", "pyo3"]),
    ("wire", &["crate::column", "crate::object", "rayon", "arrow", "pyo3"]),
    ("object.rs", &["crate::arrow", "crate::polars", "crate::py", "arrow_", "pyo3"]),
    (
        "column",
        &[
            "crate::object",
            "crate::arrow",
            "crate::polars",
            "crate::py",
            "arrow_",
            "pyo3",
            "polars::",
        ],
    ),
    ("arrow", &["crate::polars", "crate::py", "pyo3"]),
    ("polars", &["crate::py", "pyo3"]),
];

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
    for (layer, forbidden) in LAYERS {
        for file in sources(&src.join(layer)) {
            let text = fs::read_to_string(&file).expect("readable");
            // Documentation may name what code may not use.
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in forbidden {
                    assert!(!line.contains(word), "{}: {line:?}", file.display());
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
        if ["pyo3", "arrow-", "serde"].iter().any(|name| line.starts_with(name)) {
            assert!(line.contains("optional = true"), "{line}");
        }
    }
}
