//! Columns on a GPU: batches of rows are sent ahead of the workers, which find a row's result
//! when they come to it.
//!
//! ```text
//! rows -> items -> batch -> GPU -> results -> run_rows(until, prefetch): the workers, as on a CPU
//! ```
//!
//! `plan` says which values and payloads of a row can go; `run` sends them and hands the results
//! to the workers. A batch holds consecutive rows, so results need no sorting. What cannot go is
//! left to the workers and their CPU kernels, everything wrong with a row included: nothing is
//! judged here that is not judged again where all codecs' rows are. A row that no batch can hold
//! runs alone, in batches of its own, after the rows before it.

mod plan;
mod run;

use super::scheduler::RunRows;
use super::{DecompressOptions, Payload, Payloads, Rows};
use crate::body::Body;
use crate::codec::Codec;
use crate::error::Result;
use crate::gpu::{CodecFrom, Device, Direction, Placement, Prefetch, Work, Workload};
use crate::pool::{InterruptCheck, Listener};
use plan::{add_payload, coded_frames, items_of_frames};
use run::run;

pub(super) use plan::{Item, RowPositions};

/// The GPU for a column of values of at most `longest` bytes, or `None` for the CPU.
pub fn compress_placement<C: Rows>(
    codec: &Codec,
    chunks: &[C],
    longest: u64,
    interrupted: InterruptCheck,
) -> Option<Placement> {
    let (encoding, device) = codec.encoding()?;
    Placement::choose(device, CodecFrom::Caller, || {
        // Short of memory, the run itself will say so.
        let Ok(positions) = RowPositions::new(chunks.iter().map(C::count)) else {
            return Workload::default();
        };
        let work = Work { direction: Direction::Compress, encoding };
        let mut workload = Workload::default();
        for row in listening(interrupted, positions.count()) {
            let (chunk, row) = positions.find(row);
            match chunks[chunk].get(row) {
                Some(value) if value.len() as u64 <= longest => {
                    workload.add(work, value.len() as u64);
                }
                _ => {}
            }
        }
        workload
    })
}

/// Runs `run_rows` over a column of values of at most `longest` bytes.
pub fn compress<'a, C: Rows>(
    codec: &Codec,
    placement: Option<Placement>,
    chunks: &'a [C],
    longest: u64,
    interrupted: InterruptCheck,
    run_rows: RunRows,
) -> Result<()> {
    let positions = RowPositions::new(chunks.iter().map(C::count))?;
    let items = |position, items: &mut Vec<Item<'a>>| {
        let (chunk, row) = positions.find(position);
        let value = chunks[chunk].get(row).filter(|value| value.len() as u64 <= longest);
        let encoding = codec.encoding().map(|(encoding, _)| encoding);
        items.extend(value.zip(encoding).and_then(|(value, of)| Item::of_value(value, of)));
    };
    run(placement, positions.count(), &items, interrupted, run_rows)
}

/// The GPU for a column of payloads, or `None` for the CPU.
pub fn placement<C: Payloads>(
    options: &DecompressOptions,
    chunks: &[C],
    interrupted: InterruptCheck,
) -> Option<Placement> {
    // Frames name their codecs, so that some may be for a GPU whatever the codec is.
    let (device, codec_from) = match options.codec.device() {
        Some(device) => (device, CodecFrom::Caller),
        None => (options.device, CodecFrom::Frames),
    };
    let encoding = options.codec.encoding().map(|(encoding, _)| encoding);
    Placement::choose(device, codec_from, || {
        // Short of memory, the run itself will say so.
        let Ok(positions) = RowPositions::new(chunks.iter().map(C::count)) else {
            return Workload::default();
        };
        let mut workload = Workload::default();
        for row in listening(interrupted, positions.count()) {
            let (chunk, row) = positions.find(row);
            match (chunks[chunk].get(row), encoding) {
                (Payload::Sealed(payload, manifest), Some(encoding)) => {
                    add_payload(&mut workload, payload, encoding, Some(manifest.original_size));
                }
                (Payload::Bare(payload), Some(encoding)) => {
                    add_payload(&mut workload, payload, encoding, None);
                }
                (Payload::Frames(body), _) => {
                    for (_, frame, encoding) in coded_frames(body) {
                        let expected = frame.header.manifest.original_size;
                        add_payload(&mut workload, frame.payload, encoding, Some(expected));
                    }
                }
                _ => {}
            }
        }
        workload
    })
}

/// Runs `run_rows` over a column of payloads.
pub fn decompress<'a, C: Payloads>(
    options: &DecompressOptions,
    chunks: &'a [C],
    interrupted: InterruptCheck,
    run_rows: RunRows,
) -> Result<()> {
    let positions = RowPositions::new(chunks.iter().map(C::count))?;
    let payload = |position| -> Payload<'a> {
        let (chunk, row) = positions.find(position);
        chunks[chunk].get(row)
    };
    let encoding = options.codec.encoding().map(|(encoding, _)| encoding);
    let items = |position, items: &mut Vec<Item<'a>>| match payload(position) {
        Payload::Sealed(payload, manifest) => {
            let (expected, limit) = (manifest.original_size, options.limit());
            items.extend(encoding.and_then(|encoding| {
                Item::of_payload(0, payload, encoding.algorithm, Some(expected), limit)
            }));
        }
        Payload::Bare(payload) => {
            let limit = options.bare_limit();
            items.extend(encoding.and_then(|encoding| {
                Item::of_payload(0, payload, encoding.algorithm, None, limit)
            }));
        }
        Payload::Frames(body) => items.extend(items_of_frames(body, options.limit())),
        Payload::Null | Payload::Refused(..) => {}
    };
    let placement = placement(options, chunks, interrupted);
    run(placement, positions.count(), &items, interrupted, run_rows)
}

/// Runs `run_rows` over the frames of a body, each a row of its own.
pub fn run_frames<'a>(
    body: &Body<'a>,
    device: Device,
    interrupted: InterruptCheck,
    run_rows: RunRows,
) -> Result<()> {
    let workload = || {
        let mut workload = Workload::default();
        let frames = listening(interrupted, body.frames());
        for (codec, manifest, payload) in frames.map(|frame| body.frame(frame)) {
            if let Some((encoding, _)) = codec.encoding() {
                let expected = manifest.original_size;
                add_payload(&mut workload, payload, encoding, Some(expected));
            }
        }
        workload
    };
    let items = |frame, items: &mut Vec<Item<'a>>| {
        let (codec, manifest, payload) = body.frame(frame);
        let expected = manifest.original_size;
        items.extend(codec.encoding().and_then(|(encoding, _)| {
            Item::of_payload(0, payload, encoding.algorithm, Some(expected), expected)
        }));
    };
    let placement = Placement::choose(device, CodecFrom::Frames, workload);
    run(placement, body.frames(), &items, interrupted, run_rows)
}

fn on_cpu(run_rows: RunRows) -> Result<()> {
    run_rows(usize::MAX, &Prefetch::None)
}

/// The positions up to `count`, or up to an interrupt, which the work on them then hears too.
fn listening<'a>(
    interrupted: InterruptCheck<'a>,
    count: usize,
) -> impl Iterator<Item = usize> + 'a {
    let mut listener = Listener::new(interrupted);
    (0..count).take_while(move |_| listener.step().is_ok())
}
