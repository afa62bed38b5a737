//! How far a database was pushed to another node: a `_local` document on both sides, as CouchDB's replicator keeps one.
//!
//! Guarantees: what counts is the lesser of both, and nothing when either is of another life of the database or of another
//! session. So a target that lost its data, or came back from a backup, or claims too much, gets again what it may lack. A
//! checkpoint is written only over the one that was read or written before: what was put back meanwhile is noticed.

use adyton_couch::seq::{Life, Since};
use adyton_couch::wire::read_object;
use adyton_protocol::database::DatabaseHash;
use http::Method;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::link::{Failure, Target, success};
use super::source::{Place, Source};
use crate::couch::reading::checkpoint;
use crate::database_record::DatabaseRecord;

/// Largest checkpoint that is read, in bytes.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// Where a push stands.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Changes up to here are at the target.
    pub(super) place: Place,
    /// Rows that were looked at since the checkpoint was written.
    pub(super) unsaved: u64,
    here: Option<String>,
    there: Kept,
}

/// The members that are read of a checkpoint.
#[derive(Debug, Default, Clone, Deserialize, PartialEq, Eq)]
pub(super) struct Kept {
    #[serde(rename = "_rev")]
    rev: Option<String>,
    pub(super) source_last_seq: Option<String>,
}

impl Kept {
    /// The number, if it counts in this life.
    pub(super) fn number(&self, life: Life) -> u64 {
        let since = self.source_last_seq.as_deref().map(Since::parse);
        match since {
            Some(Ok(Since::Seq(seq))) if seq.life == life => seq.number,
            _ => 0,
        }
    }
}

/// The name of the checkpoint of this source and this target, which says nothing about either.
pub(super) fn checkpoint_id(uuid: &str, target: &str, hash: DatabaseHash) -> String {
    let digest = Sha256::digest(format!("adyton/checkpoint/{uuid}/{hash}/{target}"));
    let name = hex::encode(digest);
    format!("_local/{}", name.get(..32).unwrap_or_default())
}

impl Cursor {
    /// Reads both checkpoints.
    pub(super) async fn read(
        source: &Source,
        target: &Target,
        record: &DatabaseRecord,
        id: &str,
    ) -> Result<Self, Failure> {
        let there = there(target, record, id).await?;
        let (here, place) = source.checkpoint(id, &there).await?;
        Ok(Self {
            place,
            unsaved: 0,
            here: here.rev,
            there,
        })
    }

    /// Writes both checkpoints: first at the target, for the lesser counts. Nothing is written when the target has another one than
    /// it is known to have: it lost its data, or was put back, and what it had been sent since it may lack.
    pub(super) async fn save(
        &mut self,
        source: &Source,
        (target, session): (&Target, &str),
        record: &DatabaseRecord,
        id: &str,
    ) -> Result<(), Failure> {
        if there(target, record, id).await? != self.there {
            return Err(Failure::PutBack);
        }
        let place = self.place.to_string();
        let body = checkpoint(&place, session, self.there.rev.as_deref());
        let path = format!("{}/{id}", record.database_hash);
        let sent = Some(body.to_string().into());
        let said = target
            .ask(Method::PUT, &path, sent, MAX_CHECKPOINT_BYTES)
            .await?;
        let written: Written = read_object(&success(said)?).unwrap_or_default();
        self.there = Kept {
            rev: written.rev,
            source_last_seq: Some(place.clone()),
        };
        let body = |rev: Option<&str>| checkpoint(&place, session, rev);
        self.here = source.keep_checkpoint(id, self.here.take(), body).await?;
        self.unsaved = 0;
        Ok(())
    }
}

/// The checkpoint that the target has now.
async fn there(target: &Target, record: &DatabaseRecord, id: &str) -> Result<Kept, Failure> {
    let path = format!("{}/{id}", record.database_hash);
    let said = target.ask(Method::GET, &path, None, MAX_CHECKPOINT_BYTES);
    let said = said.await?;
    match said.status {
        404 => Ok(Kept::default()),
        _ => Ok(read_object(&success(said)?).unwrap_or_default()),
    }
}

#[derive(Default, Deserialize)]
struct Written {
    rev: Option<String>,
}

#[cfg(test)]
mod tests {
    use adyton_couch::seq::Seq;

    use super::*;

    #[test]
    fn a_checkpoint_of_another_life_counts_for_nothing() {
        let kept = |seq: &str| Kept {
            rev: None,
            source_last_seq: Some(seq.to_owned()),
        };
        let life = Life(7);
        let seq = Seq { number: 42, life };
        assert_eq!(kept(&seq.to_string()).number(life), 42);
        assert_eq!(kept(&seq.to_string()).number(Life(8)), 0);
        for text in ["42", "now", "", "x", "42-g1AAAA"] {
            assert_eq!(kept(text).number(life), 0, "{text}");
        }
        assert_eq!(Kept::default().number(life), 0);
    }

    #[test]
    fn a_checkpoint_has_another_name_for_every_pair() {
        let hash: DatabaseHash = format!("v{}", "a".repeat(64)).parse().unwrap();
        let id = checkpoint_id("u", "https://a.example/", hash);
        assert_ne!(id, checkpoint_id("u", "https://b.example/", hash));
        assert_ne!(id, checkpoint_id("w", "https://a.example/", hash));
        assert!(id.parse::<adyton_couch::document::DocumentId>().is_ok());
    }
}
