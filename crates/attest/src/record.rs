//! What a verifier saw, kept for later: evidence, the connection's marks, and the moment.
//!
//! Guarantees: every part is within its limit and decoded. Refuses to know whether it is true: a record is the word of
//! whoever kept it. Appraised again it shows that a TEE signed this evidence for these marks; that these were the marks
//! of a real connection, nobody but the keeper knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::binding::{Exporter, Nonce, Seen, Spki};
use crate::evidence::{Evidence, EvidenceError, MAX_EVIDENCE_JSON_BYTES};

/// Longest record that is read.
pub const MAX_RECORD_BYTES: usize = MAX_EVIDENCE_JSON_BYTES + 8 * 1024;

/// Longest address of a node.
const MAX_NODE_BYTES: usize = 512;

/// The format's version.
const VERSION: u8 = 1;

/// One look at a node.
#[derive(Clone, Debug)]
pub struct Record {
    /// The node's address, as the verifier was given it.
    pub node: String,
    /// The verifier's clock, to the millisecond.
    pub at: SystemTime,
    /// What its connection showed.
    pub seen: Seen,
    /// What the node said.
    pub evidence: Evidence,
}

impl Record {
    /// Reads a record; an unknown member is an error.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong);
        }
        let file: File<'_> = serde_json::from_slice(bytes).map_err(RecordError::Json)?;
        if file.version != VERSION {
            return Err(RecordError::Version {
                found: file.version,
            });
        }
        if file.node.len() > MAX_NODE_BYTES {
            return Err(RecordError::TooLong);
        }
        let spki = STANDARD.decode(&file.seen.spki);
        let spki = spki.ok().and_then(|der| Spki::from_der(&der).ok());
        let seen = Seen {
            spki: spki.ok_or(RecordError::Seen)?,
            exporter: Exporter::from_hex(&file.seen.exporter).ok_or(RecordError::Seen)?,
            nonce: match file.seen.nonce {
                None => None,
                Some(text) => Some(Nonce::from_hex(&text).ok_or(RecordError::Seen)?),
            },
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(file.at_ms));
        Ok(Self {
            node: file.node,
            at: at.ok_or(RecordError::Seen)?,
            seen,
            evidence: Evidence::from_json(file.evidence.get().as_bytes())
                .map_err(RecordError::Evidence)?,
        })
    }

    /// Writes the record.
    ///
    /// # Errors
    /// [`RecordError::Json`] when the evidence cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, RecordError> {
        let evidence = String::from_utf8_lossy(&self.evidence.to_json()).into_owned();
        let evidence = RawValue::from_string(evidence).map_err(RecordError::Json)?;
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = File {
            version: VERSION,
            node: self.node.clone(),
            at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            seen: Marks {
                spki: STANDARD.encode(self.seen.spki.as_der()),
                exporter: self.seen.exporter.to_string(),
                nonce: self.seen.nonce.map(|nonce| nonce.to_string()),
            },
            evidence: &evidence,
        };
        let mut text = serde_json::to_vec_pretty(&file).map_err(RecordError::Json)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: u8,
    node: String,
    at_ms: u64,
    seen: Marks,
    #[serde(borrow)]
    evidence: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marks {
    spki: String,
    exporter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

/// Why bytes are no record. The fault is whoever's that kept it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Over [`MAX_RECORD_BYTES`], or an address without an end.
    #[error("the record is longer than {MAX_RECORD_BYTES} bytes")]
    TooLong,
    /// Not the promised object.
    #[error("the record is not the promised json object")]
    Json(#[source] serde_json::Error),
    /// Another format.
    #[error("the record has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A mark that is none.
    #[error("the record's key, exporter, nonce or time cannot be read")]
    Seen,
    /// The evidence in it.
    #[error("the record's evidence cannot be read")]
    Evidence(#[source] EvidenceError),
}
