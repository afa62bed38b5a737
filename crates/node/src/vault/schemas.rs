//! What a tenant's own schemas are: read out of the database `schemas`, over the published ones.
//!
//! Guarantees: what one tenant has is never part of what another has; a change is seen by whatever is asked after it was answered;
//! what is not fit to be used is not there (`adyton_client::schema`). Lives and is wiped with the tenant.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use adyton_client::schema::{MAX_OWN_BYTES, MAX_OWN_SCHEMAS, SchemaSet, Unfit};
use adyton_couch::selector::Selector;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::vault::Vault;
use crate::authz::{Permit, PermitAction, Resolve};
use crate::memory::{Query, Reservation, View};

/// The member of a record that names the schema.
const URI: &str = "uri";
/// The member that has it, as JSON text: what was put, to the byte.
const DOCUMENT: &str = "document";
/// Longest record, in bytes: the text with every byte escaped, and what records have beside.
const MAX_RECORD: usize = 6 * MAX_OWN_BYTES + 16 * 1024;
/// Most records of a database whose schemas are used; some of them may be of no use. Where there are more, none is looked at.
const MAX_RECORDS: usize = 4 * MAX_OWN_SCHEMAS;

/// Most bytes of a database of schemas that is read at once, and not when it is the tenant's turn.
const QUICK_BYTES: usize = 16 * 1024;

/// The schemas that a tenant may use.
#[derive(Debug)]
pub struct TenantSchemas {
    /// The published ones, and the tenant's own that are fit to be used.
    pub set: Arc<SchemaSet>,
    /// Those that are not, and why.
    pub unfit: BTreeMap<SchemaUri, Unfit>,
    texts: BTreeMap<SchemaUri, String>,
    /// Whether there are more records than are looked at: then no schema of the tenant's own can be used, or put.
    are_too_many: bool,
    /// Covers them.
    _counted: Option<Reservation>,
}

/// What was read, and whether it still holds.
pub(super) struct Read {
    of: Weak<LoadedDatabase>,
    changed: watch::Receiver<()>,
    schemas: Arc<TenantSchemas>,
}

impl Vault {
    /// The schemas that the permit's tenant may use.
    pub async fn schemas(
        &self,
        permit: &Permit<Resolve>,
    ) -> Result<Arc<TenantSchemas>, VaultError> {
        self.schemas_for(permit).await
    }

    /// Whether the permit's tenant could use this schema, beside or in place of those that there are.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn could_use(
        &self,
        permit: &Permit<Resolve>,
        uri: &SchemaUri,
        text: &str,
    ) -> Result<Result<(), Unfit>, VaultError> {
        let own = self.schemas(permit).await?;
        let (uri, text) = (uri.clone(), text.to_owned());
        let published = Arc::clone(self.published());
        self.compute_alone(permit.tenant(), move || own.with(&uri, &text, &published))
            .await
    }

    /// The same for whoever has a permit of another kind: a name in it is looked up anew before a record is held to what it means.
    pub(super) async fn schemas_for<A: PermitAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Arc<TenantSchemas>, VaultError> {
        let name = DatabaseName::own_schemas();
        let (tenant, database) = self.loaded_unseen(permit, &name).await?;
        let known = || {
            let read = tenant.schemas();
            read.as_ref().and_then(|read| read.current(&database))
        };
        if let Some(schemas) = known() {
            return Ok(schemas);
        }
        // All who ask at once wait for one of them.
        let _turn = tenant.turn_to_read_schemas().await;
        if let Some(schemas) = known() {
            return Ok(schemas);
        }
        // Before it is read: what changes meanwhile is read again.
        let changed = database.changed();
        let published = Arc::clone(self.published());
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.usage().plaintext <= QUICK_BYTES);
        let reading = self.compute(
            permit.tenant(),
            Arc::clone(&database),
            is_quick,
            move |database| TenantSchemas::read(database, &published),
        );
        let mut schemas = reading.await?;
        let bytes = schemas.bytes();
        if bytes > 0 {
            schemas._counted = Some(tenant.budget().reserve(bytes)?);
        }
        let schemas = Arc::new(schemas);
        *tenant.schemas() = Some(Read {
            of: Arc::downgrade(&database),
            changed,
            schemas: Arc::clone(&schemas),
        });
        Ok(schemas)
    }
}

impl Vault {
    /// What tells a watch that its schema may mean something else; nothing where it is published, or a whole database is watched.
    pub(super) async fn schemas_watched<A: PermitAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Option<watch::Receiver<()>>, VaultError> {
        let resource = permit.resource();
        let Some(uri) = resource.schema() else {
            return Ok(None);
        };
        if self.published().get(uri.as_str()).is_some() {
            return Ok(None);
        }
        // First this, then what they are: a change in between is seen.
        let name = DatabaseName::own_schemas();
        let changed = self.loaded_unseen(permit, &name).await?.1.changed();
        let schemas = self.schemas_for(permit).await?;
        match schemas.set.database_of(uri).as_ref() == Some(resource.database()) {
            true => Ok(Some(changed)),
            false => Err(VaultError::NotFound),
        }
    }
}

impl Read {
    fn current(&self, database: &Arc<LoadedDatabase>) -> Option<Arc<TenantSchemas>> {
        let is_same = std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(database));
        let is_unchanged = matches!(self.changed.has_changed(), Ok(false));
        (is_same && is_unchanged).then(|| Arc::clone(&self.schemas))
    }
}

impl TenantSchemas {
    fn read(database: &LoadedDatabase, published: &Arc<SchemaSet>) -> Result<Self, VaultError> {
        let mut query = Query::new(Selector::everything());
        query.limit = MAX_RECORDS;
        let documents = database.documents();
        if documents.len() > MAX_RECORDS {
            let mut none = Self::of(BTreeMap::new(), published);
            none.are_too_many = true;
            return Ok(none);
        }
        let page = documents.query(&View::whole_database(), &query)?;
        drop(documents);
        let short = page
            .documents
            .iter()
            .filter(|one| one.served_len() <= MAX_RECORD);
        let texts = short.filter_map(|record| {
            let mut text = Vec::with_capacity(record.served_len());
            record.write_to(&mut text);
            named(serde_json::from_slice(&text).ok()?)
        });
        Ok(Self::of(texts.collect(), published))
    }

    fn of(texts: BTreeMap<SchemaUri, String>, published: &Arc<SchemaSet>) -> Self {
        if texts.is_empty() {
            return Self {
                set: Arc::clone(published),
                unfit: BTreeMap::new(),
                texts,
                are_too_many: false,
                _counted: None,
            };
        }
        let documents = texts.iter().map(|(uri, text)| (uri.clone(), text.as_str()));
        let (set, unfit) = SchemaSet::with_own(published, documents);
        Self {
            set: Arc::new(set),
            unfit,
            texts,
            are_too_many: false,
            _counted: None,
        }
    }

    /// The same with one more, or one in place of another: whether it could be used, before it is written.
    ///
    /// # Errors
    /// Says why it could not.
    fn with(&self, uri: &SchemaUri, text: &str, published: &Arc<SchemaSet>) -> Result<(), Unfit> {
        published.own_name(uri)?;
        let is_one_more = !self.texts.contains_key(uri);
        if self.are_too_many || (is_one_more && self.texts.len() >= MAX_OWN_SCHEMAS) {
            return Err(Unfit::TooMany);
        }
        let mut texts = self.texts.clone();
        texts.insert(uri.clone(), text.to_owned());
        let mut next = Self::of(texts, published);
        if let Some(unfit) = next.unfit.remove(uri) {
            return Err(unfit);
        }
        // What others are made of stays what they can be made of.
        if let Some((_, unfit)) = next
            .unfit
            .into_iter()
            .find(|(uri, _)| !self.unfit.contains_key(uri))
        {
            return Err(unfit);
        }
        let schema = next.set.get(uri.as_str()).ok_or(Unfit::Reference)?;
        next.set.compile_own(schema).map(|_| ())
    }

    /// The text of a schema of the tenant's own, fit or not.
    pub fn text(&self, uri: &SchemaUri) -> Option<&str> {
        self.texts.get(uri).map(String::as_str)
    }

    /// What they take in memory: the texts twice, once as values, and what they are once compiled.
    fn bytes(&self) -> usize {
        let texts: usize = self.texts.values().map(String::len).sum();
        texts.saturating_mul(8).saturating_add(self.set.own_bytes())
    }
}

/// The record of a schema.
pub(crate) fn record_of(uri: &SchemaUri, text: &str) -> Map<String, Value> {
    Map::from_iter([
        ("_id".to_owned(), json!(uri.to_base64())),
        (URI.to_owned(), json!(uri.as_str())),
        (DOCUMENT.to_owned(), json!(text)),
    ])
}

/// The schema of a record. Its id is made of its name, so that no two records have the same one.
fn named(mut record: Map<String, Value>) -> Option<(SchemaUri, String)> {
    let uri: SchemaUri = record.get(URI)?.as_str()?.parse().ok()?;
    let is_its_own = record.get("_id").and_then(Value::as_str) == Some(&*uri.to_base64());
    match record.remove(DOCUMENT) {
        Some(Value::String(text)) if is_its_own => Some((uri, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use adyton_client::pull::{PlainBatch, PullBatch};
    use adyton_couch::rev::Rev;

    const DIVE: &str = "https://dive.example/dive/v1/schema.json";

    fn database(records: impl IntoIterator<Item = Map<String, Value>>) -> LoadedDatabase {
        let mut batch = PlainBatch::default();
        for record in records {
            let id = record["_id"].as_str().unwrap().to_owned();
            let text = Value::Object(record).to_string();
            batch.push(&id, Rev::LOWEST, text.as_bytes()).unwrap();
        }
        let database = LoadedDatabase::empty(Budget::new(1 << 30));
        let batch = PullBatch {
            records: batch,
            ..PullBatch::default()
        };
        database.apply_waiting(batch).unwrap();
        database
    }

    fn dive() -> (SchemaUri, String) {
        let text = json!({ "$id": DIVE, "title": "Dive", "database": { "name": "dives" } });
        (DIVE.parse().unwrap(), text.to_string())
    }

    fn junk(count: usize) -> impl Iterator<Item = Map<String, Value>> {
        (0..count).map(|n| Map::from_iter([("_id".to_owned(), json!(format!("junk-{n}")))]))
    }

    #[test]
    fn a_database_that_is_full_of_something_else_is_not_read_and_has_no_schemas() {
        let published = Arc::new(SchemaSet::embedded().unwrap());
        let (uri, text) = dive();
        let with_junk = |count| database(junk(count).chain([record_of(&uri, &text)]));
        let fits = with_junk(MAX_RECORDS - 1);
        let read = TenantSchemas::read(&fits, &published).unwrap();
        assert!(read.set.get(DIVE).is_some_and(|schema| schema.is_own()));
        assert_eq!(read.with(&uri, &text, &published), Ok(()));

        let full = with_junk(MAX_RECORDS);
        let read = TenantSchemas::read(&full, &published).unwrap();
        assert!(read.set.get(DIVE).is_none());
        assert_eq!(read.with(&uri, &text, &published), Err(Unfit::TooMany));
        let usage = full.documents().usage();
        assert_eq!(usage.indexes, 0, "nothing was gathered or sorted");
    }
}
