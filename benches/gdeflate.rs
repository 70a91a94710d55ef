//! GDeflate pages: our decoder on one core, beside libdeflate on raw deflate of the same bytes.
//!
//!     cargo bench --bench gdeflate
//!
//! The pages are those of the tests' encoder, on the data of `../shared/data` where that is,
//! else on this crate's own sources. Best of 15 interleaved rounds, MB/s of output.

#[path = "../tests/common/gdeflate.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod encoder;

use std::ffi::c_void;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Instant;

use encoder::{Coding, encode, style};
use libdeflate_sys as deflate;
use s4_codec::kernel::gdeflate::{Decoder, PAGE_MAX};

const ROUNDS: usize = 15;

/// One text in pages, and the same in deflate streams.
struct Set {
    name: String,
    pages: Vec<Vec<u8>>,
    streams: Vec<Vec<u8>>,
}

fn texts() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for name in ["apache.log", "nginxplus.json", "xml"] {
        let Ok(packed) = fs::read(root.join(format!("../shared/data/{name}.gz"))) else { continue };
        texts.push((name.into(), gunzipped(&packed)));
    }
    let mut sources = fs::read(root.join("Cargo.lock")).expect("readable");
    for file in ["README.md", "src/column/decompress.rs", "src/arrow/rows.rs", "src/codec.rs"] {
        sources.extend(fs::read(root.join(file)).expect("readable"));
    }
    texts.push(("sources".into(), sources));
    texts
}

/// The one member that `packed` is.
fn gunzipped(packed: &[u8]) -> Vec<u8> {
    let len = u32::from_le_bytes(*packed.last_chunk().expect("gzip"));
    let mut out = vec![0u8; len as usize];
    // SAFETY: the decompressor is live, and both pointers come with their lengths.
    let result = unsafe {
        let decompressor = deflate::libdeflate_alloc_decompressor();
        let result = deflate::libdeflate_gzip_decompress(
            decompressor,
            packed.as_ptr().cast(),
            packed.len(),
            out.as_mut_ptr().cast(),
            out.len(),
            std::ptr::null_mut(),
        );
        deflate::libdeflate_free_decompressor(decompressor);
        result
    };
    assert_eq!(result, deflate::libdeflate_result_LIBDEFLATE_SUCCESS, "gzip");
    out
}

fn deflated(value: &[u8]) -> Vec<u8> {
    // SAFETY: the compressor is live, and both pointers come with their lengths.
    unsafe {
        let compressor = deflate::libdeflate_alloc_compressor(6);
        let mut out = vec![0u8; value.len() + 1000];
        let len = deflate::libdeflate_deflate_compress(
            compressor,
            value.as_ptr().cast(),
            value.len(),
            out.as_mut_ptr().cast(),
            out.len(),
        );
        deflate::libdeflate_free_compressor(compressor);
        out.truncate(len);
        out
    }
}

fn sets() -> Vec<Set> {
    let styles = [
        ("dynamic", style(Coding::Dynamic, true, 20_000)),
        ("fixed", style(Coding::Fixed, true, 100_000)),
        ("dynamic, literals only", style(Coding::Dynamic, false, 100_000)),
        ("stored", style(Coding::Stored, false, 40_000)),
    ];
    let mut sets = Vec::new();
    for (name, text) in texts() {
        let values: Vec<&[u8]> = text.chunks_exact(PAGE_MAX).take(4).collect();
        for (kind, style) in styles {
            sets.push(Set {
                name: format!("{name}, {kind}"),
                pages: values.iter().map(|value| encode(value, style)).collect(),
                streams: values.iter().map(|value| deflated(value)).collect(),
            });
        }
    }
    sets
}

/// MB/s of `run`, which makes `bytes`.
fn rate(bytes: usize, run: impl Fn()) -> f64 {
    let repeats = 8_000_000 / bytes.max(1) + 1;
    let start = Instant::now();
    (0..repeats).for_each(|_| run());
    (bytes * repeats) as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn main() {
    let sets = sets();
    let mut best = vec![(0f64, 0f64); sets.len()];
    // SAFETY: no precondition.
    let libdeflate = unsafe { deflate::libdeflate_alloc_decompressor() };
    let decoder = std::cell::RefCell::new(Decoder::default());
    let room = std::cell::RefCell::new(vec![MaybeUninit::<u8>::uninit(); PAGE_MAX]);
    for _ in 0..ROUNDS {
        for (set, best) in sets.iter().zip(&mut best) {
            let bytes = set.pages.len() * PAGE_MAX;
            let ours = rate(bytes, || {
                for page in &set.pages {
                    let mut decoder = decoder.borrow_mut();
                    decoder.decode_page(page, &mut room.borrow_mut()).expect("a good page");
                }
            });
            let theirs = rate(bytes, || {
                for stream in &set.streams {
                    let (from, mut room) = (stream.as_ptr().cast::<c_void>(), room.borrow_mut());
                    let (to, len) = (room.as_mut_ptr().cast(), room.len());
                    let mut written = 0;
                    // SAFETY: the decompressor is live, and both pointers come with lengths.
                    let result = unsafe {
                        deflate::libdeflate_deflate_decompress(
                            libdeflate,
                            from,
                            stream.len(),
                            to,
                            len,
                            &mut written,
                        )
                    };
                    assert_eq!((result, written), (0, PAGE_MAX));
                }
            });
            *best = (best.0.max(ours), best.1.max(theirs));
        }
    }
    println!("{:<40} {:>7} {:>9} {:>11}", "pages of 64 KiB", "ratio", "ours", "libdeflate");
    for (set, (ours, theirs)) in sets.iter().zip(best) {
        let packed: usize = set.pages.iter().map(Vec::len).sum();
        let ratio = (set.pages.len() * PAGE_MAX) as f64 / packed as f64;
        println!("{:<40} {ratio:>7.2} {ours:>9.0} {theirs:>11.0}", set.name);
    }
}
