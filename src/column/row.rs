//! One row: decoded with everything that its call, its worker and the GPU have for it.

use super::bad_rows::{BadRow, OnError};
use super::estimate::{bare_lens, likely_of_bare, stated_by_frames};
use super::layout::RowWriter;
use super::scheduler::{Job, Worker};
use super::{DecompressOptions, Payload, mistake};
use crate::body::Body;
use crate::codec::Codec;
use crate::error::{Error, Result, to_len};
use crate::gpu::{ItemId, Prefetch};
use crate::kernel::{Fault, Kernel, Scratch};
use crate::manifest::Manifest;
use crate::wire::codec_id::CodecId;
use crate::wire::frame::Frame;

/// Decodes the rows of one span.
pub struct RowDecoder<'d> {
    pub options: &'d DecompressOptions,
    pub job: &'d Job,
    pub prefetch: &'d Prefetch<'d>,
    pub scratch: &'d mut Scratch,
}

impl RowDecoder<'_> {
    /// Decodes the row at `position` of the column; `None` where it is null. A bad row is
    /// an error with what is known of the row, or null where the options say so.
    pub fn decode<'a, W: RowWriter>(
        &mut self,
        worker: &mut Worker<W>,
        payload: impl Fn() -> Payload<'a>,
        position: usize,
    ) -> Result<Option<W::Row>, BadRow> {
        let (options, job) = (self.options, self.job);
        let id = ItemId::of_row(position);
        let remaining = job.remaining(worker);
        // What is beyond the limit of one row is that row's error.
        let exceeds = |size| size > remaining && size <= options.limit();
        let given = payload();
        let is_passthrough = is_passthrough(&given);
        let value = match given {
            Payload::Null => return Ok(None),
            Payload::Refused(_, error) => Err(error),
            Payload::Sealed(_, manifest) if exceeds(manifest.original_size) => Err(job.exceeded()),
            Payload::Sealed(payload, manifest) => {
                self.sealed(id, &options.codec, &mut worker.out, payload, &manifest)
            }
            Payload::Bare(payload) => {
                self.bare(id, worker, payload, remaining).map_err(|error| match error {
                    Error::OutputExceedsLimit { .. } if remaining < options.bare_limit() => {
                        job.exceeded()
                    }
                    other => other,
                })
            }
            Payload::Frames(body) if job.has_total_limit() && exceeds(stated_by_frames(body)) => {
                Err(job.exceeded())
            }
            Payload::Frames(body) => self.frames(id, &mut worker.out, body),
        };
        match value {
            Ok((value, len)) => {
                job.count_good(worker, len);
                if is_passthrough {
                    worker.bad.count_passthrough();
                }
                Ok(Some(value))
            }
            Err(source) => {
                let is_about_data = source.is_about_data();
                let payload = payload();
                let mistake = mistake::of_row(options, &payload, &source).filter(|_| is_about_data);
                let bad = BadRow { source, context: describe(options, payload), mistake };
                if options.on_error == OnError::Raise || !is_about_data {
                    return Err(bad);
                }
                let reason = match options.on_error {
                    OnError::Report => Some(worker.out.report(&bad.reason())?),
                    _ => None,
                };
                job.record_bad(worker, position, bad)?;
                Ok(reason)
            }
        }
    }

    /// Decodes a payload with its manifest; returns the row and its length.
    fn sealed<W: RowWriter>(
        &mut self,
        id: ItemId,
        codec: &Codec,
        out: &mut W,
        payload: &[u8],
        manifest: &Manifest,
    ) -> Result<(W::Row, u64)> {
        let size = manifest.original_size;
        if size > W::MAX_ROW_BYTES && size <= self.options.limit() {
            return Err(Error::ValueTooLong { size, limit: W::MAX_ROW_BYTES });
        }
        let row = match self.sealed_by(id, self.prefetch, codec, out, payload, manifest) {
            // What a GPU got wrong without a word, the CPU may get right.
            Err(error @ Error::CrcMismatch { .. }) if self.prefetch.retries() => {
                let again = self.sealed_by(id, &Prefetch::None, codec, out, payload, manifest);
                again.map_err(|_| error)
            }
            other => other,
        };
        Ok((row?, size))
    }

    fn sealed_by<W: RowWriter>(
        &mut self,
        id: ItemId,
        prefetch: &Prefetch,
        codec: &Codec,
        out: &mut W,
        payload: &[u8],
        manifest: &Manifest,
    ) -> Result<W::Row> {
        let options = self.options;
        let mut kernel = codec.prefetched_kernel(id, prefetch, self.scratch);
        let len = manifest.admit(&mut kernel, payload, options.limit())?;
        out.write(len, |dst| {
            let value = manifest.decode(&mut kernel, payload, dst)?;
            options.content.check(value)?;
            Ok(value)
        })
    }

    /// Decodes a row of frames, mostly of one.
    fn frames<W: RowWriter>(
        &mut self,
        id: ItemId,
        out: &mut W,
        body: &[u8],
    ) -> Result<(W::Row, u64)> {
        let options = self.options;
        let dictionary = options.codec.dictionary();
        if let Ok((Frame { header, payload }, [])) = Frame::parse(body) {
            let codec = Codec::for_decoding(header.codec, dictionary)?;
            return self.sealed(id, &codec, out, payload, &header.manifest);
        }
        let frames = Body::plan(body, dictionary, options.device, options.limit())?;
        let size = frames.len();
        if size > W::MAX_ROW_BYTES {
            return Err(Error::ValueTooLong { size, limit: W::MAX_ROW_BYTES });
        }
        let row = out.write(to_len(size)?, |dst| {
            frames.slots(dst).enumerate().try_for_each(|(frame, slot)| {
                slot.decode(ItemId { frame, ..id }, self.prefetch, self.scratch)
            })?;
            // SAFETY: the frames' slots are all of `dst`, and each was decoded.
            let value = unsafe { dst.assume_init_ref() };
            options.content.check(value)?;
            Ok(value)
        })?;
        Ok((row, size))
    }

    /// Decodes a payload that came without a manifest: only the format's own checks verify it.
    fn bare<W: RowWriter>(
        &mut self,
        id: ItemId,
        worker: &mut Worker<W>,
        payload: &[u8],
        remaining: u64,
    ) -> Result<(W::Row, u64)> {
        let options = self.options;
        let kernel = &mut options.codec.prefetched_kernel(id, self.prefetch, self.scratch);
        let limit = options.bare_limit().min(W::MAX_ROW_BYTES).min(remaining);
        let lens = bare_lens(options, kernel, payload, limit)?;
        let most = lens.most.min(limit);
        let likely = likely_of_bare(lens, payload).min(most);
        let mut len = 0;
        let row = worker.out.write_within(to_len(likely)?, to_len(most)?, |dst| {
            let written = match kernel.decompress(payload, dst) {
                Ok(written) => written,
                Err(Fault::TooLong) if (dst.len() as u64) < most => return Ok(None),
                // Longer than its structure allows is damage.
                Err(Fault::TooLong) if lens.most <= limit => {
                    let reason = "the decoded data is longer than the payload states";
                    return Err(Fault::corrupt(reason).into_error(kernel.name(), most));
                }
                Err(fault) => return Err(options.bare_error(fault, limit)),
            };
            // SAFETY: the kernel initialised the first `written` bytes.
            let value = unsafe { dst[..written].assume_init_ref() };
            options.content.check(value)?;
            len = written as u64;
            Ok(Some(value))
        })?;
        Ok((row, len))
    }
}

/// Whether a row is one frame of passthrough.
fn is_passthrough(payload: &Payload) -> bool {
    let Payload::Frames(body) = payload else { return false };
    let frame = Frame::parse(body);
    matches!(frame, Ok((frame, [])) if frame.header.codec == CodecId::PASSTHROUGH)
}

/// What is known of a row, for its error.
pub fn describe(options: &DecompressOptions, payload: Payload) -> String {
    let codec = options.codec.name();
    match payload {
        Payload::Frames(body) => describe_frames(body),
        Payload::Null => format!("codec {codec}"),
        Payload::Bare(payload) | Payload::Refused(payload, _) => {
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

/// The same of a row of frames.
pub fn describe_frames(body: &[u8]) -> String {
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
