//! A record as storage nodes see it, on its way to them.

use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Revisions;
use adyton_keys::record_cipher::RecordCipher;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::nodes::State;
use crate::record::{InvalidRecord, PreparedRecord};

/// A sealed record. It can be written again when it is not known whether it was: the same bytes make the same revision.
#[derive(Debug)]
pub struct SealedRecord {
    id: String,
    /// Id, revision before and deletion in clear, everything else in the payload.
    document: Value,
    parent: Option<Rev>,
    is_deleted: bool,
    /// Its revision, once a node has named it.
    rev: Option<Rev>,
    /// The nodes that have acknowledged it.
    held: Vec<Endpoint>,
    /// Whether a node may have it that did not say so.
    is_unsure: bool,
}

/// A leaf of a document, as a node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) rev: Rev,
    pub(crate) payload: Option<String>,
}

/// Why a node did not accept a write on top of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has it already: an answer was lost.
    Held(Rev),
    /// It does not know yet what the write is on top of.
    Behind,
    /// Somebody else has changed the record.
    Conflict,
}

/// A record on its way to a node that only has to keep it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) rev: Rev,
    /// The revision before, where this one follows it.
    pub(crate) parent: Option<Rev>,
    /// Whether these two are all of its past.
    pub(crate) is_whole: bool,
    document: Value,
}

impl Replica {
    /// With as much of its past as is known here.
    pub(crate) fn short(&self) -> Value {
        let ids = std::iter::once(self.rev).chain(self.parent);
        let ids: Vec<String> = ids.map(|rev| rev.hash().to_string()).collect();
        self.behind(json!({ "start": self.rev.generation(), "ids": ids }))
    }

    /// With its past as a node tells it; none where that is not the past of this revision.
    pub(crate) fn full(&self, past: &Revisions) -> Option<Value> {
        let is_own = past.newest() == Ok(self.rev);
        let is_after = self.parent.is_none() || past.iter().nth(1) == self.parent;
        let past = serde_json::to_value(past).ok()?;
        (is_own && is_after).then(|| self.behind(past))
    }

    fn behind(&self, revisions: Value) -> Value {
        let mut document = self.document.clone();
        if let Some(members) = document.as_object_mut() {
            members.insert("_rev".to_owned(), self.rev.to_string().into());
            members.insert("_revisions".to_owned(), revisions);
        }
        document
    }
}

/// Whether a revision and the one before it are all that there is.
fn is_whole(rev: Rev, parent: Option<Rev>) -> bool {
    let first = parent.unwrap_or(rev);
    first.generation() == 1 && rev.generation() <= 2
}

impl SealedRecord {
    /// Seals a record.
    pub(crate) fn seal(
        record: &PreparedRecord,
        cipher: &RecordCipher,
    ) -> Result<Self, InvalidRecord> {
        let payload = cipher.seal(&record.text()?, &mut OsRng.unwrap_err());
        let mut document = json!({ "_id": record.id(), "payload": payload });
        let parent = record.members().get("_rev");
        let is_deleted = record.is_deleted();
        if let Some(members) = document.as_object_mut() {
            if let Some(rev) = parent {
                members.insert("_rev".to_owned(), rev.clone());
            }
            if is_deleted {
                members.insert("_deleted".to_owned(), true.into());
            }
        }
        Ok(Self {
            id: record.id().to_owned(),
            parent: parent
                .and_then(Value::as_str)
                .and_then(|rev| rev.parse().ok()),
            document,
            is_deleted,
            rev: None,
            held: Vec::new(),
            is_unsure: false,
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its revision, once a storage node has accepted it.
    pub fn rev(&self) -> Option<Rev> {
        self.rev
    }

    /// What a node has that has accepted it.
    pub(crate) fn state(&self) -> Option<State> {
        Some(State {
            rev: self.rev?,
            is_deleted: self.is_deleted,
        })
    }

    /// On how many storage nodes it is for certain.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Those nodes.
    pub(crate) fn holders(&self) -> &[Endpoint] {
        &self.held
    }

    pub(crate) fn is_held_by(&self, node: &Endpoint) -> bool {
        self.held.contains(node)
    }

    pub(crate) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// A node may have it that did not say so.
    pub(crate) fn doubt(&mut self) {
        self.is_unsure = true;
    }

    /// As it is written on top of what a node has.
    pub(crate) fn edit(&self) -> &Value {
        &self.document
    }

    /// As it is told to a node that need not ask what is before it.
    pub(crate) fn replica(&self) -> Option<Replica> {
        let rev = self.rev?;
        let follows = |parent: &Rev| parent.generation() + 1 == rev.generation();
        let parent = self.parent.filter(follows);
        Some(Replica {
            id: self.id.clone(),
            rev,
            parent,
            is_whole: is_whole(rev, parent),
            document: self.document.clone(),
        })
    }

    /// A node has accepted it under this revision; false if no edit of this record can have it.
    #[must_use]
    pub(crate) fn named(&mut self, rev: Rev, by: &Endpoint) -> bool {
        let before = self.parent.map_or(0, |parent| parent.generation());
        if rev.generation() <= before {
            return false;
        }
        self.rev = Some(rev);
        self.held_by(by);
        true
    }

    /// Names the revision here: every node that could is away, and the others only have to keep it. Not where more is before it than
    /// is known here: a node that is told a part of its past keeps what it has of the rest as another version of the record.
    #[must_use]
    pub(crate) fn name_itself(&mut self) -> bool {
        let payload = self.document.get("payload").and_then(Value::as_str);
        let payload = payload.unwrap_or_default().as_bytes();
        let rev = Rev::of_edit(self.parent, self.is_deleted, payload).ok();
        self.rev = rev.filter(|rev| is_whole(*rev, self.parent));
        self.rev.is_some()
    }

    pub(crate) fn held_by(&mut self, node: &Endpoint) {
        if !self.is_held_by(node) {
            self.held.push(node.clone());
        }
    }

    /// What it means that a node with these leaves did not accept it.
    pub(crate) fn refused_for(&self, leaves: &[Leaf]) -> Refusal {
        let ours = self.document.get("payload").and_then(Value::as_str);
        // A payload has a random nonce: whoever has the same has ours.
        let held = leaves.iter().find(|leaf| leaf.payload.as_deref() == ours);
        let newest = leaves.iter().map(|leaf| leaf.rev.generation()).max();
        match (held, self.parent) {
            (Some(held), _) => Refusal::Held(held.rev),
            (None, Some(parent)) if newest.unwrap_or(0) < parent.generation() => Refusal::Behind,
            (None, _) => Refusal::Conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(text: &str) -> Rev {
        format!("{text}{}", "0".repeat(34 - text.len()))
            .parse()
            .unwrap()
    }

    fn sealed(parent: Option<&str>) -> SealedRecord {
        SealedRecord {
            id: "a".to_owned(),
            document: json!({ "_id": "a", "payload": "ours" }),
            parent: parent.map(rev),
            is_deleted: false,
            rev: None,
            held: Vec::new(),
            is_unsure: false,
        }
    }

    fn leaf(text: &str, payload: &str) -> Leaf {
        Leaf {
            rev: rev(text),
            payload: Some(payload.to_owned()),
        }
    }

    fn node() -> Endpoint {
        "https://node.example/".parse().unwrap()
    }

    #[test]
    fn a_refusal_is_a_conflict_unless_the_node_has_it_already_or_is_behind() {
        let edit = sealed(Some("2-a"));
        assert_eq!(edit.refused_for(&[]), Refusal::Behind);
        assert_eq!(edit.refused_for(&[leaf("1-a", "old")]), Refusal::Behind);
        for theirs in ["2-b", "3-a"] {
            assert_eq!(edit.refused_for(&[leaf(theirs, "x")]), Refusal::Conflict);
        }
        let leaves = [leaf("4-a", "theirs"), leaf("3-b", "ours")];
        assert_eq!(edit.refused_for(&leaves), Refusal::Held(rev("3-b")));
        let new = sealed(None);
        assert_eq!(new.refused_for(&[leaf("1-a", "theirs")]), Refusal::Conflict);
        // Deleted, with nothing left to tell whose it was.
        let gone = Leaf {
            rev: rev("2-c"),
            payload: None,
        };
        assert_eq!(new.refused_for(&[gone]), Refusal::Conflict);
    }

    #[test]
    fn a_revision_that_is_no_edit_of_the_record_is_not_believed() {
        let mut edit = sealed(Some("2-a"));
        assert!(!edit.named(rev("2-b"), &node()));
        assert_eq!((edit.rev(), edit.held()), (None, 0));
        assert!(edit.named(rev("3-b"), &node()));
        assert_eq!((edit.rev(), edit.held()), (Some(rev("3-b")), 1));
        edit.held_by(&node());
        assert_eq!(edit.held(), 1);
    }

    fn past(start: u64, of: &[&str]) -> Revisions {
        let ids = of.iter().map(|text| rev(text).hash()).collect();
        Revisions::new(start, ids).unwrap()
    }

    #[test]
    fn a_replica_names_what_it_is_on_top_of() {
        let mut edit = sealed(Some("2-a"));
        assert_eq!(edit.replica(), None);
        assert!(edit.named(rev("3-b"), &node()));
        let replica = edit.replica().unwrap();
        assert!(!replica.is_whole);
        let short = replica.short();
        assert_eq!(short["_rev"], rev("3-b").to_string());
        assert_eq!(short["_revisions"], json!(past(3, &["3-b", "2-a"])));
        let whole = past(3, &["3-b", "2-a", "1-c"]);
        assert_eq!(replica.full(&whole).unwrap()["_revisions"], json!(whole));
        // Another's past is not believed.
        for wrong in [
            past(3, &["3-c", "2-a"]),
            past(3, &["3-b", "2-b"]),
            past(3, &["3-b"]),
        ] {
            assert_eq!(replica.full(&wrong), None);
        }
        // Made anew over a deleted one: what is between is the nodes' to know.
        let mut new = sealed(None);
        assert!(new.named(rev("5-b"), &node()));
        let replica = new.replica().unwrap();
        assert!(!replica.is_whole && replica.full(&past(5, &["5-b", "4-a"])).is_some());
    }

    #[test]
    fn a_record_names_itself_the_same_each_time_where_its_past_is_known() {
        let (mut once, mut again) = (sealed(Some("1-a")), sealed(Some("1-a")));
        assert!(once.name_itself() && again.name_itself());
        assert_eq!(once.rev(), again.rev());
        assert_eq!(once.rev().map(|rev| rev.generation()), Some(2));
        assert!(once.replica().unwrap().is_whole);
        let mut new = sealed(None);
        assert!(new.name_itself() && new.replica().unwrap().is_whole);
        let mut later = sealed(Some("2-a"));
        assert!(!later.name_itself());
        assert_eq!(later.rev(), None);
    }
}
