//! Dictionaries that payloads choose from: the current one compresses, and each zstd frame is
//! decoded with the one whose id it names.

use std::sync::Arc;

use super::dictionary::Dictionary;
use crate::error::{Error, Result};

/// The most dictionaries of a set. A prepared one takes tens of kilobytes, however short it is.
pub const MAX_DICTIONARIES: usize = 1024;

/// One dictionary or more, of which one is current.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DictionarySet {
    /// In the order in which they were given.
    members: Vec<Arc<Dictionary>>,
    current: usize,
    /// The zstd id of each member that has one, and its position; sorted by id.
    by_zstd_id: Vec<(u32, usize)>,
}

impl DictionarySet {
    /// A set of one. It may be raw content without an id: nothing has to choose it.
    pub fn single(dictionary: Arc<Dictionary>) -> Self {
        let by_zstd_id = dictionary.zstd_id().map(|id| (id, 0)).into_iter().collect();
        Self { members: vec![dictionary], current: 0, by_zstd_id }
    }

    /// A set whose member at `current` compresses.
    ///
    /// # Errors
    /// There is no member, or none at `current`; there are too many; one has no zstd id, or two
    /// have the same.
    pub fn try_new(members: Vec<Arc<Dictionary>>, current: usize) -> Result<Self> {
        check_count(members.len())?;
        if current >= members.len() {
            return Err(Error::Argument(match members.len() {
                0 => "a dictionary set has one dictionary or more; train makes the first".into(),
                count => format!("no dictionary has the position {current}; the set has {count}"),
            }));
        }
        let ids = members.iter().enumerate().map(|(position, dictionary)| {
            let id = dictionary.zstd_id().ok_or_else(|| {
                Error::Argument(format!(
                    "dictionary {} (number {position}) is raw content without a zstd id, so no \
                     payload can name it; use it alone, as CpuZstdDict(dict_bytes)",
                    dictionary.id()
                ))
            })?;
            Ok((id, position))
        });
        let mut by_zstd_id = ids.collect::<Result<Vec<_>>>()?;
        by_zstd_id.sort_unstable();
        let twice = by_zstd_id.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some(&[(id, one), (_, other)]) = twice {
            return Err(Error::Argument(format!(
                "dictionaries {} (number {one}) and {} (number {other}) have the same zstd id \
                 {id}, so payloads cannot tell them apart; leave one of them out",
                members[one].id(),
                members[other].id(),
            )));
        }
        Ok(Self { members, current, by_zstd_id })
    }

    /// All dictionaries, in the order in which they were given.
    pub fn members(&self) -> &[Arc<Dictionary>] {
        &self.members
    }

    /// The dictionary that compresses.
    pub fn current(&self) -> &Arc<Dictionary> {
        &self.members[self.current]
    }

    /// The position of the dictionary that compresses.
    pub fn current_position(&self) -> usize {
        self.current
    }

    /// The dictionary of a set of one.
    #[inline]
    pub(super) fn only(&self) -> Option<&Dictionary> {
        match &self.members[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The dictionary with this zstd id.
    pub(super) fn with_zstd_id(&self, id: u32) -> Option<&Dictionary> {
        let found = self.by_zstd_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.members[self.by_zstd_id[found].1])
    }

    /// The same set with the dictionary of this S4 id as the current one, if it has that.
    pub fn with_current(&self, id: &str) -> Option<Self> {
        let current = self.members.iter().position(|dictionary| dictionary.id() == id)?;
        Some(Self { current, ..self.clone() })
    }

    /// The S4 ids, for a message.
    pub(crate) fn list_ids(&self) -> String {
        list(self.members.iter().map(|dictionary| dictionary.id()))
    }

    /// The zstd ids, for a message.
    pub(super) fn list_zstd_ids(&self) -> String {
        list(self.members.iter().filter_map(|dictionary| Some(dictionary.zstd_id()?.to_string())))
    }
}

/// Refuses more dictionaries than a set may have.
pub(crate) fn check_count(count: usize) -> Result<()> {
    if count <= MAX_DICTIONARIES {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "{count} dictionaries exceed the maximum of {MAX_DICTIONARIES}; leave out those that no \
         data needs any more"
    )))
}

/// The last few of many ids.
fn list(ids: impl DoubleEndedIterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut ids = ids.rev();
    let mut shown: Vec<_> = ids.by_ref().take(SHOWN).collect();
    match ids.count() {
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ")
}
