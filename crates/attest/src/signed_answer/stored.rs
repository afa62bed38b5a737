//! An answer with the request it answers, kept as a JSON file: what an auditor looks at later.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// Longest file that is read.
pub const MAX_STORED_BYTES: usize = 64 * 1024 * 1024;

/// The version of the file's form.
const VERSION: u8 = 1;

/// An exchange as whoever asked saw it. Nothing in it is believed before [`super::verify`] said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The request's method.
    pub method: String,
    /// The request's URI, with `https://`, the authority as it was asked for, path and query.
    pub target_uri: String,
    /// The request's `Content-Digest`, if it had a body.
    pub request_digest: Option<String>,
    /// The request's body.
    pub request_body: Vec<u8>,
    /// The answer's status.
    pub status: u16,
    /// The answer's headers by their names in lower case. Those that no signature covers may be left out.
    pub headers: BTreeMap<String, String>,
    /// The answer's trailers, the same way.
    pub trailers: BTreeMap<String, String>,
    /// The answer's body.
    pub body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    v: u8,
    request: Request,
    answer: Answer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    target_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_digest: Option<String>,
    #[serde(default)]
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    trailers: BTreeMap<String, String>,
    body: String,
}

impl StoredAnswer {
    /// Reads a file.
    ///
    /// # Errors
    /// [`StoredAnswerError`] says what is wrong with it.
    pub fn from_json(file: &[u8]) -> Result<Self, StoredAnswerError> {
        if file.len() > MAX_STORED_BYTES {
            return Err(StoredAnswerError::TooLong);
        }
        let file: File = serde_json::from_slice(file).map_err(StoredAnswerError::Json)?;
        if file.v != VERSION {
            return Err(StoredAnswerError::Version { found: file.v });
        }
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| StoredAnswerError::Base64);
        Ok(Self {
            request_body: bytes(&file.request.body)?,
            body: bytes(&file.answer.body)?,
            method: file.request.method,
            target_uri: file.request.target_uri,
            request_digest: file.request.content_digest,
            status: file.answer.status,
            headers: lower(file.answer.headers)?,
            trailers: lower(file.answer.trailers)?,
        })
    }

    /// Writes a file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let file = File {
            v: VERSION,
            request: Request {
                method: self.method.clone(),
                target_uri: self.target_uri.clone(),
                content_digest: self.request_digest.clone(),
                body: STANDARD.encode(&self.request_body),
            },
            answer: Answer {
                status: self.status,
                headers: self.headers.clone(),
                trailers: self.trailers.clone(),
                body: STANDARD.encode(&self.body),
            },
        };
        // A struct of strings and numbers: serialising it cannot fail.
        serde_json::to_vec(&file).unwrap_or_default()
    }
}

fn lower(fields: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, StoredAnswerError> {
    let count = fields.len();
    let fields: BTreeMap<_, _> = fields
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    if fields.len() == count {
        Ok(fields)
    } else {
        Err(StoredAnswerError::Doubled)
    }
}

/// Why a file is no stored answer. The fault is its writer's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredAnswerError {
    /// Over the limit.
    #[error("the stored answer is longer than {MAX_STORED_BYTES} bytes")]
    TooLong,
    /// Not the JSON object that is described.
    #[error("the stored answer is not the described json object")]
    Json(#[source] serde_json::Error),
    /// A version this code does not know.
    #[error("the stored answer has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A body is not base64.
    #[error("a body in the stored answer is not base64")]
    Base64,
    /// Twice the same header.
    #[error("the stored answer has a header twice")]
    Doubled,
}
