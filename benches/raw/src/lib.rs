//! The raw libraries, used well: one context per thread for all rows, rows split evenly by bytes
//! over the threads, output kept in ordinary memory. No checksum, no validation, no column format.
//! The benchmarks call this through ctypes and report rates relative to it.

use std::ffi::c_void;
use std::slice;
use std::thread;

use libdeflate_sys as deflate;
use zstd::zstd_safe::{self, CCtx, CDict, DCtx, DDict};

const ZSTD: u32 = 1;

/// Contiguous rows: row i is `bytes[offsets[i]..offsets[i + 1]]`.
struct Rows<'a> {
    bytes: &'a [u8],
    offsets: &'a [i64],
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Ranges of rows of about equal size in bytes.
    fn split(&self, parts: usize) -> Vec<std::ops::Range<usize>> {
        let total = self.offsets[self.len()] - self.offsets[0];
        let cut = |part: usize| {
            let at = self.offsets[0] + total * part as i64 / parts as i64;
            self.offsets.partition_point(|&offset| offset < at).min(self.len())
        };
        (0..parts)
            .map(|part| cut(part)..if part + 1 == parts { self.len() } else { cut(part + 1) })
            .collect()
    }
}

/// The output of a call: one buffer and the rows' lengths per thread.
pub struct Output {
    parts: Vec<(Vec<u8>, Vec<usize>)>,
}

/// A dictionary, prepared for both directions.
pub struct Prepared {
    compress: CDict<'static>,
    decompress: DDict<'static>,
}

/// Prepares a dictionary, which is never freed.
///
/// # Safety
/// `bytes` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_prepare(bytes: *const u8, len: usize, level: i32) -> *mut Prepared {
    // SAFETY: the caller vouches for the pointer and the length.
    let bytes = unsafe { slice::from_raw_parts(bytes, len) };
    let (compress, decompress) = (CDict::create(bytes, level), DDict::create(bytes));
    Box::into_raw(Box::new(Prepared { compress, decompress }))
}

/// Compresses rows.
///
/// # Safety
/// `bytes` and the `rows + 1` `offsets` are as in [`Rows`]; `dictionary` is null or from
/// `raw_prepare`; the result goes to `raw_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_compress(
    codec: u32,
    level: i32,
    threads: usize,
    bytes: *const u8,
    offsets: *const i64,
    rows: usize,
    dictionary: *const Prepared,
) -> *mut Output {
    // SAFETY: the caller vouches for the arrays and the dictionary.
    let (rows, dictionary) = unsafe { (rows_of(bytes, offsets, rows), dictionary.as_ref()) };
    let parts = run(&rows, threads, |range| {
        let mut lens = Vec::with_capacity(range.len());
        let bound =
            |len| if codec == ZSTD { zstd_safe::compress_bound(len) } else { len + len / 8 + 128 };
        let mut out = Vec::with_capacity(range.clone().map(|row| bound(rows.get(row).len())).sum());
        let mut zstd = CCtx::create();
        // SAFETY: no precondition.
        let gzip = unsafe { deflate::libdeflate_alloc_compressor(level) };
        for row in range {
            let (src, start): (&[u8], usize) = (rows.get(row), out.len());
            let dst = out.spare_capacity_mut();
            // SAFETY: `gzip` is live, `src` and `dst` are valid for their lengths, and neither
            // library reads from `dst` what it has not written.
            let written = unsafe {
                if codec == ZSTD {
                    let dst = slice::from_raw_parts_mut(dst.as_mut_ptr().cast::<u8>(), dst.len());
                    match dictionary {
                        None => zstd.compress(dst, src, level),
                        Some(prepared) => zstd.compress_using_cdict(dst, src, &prepared.compress),
                    }
                    .expect("zstd compresses")
                } else {
                    deflate::libdeflate_gzip_compress(
                        gzip,
                        src.as_ptr().cast(),
                        src.len(),
                        dst.as_mut_ptr().cast::<c_void>(),
                        dst.len(),
                    )
                }
            };
            assert!(written > 0, "the bound is sufficient");
            // SAFETY: the capacity holds them, and they were written just now.
            unsafe { out.set_len(start + written) };
            lens.push(written);
        }
        // SAFETY: allocated above, freed once.
        unsafe { deflate::libdeflate_free_compressor(gzip) };
        (out, lens)
    });
    Box::into_raw(Box::new(Output { parts }))
}

/// Decompresses rows whose decoded lengths are `sizes`.
///
/// # Safety
/// As [`raw_compress`], with `rows` sizes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_decompress(
    codec: u32,
    threads: usize,
    bytes: *const u8,
    offsets: *const i64,
    sizes: *const u64,
    rows: usize,
    dictionary: *const Prepared,
) -> *mut Output {
    // SAFETY: the caller vouches for the arrays and the dictionary.
    let (rows, sizes, dictionary) = unsafe {
        (rows_of(bytes, offsets, rows), slice::from_raw_parts(sizes, rows), dictionary.as_ref())
    };
    let parts = run(&rows, threads, |range| {
        let mut out: Vec<u8> =
            Vec::with_capacity(sizes[range.clone()].iter().sum::<u64>() as usize);
        let mut zstd = DCtx::create();
        // SAFETY: no precondition.
        let gzip = unsafe { deflate::libdeflate_alloc_decompressor() };
        for row in range {
            let (src, start, size) = (rows.get(row), out.len(), sizes[row] as usize);
            let dst = &mut out.spare_capacity_mut()[..size];
            let mut written = 0;
            // SAFETY: `gzip` is live, `src` and `dst` are valid for their lengths, neither library
            // reads what it has not written to `dst`, and the length covers only written bytes.
            unsafe {
                if codec == ZSTD {
                    let dst = slice::from_raw_parts_mut(dst.as_mut_ptr().cast::<u8>(), size);
                    written = match dictionary {
                        None => zstd.decompress(dst, src),
                        Some(prepared) => {
                            zstd.decompress_using_ddict(dst, src, &prepared.decompress)
                        }
                    }
                    .expect("zstd decompresses");
                } else {
                    deflate::libdeflate_gzip_decompress(
                        gzip,
                        src.as_ptr().cast(),
                        src.len(),
                        dst.as_mut_ptr().cast::<c_void>(),
                        size,
                        &mut written,
                    );
                }
                assert_eq!(written, size, "the payload decodes to its size");
                out.set_len(start + size);
            }
        }
        // SAFETY: allocated above, freed once.
        unsafe { deflate::libdeflate_free_decompressor(gzip) };
        (out, Vec::new())
    });
    Box::into_raw(Box::new(Output { parts }))
}

/// The size of an output in bytes.
///
/// # Safety
/// `output` came from this library and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_len(output: *const Output) -> usize {
    // SAFETY: the caller vouches that the output is live.
    let output = unsafe { &*output };
    output.parts.iter().map(|(bytes, _)| bytes.len()).sum()
}

/// Frees an output.
///
/// # Safety
/// `output` came from this library; it is freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_free(output: *mut Output) {
    // SAFETY: the caller hands over a box of this library.
    drop(unsafe { Box::from_raw(output) });
}

/// # Safety
/// `bytes` and the `rows + 1` `offsets` are as in [`Rows`].
unsafe fn rows_of<'a>(bytes: *const u8, offsets: *const i64, rows: usize) -> Rows<'a> {
    // SAFETY: the caller vouches for both arrays; the last offset is the length of `bytes`.
    unsafe {
        let offsets = slice::from_raw_parts(offsets, rows + 1);
        Rows { bytes: slice::from_raw_parts(bytes, offsets[rows] as usize), offsets }
    }
}

/// Runs `work` on every range, the first on the calling thread.
fn run<T: Send>(
    rows: &Rows,
    threads: usize,
    work: impl Fn(std::ops::Range<usize>) -> T + Sync,
) -> Vec<T> {
    let mut ranges = rows.split(threads).into_iter();
    let own = ranges.next();
    thread::scope(|scope| {
        let handles: Vec<_> = ranges.map(|range| scope.spawn(|| work(range))).collect();
        let others = handles.into_iter().map(|handle| handle.join().expect("no panic"));
        own.map(&work).into_iter().chain(others).collect()
    })
}
