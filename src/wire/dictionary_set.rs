//! Dictionary sets as bytes. See "Dictionary set" in `docs/format.md`.

use crate::error::{Error, Result, extend, push, reserve};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::dictionary_set::{DictionarySet, check_count};
use crate::manifest::crc32c;

/// What a stored set begins with.
pub const SET_MAGIC: [u8; 4] = *b"S4DS";

const VERSION: u32 = 1;

/// Bytes of the magic, version, number of dictionaries and position of the current one.
const HEADER_BYTES: usize = 16;

/// The set as bytes that [`from_bytes`] reads.
///
/// # Errors
/// A dictionary is longer than 4 GiB.
pub fn to_bytes(set: &DictionarySet) -> Result<Vec<u8>> {
    let number = |n: usize| {
        let fits = u32::try_from(n).map_err(|_| {
            Error::Argument(format!("{n} is too much for a dictionary set: the limit is 2^32 - 1"))
        });
        fits.map(u32::to_le_bytes)
    };
    let members = set.members();
    let lens = members.iter().map(|dictionary| dictionary.bytes().len());
    let mut bytes = Vec::new();
    reserve(&mut bytes, HEADER_BYTES + 4 * members.len() + lens.clone().sum::<usize>() + 4)?;
    extend(&mut bytes, &SET_MAGIC)?;
    extend(&mut bytes, &VERSION.to_le_bytes())?;
    for n in [members.len(), set.current_position()].into_iter().chain(lens) {
        extend(&mut bytes, &number(n)?)?;
    }
    for dictionary in members {
        extend(&mut bytes, dictionary.bytes())?;
    }
    let checksum = crc32c(&bytes).to_le_bytes();
    extend(&mut bytes, &checksum)?;
    Ok(bytes)
}

/// Reads a set. Nothing is allocated for a count or a length before it is known to fit the bytes.
///
/// # Errors
/// The bytes are not a set of this version, are cut or damaged, or hold dictionaries that cannot
/// be one set.
pub fn from_bytes(bytes: &[u8]) -> Result<DictionarySet> {
    let cut = || refused(format!("the {} bytes end too early", bytes.len()));
    let magic = &bytes[..bytes.len().min(4)];
    if magic != SET_MAGIC {
        return Err(refused(format!("expected magic S4DS, found {}", magic.escape_ascii())));
    }
    let (stored, checksum) = bytes.split_last_chunk::<4>().ok_or_else(cut)?;
    let mut rest = stored.get(4..).ok_or_else(cut)?;
    let number = |rest: &mut &[u8]| {
        let (front, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        Some(u32::from_le_bytes(*front))
    };
    let version = number(&mut rest).ok_or_else(cut)?;
    if version != VERSION {
        return Err(refused(format!(
            "expected version {VERSION}, found {version}; a later s4-codec may read it"
        )));
    }
    let count = number(&mut rest).ok_or_else(cut)? as usize;
    let current = number(&mut rest).ok_or_else(cut)? as usize;
    check_count(count).map_err(refused_set)?;
    let (mut lens, mut contents) = rest.split_at_checked(4 * count).ok_or_else(cut)?;
    let expected = u32::from_le_bytes(*checksum);
    let actual = crc32c(stored);
    if actual != expected {
        return Err(refused(format!(
            "its crc32c is {actual:#010x}, expected {expected:#010x}; it is damaged"
        )));
    }
    let mut members = Vec::new();
    while let Some(len) = number(&mut lens) {
        let content = contents.split_off(..len as usize).ok_or_else(cut)?;
        push(&mut members, Dictionary::try_new(content).map_err(refused_set)?)?;
    }
    if !contents.is_empty() {
        return Err(refused(format!("{} bytes follow its last dictionary", contents.len())));
    }
    DictionarySet::try_new(members, current).map_err(refused_set)
}

fn refused(reason: String) -> Error {
    Error::Frame(format!("not a dictionary set: {reason}"))
}

/// The error of a set that cannot be, where it was read.
fn refused_set(error: Error) -> Error {
    match error {
        Error::Argument(reason) | Error::Backend(reason) => refused(reason),
        other => other,
    }
}
