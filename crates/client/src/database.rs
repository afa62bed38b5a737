//! One own encrypted database on a storage node (`spec/protocol.md` §§10, 11, 14).

use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseHash, DatabaseName, Permissions};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::nodes::{Said, Sight, State};
use crate::record::InvalidRecord;
use crate::session::{NodeLink, NodeRequest, Session, SessionError};
use crate::transport::{Answer, TransportError};

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
    /// It reached fewer storage nodes than asked for. It may be there, and may come to be on the others.
    #[error(
        "the write reached {reached} of the {asked} storage nodes asked for: it may be there, and writing the same again is safe"
    )]
    Unconfirmed {
        /// How many have it for certain.
        reached: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// There are not as many storage nodes to write to as asked for.
    #[error(
        "only {usable} of the {asked} storage nodes asked for can be used: nothing was written"
    )]
    TooFewNodes {
        /// How many can be used.
        usable: usize,
        /// How many were asked for.
        asked: usize,
    },
}

impl From<TransportError> for WriteError {
    fn from(error: TransportError) -> Self {
        Self::Session(error.into())
    }
}

#[derive(Deserialize)]
struct SealedDocument {
    #[serde(rename = "_rev")]
    rev: String,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct NotFound {
    #[serde(default)]
    reason: String,
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

    /// What the storage node has whose feed is followed; `None` when the database does not exist there.
    pub async fn info(&self) -> Result<Option<DatabaseInfo>, SessionError> {
        let answer = self
            .request(self.session.home()?, Method::GET, "", None)
            .await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.json()?)),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(refused(other)),
        }
    }

    /// Creates it on the storage nodes: on as many as must have a write, on the others if they answer soon. Doing so again only sets
    /// the permissions again.
    pub async fn create(&self, permissions: &Permissions) -> Result<(), SessionError> {
        let nodes = self.session.nodes();
        let needed = nodes.asked().min(nodes.usable());
        let create = |link| self.create_at(link, permissions);
        nodes.everywhere(needed, create).await
    }

    pub(crate) async fn create_at(
        &self,
        link: &NodeLink,
        permissions: &Permissions,
    ) -> Result<(), SessionError> {
        let body = json!({
            "databaseName": self.name.as_str(), "options": { "permissions": permissions },
        });
        let answer = link.send_user("user/createDatabase", &body).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            other => Err(refused(other)),
        }
    }

    /// Deletes it with everything in it, on all storage nodes. When one of them does not answer, the others have deleted it all the same.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let nodes = self.session.nodes();
        nodes.forget(&self.hash);
        let alone = !nodes.are_many();
        let destroy = |link| async move {
            let body = json!({ "databaseName": self.name.as_str() });
            let answer = NodeLink::send_user(link, "user/deleteDatabase", &body).await?;
            match answer.status {
                StatusCode::OK => Ok(()),
                // A node that never had it, among others that have.
                StatusCode::NOT_FOUND if !alone => Ok(()),
                other => Err(refused(other)),
            }
        };
        nodes.everywhere(nodes.usable(), destroy).await
    }

    /// Reads and opens one record; none if there is none (any more), or it was not sealed with this key.
    pub async fn read(
        &self,
        id: &str,
        cipher: &RecordCipher,
    ) -> Result<Option<Map<String, Value>>, SessionError> {
        let path = path_of(id);
        let path = &*path;
        let nodes = self.session.nodes();
        let sight = nodes.sight(&self.hash, id);
        let known = sight.and_then(|sight| sight.state);
        let ask = |link| async move {
            let answer = self.request(link, Method::GET, path, None).await?;
            match answer.status {
                StatusCode::OK => {
                    let sealed: SealedDocument = answer.json()?;
                    let rev = parse_rev(Some(&sealed.rev))?;
                    Ok(said_of(known, Some(rev), Some(sealed)))
                }
                // That it was deleted is known; that there was nothing may be news that did not come.
                StatusCode::NOT_FOUND
                    if known.is_none_or(|known| known.is_deleted) && is_deletion(&answer) =>
                {
                    Ok(Said::Surely(None))
                }
                StatusCode::NOT_FOUND => Ok(Said::AtMost(None, None)),
                other => Err(refused(other)),
            }
        };
        let order = nodes.readers(sight.map(|sight| sight.at));
        let (_, sealed) = nodes.ask(order, ask).await?;
        if let Some(known) = known {
            let is_older = match &sealed {
                Some(sealed) => is_older(Some(parse_rev(Some(&sealed.rev))?), known),
                None => !known.is_deleted,
            };
            if is_older {
                return Err(SessionError::Behind);
            }
        }
        let Some(sealed) = sealed else {
            return Ok(None);
        };
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

    /// Which of these ids the database has ever held, deleted records included: in the order asked.
    pub async fn holds(&self, ids: &[&str]) -> Result<Vec<bool>, SessionError> {
        let found = self.find(ids, None).await?;
        Ok(found.iter().map(|row| row.id.is_some()).collect())
    }

    /// The revision that a record has now; `None` when there is no such record (any more).
    pub async fn revision(&self, id: &str) -> Result<Option<Rev>, SessionError> {
        let sight = self.session.nodes().sight(&self.hash, id);
        let found = self.find(&[id], sight).await?;
        let value = found.into_iter().next().and_then(|row| row.value);
        let rev = match &value {
            Some(value) => Some(parse_rev(Some(&value.rev))?),
            None => None,
        };
        let known = sight.and_then(|sight| sight.state);
        if known.is_some_and(|known| is_older(rev, known)) {
            return Err(SessionError::Behind);
        }
        Ok(rev.filter(|_| value.is_some_and(|value| !value.deleted)))
    }

    async fn find(
        &self,
        ids: &[&str],
        sight: Option<Sight>,
    ) -> Result<Vec<FoundRow>, SessionError> {
        let body = &Bytes::from(json!({ "keys": ids }).to_string());
        let nodes = self.session.nodes();
        let known = sight.and_then(|sight| sight.state);
        let ask = |link| async move {
            let asked = self.request(link, Method::POST, "/_all_docs", Some(body.clone()));
            let answer = asked.await?;
            if !answer.status.is_success() {
                return Err(refused(answer.status));
            }
            let found: FoundRows = answer.json()?;
            let agrees = |(row, id): (&FoundRow, &&str)| row.key == **id;
            if found.rows.len() != ids.len() || !found.rows.iter().zip(ids).all(agrees) {
                return Err(TransportError::Misbehaved.into());
            }
            let newest = found.rows.iter().filter_map(|row| row.value.as_ref());
            let newest = newest.filter_map(|value| value.rev.parse().ok()).max();
            Ok(said_of(known, newest, found.rows))
        };
        let order = nodes.readers(sight.map(|sight| sight.at));
        Ok(nodes.ask(order, ask).await?.1)
    }

    pub(crate) async fn open_feed(
        &self,
        query: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, SessionError> {
        let path = format!("{}/_changes?{query}", self.hash);
        let home = self.session.home()?;
        let answer = home.open_answer(NodeRequest::new(Method::GET, &path, None));
        let answer = answer.await?;
        if answer.status().is_success() {
            self.session.used(home, self.hash);
        }
        Ok(answer)
    }

    pub(crate) async fn request(
        &self,
        link: &NodeLink,
        method: Method,
        below: &str,
        json: Option<Bytes>,
    ) -> Result<Answer, SessionError> {
        let path = format!("{}{below}", self.hash);
        let answer = link.send(NodeRequest::new(method, &path, json)).await?;
        if answer.status.is_success() {
            self.session.used(link, self.hash);
        }
        Ok(answer)
    }
}

/// Whether an answer can be believed at once: that there is something, and that it is not older than what is known.
fn said_of<T>(known: Option<State>, newest: Option<Rev>, answer: T) -> Said<T> {
    match newest.is_some() && !known.is_some_and(|known| is_older(newest, known)) {
        true => Said::Surely(answer),
        false => Said::AtMost(newest, answer),
    }
}

/// Whether this cannot have come after what is known.
fn is_older(rev: Option<Rev>, known: State) -> bool {
    rev.map_or(0, |rev| rev.generation()) < known.rev.generation()
}

/// What CouchDB says of a document that is not there any more (CouchDB API, `GET /{db}/{docid}`, 404).
fn is_deletion(answer: &Answer) -> bool {
    let said = answer.json::<NotFound>();
    said.is_ok_and(|said| said.reason == "deleted")
}

/// The path of a document below its database.
pub(crate) fn path_of(id: &str) -> String {
    let id = url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
    format!("/{}", id.replace('+', "%20"))
}

pub(crate) fn refused(status: StatusCode) -> SessionError {
    SessionError::Refused {
        status: status.as_u16(),
    }
}

pub(crate) fn parse_rev(text: Option<&str>) -> Result<Rev, TransportError> {
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
