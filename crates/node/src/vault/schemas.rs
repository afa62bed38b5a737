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
/// Most records that are looked at; some of them may be of no use.
const MAX_RECORDS: usize = 4 * MAX_OWN_SCHEMAS;

/// The schemas that a tenant may use.
#[derive(Debug)]
pub struct TenantSchemas {
    /// The published ones, and the tenant's own that are fit to be used.
    pub set: Arc<SchemaSet>,
    /// Those that are not, and why.
    pub unfit: BTreeMap<SchemaUri, Unfit>,
    texts: BTreeMap<SchemaUri, String>,
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

    /// The same for whoever has a permit of another kind: a name in it is looked up anew before a record is held to what it means.
    pub(super) async fn schemas_for<A: PermitAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Arc<TenantSchemas>, VaultError> {
        let name = DatabaseName::own_schemas();
        let (tenant, database) = self.loaded_unseen(permit, &name).await?;
        if let Some(schemas) = tenant
            .schemas()
            .as_ref()
            .and_then(|read| read.current(&database))
        {
            return Ok(schemas);
        }
        // Before it is read: what changes meanwhile is read again.
        let changed = database.changed();
        let mut schemas = TenantSchemas::read(&database, self.published())?;
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
        let page = database
            .documents()
            .query(&View::whole_database(), &query)?;
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
                _counted: None,
            };
        }
        let documents = texts.iter().map(|(uri, text)| (uri.clone(), text.as_str()));
        let (set, unfit) = SchemaSet::with_own(published, documents);
        Self {
            set: Arc::new(set),
            unfit,
            texts,
            _counted: None,
        }
    }

    /// The same with one more, or one in place of another: whether it could be used, before it is written.
    ///
    /// # Errors
    /// Says why it could not.
    pub fn with(
        &self,
        uri: &SchemaUri,
        text: &str,
        published: &Arc<SchemaSet>,
    ) -> Result<(), Unfit> {
        published.own_name(uri)?;
        if !self.texts.contains_key(uri) && self.texts.len() >= MAX_OWN_SCHEMAS {
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
