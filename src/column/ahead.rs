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
use crate::wire::frame::Frames;

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
    let work = Work { direction: Direction::Compress, encoding };
    let sizes = || (0..places.rows()).filter_map(|row| Some(value(row)?.len() as u64));
    if !pays(device, work.has_twin(), sizes) {
        return on_cpu(each);
    }
    let parts = |position, parts: &mut Vec<Part<'a>>| {
        let value = value(position).filter(|value| !value.is_empty());
        let value = value.filter(|value| encoding.data_type.check_len(value.len()).is_ok());
        parts.extend(value.map(|value| Part::Value(value, encoding)));
    };
    run(device, places.rows(), &parts, interrupted, each)
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
    let has_twin = |encoding| Work { direction: Direction::Decompress, encoding }.has_twin();
    let sizes = || (0..places.rows()).filter_map(|row| decoded_len(&payload(row)));
    if !pays(device, coded.is_none_or(|(encoding, _)| has_twin(encoding)), sizes) {
        return on_cpu(each);
    }
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
    run(device, places.rows(), &parts, interrupted, each)
}

/// Runs `each` over the frames of a body.
pub fn decode_body<'a>(
    body: &Body<'a>,
    device: Device,
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let sizes = || (0..body.frames()).map(|frame| body.frame(frame).1.original_size);
    if !pays(device, true, sizes) {
        return on_cpu(each);
    }
    let parts = |frame, parts: &mut Vec<Part<'a>>| {
        let (codec, manifest, payload) = body.frame(frame);
        let expected = manifest.original_size;
        parts.extend(codec.encoding().and_then(|(encoding, _)| {
            Part::of_payload(payload, encoding.algorithm, Some(expected), expected)
        }));
    };
    run(device, body.frames(), &parts, interrupted, each)
}

/// What a body of frames has for a GPU.
fn parts_of_frames(body: &[u8], limit: u64) -> impl Iterator<Item = Part<'_>> {
    Frames::new(body).map_while(Result::ok).filter_map(move |(_, frame)| {
        let (encoding, _) = Codec::for_decoding(frame.header.codec, None).ok()?.encoding()?;
        let expected = frame.header.manifest.original_size;
        Part::of_payload(frame.payload, encoding.algorithm, Some(expected), limit)
    })
}

/// What a row says it decodes to.
fn decoded_len(payload: &Payload) -> Option<u64> {
    match payload {
        Payload::Null | Payload::Unsealed(..) => None,
        Payload::Sealed(_, manifest) => Some(manifest.original_size.min(MAX_ORIGINAL_SIZE)),
        Payload::Bare(payload) => Some(payload.len() as u64),
        Payload::Frames(body) => Some(body.len() as u64),
    }
}

fn on_cpu(each: Each) -> Result<()> {
    each(usize::MAX, &Ready::Nowhere)
}

/// Whether values of these lengths are to go to a GPU.
fn pays<I: Iterator<Item = u64>>(device: Device, has_twin: bool, sizes: impl Fn() -> I) -> bool {
    match device {
        Device::Cpu => false,
        Device::Gpu(_) => true,
        Device::Auto if !gpu::available() => false,
        Device::Auto if !has_twin => true,
        Device::Auto => {
            let (bytes, values) = sizes()
                .fold((0u64, 0), |(bytes, values), len| (bytes.saturating_add(len), values + 1));
            gpu::worthwhile(bytes, values)
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

/// Runs `each` over so many rows, whose `parts` go to a GPU before.
fn run<'a>(
    device: Device,
    rows: usize,
    parts: &dyn Fn(usize, &mut Vec<Part<'a>>),
    interrupted: Interrupted,
    each: Each,
) -> Result<()> {
    let (ordinal, falls_back) = match device {
        Device::Cpu => return on_cpu(each),
        Device::Auto => (0, true),
        Device::Gpu(ordinal) => (ordinal, false),
    };
    let there = There { parts, rows, falls_back, interrupted };
    match there.run(ordinal, each) {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Failure(failure)) if falls_back => {
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
    falls_back: bool,
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
    fn run(&self, ordinal: u32, each: Each) -> Result<(), Stop> {
        let mut session = gpu::open(ordinal, self.interrupted)?;
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
                        let ready = Ready::There { session: there, retries: self.falls_back };
                        each(sent + 1, &ready).map_err(Stop::Error)?;
                        done = sent + 1;
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
                    let ready = Ready::AtHome { home: &home, retries: self.falls_back };
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
