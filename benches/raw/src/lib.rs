//! The raw libraries as a careful programmer would drive them: one context per thread for
//! all rows, rows split evenly by bytes over the threads, output kept in ordinary memory.
//! No checksum, no validation, no column format. The benches call this through ctypes and
//! divide by it.

use std::ffi::c_void;
use std::slice;
use std::thread;

use libdeflate_sys as deflate;
use zstd_safe::{CCtx, CDict, DCtx, DDict};

const ZSTD: u32 = 1;

/// Rows back to back: row i is `bytes[offsets[i]..offsets[i + 1]]`.
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

    /// Row ranges of about equal bytes.
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

/// What a call made: one buffer and the rows' lengths per thread.
pub struct Output {
    parts: Vec<(Vec<u8>, Vec<usize>)>,
}

/// A dictionary, prepared for both directions.
pub struct Prepared {
    compress: CDict<'static>,
    decompress: DDict<'static>,
}

/// A prepared dictionary, which lives for ever.
///
/// # Safety
/// `bytes` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_prepare(bytes: *const u8, len: usize, level: i32) -> *mut Prepared {
    let bytes = unsafe { slice::from_raw_parts(bytes, len) };
    let (compress, decompress) = (CDict::create(bytes, level), DDict::create(bytes));
    Box::into_raw(Box::new(Prepared { compress, decompress }))
}

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
    let (rows, dictionary) = unsafe { (rows_of(bytes, offsets, rows), dictionary.as_ref()) };
    let parts = run(&rows, threads, |range| {
        let mut lens = Vec::with_capacity(range.len());
        let bound =
            |len| if codec == ZSTD { zstd_safe::compress_bound(len) } else { len + len / 8 + 128 };
        let mut out = Vec::with_capacity(range.clone().map(|row| bound(rows.get(row).len())).sum());
        let mut zstd = CCtx::create();
        let gzip = unsafe { deflate::libdeflate_alloc_compressor(level) };
        for row in range {
            let (src, start): (&[u8], usize) = (rows.get(row), out.len());
            let room = out.spare_capacity_mut();
            let written = unsafe {
                if codec == ZSTD {
                    let room =
                        slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), room.len());
                    match dictionary {
                        None => zstd.compress(room, src, level),
                        Some(prepared) => zstd.compress_using_cdict(room, src, &prepared.compress),
                    }
                    .expect("zstd compresses")
                } else {
                    deflate::libdeflate_gzip_compress(
                        gzip,
                        src.as_ptr().cast(),
                        src.len(),
                        room.as_mut_ptr().cast::<c_void>(),
                        room.len(),
                    )
                }
            };
            assert!(written > 0, "the bound is enough");
            unsafe { out.set_len(start + written) };
            lens.push(written);
        }
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
    let (rows, sizes, dictionary) = unsafe {
        (rows_of(bytes, offsets, rows), slice::from_raw_parts(sizes, rows), dictionary.as_ref())
    };
    let parts = run(&rows, threads, |range| {
        let mut out: Vec<u8> =
            Vec::with_capacity(sizes[range.clone()].iter().sum::<u64>() as usize);
        let mut zstd = DCtx::create();
        let gzip = unsafe { deflate::libdeflate_alloc_decompressor() };
        for row in range {
            let (src, start, size) = (rows.get(row), out.len(), sizes[row] as usize);
            let room = &mut out.spare_capacity_mut()[..size];
            let mut written = 0;
            unsafe {
                if codec == ZSTD {
                    let room = slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), size);
                    written = match dictionary {
                        None => zstd.decompress(room, src),
                        Some(prepared) => {
                            zstd.decompress_using_ddict(room, src, &prepared.decompress)
                        }
                    }
                    .expect("zstd decompresses");
                } else {
                    deflate::libdeflate_gzip_decompress(
                        gzip,
                        src.as_ptr().cast(),
                        src.len(),
                        room.as_mut_ptr().cast::<c_void>(),
                        size,
                        &mut written,
                    );
                }
                assert_eq!(written, size, "the payload decodes to its size");
                out.set_len(start + size);
            }
        }
        unsafe { deflate::libdeflate_free_decompressor(gzip) };
        (out, Vec::new())
    });
    Box::into_raw(Box::new(Output { parts }))
}

/// Bytes of all rows of an output.
///
/// # Safety
/// `output` came from this library and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_len(output: *const Output) -> usize {
    let output = unsafe { &*output };
    output.parts.iter().map(|(bytes, _)| bytes.len()).sum()
}

/// # Safety
/// `output` came from this library; it is freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raw_free(output: *mut Output) {
    drop(unsafe { Box::from_raw(output) });
}

unsafe fn rows_of<'a>(bytes: *const u8, offsets: *const i64, rows: usize) -> Rows<'a> {
    unsafe {
        let offsets = slice::from_raw_parts(offsets, rows + 1);
        Rows { bytes: slice::from_raw_parts(bytes, offsets[rows] as usize), offsets }
    }
}

/// Runs `work` on every part, the first of them on the calling thread.
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
