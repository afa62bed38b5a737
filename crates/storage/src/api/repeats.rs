//! Requests that name a document again and again: a few bytes there are many in the answer, so the sum of what would be told more
//! than once has a limit. It is counted before anything is told, from what is named more than once only.

use std::collections::{HashMap, HashSet};

use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, BulkGetItem, CouchError, ErrorKind};

use super::read;
use crate::store::StoreError;
use crate::store::database::View;
use crate::store::row::DocumentRow;

/// What a row of an answer counts for besides its document.
const ROW_BYTES: u64 = 100;
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

/// Refuses keys of which more than `most` bytes would be told again.
pub(super) fn of_keys(
    view: &View,
    keys: &[String],
    telling: Telling,
    most: u64,
) -> Result<Result<(), CouchError>, StoreError> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    let mut repeated: u64 = 0;
    for (key, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
        let row = view.document(key)?.unwrap_or_default();
        let told = row.tree.winner().filter(|winner| !winner.deleted);
        let Some(winner) = told else { continue };
        let bytes = bytes(view, &row, winner, telling)?;
        repeated = repeated.saturating_add(bytes.saturating_mul(count - 1));
        if repeated > most {
            return Ok(Err(too_many()));
        }
    }
    Ok(Ok(()))
}

/// Refuses items of which more than `most` bytes would be told again.
pub(super) fn of_items(
    view: &View,
    items: &[BulkGetItem],
    telling: Telling,
    most: u64,
) -> Result<Result<(), CouchError>, StoreError> {
    let mut by_id: HashMap<&str, Vec<&BulkGetItem>> = HashMap::new();
    for item in items {
        by_id.entry(item.id.as_str()).or_default().push(item);
    }
    let mut repeated: u64 = 0;
    for (id, items) in by_id.into_iter().filter(|(_, items)| items.len() > 1) {
        let row = view.document(id)?.unwrap_or_default();
        let mut known = HashMap::new();
        for item in items {
            let leaves = match item.rev {
                Some(rev) => read::found_for(&row, rev, telling.latest),
                None => row.tree.winner().into_iter().collect(),
            };
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
