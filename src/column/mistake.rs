//! Which mistake of the caller's would explain that a row does not decode: told by what its
//! first bytes are, and by the kind of the error.

use super::{DecompressOptions, Payload};
use crate::codec::Codec;
use crate::error::{Error, Mistake};
use crate::kernel::format::Format;
use crate::wire::codec_id::CodecId;
use crate::wire::frame::codec_number;

pub(super) fn of_row(
    options: &DecompressOptions,
    payload: &Payload,
    error: &Error,
) -> Option<Mistake> {
    match payload {
        Payload::Sealed(payload, manifest) => {
            match of_payload(&options.codec, payload, error) {
                // A payload that is the original itself was made by passthrough.
                Some(Mistake::NeverCompressed | Mistake::Zlib)
                    if manifest.confirm(payload).is_ok() =>
                {
                    Some(Mistake::OtherCodec("passthrough"))
                }
                other => other,
            }
        }
        Payload::Bare(payload) => of_payload(&options.codec, payload, error),
        Payload::Frames(body) => of_frames(body, error),
        Payload::Null | Payload::Refused(..) => None,
    }
}

fn of_payload(codec: &Codec, payload: &[u8], error: &Error) -> Option<Mistake> {
    match error {
        Error::Dictionary { .. } => return of_dictionary(error),
        Error::CodecMismatch { actual, .. } => return Some(Mistake::OtherCodec(actual)),
        Error::PartialItem { .. } | Error::RowWidth { .. } => return Some(Mistake::OtherDtype),
        // These decoded, or were not looked at.
        Error::InvalidUtf8 { .. }
        | Error::SizeExceedsLimit { .. }
        | Error::OutputExceedsLimit { .. }
        | Error::ValueTooLong { .. } => return None,
        _ => {}
    }
    let expected = codec.format();
    match Format::of(payload) {
        Some(found) if expected.is_some_and(|expected| found.is_like(expected)) => None,
        Some(Format::Frames) => Some(Mistake::Frames),
        Some(Format::Encrypted) => Some(Mistake::Encrypted),
        Some(Format::Zlib) => Some(Mistake::Zlib),
        Some(found) => found.codec().map(Mistake::OtherCodec),
        None => expected
            .filter(|expected| !expected.may_begin_as(payload))
            .map(|_| Mistake::NeverCompressed),
    }
}

/// The mistake behind bytes that are not the frames that they should be.
pub(super) fn of_frames(body: &[u8], error: &Error) -> Option<Mistake> {
    match error {
        Error::Dictionary { .. } | Error::DictionaryRequired => return of_dictionary(error),
        Error::UnregisteredCodec(_) => return Some(Mistake::UnknownCodec),
        Error::PartialItem { .. } | Error::RowWidth { .. } => return Some(Mistake::OtherDtype),
        Error::InFrame { source, .. } => return of_frames(body, source),
        Error::Frame(_) => {}
        _ => return None,
    }
    match Format::of(body) {
        Some(Format::Frames) => codec_number(body)
            .filter(|&number| CodecId::try_from(number).is_err())
            .map(|_| Mistake::UnknownCodec),
        Some(Format::Encrypted) => Some(Mistake::Encrypted),
        Some(Format::Zlib) => Some(Mistake::Zlib),
        Some(found) => found.codec().map(Mistake::Payloads),
        None if Format::Frames.may_begin_as(body) => None,
        None => Some(Mistake::NeverCompressed),
    }
}

fn of_dictionary(error: &Error) -> Option<Mistake> {
    match error {
        Error::DictionaryRequired | Error::Dictionary { is_missing: true, .. } => {
            Some(Mistake::MissingDictionary)
        }
        Error::Dictionary { .. } => Some(Mistake::OtherDictionary),
        _ => None,
    }
}
