//! Writing: what is changed is checked, signed, sealed, durable, and only then visible.

use std::sync::Arc;

use adyton_client::database::{Database, WriteError};
use adyton_client::database_registry;
use adyton_client::pull::{PlainBatch, PullBatch};
use adyton_client::record::{InvalidRecord, PreparedRecord, Save};
use adyton_couch::rev::Rev;
use adyton_protocol::database::Permissions;
use adyton_protocol::schema::SchemaUri;
use serde_json::{Map, Value};

use super::checking::{Checked, check};
use super::{BulkSaved, Change, DatabaseTask, MAX_ECHOES, Reach, Saved};
use crate::memory::View;
use crate::vault::error::VaultError;

impl DatabaseTask {
    pub(super) async fn carry_out(
        &mut self,
        reach: &Reach,
        change: Change,
    ) -> Result<Saved, VaultError> {
        let session = Arc::clone(&self.session);
        let (members, save) = self.members_of(reach, change)?;
        let mut prepared = self.prepare(reach, members, save)?;
        let is_new_version = save != Save::Delete;
        let text = prepared.text()?;
        if is_new_version {
            let checked = self.check(reach, vec![prepared], text.len()).await?;
            prepared = match checked.into_iter().next() {
                Some((valid, None)) => valid,
                Some((_, Some(invalid))) => return Err(VaultError::Schema(invalid)),
                None => return Err(VaultError::Stopped),
            };
        }
        // Room first: a write that could not be shown afterwards is not begun. Who deletes makes room.
        let room = match is_new_version {
            true => Some(self.budget.reserve(text.len())?),
            false => None,
        };
        let database = session.database(&self.name);
        if !self.exists {
            self.create(&database).await?;
        }
        let rev = match database.put(&prepared, &self.cipher).await {
            Ok(rev) => rev,
            Err(WriteError::Conflict) => {
                return Err(self.conflict(reach, &database, prepared.id()).await);
            }
            Err(error) => return Err(error.into()),
        };
        self.expect_echo(prepared.id(), rev);
        drop(room);
        let mut records = PlainBatch::with_capacity(text.len() + prepared.id().len());
        if prepared.is_deleted() {
            records.remove(prepared.id(), rev);
        } else {
            // Our own text is a record under its own id.
            records
                .push(prepared.id(), rev, &text)
                .map_err(|_| VaultError::Stopped)?;
        }
        let batch = PullBatch {
            records,
            ..PullBatch::default()
        };
        let shown = self.loaded.apply(batch).await;
        if shown.is_err() {
            // It is durable, so it is no failure; the feed must bring it, and be the one that finds no room.
            self.echoes.remove(prepared.id());
        }
        let mut record = prepared.into_members();
        record.insert("_rev".to_owned(), rev.to_string().into());
        Ok(Saved { record, rev })
    }

    /// Writes many records with one request. Nothing is written unless all of them are valid; what then collides is
    /// told of each.
    pub(super) async fn carry_out_all(
        &mut self,
        reach: &Reach,
        records: Vec<Map<String, Value>>,
    ) -> Result<BulkSaved, VaultError> {
        let session = Arc::clone(&self.session);
        let mut outcomes: Vec<Option<Result<Saved, VaultError>>> = Vec::new();
        let (mut prepared, mut places) = (Vec::new(), Vec::new());
        let mut invalid = Vec::new();
        let mut bytes = 0;
        for (at, record) in records.into_iter().enumerate() {
            let change = match record.get("_rev") {
                Some(Value::String(_)) => Change::Update {
                    id: record
                        .get("_id")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                    record,
                    force: false,
                },
                _ => Change::Create { record },
            };
            let ready = self
                .members_of(reach, change)
                .and_then(|(members, save)| self.prepare(reach, members, save))
                .and_then(|record| Ok((record.text()?.len(), record)));
            match ready {
                Ok((length, record)) => {
                    bytes += length;
                    outcomes.push(None);
                    prepared.push(record);
                    places.push(at);
                }
                Err(error @ VaultError::Record(_)) => {
                    invalid.push((at, error));
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let checked = self.check(reach, prepared, bytes).await?;
        let mut prepared = Vec::with_capacity(checked.len());
        for ((record, broken), at) in checked.into_iter().zip(&places) {
            match broken {
                Some(broken) => invalid.push((*at, VaultError::Schema(broken))),
                None => prepared.push(record),
            }
        }
        invalid.sort_by_key(|(at, _)| *at);
        if !invalid.is_empty() {
            return Err(VaultError::Bulk(invalid));
        }
        if !prepared.is_empty() {
            let room = self.budget.reserve(bytes)?;
            let database = session.database(&self.name);
            if !self.exists {
                self.create(&database).await?;
            }
            let written = database.put_all(&prepared, &self.cipher).await?;
            drop(room);
            let mut shown = PlainBatch::with_capacity(bytes);
            for ((record, written), at) in prepared.into_iter().zip(written).zip(places) {
                let outcome = match written {
                    Ok(rev) => {
                        self.expect_echo(record.id(), rev);
                        let text = record.text()?;
                        shown
                            .push(record.id(), rev, &text)
                            .map_err(|_| VaultError::Stopped)?;
                        let mut record = record.into_members();
                        record.insert("_rev".to_owned(), rev.to_string().into());
                        Ok(Saved { record, rev })
                    }
                    Err(WriteError::Conflict) => {
                        Err(self.conflict(reach, &database, record.id()).await)
                    }
                    Err(error) => Err(error.into()),
                };
                if let Some(place) = outcomes.get_mut(at) {
                    *place = Some(outcome);
                }
            }
            let ids: Vec<Box<str>> = shown.ids().map(Into::into).collect();
            let batch = PullBatch {
                records: shown,
                ..PullBatch::default()
            };
            if self.loaded.apply(batch).await.is_err() {
                // Durable all the same: the feed must bring it.
                for id in ids {
                    self.echoes.remove(&*id);
                }
            }
        }
        let outcomes = outcomes.into_iter();
        Ok(outcomes
            .map(|outcome| outcome.unwrap_or(Err(VaultError::Stopped)))
            .collect())
    }

    /// Ends the database on its storage node, and takes it out of the registry.
    pub(super) async fn destroy(&mut self) -> Result<(), VaultError> {
        let session = Arc::clone(&self.session);
        database_registry::destroy_registered(&session.database(&self.name)).await?;
        Ok(())
    }

    /// Signs a record.
    fn prepare(
        &self,
        reach: &Reach,
        members: Map<String, Value>,
        save: Save,
    ) -> Result<PreparedRecord, VaultError> {
        let session = &self.session;
        let schema_text = reach.schema.as_ref().map(SchemaUri::as_str);
        Ok(match save {
            Save::Delete => {
                // A tombstone keeps the content, as the original's does; of a record that cannot be signed it keeps
                // the name alone, because what is to be deleted must not stay for that.
                let [id, rev] = ["_id", "_rev"].map(|name| {
                    (
                        name.to_owned(),
                        members.get(name).cloned().unwrap_or_default(),
                    )
                });
                PreparedRecord::new(members, save, schema_text, session).or_else(|_| {
                    PreparedRecord::new(Map::from_iter([id, rev]), save, schema_text, session)
                })?
            }
            _ => PreparedRecord::new(members, save, schema_text, session)?,
        })
    }

    /// Holds new versions of records to the schema of what the change may reach, if there is one.
    async fn check(
        &self,
        reach: &Reach,
        records: Vec<PreparedRecord>,
        bytes: usize,
    ) -> Result<Checked<PreparedRecord>, VaultError> {
        let Some(schema) = reach.schema.as_ref().filter(|_| !records.is_empty()) else {
            let unchecked = records.into_iter();
            return Ok(unchecked.map(|record| (record, None)).collect());
        };
        let turns = (&self.around.computations, &self.tenant);
        let value_of = |record: &PreparedRecord| Value::Object(record.members().clone());
        check(turns, &reach.schemas, schema, records, bytes, value_of).await
    }

    /// What is told of a collision. The feed may not have brought yet what we collided with. Not knowing it is no failure;
    /// and whether it is of this schema can be known of what is here alone.
    async fn conflict(&self, reach: &Reach, database: &Database<'_>, id: &str) -> VaultError {
        let may_know = reach.view.is_whole_database() || self.loaded.rev(&reach.view, id).is_ok();
        let current = match may_know {
            true => database
                .revision(id)
                .await
                .ok()
                .flatten()
                .or_else(|| self.current(id)),
            false => None,
        };
        VaultError::Conflict { current }
    }

    fn expect_echo(&mut self, id: &str, rev: Rev) {
        if self.echoes.len() < MAX_ECHOES {
            self.echoes.insert(id.to_owned(), rev);
        }
    }

    /// The members to save, checked against what is in memory.
    fn members_of(
        &self,
        reach: &Reach,
        change: Change,
    ) -> Result<(Map<String, Value>, Save), VaultError> {
        match change {
            Change::Create { mut record } => {
                record.remove("_rev");
                if let Some(Value::String(id)) = record.get("_id")
                    && self.current(id).is_some()
                {
                    // That the id is taken cannot be hidden; what has it is told to those who may see it.
                    let current = self.loaded.rev(&reach.view, id).ok();
                    return Err(VaultError::Conflict { current });
                }
                Ok((record, Save::Insert))
            }
            Change::Update {
                id,
                mut record,
                force,
            } => {
                let current = self.loaded.rev(&reach.view, &id)?;
                let named = record.get("_id").and_then(Value::as_str).unwrap_or(&id);
                if named != id {
                    return Err(InvalidRecord::Id.into());
                }
                let given = record
                    .get("_rev")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                if !force && given.as_deref() != Some(current.to_string().as_str()) {
                    return Err(VaultError::Conflict {
                        current: Some(current),
                    });
                }
                record.insert("_id".to_owned(), id.into());
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Update))
            }
            Change::Patch {
                id,
                patch,
                expected,
            } => {
                let (mut record, current) = self.whole(reach, &id, expected.as_deref())?;
                merge_patch(&mut record, patch);
                if record.get("_id").and_then(Value::as_str) != Some(&*id) {
                    return Err(InvalidRecord::Id.into());
                }
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Update))
            }
            Change::Delete { id, expected } => {
                let (mut record, current) = self.whole(reach, &id, expected.as_deref())?;
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Delete))
            }
        }
    }

    /// All of a record that the view shows, if it still has the expected revision.
    fn whole(
        &self,
        reach: &Reach,
        id: &str,
        expected: Option<&str>,
    ) -> Result<(Map<String, Value>, Rev), VaultError> {
        let current = self.loaded.rev(&reach.view, id)?;
        if expected.is_some_and(|expected| expected != current.to_string()) {
            return Err(VaultError::Conflict {
                current: Some(current),
            });
        }
        let document = self.loaded.get(&View::whole_database(), id)?;
        let record =
            serde_json::from_slice(document.object()).map_err(|_| VaultError::Unreadable)?;
        Ok((record, current))
    }

    /// The revision of a record, whoever may see it.
    fn current(&self, id: &str) -> Option<Rev> {
        self.loaded.documents().rev(&View::whole_database(), id)
    }

    async fn create(&mut self, database: &Database<'_>) -> Result<(), VaultError> {
        database_registry::create_registered(database, &Permissions::default()).await?;
        self.exists = true;
        Ok(())
    }
}

/// Changes a record as a merge patch says (RFC 7396 section 2). The nesting is that of JSON that was parsed: limited.
fn merge_patch(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let member = target.entry(name).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge_patch(member, patch);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_does_what_the_examples_of_its_rfc_say() {
        // RFC 7396 appendix A, those whose target and patch are objects.
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
                panic!("objects")
            };
            merge_patch(&mut target, patch);
            assert_eq!(Value::Object(target), result);
        }
    }
}
