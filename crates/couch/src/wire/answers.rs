//! What a target answers a replicator: to `_revs_diff` and to `_bulk_docs`. It may lie: only what it was asked about is taken from
//! it, and never more than was asked.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::bounded::{Bounded, TOO_MANY};
use super::bulk::RevsDiff;
use super::object::Object;
use crate::document::DocumentId;
use crate::limits::{MAX_BULK_ITEMS, MAX_REVS_DIFF_REVS};
use crate::rev::Rev;

/// An answer that is not one to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer does not belong to what was asked")]
pub struct InvalidAnswer;

/// The answer to `_revs_diff`: of the revisions that were named, those that the target lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing(pub Vec<(DocumentId, Vec<Rev>)>);

#[derive(Deserialize)]
struct MissingEntry {
    #[serde(default)]
    missing: Bounded<Rev, MAX_REVS_DIFF_REVS>,
}

struct MissingEntries(Vec<(DocumentId, Object<MissingEntry>)>);

impl<'de> Deserialize<'de> for MissingEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = MissingEntries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of document ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MissingEntries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() == MAX_BULK_ITEMS {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    entries.push(entry);
                }
                Ok(MissingEntries(entries))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl Missing {
    /// Reads the answer to `asked`. A document or a revision that was not named, or one named twice, spoils all of it.
    pub fn parse(body: &[u8], asked: &RevsDiff) -> Result<Self, InvalidAnswer> {
        let MissingEntries(entries) = serde_json::from_slice(body).map_err(|_| InvalidAnswer)?;
        let mut open: HashMap<&str, &[Rev]> = asked
            .0
            .iter()
            .map(|(id, revs)| (id.as_str(), revs.as_slice()))
            .collect();
        let mut missing = Vec::with_capacity(entries.len().min(asked.0.len()));
        for (id, Object(entry)) in entries {
            let named = open.remove(id.as_str()).ok_or(InvalidAnswer)?;
            let named: BTreeSet<&Rev> = named.iter().collect();
            let lacked: BTreeSet<&Rev> = entry.missing.0.iter().collect();
            if lacked.len() != entry.missing.0.len() || !lacked.is_subset(&named) {
                return Err(InvalidAnswer);
            }
            if !lacked.is_empty() {
                missing.push((id, entry.missing.0));
            }
        }
        Ok(Self(missing))
    }
}

/// What a target says of a document that it will never take as it is. Anything else may pass, and the document is sent again.
const FINAL: [&str; 8] = [
    "bad_request",
    "doc_validation",
    "document_too_large",
    "forbidden",
    "illegal_docid",
    "missing_stub",
    "too_large",
    "unauthorized",
];

/// The answer to `_bulk_docs` of history: how many of the documents were refused. Those that were taken are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// They need not be sent again.
    pub for_good: usize,
    /// The target could not write them now.
    pub for_now: usize,
}

impl Refused {
    /// Reads the answer to a request with these documents.
    pub fn parse(body: &[u8], sent: &[DocumentId]) -> Result<Self, InvalidAnswer> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(default)]
            id: Option<DocumentId>,
            #[serde(default, borrow)]
            error: Option<&'a RawValue>,
        }
        let lines: Bounded<Object<Line<'_>>, MAX_BULK_ITEMS> =
            serde_json::from_slice(body).map_err(|_| InvalidAnswer)?;
        let known: BTreeSet<&str> = sent.iter().map(DocumentId::as_str).collect();
        let strange = |Object(line): &Object<Line<'_>>| {
            let id = line.id.as_ref();
            id.is_some_and(|id| !known.contains(id.as_str()))
        };
        if lines.0.len() > sent.len() || lines.0.iter().any(strange) {
            return Err(InvalidAnswer);
        }
        let mut refused = Self::default();
        for error in lines.0.iter().filter_map(|line| line.0.error) {
            match serde_json::from_str(error.get()) {
                Ok(name) if FINAL.contains(&name) => refused.for_good += 1,
                Ok(_) | Err(_) => refused.for_now += 1,
            }
        }
        Ok(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    fn asked() -> RevsDiff {
        let named = vec![REV.parse().unwrap()];
        RevsDiff(vec![("a".to_owned(), named), ("b".to_owned(), Vec::new())])
    }

    #[test]
    fn only_what_was_asked_for_can_be_missing() {
        let of = |body: &str| Missing::parse(body.as_bytes(), &asked());
        assert_eq!(of("{}"), Ok(Missing::default()));
        assert_eq!(of("{\"b\":{}}"), Ok(Missing::default()));
        let told = format!("{{\"a\":{{\"missing\":[\"{REV}\"],\"possible_ancestors\":[\"x\"]}}}}");
        let missing = of(&told).unwrap();
        assert_eq!(missing.0.len(), 1);
        for wrong in [
            "[]".to_owned(),
            "{\"c\":{\"missing\":[]}}".to_owned(),
            "{\"a\":{},\"a\":{}}".to_owned(),
            format!("{{\"a\":{{\"missing\":[\"2{}\"]}}}}", &REV[1..]),
            format!("{{\"a\":{{\"missing\":[\"{REV}\",\"{REV}\"]}}}}"),
            format!("{{\"b\":{{\"missing\":[\"{REV}\"]}}}}"),
        ] {
            assert_eq!(of(&wrong), Err(InvalidAnswer), "{wrong}");
        }
    }

    #[test]
    fn refusals_are_counted_for_documents_that_were_sent_and_only_some_are_final() {
        let sent: Vec<DocumentId> = asked()
            .0
            .into_iter()
            .map(|(id, _)| id.parse().unwrap())
            .collect();
        let of = |body: &str| Refused::parse(body.as_bytes(), &sent);
        let counted = |for_good, for_now| Ok(Refused { for_good, for_now });
        assert_eq!(of("[]"), counted(0, 0));
        assert_eq!(of("[{\"ok\":true,\"id\":\"a\"}]"), counted(0, 0));
        assert_eq!(of("[{\"id\":\"a\",\"error\":null}]"), counted(0, 0));
        let told = "[{\"id\":\"a\",\"error\":\"forbidden\"},{\"id\":null,\"error\":\"x\"}]";
        assert_eq!(of(told), counted(1, 1));
        for name in FINAL {
            let told = format!("[{{\"id\":\"a\",\"error\":\"{name}\"}}]");
            assert_eq!(of(&told), counted(1, 0), "{name}");
        }
        for passing in [
            "\"internal_server_error\"",
            "\"insufficient_storage\"",
            "\"service_unavailable\"",
            "\"timeout\"",
            "\"conflict\"",
            "\"\"",
            "500",
            "{\"error\":\"forbidden\"}",
        ] {
            let told = format!("[{{\"id\":\"a\",\"error\":{passing}}}]");
            assert_eq!(of(&told), counted(0, 1), "{passing}");
        }
        for wrong in ["{}", "[{\"id\":\"c\"}]", "[{},{},{}]", "[1]"] {
            assert_eq!(of(wrong), Err(InvalidAnswer), "{wrong}");
        }
    }
}
