//! Requests that name a document again and again: a few bytes there are many in the answer, so the sum of what would be told more
//! than once has a limit. It is counted before anything is told, from what is named more than once only.

use std::collections::{HashMap, HashSet};

use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, BulkGetItem, CouchError, ErrorKind, WrongItem};

use super::read;
use crate::store::StoreError;
use crate::store::database::View;
use crate::store::row::DocumentRow;

/// What a row of an answer counts for besides its document.
const ROW_BYTES: u64 = 100;
/// What it counts for to go over one revision of a document, as it is when nothing is found.
const LOOK_BYTES: u64 = 40;
/// Bytes of one ancestor in `_revisions`.
const ANCESTOR_BYTES: u64 = 35;

/// What is told of each document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    /// With the contents of attachments.
    pub(super) contents: bool,
    /// With the ancestors of the revision.
    pub(super) revisions: bool,
    /// Every leaf that followed the revision that is named.
    pub(super) latest: bool,
}

/// Whether some of these is named more than once.
pub(super) fn are_any<'a>(mut ids: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = HashSet::new();
    !ids.all(|id| seen.insert(id))
}

/// The keys of a list.
pub(super) struct Keys {
    pub(super) keys: Vec<String>,
    /// Their documents are told, and not only their revisions.
    pub(super) documents: bool,
    /// With the other leaves, for which each document is gone through.
    pub(super) conflicts: bool,
}

/// What the keys of some lists come to for one document, besides the first time that it is named.
#[derive(Default)]
struct Again {
    named: bool,
    /// How often all of its revisions are gone through.
    looks: u64,
    /// How often it is told.
    told: u64,
    told_once: bool,
}

/// Refuses keys of which more than `most` bytes would be told again, or looked for again.
pub(super) fn of_keys(
    view: &View,
    lists: &[Keys],
    telling: Telling,
    most: u64,
) -> Result<Result<(), CouchError>, StoreError> {
    let mut by_key: HashMap<&str, Again> = HashMap::new();
    for list in lists {
        let mut last = None;
        for key in &list.keys {
            let again = by_key.entry(key).or_default();
            if std::mem::replace(&mut again.named, true) {
                // Keys that follow each other and are the same are read once.
                let read = u64::from(last != Some(key));
                again.looks += read + u64::from(list.documents && list.conflicts);
            }
            if list.documents && std::mem::replace(&mut again.told_once, true) {
                again.told += 1;
            }
            last = Some(key);
        }
    }
    let mut repeated: u64 = 0;
    let often = by_key.into_iter();
    for (key, again) in often.filter(|(_, again)| again.looks > 0 || again.told > 0) {
        let row = view.document(key)?.unwrap_or_default();
        let look = (row.tree.len() as u64).saturating_mul(LOOK_BYTES);
        repeated = repeated.saturating_add(look.saturating_mul(again.looks));
        let winner = row.tree.winner().filter(|winner| !winner.deleted);
        if let Some(winner) = winner.filter(|_| again.told > 0) {
            let bytes = bytes(view, &row, winner, telling)?;
            repeated = repeated.saturating_add(bytes.saturating_mul(again.told));
        }
        if repeated > most {
            return Ok(Err(too_many()));
        }
    }
    Ok(Ok(()))
}

/// Refuses items of which more than `most` bytes would be told again, or looked for again.
pub(super) fn of_items(
    view: &View,
    items: &[Result<BulkGetItem, WrongItem>],
    telling: Telling,
    most: u64,
) -> Result<Result<(), CouchError>, StoreError> {
    let mut by_id: HashMap<&str, Vec<(&BulkGetItem, Beside)>> = HashMap::new();
    let mut last = None;
    for item in items.iter().flatten() {
        let id = item.id.as_str();
        let beside = match last == Some(id) {
            true => Beside::Itself,
            false => Beside::Others,
        };
        last = Some(id);
        by_id.entry(id).or_default().push((item, beside));
    }
    let mut repeated: u64 = 0;
    for (id, items) in by_id.into_iter().filter(|(_, items)| items.len() > 1) {
        let row = view.document(id)?.unwrap_or_default();
        let look = (row.tree.len() as u64).saturating_mul(LOOK_BYTES);
        let mut known = HashMap::new();
        for (i, (item, beside)) in items.into_iter().enumerate() {
            let looks = match i {
                0 => 0,
                _ => looks(&row, item.rev, beside, telling),
            };
            repeated = repeated.saturating_add(look.saturating_mul(looks));
            if repeated > most {
                return Ok(Err(too_many()));
            }
            let leaves = read::named(&row, item.rev, telling.latest);
            let contents = telling.contents || item.atts_since.is_some();
            let telling = Telling {
                contents,
                ..telling
            };
            for leaf in leaves {
                let bytes = match known.get(&(leaf.rev, contents)) {
                    Some(bytes) => *bytes,
                    None => {
                        let bytes = bytes(view, &row, leaf, telling)?;
                        known.insert((leaf.rev, contents), bytes);
                        continue;
                    }
                };
                repeated = repeated.saturating_add(bytes);
                if repeated > most {
                    return Ok(Err(too_many()));
                }
            }
        }
    }
    Ok(Ok(()))
}

/// What stands before an item.
#[derive(Clone, Copy)]
enum Beside {
    /// An item of the same document, which is read once for both.
    Itself,
    Others,
}

/// How often all revisions of a document are gone through for one more item: to read it anew, and to look for leaves.
fn looks(row: &DocumentRow, rev: Option<Rev>, beside: Beside, telling: Telling) -> u64 {
    let read = match beside {
        Beside::Itself => 0,
        Beside::Others => 1,
    };
    let sought = match rev {
        None => true,
        Some(rev) => telling.latest && row.tree.contains(rev) && row.tree.leaf(rev).is_none(),
    };
    read + u64::from(sought)
}

/// Whether contents of attachments are told.
pub(super) fn with_contents(wanted: &AttachmentsWanted) -> bool {
    *wanted != AttachmentsWanted::Stubs
}

/// Bytes of one revision in an answer, about.
fn bytes(view: &View, row: &DocumentRow, leaf: Leaf, telling: Telling) -> Result<u64, StoreError> {
    let body = leaf.body.ok_or(StoreError::Corrupt("a leaf has no body"))?;
    let mut bytes = ROW_BYTES + view.body(body)?.len() as u64;
    if telling.contents {
        let attached = view.attached(body)?;
        let lengths = attached.iter().map(|attached| attached.attachment.length);
        bytes += lengths.fold(0, u64::saturating_add) / 3 * 4;
    }
    if telling.revisions {
        bytes += row.tree.revisions(leaf.rev).iter().count() as u64 * ANCESTOR_BYTES;
    }
    Ok(bytes)
}

fn too_many() -> CouchError {
    let reason = "The request names the same documents too often.";
    CouchError::new(ErrorKind::TooLarge, reason)
}
