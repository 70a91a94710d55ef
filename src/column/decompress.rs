//! Columns of payloads, with or without manifests -> columns of values.

use super::bad_rows::{BadRow, BadRows, OnError};
use super::discard::Discard;
use super::flat::{Cuts, FlatColumn, flatten};
use super::job::{Job, SPAN_COST, Spans, Worker, Workers, zeroed};
use super::memory::BLOCK_BYTES;
use super::output::{Output, Written};
use super::view::{ViewColumn, Views};
use super::{Payload, Payloads, ahead, mistake, slots};
use crate::body::Body;
use crate::codec::{AnyKernel, Codec};
use crate::error::{Error, Result};
use crate::gpu::{Device, Prefetch};
use crate::kernel::{Fault, Kernel, Scratch};
use crate::manifest::{MAX_BARE_SIZE, MAX_ORIGINAL_SIZE, Manifest};
use crate::pool::Interrupted;
use crate::wire::frame::{Frame, Frames};

/// A decompressed column.
pub struct Decompressed<V> {
    pub values: V,
    /// Rows that are null because they were bad.
    pub bad_rows: BadRows,
}

/// How a column is decompressed.
#[derive(Clone, Debug)]
pub struct Decompress {
    /// The codec of payloads. Frames name their own; what they take from here is a
    /// dictionary.
    pub codec: Codec,
    /// Where frames of GPU codecs are decoded; payloads are where their codec says.
    pub device: Device,
    /// Largest decoded row; `None` is 5 GiB with a manifest and 1 GiB without.
    pub max_size: Option<u64>,
    /// Values must be UTF-8.
    pub utf8: bool,
    /// What a bad row does.
    pub on_error: OnError,
    /// Bytes that all rows together may decode to.
    pub max_total_size: Option<u64>,
}

impl Decompress {
    /// Of any bytes, on the CPU where frames are, with an error at the first bad row.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            device: Device::Cpu,
            max_size: None,
            utf8: false,
            on_error: OnError::Raise,
            max_total_size: None,
        }
    }

    /// The largest size that a manifest may state.
    pub(super) fn limit(&self) -> u64 {
        self.max_size.unwrap_or(MAX_ORIGINAL_SIZE)
    }

    /// The largest size that a bare payload may decode to.
    pub(super) fn bare_limit(&self) -> u64 {
        self.max_size.unwrap_or(MAX_BARE_SIZE)
    }

    fn bare_error(&self, fault: Fault, limit: u64) -> Error {
        match fault {
            Fault::TooLong => Error::OutputExceedsLimit { limit },
            Fault::Length { decoded } if decoded > limit => Error::OutputExceedsLimit { limit },
            other => other.into_error(self.codec.name(), limit),
        }
    }
}

/// Decompresses every row of `chunks`.
pub fn decompress<C: Payloads>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Decompressed<ViewColumn>> {
    let job = Job::with_total_limit(count(chunks), how.max_total_size);
    let Decompressed { values, bad_rows } =
        decompress_rows(how, chunks, &job, || Views(job.arena()), interrupted)?;
    Ok(Decompressed { values: values.try_into()?, bad_rows })
}

/// Decompresses every row of `chunks`, each chunk to a column of its own.
pub fn decompress_flat<C: Payloads>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<Decompressed<Vec<FlatColumn>>> {
    if let Some(in_place) = slots::decompress(how, chunks, interrupted)? {
        return Ok(in_place);
    }
    let counts: Vec<usize> = chunks.iter().map(C::count).collect();
    let job = Job::with_total_limit(count(chunks), how.max_total_size);
    let Decompressed { values, bad_rows } =
        decompress_rows(how, chunks, &job, || Cuts(job.arena()), interrupted)?;
    Ok(Decompressed { values: flatten(values, &counts, interrupted)?, bad_rows })
}

/// Decompresses every row of `chunks` and keeps none: the bad ones, with their reasons. A value
/// of more than `LONGEST` bytes is bad.
pub fn verify<C: Payloads, const LONGEST: u64>(
    how: &Decompress,
    chunks: &[C],
    interrupted: Interrupted,
) -> Result<BadRows> {
    let how = Decompress { on_error: OnError::Report, ..how.clone() };
    let job = Job::with_total_limit(count(chunks), how.max_total_size);
    let discard = || Discard::<LONGEST>::default();
    Ok(decompress_rows(&how, chunks, &job, discard, interrupted)?.bad_rows)
}

fn count<C: Payloads>(chunks: &[C]) -> usize {
    chunks.iter().map(C::count).sum()
}

fn decompress_rows<C: Payloads, O: Output>(
    how: &Decompress,
    chunks: &[C],
    job: &Job,
    out: impl Fn() -> O + Sync,
    interrupted: Interrupted,
) -> Result<Decompressed<Written<O>>> {
    let mut rows = zeroed::<O::Row>(count(chunks))?;
    let mut spans =
        Spans::new(chunks.iter().map(C::count), |chunk, row| likely_len(chunks[chunk].get(row)));
    let mut rest = &mut rows[..];
    let workers = Workers::new(|| job.worker(out()));
    ahead::decompress(how, chunks, interrupted, &mut |until, prefetch| {
        let work = spans.until(until).map(|span| {
            let values = rest.split_off_mut(..span.rows.len()).unwrap_or_default();
            (span, values)
        });
        workers.work_off(
            work,
            |worker, (span, values)| {
                let chunk = &chunks[span.chunk];
                let scratch = &mut *Scratch::of_thread();
                job.each_row(worker, &span, |worker, i, row| {
                    let (payload, position) = (|| chunk.get(row), span.first + i);
                    if let Some(value) =
                        decompress_row(how, job, prefetch, scratch, worker, payload, position)?
                    {
                        values[i] = value;
                    }
                    Ok(())
                });
            },
            interrupted,
        )
    })?;
    let (outs, bad_rows) = job.finish(workers.finish())?;
    Ok(Decompressed { values: Written { rows, outs }, bad_rows })
}

/// Decompresses the row at `position` of the column; `None` where it is null. A bad row is
/// an error and what it is about, or null where that is wanted.
pub(super) fn decompress_row<'a, O: Output>(
    how: &Decompress,
    job: &Job,
    prefetch: &Prefetch,
    scratch: &mut Scratch,
    worker: &mut Worker<O>,
    payload: impl Fn() -> Payload<'a>,
    position: usize,
) -> Result<Option<O::Row>, BadRow> {
    let remaining = job.remaining(worker);
    // What is beyond the limit of one row is that row's error.
    let exceeds = |size| size > remaining && size <= how.limit();
    let value = match payload() {
        Payload::Null => return Ok(None),
        Payload::Unsealed(_, error) => Err(error),
        Payload::Sealed(_, manifest) if exceeds(manifest.original_size) => Err(job.exceeded()),
        Payload::Sealed(payload, manifest) => decompress_sealed(
            how,
            &how.codec,
            prefetch,
            scratch,
            &mut worker.out,
            payload,
            &manifest,
        ),
        Payload::Bare(payload) => {
            let kernel = &mut how.codec.prefetched_kernel(payload, prefetch, scratch);
            decompress_bare(how, kernel, worker, payload, remaining).map_err(|error| match error {
                Error::OutputExceedsLimit { .. } if remaining < how.bare_limit() => job.exceeded(),
                other => other,
            })
        }
        Payload::Frames(body) if job.has_total_limit() && exceeds(stated_by_frames(body)) => {
            Err(job.exceeded())
        }
        Payload::Frames(body) => decode_frames(how, prefetch, scratch, &mut worker.out, body),
    };
    match value {
        Ok((value, len)) => {
            job.count_good(worker, len);
            Ok(Some(value))
        }
        Err(source) => {
            let is_about_data = source.is_about_data();
            let payload = payload();
            let mistake = mistake::of_row(how, &payload, &source).filter(|_| is_about_data);
            let bad = BadRow { source, context: describe(how, payload), mistake };
            if how.on_error == OnError::Raise || !is_about_data {
                return Err(bad);
            }
            job.set_aside(worker, position, bad, how.on_error);
            Ok(None)
        }
    }
}

fn decompress_sealed<O: Output>(
    how: &Decompress,
    codec: &Codec,
    prefetch: &Prefetch,
    scratch: &mut Scratch,
    out: &mut O,
    payload: &[u8],
    manifest: &Manifest,
) -> Result<(O::Row, u64)> {
    let (size, limit) = (manifest.original_size, how.limit());
    if size > O::LONGEST && size <= limit {
        return Err(Error::ValueTooLong { size, limit: O::LONGEST });
    }
    let mut decompress = |prefetch: &Prefetch, out: &mut O| {
        let mut kernel = codec.prefetched_kernel(payload, prefetch, scratch);
        let len = manifest.admit(&mut kernel, payload, limit)?;
        out.write(len, |dst| {
            let value = manifest.decode(&mut kernel, payload, dst)?;
            check_utf8(how, value)?;
            Ok(value)
        })
    };
    let row = match decompress(prefetch, out) {
        // What a GPU got wrong without a word, the CPU may get right.
        Err(error @ Error::CrcMismatch { .. }) if prefetch.retries() => {
            decompress(&Prefetch::None, out).map_err(|_| error)
        }
        other => other,
    };
    Ok((row?, size))
}

/// Decodes a row of frames; mostly it is one.
fn decode_frames<O: Output>(
    how: &Decompress,
    prefetch: &Prefetch,
    scratch: &mut Scratch,
    out: &mut O,
    body: &[u8],
) -> Result<(O::Row, u64)> {
    let dictionary = how.codec.dictionary();
    if let Ok((Frame { header, payload }, [])) = Frame::parse(body) {
        let codec = Codec::for_decoding(header.codec, dictionary)?;
        return decompress_sealed(how, &codec, prefetch, scratch, out, payload, &header.manifest);
    }
    let frames = Body::plan(body, dictionary, how.device, how.limit())?;
    let size = frames.len();
    if size > O::LONGEST {
        return Err(Error::ValueTooLong { size, limit: O::LONGEST });
    }
    let row = out.write(to_usize(size)?, |room| {
        frames.slots(room).try_for_each(|slot| slot.decode(prefetch, scratch))?;
        // SAFETY: the frames' places are all of the room, and each was decoded.
        let value = unsafe { room.assume_init_ref() };
        check_utf8(how, value)?;
        Ok(value)
    })?;
    Ok((row, size))
}

/// What a row of frames says it decodes to.
fn stated_by_frames(body: &[u8]) -> u64 {
    let sizes =
        Frames::new(body).map_while(|step| Some(step.ok()?.1.header.manifest.original_size));
    sizes.fold(0, u64::saturating_add)
}

/// The room that a row takes, by what it or its payload states: what decompressing it will
/// ask for, unless it is a bare payload that says the wrong thing. 0 where it is bad.
pub(super) fn stated_len(how: &Decompress, scratch: &mut Scratch, payload: Payload) -> u64 {
    match payload {
        Payload::Null | Payload::Unsealed(..) => 0,
        Payload::Sealed(_, manifest) if manifest.original_size > how.limit() => 0,
        Payload::Sealed(_, manifest) => manifest.original_size,
        Payload::Bare(payload) => bare_guess(how, scratch, payload),
        Payload::Frames(body) => {
            Some(stated_by_frames(body)).filter(|&size| size <= how.limit()).unwrap_or(0)
        }
    }
}

/// What a bare payload will likely decode to; 0 where it is bad. Apart from rows that state
/// their size, which need no kernel and its large stack frame.
#[inline(never)]
fn bare_guess(how: &Decompress, scratch: &mut Scratch, payload: &[u8]) -> u64 {
    let mut kernel = how.codec.kernel(scratch);
    bare_lens(how, &mut kernel, payload, how.bare_limit()).map_or(0, |(_, guess)| guess)
}

/// What a bare payload can decode to at most, and what it will likely, within `limit`.
pub(super) fn bare_lens(
    how: &Decompress,
    kernel: &mut AnyKernel,
    payload: &[u8],
    limit: u64,
) -> Result<(u64, u64)> {
    if payload.starts_with(b"S4F2") && how.codec != Codec::Passthrough {
        return Err(Error::BadManifest(
            "this is an S4F2 frame, not a bare payload; decode reads frames".into(),
        ));
    }
    let error = |fault| how.bare_error(fault, limit);
    if kernel.stated_len(payload).map_err(error)?.is_some_and(|stated| stated > limit) {
        return Err(Error::OutputExceedsLimit { limit });
    }
    let bound = kernel.decoded_bound(payload).map_err(error)?;
    Ok((bound, kernel.decoded_guess(payload, bound).min(limit)))
}

/// Decodes a payload whose original size nobody states and whose content nothing vouches
/// for but the format's own checks.
fn decompress_bare<O: Output>(
    how: &Decompress,
    kernel: &mut AnyKernel,
    worker: &mut Worker<O>,
    payload: &[u8],
    remaining: u64,
) -> Result<(O::Row, u64)> {
    let limit = how.bare_limit().min(O::LONGEST).min(remaining);
    let (bound, guess) = bare_lens(how, kernel, payload, limit)?;
    let (mut too_long, mut len) = (false, 0);
    let decoded = worker.out.write(to_usize(guess)?, |room| {
        let written = kernel.decompress(payload, room).map_err(|fault| match fault {
            // Longer than its structure allows is damage; longer than tried is not.
            Fault::TooLong if guess >= bound => {
                Fault::corrupt("a stated length is too small").into_error(how.codec.name(), guess)
            }
            Fault::TooLong => {
                too_long = true;
                Error::OutputExceedsLimit { limit }
            }
            other => how.bare_error(other, limit),
        })?;
        // SAFETY: the kernel initialised the first `written` bytes.
        let value = unsafe { room[..written].assume_init_ref() };
        check_utf8(how, value)?;
        len = written as u64;
        Ok(value)
    });
    if !too_long || guess == limit {
        return Ok((decoded?, len));
    }
    let mut grown = std::mem::take(&mut worker.grown);
    grown.clear();
    kernel
        .decompress_growing(payload, to_usize(limit)?, &mut grown)
        .map_err(|fault| how.bare_error(fault, limit))?;
    check_utf8(how, &grown)?;
    let len = grown.len() as u64;
    let value = worker.out.take(&mut grown);
    if grown.capacity() <= BLOCK_BYTES {
        worker.grown = grown;
    }
    Ok((value?, len))
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
        Payload::Frames(body) => {
            let most = body.len().saturating_mul(64).saturating_add(SPAN_COST);
            usize::try_from(stated_by_frames(body)).unwrap_or(usize::MAX).min(most)
        }
        Payload::Sealed(payload, manifest) => {
            let most = payload.len().saturating_mul(64).saturating_add(SPAN_COST);
            usize::try_from(manifest.original_size).unwrap_or(usize::MAX).min(most)
        }
    }
}

fn describe(how: &Decompress, payload: Payload) -> String {
    let codec = how.codec.name();
    match payload {
        Payload::Frames(body) => describe_frames(body),
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

pub(super) fn describe_frames(body: &[u8]) -> String {
    match Frame::parse(body) {
        Ok((Frame { header, .. }, [])) => format!(
            "codec {}, payload {} bytes, original_size {}, crc32c {:#010x}",
            header.codec.name(),
            header.compressed_size,
            header.manifest.original_size,
            header.manifest.crc32c
        ),
        _ => format!("frames of {} bytes", body.len()),
    }
}
