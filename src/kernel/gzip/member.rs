//! A gzip member beside its deflate stream (RFC 1952, 2.3).
//!
//! ```text
//! offset 0   1   2  3      4     8    9       10
//!        1f  8b  8  flags  time  XFL  system  fields that flags name  deflate  trailer
//!        u8  u8  u8 u8     u32   u8   u8
//!
//! fields, in order: extra (u16 length, bytes), name and comment (each until a zero byte),
//!                   CRC-16 of the header before it (u16)
//! trailer:          CRC-32, ISIZE (u32 each): the decoded bytes' and their number mod 2^32
//! ```
//!
//! Integers are little-endian.

use super::libdeflate::crc32;

/// CRC-32 and ISIZE.
pub const TRAILER: usize = 8;

const FIXED: usize = 10;

const HAS_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

const CUT: &str = "a cut member";

/// The length of the header at the front of `member`, behind which there is a trailer at
/// least; or what is wrong, in words that "at byte N" follows.
pub fn header_len(member: &[u8]) -> Result<usize, &'static str> {
    let flags = match member {
        [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED == 0 => *flags,
        [0x1f, 0x8b, 8, _, ..] => return Err("reserved flags are set in the member"),
        [0x1f] | [0x1f, 0x8b] | [0x1f, 0x8b, 8] => return Err(CUT),
        [0x1f, 0x8b, ..] => return Err("unknown compression method in the member"),
        _ => return Err("no gzip member"),
    };
    let fields = member.len().checked_sub(TRAILER).map(|end| &member[..end]);
    let fields = fields.filter(|fields| fields.len() >= FIXED).ok_or(CUT)?;
    let mut len = FIXED;
    if flags & HAS_EXTRA != 0 {
        let size = fields[len..].first_chunk::<2>().ok_or(CUT)?;
        len += 2 + usize::from(u16::from_le_bytes(*size));
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let text = fields.get(len..).ok_or(CUT)?;
            len += text.iter().position(|&byte| byte == 0).ok_or(CUT)? + 1;
        }
    }
    if flags & HAS_CRC != 0 {
        let (before, crc) = fields.split_at_checked(len).ok_or(CUT)?;
        let crc = crc.first_chunk::<2>().ok_or(CUT)?;
        if u16::from_le_bytes(*crc) != crc32(before) as u16 {
            return Err("wrong header CRC-16 in the member");
        }
        len += 2;
    }
    if len <= fields.len() { Ok(len) } else { Err(CUT) }
}

/// Checks what follows a deflate stream that decoded to `decoded`.
pub fn check_trailer(trailer: &[u8], decoded: &[u8]) -> Result<(), &'static str> {
    let (crc, isize) = trailer.split_at(4);
    if crc != crc32(decoded).to_le_bytes() {
        return Err("wrong CRC-32 in the member");
    }
    if isize != (decoded.len() as u32).to_le_bytes() {
        return Err("wrong length (ISIZE) in the member");
    }
    Ok(())
}
