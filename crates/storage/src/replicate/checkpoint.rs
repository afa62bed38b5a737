//! How far a database was pushed to another node: a `_local` document on both sides, as CouchDB's replicator keeps one.
//!
//! Guarantees: what counts is the lesser of both, and nothing when either is of another life of the database or of another
//! session. So a target that lost its data, or came back from a backup, or claims too much, gets again what it may lack.

use adyton_couch::document::{DocumentId, LocalEnvelope, LocalRev};
use adyton_couch::seq::{Life, Seq, Since};
use adyton_protocol::database::DatabaseHash;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::link::{Failure, Target, success};
use crate::api::App;
use crate::databases::DatabaseError;
use crate::registry::DatabaseRecord;
use crate::store::{StoreError, blocking};

/// Largest checkpoint that is read, in bytes.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// Where a push stands.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Changes up to here are at the target.
    pub(super) seq: u64,
    pub(super) life: Life,
    /// Rows that were looked at since the checkpoint was written.
    pub(super) unsaved: u64,
    here: Option<LocalRev>,
    there: Option<String>,
}

/// The members that are read of a checkpoint.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
struct Kept {
    #[serde(rename = "_rev")]
    rev: Option<String>,
    source_last_seq: Option<String>,
}

impl Kept {
    /// The number, if it counts in this life.
    fn number(&self, life: Life) -> u64 {
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

fn local_id(id: &str) -> Result<DocumentId, StoreError> {
    id.parse()
        .map_err(|_| StoreError::Corrupt("the name of a checkpoint"))
}

impl Cursor {
    /// Reads both checkpoints.
    pub(super) async fn read(
        app: &App,
        target: &Target,
        record: &DatabaseRecord,
        id: &str,
    ) -> Result<Self, Failure> {
        let file = app.databases.own_file(record).await?;
        let local = id.to_owned();
        let (counters, here) = blocking(move || {
            let view = file.view()?;
            Ok((view.counters, view.local(&local)?))
        })
        .await?;
        let here: Kept = here
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let path = format!("{}/{id}", record.database_hash);
        let limit = MAX_CHECKPOINT_BYTES;
        let said = target.ask(Method::GET, &path, None, limit).await?;
        let there: Kept = match said.status {
            404 => Kept::default(),
            _ => serde_json::from_slice(&success(said)?).unwrap_or_default(),
        };
        let life = counters.life();
        let seq = here.number(life).min(there.number(life));
        Ok(Self {
            seq: match seq <= counters.update_seq {
                true => seq,
                false => 0,
            },
            life,
            unsaved: 0,
            here: here.rev.and_then(|rev| rev.parse().ok()),
            there: there.rev,
        })
    }

    /// Writes both checkpoints: first at the target, for the lesser counts.
    pub(super) async fn save(
        &mut self,
        app: &App,
        target: &Target,
        record: &DatabaseRecord,
        id: &str,
    ) -> Result<(), Failure> {
        let seq = Seq {
            number: self.seq,
            life: self.life,
        };
        let mut body = json!({
            "source_last_seq": seq.to_string(),
            "session_id": app.uuid,
            "replication_id_version": 4,
            "history": [{"session_id": app.uuid, "recorded_seq": seq.to_string()}],
        });
        let text = body.to_string();
        if let (Some(rev), Some(members)) = (&self.there, body.as_object_mut()) {
            members.insert("_rev".to_owned(), rev.as_str().into());
        }
        let path = format!("{}/{id}", record.database_hash);
        let sent = Some(body.to_string().into());
        let said = target
            .ask(Method::PUT, &path, sent, MAX_CHECKPOINT_BYTES)
            .await?;
        let written: Written = serde_json::from_slice(&success(said)?).unwrap_or_default();
        self.there = written.rev;

        let local = LocalEnvelope::parse(text.as_bytes())
            .map_err(|_| StoreError::Corrupt("a checkpoint"))?;
        let file = app.databases.own_file(record).await?;
        let rev = file.write_local(local_id(id)?, self.here, Some(local), u64::MAX);
        self.here = Some(rev.await?.map_err(DatabaseError::from)?);
        self.unsaved = 0;
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct Written {
    rev: Option<String>,
}

#[cfg(test)]
mod tests {
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
        assert!(local_id(&id).is_ok());
    }
}
