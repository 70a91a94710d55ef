//! What is done with each row of a column that goes to a GPU's memory, and where it goes.

use crate::body::Body;
use crate::column::decompress::decompress_by_workers;
use crate::column::estimate::stated_len;
use crate::column::layout::offsets::{Offsets, OffsetsColumn, offsets_of};
use crate::column::offload::{Item, RowPositions};
use crate::column::scheduler::Spans;
use crate::column::{BadRows, DecompressOptions, Decompressed, Payload, Payloads};
use crate::error::{Result, collect};
use crate::gpu::Device;
use crate::kernel::Scratch;
use crate::manifest::Manifest;
use crate::memory::{Zero, zeroed};
use crate::pool::{self, InterruptCheck};
use crate::wire::frame::Frames;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It is null.
    Null = 0,
    /// The CPU decodes it.
    Cpu = 1,
    /// The GPU decodes it.
    Gpu = 2,
}

// SAFETY: zero is `Null`.
unsafe impl Zero for Kind {}

/// A payload that a GPU decodes: a row's, or that of one of its frames.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub item: Item<'a>,
    pub manifest: Option<Manifest>,
    /// Of one frame of several: its number, and where it begins in the row.
    pub frame: Option<(usize, usize)>,
}

/// Calls `take` with the parts of a row. Returns the bytes that it decodes to; `None` if a GPU
/// cannot take all of it.
pub fn each_part<'a>(
    options: &DecompressOptions,
    payload: Payload<'a>,
    mut take: impl FnMut(Part<'a>),
) -> Option<u64> {
    let algorithm = options.codec.encoding().map(|(encoding, _)| encoding.algorithm);
    match payload {
        Payload::Null | Payload::Refused(..) => None,
        Payload::Sealed(payload, manifest) => {
            let size = manifest.original_size;
            let item = Item::of_payload(0, payload, algorithm?, Some(size), options.limit())?;
            take(Part { item, manifest: Some(manifest), frame: None });
            Some(size)
        }
        Payload::Bare(payload) => {
            let item = Item::of_payload(0, payload, algorithm?, None, options.bare_limit())?;
            let size = item.original_len();
            take(Part { item, manifest: None, frame: None });
            Some(size)
        }
        Payload::Frames(body) => {
            let (mut total, mut count) = (0, 0);
            for step in Frames::new(body) {
                let (at, frame) = step.ok()?;
                let (manifest, limit) = (frame.header.manifest, options.limit() - total);
                let algorithm = frame.header.codec.algorithm()?;
                let expected = Some(manifest.original_size);
                let item = Item::of_payload(count, frame.payload, algorithm, expected, limit)?;
                total += manifest.original_size;
                let is_only = count == 0 && frame.stored_len() == body.len();
                let frame = (!is_only).then_some((count, at));
                take(Part { item, manifest: Some(manifest), frame });
                count += 1;
            }
            (count > 0).then_some(total)
        }
    }
}

/// The bytes that a row of the CPU's decodes to, as it states and can hold; 0 where it is bad.
fn credible_len(options: &DecompressOptions, scratch: &mut Scratch, payload: Payload) -> u64 {
    let (codec, limit) = (&options.codec, options.limit());
    let admitted = match payload {
        Payload::Sealed(payload, manifest) => {
            codec.clone().on(Device::Cpu).admit(payload, &manifest, limit).map(|len| len as u64)
        }
        Payload::Frames(body) => {
            Body::plan(body, codec.dictionary(), Device::Cpu, limit).map(|frames| frames.len())
        }
        other => return stated_len(options, scratch, other).unwrap_or(0),
    };
    admitted.unwrap_or(0)
}

/// The kinds of all rows, and their lengths as far as they are known.
pub struct Plan {
    kinds: Vec<Kind>,
    lens: Vec<u64>,
    pub positions: RowPositions,
}

impl Plan {
    pub fn new<C: Payloads>(
        options: &DecompressOptions,
        chunks: &[C],
        interrupted: InterruptCheck,
    ) -> Result<Self> {
        let positions = RowPositions::new(chunks.iter().map(C::count))?;
        let mut kinds = zeroed::<Kind>(positions.count())?;
        let mut lens = zeroed::<u64>(positions.count())?;
        let (mut rest_kinds, mut rest_lens) = (&mut kinds[..], &mut lens[..]);
        let work = Spans::new(chunks.iter().map(C::count), |_, _| 0)?.map(|span| {
            let kinds = rest_kinds.split_off_mut(..span.rows.len()).unwrap_or_default();
            let lens = rest_lens.split_off_mut(..span.rows.len()).unwrap_or_default();
            (span, kinds, lens)
        });
        pool::run_parallel(
            work,
            || (),
            |(), (span, kinds, lens)| {
                let mut scratch = Scratch::of_thread();
                let places = kinds.iter_mut().zip(lens);
                for (row, (kind, len)) in span.rows.zip(places) {
                    let payload = || chunks[span.chunk].get(row);
                    (*kind, *len) = match (payload(), each_part(options, payload(), drop)) {
                        (Payload::Null, _) => (Kind::Null, 0),
                        // A length that does not fit is an error, which decoding on the CPU finds.
                        (_, Some(len)) if options.content.check_len(len).is_ok() => {
                            (Kind::Gpu, len)
                        }
                        (other, _) => (Kind::Cpu, credible_len(options, &mut scratch, other)),
                    };
                }
            },
            interrupted,
        )?;
        Ok(Self { kinds, lens, positions })
    }

    pub fn rows(&self) -> usize {
        self.kinds.len()
    }

    pub fn kind(&self, row: usize) -> Kind {
        self.kinds[row]
    }

    /// Whether the CPU decodes any row.
    pub fn has_cpu_rows(&self) -> bool {
        self.kinds.contains(&Kind::Cpu)
    }

    /// The bytes of the CPU's rows, as they state.
    pub fn cpu_bytes(&self) -> u64 {
        let rows = self.kinds.iter().zip(&self.lens);
        let on_cpu = rows.filter(|(kind, _)| **kind == Kind::Cpu);
        on_cpu.fold(0, |sum, (_, len)| sum.saturating_add(*len))
    }

    /// The bytes of the longest row, as it states.
    pub fn longest(&self) -> u64 {
        self.lens.iter().copied().max().unwrap_or(0)
    }

    /// The bytes that all rows decode to, as they state.
    pub fn bytes(&self) -> u64 {
        self.lens.iter().fold(0, |sum, len| sum.saturating_add(*len))
    }

    /// Decodes the rows of the CPU to the host; the others are null. Frames among theirs that are
    /// of GPU codecs are decoded by the GPU of that number, as Bitcomp has to be.
    pub fn decode_on_cpu<C: Payloads>(
        &mut self,
        options: &DecompressOptions,
        ordinal: u32,
        chunks: &[C],
        interrupted: InterruptCheck,
    ) -> Result<Decompressed<Vec<OffsetsColumn>>> {
        let device = Device::Gpu(ordinal);
        let codec = options.codec.clone().on(device);
        let options = DecompressOptions { codec, device, ..options.clone() };
        if !self.has_cpu_rows() {
            return Ok(Decompressed { values: Vec::new(), bad_rows: BadRows::default() });
        }
        let mut rest = &self.kinds[..];
        let on_cpu = chunks.iter().map(|chunk| {
            let (kinds, later) = rest.split_at(chunk.count());
            rest = later;
            OnCpu { chunk, kinds }
        });
        let on_cpu = collect(on_cpu)?;
        let decoded = decompress_by_workers::<Offsets, _>(&options, &on_cpu, interrupted)?;
        drop(on_cpu);
        let mut first = 0;
        for column in &decoded.values {
            for (i, ends) in column.offsets.windows(2).enumerate() {
                if self.kinds[first + i] == Kind::Cpu {
                    self.lens[first + i] = (ends[1] - ends[0]) as u64;
                }
            }
            first += column.offsets.len() - 1;
        }
        Ok(decoded)
    }

    /// Makes all other rows null.
    pub fn keep_gpu_rows_before(&mut self, row: usize) {
        for (i, (kind, len)) in self.kinds.iter_mut().zip(&mut self.lens).enumerate() {
            if i >= row || *kind == Kind::Cpu {
                (*kind, *len) = (Kind::Null, 0);
            }
        }
    }

    /// Where rows begin, and the last one's end.
    pub fn offsets(&self) -> Result<Vec<i64>> {
        offsets_of(self.lens.iter().copied())
    }
}

/// The rows of the CPU; the others are null.
struct OnCpu<'c, C> {
    chunk: &'c C,
    kinds: &'c [Kind],
}

impl<C: Payloads> Payloads for OnCpu<'_, C> {
    fn count(&self) -> usize {
        self.chunk.count()
    }

    fn get(&self, row: usize) -> Payload<'_> {
        if self.kinds[row] == Kind::Cpu { self.chunk.get(row) } else { Payload::Null }
    }
}
