//! The validation path that every codec, value and column shares.
//!
//! A manifest travels with each payload and says what it decodes to. [`Manifest::seal`]
//! makes it when compressing; [`Manifest::admit`] judges its claim before anything is
//! allocated from it; [`Manifest::decode`] decodes into exactly that many bytes and
//! confirms length and crc32c. The order of the checks is that of the S4 wire format; see
//! "Manifest" in `docs/format.md`.

use std::mem::MaybeUninit;

use crate::error::{Error, Result, to_len};
use crate::kernel::{Fault, Kernel};

/// The S4 format's limit of one value, compressed or decoded, unless the caller raises it.
pub const MAX_ORIGINAL_SIZE: u64 = 5 << 30;

/// The limit of one decoded value that carries no manifest, unless the caller raises it.
pub const MAX_BARE_SIZE: u64 = 1 << 30;

/// Claims up to this size are admitted without reading the payload: decoding verifies them soon
/// enough, and this much memory is cheap.
pub(crate) const UNCHECKED_BYTES: u64 = 64 << 10;

/// What a payload decodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Bytes before compression.
    pub original_size: u64,
    /// CRC-32C (Castagnoli) of the bytes before compression.
    pub crc32c: u32,
}

impl Manifest {
    /// The manifest of `original`.
    pub fn seal(original: &[u8]) -> Self {
        Self { original_size: original.len() as u64, crc32c: crc32c(original) }
    }

    /// Checks the claim against `limit` and against what `payload` can possibly hold,
    /// and returns the length to decode to. Nothing is decoded or allocated.
    pub fn admit(&self, kernel: &mut impl Kernel, payload: &[u8], limit: u64) -> Result<usize> {
        self.admit_within(kernel, payload, limit, UNCHECKED_BYTES)
    }

    /// As [`admit`](Self::admit), where claims up to `unchecked` bytes are admitted unread.
    pub fn admit_within(
        &self,
        kernel: &mut impl Kernel,
        payload: &[u8],
        limit: u64,
        unchecked: u64,
    ) -> Result<usize> {
        let expected = self.original_size;
        if expected > limit {
            return Err(Error::SizeExceedsLimit { size: expected, limit });
        }
        if expected > unchecked {
            let name = kernel.name();
            let error = |fault: Fault| fault.into_error(name, expected);
            if let Some(actual) = kernel.stated_len(payload).map_err(error)?
                && actual != expected
            {
                return Err(Error::SizeMismatch { expected, actual });
            }
            let most = kernel.decoded_bound(payload).map_err(error)?;
            if expected > most {
                return Err(Error::SizeImpossible { expected, most });
            }
        }
        Ok(to_len(expected)?)
    }

    /// Decodes `payload` into `dst`, as long as `admit` said, and confirms the result.
    pub fn decode<'dst>(
        &self,
        kernel: &mut impl Kernel,
        payload: &[u8],
        dst: &'dst mut [MaybeUninit<u8>],
    ) -> Result<&'dst [u8]> {
        let written = kernel
            .decompress(payload, dst)
            .map_err(|fault| fault.into_error(kernel.name(), self.original_size))?;
        // SAFETY: the kernel initialised the first `written` bytes.
        let decoded = unsafe { dst[..written].assume_init_ref() };
        self.confirm(decoded)?;
        Ok(decoded)
    }

    /// Checks decoded bytes: the length first, then the crc32c.
    pub fn confirm(&self, decoded: &[u8]) -> Result<()> {
        self.confirm_sums(decoded.len() as u64, || crc32c(decoded))
    }

    /// The same of bytes elsewhere, by their length and their crc32c.
    pub fn confirm_sums(&self, len: u64, crc32c: impl FnOnce() -> u32) -> Result<()> {
        let (expected, actual) = (self.original_size, len);
        if actual != expected {
            return Err(Error::SizeMismatch { expected, actual });
        }
        let (expected, actual) = (self.crc32c, crc32c());
        if actual != expected {
            return Err(Error::CrcMismatch { expected, actual });
        }
        Ok(())
    }
}

/// CRC-32C: reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF.
#[inline]
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(data)
}

/// The CRC-32C of two concatenated pieces of data, from those of each and the second's length.
///
/// Not crc-fast's, which is too slow for columns on a GPU: they combine those of every 64 KiB.
/// Bit 31 of a checksum is the coefficient of x^0, and to append n bytes multiplies what came
/// before by x^8n (zlib's `crc32_combine`).
pub fn combine_crc32c(first: u32, second: u32, second_len: u64) -> u32 {
    if first == 0 {
        return second;
    }
    // The 32 powers repeat: x^(2^31 - 1) is 1.
    let bits = (3..).zip((0..u64::BITS).map(|bit| second_len >> bit & 1));
    let powers = bits.filter(|(_, bit)| *bit == 1).map(|(power, _)| POWERS[power % POWERS.len()]);
    powers.fold(first, multiply) ^ second
}

/// x^(2^i), modulo the polynomial.
const POWERS: [u32; 31] = {
    let (mut powers, mut i) = ([1 << 30; 31], 1);
    while i < powers.len() {
        powers[i] = multiply(powers[i - 1], powers[i - 1]);
        i += 1;
    }
    powers
};

/// The product of two polynomials, modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, 32);
    while bit > 0 {
        bit -= 1;
        product ^= b & (a >> bit & 1).wrapping_neg();
        b = b >> 1 ^ (0x82F6_3B78 & (b & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_pieces_combine() {
        let data: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for split in [0, 1, 7, 64 << 10, 131_071, data.len()] {
            let (first, second) = data.split_at(split);
            let combined = combine_crc32c(crc32c(first), crc32c(second), second.len() as u64);
            assert_eq!(combined, crc32c(&data));
        }
    }

    #[test]
    fn the_length_may_be_any() {
        for len in [1 << 31, (1 << 31) - 1, 5 << 30, u64::MAX] {
            let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
            let expected = crc_fast::checksum_combine(algorithm, 0xDEAD_BEEF, 0x1234_5678, len);
            assert_eq!(u64::from(combine_crc32c(0xDEAD_BEEF, 0x1234_5678, len)), expected, "{len}");
        }
    }
}
