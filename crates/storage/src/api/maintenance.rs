//! What an owner does to a database as a whole: how much it remembers, compaction, purging.

use adyton_couch::limits::REVS_LIMIT;
use adyton_couch::wire::{CouchError, Purge};
use http::StatusCode;
use serde_json::{Map, json};

use super::App;
use super::asked::Admitted;
use super::documents::Done;
use super::reply;
use crate::access::Permit;
use crate::store::blocking;

/// Bytes of a body that is one number.
const MAX_NUMBER_BYTES: usize = 64;

impl App {
    pub(super) async fn revs_limit(&self, permit: &Permit) -> Done {
        let file = self.databases.file(permit).await?;
        let limit = blocking(move || Ok(file.view()?.counters.revs_limit())).await?;
        Ok(reply::json(StatusCode::OK, &limit))
    }

    pub(super) async fn set_revs_limit(&self, asked: Admitted) -> Done {
        asked.rights().design()?;
        let (body, permit, _head) = asked.read(self, MAX_NUMBER_BYTES).await?;
        permit.rights().design()?;
        let limit = serde_json::from_slice(body.as_slice())
            .ok()
            .filter(|limit| (1..=REVS_LIMIT).contains(limit))
            .ok_or(CouchError::bad_request(
                "`_revs_limit` must be a whole number from 1 to 1000.",
            ))?;
        let file = self.databases.file(&permit).await?;
        file.set_revs_limit(limit).await?;
        Ok(reply::json(StatusCode::OK, &json!({"ok": true})))
    }

    /// Replaced bodies are gone already, with the write that replaced them. What is left to do is to forget ancestors beyond the
    /// limit, and to shrink the file.
    pub(super) async fn compact(&self, permit: &Permit) -> Done {
        permit.rights().design()?;
        self.databases.compact(permit).await?;
        Ok(reply::json(StatusCode::ACCEPTED, &json!({"ok": true})))
    }

    pub(super) async fn purge(&self, asked: Admitted) -> Done {
        asked.rights().design()?;
        let (body, permit, _head) = asked.read(self, self.limits.body_bytes).await?;
        permit.rights().design()?;
        let wanted = Purge::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(&permit).await?;
        let purged: Map<String, serde_json::Value> = file
            .purge(wanted.0)
            .await?
            .into_iter()
            .map(|(id, revs)| (id.as_str().to_owned(), json!(revs)))
            .collect();
        let answer = json!({"purge_seq": null, "purged": purged});
        Ok(reply::json(StatusCode::CREATED, &answer))
    }
}
