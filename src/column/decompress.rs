//! Columns of payloads, with or without manifests -> columns of values.

use super::job::{Job, SPAN_COST, Spans, Worker, zeroed};
use super::view::write_row;
use super::{BLOCK_BYTES, Payload, Payloads, VIEW_MAX_BYTES, View, ViewColumn, pool};
use crate::codec::Codec;
use crate::error::{Error, ErrorClass, Result};
use crate::kernel::{Fault, Kernel};
use crate::manifest::{MAX_BARE_SIZE, MAX_ORIGINAL_SIZE};

/// A decompressed column.
pub struct Decompressed {
    pub values: ViewColumn,
    /// Rows that are null because they were bad, in ascending order.
    pub bad_rows: Vec<usize>,
}

/// How a column is decompressed.
#[derive(Clone, Debug)]
pub struct Decompress {
    pub codec: Codec,
    /// Largest decoded row; `None` is 5 GiB with a manifest and 1 GiB without.
    pub max_size: Option<u64>,
    /// Values must be UTF-8.
    pub utf8: bool,
    /// Bad rows become null instead of an error.
    pub null_on_error: bool,
}

/// Decompresses every row of `chunks`.
pub fn decompress<C: Payloads>(how: &Decompress, chunks: &[C]) -> Result<Decompressed> {
    let rows = chunks.iter().map(C::count).sum();
    let mut views: Vec<View> = zeroed(rows)?;
    let spans =
        Spans::new(chunks.iter().map(C::count), |chunk, row| likely_len(chunks[chunk].get(row)));
    let mut out = &mut views[..];
    let work = spans.map(|span| {
        let views = out.split_off_mut(..span.rows.len()).unwrap_or_default();
        (span, views)
    });
    let job = Job::new(rows);
    let workers = pool::work_off(
        work,
        || job.worker(),
        |worker, (span, views)| {
            let chunk = &chunks[span.chunk];
            how.codec.with_kernel(|kernel| {
                job.each_row(worker, &span, |worker, i, row| {
                    match decompress_row(how, kernel, worker, chunk.get(row)) {
                        Ok(view) => views[i] = view,
                        // Memory that ran out says nothing about the row.
                        Err(error) if how.null_on_error && error.class() != ErrorClass::Memory => {
                            worker.bad_rows.push(span.first + i);
                        }
                        Err(error) => return Err((error, describe(how, chunk.get(row)))),
                    }
                    Ok(())
                });
            });
        },
    )?;
    let (blocks, bad_rows) = job.finish(workers)?;
    Ok(Decompressed { values: ViewColumn { views, blocks }, bad_rows })
}

fn decompress_row(
    how: &Decompress,
    kernel: &mut dyn Kernel,
    worker: &mut Worker,
    payload: Payload,
) -> Result<View> {
    match payload {
        Payload::Null => Ok(0),
        Payload::Unsealed(_, error) => Err(error),
        Payload::Sealed(payload, manifest) => {
            let limit = how.max_size.unwrap_or(MAX_ORIGINAL_SIZE);
            let size = manifest.original_size;
            if size > VIEW_MAX_BYTES && size <= limit {
                return Err(Error::ValueTooLong { size, limit: VIEW_MAX_BYTES });
            }
            let room = manifest.admit(&how.codec, kernel, payload, limit)?;
            write_row(&mut worker.arena, room, |room| {
                let value = manifest.decode(&how.codec, kernel, payload, room)?;
                check_utf8(how, value)?;
                Ok(value)
            })
        }
        Payload::Bare(payload) => decompress_bare(how, kernel, worker, payload),
    }
}

/// Decodes a payload whose original size nobody states and whose content nothing vouches
/// for but the format's own checks.
fn decompress_bare(
    how: &Decompress,
    kernel: &mut dyn Kernel,
    worker: &mut Worker,
    payload: &[u8],
) -> Result<View> {
    if payload.starts_with(b"S4F2") && how.codec != Codec::Passthrough {
        return Err(Error::BadManifest(
            "this is an S4F2 frame, not a bare payload; decode reads frames".into(),
        ));
    }
    let limit = how.max_size.unwrap_or(MAX_BARE_SIZE).min(VIEW_MAX_BYTES);
    let fault = |fault| match fault {
        Fault::TooLong => Error::OutputExceedsLimit { limit },
        other => how.codec.error(other, limit),
    };
    let bound = kernel.decoded_bound(payload).map_err(fault)?;
    let guess = kernel.decoded_guess(payload, bound).min(limit);
    let mut too_long = false;
    let decoded = write_row(&mut worker.arena, to_usize(guess)?, |room| {
        let written = kernel.decompress(payload, room).map_err(|fault| match fault {
            // Longer than its structure allows is damage; longer than tried is not.
            Fault::TooLong if guess >= bound => {
                how.codec.error(Fault::corrupt("a stated length is too small"), guess)
            }
            Fault::TooLong => {
                too_long = true;
                Error::OutputExceedsLimit { limit }
            }
            other => how.codec.error(other, limit),
        })?;
        // SAFETY: the kernel initialised the first `written` bytes.
        let value = unsafe { room[..written].assume_init_ref() };
        check_utf8(how, value)?;
        Ok(value)
    });
    if !too_long || guess == limit {
        return decoded;
    }
    let mut grown = std::mem::take(&mut worker.grown);
    grown.clear();
    kernel.decompress_growing(payload, to_usize(limit)?, &mut grown).map_err(fault)?;
    check_utf8(how, &grown)?;
    let view = write_row(&mut worker.arena, grown.len(), |room| {
        crate::kernel::copy_to(&grown, room);
        // SAFETY: `room` is as long as `grown`, which was copied over all of it.
        Ok(unsafe { room.assume_init_ref() })
    });
    if grown.capacity() <= BLOCK_BYTES {
        worker.grown = grown;
    }
    view
}

fn check_utf8(how: &Decompress, value: &[u8]) -> Result<()> {
    if how.utf8 && simdutf8::basic::from_utf8(value).is_err() {
        let position = std::str::from_utf8(value).err().map_or(0, |error| error.valid_up_to());
        return Err(Error::InvalidUtf8 { position });
    }
    Ok(())
}

fn to_usize(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::OutOfMemory { bytes })
}

/// What a row will likely decode to; an unchecked claim counts up to a limit.
fn likely_len(payload: Payload) -> usize {
    match payload {
        Payload::Null | Payload::Unsealed(..) => 0,
        Payload::Bare(payload) => payload.len().saturating_mul(4),
        Payload::Sealed(payload, manifest) => {
            let most = payload.len().saturating_mul(64).saturating_add(SPAN_COST);
            usize::try_from(manifest.original_size).unwrap_or(usize::MAX).min(most)
        }
    }
}

fn describe(how: &Decompress, payload: Payload) -> String {
    let codec = how.codec.name();
    match payload {
        Payload::Null => format!("codec {codec}"),
        Payload::Bare(payload) | Payload::Unsealed(payload, _) => {
            format!("codec {codec}, payload {} bytes", payload.len())
        }
        Payload::Sealed(payload, manifest) => format!(
            "codec {codec}, payload {} bytes, original_size {}, crc32c {:#010x}",
            payload.len(),
            manifest.original_size,
            manifest.crc32c
        ),
    }
}
