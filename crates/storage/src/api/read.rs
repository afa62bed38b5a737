//! Reading documents into answers: the stored text, with further members spliced in where they are asked for.

use std::collections::HashSet;

use adyton_couch::document::write_json_text;
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{CouchError, DocumentQuery, OpenRevs};
use bytes::Bytes;
use serde_json::json;

use crate::databases::DatabaseError;
use crate::store::StoreError;
use crate::store::database::View;
use crate::store::row::DocumentRow;

/// Which further members a document is told with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    pub(crate) revisions: bool,
    pub(crate) revs_info: bool,
    pub(crate) conflicts: bool,
    pub(crate) deleted_conflicts: bool,
    pub(crate) local_seq: bool,
}

impl Extras {
    /// Whether the document is told with anything that is not of its revision.
    pub(crate) fn is_any(self) -> bool {
        let Self {
            revisions,
            revs_info,
            conflicts,
            deleted_conflicts,
            local_seq,
        } = self;
        revisions || revs_info || conflicts || deleted_conflicts || local_seq
    }
}

/// The further members that a document is asked for with.
pub(crate) fn extras(query: &DocumentQuery) -> Extras {
    Extras {
        revisions: query.revs,
        revs_info: query.revs_info,
        conflicts: query.conflicts,
        deleted_conflicts: query.deleted_conflicts,
        local_seq: query.local_seq,
    }
}

/// A document that was read: its revision, and its text in pieces.
pub(crate) struct Found {
    pub(crate) rev: Rev,
    pub(crate) pieces: Vec<Bytes>,
}

/// Reads what `GET /{db}/{id}` asks for. Blocking.
pub(crate) fn document(
    view: &View,
    id: &str,
    query: &DocumentQuery,
) -> Result<Found, DatabaseError> {
    let (row, leaf) = chosen(view, id, query)?;
    let mut pieces = Vec::new();
    revision(view, &row, leaf, extras(query), &mut pieces)?;
    Ok(Found {
        rev: leaf.rev,
        pieces,
    })
}

/// The revision that `GET /{db}/{id}` asks for. Blocking.
pub(crate) fn chosen(
    view: &View,
    id: &str,
    query: &DocumentQuery,
) -> Result<(DocumentRow, Leaf), DatabaseError> {
    let row = view.document(id)?.ok_or(CouchError::missing())?;
    let leaf = match query.rev {
        None => match row.tree.winner() {
            Some(winner) if winner.deleted => return Err(CouchError::deleted().into()),
            winner => winner,
        },
        Some(rev) if query.latest => row.tree.leaves_after(rev).first().copied(),
        Some(rev) => row.tree.leaf(rev),
    };
    let leaf = leaf.ok_or(CouchError::missing())?;
    Ok((row, leaf))
}

/// The revisions that `open_revs` asks for, and the document: found, or only named; each once, however often it is asked for.
/// Blocking.
pub(crate) fn chosen_of_many(
    view: &View,
    id: &str,
    query: &DocumentQuery,
) -> Result<(DocumentRow, Vec<Result<Leaf, Rev>>), DatabaseError> {
    let wanted = query.open_revs.as_ref().unwrap_or(&OpenRevs::All);
    let row = match (view.document(id)?, wanted) {
        (Some(row), _) => row,
        (None, OpenRevs::All) => return Err(CouchError::missing().into()),
        (None, OpenRevs::These(_)) => DocumentRow::default(),
    };
    let mut leaves: Vec<Result<Leaf, Rev>> = Vec::new();
    match wanted {
        OpenRevs::All => leaves.extend(row.tree.leaves().into_iter().map(Ok)),
        OpenRevs::These(revs) => {
            let (mut asked, mut told) = (HashSet::new(), HashSet::new());
            for rev in revs.iter().filter(|rev| asked.insert(**rev)) {
                let found = found_for(&row, *rev, query.latest);
                if found.is_empty() {
                    leaves.push(Err(*rev));
                }
                let new = found.into_iter().filter(|leaf| told.insert(leaf.rev));
                leaves.extend(new.map(Ok));
            }
        }
    }
    Ok((row, leaves))
}

/// The leaves that an item of `_bulk_get` names: all, where it names no revision.
pub(crate) fn named(row: &DocumentRow, rev: Option<Rev>, latest: bool) -> Vec<Leaf> {
    match rev {
        Some(rev) => found_for(row, rev, latest),
        None => row.tree.leaves(),
    }
}

/// The leaves that answer a wish for `rev`.
pub(crate) fn found_for(row: &DocumentRow, rev: Rev, latest: bool) -> Vec<Leaf> {
    if latest {
        row.tree.leaves_after(rev)
    } else {
        row.tree.leaf(rev).into_iter().collect()
    }
}

/// Appends one revision's text to `pieces`.
pub(crate) fn revision(
    view: &View,
    row: &DocumentRow,
    leaf: Leaf,
    extras: Extras,
    pieces: &mut Vec<Bytes>,
) -> Result<(), StoreError> {
    let body = leaf.body.ok_or(StoreError::Corrupt("a leaf has no body"))?;
    let body = view.body(body)?;
    let mut further = Vec::new();
    let mut add = |name: &str, value: String| {
        further.push(b',');
        write_json_text(name, &mut further);
        further.push(b':');
        further.extend_from_slice(value.as_bytes());
    };
    if extras.revisions {
        let revisions = row.tree.revisions(leaf.rev);
        add("_revisions", json!(revisions).to_string());
    }
    if extras.revs_info {
        let info: Vec<_> = row
            .tree
            .revisions(leaf.rev)
            .iter()
            .map(|rev| {
                let status = match row.tree.leaf(rev) {
                    Some(leaf) if leaf.deleted => "deleted",
                    Some(_) => "available",
                    None => "missing",
                };
                json!({"rev": rev, "status": status})
            })
            .collect();
        add("_revs_info", json!(info).to_string());
    }
    if extras.local_seq {
        add("_local_seq", row.seq.to_string());
    }
    if extras.conflicts {
        let conflicts = row.tree.conflicts();
        if !conflicts.is_empty() {
            add("_conflicts", json!(conflicts).to_string());
        }
    }
    if extras.deleted_conflicts {
        let conflicts = row.tree.deleted_conflicts();
        if !conflicts.is_empty() {
            add("_deleted_conflicts", json!(conflicts).to_string());
        }
    }
    if further.is_empty() {
        pieces.push(body);
    } else {
        further.push(b'}');
        pieces.push(body.slice(..body.len().saturating_sub(1)));
        pieces.push(further.into());
    }
    Ok(())
}
