//! What other decoders make of a payload.

use std::cell::RefCell;
use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{self, DCtx, DParameter, ResetDirective};

/// References stop here, so that no input decodes for long.
pub const MOST: usize = 1 << 20;

/// Windows beyond 8 MiB are left to libzstd's other decoder, as they take that much memory.
const WINDOW_LOG: u32 = 23;

/// A reference's verdict.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Value(Vec<u8>),
    Refused,
    /// It decodes to more than [`MOST`], takes too much memory to tell, or libzstd's decoders
    /// differ.
    Unknown,
}

fn read(reader: impl Read, value: &mut Vec<u8>) -> std::io::Result<()> {
    reader.take((MOST + 1 - value.len()) as u64).read_to_end(value).map(drop)
}

thread_local! {
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// libzstd, as a stream for each frame, with a dictionary or an empty one.
pub fn zstd(payload: &[u8], dictionary: &[u8]) -> Verdict {
    if payload.is_empty() {
        return Verdict::Refused;
    }
    CONTEXT.with_borrow_mut(|context| {
        context.reset(ResetDirective::SessionAndParameters).expect("a reset");
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).expect("a valid limit");
        if context.load_dictionary(dictionary).is_err() {
            return Verdict::Unknown;
        }
        let (mut rest, mut value) = (payload, Vec::new());
        while !rest.is_empty() {
            let Ok(len) = zstd_safe::find_frame_compressed_size(rest) else {
                return Verdict::Refused;
            };
            let (frame, after) = rest.split_at(len);
            let before = value.len();
            match read(Decoder::with_context(frame, context), &mut value) {
                Ok(()) if value.len() > MOST => return Verdict::Unknown,
                Ok(()) => {
                    let len = (value.len() - before) as u64;
                    let stated = zstd_safe::get_frame_content_size(frame).ok().flatten();
                    // As a stream, an empty last block ends a frame that states any length.
                    if stated.is_some_and(|stated| stated != len) {
                        return Verdict::Refused;
                    }
                    if !in_one_call(context, frame) {
                        return Verdict::Unknown;
                    }
                }
                Err(error) if error.to_string().contains("memory") => return Verdict::Unknown,
                Err(_) if in_one_call(context, frame) => return Verdict::Unknown,
                Err(_) => return Verdict::Refused,
            }
            rest = after;
        }
        Verdict::Value(value)
    })
}

/// Whether libzstd decodes the frame in one call. There, raw and RLE blocks may be larger than the
/// window lets them be; as a stream, the last block may be a compressed one of no bytes.
fn in_one_call(context: &mut DCtx, frame: &[u8]) -> bool {
    context.reset(ResetDirective::SessionOnly).expect("a reset");
    context.decompress(&mut Vec::with_capacity(MOST), frame).is_ok()
}

/// Members of gzip and the zeros that may follow them, by zlib-rs.
pub fn gzip(payload: &[u8]) -> Verdict {
    let (mut rest, mut value) = (payload, Vec::new());
    if rest.is_empty() {
        return Verdict::Refused;
    }
    while value.is_empty() && rest.len() == payload.len() || rest.iter().any(|&byte| byte != 0) {
        let mut member = GzDecoder::new(rest);
        if read(&mut member, &mut value).is_err() {
            return Verdict::Refused;
        }
        if value.len() > MOST {
            return Verdict::Unknown;
        }
        rest = member.into_inner();
    }
    Verdict::Value(value)
}

/// The length of the stream at the front of `deflated`, and what it decodes to.
pub fn deflate(deflated: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut value = Vec::new();
    let mut decoder = DeflateDecoder::new(deflated);
    read(&mut decoder, &mut value).ok()?;
    (value.len() <= MOST).then_some((decoder.total_in() as usize, value))
}
