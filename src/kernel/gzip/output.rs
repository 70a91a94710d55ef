//! Where members are decoded to, one after the other.

use std::mem::MaybeUninit;

use crate::error::reserve;
use crate::kernel::Fault;

/// A destination for members of any lengths.
pub trait Output {
    /// Memory for the next member.
    fn spare(&mut self) -> &mut [MaybeUninit<u8>];

    /// Keeps the first `len` bytes of the spare memory, which are initialised, and returns them.
    fn commit(&mut self, len: usize) -> &[u8];

    /// Makes the spare memory longer, for a member that decodes to at most `most` bytes.
    fn grow(&mut self, most: u64) -> Result<(), Fault>;
}

/// Memory that the caller sized.
pub struct Fixed<'a> {
    pub dst: &'a mut [MaybeUninit<u8>],
    pub written: usize,
}

impl Output for Fixed<'_> {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.dst[self.written..]
    }

    fn commit(&mut self, len: usize) -> &[u8] {
        let start = self.written;
        self.written += len;
        // SAFETY: libdeflate has just initialised the first `len` bytes of the spare memory.
        unsafe { self.dst[start..self.written].assume_init_ref() }
    }

    fn grow(&mut self, _most: u64) -> Result<(), Fault> {
        Err(Fault::TooLong)
    }
}

/// The first length to grow to.
const MIN_LEN: usize = 64 << 10;

/// The end of a vector, doubled whenever a member does not fit. Whatever the members' lengths
/// are, the attempts that failed wrote less than twice the final length together.
pub struct Growing<'a> {
    out: &'a mut Vec<u8>,
    /// The most bytes that `out` may have.
    max_len: usize,
    /// Bytes of `out` in use, filled or spare.
    len: usize,
}

impl<'a> Growing<'a> {
    /// Appends to `out`, at most `limit` bytes.
    pub fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        let max_len = out.len().saturating_add(limit);
        let len = out.capacity().min(max_len);
        Self { out, max_len, len }
    }

    /// Makes the spare memory at least `spare` bytes long, or as long as the limit allows.
    pub fn reserve(&mut self, spare: usize) -> Result<(), Fault> {
        let len = self.out.len().saturating_add(spare).min(self.max_len);
        if len > self.len {
            reserve(self.out, len - self.out.len())?;
            self.len = len;
        }
        Ok(())
    }
}

impl Output for Growing<'_> {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        let len = self.len - self.out.len();
        &mut self.out.spare_capacity_mut()[..len]
    }

    fn commit(&mut self, len: usize) -> &[u8] {
        let start = self.out.len();
        // SAFETY: libdeflate has just initialised the first `len` bytes of the spare memory,
        // which is within the capacity.
        unsafe { self.out.set_len(start + len) };
        &self.out[start..]
    }

    fn grow(&mut self, most: u64) -> Result<(), Fault> {
        if self.len == self.max_len {
            return Err(Fault::TooLong);
        }
        let doubled = self.len.saturating_mul(2).max(MIN_LEN) - self.out.len();
        self.reserve(usize::try_from(most).unwrap_or(usize::MAX).min(doubled))
    }
}
