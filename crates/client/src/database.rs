//! One own encrypted database on a storage node (`spec/protocol.md` §§10, 11, 14).

use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseHash, DatabaseName, Permissions};
use bytes::Bytes;
use http::{Method, StatusCode};
use rand_core::{OsRng, TryRngCore};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::record::{InvalidRecord, PreparedRecord};
use crate::session::{NodeRequest, Session, SessionError};
use crate::transport::TransportError;

/// An own encrypted database. Borrowed from its session.
#[derive(Debug)]
pub struct Database<'s> {
    session: &'s Session,
    name: DatabaseName,
    hash: DatabaseHash,
}

/// What a storage node tells about a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DatabaseInfo {
    /// Documents that are not deleted.
    pub doc_count: u64,
    /// Tombstones.
    #[serde(default)]
    pub doc_del_count: u64,
    /// How large it is. Not every node says.
    #[serde(default)]
    pub sizes: DatabaseSizes,
}

/// How large a storage node says a database is (CouchDB API, `GET /{db}`, `sizes`), in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct DatabaseSizes {
    /// All documents, tombstones among them, uncompressed.
    #[serde(default)]
    pub external: Option<u64>,
}

impl DatabaseInfo {
    /// About how many bytes its records are once they are opened, as far as the node says: base64 makes four bytes of three,
    /// and a tombstone is as long as a record. `None` when the node does not say.
    #[must_use]
    pub fn plaintext_estimate(&self) -> Option<u64> {
        let all = self.doc_count.saturating_add(self.doc_del_count).max(1);
        let sealed = u128::from(self.sizes.external?);
        let plain = sealed * 3 / 4 * u128::from(self.doc_count) / u128::from(all);
        u64::try_from(plain).ok()
    }
}

/// A write was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The storage side does not work. Whether the write happened is not known after a time-out.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The record is not valid.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The revision given is not the current one.
    #[error("the record was changed meanwhile")]
    Conflict,
}

impl From<TransportError> for WriteError {
    fn from(error: TransportError) -> Self {
        Self::Session(error.into())
    }
}

#[derive(Deserialize)]
struct WriteAnswer {
    #[serde(default)]
    id: String,
    rev: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct SealedDocument {
    #[serde(rename = "_rev")]
    rev: String,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct FoundRows {
    rows: Vec<FoundRow>,
}

/// A row of `_all_docs` with `keys`: an id that was never used has no `id`, only an error.
#[derive(Deserialize)]
struct FoundRow {
    key: String,
    id: Option<String>,
    value: Option<FoundValue>,
}

#[derive(Deserialize)]
struct FoundValue {
    rev: String,
    #[serde(default)]
    deleted: bool,
}

impl<'s> Database<'s> {
    pub(crate) fn new(session: &'s Session, name: DatabaseName) -> Self {
        let hash = DatabaseHash::of(session.did(), session.context(), &name);
        Self {
            session,
            name,
            hash,
        }
    }

    /// Its private name.
    pub fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Its public name.
    pub fn hash(&self) -> &DatabaseHash {
        &self.hash
    }

    /// The session it belongs to.
    pub fn session(&self) -> &'s Session {
        self.session
    }

    /// Derives the cipher of its records.
    pub fn cipher(&self) -> RecordCipher {
        RecordCipher::of(&self.session.keyring().database_key(&self.name))
    }

    /// What the storage node has; `None` when the database does not exist there.
    pub async fn info(&self) -> Result<Option<DatabaseInfo>, SessionError> {
        let answer = self.request(Method::GET, "", None).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.json()?)),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(SessionError::Refused {
                status: other.as_u16(),
            }),
        }
    }

    /// Creates it on the storage node. Doing so again only sets the permissions again.
    pub async fn create(&self, permissions: &Permissions) -> Result<(), SessionError> {
        let body = json!({
            "databaseName": self.name.as_str(), "options": { "permissions": permissions },
        });
        let answer = self
            .session
            .node()
            .send_user("user/createDatabase", &body)
            .await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            other => Err(SessionError::Refused {
                status: other.as_u16(),
            }),
        }
    }

    /// Deletes it with everything in it.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let body = json!({ "databaseName": self.name.as_str() });
        let answer = self
            .session
            .node()
            .send_user("user/deleteDatabase", &body)
            .await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            other => Err(SessionError::Refused {
                status: other.as_u16(),
            }),
        }
    }

    /// Seals and stores one record. Returns when the node has it durably, with its new revision.
    pub async fn put(
        &self,
        record: &PreparedRecord,
        cipher: &RecordCipher,
    ) -> Result<Rev, WriteError> {
        let document = sealed_document(record, cipher)?;
        let id = url::form_urlencoded::byte_serialize(record.id().as_bytes())
            .collect::<String>()
            .replace('+', "%20");
        let body = Bytes::from(document.to_string());
        let answer = self
            .request(Method::PUT, &format!("/{id}"), Some(body))
            .await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {
                let written: WriteAnswer = answer.json()?;
                Ok(parse_rev(written.rev.as_deref())?)
            }
            StatusCode::CONFLICT => Err(WriteError::Conflict),
            StatusCode::PAYLOAD_TOO_LARGE => Err(InvalidRecord::TooLarge.into()),
            other => Err(SessionError::Refused {
                status: other.as_u16(),
            }
            .into()),
        }
    }

    /// Seals and stores many records in one request. The results are in the order of the records.
    pub async fn put_all(
        &self,
        records: &[PreparedRecord],
        cipher: &RecordCipher,
    ) -> Result<Vec<Result<Rev, WriteError>>, WriteError> {
        let documents: Vec<Value> = records
            .iter()
            .map(|record| sealed_document(record, cipher))
            .collect::<Result<_, _>>()?;
        let body = Bytes::from(json!({ "docs": documents }).to_string());
        let answer = self
            .request(Method::POST, "/_bulk_docs", Some(body))
            .await?;
        if !answer.status.is_success() {
            return Err(SessionError::Refused {
                status: answer.status.as_u16(),
            }
            .into());
        }
        let rows: Vec<WriteAnswer> = answer.json()?;
        if rows.len() != records.len() {
            return Err(TransportError::Misbehaved.into());
        }
        rows.iter()
            .zip(records)
            .map(|(row, record)| match row.error.as_deref() {
                _ if row.id != record.id() => Err(TransportError::Misbehaved.into()),
                None => Ok(Ok(parse_rev(row.rev.as_deref())?)),
                Some("conflict") => Ok(Err(WriteError::Conflict)),
                Some(_) => Ok(Err(SessionError::Refused { status: 403 }.into())),
            })
            .collect()
    }

    /// Reads and opens one record; none if there is none (any more), or it was not sealed with this key.
    pub async fn read(
        &self,
        id: &str,
        cipher: &RecordCipher,
    ) -> Result<Option<Map<String, Value>>, SessionError> {
        let path = url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
        let path = format!("/{}", path.replace('+', "%20"));
        let answer = self.request(Method::GET, &path, None).await?;
        match answer.status {
            StatusCode::OK => {
                let sealed: SealedDocument = answer.json()?;
                let opened = sealed
                    .payload
                    .and_then(|payload| cipher.open(&payload).ok());
                let record = opened.and_then(|text| serde_json::from_slice(&text).ok());
                Ok(record.map(|mut record: Map<String, Value>| {
                    // The storage node has the last word on it.
                    record.insert("_rev".to_owned(), sealed.rev.into());
                    record
                }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(SessionError::Refused {
                status: other.as_u16(),
            }),
        }
    }

    /// Which of these ids the database has ever held, deleted records included: in the order asked.
    pub async fn holds(&self, ids: &[&str]) -> Result<Vec<bool>, SessionError> {
        let found = self.find(ids).await?;
        Ok(found.iter().map(|row| row.id.is_some()).collect())
    }

    /// The revision that a record has now; `None` when there is no such record (any more).
    pub async fn revision(&self, id: &str) -> Result<Option<Rev>, SessionError> {
        let found = self.find(&[id]).await?;
        let value = found.into_iter().next().and_then(|row| row.value);
        match value.filter(|value| !value.deleted) {
            Some(value) => Ok(Some(parse_rev(Some(&value.rev))?)),
            None => Ok(None),
        }
    }

    async fn find(&self, ids: &[&str]) -> Result<Vec<FoundRow>, SessionError> {
        let body = Bytes::from(json!({ "keys": ids }).to_string());
        let answer = self.request(Method::POST, "/_all_docs", Some(body)).await?;
        if !answer.status.is_success() {
            return Err(SessionError::Refused {
                status: answer.status.as_u16(),
            });
        }
        let found: FoundRows = answer.json()?;
        let agrees = |(row, id): (&FoundRow, &&str)| row.key == **id;
        if found.rows.len() != ids.len() || !found.rows.iter().zip(ids).all(agrees) {
            return Err(TransportError::Misbehaved.into());
        }
        Ok(found.rows)
    }

    pub(crate) async fn open_feed(
        &self,
        query: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, SessionError> {
        let path = format!("{}/_changes?{query}", self.hash);
        self.session
            .node()
            .open_answer(NodeRequest::new(Method::GET, &path, None))
            .await
    }

    async fn request(
        &self,
        method: Method,
        below: &str,
        json: Option<Bytes>,
    ) -> Result<crate::transport::Answer, SessionError> {
        let path = format!("{}{below}", self.hash);
        self.session
            .node()
            .send(NodeRequest::new(method, &path, json))
            .await
    }
}

/// The document as it is stored: id, revision and deletion in clear, everything else in the payload.
fn sealed_document(record: &PreparedRecord, cipher: &RecordCipher) -> Result<Value, InvalidRecord> {
    let payload = cipher.seal(&record.text()?, &mut OsRng.unwrap_err());
    let mut document = json!({ "_id": record.id(), "payload": payload });
    if let Some(members) = document.as_object_mut() {
        if let Some(rev) = record.members().get("_rev") {
            members.insert("_rev".to_owned(), rev.clone());
        }
        if record.is_deleted() {
            members.insert("_deleted".to_owned(), true.into());
        }
    }
    Ok(document)
}

fn parse_rev(text: Option<&str>) -> Result<Rev, TransportError> {
    text.and_then(|text| text.parse().ok())
        .ok_or(TransportError::Misbehaved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> DatabaseInfo {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_size_of_the_records_is_estimated_from_what_the_node_says() {
        let sizes = r#""sizes":{"file":9,"external":4000,"active":1}"#;
        let whole = info(&format!(r#"{{"doc_count":10,"doc_del_count":0,{sizes}}}"#));
        assert_eq!(whole.plaintext_estimate(), Some(3000));
        let half = info(&format!(r#"{{"doc_count":5,"doc_del_count":5,{sizes}}}"#));
        assert_eq!(half.plaintext_estimate(), Some(1500));
        let silent = info(r#"{"doc_count":10}"#);
        assert_eq!(silent.plaintext_estimate(), None);
        let absurd = format!(
            r#"{{"doc_count":{max},"doc_del_count":{max},"sizes":{{"external":{max}}}}}"#,
            max = u64::MAX
        );
        assert!(info(&absurd).plaintext_estimate().is_some());
    }
}
