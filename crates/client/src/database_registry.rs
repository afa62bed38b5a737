//! The registry of a context's databases, kept in its own encrypted database (`spec/protocol.md` §13).

use adyton_protocol::database::{DatabaseName, Permissions};
use serde_json::{Map, Value, json};

use crate::database::{Database, WriteError};
use crate::record::{PreparedRecord, Save};
use crate::session::SessionError;

const SCHEMA: &str = "https://core.schemas.verida.io/storage/database/v0.1.0/schema.json";

/// Creates a database on its storage node and registers it. Both steps can be repeated: a database that
/// exists and a record that is there are left as they are.
pub async fn create_registered(
    database: &Database<'_>,
    permissions: &Permissions,
) -> Result<(), WriteError> {
    database.create(permissions).await?;
    let session = database.session();
    let registry = session.database(&DatabaseName::registry());
    registry.create(&Permissions::default()).await?;
    let record = registry_record(database, permissions);
    let prepared = PreparedRecord::new(record, Save::Insert, Some(SCHEMA), session)?;
    match registry.put(&prepared, &registry.cipher()).await {
        Ok(_) | Err(WriteError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes a database with everything in it, and then its record in the registry. Doing so again is no failure.
pub async fn destroy_registered(database: &Database<'_>) -> Result<(), WriteError> {
    match database.destroy().await {
        Ok(()) => {}
        // A database that the node does not have is destroyed already.
        Err(SessionError::Refused { status: 404 }) => {}
        Err(error) => return Err(error.into()),
    }
    let session = database.session();
    let registry = session.database(&DatabaseName::registry());
    let hash = database.hash().to_string();
    let Some(rev) = registry.revision(&hash).await? else {
        return Ok(());
    };
    let tombstone = [("_id", hash), ("_rev", rev.to_string())];
    let tombstone = tombstone.map(|(name, value)| (name.to_owned(), Value::String(value)));
    let tombstone = Map::from_iter(tombstone);
    let prepared = PreparedRecord::new(tombstone, Save::Delete, Some(SCHEMA), session)?;
    match registry.put(&prepared, &registry.cipher()).await {
        // Somebody else registers it anew at this moment.
        Ok(_) | Err(WriteError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

fn registry_record(database: &Database<'_>, permissions: &Permissions) -> Map<String, Value> {
    let session = database.session();
    let hash = database.hash().to_string();
    let record = json!({
        "_id": hash,
        "dbHash": hash,
        "dbName": database.name().as_str(),
        "endpointType": "VeridaDatabase",
        "did": session.did().lowercase(),
        "contextName": session.context().as_str(),
        "permissions": permissions,
        "encryptionKey": {
            "type": "x25519-xsalsa20-poly1305",
            "key": *session.keyring().database_key(database.name()).expose_hex(),
        },
        "endpoint": session.nodes().home().map(|home| home.endpoint().as_str()),
    });
    match record {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
