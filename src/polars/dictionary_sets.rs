//! Dictionary sets that stay prepared between calls: Polars passes their bytes in every call.

use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::kernel::dictionary_set::DictionarySet;
use crate::process::{PerProcess, lock};
use crate::wire::dictionary_set::from_bytes;

/// The most recently used sets are kept.
const KEPT: usize = 4;

/// A set and its bytes, by which a call finds it.
type Prepared = (Box<[u8]>, Arc<DictionarySet>);

static PREPARED: PerProcess<Mutex<Vec<Prepared>>> = PerProcess::new();

/// The set with these bytes.
pub fn prepared(bytes: &[u8]) -> Result<Arc<DictionarySet>> {
    let find = || {
        let mut kept = lock(PREPARED.get());
        let found = kept.iter().position(|(known, _)| **known == *bytes)?;
        let found = kept.remove(found);
        let set = Arc::clone(&found.1);
        kept.push(found);
        Some(set)
    };
    if let Some(set) = find() {
        return Ok(set);
    }
    // Prepared outside of the lock: it takes a while.
    let set = Arc::new(from_bytes(bytes)?);
    let mut kept = lock(PREPARED.get());
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push((bytes.into(), Arc::clone(&set)));
    Ok(set)
}
