//! GDeflate pages: this crate's decoder on one core, and libdeflate on raw deflate of the same
//! bytes.
//!
//!     cargo bench --bench gdeflate
//!     cargo bench --bench gdeflate -- --data DIR
//!
//! The tests' encoder makes the pages from the files `apache.log.gz`, `nginxplus.json.gz` and
//! `xml.gz` in DIR, or from pseudo-random log lines and JSON. Best of 15 interleaved rounds, MB/s
//! of output.

#[path = "../tests/common/gdeflate.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod encoder;

use std::ffi::c_void;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use encoder::{Coding, encode, style};
use libdeflate_sys as deflate;
use s4_codec::kernel::gdeflate::{Decoder, PAGE_MAX};

const ROUNDS: usize = 15;
const FILES: [&str; 3] = ["apache.log", "nginxplus.json", "xml"];
/// Pages of a text that are measured.
const PAGES: usize = 4;

/// One text in pages, and the same in deflate streams.
struct Set {
    name: String,
    pages: Vec<Vec<u8>>,
    streams: Vec<Vec<u8>>,
}

/// The folder after `--data`.
fn data_folder() -> Option<PathBuf> {
    let mut arguments = env::args_os().skip_while(|argument| argument != "--data");
    arguments.next()?;
    Some(arguments.next().expect("--data: expected a folder after it").into())
}

/// The texts in `folder`, by name.
fn read_texts(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let read = |name| {
        let path = folder.join(format!("{name}.gz"));
        let packed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, gunzipped(&packed))
    };
    FILES.map(read).into()
}

/// Pseudo-random texts, by name; the same in every run.
fn make_texts() -> Vec<(&'static str, Vec<u8>)> {
    const WORDS: [&str; 8] =
        ["amber", "birch", "cobalt", "delta", "ember", "falcon", "granite", "harbor"];
    let mut state = 14u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut log, mut json) = (Vec::new(), Vec::new());
    while log.len() < PAGES * PAGE_MAX || json.len() < PAGES * PAGE_MAX {
        let [a, b, n, m] = [8, 8, 1 << 16, 1 << 32].map(&mut random);
        let (first, second) = (WORDS[a as usize], WORDS[b as usize]);
        let ip = format!("10.{}.{}.{}", n % 7, n % 251, n % 97);
        writeln!(log, r#"{ip} - - "GET /{first}/{second}-{n} HTTP/1.1" 200 {m} "{second}""#)
            .expect("a Vec takes any line");
        write!(json, r#"{{"id":{n},"server":"{ip}","state":"{first}","up":true,"sent":{m}}},"#)
            .expect("a Vec takes any text");
    }
    vec![("log lines", log), ("JSON", json)]
}

/// The content of `packed`, a single gzip member.
fn gunzipped(packed: &[u8]) -> Vec<u8> {
    let len = u32::from_le_bytes(*packed.last_chunk().expect("gzip"));
    let mut out = vec![0u8; len as usize];
    // SAFETY: the decompressor is live, and both pointers are valid for the lengths passed.
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
    // SAFETY: the compressor is live, and both pointers are valid for the lengths passed.
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

fn sets(texts: Vec<(&str, Vec<u8>)>) -> Vec<Set> {
    let styles = [
        ("dynamic", style(Coding::Dynamic, true, 20_000)),
        ("fixed", style(Coding::Fixed, true, 100_000)),
        ("dynamic, literals only", style(Coding::Dynamic, false, 100_000)),
        ("stored", style(Coding::Stored, false, 40_000)),
    ];
    let mut sets = Vec::new();
    for (name, text) in texts {
        let values: Vec<&[u8]> = text.chunks_exact(PAGE_MAX).take(PAGES).collect();
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

/// The MB/s of `run`, which writes `bytes`.
fn rate(bytes: usize, run: impl Fn()) -> f64 {
    let repeats = 8_000_000 / bytes.max(1) + 1;
    let start = Instant::now();
    (0..repeats).for_each(|_| run());
    (bytes * repeats) as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn main() {
    let folder = data_folder();
    match &folder {
        Some(folder) => println!("data: {} in {}", FILES.join(", "), folder.display()),
        None => println!("data: pseudo-random log lines and JSON"),
    }
    let sets = sets(folder.map_or_else(make_texts, |folder| read_texts(&folder)));
    let mut best = vec![(0f64, 0f64); sets.len()];
    // SAFETY: no precondition.
    let libdeflate = unsafe { deflate::libdeflate_alloc_decompressor() };
    let decoder = std::cell::RefCell::new(Decoder::default());
    let dst = std::cell::RefCell::new(vec![MaybeUninit::<u8>::uninit(); PAGE_MAX]);
    for _ in 0..ROUNDS {
        for (set, best) in sets.iter().zip(&mut best) {
            let bytes = set.pages.len() * PAGE_MAX;
            let ours = rate(bytes, || {
                for page in &set.pages {
                    let mut decoder = decoder.borrow_mut();
                    decoder.decode_page(page, &mut dst.borrow_mut()).expect("a valid page");
                }
            });
            let theirs = rate(bytes, || {
                for stream in &set.streams {
                    let (src, mut dst) = (stream.as_ptr().cast::<c_void>(), dst.borrow_mut());
                    let (to, len) = (dst.as_mut_ptr().cast(), dst.len());
                    let mut written = 0;
                    // SAFETY: the decompressor is live, and both pointers are valid.
                    let result = unsafe {
                        deflate::libdeflate_deflate_decompress(
                            libdeflate,
                            src,
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
