//! The CRC-32C of the payloads themselves: recorded beside what was compressed, and checked
//! before anything is decoded, by any codec.
//!
//! A manifest confirms what a payload decodes to, which is too late for a decoder that damaged
//! input can hang or crash, as those of GPUs. So all payloads of a call are read once on all
//! cores, and those that are not what was stored are refused: no decoder and no GPU sees them.

use super::layout::offsets::OffsetsColumn;
use super::layout::view::ViewColumn;
use super::scheduler::Spans;
use super::{Compressed, Payload, Payloads};
use crate::error::{Error, Result, collect, push};
use crate::manifest::crc32c;
use crate::memory::zeroed;
use crate::pool::{self, InterruptCheck};

/// A chunk of which some payloads are refused, because they are not what was stored.
pub struct Vetted<'a, C> {
    chunk: &'a C,
    /// Rows whose payload is refused, in ascending order, and the checksums that it has.
    refused: Vec<(usize, u32)>,
}

/// Checks the payloads of `chunks` against the checksums that are recorded of them. `None` where
/// all may be decoded, so that rows are read without a detour.
pub fn vet<'a, C: Payloads>(
    chunks: &'a [C],
    interrupted: InterruptCheck,
) -> Result<Option<Vec<Vetted<'a, C>>>> {
    if !chunks.iter().any(C::has_payload_crc32c) {
        return Ok(None);
    }
    // Chunks that record none count no rows.
    let counts = chunks.iter().map(|chunk| match chunk.has_payload_crc32c() {
        true => chunk.count(),
        false => 0,
    });
    let spans = Spans::new(counts, |chunk, row| match chunks[chunk].get(row) {
        Payload::Sealed(payload, _) => payload.len(),
        _ => 0,
    })?;
    let found = pool::run_parallel(
        spans,
        || Ok(Vec::new()),
        |found: &mut Result<Vec<_>>, span| {
            let Ok(refused) = found else { return };
            let chunk = &chunks[span.chunk];
            for row in span.rows {
                if pool::stopped() {
                    return;
                }
                let Payload::Sealed(payload, _) = chunk.get(row) else { continue };
                let recorded = chunk.payload_crc32c(row);
                if matches!(recorded, Ok(None)) {
                    continue;
                }
                let actual = crc32c(payload);
                if check(recorded, actual).is_err()
                    && let Err(short) = push(refused, (span.chunk, row, actual))
                {
                    *found = Err(short.into());
                    return;
                }
            }
        },
        interrupted,
    )?;
    let found = found.into_iter().collect::<Result<Vec<_>>>()?;
    if found.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let vetted = chunks.iter().map(|chunk| Vetted { chunk, refused: Vec::new() });
    let mut vetted = collect(vetted)?;
    for (chunk, row, actual) in found.into_iter().flatten() {
        push(&mut vetted[chunk].refused, (row, actual))?;
    }
    vetted.iter_mut().for_each(|chunk| chunk.refused.sort_unstable());
    Ok(Some(vetted))
}

/// Checks the checksum that a payload has against the recorded one.
fn check(recorded: Result<Option<u32>>, actual: u32) -> Result<()> {
    match recorded? {
        Some(expected) if expected != actual => Err(Error::PayloadCrcMismatch { expected, actual }),
        _ => Ok(()),
    }
}

impl<C: Payloads> Vetted<'_, C> {
    /// Why the payload of a row is refused, if it is.
    fn refusal(&self, row: usize) -> Option<Error> {
        let found = self.refused.binary_search_by_key(&row, |&(row, _)| row).ok()?;
        check(self.chunk.payload_crc32c(row), self.refused[found].1).err()
    }
}

impl<C: Payloads> Payloads for Vetted<'_, C> {
    fn count(&self) -> usize {
        self.chunk.count()
    }

    fn get(&self, row: usize) -> Payload<'_> {
        match (self.chunk.get(row), self.refusal(row)) {
            (Payload::Sealed(payload, _), Some(error)) => Payload::Refused(payload, error),
            (payload, _) => payload,
        }
    }
}

impl Compressed<ViewColumn> {
    /// The CRC-32C of each payload itself; 0 where the row is null.
    pub fn payload_checksums(&self, interrupted: InterruptCheck) -> Result<Vec<i64>> {
        let counts = std::iter::once(self.payload.views.len());
        crc32c_of_rows(counts, |_, row| self.payload.get(row), interrupted)
    }
}

impl Compressed<Vec<OffsetsColumn>> {
    /// The CRC-32C of each payload itself, of one chunk after another; 0 where the row is null.
    pub fn payload_checksums(&self, interrupted: InterruptCheck) -> Result<Vec<i64>> {
        let counts = self.payload.iter().map(|chunk| chunk.offsets.len() - 1);
        crc32c_of_rows(counts, |chunk, row| self.payload[chunk].get(row), interrupted)
    }
}

fn crc32c_of_rows<'a>(
    counts: impl Iterator<Item = usize>,
    row: impl Fn(usize, usize) -> &'a [u8] + Sync,
    interrupted: InterruptCheck,
) -> Result<Vec<i64>> {
    let counts = collect(counts)?;
    let mut checksums = zeroed::<i64>(counts.iter().sum())?;
    let mut rest = &mut checksums[..];
    let work = Spans::new(counts.into_iter(), |chunk, i| row(chunk, i).len())?.map(|span| {
        let checksums = rest.split_off_mut(..span.rows.len()).unwrap_or_default();
        (span, checksums)
    });
    pool::run_parallel(
        work,
        || (),
        |(), (span, checksums)| {
            for (i, checksum) in span.rows.zip(checksums) {
                if pool::stopped() {
                    return;
                }
                *checksum = crc32c(row(span.chunk, i)).into();
            }
        },
        interrupted,
    )?;
    Ok(checksums)
}
