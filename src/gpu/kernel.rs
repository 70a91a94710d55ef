//! One value on a GPU, in as many batches as it takes.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Mutex;

use super::batch::{Batch, Chunk, ChunkRange, Cost, Shape, Source, size_class};
use super::device::{Device, max_output, open};
use super::error::GpuError;
use super::layout::COPY_BYTES;
use super::nvcomp::{Direction, Work};
use super::policy::{CodecFrom, Placement, Workload, warn_fallback};
use super::results::BatchResults;
use super::session::Session;
use super::source::{BatchSource, Progress};
use crate::kernel::fcg1::{
    Algorithm, CHUNK_BYTES, Container, ContainerWriter, CpuContainer, Encoding,
};
use crate::kernel::{Fault, Kernel, copy_to};
use crate::pool::{self, NO_INTERRUPT};
use crate::process::lock;

/// A kernel for one value that takes a GPU when it is called, or has one.
pub struct GpuKernel<'k> {
    gpu: Gpu<'k>,
    encoding: Encoding,
    /// Does what may not go to a GPU, and what fails there where the CPU takes over.
    cpu_fallback: CpuContainer<'k>,
}

enum Gpu<'k> {
    /// Taken for each call. What has been decided, by direction and length, is not decided again.
    OnDevice { device: Device, decided: Option<(Direction, usize, Option<Placement>)> },
    /// In use by the call that the value belongs to.
    InSession { session: &'k Mutex<Session>, falls_back: bool },
}

impl<'k> GpuKernel<'k> {
    /// On `device`; [`Device::Auto`] decides by the value's length.
    pub fn on_device(device: Device, encoding: Encoding, cpu_fallback: CpuContainer<'k>) -> Self {
        Self { gpu: Gpu::OnDevice { device, decided: None }, encoding, cpu_fallback }
    }

    /// On the GPU that the call has. If it fails and the call `falls_back`, the CPU does the
    /// work.
    pub fn in_session(
        session: &'k Mutex<Session>,
        falls_back: bool,
        encoding: Encoding,
        cpu_fallback: CpuContainer<'k>,
    ) -> Self {
        Self { gpu: Gpu::InSession { session, falls_back }, encoding, cpu_fallback }
    }

    /// The GPU to take for a value of `len` bytes.
    fn placement(&mut self, direction: Direction, len: usize) -> Option<Placement> {
        let Gpu::OnDevice { device, decided } = &mut self.gpu else { return None };
        if let Some((for_direction, for_len, placement)) = *decided
            && (for_direction, for_len) == (direction, len)
        {
            return placement;
        }
        let work = Work { direction, encoding: self.encoding };
        let workload = || Workload::of_value(work, len as u64);
        let placement = Placement::choose(*device, CodecFrom::Caller, workload);
        *decided = Some((direction, len, placement));
        placement
    }

    /// Codes a value of `len` bytes on the GPU, or else on the CPU.
    fn run(
        &mut self,
        direction: Direction,
        len: usize,
        src: &[u8],
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<usize, Fault> {
        let (mut own, mut shared);
        let (session, falls_back) = match self.gpu {
            Gpu::InSession { session, falls_back } => {
                shared = lock(session);
                shared.check_thread()?;
                (&mut *shared, falls_back)
            }
            Gpu::OnDevice { .. } => {
                let Some(placement) = self.placement(direction, len) else {
                    return run_on(&mut self.cpu_fallback, direction, src, dst);
                };
                match open(placement.ordinal, NO_INTERRUPT) {
                    Ok(opened) => {
                        own = opened;
                        (&mut own, placement.falls_back)
                    }
                    Err(error) if placement.falls_back => {
                        warn_fallback(&error.to_string());
                        return run_on(&mut self.cpu_fallback, direction, src, dst);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let cpu = &mut self.cpu_fallback;
        let done = match direction {
            Direction::Compress => compress(session, self.encoding, src, dst),
            Direction::Decompress => decompress(session, self.encoding, cpu, src, dst),
        };
        match (done, direction) {
            (Err(Fault::Unavailable(reason)), _) if falls_back => {
                session.fall_back(&reason);
                run_on(cpu, direction, src, dst)
            }
            // What the GPU could not code, the CPU may.
            (Err(Fault::Library(_)), Direction::Compress) if falls_back => cpu.compress(src, dst),
            // Or it says better what is wrong.
            (Err(damage @ Fault::Container(_)), Direction::Decompress) if falls_back => {
                match cpu.decompress(src, dst) {
                    Err(Fault::Unavailable(_)) => Err(damage),
                    other => other,
                }
            }
            (other, _) => other,
        }
    }
}

fn run_on(
    kernel: &mut impl Kernel,
    direction: Direction,
    src: &[u8],
    dst: &mut [MaybeUninit<u8>],
) -> Result<usize, Fault> {
    match direction {
        Direction::Compress => kernel.compress(src, dst),
        Direction::Decompress => kernel.decompress(src, dst),
    }
}

fn compress(
    session: &mut Session,
    encoding: Encoding,
    src: &[u8],
    dst: &mut [MaybeUninit<u8>],
) -> Result<usize, Fault> {
    encoding.packed_type().check_len(src.len())?;
    let mut container = ContainerWriter::new(encoding, src.len(), dst)?;
    let chunks: Vec<_> =
        src.chunks(CHUNK_BYTES).map(|bytes| Chunk::of_value(Source::Host(bytes))).collect();
    run_chunks(session, Work { direction: Direction::Compress, encoding }, &chunks, |coded| {
        let dst = container.reserve(coded.iter().map(|chunk| chunk.len()))?;
        copy_chunks(coded, dst)
    })?;
    container.finish()
}

fn decompress(
    session: &mut Session,
    encoding: Encoding,
    cpu: &mut CpuContainer,
    payload: &[u8],
    dst: &mut [MaybeUninit<u8>],
) -> Result<usize, Fault> {
    let container = Container::parse(payload, encoding.algorithm)?;
    if container.total != dst.len() as u64 {
        return Err(Fault::Length { decoded: container.total });
    }
    let chunks = container.chunks().map(|(bytes, original)| Chunk::of_payload(bytes, original));
    let chunks: Vec<_> = chunks.collect();
    // What a decoder makes of other chunks is not defined.
    if !container.is_plain() {
        return cpu.decompress(payload, dst);
    }
    let (len, mut rest) = (dst.len(), dst);
    let work = Work { direction: Direction::Decompress, encoding: container.encoding };
    run_chunks(session, work, &chunks, |decoded| {
        let bytes = decoded.iter().map(|chunk| chunk.len()).sum();
        let dst = rest.split_off_mut(..bytes).ok_or_else(|| {
            Fault::Library("internal error: the chunks are longer than the value".into())
        })?;
        copy_chunks(decoded, dst)
    })?;
    Ok(len)
}

/// Codes the chunks of one value, of which the first is the longest, and has `take` take what
/// they were coded to, batch by batch and in order.
fn run_chunks(
    session: &mut Session,
    work: Work,
    chunks: &[Chunk],
    take: impl FnMut(Vec<&[u8]>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(longest) = chunks.first() else { return Ok(()) };
    let shape = session.shape(work, size_class(longest.original))?;
    let mut source = ChunkSource { shape, chunks, take };
    match session.run(&mut source, &mut Progress::default())? {
        None => Ok(()),
        Some(_) => Err(GpuError::internal("a chunk fits no batch").into()),
    }
}

/// The chunks of one value as the items of a session.
struct ChunkSource<'c, 'a, F> {
    shape: Shape,
    chunks: &'c [Chunk<'a>],
    take: F,
}

impl<'a, F> BatchSource<'a> for ChunkSource<'_, 'a, F>
where
    F: FnMut(Vec<&[u8]>) -> Result<(), Fault>,
{
    type Error = Fault;

    /// One bad chunk makes the whole value bad.
    const SPLITS_REFUSED: bool = false;

    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    /// One chunk at least, whatever it takes.
    fn fill(
        &self,
        session: &mut Session,
        items: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError> {
        let limits = session.limits();
        let (mut cost, mut end) = (Cost::default(), items.start);
        for chunk in &self.chunks[items.clone()] {
            let mut more = cost;
            more.add(&self.shape, chunk);
            if end > items.start && !more.fits(&limits) {
                break;
            }
            (cost, end) = (more, end + 1);
        }
        let mut batch = Batch::default();
        batch.push_chunks(&self.shape, cost, self.chunks[items.start..end].iter().copied());
        Ok((batch, end))
    }

    fn take(&mut self, items: Range<usize>, results: Option<&BatchResults>) -> Result<(), Fault> {
        let Some(results) = results else { return Ok(()) };
        let direction = self.shape.work.direction;
        let range = ChunkRange { group: 0, first: 0, count: items.len() };
        let coded = items.enumerate().map(|(i, chunk)| {
            results.chunk(range, i).map_err(|error| error.fault(direction, chunk))
        });
        (self.take)(coded.collect::<Result<_, _>>()?)
    }
}

/// Copies chunks to `dst` back to back, on several threads where it pays.
fn copy_chunks(chunks: Vec<&[u8]>, dst: &mut [MaybeUninit<u8>]) -> Result<(), Fault> {
    let (mut chunks, mut rest) = (chunks.into_iter().peekable(), dst);
    let pieces = std::iter::from_fn(move || {
        let (mut piece, mut len) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next_if(|_| len < COPY_BYTES) {
            len += chunk.len();
            piece.push(chunk);
        }
        Some((piece, rest.split_off_mut(..len)?)).filter(|_| len > 0)
    });
    let copy = |(): &mut (), (piece, dst): (Vec<&[u8]>, &mut [MaybeUninit<u8>])| {
        let mut at = 0;
        for chunk in piece {
            at += copy_to(chunk, &mut dst[at..]);
        }
    };
    pool::run_parallel(pieces, || (), copy, NO_INTERRUPT)
        .map(drop)
        .map_err(|error| Fault::Other(Box::new(error)))
}

impl Kernel for GpuKernel<'_> {
    fn name(&self) -> &'static str {
        self.encoding.algorithm.codec()
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        let falls_back = match self.gpu {
            Gpu::InSession { falls_back, .. } => falls_back,
            Gpu::OnDevice { .. } => match self.placement(Direction::Compress, len) {
                Some(placement) => placement.falls_back,
                None => return self.cpu_fallback.compress_bound(len),
            },
        };
        self.encoding.packed_type().check_len(len)?;
        let on_gpu = container_bound(self.encoding, len);
        if !falls_back {
            return on_gpu;
        }
        // Either may do it, or only one of them can.
        match (on_gpu, self.cpu_fallback.compress_bound(len)) {
            (Ok(one), Ok(other)) => Ok(one.max(other)),
            (one, other) => one.or(other),
        }
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.run(Direction::Compress, src.len(), src, dst)
    }

    /// Only its container states the length of a Bitcomp payload.
    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        match self.encoding.algorithm {
            Algorithm::Bitcomp => Container::parse(payload, Algorithm::Bitcomp).map(|c| c.total),
            Algorithm::Zstd | Algorithm::GDeflate => self.cpu_fallback.decoded_bound(payload),
        }
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        self.cpu_fallback.stated_len(payload)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.run(Direction::Decompress, dst.len(), payload, dst)
    }
}

/// The most bytes of a container that a GPU makes of a value of `len` bytes.
fn container_bound(encoding: Encoding, len: usize) -> Result<usize, Fault> {
    let work = Work { direction: Direction::Compress, encoding };
    let chunk_bound =
        if len == 0 { 0 } else { max_output(work, size_class(len.min(CHUNK_BYTES)))? };
    ContainerWriter::bound(len, chunk_bound)
}
