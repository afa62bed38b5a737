//! Writing to as many storage nodes as asked.
//!
//! 1. One node accepts the write as an edit of what it has, and names its revision: whoever wrote to the same record before is told.
//!    The nodes are asked in one order by everybody ([`Nodes::writers`]), the next one when one fails.
//! 2. Others get it as a replica, under that revision, until enough have it ([`crate::replicas`]).
//!
//! Guarantees: a record has one revision on all nodes, and an answer that was lost makes no second one, where nodes name revisions
//! alike (ours do; CouchDB names them in its own way, and then the same content may have two).
//!
//! [`Nodes::writers`]: crate::nodes::Nodes::writers

use std::time::Duration;

use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::RecordCipher;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::database::{Database, WriteError, parse_rev, path_of, refused};
use crate::record::{InvalidRecord, PreparedRecord};
use crate::sealed_record::{Leaf, Refusal, SealedRecord};
use crate::session::{NodeLink, SessionError};
use crate::transport::{Answer, TransportError};

/// How long a node is waited for that could be left out…
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// … and for each second longer, so many bytes.
const BYTES_A_SECOND: usize = 256 * 1024;

/// A row of the answer to `_bulk_docs`, and the answer to an edit.
#[derive(Deserialize)]
pub(crate) struct WriteAnswer {
    #[serde(default)]
    id: String,
    rev: Option<String>,
    pub(crate) error: Option<String>,
}

#[derive(Deserialize)]
struct LeafRow {
    ok: Option<LeafDocument>,
}

#[derive(Deserialize)]
struct LeafDocument {
    #[serde(rename = "_rev")]
    rev: String,
    payload: Option<String>,
}

impl Database<'_> {
    /// Seals a record, to be written with [`Database::write`].
    pub fn seal(
        &self,
        record: &PreparedRecord,
        cipher: &RecordCipher,
    ) -> Result<SealedRecord, WriteError> {
        Ok(SealedRecord::seal(record, cipher)?)
    }

    /// Seals and stores one record. Returns when as many nodes as asked have it durably, with its new revision.
    pub async fn put(
        &self,
        record: &PreparedRecord,
        cipher: &RecordCipher,
    ) -> Result<Rev, WriteError> {
        self.write(&mut self.seal(record, cipher)?).await
    }

    /// Stores a sealed record. After [`WriteError::Unconfirmed`], or an error of the session, it can be done again: what was stored is
    /// recognised, and only those nodes are asked that have not acknowledged it.
    pub async fn write(&self, sealed: &mut SealedRecord) -> Result<Rev, WriteError> {
        self.enough_nodes()?;
        if sealed.rev().is_none() {
            self.have_accepted(sealed).await?;
        }
        self.replicate(&mut [&mut *sealed]).await;
        self.outcome(sealed)
    }

    /// Seals and stores many records in one request. The results are in the order of the records.
    pub async fn put_all(
        &self,
        records: &[PreparedRecord],
        cipher: &RecordCipher,
    ) -> Result<Vec<Result<Rev, WriteError>>, WriteError> {
        self.enough_nodes()?;
        let sealed = records.iter().map(|record| self.seal(record, cipher));
        let mut sealed = sealed.collect::<Result<Vec<_>, _>>()?;
        let refusals = self.have_all_accepted(&mut sealed).await?;
        let accepted = sealed.iter_mut().filter(|sealed| sealed.rev().is_some());
        self.replicate(&mut accepted.collect::<Vec<_>>()).await;
        let mut outcomes = Vec::with_capacity(sealed.len());
        for (mut sealed, refusal) in sealed.into_iter().zip(refusals) {
            let many = self.session().nodes().are_many();
            outcomes.push(match refusal {
                None => self.outcome(&sealed),
                // Perhaps the node is behind, or has it already.
                Some(WriteError::Conflict) if many => self.write(&mut sealed).await,
                Some(error) => Err(error),
            });
        }
        Ok(outcomes)
    }

    fn enough_nodes(&self) -> Result<(), WriteError> {
        let nodes = self.session().nodes();
        let (usable, asked) = (nodes.usable(), nodes.asked());
        match usable >= asked {
            true => Ok(()),
            false => Err(WriteError::TooFewNodes { usable, asked }),
        }
    }

    fn outcome(&self, sealed: &SealedRecord) -> Result<Rev, WriteError> {
        let (reached, asked) = (sealed.held(), self.session().nodes().asked());
        match sealed.rev() {
            Some(rev) if reached >= asked => Ok(rev),
            _ => Err(WriteError::Unconfirmed { reached, asked }),
        }
    }

    /// Step 1 for one record.
    async fn have_accepted(&self, sealed: &mut SealedRecord) -> Result<(), WriteError> {
        let nodes = self.session().nodes();
        let below = path_of(sealed.id());
        let body = Bytes::from(sealed.edit().to_string());
        let mut failure = None;
        let mut is_behind = false;
        for n in nodes.writers() {
            let Some(link) = nodes.link(n) else { continue };
            let asking = self.request(link, Method::PUT, &below, Some(body.clone()));
            let accepted = self.in_time(link, body.len(), asking).await;
            let refusal = match accepted {
                Ok(answer) => match answer.status {
                    StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {
                        match answer.json().and_then(|written: WriteAnswer| {
                            let rev = parse_rev(written.rev.as_deref())?;
                            let is_edit = sealed.named(rev, link.endpoint());
                            is_edit.then_some(()).ok_or(TransportError::Misbehaved)
                        }) {
                            Ok(()) => {
                                nodes.saw(self.hash(), sealed.id(), sealed.state(), n);
                                return Ok(());
                            }
                            Err(error) => error.into(),
                        }
                    }
                    StatusCode::CONFLICT => match self.why_refused(link, sealed).await {
                        Ok(Refusal::Held(rev)) if sealed.named(rev, link.endpoint()) => {
                            nodes.saw(self.hash(), sealed.id(), sealed.state(), n);
                            return Ok(());
                        }
                        Ok(Refusal::Behind) => {
                            is_behind = true;
                            continue;
                        }
                        Ok(Refusal::Held(_) | Refusal::Conflict) => {
                            nodes.saw(self.hash(), sealed.id(), None, n);
                            return Err(WriteError::Conflict);
                        }
                        Err(error) => error,
                    },
                    StatusCode::PAYLOAD_TOO_LARGE => return Err(InvalidRecord::TooLarge.into()),
                    other => refused(other),
                },
                Err(error) => error,
            };
            if may_have_it(refusal) {
                sealed.doubt();
            }
            failure.get_or_insert(refusal);
        }
        if is_behind {
            // Nobody knows better who can be asked. Nothing of what they have is lost where all that the record grew from is known here.
            return match sealed.name_itself() {
                true => Ok(()),
                false => Err(SessionError::Behind.into()),
            };
        }
        match nodes.are_many() && sealed.is_unsure() {
            true => self.outcome(sealed).map(|_| ()),
            false => Err(failure.unwrap_or(SessionError::NoStorageNode).into()),
        }
    }

    /// Step 1 for many records. Says which were not accepted, in their order.
    async fn have_all_accepted(
        &self,
        sealed: &mut [SealedRecord],
    ) -> Result<Vec<Option<WriteError>>, WriteError> {
        let nodes = self.session().nodes();
        let edits: Vec<&Value> = sealed.iter().map(SealedRecord::edit).collect();
        let body = Bytes::from(json!({ "docs": edits }).to_string());
        let mut failure = None;
        let mut is_unsure = false;
        for n in nodes.writers() {
            let Some(link) = nodes.link(n) else { continue };
            let asking = self.request(link, Method::POST, "/_bulk_docs", Some(body.clone()));
            let said = match self.in_time(link, body.len(), asking).await {
                Ok(answer) if answer.status.is_success() => accepted_rows(&answer, sealed),
                Ok(answer) => Err(refused(answer.status)),
                Err(error) => Err(error),
            };
            let rows = match said {
                Ok(rows) => rows,
                Err(error) => {
                    is_unsure |= may_have_it(error);
                    failure.get_or_insert(error);
                    continue;
                }
            };
            let mut refusals = Vec::with_capacity(rows.len());
            for (sealed, row) in sealed.iter_mut().zip(rows) {
                if is_unsure {
                    sealed.doubt();
                }
                refusals.push(match row {
                    Ok(rev) if sealed.named(rev, link.endpoint()) => {
                        nodes.saw(self.hash(), sealed.id(), sealed.state(), n);
                        None
                    }
                    Ok(_) => Some(TransportError::Misbehaved.into()),
                    Err(error) => Some(error),
                });
            }
            return Ok(refusals);
        }
        match nodes.are_many() && is_unsure {
            true => Err(WriteError::Unconfirmed {
                reached: 0,
                asked: nodes.asked(),
            }),
            false => Err(failure.unwrap_or(SessionError::NoStorageNode).into()),
        }
    }

    /// Why a node has not accepted an edit.
    async fn why_refused(
        &self,
        link: &NodeLink,
        sealed: &SealedRecord,
    ) -> Result<Refusal, SessionError> {
        if !self.session().nodes().are_many() && !sealed.is_unsure() {
            return Ok(Refusal::Conflict);
        }
        let below = format!("{}?open_revs=all", path_of(sealed.id()));
        let answer = self.request(link, Method::GET, &below, None).await?;
        let rows: Vec<LeafRow> = match answer.status {
            StatusCode::OK => answer.json()?,
            StatusCode::NOT_FOUND => Vec::new(),
            other => return Err(refused(other)),
        };
        let leaves = rows.into_iter().filter_map(|row| row.ok);
        let leaves = leaves.map(|leaf| {
            Ok(Leaf {
                rev: parse_rev(Some(&leaf.rev))?,
                payload: leaf.payload,
            })
        });
        let leaves = leaves.collect::<Result<Vec<_>, TransportError>>()?;
        Ok(sealed.refused_for(&leaves))
    }

    /// Waits for a node no longer than others would take, if there are others.
    async fn in_time(
        &self,
        link: &NodeLink,
        bytes: usize,
        asking: impl Future<Output = Result<Answer, SessionError>>,
    ) -> Result<Answer, SessionError> {
        if !self.session().nodes().are_many() {
            return asking.await;
        }
        let seconds = u64::try_from(bytes / BYTES_A_SECOND).unwrap_or(0);
        let limit = WRITE_PATIENCE + Duration::from_secs(seconds);
        match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                link.gave_up();
                Err(TransportError::Timeout.into())
            }
        }
    }
}

/// Whether a write that failed so may have happened.
fn may_have_it(error: SessionError) -> bool {
    match error {
        SessionError::Transport(TransportError::Denied(_)) => false,
        SessionError::Transport(_) | SessionError::Refused { status: 500.. } => true,
        SessionError::Refused { .. }
        | SessionError::Expired
        | SessionError::Session(_)
        | SessionError::NoStorageNode
        | SessionError::Behind => false,
    }
}

/// The answer to `_bulk_docs`: a row for each document, in order.
fn accepted_rows(
    answer: &Answer,
    sealed: &[SealedRecord],
) -> Result<Vec<Result<Rev, WriteError>>, SessionError> {
    let rows: Vec<WriteAnswer> = answer.json()?;
    if rows.len() != sealed.len() {
        return Err(TransportError::Misbehaved.into());
    }
    rows.iter()
        .zip(sealed)
        .map(|(row, sealed)| match row.error.as_deref() {
            _ if row.id != sealed.id() => Err(TransportError::Misbehaved.into()),
            None => Ok(Ok(parse_rev(row.rev.as_deref())?)),
            Some("conflict") => Ok(Err(WriteError::Conflict)),
            Some(_) => Ok(Err(refused(StatusCode::FORBIDDEN).into())),
        })
        .collect()
}
