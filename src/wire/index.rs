//! S4IX sidecars: ranges of the original -> ranges of the stored body.
//!
//! ```text
//! offset 0       4        8        16              24             32            40
//!        "S4IX"  version  entries  original total  stored total   source size   ETag length L
//!        u8 x 4  u32      u64      u64, not read   u64            u64, 0: none  u32, 0: none
//!
//! then   L bytes of ETag (UTF-8), a 30-byte block on encryption in version 3, and entries of
//!        original offset, original size, compressed offset, compressed size; each u64
//! ```
//!
//! Version 1 has its entries at 32. Integers are little-endian. There is no checksum. See
//! "Sidecar" in `docs/format.md`.

use std::ops::Range;

use super::frame::Frames;
use super::{u16_at, u32_at, u64_at};
use crate::error::{Error, Result, extend, reserve};

/// What sidecars start with.
pub const INDEX_MAGIC: [u8; 4] = *b"S4IX";

/// What names of sidecars end with.
pub const SIDECAR_SUFFIX: &str = ".s4index";

const MAX_ENTRIES: u64 = 1 << 24;
const MAX_ETAG_BYTES: u32 = 4096;
const ENTRY_BYTES: usize = 32;
const SSE_BYTES: usize = 30;
const FIXED_BYTES: usize = 32;
const BOUND_BYTES: usize = 44;

/// Where one frame's bytes are, in the original and in the stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the frame's bytes start in the original.
    pub original_offset: u64,
    /// Their length there.
    pub original_size: u64,
    /// Where the frame starts in the stored body.
    pub compressed_offset: u64,
    /// Its length there, header included.
    pub compressed_size: u64,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        Self {
            original_offset: u64_at(bytes, 0),
            original_size: u64_at(bytes, 8),
            compressed_offset: u64_at(bytes, 16),
            compressed_size: u64_at(bytes, 24),
        }
    }

    /// The end in the original; entries that overflow are refused when parsed.
    pub fn original_end(&self) -> u64 {
        self.original_offset.saturating_add(self.original_size)
    }

    /// The end in the stored body.
    pub fn compressed_end(&self) -> u64 {
        self.compressed_offset.saturating_add(self.compressed_size)
    }

    fn overflows(&self) -> bool {
        self.original_offset.checked_add(self.original_size).is_none()
            || self.compressed_offset.checked_add(self.compressed_size).is_none()
    }
}

/// How a body is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sse {
    /// Plaintext bytes of an encrypted chunk.
    pub chunk_size: u32,
    /// The number of encrypted chunks.
    pub chunk_count: u32,
    /// Which key encrypts them.
    pub key_id: u16,
    /// The encryption's salt.
    pub salt: [u8; 8],
    /// Bytes before encryption.
    pub plaintext_len: u64,
    /// Bytes of the encryption header.
    pub header_bytes: u32,
}

impl Sse {
    /// A block that says nothing is no block.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let sse = Self {
            chunk_size: u32_at(bytes, 0),
            chunk_count: u32_at(bytes, 4),
            key_id: u16_at(bytes, 8),
            salt: *bytes[10..].first_chunk()?,
            plaintext_len: u64_at(bytes, 18),
            header_bytes: u32_at(bytes, 26),
        };
        (sse.chunk_size > 0 && sse.chunk_count > 0).then_some(sse)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chunk_size.to_le_bytes());
        out.extend_from_slice(&self.chunk_count.to_le_bytes());
        out.extend_from_slice(&self.key_id.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.plaintext_len.to_le_bytes());
        out.extend_from_slice(&self.header_bytes.to_le_bytes());
    }
}

/// The stored body that a sidecar was bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// The body's length.
    pub compressed_size: Option<u64>,
    /// The ETag that the store gave it.
    pub etag: Option<&'a str>,
}

/// A parsed sidecar. Entries ascend without overlaps; gaps are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index<'a> {
    /// Bytes of the stored body, paddings included.
    pub total_padded_size: u64,
    /// What the sidecar is bound to.
    pub source: Source<'a>,
    /// How the body is encrypted, if it is.
    pub sse: Option<Sse>,
    entries: &'a [u8],
}

impl<'a> Index<'a> {
    /// Reads a sidecar of version 1, 2 or 3, which is all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        need(bytes, FIXED_BYTES, "the header")?;
        if bytes[..4] != INDEX_MAGIC {
            let found = bytes[..4].escape_ascii();
            return Err(malformed(format!("expected magic S4IX, found {found}")));
        }
        let (version, count) = (u32_at(bytes, 4), u64_at(bytes, 8));
        if count > MAX_ENTRIES {
            return Err(malformed(format!("{count} entries exceed the maximum of {MAX_ENTRIES}")));
        }
        let (source, sse, entries) = match version {
            1 => (Source::default(), None, &bytes[FIXED_BYTES..]),
            2 | 3 => {
                let (source, rest) = parse_source(bytes)?;
                let (sse, rest) = if version == 3 {
                    need(rest, SSE_BYTES, "the encryption block")?;
                    (Sse::parse(rest), &rest[SSE_BYTES..])
                } else {
                    (None, rest)
                };
                (source, sse, rest)
            }
            _ => return Err(malformed(format!("expected version 1, 2 or 3, found {version}"))),
        };
        if entries.len() as u64 != count * ENTRY_BYTES as u64 {
            return Err(malformed(format!(
                "{count} entries take {} bytes, but {} are left",
                count * ENTRY_BYTES as u64,
                entries.len()
            )));
        }
        let index = Self { total_padded_size: u64_at(bytes, 24), source, sse, entries };
        index.check_order()?;
        Ok(index)
    }

    /// The length of the body that it is of.
    pub fn stored_len(&self) -> u64 {
        self.source.compressed_size.unwrap_or(self.total_padded_size)
    }

    fn check_order(&self) -> Result<()> {
        if let Some(i) = self.entries().position(|entry| entry.overflows()) {
            return Err(malformed(format!("entry {i} ends beyond 2^64")));
        }
        let pairs = self.entries().zip(self.entries().skip(1));
        for (i, (one, next)) in pairs.enumerate() {
            if next.original_offset < one.original_end()
                || next.compressed_offset < one.compressed_end()
            {
                return Err(malformed(format!("entry {} begins before entry {i} ends", i + 1)));
            }
        }
        Ok(())
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The `i`-th entry, if there is one.
    pub fn get(&self, i: usize) -> Option<Entry> {
        self.entries.get(i.checked_mul(ENTRY_BYTES)?..)?.get(..ENTRY_BYTES).map(Entry::parse)
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + Clone + 'a {
        self.entries.chunks_exact(ENTRY_BYTES).map(Entry::parse)
    }

    /// The end of the last entry in the original: what readers go by.
    pub fn total_original_size(&self) -> u64 {
        self.len().checked_sub(1).and_then(|last| self.get(last)).map_or(0, |e| e.original_end())
    }

    /// The sidecar bound to another source: version 3 if the body is encrypted, else 2.
    pub fn bind(&self, source: Source) -> Result<Vec<u8>> {
        let etag = source.etag.unwrap_or("");
        if etag.len() > MAX_ETAG_BYTES as usize {
            let len = etag.len();
            return Err(malformed(format!(
                "an ETag of {len} bytes exceeds the maximum of {MAX_ETAG_BYTES}"
            )));
        }
        let version: u32 = if self.sse.is_some() { 3 } else { 2 };
        let len = BOUND_BYTES + etag.len() + SSE_BYTES + self.entries.len();
        let mut out = Vec::new();
        reserve(&mut out, len)?;
        out.extend_from_slice(&INDEX_MAGIC);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.total_original_size().to_le_bytes());
        out.extend_from_slice(&self.total_padded_size.to_le_bytes());
        out.extend_from_slice(&source.compressed_size.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(etag.len() as u32).to_le_bytes());
        out.extend_from_slice(etag.as_bytes());
        if let Some(sse) = &self.sse {
            sse.write(&mut out);
        }
        out.extend_from_slice(self.entries);
        Ok(out)
    }

    /// Which entries hold the original bytes `start..end`; `None` where none do, or where one
    /// end is in a gap.
    pub fn lookup(&self, start: u64, end: u64) -> Option<Lookup> {
        let end = end.min(self.total_original_size());
        if start >= end {
            return None;
        }
        let (first, last) = (self.holding(start)?, self.holding(end - 1)?);
        let (first_entry, last_entry) = (self.get(first)?, self.get(last)?);
        let skip = first_entry.original_offset;
        Some(Lookup {
            first,
            last,
            stored: first_entry.compressed_offset..last_entry.compressed_end(),
            slice: start - skip..end - skip,
        })
    }

    /// The entry that holds one original byte.
    fn holding(&self, at: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle)?.original_end() <= at { low = middle + 1 } else { high = middle }
        }
        self.get(low).filter(|entry| entry.original_offset <= at).map(|_| low)
    }
}

/// What to fetch for a range of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The first entry that holds some of the range.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// Their bytes in the stored body, itself a body.
    pub stored: Range<u64>,
    /// The range within the original bytes of those frames.
    pub slice: Range<u64>,
}

fn parse_source(bytes: &[u8]) -> Result<(Source<'_>, &[u8])> {
    need(bytes, BOUND_BYTES, "the header")?;
    let len = u32_at(bytes, 40);
    if len > MAX_ETAG_BYTES {
        return Err(malformed(format!(
            "an ETag of {len} bytes exceeds the maximum of {MAX_ETAG_BYTES}"
        )));
    }
    let (etag, rest) = bytes[BOUND_BYTES..]
        .split_at_checked(len as usize)
        .ok_or_else(|| malformed("the ETag is truncated".into()))?;
    let etag = std::str::from_utf8(etag).map_err(|_| malformed("the ETag is not UTF-8".into()))?;
    let size = u64_at(bytes, 32);
    let source = Source {
        compressed_size: Some(size).filter(|&size| size > 0),
        etag: Some(etag).filter(|etag| !etag.is_empty()),
    };
    Ok((source, rest))
}

fn need(bytes: &[u8], len: usize, what: &str) -> Result<()> {
    if bytes.len() >= len {
        return Ok(());
    }
    Err(malformed(format!("{what} should have {len} bytes, but only {} are left", bytes.len())))
}

fn malformed(what: String) -> Error {
    Error::Index(what)
}

/// The unbound sidecar of a body.
pub fn build(body: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::default();
    for frame in Frames::new(body) {
        let (at, frame) = frame?;
        let original_size = frame.header.manifest.original_size;
        builder.push(at as u64, frame.stored_len() as u64, original_size)?;
    }
    builder.finish(body.len() as u64, Source::default())
}

/// A sidecar, made of one frame after the other.
#[derive(Default)]
pub struct Builder {
    entries: Vec<u8>,
    original_offset: u64,
}

impl Builder {
    /// Adds a frame by its place in the stored body, its length there and that of its original.
    pub fn push(&mut self, at: u64, stored_len: u64, original_size: u64) -> Result<()> {
        if self.entries.len() as u64 / ENTRY_BYTES as u64 == MAX_ENTRIES {
            return Err(malformed(format!("the body has more than {MAX_ENTRIES} frames")));
        }
        for number in [self.original_offset, original_size, at, stored_len] {
            extend(&mut self.entries, &number.to_le_bytes())?;
        }
        self.original_offset = self
            .original_offset
            .checked_add(original_size)
            .ok_or_else(|| malformed("the frames' sizes add up to more than 2^64".into()))?;
        Ok(())
    }

    /// The sidecar of a body of `stored_len` bytes.
    pub fn finish(&self, stored_len: u64, source: Source) -> Result<Vec<u8>> {
        let (total_padded_size, entries) = (stored_len, &self.entries[..]);
        Index { total_padded_size, source: Source::default(), sse: None, entries }.bind(source)
    }
}
