//! Columns on a GPU: their rows go there in slabs, ahead of the workers, who find the work of
//! a row done when they come to it.
//!
//! ```text
//! rows -> parts -> slab -> GPU -> home -> each(until, ready): the workers' part, as on a CPU
//! ```
//!
//! Slabs are rows in a row, so that results need no sorting. What cannot go is left to the
//! workers and their CPU kernels, among them all that is wrong with a row: nothing is judged
//! here that is not judged again where every codec's rows are. A row that no slab can hold is
//! coded on its own, slab by slab, when those before it are home.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::decompress::Decompress;
use super::{Payload, Payloads, Rows};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::gpu::{
    self, Chunk, Cost, Device, Direction, Failure, Ready, Session, Slab, Work, class_of,
};
use crate::kernel::fcg1::{Algorithm, CHUNK_BYTES, Container, Encoding};
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::pool::Interrupted;
use crate::wire::body::Body;
use crate::wire::frame::{Frame, Frames};

/// What a row has for a GPU.
enum Part<'a> {
    /// To be compressed.
    Value(&'a [u8], Encoding),
    /// A payload whose container may be decompressed there.
    Container(&'a [u8], Container<'a>, Algorithm),
}

impl<'a> Part<'a> {
    /// What can be decompressed on a GPU to `expected` bytes, if that is known, and to
    /// `limit` at most.
    fn of_payload(
        payload: &'a [u8],
        algorithm: Algorithm,
        expected: Option<u64>,
        limit: u64,
    ) -> Option<Self> {
        let container = Container::parse(payload, algorithm).ok()?;
        let total = container.total;
        let is_good = total > 0
            && total <= limit
            && expected.is_none_or(|expected| expected == total)
            && container.is_plain(algorithm);
        is_good.then_some(Self::Container(payload, container, algorithm))
    }

    /// The value or the payload as a whole.
    fn whole(&self) -> &'a [u8] {
        match self {
            Self::Value(bytes, _) | Self::Container(bytes, ..) => bytes,
        }
    }

    /// What is to be done, and the length of its longest chunk.
    fn work(&self) -> (Work, usize) {
        match self {
            Self::Value(bytes, encoding) => {
                let work = Work { direction: Direction::Compress, encoding: *encoding };
                (work, bytes.len().min(CHUNK_BYTES))
            }
            Self::Container(_, container, algorithm) => {
                let encoding = Encoding::new(*algorithm);
                let work = Work { direction: Direction::Decompress, encoding };
                let chunk_bytes = u64::from(container.chunk_bytes);
                (work, container.total.min(chunk_bytes) as usize)
            }
        }
    }

    fn each_chunk(&self, take: &mut dyn FnMut(Chunk<'a>)) {
        match self {
            Self::Value(bytes, _) => {
                bytes.chunks(CHUNK_BYTES).for_each(|bytes| take(Chunk::of_value(bytes)));
            }
            Self::Container(_, container, _) => {
                container.chunks().for_each(|(bytes, original)| take(Chunk { bytes, original }));
            }
        }
    }
}

/// The workers' part: all rows before a position that were not had yet, and where their work is.
pub type Each<'e> = &'e mut dyn FnMut(usize, &Ready) -> Result<()>;

/// Runs `each` over a column of values of at most `longest` bytes.
pub fn compress<'a, C: Rows>(
    codec: &Codec,
    chunks: &'a [C],
    longest: u64,
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let places = Places::new(chunks.iter().map(C::count));
    let Some((encoding, device)) = codec.encoding() else { return on_cpu(each) };
    let value = |position| -> Option<&'a [u8]> {
        let (chunk, row) = places.of(position);
        chunks[chunk].get(row).filter(|value| value.len() as u64 <= longest)
    };
    let has_twin = Work { direction: Direction::Compress, encoding }.has_twin();
    let load =
        || (0..places.rows()).filter_map(value).map(|v| (v.len() as u64, has_twin)).collect();
    let parts = |position, parts: &mut Vec<Part<'a>>| {
        let value = value(position).filter(|value| !value.is_empty());
        let value = value.filter(|value| encoding.data_type.check_len(value.len()).is_ok());
        parts.extend(value.map(|value| Part::Value(value, encoding)));
    };
    run(choose(device, load), places.rows(), &parts, interrupted, each)
}

/// Runs `each` over a column of payloads.
pub fn decompress<'a, C: Payloads>(
    how: &Decompress,
    chunks: &'a [C],
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let places = Places::new(chunks.iter().map(C::count));
    let payload = |position| -> Payload<'a> {
        let (chunk, row) = places.of(position);
        chunks[chunk].get(row)
    };
    let coded = how.codec.encoding();
    // Frames name their codecs, so that some may be for a GPU whatever the codec is.
    let device = coded.map_or(how.device, |(_, device)| device);
    let load = || {
        let mut load = Load::default();
        for row in 0..places.rows() {
            match (payload(row), coded) {
                (Payload::Sealed(_, manifest), Some((encoding, _))) => {
                    load.add(manifest.original_size, can_decode(encoding));
                }
                (Payload::Bare(payload), Some((encoding, _))) => {
                    let container = Container::parse(payload, encoding.algorithm);
                    load.add(container.map_or(0, |c| c.total), can_decode(encoding));
                }
                (Payload::Frames(body), _) => {
                    for (size, encoding) in
                        coded_frames(body).map(|(f, e)| (f.header.manifest.original_size, e))
                    {
                        load.add(size, can_decode(encoding));
                    }
                }
                _ => {}
            }
        }
        load
    };
    let parts = |position, parts: &mut Vec<Part<'a>>| match payload(position) {
        Payload::Sealed(payload, manifest) => {
            let (expected, limit) = (manifest.original_size, how.limit());
            parts.extend(coded.and_then(|(encoding, _)| {
                Part::of_payload(payload, encoding.algorithm, Some(expected), limit)
            }));
        }
        Payload::Bare(payload) => {
            let limit = how.bare_limit();
            parts.extend(coded.and_then(|(encoding, _)| {
                Part::of_payload(payload, encoding.algorithm, None, limit)
            }));
        }
        Payload::Frames(body) => parts.extend(parts_of_frames(body, how.limit())),
        Payload::Null | Payload::Unsealed(..) => {}
    };
    run(choose(device, load), places.rows(), &parts, interrupted, each)
}

/// Runs `each` over the frames of a body.
pub fn decode_body<'a>(
    body: &Body<'a>,
    device: Device,
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let load = || {
        let frames = (0..body.frames()).map(|frame| body.frame(frame));
        let coded = frames.filter_map(|(codec, manifest, _)| {
            Some((manifest.original_size, can_decode(codec.encoding()?.0)))
        });
        coded.collect()
    };
    let parts = |frame, parts: &mut Vec<Part<'a>>| {
        let (codec, manifest, payload) = body.frame(frame);
        let expected = manifest.original_size;
        parts.extend(codec.encoding().and_then(|(encoding, _)| {
            Part::of_payload(payload, encoding.algorithm, Some(expected), expected)
        }));
    };
    run(choose(device, load), body.frames(), &parts, interrupted, each)
}

/// The frames of GPU codecs in a body.
fn coded_frames(body: &[u8]) -> impl Iterator<Item = (Frame<'_>, Encoding)> {
    Frames::new(body).map_while(Result::ok).filter_map(|(_, frame)| {
        let (encoding, _) = Codec::for_decoding(frame.header.codec, None).ok()?.encoding()?;
        Some((frame, encoding))
    })
}

/// What a body of frames has for a GPU.
fn parts_of_frames(body: &[u8], limit: u64) -> impl Iterator<Item = Part<'_>> {
    coded_frames(body).filter_map(move |(frame, encoding)| {
        let expected = frame.header.manifest.original_size;
        Part::of_payload(frame.payload, encoding.algorithm, Some(expected), limit)
    })
}

/// Whether a CPU can decode it.
fn can_decode(encoding: Encoding) -> bool {
    Work { direction: Direction::Decompress, encoding }.has_twin()
}

fn on_cpu(each: Each) -> Result<()> {
    each(usize::MAX, &Ready::Nowhere)
}

/// What a column has for a GPU.
#[derive(Default)]
struct Load {
    bytes: u64,
    values: u64,
    /// Whether some of it no CPU can do.
    needs_gpu: bool,
}

impl Load {
    /// Counts a value in: its length, and whether a CPU can do it.
    fn add(&mut self, len: u64, has_twin: bool) {
        self.bytes = self.bytes.saturating_add(len.min(MAX_ORIGINAL_SIZE));
        self.values += 1;
        self.needs_gpu |= len > 0 && !has_twin;
    }
}

impl FromIterator<(u64, bool)> for Load {
    fn from_iter<I: IntoIterator<Item = (u64, bool)>>(values: I) -> Self {
        let mut load = Self::default();
        values.into_iter().for_each(|(len, has_twin)| load.add(len, has_twin));
        load
    }
}

/// Where a column goes.
#[derive(Clone, Copy)]
struct Choice {
    ordinal: u32,
    /// The CPU takes over if the GPU fails.
    falls_back: bool,
    /// What the GPU could not code or decode, the CPU tries.
    retries: bool,
}

/// The GPU for a column of such a load, if any.
fn choose(device: Device, load: impl FnOnce() -> Load) -> Option<Choice> {
    match device {
        Device::Cpu => None,
        Device::Gpu(ordinal) => Some(Choice { ordinal, falls_back: false, retries: false }),
        Device::Auto => {
            let Load { bytes, values, needs_gpu } = load();
            let is_chosen = needs_gpu || gpu::worthwhile(bytes, values) && gpu::available_or_warn();
            is_chosen.then_some(Choice { ordinal: 0, falls_back: !needs_gpu, retries: true })
        }
    }
}

/// Where rows are in the chunks of a column.
struct Places(Vec<usize>);

impl Places {
    fn new(counts: impl Iterator<Item = usize>) -> Self {
        let mut end = 0;
        let ends = counts.map(|count| {
            end += count;
            end
        });
        Self(ends.collect())
    }

    fn rows(&self) -> usize {
        self.0.last().copied().unwrap_or(0)
    }

    /// The chunk that has the row at `position`, and the row's place in it.
    fn of(&self, position: usize) -> (usize, usize) {
        let chunk = self.0.partition_point(|&end| end <= position);
        let start = chunk.checked_sub(1).map_or(0, |before| self.0[before]);
        (chunk, position - start)
    }
}

/// What ends the work on a GPU before its time.
enum Stop {
    /// The GPU.
    Failure(Failure),
    /// A row, or the caller.
    Error(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Host(error) => Self::Error(error),
            other => Self::Failure(other),
        }
    }
}

/// Runs `each` over so many rows, whose `parts` go to a GPU before, if one is chosen.
fn run<'a>(
    choice: Option<Choice>,
    rows: usize,
    parts: &dyn Fn(usize, &mut Vec<Part<'a>>),
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let Some(choice) = choice else { return on_cpu(each) };
    let there = There { parts, rows, choice, interrupted };
    match there.run(each) {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Failure(failure)) if choice.falls_back => {
            gpu::falls_back(&failure.to_string());
            on_cpu(each)
        }
        Err(Stop::Failure(failure)) => Err(failure.into()),
    }
}

/// A column that goes to a GPU.
struct There<'c, 'a> {
    parts: &'c dyn Fn(usize, &mut Vec<Part<'a>>),
    rows: usize,
    choice: Choice,
    interrupted: Interrupted<'c>,
}

/// Rows that go together.
enum Lot<'a> {
    /// A slab, empty if no row has a part, and the row after its last.
    Slab(Slab<'a>, usize),
    /// One row that no slab can hold.
    Row,
}

impl<'a> There<'_, 'a> {
    fn run(&self, each: Each) -> Result<(), Stop> {
        let mut session = gpu::open(self.choice.ordinal, self.interrupted)?;
        let mut done = 0;
        // Rows after the last of each lot under way, and whether a slab is of it.
        let mut under_way: VecDeque<(usize, bool)> = VecDeque::new();
        while done < self.rows {
            if (self.interrupted)() {
                return Err(Stop::Error(Error::Interrupted));
            }
            let sent = under_way.back().map_or(done, |(end, _)| *end);
            let step = if sent < self.rows && !session.is_full() {
                match self.next_lot(&mut session, sent) {
                    Ok(Lot::Slab(slab, end)) => {
                        under_way.push_back((end, !slab.is_empty()));
                        if slab.is_empty() { Ok(()) } else { session.submit(slab) }
                    }
                    Ok(Lot::Row) if under_way.is_empty() => {
                        let there = Mutex::new(&mut session);
                        let falls_back = self.choice.falls_back;
                        let ready = Ready::There { session: there, falls_back };
                        each(sent + 1, &ready).map_err(Stop::Error)?;
                        done = sent + 1;
                        if session.is_given_up() {
                            return on_cpu(each).map_err(Stop::Error);
                        }
                        Ok(())
                    }
                    Ok(Lot::Row) => {
                        self.bring_home(&mut session, &mut under_way, &mut done, each)?
                    }
                    Err(failure) => Err(failure),
                }
            } else {
                self.bring_home(&mut session, &mut under_way, &mut done, each)?
            };
            match step {
                Err(failure) if failure.is_out_of_memory() && session.shrink()? => {
                    under_way.clear();
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// As many rows from `start` on as fit one slab.
    fn next_lot(&self, session: &mut Session, start: usize) -> Result<Lot<'a>, Failure> {
        let limits = session.limits();
        let (mut slab, mut parts, mut costs) = (Slab::default(), Vec::new(), Vec::new());
        for row in start..self.rows {
            parts.clear();
            costs.clear();
            (self.parts)(row, &mut parts);
            let mut row_cost = Cost::default();
            for part in &parts {
                let (work, longest) = part.work();
                let shape = session.shape(work, class_of(longest))?;
                let mut cost = Cost::default();
                part.each_chunk(&mut |chunk| cost.add(&shape, &chunk));
                row_cost = row_cost.plus(cost);
                costs.push((shape, cost));
            }
            if !slab.cost.plus(row_cost).fits(&limits) {
                let is_alone = slab.is_empty() && row == start;
                return Ok(if is_alone { Lot::Row } else { Lot::Slab(slab, row) });
            }
            for (part, (shape, cost)) in parts.iter().zip(&costs) {
                slab.push(part.whole(), shape, *cost, |take| part.each_chunk(take));
            }
        }
        Ok(Lot::Slab(slab, self.rows))
    }

    /// Has the workers take the oldest lot home.
    fn bring_home(
        &self,
        session: &mut Session,
        under_way: &mut VecDeque<(usize, bool)>,
        done: &mut usize,
        each: Each,
    ) -> Result<Result<(), Failure>, Stop> {
        let Some((end, has_slab)) = under_way.pop_front() else { return Ok(Ok(())) };
        if !has_slab {
            each(end, &Ready::Nowhere).map_err(Stop::Error)?;
        } else {
            match session.collect() {
                Ok(Some(home)) => {
                    let ready = Ready::AtHome { home: &home, retries: self.choice.retries };
                    each(end, &ready).map_err(Stop::Error)?;
                }
                Ok(None) => return Err(Failure::Unavailable("a slab went astray".into()).into()),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        *done = end;
        Ok(Ok(()))
    }
}
