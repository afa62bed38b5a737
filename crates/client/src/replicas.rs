//! Telling further storage nodes what one has accepted.
//!
//! They keep it under the revision that it has (`new_edits: false`), nearest first, until enough have it. This can be repeated without
//! harm. Each holds it against the rights of whoever asks, as no node's word counts with another.
//!
//! Guarantees: a node gets a revision with all of its past, or on top of what is the only thing that it has: told a part of the past, it
//! would keep what it has of the rest as another version of the record, which comes back when this one is deleted. A database is made
//! on a node that lacks it with permissions that no single node can widen.

use std::collections::HashMap;
use std::sync::Arc;

use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Revisions;
use adyton_protocol::database::Permissions;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::database::{Database, refused};
use crate::endpoint::Endpoint;
use crate::sealed_record::{Replica, SealedRecord};
use crate::session::{NodeLink, SessionError};
use crate::transport::TransportError;
use crate::writing::WriteAnswer;

/// Records whose past is asked for in one request: their payloads come with it.
const PASTS_AT_ONCE: usize = 16;

/// What a node says that it lacks of a document, and what it has of less depth.
#[derive(Deserialize)]
struct Lacking {
    #[serde(default)]
    possible_ancestors: Vec<Rev>,
}

#[derive(Deserialize)]
struct Pasts {
    results: Vec<PastsOfOne>,
}

#[derive(Deserialize)]
struct PastsOfOne {
    id: String,
    docs: Vec<Past>,
}

#[derive(Deserialize)]
struct Past {
    ok: Option<PastDocument>,
}

#[derive(Deserialize)]
struct PastDocument {
    #[serde(rename = "_revisions")]
    revisions: Option<Revisions>,
}

#[derive(Deserialize)]
struct KnownDatabase {
    result: KnownPermissions,
}

#[derive(Deserialize)]
struct KnownPermissions {
    permissions: Permissions,
}

/// Records that are told, and who has each.
struct Telling {
    replicas: Vec<(Replica, Vec<Endpoint>)>,
}

impl Database<'_> {
    /// Tells further nodes, until as many as asked have all of these. What became of each is in the records.
    pub(crate) async fn replicate(&self, sealed: &mut [&mut SealedRecord]) {
        let nodes = self.session().nodes();
        let holds_all = |link: &NodeLink| {
            let mut held = sealed.iter();
            held.all(|sealed| sealed.is_held_by(link.endpoint()))
        };
        let mut order = nodes.readers(None);
        order.retain(|n| nodes.link(*n).is_some_and(|link| !holds_all(link)));
        let missing = nodes.asked().saturating_sub(nodes.usable() - order.len());
        if missing == 0 || sealed.is_empty() {
            return;
        }
        let held = |sealed: &SealedRecord| Some((sealed.replica()?, sealed.holders().to_vec()));
        let replicas: Option<Vec<_>> = sealed.iter().map(|sealed| held(sealed)).collect();
        let Some(replicas) = replicas else { return };
        let telling = Arc::new(Telling { replicas });
        let done = nodes
            .gather(order, missing, |link| {
                self.replicate_to(link, Arc::clone(&telling))
            })
            .await;
        for endpoint in done.into_iter().filter_map(|n| nodes.link(n)) {
            for sealed in sealed.iter_mut() {
                sealed.held_by(endpoint.endpoint());
            }
        }
    }

    async fn replicate_to(
        &self,
        link: &NodeLink,
        telling: Arc<Telling>,
    ) -> Result<(), SessionError> {
        let documents = match self.documents_for(link, &telling).await {
            Err(SessionError::Refused { status: 404 }) => {
                // It was away when the database was made.
                self.make_up(link).await?;
                self.documents_for(link, &telling).await?
            }
            documents => documents?,
        };
        let body = Bytes::from(json!({ "new_edits": false, "docs": documents }).to_string());
        let send = || self.request(link, Method::POST, "/_bulk_docs", Some(body.clone()));
        let mut answer = send().await?;
        if answer.status == StatusCode::NOT_FOUND {
            self.make_up(link).await?;
            answer = send().await?;
        }
        if !answer.status.is_success() {
            return Err(refused(answer.status));
        }
        // Only what was not taken in is told.
        let refusals: Vec<WriteAnswer> = answer.json()?;
        match refusals.iter().any(|row| row.error.is_some()) {
            true => Err(refused(StatusCode::FORBIDDEN)),
            false => Ok(()),
        }
    }

    /// The records as this node must be told them.
    async fn documents_for(
        &self,
        link: &NodeLink,
        telling: &Telling,
    ) -> Result<Vec<Value>, SessionError> {
        let unsure = || telling.replicas.iter().filter(|(told, _)| !told.is_whole);
        let lacking = match unsure().next() {
            Some(_) => self.lacking(link, unsure().map(|(told, _)| told)).await?,
            None => HashMap::new(),
        };
        // On top of the only thing that it has: what is before that, it knows.
        let is_next = |told: &Replica| {
            let has = lacking.get(&told.id).map(|has| &has.possible_ancestors[..]);
            told.is_whole || told.parent.is_some_and(|parent| has == Some(&[parent][..]))
        };
        let needed = unsure().filter(|(told, _)| lacking.contains_key(&told.id) && !is_next(told));
        let pasts = self.pasts(needed.collect()).await?;
        let mut documents = Vec::with_capacity(telling.replicas.len());
        for (told, _) in &telling.replicas {
            if is_next(told) {
                documents.push(told.short());
            } else if lacking.contains_key(&told.id) {
                let past = pasts.get(&told.id).and_then(|past| told.full(past));
                documents.push(past.ok_or(SessionError::Behind)?);
            }
        }
        Ok(documents)
    }

    /// Which of these records a node lacks, by id.
    async fn lacking(
        &self,
        link: &NodeLink,
        records: impl Iterator<Item = &Replica>,
    ) -> Result<HashMap<String, Lacking>, SessionError> {
        let asked: Map<String, Value> = records
            .map(|told| (told.id.clone(), json!([told.rev.to_string()])))
            .collect();
        let body = Bytes::from(Value::Object(asked).to_string());
        let answer = self.request(link, Method::POST, "/_revs_diff", Some(body));
        let answer = answer.await?;
        match answer.status.is_success() {
            true => Ok(answer.json()?),
            false => Err(refused(answer.status)),
        }
    }

    /// The pasts of these records, by id, as those tell them who have them.
    async fn pasts(
        &self,
        mut records: Vec<&(Replica, Vec<Endpoint>)>,
    ) -> Result<HashMap<String, Revisions>, SessionError> {
        let nodes = self.session().nodes();
        let mut pasts = HashMap::new();
        for link in nodes.writers().into_iter().filter_map(|n| nodes.link(n)) {
            let (held, others): (Vec<_>, Vec<_>) = records
                .into_iter()
                .partition(|(_, holders)| holders.contains(link.endpoint()));
            for some in held.chunks(PASTS_AT_ONCE) {
                let named = some
                    .iter()
                    .map(|(told, _)| json!({ "id": told.id, "rev": told.rev.to_string() }));
                let body = json!({ "docs": named.collect::<Vec<_>>() }).to_string();
                let below = "/_bulk_get?revs=true";
                let answer = self.request(link, Method::POST, below, Some(body.into()));
                let answer = answer.await?;
                if !answer.status.is_success() {
                    return Err(refused(answer.status));
                }
                let told: Pasts = answer.json()?;
                for PastsOfOne { id, docs } in told.results {
                    let mut found = docs.into_iter().filter_map(|past| past.ok?.revisions);
                    let past = found.next().ok_or(TransportError::Misbehaved)?;
                    pasts.insert(id, past);
                }
            }
            records = others;
        }
        Ok(pasts)
    }

    /// Creates the database on a node that does not have it, with the permissions that it has elsewhere: such that let the owner in alone
    /// by any other's word, wider ones only by that of most of the others, without one that says otherwise.
    async fn make_up(&self, link: &NodeLink) -> Result<(), SessionError> {
        let nodes = self.session().nodes();
        let body = &json!({ "databaseName": self.name().as_str() });
        let mut known: Option<Permissions> = None;
        let mut agreeing = 0;
        for other in nodes.writers().into_iter().filter_map(|n| nodes.link(n)) {
            if other.endpoint() == link.endpoint() {
                continue;
            }
            let told = other.send_user("user/databaseInfo", body).await;
            let Ok(answer) = told else { continue };
            if answer.status != StatusCode::OK {
                continue;
            }
            let KnownDatabase { result } = answer.json()?;
            let is_same = |known: &Permissions| *known == result.permissions;
            if !known.as_ref().is_none_or(is_same) {
                return Err(TransportError::Misbehaved.into());
            }
            agreeing += 1;
            let is_closed = result.permissions == Permissions::default();
            if is_closed || agreeing > nodes.others() / 2 {
                return self.create_at(link, &result.permissions).await;
            }
            known = Some(result.permissions);
        }
        Err(refused(StatusCode::NOT_FOUND))
    }
}
