//! A batch of chunks, which nvCOMP takes in one call and works on when its stream runs.

use std::ops::Range;

use super::codecs::{Direction, Job, bitcomp_data_type};
use super::faults::{ChunkFault, Log, Ticket};
use super::memory::{Memory, overlap};
use super::status::ILLEGAL_ADDRESS;
use super::status::nvcomp::{ALIGNMENT, CANNOT_DECOMPRESS, CHUNK_TOO_LARGE, INVALID_VALUE};
use super::streams::Device;

/// How much of temporary memory a batch overwrites, to spoil what else is there.
const SPOILT: usize = 1 << 20;

/// How much room the chunks have.
#[derive(Clone, Copy)]
pub enum Room {
    /// A device array of capacities.
    Capacities(u64),
    /// What compressed chunks need that were at most so large.
    MaxChunk(usize),
}

/// The arguments of a launch. Arrays and `temp` are addresses of the device.
#[derive(Clone, Copy)]
pub struct Batch {
    pub job: Job,
    pub count: usize,
    pub inputs: u64,
    pub input_sizes: u64,
    pub outputs: u64,
    pub output_sizes: u64,
    pub room: Room,
    pub statuses: u64,
    pub temp: u64,
    pub temp_bytes: usize,
}

/// A chunk, of which `room` bytes may be written.
struct Chunk {
    input: u64,
    len: usize,
    output: u64,
    room: usize,
}

impl Batch {
    /// The addresses that are known before the batch runs.
    pub fn touches(&self) -> Vec<Range<u64>> {
        let range = |address: u64, bytes: usize| address..address.saturating_add(bytes as u64);
        let numbers = [self.inputs, self.input_sizes, self.outputs, self.output_sizes];
        let mut touches = numbers.map(|array| range(array, self.count.saturating_mul(8))).to_vec();
        touches.push(range(self.statuses, self.count.saturating_mul(4)));
        touches.push(range(self.temp, self.temp_bytes));
        if let Room::Capacities(array) = self.room {
            touches.push(range(array, self.count.saturating_mul(8)));
        }
        touches
    }

    /// Bitcomp decompresses only chunks that are whole and of one data type.
    pub fn examine_bitcomp(&self, device: &mut Device) -> Result<(), i32> {
        let Device { memory, log } = device;
        let Some(chunks) = self.chunks(memory) else {
            return log.refuse(ILLEGAL_ADDRESS, "an array is not in device memory, or misaligned");
        };
        let mut data_types = chunks.iter().map(|chunk| {
            let bytes = memory.access(chunk.input, chunk.len)?;
            bitcomp_data_type(bytes)
        });
        let first = data_types.next().flatten().ok_or(CANNOT_DECOMPRESS)?;
        if data_types.all(|other| other == Some(first)) { Ok(()) } else { Err(INVALID_VALUE) }
    }

    pub fn run(self, ticket: Ticket, device: &mut Device) -> Result<(), i32> {
        let Device { memory, log } = device;
        let Some(chunks) = self.chunks(memory) else {
            return log.refuse(ILLEGAL_ADDRESS, "an array is not in device memory, or misaligned");
        };
        let sizes = chunks.iter().map(|chunk| self.plain(chunk));
        let max_chunk = sizes.clone().max().unwrap_or(0);
        let total = sizes.fold(0, usize::saturating_add);
        log.launch_ran(ticket, max_chunk, total);
        self.check_temp(max_chunk, total, memory, log);
        let rooms = chunks.iter();
        let rooms = rooms.map(|chunk| chunk.output..chunk.output.saturating_add(chunk.room as u64));
        if overlap(rooms.collect()) {
            log.violate("chunks overlap in the output");
        }
        for (i, chunk) in chunks.iter().enumerate() {
            let outcome = match log.chunk_fault(ticket, i) {
                Some(ChunkFault::Status) => Err(CANNOT_DECOMPRESS),
                fault => self.run_chunk(chunk, memory, log).map(|len| match fault {
                    Some(ChunkFault::SizeShort) => (len as u64).saturating_sub(1),
                    Some(ChunkFault::SizeHuge) => u64::MAX / 2,
                    Some(ChunkFault::Byte) => {
                        let output = memory.access(chunk.output, len).unwrap_or(&mut []);
                        output.iter_mut().take(1).for_each(|byte| *byte ^= 0xFF);
                        len as u64
                    }
                    _ => len as u64,
                }),
            };
            // nvCOMP promises no size where a chunk failed.
            let (size, status) = match outcome {
                Ok(len) => (len, 0),
                Err(status) => (u64::from_ne_bytes([0xA5; 8]), status),
            };
            put(memory, self.output_sizes, i, &size.to_ne_bytes());
            put(memory, self.statuses, i, &status.to_ne_bytes());
        }
        Ok(())
    }

    /// The chunks, if all arrays are in device memory.
    fn chunks(&self, memory: &mut Memory) -> Option<Vec<Chunk>> {
        let inputs = memory.numbers(self.inputs, self.count)?;
        let lens = memory.numbers(self.input_sizes, self.count)?;
        let outputs = memory.numbers(self.outputs, self.count)?;
        let rooms = match self.room {
            Room::Capacities(array) => memory.numbers(array, self.count)?,
            Room::MaxChunk(max_chunk) => vec![self.job.max_output(max_chunk) as u64; self.count],
        };
        memory.numbers(self.output_sizes, self.count)?;
        memory.access(self.statuses, self.count.checked_mul(4)?)?;
        if !self.statuses.is_multiple_of(4) {
            return None;
        }
        let chunks = inputs.into_iter().zip(lens).zip(outputs).zip(rooms);
        let chunk = |(((input, len), output), room): (((u64, u64), u64), u64)| Chunk {
            input,
            len: len as usize,
            output,
            room: room as usize,
        };
        Some(chunks.map(chunk).collect())
    }

    /// The uncompressed size of a chunk, as far as it is known beforehand.
    fn plain(&self, chunk: &Chunk) -> usize {
        match self.job.direction {
            Direction::Compress => chunk.len,
            Direction::Decompress => chunk.room,
        }
    }

    fn check_temp(&self, max_chunk: usize, total: usize, memory: &mut Memory, log: &mut Log) {
        // A launch that is told the largest chunk needs as much as for chunks of that size.
        let max_chunk = match self.room {
            Room::MaxChunk(stated) => stated.max(max_chunk),
            Room::Capacities(_) => max_chunk,
        };
        let (given, needed) = (self.temp_bytes, self.job.temp(self.count, max_chunk, total));
        if given < needed {
            log.violate(format!("temporary memory of {given} bytes where {needed} are needed"));
        }
        if !self.temp.is_multiple_of(self.job.alignments().temp as u64) {
            log.violate(format!("temporary memory at {:#x} is misaligned", self.temp));
        }
        if !memory.is_device(self.temp, given) {
            return log.violate("temporary memory is not in device memory");
        }
        if let Some(spoilt) = memory.access(self.temp, given.min(needed).min(SPOILT)) {
            spoilt.fill(0x5A);
        }
    }

    /// Does a chunk's work and returns the actual size, or the chunk's status.
    fn run_chunk(&self, chunk: &Chunk, memory: &mut Memory, log: &mut Log) -> Result<usize, i32> {
        let &Chunk { input, len, output, room } = chunk;
        let mut refuse = |status, what: &str| {
            log.refuse(status, format!("{what}: {len} bytes at {input:#x}, {room} at {output:#x}"))
        };
        let alignments = self.job.alignments();
        let aligned = |address: u64, to: usize| address.is_multiple_of(to as u64);
        if !aligned(input, alignments.input) || !aligned(output, alignments.output) {
            return refuse(ALIGNMENT, "a chunk is misaligned");
        }
        if len == 0 {
            return refuse(INVALID_VALUE, "a chunk of no bytes");
        }
        if self.plain(chunk) > self.job.max_chunk() {
            return refuse(CHUNK_TOO_LARGE, "a chunk is too large");
        }
        if matches!(self.room, Room::MaxChunk(max_chunk) if len > max_chunk) {
            return refuse(CHUNK_TOO_LARGE, "a chunk is larger than was said");
        }
        if self.job.direction == Direction::Compress && !len.is_multiple_of(self.job.type_size()) {
            return refuse(INVALID_VALUE, "a chunk is no whole number of elements");
        }
        if !memory.is_device(output, room) {
            return refuse(INVALID_VALUE, "a chunk's output is not in device memory");
        }
        let Some(bytes) = memory.access(input, len).map(|bytes| bytes.to_vec()) else {
            return refuse(INVALID_VALUE, "a chunk's input is not in device memory");
        };
        self.job.run(&bytes, memory.access(output, room).unwrap_or_default())
    }
}

/// Writes an element of an array that is known to be there.
fn put(memory: &mut Memory, array: u64, index: usize, element: &[u8]) {
    let address = array + (index * element.len()) as u64;
    if let Some(place) = memory.access(address, element.len()) {
        place.copy_from_slice(element);
    }
}
