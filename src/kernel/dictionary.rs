//! zstd dictionaries, prepared once per process for each direction and level.
//!
//! A dictionary is stock: trained (RFC 8878, section 5: magic, id, entropy tables, content)
//! or any other bytes as raw content.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use sha2::{Digest, Sha256};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{CDict, DCtx, DDict};

use super::zstd::error_code;
use crate::error::{Error, Result, extend};
use crate::process::{PerProcess, lock};

/// The most recently used dictionaries are kept even if no codec holds them.
const KEPT: usize = 16;

/// zstd's highest level.
const MAX_LEVEL: usize = 22;

static PREPARED: PerProcess<Mutex<Vec<Arc<Dictionary>>>> = PerProcess::new();

/// A dictionary and what libzstd makes of it; equal by its bytes.
pub struct Dictionary {
    bytes: Vec<u8>,
    digest: [u8; 32],
    decompress: DDict<'static>,
    /// By level, from 1 on.
    compress: [OnceLock<CDict<'static>>; MAX_LEVEL],
}

/// A zstd frame of no bytes.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];

/// Why libzstd did not prepare a dictionary: it is damaged, or memory is short. Only a context
/// that uses it as it is says which.
fn refusal(bytes: &[u8]) -> Error {
    let used = DCtx::try_create()
        .map(|mut context| context.decompress_using_dict(&mut [0; 0][..], &EMPTY_FRAME, bytes));
    match used {
        Some(Err(code)) if error_code(code) == ZSTD_ErrorCode::ZSTD_error_dictionary_corrupted => {
            Error::Backend(
                "the dictionary is damaged: it starts as a trained one, but is not valid".into(),
            )
        }
        _ => Error::OutOfMemory { bytes: bytes.len() as u64 },
    }
}

impl Dictionary {
    /// The process's one copy of the dictionary with these bytes.
    pub fn try_new(bytes: &[u8]) -> Result<Arc<Self>> {
        if bytes.is_empty() {
            return Err(Error::Backend("the dictionary is empty".into()));
        }
        let prepared = PREPARED.get();
        let find = |kept: &mut Vec<Arc<Self>>, bytes: &[u8]| {
            // By the bytes, which takes a fraction of the time of their digest: the plugin for
            // Polars comes here with every batch.
            let found = kept.remove(kept.iter().position(|each| each.bytes == bytes)?);
            kept.push(Arc::clone(&found));
            Some(found)
        };
        if let Some(found) = find(&mut lock(prepared), bytes) {
            return Ok(found);
        }
        // The caller's bytes may change during the call, and the dictionary serves other callers:
        // all of it is made from one copy. Prepared outside of the lock: it takes a while.
        let mut copy = Vec::new();
        extend(&mut copy, bytes)?;
        let decompress = DDict::try_create(&copy).ok_or_else(|| refusal(&copy))?;
        let compress = [const { OnceLock::new() }; MAX_LEVEL];
        let digest = Sha256::digest(&copy).into();
        let fresh = Arc::new(Self { bytes: copy, digest, decompress, compress });
        let mut kept = lock(prepared);
        let dictionary = find(&mut kept, &fresh.bytes).unwrap_or_else(|| {
            kept.push(Arc::clone(&fresh));
            fresh
        });
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(dictionary)
    }

    /// The dictionary as it was given.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of the dictionary's object in S4: the first 16 hex digits of its SHA-256.
    pub fn id(&self) -> String {
        id(&self.digest)
    }

    /// The id that zstd frames refer to it by, if it is a trained one.
    pub fn zstd_id(&self) -> Option<u32> {
        self.decompress.get_dict_id().map(std::num::NonZero::get)
    }

    pub(super) fn for_decompression(&self) -> &DDict<'static> {
        &self.decompress
    }

    /// Whether the dictionary has been prepared to compress at this level.
    pub fn is_prepared(&self, level: i32) -> bool {
        self.slot(level).is_some_and(|slot| slot.get().is_some())
    }

    fn slot(&self, level: i32) -> Option<&OnceLock<CDict<'static>>> {
        self.compress.get(usize::try_from(level).ok()?.checked_sub(1)?)
    }

    /// `None` where memory ran out.
    pub(super) fn for_compression(&self, level: i32) -> Option<&CDict<'static>> {
        let slot = self.slot(level)?;
        if slot.get().is_none() {
            let fresh = CDict::try_create(&self.bytes, level)?;
            // Another thread may have been faster; both made the same.
            let _ = slot.set(fresh);
        }
        slot.get()
    }
}

/// The S4 id of a dictionary with these bytes.
pub fn dictionary_id(bytes: &[u8]) -> String {
    id(&Sha256::digest(bytes))
}

fn id(digest: &[u8]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Dictionary {}

impl Hash for Dictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Dictionary({})", self.id())
    }
}
