//! `_bulk_docs`, `_bulk_get`, `_revs_diff`: many documents in one request.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::bounded::{Bounded, TOO_MANY};
use super::error::{CouchError, ErrorKind};
use crate::document::DocumentId;
use crate::limits::{
    MAX_BULK_ITEMS, MAX_LEAVES, MAX_PURGED_DOCUMENTS, MAX_PURGED_REVS, MAX_REVS_DIFF_REVS,
};
use crate::rev::Rev;

/// `_bulk_docs`: documents to write, each still JSON text.
#[derive(Debug)]
pub struct BulkDocs<'a> {
    /// The documents.
    pub docs: Vec<&'a RawValue>,
    /// True: each is an edit of ours to check. False: each is history made elsewhere, to merge.
    pub new_edits: bool,
}

impl<'a> BulkDocs<'a> {
    /// Reads the body of the request.
    pub fn parse(body: &'a [u8]) -> Result<Self, CouchError> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            docs: Option<Bounded<&'a RawValue, MAX_BULK_ITEMS>>,
            #[serde(default)]
            new_edits: Option<bool>,
        }
        let body: Body<'a> = read(body)?;
        let docs = body.docs.ok_or(CouchError::bad_request(
            "POST body must include `docs` parameter.",
        ))?;
        Ok(Self {
            docs: docs.0,
            new_edits: body.new_edits.unwrap_or(true),
        })
    }
}

/// One line of the answer to `_bulk_docs`, and the answer to a single write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Always true.
    pub ok: bool,
    /// The document.
    pub id: DocumentId,
    /// Its new revision.
    pub rev: Rev,
}

/// `_bulk_get`: revisions to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkGet {
    /// What to read.
    pub docs: Vec<BulkGetItem>,
}

/// One revision to read; the winner when none is named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BulkGetItem {
    /// The document.
    pub id: DocumentId,
    /// The revision.
    #[serde(default)]
    pub rev: Option<Rev>,
    /// Attachments that came after these revisions are told with their content, the others as stubs.
    #[serde(default)]
    pub atts_since: Option<Bounded<Rev, MAX_LEAVES>>,
}

impl BulkGet {
    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        #[derive(Deserialize)]
        struct Body {
            docs: Bounded<BulkGetItem, MAX_BULK_ITEMS>,
        }
        let body: Body = read(body)?;
        Ok(Self { docs: body.docs.0 })
    }
}

/// `_revs_diff`: revisions that a peer has, by document; each document once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevsDiff(pub Vec<(DocumentId, Vec<Rev>)>);

impl RevsDiff {
    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        read(body)
    }

    /// Reads the body of `_purge`, which has the same form and closer limits.
    pub fn parse_purge(body: &[u8]) -> Result<Self, CouchError> {
        let purge = Self::parse(body)?;
        let revs: usize = purge.0.iter().map(|(_, revs)| revs.len()).sum();
        if purge.0.len() > MAX_PURGED_DOCUMENTS {
            return Err(CouchError::bad_request(
                "Exceeded maximum number of documents.",
            ));
        }
        if revs > MAX_PURGED_REVS {
            return Err(CouchError::bad_request(
                "Exceeded maximum number of revisions.",
            ));
        }
        Ok(purge)
    }
}

impl<'de> Deserialize<'de> for RevsDiff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RevsDiff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of document ids, each with a list of revisions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RevsDiff, A::Error> {
                let mut out = Vec::new();
                let mut named = HashSet::new();
                let mut revs_in_all = 0;
                while let Some(id) = map.next_key::<DocumentId>()? {
                    let revs: Bounded<Rev, MAX_REVS_DIFF_REVS> = map.next_value()?;
                    revs_in_all += revs.0.len();
                    if out.len() == MAX_BULK_ITEMS || revs_in_all > MAX_REVS_DIFF_REVS {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    // Each name costs a look at the document, however many revisions there are with it.
                    if !named.insert(id.clone()) {
                        return Err(de::Error::custom("a document is named twice"));
                    }
                    out.push((id, revs.0));
                }
                Ok(RevsDiff(out))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CouchError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.to_string().starts_with(TOO_MANY) {
            CouchError::new(ErrorKind::TooLarge, "The request has too many items.")
        } else if error.is_data() {
            CouchError::bad_request("The request body has the wrong shape.")
        } else {
            CouchError::bad_request("invalid UTF-8 JSON")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    #[test]
    fn documents_stay_json_text() {
        let body = br#"{"docs":[{"_id":"a", "n":1.0},{}],"new_edits":false,"w":1}"#;
        let bulk = BulkDocs::parse(body).unwrap();
        assert_eq!(bulk.docs[0].get(), r#"{"_id":"a", "n":1.0}"#);
        assert!(!bulk.new_edits);
        assert!(BulkDocs::parse(br#"{"docs":[]}"#).unwrap().new_edits);
    }

    #[test]
    fn a_request_without_documents_or_of_the_wrong_shape_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            "{\"docs\":1}",
            "{\"docs\":[}",
            "{\"docs\":[],\"new_edits\":1}",
        ] {
            assert_eq!(
                BulkDocs::parse(body.as_bytes()).unwrap_err().kind,
                ErrorKind::BadRequest
            );
        }
    }

    #[test]
    fn one_item_over_the_limit_is_too_large() {
        let body = |n| format!("{{\"docs\":[{}]}}", vec!["0"; n].join(","));
        assert!(BulkDocs::parse(body(MAX_BULK_ITEMS).as_bytes()).is_ok());
        let error = BulkDocs::parse(body(MAX_BULK_ITEMS + 1).as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }

    #[test]
    fn one_document_or_revision_over_the_limit_of_a_purge_is_refused() {
        let documents = |n: usize| {
            let entries: Vec<String> = (0..n).map(|i| format!("\"{i}\":[]")).collect();
            RevsDiff::parse_purge(format!("{{{}}}", entries.join(",")).as_bytes())
        };
        assert!(documents(MAX_PURGED_DOCUMENTS).is_ok());
        assert!(documents(MAX_PURGED_DOCUMENTS + 1).is_err());
        let revs = |n: usize| {
            let list = vec![format!("\"{REV}\""); n].join(",");
            RevsDiff::parse_purge(format!("{{\"a\":[{list}]}}").as_bytes())
        };
        assert!(revs(MAX_PURGED_REVS).is_ok() && revs(MAX_PURGED_REVS + 1).is_err());
    }

    #[test]
    fn a_document_is_named_once() {
        let body = format!(r#"{{"a":["{REV}"],"b":[],"a":["{REV}"]}}"#);
        let error = RevsDiff::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadRequest);
    }

    #[test]
    fn revisions_are_read() {
        let body = format!(r#"{{"a":["{REV}"],"b":[]}}"#);
        let diff = RevsDiff::parse(body.as_bytes()).unwrap();
        assert_eq!(diff.0[0].1, [REV.parse().unwrap()]);
        assert!(RevsDiff::parse(br#"{"a":["x"]}"#).is_err());
        let body = format!(r#"{{"docs":[{{"id":"a","rev":"{REV}"}},{{"id":"b"}}]}}"#);
        let get = BulkGet::parse(body.as_bytes()).unwrap();
        assert_eq!(get.docs[1].rev, None);
        assert!(BulkGet::parse(br#"{"docs":[{"rev":"1-"}]}"#).is_err());
    }
}
