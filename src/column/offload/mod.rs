//! Columns on a GPU: their rows go there in batches, ahead of the workers, who find the work of
//! a row done when they come to it.
//!
//! ```text
//! rows -> parts -> batch -> GPU -> home -> each(until, ready): the workers' part, as on a CPU
//! ```
//!
//! Slabs are rows in a row, so that results need no sorting. What cannot go is left to the
//! workers and their CPU kernels, among them all that is wrong with a row: nothing is judged
//! here that is not judged again where every codec's rows are. A row that no batch can hold is
//! coded on its own, batch by batch, when those before it are home.

mod run;

use super::scheduler::RunRows;
use super::{DecompressOptions, Payload, Payloads, Rows};
use crate::body::Body;
use crate::codec::Codec;
use crate::error::Result;
use crate::gpu::{self, Chunk, Device, Direction, Prefetch, Work};
use crate::kernel::fcg1::{Algorithm, CHUNK_BYTES, Container, Encoding};
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::pool::{Interrupted, Listener};
use crate::wire::frame::{Frame, Frames};
use run::{Choice, run};

/// What a row has for a GPU.
enum Part<'a> {
    /// To be compressed.
    Value(&'a [u8], Encoding),
    /// A payload whose container may be decompressed there, and the number of its frame.
    Container(&'a [u8], Container<'a>, usize),
}

impl<'a> Part<'a> {
    /// What can be decompressed on a GPU to `expected` bytes, if that is known, and to
    /// `limit` at most.
    fn of_payload(
        frame: usize,
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
            && container.is_plain();
        is_good.then_some(Self::Container(payload, container, frame))
    }

    /// The value or the payload as a whole.
    fn whole(&self) -> &'a [u8] {
        match self {
            Self::Value(bytes, _) | Self::Container(bytes, ..) => bytes,
        }
    }

    /// The number of the frame within its row.
    fn frame(&self) -> usize {
        match self {
            Self::Value(..) => 0,
            Self::Container(.., frame) => *frame,
        }
    }

    /// What is to be done, and the length of its longest chunk.
    fn work(&self) -> (Work, usize) {
        match self {
            Self::Value(bytes, encoding) => {
                let work = Work { direction: Direction::Compress, encoding: *encoding };
                (work, bytes.len().min(CHUNK_BYTES))
            }
            Self::Container(_, container, _) => {
                let work = Work { direction: Direction::Decompress, encoding: container.encoding };
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

/// Runs `each` over a column of values of at most `longest` bytes.
pub fn compress<'a, C: Rows>(
    codec: &Codec,
    chunks: &'a [C],
    longest: u64,
    interrupted: Interrupted,
    each: RunRows,
) -> Result<()> {
    let places = Places::new(chunks.iter().map(C::count));
    let Some((encoding, device)) = codec.encoding() else { return on_cpu(each) };
    let value = |position| -> Option<&'a [u8]> {
        let (chunk, row) = places.of(position);
        chunks[chunk].get(row).filter(|value| value.len() as u64 <= longest)
    };
    let has_cpu_fallback = Work { direction: Direction::Compress, encoding }.has_cpu_fallback();
    let load = || {
        heard(interrupted, places.rows())
            .filter_map(value)
            .map(|v| (v.len() as u64, has_cpu_fallback))
            .collect()
    };
    let parts = |position, parts: &mut Vec<Part<'a>>| {
        let value = value(position).filter(|value| !value.is_empty());
        let value = value.filter(|value| encoding.data_type.check_len(value.len()).is_ok());
        parts.extend(value.map(|value| Part::Value(value, encoding)));
    };
    run(choose(device, load), places.rows(), &parts, interrupted, each)
}

/// Runs `each` over a column of payloads.
pub fn decompress<'a, C: Payloads>(
    options: &DecompressOptions,
    chunks: &'a [C],
    interrupted: Interrupted,
    each: RunRows,
) -> Result<()> {
    let places = Places::new(chunks.iter().map(C::count));
    let payload = |position| -> Payload<'a> {
        let (chunk, row) = places.of(position);
        chunks[chunk].get(row)
    };
    let coded = options.codec.encoding();
    // Frames name their codecs, so that some may be for a GPU whatever the codec is.
    let device = coded.map_or(options.device, |(_, device)| device);
    let load = || {
        let mut load = Load::default();
        for row in heard(interrupted, places.rows()) {
            match (payload(row), coded) {
                (Payload::Sealed(payload, manifest), Some((encoding, _))) => {
                    load.add_payload(payload, encoding, Some(manifest.original_size));
                }
                (Payload::Bare(payload), Some((encoding, _))) => {
                    load.add_payload(payload, encoding, None);
                }
                (Payload::Frames(body), _) => {
                    coded_frames(body).for_each(|(_, frame, encoding)| {
                        let expected = frame.header.manifest.original_size;
                        load.add_payload(frame.payload, encoding, Some(expected));
                    })
                }
                _ => {}
            }
        }
        load
    };
    let parts = |position, parts: &mut Vec<Part<'a>>| match payload(position) {
        Payload::Sealed(payload, manifest) => {
            let (expected, limit) = (manifest.original_size, options.limit());
            parts.extend(coded.and_then(|(encoding, _)| {
                Part::of_payload(0, payload, encoding.algorithm, Some(expected), limit)
            }));
        }
        Payload::Bare(payload) => {
            let limit = options.bare_limit();
            parts.extend(coded.and_then(|(encoding, _)| {
                Part::of_payload(0, payload, encoding.algorithm, None, limit)
            }));
        }
        Payload::Frames(body) => parts.extend(parts_of_frames(body, options.limit())),
        Payload::Null | Payload::Unsealed(..) => {}
    };
    let choice = match coded {
        Some(_) => choose(device, load),
        None => choose_for_frames(device, load),
    };
    run(choice, places.rows(), &parts, interrupted, each)
}

/// Runs `each` over the frames of a body.
pub fn decode_body<'a>(
    body: &Body<'a>,
    device: Device,
    interrupted: Interrupted,
    each: RunRows,
) -> Result<()> {
    let load = || {
        let mut load = Load::default();
        let frames = heard(interrupted, body.frames());
        for (codec, manifest, payload) in frames.map(|frame| body.frame(frame)) {
            if let Some((encoding, _)) = codec.encoding() {
                load.add_payload(payload, encoding, Some(manifest.original_size));
            }
        }
        load
    };
    let parts = |frame, parts: &mut Vec<Part<'a>>| {
        let (codec, manifest, payload) = body.frame(frame);
        let expected = manifest.original_size;
        parts.extend(codec.encoding().and_then(|(encoding, _)| {
            Part::of_payload(0, payload, encoding.algorithm, Some(expected), expected)
        }));
    };
    run(choose_for_frames(device, load), body.frames(), &parts, interrupted, each)
}

/// The frames of GPU codecs in a body, with their numbers among all frames.
fn coded_frames(body: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>, Encoding)> {
    let frames = Frames::new(body).map_while(Result::ok).enumerate();
    frames.filter_map(|(number, (_, frame))| {
        let (encoding, _) = Codec::for_decoding(frame.header.codec, None).ok()?.encoding()?;
        Some((number, frame, encoding))
    })
}

/// What a body of frames has for a GPU.
fn parts_of_frames(body: &[u8], limit: u64) -> impl Iterator<Item = Part<'_>> {
    coded_frames(body).filter_map(move |(number, frame, encoding)| {
        let expected = frame.header.manifest.original_size;
        Part::of_payload(number, frame.payload, encoding.algorithm, Some(expected), limit)
    })
}

fn on_cpu(each: RunRows) -> Result<()> {
    each(usize::MAX, &Prefetch::None)
}

/// So many positions, up to an interrupt; whoever works on them next hears of it too.
fn heard<'a>(interrupted: Interrupted<'a>, positions: usize) -> impl Iterator<Item = usize> + 'a {
    let mut listener = Listener::new(interrupted);
    (0..positions).take_while(move |_| listener.step().is_ok())
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
    fn add(&mut self, len: u64, has_cpu_fallback: bool) {
        self.bytes = self.bytes.saturating_add(len.min(MAX_ORIGINAL_SIZE));
        self.values += 1;
        self.needs_gpu |= len > 0 && !has_cpu_fallback;
    }

    /// Counts in what is to be decompressed; what no GPU can decode needs none.
    fn add_payload(&mut self, payload: &[u8], encoding: Encoding, expected: Option<u64>) {
        let has_cpu_fallback =
            Work { direction: Direction::Decompress, encoding }.has_cpu_fallback();
        let is_good = || {
            Part::of_payload(0, payload, encoding.algorithm, expected, MAX_ORIGINAL_SIZE).is_some()
        };
        let total = || Container::parse(payload, encoding.algorithm).map_or(0, |c| c.total);
        self.add(expected.unwrap_or_else(total), has_cpu_fallback || !is_good());
    }

    fn is_worthwhile(&self) -> bool {
        gpu::worthwhile(self.bytes, self.values)
    }
}

impl FromIterator<(u64, bool)> for Load {
    fn from_iter<I: IntoIterator<Item = (u64, bool)>>(values: I) -> Self {
        let mut load = Self::default();
        values.into_iter().for_each(|(len, has_cpu_fallback)| load.add(len, has_cpu_fallback));
        load
    }
}

/// The GPU for a column of such a load, if any.
fn choose(device: Device, load: impl FnOnce() -> Load) -> Option<Choice> {
    match device {
        Device::Cpu => None,
        Device::Gpu(ordinal) => Some(Choice { ordinal, falls_back: false, retries: false }),
        Device::Auto => {
            let load = load();
            let is_chosen = load.needs_gpu || load.is_worthwhile() && gpu::available_or_warn();
            is_chosen.then_some(Choice { ordinal: 0, falls_back: !load.needs_gpu, retries: true })
        }
    }
}

/// The same where the data names its codecs: a frame that no CPU can decode is that row's
/// error, and must not cost others theirs.
fn choose_for_frames(device: Device, load: impl FnOnce() -> Load) -> Option<Choice> {
    if device != Device::Auto {
        return choose(device, load);
    }
    let load = load();
    let is_wanted = load.needs_gpu || load.is_worthwhile();
    (is_wanted && gpu::available_or_warn()).then_some(Choice {
        ordinal: 0,
        falls_back: true,
        retries: true,
    })
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
