//! Design documents that go on to a CouchDB: not those that this node keeps there, and none whose code CouchDB would run.
//!
//! Guarantees: nobody replaces the validation functions that say who may write, by a copy from elsewhere or by an own one; nothing that
//! is written through this node makes CouchDB build an index of anybody's making in the background, or run a function at each write.
//! A member named twice is refused: it could be read in two ways.

use adyton_couch::document::{DocumentId, DocumentKind};
use adyton_couch::wire::{CouchError, ErrorKind};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::layout::{DELETERS, WRITERS};

/// The language of indexes that are data: CouchDB runs no code for them.
const QUERY: &str = "query";

/// What of a design document CouchDB acts upon without being asked.
#[derive(Deserialize)]
struct Acting {
    #[serde(default)]
    language: Option<serde_json::Value>,
    #[serde(default)]
    autoupdate: Option<bool>,
    #[serde(default)]
    views: Option<IgnoredAny>,
    #[serde(default)]
    validate_doc_update: Option<IgnoredAny>,
    /// Of a search.
    #[serde(default)]
    indexes: Option<IgnoredAny>,
    /// Of the other search.
    #[serde(default)]
    nouveau: Option<IgnoredAny>,
    #[serde(default)]
    st_indexes: Option<IgnoredAny>,
}

/// Refuses what this node keeps itself: who may write is set through the middleware.
pub(crate) fn may_change(id: &DocumentId) -> Result<(), CouchError> {
    match id.as_str() {
        WRITERS | DELETERS => {
            let reason = "This document is the storage node's: permissions are set through /user/updateDatabase.";
            Err(CouchError::new(ErrorKind::Forbidden, reason))
        }
        _ => Ok(()),
    }
}

/// Refuses a document that goes on, by its JSON text, where CouchDB would act upon it.
pub(crate) fn may_keep(id: &DocumentId, json: &[u8]) -> Result<(), CouchError> {
    if id.kind() != DocumentKind::Design {
        return Ok(());
    }
    may_change(id)?;
    let acting: Acting = serde_json::from_slice(json)
        .map_err(|_| CouchError::bad_request("The design document is malformed."))?;
    let is_data = acting
        .language
        .is_some_and(|language| language.as_str() == Some(QUERY));
    let is_built = acting.views.is_some()
        || acting.indexes.is_some()
        || acting.nouveau.is_some()
        || acting.st_indexes.is_some();
    let waits = is_data || acting.autoupdate == Some(false);
    match acting.validate_doc_update.is_some() || (is_built && !waits) {
        false => Ok(()),
        true => {
            let reason = "CouchDB would run code of this design document: it is taken without functions that validate, and with \"autoupdate\": false.";
            Err(CouchError::new(ErrorKind::Forbidden, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str, json: &str) -> bool {
        may_keep(&id.parse().unwrap(), json.as_bytes()).is_ok()
    }

    #[test]
    fn the_nodes_own_functions_are_nobody_elses_to_write() {
        for id in [WRITERS, DELETERS] {
            assert!(!kept(id, "{}"), "{id}");
            assert!(may_change(&id.parse().unwrap()).is_err());
        }
        assert!(may_change(&"_design/x".parse().unwrap()).is_ok());
        assert!(may_change(&"only_permit_write_users".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_design_document_that_only_lies_there_is_kept() {
        for json in [
            // What the original's client keeps of its local indexes.
            r#"{"_id": "_design/idx-1", "payload": "AAAA"}"#,
            r#"{"language": "query", "views": {"i": {"map": {"fields": {"a": "asc"}}}}}"#,
            r#"{"autoupdate": false, "views": {"v": {"map": "function (d) {}"}}}"#,
            r#"{"filters": {"f": "function (d) {}"}}"#,
        ] {
            assert!(kept("_design/x", json), "{json}");
        }
        assert!(kept("x", r#"{"views": 1, "validate_doc_update": 1}"#));
    }

    #[test]
    fn a_design_document_that_couchdb_would_run_is_not() {
        for json in [
            r#"{"views": {"v": {"map": "function (d) {}"}}}"#,
            r#"{"language": "javascript", "views": {}}"#,
            r#"{"autoupdate": true, "views": {}}"#,
            r#"{"autoupdate": "false", "views": {}}"#,
            r#"{"language": "query", "validate_doc_update": "function () {}"}"#,
            r#"{"autoupdate": false, "validate_doc_update": "function () {}"}"#,
            r#"{"_deleted": true, "validate_doc_update": "function () {}"}"#,
            r#"{"v\u0069ews": {}}"#,
            r#"{"language": "query", "language": "javascript", "views": {}}"#,
            r#"{"indexes": {}}"#,
            r#"{"nouveau": {}}"#,
            r#"{"st_indexes": {}}"#,
        ] {
            assert!(!kept("_design/x", json), "{json}");
        }
    }

    #[test]
    fn whatever_is_in_it_nothing_runs_unseen() {
        bolero::check!()
            .with_type::<(String, u8)>()
            .for_each(|(text, n)| {
                let names = ["views", "validate_doc_update", "indexes", "nouveau"];
                let name = names[usize::from(*n) % names.len()];
                let json = serde_json::json!({ name: text, "other": text }).to_string();
                assert!(!kept("_design/x", &json));
            });
    }
}
