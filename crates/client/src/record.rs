//! Preparing a record to be saved: metadata and signature (`spec/protocol.md` §12).

use adyton_protocol::canonical_json::NotCanonical;
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::session::Session;

/// Largest record, in bytes of JSON.
pub const MAX_RECORD_BYTES: usize = 32 * 1024 * 1024;
/// Longest record id, in bytes.
pub const MAX_ID_BYTES: usize = 1024;

/// The record cannot be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// `_id` is not a text of acceptable length, or begins with an underscore.
    #[error(
        "`_id` must be a text of 1 to {MAX_ID_BYTES} bytes that does not begin with `_` and is not `.` or `..`"
    )]
    Id,
    /// It has a member that begins with an underscore and is not `_id` or `_rev`.
    #[error("a record has no members that begin with `_` but `_id` and `_rev`")]
    ReservedMember,
    /// It cannot be signed faithfully.
    #[error("the record cannot be signed: {0}")]
    NotCanonical(#[from] NotCanonical),
    /// It is longer than [`MAX_RECORD_BYTES`].
    #[error("the record is larger than {MAX_RECORD_BYTES} bytes")]
    TooLarge,
}

/// What a save means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// A new record: gets `insertedAt`, and an id if it has none.
    Insert,
    /// A new version of an existing record.
    Update,
    /// The last version: a tombstone that keeps its content, as the original writes it.
    Delete,
}

/// A signed record, ready to be sealed and sent.
#[derive(Debug)]
pub struct PreparedRecord {
    id: String,
    members: Map<String, Value>,
}

impl PreparedRecord {
    /// Fills in the metadata and signs. `modifiedAt` is always now; ids are random (version 4), not
    /// time-based as in the original: an id should not tell when and where it was made.
    pub fn new(
        mut members: Map<String, Value>,
        save: Save,
        schema: Option<&str>,
        session: &Session,
    ) -> Result<Self, InvalidRecord> {
        let id = match members.get("_id") {
            None | Some(Value::Null) => Uuid::new_v4().to_string(),
            Some(Value::String(id)) if is_record_id(id) => id.clone(),
            Some(_) => return Err(InvalidRecord::Id),
        };
        if members
            .keys()
            .any(|key| key.starts_with('_') && !matches!(key.as_str(), "_id" | "_rev"))
        {
            return Err(InvalidRecord::ReservedMember);
        }
        let now = session.clock().iso();
        members.insert("_id".to_owned(), id.clone().into());
        if let Some(schema) = schema {
            members.insert("schema".to_owned(), schema.into());
        }
        match save {
            Save::Insert => {
                members.insert("insertedAt".to_owned(), now.clone().into());
            }
            Save::Update => {}
            Save::Delete => {
                members.insert("_deleted".to_owned(), true.into());
            }
        }
        members.insert("modifiedAt".to_owned(), now.into());
        session
            .keyring()
            .sign_record(&mut members, session.did(), session.context())?;
        Ok(Self { id, members })
    }

    /// The record's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its members, signature included.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// Its members, given away.
    pub fn into_members(self) -> Map<String, Value> {
        self.members
    }

    /// Is it a tombstone?
    pub fn is_deleted(&self) -> bool {
        self.members.get("_deleted") == Some(&Value::Bool(true))
    }

    /// The JSON text that is sealed: everything, with the *previous* `_rev`.
    pub fn text(&self) -> Result<Zeroizing<Vec<u8>>, InvalidRecord> {
        // Maps with text keys always serialise.
        let text = Zeroizing::new(serde_json::to_vec(&self.members).unwrap_or_default());
        if text.len() > MAX_RECORD_BYTES {
            Err(InvalidRecord::TooLarge)
        } else {
            Ok(text)
        }
    }
}

/// Can this text be the id of a record?
pub fn is_record_id(id: &str) -> bool {
    // `.` and `..` are parts of a path that proxies take away: the request would reach something else.
    !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.starts_with('_') && !matches!(id, "." | "..")
}
