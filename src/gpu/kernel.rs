//! One value on a GPU, in as many batches as it takes, and the choice whether to go there.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::batch::{Batch, Chunk, Cost, ItemId, Shape, class_of};
use super::device::{Device, available_or_warn, max_output, open, worthwhile};
use super::error::GpuError;
use super::nvcomp::{Direction, Work};
use super::results::BatchResults;
use super::session::Session;
use crate::kernel::fcg1::{
    Algorithm, CHUNK_BYTES, Container, ContainerWriter, CpuContainer, Encoding,
};
use crate::kernel::{Fault, Kernel, copy_to};
use crate::pool::{self, NEVER};

/// Pieces of about so many bytes are taken home at a time.
const PIECE: usize = 256 << 10;

/// A session in use for one value.
struct OnGpu<'s, 'k> {
    session: &'s mut Session,
    encoding: Encoding,
    /// Does what no GPU may be given, and what failed there if it `falls_back`.
    cpu_fallback: &'s mut CpuContainer<'k>,
    falls_back: bool,
}

impl OnGpu<'_, '_> {
    /// Sends all `chunks` and hands those that came home to `take`, batch by batch and in order:
    /// which they are, and what came of each. Leaves nothing under way.
    fn each_slab(
        &mut self,
        shape: &Shape,
        chunks: &[Chunk],
        take: impl FnMut(&BatchResults, Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let done = self.send_and_take(shape, chunks, take);
        if done.is_err() {
            self.session.abandon();
        }
        done
    }

    fn send_and_take(
        &mut self,
        shape: &Shape,
        chunks: &[Chunk],
        mut take: impl FnMut(&BatchResults, Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut done = 0;
        let mut under_way = VecDeque::new();
        while done < chunks.len() {
            let sent = under_way.back().map_or(done, |range: &Range<usize>| range.end);
            let step = if sent < chunks.len() && !self.session.is_full() {
                let (batch, end) = next_slab(shape, chunks, sent, &self.session.limits());
                under_way.push_back(sent..end);
                self.session.submit(batch)
            } else {
                match (self.session.collect(), under_way.pop_front()) {
                    (Ok(Some(home)), Some(range)) if home.count(0) == range.len() => {
                        done = range.end;
                        take(&home, range)?;
                        Ok(())
                    }
                    (Err(failure), _) => Err(failure),
                    _ => Err(GpuError::Unavailable("a batch went astray".into())),
                }
            };
            match step {
                Err(failure) if failure.is_out_of_memory() && self.session.shrink()? => {
                    under_way.clear();
                }
                other => other?,
            }
        }
        Ok(())
    }
}

/// The chunks from `start` on that fit a batch, one at least, and where they end.
fn next_slab<'a>(
    shape: &Shape,
    chunks: &[Chunk<'a>],
    start: usize,
    limits: &Cost,
) -> (Batch<'a>, usize) {
    let (mut cost, mut end) = (Cost::default(), start);
    while let Some(chunk) = chunks.get(end) {
        let mut more = cost;
        more.add(shape, chunk);
        if end > start && !more.fits(limits) {
            break;
        }
        (cost, end) = (more, end + 1);
    }
    let mut batch = Batch::default();
    let these = &chunks[start..end];
    batch.push(ItemId::of_row(0), chunks[start].bytes, shape, cost, |take| {
        these.iter().copied().for_each(take)
    });
    (batch, end)
}

/// Copies the chunks of a batch that came home, of these lengths, to `room` back to back.
fn take_home<'h>(
    chunks: impl Iterator<Item = &'h [u8]> + Send,
    room: &mut [MaybeUninit<u8>],
) -> Result<(), Fault> {
    let (mut chunks, mut rest) = (chunks.peekable(), room);
    let pieces = std::iter::from_fn(move || {
        let (mut piece, mut len) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next_if(|_| len < PIECE) {
            len += chunk.len();
            piece.push(chunk);
        }
        Some((piece, rest.split_off_mut(..len)?)).filter(|_| len > 0)
    });
    let copy = |(): &mut (), (piece, room): (Vec<&[u8]>, &mut [MaybeUninit<u8>])| {
        let mut at = 0;
        for chunk in piece {
            at += copy_to(chunk, &mut room[at..]);
        }
    };
    pool::work_off(pieces, || (), copy, NEVER)
        .map(drop)
        .map_err(|error| Fault::Other(Box::new(error)))
}

impl OnGpu<'_, '_> {
    fn compress_there(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let encoding = self.encoding;
        encoding.data_type.check_len(src.len())?;
        let mut container = ContainerWriter::new(encoding, src.len(), dst)?;
        let chunks: Vec<_> = src.chunks(CHUNK_BYTES).map(Chunk::of_value).collect();
        let Some(longest) = chunks.first() else { return container.finish() };
        let work = Work { direction: Direction::Compress, encoding };
        let shape = self.session.shape(work, class_of(longest.original))?;
        self.each_slab(&shape, &chunks, |home, range| {
            let coded = range.enumerate().map(|(i, chunk)| {
                home.chunk(0, i).map_err(|bad| bad.fault(Direction::Compress, chunk))
            });
            let coded = coded.collect::<Result<Vec<_>, _>>()?;
            let dst = container.reserve(coded.iter().map(|chunk| chunk.len()))?;
            take_home(coded.into_iter(), dst)
        })?;
        container.finish()
    }

    fn decompress_there(
        &mut self,
        payload: &[u8],
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<usize, Fault> {
        let container = Container::parse(payload, self.encoding.algorithm)?;
        if container.total != dst.len() as u64 {
            return Err(Fault::Length { decoded: container.total });
        }
        let chunks = container.chunks().map(|(bytes, original)| Chunk { bytes, original });
        let chunks: Vec<_> = chunks.collect();
        let longest = chunks.first().filter(|_| container.is_plain());
        let Some(longest) = longest else { return self.cpu_fallback.decompress(payload, dst) };
        let work = Work { direction: Direction::Decompress, encoding: container.encoding };
        let shape = self.session.shape(work, class_of(longest.original))?;
        let len = dst.len();
        let mut rest = dst;
        self.each_slab(&shape, &chunks, |home, range| {
            let bytes = chunks[range.clone()].iter().map(|chunk| chunk.original).sum();
            let room = rest.split_off_mut(..bytes).ok_or_else(no_room)?;
            let decoded = range.enumerate().map(|(i, chunk)| {
                home.chunk(0, i).map_err(|bad| bad.fault(Direction::Decompress, chunk))
            });
            let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
            take_home(decoded.into_iter(), room)
        })?;
        Ok(len)
    }
}

impl OnGpu<'_, '_> {
    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        match self.compress_there(src, dst) {
            Err(Fault::Unavailable(reason)) if self.falls_back => {
                self.session.give_up(&reason);
                self.cpu_fallback.compress(src, dst)
            }
            // What the GPU could not code, the CPU may.
            Err(Fault::Library(_)) if self.falls_back => self.cpu_fallback.compress(src, dst),
            other => other,
        }
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        match self.decompress_there(payload, dst) {
            Err(Fault::Unavailable(reason)) if self.falls_back => {
                self.session.give_up(&reason);
                self.cpu_fallback.decompress(payload, dst)
            }
            // What the GPU could not decode, the CPU may; or it says better what is wrong.
            Err(damage @ Fault::Container(_)) if self.falls_back => {
                match self.cpu_fallback.decompress(payload, dst) {
                    Err(Fault::Unavailable(_)) => Err(damage),
                    other => other,
                }
            }
            other => other,
        }
    }
}

fn no_room() -> Fault {
    Fault::Library("what came home is longer than its room".into())
}

/// The most bytes of a container that a GPU makes of `len` bytes.
fn container_bound(encoding: Encoding, len: usize) -> Result<usize, Fault> {
    let work = Work { direction: Direction::Compress, encoding };
    let chunk_bound = if len == 0 { 0 } else { max_output(work, class_of(len.min(CHUNK_BYTES)))? };
    ContainerWriter::bound(len, chunk_bound)
}

/// The same, and where the CPU may take over, what it may make of them.
fn either_bound(
    encoding: Encoding,
    len: usize,
    cpu_fallback: &mut CpuContainer,
    falls_back: bool,
) -> Result<usize, Fault> {
    let on_gpu = container_bound(encoding, len);
    if !falls_back {
        return on_gpu;
    }
    // Where the one cannot, the other may.
    match (on_gpu, cpu_fallback.compress_bound(len)) {
        (Ok(one), Ok(other)) => Ok(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// One value on a GPU: a kernel that asks for the GPU when it is called, or has it.
pub struct GpuKernel<'k> {
    place: Place<'k>,
    encoding: Encoding,
    cpu_fallback: CpuContainer<'k>,
}

enum Place<'k> {
    /// To be asked for.
    Device(Device),
    /// In use by the call that the value is of.
    Session { session: &'k Mutex<Session>, falls_back: bool },
}

impl<'k> GpuKernel<'k> {
    /// On `device`, chosen by the value's length if it is `Auto`.
    pub fn on_device(device: Device, encoding: Encoding, cpu_fallback: CpuContainer<'k>) -> Self {
        Self { place: Place::Device(device), encoding, cpu_fallback }
    }

    /// On a GPU that the call has; where that fails the CPU does the work if it `falls_back`.
    pub fn in_session(
        session: &'k Mutex<Session>,
        falls_back: bool,
        encoding: Encoding,
        cpu_fallback: CpuContainer<'k>,
    ) -> Self {
        Self { place: Place::Session { session, falls_back }, encoding, cpu_fallback }
    }

    /// The GPU to ask for for a value of `len` bytes, and whether the CPU can do it as well.
    fn ordinal(&self, device: Device, direction: Direction, len: u64) -> Option<(u32, bool)> {
        let has_cpu_fallback = Work { direction, encoding: self.encoding }.has_cpu_fallback();
        match device {
            Device::Cpu => None,
            Device::Gpu(ordinal) => Some((ordinal, false)),
            Device::Auto if len == 0 => None,
            Device::Auto if has_cpu_fallback => {
                (worthwhile(len, 1) && available_or_warn()).then_some((0, true))
            }
            Device::Auto => Some((0, false)),
        }
    }

    /// Runs one direction for a value of `len` bytes: on the GPU, or else on the CPU.
    fn run(
        &mut self,
        direction: Direction,
        len: u64,
        src: &[u8],
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<usize, Fault> {
        let encoding = self.encoding;
        let on_gpu = |session: &mut Session, cpu_fallback, falls_back, dst| {
            let mut gpu = OnGpu { session, encoding, cpu_fallback, falls_back };
            match direction {
                Direction::Compress => gpu.compress(src, dst),
                Direction::Decompress => gpu.decompress(src, dst),
            }
        };
        let (ordinal, falls_back) = match &self.place {
            Place::Session { session, falls_back } => {
                let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
                return on_gpu(&mut session, &mut self.cpu_fallback, *falls_back, dst);
            }
            Place::Device(device) => match self.ordinal(*device, direction, len) {
                Some(chosen) => chosen,
                None => return self.on_cpu(direction, src, dst),
            },
        };
        match open(ordinal, NEVER) {
            Ok(mut session) => on_gpu(&mut session, &mut self.cpu_fallback, falls_back, dst),
            Err(failure) if falls_back => {
                super::falls_back(&failure.to_string());
                self.on_cpu(direction, src, dst)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn on_cpu(
        &mut self,
        direction: Direction,
        src: &[u8],
        dst: &mut [MaybeUninit<u8>],
    ) -> Result<usize, Fault> {
        match direction {
            Direction::Compress => self.cpu_fallback.compress(src, dst),
            Direction::Decompress => self.cpu_fallback.decompress(src, dst),
        }
    }
}

impl Kernel for GpuKernel<'_> {
    fn name(&self) -> &'static str {
        self.encoding.algorithm.codec()
    }

    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        let falls_back = match self.place {
            Place::Session { falls_back, .. } => falls_back,
            Place::Device(device) => match self.ordinal(device, Direction::Compress, len as u64) {
                Some((_, falls_back)) => falls_back,
                None => return self.cpu_fallback.compress_bound(len),
            },
        };
        self.encoding.data_type.check_len(len)?;
        either_bound(self.encoding, len, &mut self.cpu_fallback, falls_back)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.run(Direction::Compress, src.len() as u64, src, dst)
    }

    /// Of Bitcomp its container alone can tell.
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
        self.run(Direction::Decompress, dst.len() as u64, payload, dst)
    }
}
