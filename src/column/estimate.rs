//! What a row will decode to, before it is decoded: by what it, its frames or its payload state.

use super::scheduler::SPAN_COST;
use super::{DecompressOptions, Payload};
use crate::codec::{AnyKernel, Codec};
use crate::error::{Error, Result};
use crate::kernel::{DecodedLens, Kernel, Scratch};
use crate::wire::frame::{FRAME_MAGIC, Frames};

/// The bytes that a row of frames states to decode to.
pub fn stated_by_frames(body: &[u8]) -> u64 {
    let sizes =
        Frames::new(body).map_while(|step| Some(step.ok()?.1.header.manifest.original_size));
    sizes.fold(0, u64::saturating_add)
}

/// The bytes that a row decodes to, by what it or its payload states: what decompressing it will
/// reserve, unless it is a bare payload that states a wrong length. 0 where it is bad, and `None`
/// where it states nothing.
pub fn stated_len(
    options: &DecompressOptions,
    scratch: &mut Scratch,
    payload: Payload,
) -> Option<u64> {
    let size = match payload {
        Payload::Null | Payload::Refused(..) => 0,
        Payload::Sealed(_, manifest) => manifest.original_size,
        Payload::Bare(payload) => return stated_by_bare(options, scratch, payload),
        Payload::Frames(body) => stated_by_frames(body),
    };
    Some(if size <= options.limit() { size } else { 0 })
}

/// The same of a bare payload. Apart from rows that state their size, which need no kernel and
/// its large stack frame.
#[inline(never)]
fn stated_by_bare(
    options: &DecompressOptions,
    scratch: &mut Scratch,
    payload: &[u8],
) -> Option<u64> {
    let limit = options.bare_limit();
    let lens = bare_lens(options, &mut options.codec.kernel(scratch), payload, limit);
    lens.map_or(Some(0), |lens| lens.stated)
}

/// What a bare payload can decode to, and what it states. A length that is stated is within
/// `limit`.
pub fn bare_lens(
    options: &DecompressOptions,
    kernel: &mut AnyKernel,
    payload: &[u8],
    limit: u64,
) -> Result<DecodedLens> {
    if payload.starts_with(&FRAME_MAGIC) && options.codec != Codec::Passthrough {
        return Err(Error::BadManifest(
            "this is an S4F2 frame, not a bare payload; decode reads frames".into(),
        ));
    }
    let error = |fault| options.bare_error(fault, limit);
    if kernel.stated_len(payload).map_err(error)?.is_some_and(|stated| stated > limit) {
        return Err(Error::OutputExceedsLimit { limit });
    }
    let DecodedLens { most, stated } = kernel.decoded_lens(payload).map_err(error)?;
    Ok(DecodedLens { most, stated: stated.map(|stated| stated.min(limit)) })
}

/// What a bare payload states to decode to, else a length that few exceed.
pub fn likely_of_bare(lens: DecodedLens, payload: &[u8]) -> u64 {
    const HIGH_RATIO: u64 = 8;
    lens.stated.unwrap_or_else(|| lens.most.min((payload.len() as u64).saturating_mul(HIGH_RATIO)))
}

/// The bytes that a row is likely to decode to, for sharing out the work; an unchecked claim
/// counts up to a limit.
pub fn likely_len(payload: Payload) -> usize {
    match payload {
        Payload::Null | Payload::Refused(..) => 0,
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
