//! One value on a GPU, in as many slabs as it takes, and the choice whether to go there.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::device::{Device, available_or_warn, max_output, open, worthwhile};
use super::failure::Failure;
use super::home::Home;
use super::nvcomp::{Direction, Work};
use super::session::Session;
use super::slab::{Chunk, Cost, Shape, Slab, class_of};
use crate::kernel::fcg1::{
    Algorithm, CHUNK_BYTES, Container, Encoding, HEADER_BYTES, chunk_count, to_header,
};
use crate::kernel::{Fault, Kernel, copy_to};
use crate::pool::{self, NEVER};

/// Pieces of about so many bytes are taken home at a time.
const PIECE: usize = 256 << 10;

/// A kernel on a GPU that is open.
pub struct OnGpu<'s> {
    pub session: &'s mut Session,
    pub encoding: Encoding,
    /// Does what no GPU may be given, and what failed there if it `falls_back`.
    pub cpu: &'s mut dyn Kernel,
    pub falls_back: bool,
}

impl OnGpu<'_> {
    /// Sends all `chunks` and hands those that came home to `take`, slab by slab and in order:
    /// which they are, and what came of each. Leaves nothing under way.
    fn each_slab(
        &mut self,
        shape: &Shape,
        chunks: &[Chunk],
        take: impl FnMut(&Home, Range<usize>) -> Result<(), Fault>,
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
        mut take: impl FnMut(&Home, Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut done = 0;
        let mut under_way = VecDeque::new();
        while done < chunks.len() {
            let sent = under_way.back().map_or(done, |range: &Range<usize>| range.end);
            let step = if sent < chunks.len() && !self.session.is_full() {
                let (slab, end) = next_slab(shape, chunks, sent, &self.session.limits());
                under_way.push_back(sent..end);
                self.session.submit(slab)
            } else {
                match (self.session.collect(), under_way.pop_front()) {
                    (Ok(Some(home)), Some(range)) if home.count(0) == range.len() => {
                        done = range.end;
                        take(&home, range)?;
                        Ok(())
                    }
                    (Err(failure), _) => Err(failure),
                    _ => Err(Failure::Unavailable("a slab went astray".into())),
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

/// The chunks from `start` on that fit a slab, one at least, and where they end.
fn next_slab<'a>(
    shape: &Shape,
    chunks: &[Chunk<'a>],
    start: usize,
    limits: &Cost,
) -> (Slab<'a>, usize) {
    let (mut cost, mut end) = (Cost::default(), start);
    while let Some(chunk) = chunks.get(end) {
        let mut more = cost;
        more.add(shape, chunk);
        if end > start && !more.fits(limits) {
            break;
        }
        (cost, end) = (more, end + 1);
    }
    let mut slab = Slab::default();
    let these = &chunks[start..end];
    slab.push(chunks[start].bytes, shape, cost, |take| these.iter().copied().for_each(take));
    (slab, end)
}

/// Copies the chunks of a slab that came home, of these lengths, to `room` back to back.
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

impl OnGpu<'_> {
    fn compress_there(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let encoding = self.encoding;
        encoding.data_type.check_len(src.len())?;
        let count = chunk_count(src.len())?;
        let (header, rest) = dst.split_at_mut(HEADER_BYTES);
        let (table, mut rest) = rest.split_at_mut(4 * count as usize);
        let sizes = table.as_chunks_mut().0;
        copy_to(&to_header(encoding, src.len() as u64, count), header);
        let mut len = HEADER_BYTES + 4 * count as usize;
        let chunks = src.chunks(CHUNK_BYTES);
        let chunks: Vec<_> = chunks.map(Chunk::of_value).collect();
        let Some(longest) = chunks.first() else { return Ok(len) };
        let work = Work { direction: Direction::Compress, encoding };
        let shape = self.session.shape(work, class_of(longest.original))?;
        self.each_slab(&shape, &chunks, |home, range| {
            let mut coded = Vec::with_capacity(range.len());
            for (i, size) in sizes[range.clone()].iter_mut().enumerate() {
                let chunk = home
                    .chunk(0, i)
                    .map_err(|bad| bad.fault(Direction::Compress, range.start + i))?;
                *size = (chunk.len() as u32).to_le_bytes().map(MaybeUninit::new);
                coded.push(chunk);
            }
            let slab_len = coded.iter().map(|chunk| chunk.len()).sum();
            let room = rest.split_off_mut(..slab_len).ok_or_else(no_room)?;
            len += slab_len;
            take_home(coded.into_iter(), room)
        })?;
        Ok(len)
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
        let Some(longest) = longest else { return self.cpu.decompress(payload, dst) };
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

impl Kernel for OnGpu<'_> {
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        either_bound(self.encoding, len, self.cpu, self.falls_back)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        match self.compress_there(src, dst) {
            Err(Fault::Unavailable(reason)) if self.falls_back => {
                self.session.give_up(&reason);
                self.cpu.compress(src, dst)
            }
            // What the GPU could not code, the CPU may.
            Err(Fault::Library(_)) if self.falls_back => self.cpu.compress(src, dst),
            other => other,
        }
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        decoded_bound(self.encoding, self.cpu, payload)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        self.cpu.stated_len(payload)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        match self.decompress_there(payload, dst) {
            Err(Fault::Unavailable(reason)) if self.falls_back => {
                self.session.give_up(&reason);
                self.cpu.decompress(payload, dst)
            }
            // What the GPU could not decode, the CPU may; or it says better what is wrong.
            Err(damage @ Fault::Container(_)) if self.falls_back => {
                match self.cpu.decompress(payload, dst) {
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

/// The most bytes that a payload can decode to; of Bitcomp its container alone can tell.
fn decoded_bound(encoding: Encoding, cpu: &mut dyn Kernel, payload: &[u8]) -> Result<u64, Fault> {
    match encoding.algorithm {
        Algorithm::Bitcomp => Container::parse(payload, Algorithm::Bitcomp).map(|c| c.total),
        Algorithm::Zstd | Algorithm::GDeflate => cpu.decoded_bound(payload),
    }
}

/// The most bytes of a container that a GPU makes of `len` bytes.
fn container_bound(encoding: Encoding, len: usize) -> Result<usize, Fault> {
    let count = chunk_count(len)? as usize;
    if count == 0 {
        return Ok(HEADER_BYTES);
    }
    let work = Work { direction: Direction::Compress, encoding };
    let one = max_output(work, class_of(len.min(CHUNK_BYTES)))?;
    let bound = count.checked_mul(4 + one).and_then(|chunks| chunks.checked_add(HEADER_BYTES));
    bound.ok_or(Fault::OutOfMemory { bytes: u64::MAX })
}

/// The same, and where the CPU may take over, what it may make of them.
fn either_bound(
    encoding: Encoding,
    len: usize,
    cpu: &mut dyn Kernel,
    falls_back: bool,
) -> Result<usize, Fault> {
    let on_gpu = container_bound(encoding, len);
    if !falls_back {
        return on_gpu;
    }
    // Where the one cannot, the other may.
    match (on_gpu, cpu.compress_bound(len)) {
        (Ok(one), Ok(other)) => Ok(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// One value where its codec says: a kernel that asks for a GPU when it is used.
pub struct OnDevice<'k> {
    pub device: Device,
    pub encoding: Encoding,
    pub cpu: &'k mut dyn Kernel,
}

impl OnDevice<'_> {
    /// The GPU to use for a value of `len` bytes, and whether the CPU can do it as well.
    fn ordinal(&self, direction: Direction, len: u64) -> Option<(u32, bool)> {
        let has_twin = Work { direction, encoding: self.encoding }.has_twin();
        match self.device {
            Device::Cpu => None,
            Device::Gpu(ordinal) => Some((ordinal, false)),
            Device::Auto if len == 0 => None,
            Device::Auto if has_twin => {
                (worthwhile(len, 1) && available_or_warn()).then_some((0, true))
            }
            Device::Auto => Some((0, false)),
        }
    }

    /// Runs `work` on the GPU for a value of `len` bytes, or else on the CPU.
    fn run<T>(
        &mut self,
        direction: Direction,
        len: u64,
        work: impl FnOnce(&mut dyn Kernel) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some((ordinal, falls_back)) = self.ordinal(direction, len) else {
            return work(self.cpu);
        };
        match open(ordinal, NEVER) {
            Ok(mut session) => work(&mut OnGpu {
                session: &mut session,
                encoding: self.encoding,
                cpu: self.cpu,
                falls_back,
            }),
            Err(failure) if falls_back => {
                super::falls_back(&failure.to_string());
                work(self.cpu)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Kernel for OnDevice<'_> {
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        let Some((_, has_twin)) = self.ordinal(Direction::Compress, len as u64) else {
            return self.cpu.compress_bound(len);
        };
        self.encoding.data_type.check_len(len)?;
        either_bound(self.encoding, len, self.cpu, has_twin)
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.run(Direction::Compress, src.len() as u64, |kernel| kernel.compress(src, dst))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        decoded_bound(self.encoding, self.cpu, payload)
    }

    fn stated_len(&mut self, payload: &[u8]) -> Result<Option<u64>, Fault> {
        self.cpu.stated_len(payload)
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.run(Direction::Decompress, dst.len() as u64, |kernel| kernel.decompress(payload, dst))
    }
}
