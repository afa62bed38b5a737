//! `_bulk_docs`, `_bulk_get`, `_revs_diff`: many documents in one request.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::bounded::{Bounded, TOO_MANY};
use super::error::{CouchError, ErrorKind};
use super::object::read_object;
use super::revs_asked::{AskedRev, RevsAsked};
use crate::document::{DocumentId, DocumentKind, InvalidDocument, InvalidDocumentId};
use crate::limits::{
    MAX_ATTS_SINCE_REVS, MAX_BULK_ITEMS, MAX_LEAVES, MAX_PURGED_DOCUMENTS, MAX_PURGED_REVS,
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

/// One line of the answer to `_bulk_docs`: a document that was not written.
#[derive(Debug, Clone, Serialize)]
pub struct NotWritten {
    #[serde(flatten)]
    name: Named,
    error: &'static str,
    reason: Cow<'static, str>,
}

/// What a document says of its name, in its own words: a writer looks for what became of it by that, also when it is no name that a
/// document can have, and when nothing else of the document can be read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Named {
    /// `_id`, if it is a text.
    id: Option<Box<RawValue>>,
    /// `_rev`, if it is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<Box<RawValue>>,
}

impl Named {
    /// Reads the names of a document of a bulk write. Of edits the revision is not told, as CouchDB does not.
    pub fn of(document: &RawValue, new_edits: bool) -> Self {
        let mut names = Names::default();
        // Whatever else is wrong with the document: what was read until then counts.
        let _: Result<(), serde_json::Error> =
            (&mut names).deserialize(&mut serde_json::Deserializer::from_str(document.get()));
        let text = |raw: Option<&RawValue>| {
            raw.filter(|raw| raw.get().starts_with('"'))
                .map(ToOwned::to_owned)
        };
        Self {
            id: text(names.id),
            rev: text(names.rev.filter(|_| !new_edits)),
        }
    }

    /// The names of a document that could be read; `rev`, where it is told.
    pub fn known(id: &DocumentId, rev: Option<Rev>) -> Self {
        Self {
            id: to_raw_value(id).ok(),
            rev: rev.and_then(|rev| to_raw_value(&rev).ok()),
        }
    }

    /// The id, if it names a local document.
    pub fn local(&self) -> Option<DocumentId> {
        let id: DocumentId = serde_json::from_str(self.id.as_ref()?.get()).ok()?;
        (id.kind() == DocumentKind::Local).then_some(id)
    }

    /// The line that says why this document was not written.
    pub fn refused(self, refusal: CouchError) -> NotWritten {
        NotWritten {
            name: self,
            error: refusal.kind.name(),
            reason: refusal.reason,
        }
    }
}

/// The two members, as they are found.
#[derive(Default)]
struct Names<'a> {
    id: Option<&'a RawValue>,
    rev: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> DeserializeSeed<'de> for &mut Names<'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for &mut Names<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(RawName(name)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            match &*name {
                b"_id" => self.id = self.id.or(Some(value)),
                b"_rev" => self.rev = self.rev.or(Some(value)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The name of a member, which may hold half a surrogate pair: no text, but bytes.
struct RawName<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for RawName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_bytes<E: de::Error>(
                self,
                name: &'de [u8],
            ) -> Result<RawName<'de>, E> {
                Ok(RawName(Cow::Borrowed(name)))
            }

            fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<RawName<'de>, E> {
                Ok(RawName(Cow::Owned(name.to_vec())))
            }
        }
        deserializer.deserialize_bytes(Reader)
    }
}

/// `_bulk_get`: revisions to read.
#[derive(Debug)]
pub struct BulkGet {
    /// What to read, in order. What names nothing is refused by itself.
    pub docs: Vec<Result<BulkGetItem, WrongItem>>,
}

/// One revision to read; every leaf when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkGetItem {
    /// The document.
    pub id: DocumentId,
    /// The revision.
    pub rev: Option<Rev>,
    /// Attachments that came after these revisions are told with their content, the others as stubs.
    pub atts_since: Option<Vec<Rev>>,
}

/// An item that names no document, or no revision.
#[derive(Debug)]
pub struct WrongItem {
    /// The document, as it was sent.
    pub id: Option<String>,
    /// The revision that is none, as it was sent.
    pub rev: Option<String>,
    /// What is wrong.
    pub refusal: CouchError,
}

/// An item as it was sent.
#[derive(Deserialize)]
struct SentItem {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    atts_since: Option<AttsSince>,
}

/// The revisions of an `atts_since`, looked at one by one: what is none of ours takes no room, and is of no attachment here.
#[derive(Default)]
struct AttsSince {
    revs: Vec<Rev>,
    /// How many texts there were.
    texts: usize,
    /// The first that is no revision anywhere.
    wrong: Option<String>,
}

impl<'de> Deserialize<'de> for AttsSince {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = AttsSince;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_LEAVES} revisions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AttsSince, A::Error> {
                let mut list = AttsSince::default();
                while let Some(rev) = seq.next_element()? {
                    if list.texts == MAX_LEAVES {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    list.texts += 1;
                    match rev {
                        AskedRev::Ours(rev) => list.revs.push(rev),
                        AskedRev::Foreign { .. } => {}
                        AskedRev::Wrong(text) => list.wrong = list.wrong.or(Some(text)),
                    }
                }
                list.revs.shrink_to_fit();
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl SentItem {
    fn read(self) -> Result<BulkGetItem, WrongItem> {
        let wrong = |id: Option<String>, rev: Option<String>, refusal: CouchError| WrongItem {
            id,
            rev,
            refusal,
        };
        let Some(text) = self.id else {
            let refusal = CouchError::bad_request("document id missed");
            return Err(wrong(None, None, refusal));
        };
        let id: DocumentId = match text.parse() {
            Ok(id) => id,
            Err(invalid) => {
                let refusal = InvalidDocument::Id(invalid).into();
                return Err(wrong(Some(text), None, refusal));
            }
        };
        let no_rev = |rev: String| {
            let refusal = CouchError::bad_request("Invalid rev format");
            wrong(Some(text), Some(rev), refusal)
        };
        let rev = match self.rev.map(|rev| rev.parse().map_err(|_| rev)).transpose() {
            Ok(rev) => rev,
            Err(rev) => return Err(no_rev(rev)),
        };
        let atts_since = match self.atts_since {
            Some(AttsSince {
                wrong: Some(rev), ..
            }) => return Err(no_rev(rev)),
            since => since.map(|since| since.revs),
        };
        Ok(BulkGetItem {
            id,
            rev,
            atts_since,
        })
    }
}

impl BulkGet {
    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            docs: Bounded<&'a RawValue, MAX_BULK_ITEMS>,
        }
        let body: Body<'_> = read(body)?;
        let mut docs = Vec::with_capacity(body.docs.0.len());
        let mut since = 0;
        for raw in body.docs.0 {
            let item: SentItem = read(raw.get().as_bytes())?;
            since += item.atts_since.as_ref().map_or(0, |list| list.texts);
            if since > MAX_ATTS_SINCE_REVS {
                return Err(too_many());
            }
            docs.push(item.read());
        }
        Ok(Self { docs })
    }

    /// Bytes that the items of this body take besides their texts and revisions, at most. No text and no revision takes more than
    /// it took as it was sent.
    pub fn bytes_of_items(body: &[u8]) -> u64 {
        bytes_of_items(body, b'{')
    }
}

/// What one item of a request takes besides its texts, at most.
pub(super) const ITEM_BYTES: u64 = 256;
// With its place among the texts, and what the allocator adds.
const _: () = assert!(size_of::<Result<BulkGetItem, WrongItem>>() as u64 <= ITEM_BYTES / 2);

/// Bytes that items take, each of which begins with this byte.
pub(super) fn bytes_of_items(body: &[u8], opening: u8) -> u64 {
    let openings = body.iter().filter(|byte| **byte == opening).count();
    openings.min(MAX_BULK_ITEMS) as u64 * ITEM_BYTES
}

/// `_revs_diff` as it is put to a peer: revisions that are here, by document; each document once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevsDiff(pub Vec<(String, Vec<Rev>)>);

/// `_purge`: revisions to forget, by document; each document once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge(pub Vec<(DocumentId, Vec<Rev>)>);

impl Purge {
    /// Reads the body of the request, which has the form of `_revs_diff` and closer limits.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        let RevsAsked(purge) = RevsAsked::parse(body)?;
        if purge.iter().any(|(_, asked)| !asked.foreign.is_empty()) {
            return Err(CouchError::bad_request("Invalid rev format"));
        }
        let revs: usize = purge.iter().map(|(_, asked)| asked.revs.len()).sum();
        if purge.len() > MAX_PURGED_DOCUMENTS {
            return Err(CouchError::bad_request(
                "Exceeded maximum number of documents.",
            ));
        }
        if revs > MAX_PURGED_REVS {
            return Err(CouchError::bad_request(
                "Exceeded maximum number of revisions.",
            ));
        }
        let named = purge.into_iter();
        let named = named.map(|(id, asked)| Ok((id.parse()?, asked.revs)));
        let named: Result<_, InvalidDocumentId> = named.collect();
        Ok(Self(named.map_err(InvalidDocument::Id)?))
    }
}

fn too_many() -> CouchError {
    CouchError::new(ErrorKind::TooLarge, "The request has too many items.")
}

/// Reads a body, or an item of one: an object.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CouchError> {
    read_object(body).map_err(|error| {
        if error.to_string().starts_with(TOO_MANY) {
            too_many()
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
    use crate::limits::MAX_DOCUMENT_ID_BYTES;

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
            "[[]]",
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
            Purge::parse(format!("{{{}}}", entries.join(",")).as_bytes())
        };
        assert!(documents(MAX_PURGED_DOCUMENTS).is_ok());
        assert!(documents(MAX_PURGED_DOCUMENTS + 1).is_err());
        let revs = |n: usize| {
            let list = vec![format!("\"{REV}\""); n].join(",");
            Purge::parse(format!("{{\"a\":[{list}]}}").as_bytes())
        };
        assert!(revs(MAX_PURGED_REVS).is_ok() && revs(MAX_PURGED_REVS + 1).is_err());
    }

    #[test]
    fn revisions_are_read() {
        let body = format!(r#"{{"docs":[{{"id":"a","rev":"{REV}"}},{{"id":"b"}}]}}"#);
        let get = BulkGet::parse(body.as_bytes()).unwrap();
        assert_eq!(get.docs[1].as_ref().unwrap().rev, None);
        assert!(BulkGet::parse(br#"{"docs":[{"rev":1}]}"#).is_err());
        assert!(BulkGet::parse(br#"{"docs":[["a"]]}"#).is_err());
    }

    #[test]
    fn an_item_that_names_nothing_is_refused_by_itself() {
        let body = br#"{"docs":[{"rev":"1-x"},{"id":"_x"},{"id":"a","rev":"1-"},{"id":"a","atts_since":["y"]},{"id":"a"}]}"#;
        let get = BulkGet::parse(body).unwrap();
        let wrong: Vec<_> = get
            .docs
            .iter()
            .filter_map(|item| item.as_ref().err())
            .map(|wrong| (wrong.id.as_deref(), wrong.rev.as_deref()))
            .collect();
        let expected = [
            (None, None),
            (Some("_x"), None),
            (Some("a"), Some("1-")),
            (Some("a"), Some("y")),
        ];
        assert_eq!(wrong, expected);
        assert!(get.docs[4].is_ok());
    }

    #[test]
    fn what_is_no_name_of_a_document_or_a_revision_is_asked_for_and_not_purged() {
        let long = "i".repeat(MAX_DOCUMENT_ID_BYTES + 1);
        let purge = Purge::parse(format!(r#"{{"{long}":[]}}"#).as_bytes());
        assert_eq!(purge.unwrap_err().kind, ErrorKind::IllegalDocumentId);
        let purge = Purge::parse(br#"{"a":["1-abc"]}"#);
        assert_eq!(purge.unwrap_err().kind, ErrorKind::BadRequest);
    }

    #[test]
    fn what_attachments_came_after_is_limited_over_the_whole_request() {
        let get = |list: &str, items: usize| {
            let item = format!(r#"{{"id":"a","atts_since":[{list}]}}"#);
            BulkGet::parse(format!("{{\"docs\":[{}]}}", vec![item; items].join(",")).as_bytes())
        };
        // Of revisions that nobody has here no attachment came before another.
        let list = format!(r#""{REV}","1-abc","0-""#);
        let docs = get(&list, 1).unwrap().docs;
        let since = docs[0].as_ref().unwrap().atts_since.as_ref();
        assert_eq!(since, Some(&vec![REV.parse().unwrap()]));
        // They count all the same.
        for text in ["", "1-", REV] {
            let list = vec![format!("\"{text}\""); MAX_LEAVES].join(",");
            assert_eq!(
                get(&list, MAX_ATTS_SINCE_REVS / MAX_LEAVES)
                    .unwrap()
                    .docs
                    .len(),
                1_000
            );
            let error = get(&list, MAX_ATTS_SINCE_REVS / MAX_LEAVES + 1).unwrap_err();
            assert_eq!(error.kind, ErrorKind::TooLarge);
            let error = get(&format!("{list},\"\""), 1).unwrap_err();
            assert_eq!(error.kind, ErrorKind::TooLarge);
        }
    }

    #[test]
    fn items_take_no_more_than_is_said() {
        let body = br#"{"docs":[{"id":"a"},{},{"id":"b"}]}"#;
        let items = BulkGet::parse(body).unwrap().docs.len() as u64;
        assert!(BulkGet::bytes_of_items(body) >= items * ITEM_BYTES);
        let many = "{".repeat(MAX_BULK_ITEMS + 1);
        let most = BulkGet::bytes_of_items(many.as_bytes());
        assert_eq!(most, MAX_BULK_ITEMS as u64 * ITEM_BYTES);
    }

    #[test]
    fn a_refused_document_is_named_in_its_own_words() {
        let line = |document: &str, new_edits| {
            let raw: &RawValue = serde_json::from_str(document).unwrap();
            let refusal = CouchError::bad_request("r");
            serde_json::to_string(&Named::of(raw, new_edits).refused(refusal)).unwrap()
        };
        let end = r#""error":"bad_request","reason":"r"}"#;
        for (document, names) in [
            (r#"{"_id":"a","_rev":"x"}"#, r#"{"id":"a","rev":"x","#),
            (r#"{"k\udc00":1,"_id":"a\ud800"}"#, r#"{"id":"a\ud800","#),
            (r#"{"\u005fid":"a","_id":"b"}"#, r#"{"id":"a","#),
            (r#"{"_id":3,"_rev":null}"#, r#"{"id":null,"#),
            ("[1]", r#"{"id":null,"#),
            ("3", r#"{"id":null,"#),
        ] {
            assert_eq!(line(document, false), format!("{names}{end}"), "{document}");
        }
        assert_eq!(
            line(r#"{"_id":"a","_rev":"x"}"#, true),
            format!(r#"{{"id":"a",{end}"#)
        );
    }
}
