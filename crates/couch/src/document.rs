//! A document as JSON bytes: its underscore members are read into types, everything else is kept as it came.
//!
//! Guarantees: what is stored is valid JSON text that starts `{"_id":…,"_rev":…`, so answers are made by splicing, and
//! members are never re-encoded, but line breaks between values become spaces. Refuses underscore members that nobody knows.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::attachment::{InvalidAttachment, SentAttachment, read_attachments};
use crate::limits::MAX_DOCUMENT_ID_BYTES;
use crate::rev::{InvalidRev, Rev};
use crate::rev_tree::{Liveness, Revisions};

/// The name of a document within its database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DocumentId(String);

/// What kind of document an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// Anything without a leading underscore.
    Ordinary,
    /// `_design/…`: replicated, but only the owner may write it.
    Design,
    /// `_local/…`: kept on this server only, outside feeds and histories.
    Local,
}

/// The text is not a document id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDocumentId {
    /// No characters.
    #[error("document id must not be empty")]
    Empty,
    /// Longer than [`MAX_DOCUMENT_ID_BYTES`].
    #[error("document id is too long")]
    TooLong,
    /// A leading underscore that is not `_design/` or `_local/`.
    #[error("only reserved document ids may start with underscore")]
    Reserved,
}

impl DocumentId {
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of document it names.
    pub fn kind(&self) -> DocumentKind {
        if self.0.starts_with("_design/") {
            DocumentKind::Design
        } else if self.0.starts_with("_local/") {
            DocumentKind::Local
        } else {
            DocumentKind::Ordinary
        }
    }
}

impl FromStr for DocumentId {
    type Err = InvalidDocumentId;

    fn from_str(text: &str) -> Result<Self, InvalidDocumentId> {
        let named = text
            .strip_prefix("_design/")
            .or_else(|| text.strip_prefix("_local/"));
        match named {
            _ if text.is_empty() => Err(InvalidDocumentId::Empty),
            _ if text.len() > MAX_DOCUMENT_ID_BYTES => Err(InvalidDocumentId::TooLong),
            Some("") => Err(InvalidDocumentId::Empty),
            None if text.starts_with('_') => Err(InvalidDocumentId::Reserved),
            Some(_) | None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DocumentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A document as a peer sent it, with its underscore members read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `_id`, when given.
    pub id: Option<DocumentId>,
    /// `_rev`, when given.
    pub rev: Option<Rev>,
    /// `_deleted`.
    pub liveness: Liveness,
    /// `_revisions`, when given.
    pub revisions: Option<Revisions>,
    /// `_attachments`, in the order in which they are written.
    pub attachments: Vec<SentAttachment>,
    /// All other members.
    pub members: Members,
}

/// A `_local/…` document as a peer sent it. Its revision is a plain counter: `0-N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEnvelope {
    /// `_rev`, when given.
    pub rev: Option<LocalRev>,
    /// `_deleted`.
    pub liveness: Liveness,
    /// All other members.
    pub members: Members,
}

/// The revision of a `_local/…` document: how often it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalRev(pub u64);

impl FromStr for LocalRev {
    type Err = InvalidRev;

    fn from_str(text: &str) -> Result<Self, InvalidRev> {
        let digits = text.strip_prefix("0-").ok_or(InvalidRev)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidRev);
        }
        digits.parse().map(Self).map_err(|_| InvalidRev)
    }
}

impl fmt::Display for LocalRev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0-{}", self.0)
    }
}

impl LocalEnvelope {
    /// Reads a local document from its JSON text. The id comes from the address, whatever `_id` says.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidDocument> {
        let raw: RawMembers<'_> =
            serde_json::from_slice(json).map_err(|_| InvalidDocument::NotAnObject)?;
        let rev = raw.text(raw.rev).map_err(|()| InvalidDocument::Rev)?;
        let rev = rev
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| InvalidDocument::Rev)?;
        if raw.unknown {
            return Err(InvalidDocument::UnknownMember);
        }
        Ok(Self {
            rev,
            liveness: raw.liveness()?,
            members: Members(raw.members),
        })
    }
}

/// The members of a document that belong to its author, as JSON text: `,"name":value` repeated, values byte for byte, but on one line.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Members(Vec<u8>);

/// The bytes are not a document we keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDocument {
    /// Not JSON, or not an object.
    #[error("document must be a JSON object")]
    NotAnObject,
    /// `_id` is not a document id.
    #[error(transparent)]
    Id(#[from] InvalidDocumentId),
    /// `_rev` is not a revision.
    #[error("invalid rev format")]
    Rev,
    /// `_revisions` is not an ancestry, or contradicts `_rev`.
    #[error("invalid _revisions")]
    Revisions,
    /// `_deleted` is not a boolean.
    #[error("_deleted must be a boolean")]
    Deleted,
    /// `_attachments` is not what it must be.
    #[error(transparent)]
    Attachments(#[from] InvalidAttachment),
    /// An underscore member that means nothing.
    #[error("bad special document member")]
    UnknownMember,
}

impl Envelope {
    /// Reads a document from its JSON text.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidDocument> {
        let raw: RawMembers<'_> =
            serde_json::from_slice(json).map_err(|_| InvalidDocument::NotAnObject)?;
        let id = raw
            .text(raw.id)
            .map_err(|()| InvalidDocument::NotAnObject)?;
        let id = id.map(|text| text.parse()).transpose()?;
        let rev = raw.text(raw.rev).map_err(|()| InvalidDocument::Rev)?;
        let rev = rev
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| InvalidDocument::Rev)?;
        let liveness = raw.liveness()?;
        let revisions: Option<Revisions> = raw
            .revisions
            .map(|json| serde_json::from_str(json.get()))
            .transpose()
            .map_err(|_| InvalidDocument::Revisions)?;
        if let (Some(rev), Some(revisions)) = (rev, &revisions)
            && revisions.newest() != Ok(rev)
        {
            return Err(InvalidDocument::Revisions);
        }
        if raw.unknown {
            return Err(InvalidDocument::UnknownMember);
        }
        let attachments = match raw.attachments.map(RawValue::get) {
            None | Some("null") => Vec::new(),
            Some(json) => read_attachments(json)?,
        };
        Ok(Self {
            id,
            rev,
            liveness,
            revisions,
            attachments,
            members: Members(raw.members),
        })
    }

    /// The ancestry: `_revisions` if given, else `_rev` alone.
    pub fn ancestry(&self) -> Option<Revisions> {
        self.revisions
            .clone()
            .or_else(|| self.rev.map(Revisions::alone))
    }
}

impl Members {
    /// The spliceable text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The members in a text that [`Members::render`] made, and that was given `tail` further bytes before its closing brace.
    pub fn of_rendered(
        text: &[u8],
        id: &DocumentId,
        rev: &impl fmt::Display,
        liveness: Liveness,
        tail: usize,
    ) -> Option<Self> {
        let empty = Self::default().render(id, rev, liveness);
        let members = text
            .strip_prefix(empty.strip_suffix(b"}")?)?
            .strip_suffix(b"}")?;
        Some(Self(
            members.get(..members.len().checked_sub(tail)?)?.to_vec(),
        ))
    }

    /// The complete text of the document under this name and revision, ready to be spliced into an answer.
    pub fn render(&self, id: &DocumentId, rev: &impl fmt::Display, liveness: Liveness) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + id.as_str().len() + 96);
        out.extend_from_slice(b"{\"_id\":");
        write_json_text(id.as_str(), &mut out);
        out.extend_from_slice(format!(",\"_rev\":\"{rev}\"").as_bytes());
        if liveness == Liveness::Deleted {
            out.extend_from_slice(b",\"_deleted\":true");
        }
        out.extend_from_slice(&self.0);
        out.push(b'}');
        out
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} bytes)", self.0.len())
    }
}

/// Appends further members (`"name":json`) to a rendered document.
pub fn splice(rendered: &[u8], extra: &[(&str, &str)], out: &mut Vec<u8>) {
    let open = rendered.strip_suffix(b"}").unwrap_or(rendered);
    out.extend_from_slice(open);
    for (name, json) in extra {
        out.push(b',');
        write_json_text(name, out);
        out.push(b':');
        out.extend_from_slice(json.as_bytes());
    }
    out.push(b'}');
}

/// Makes line breaks spaces: in JSON text they only stand between values (RFC 8259 sections 2 and 7), and feeds tell a document
/// on one line.
pub fn on_one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(*byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a str always has a JSON form.
    let _: Result<(), serde_json::Error> = serde_json::to_writer(out, text);
}

#[derive(Default)]
struct RawMembers<'a> {
    id: Option<&'a RawValue>,
    rev: Option<&'a RawValue>,
    deleted: Option<&'a RawValue>,
    revisions: Option<&'a RawValue>,
    attachments: Option<&'a RawValue>,
    unknown: bool,
    members: Vec<u8>,
}

impl RawMembers<'_> {
    fn liveness(&self) -> Result<Liveness, InvalidDocument> {
        match self.deleted.map(RawValue::get) {
            None | Some("false" | "null") => Ok(Liveness::Live),
            Some("true") => Ok(Liveness::Deleted),
            Some(_) => Err(InvalidDocument::Deleted),
        }
    }

    fn text(&self, raw: Option<&RawValue>) -> Result<Option<String>, ()> {
        raw.map(|json| serde_json::from_str(json.get()).map_err(|_| ()))
            .transpose()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMembers<'de>, A::Error> {
                let mut out = RawMembers::default();
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    let slot = match &*key.0 {
                        "_id" => &mut out.id,
                        "_rev" => &mut out.rev,
                        "_deleted" => &mut out.deleted,
                        "_revisions" => &mut out.revisions,
                        "_attachments" => &mut out.attachments,
                        // What servers add to answers; a peer may send it back.
                        "_conflicts" | "_deleted_conflicts" | "_revs_info" | "_local_seq" => {
                            continue;
                        }
                        name if name.starts_with('_') => {
                            out.unknown = true;
                            continue;
                        }
                        name => {
                            out.members.push(b',');
                            write_json_text(name, &mut out.members);
                            out.members.push(b':');
                            let start = out.members.len();
                            out.members.extend_from_slice(value.get().as_bytes());
                            on_one_line(out.members.get_mut(start..).unwrap_or_default());
                            continue;
                        }
                    };
                    if slot.replace(value).is_some() {
                        return Err(de::Error::custom("a special member is given twice"));
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// An object key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    fn parse(json: &str) -> Result<Envelope, InvalidDocument> {
        Envelope::parse(json.as_bytes())
    }

    fn rendered(json: &str) -> String {
        let envelope = parse(json).unwrap();
        let id = "x".parse().unwrap();
        let rev: Rev = REV.parse().unwrap();
        String::from_utf8(envelope.members.render(&id, &rev, envelope.liveness)).unwrap()
    }

    #[test]
    fn members_are_kept_byte_for_byte() {
        let json = r#" { "n" : 1.0e+2, "_id":"x", "o":{"b": [1 , 2],"a":"\u00e9\ud83d\ude00"}, "big":123456789012345678901234567890 } "#;
        assert_eq!(
            rendered(json),
            format!(
                r#"{{"_id":"x","_rev":"{REV}","n":1.0e+2,"o":{{"b": [1 , 2],"a":"\u00e9\ud83d\ude00"}},"big":123456789012345678901234567890}}"#
            )
        );
        assert_eq!(rendered("{}"), format!(r#"{{"_id":"x","_rev":"{REV}"}}"#));
    }

    #[test]
    fn line_breaks_between_members_become_spaces() {
        let json = "{\r\n\"a\": [1,\n\t2,\r{}],\n\"b\":\"\\n\"\n}";
        assert_eq!(
            rendered(json),
            format!("{{\"_id\":\"x\",\"_rev\":\"{REV}\",\"a\":[1, \t2, {{}}],\"b\":\"\\n\"}}")
        );
        let local = LocalEnvelope::parse(b"{\"a\":[\n]}").unwrap();
        assert_eq!(local.members.as_bytes(), b",\"a\":[ ]");
    }

    #[test]
    fn members_are_found_again_in_what_was_rendered() {
        let envelope = parse(r#"{"a":1,"_deleted":true}"#).unwrap();
        let (id, rev) = ("x".parse().unwrap(), REV.parse::<Rev>().unwrap());
        let mut text = envelope.members.render(&id, &rev, Liveness::Deleted);
        let found =
            |text: &[u8], tail| Members::of_rendered(text, &id, &rev, Liveness::Deleted, tail);
        assert_eq!(found(&text, 0), Some(envelope.members.clone()));
        text.pop();
        text.extend_from_slice(b",\"b\":2}");
        assert_eq!(found(&text, 6), Some(envelope.members));
        assert_eq!(found(&text, text.len()), None);
        assert_eq!(found(b"{}", 0), None);
    }

    #[test]
    fn a_tombstone_keeps_its_members() {
        assert_eq!(
            rendered(r#"{"_deleted":true,"payload":"p"}"#),
            format!(r#"{{"_id":"x","_rev":"{REV}","_deleted":true,"payload":"p"}}"#)
        );
    }

    #[test]
    fn the_envelope_is_read() {
        let json = format!(
            r#"{{"payload":"p","_id":"_design/x","_rev":"{REV}","_revisions":{{"start":1,"ids":["967a00dff5e02add41819138abb3284d"]}},"_conflicts":[]}}"#
        );
        let envelope = parse(&json).unwrap();
        assert_eq!(envelope.id.as_ref().unwrap().kind(), DocumentKind::Design);
        assert_eq!(envelope.rev.unwrap().to_string(), REV);
        assert_eq!(
            envelope.ancestry(),
            Some(Revisions::alone(REV.parse().unwrap()))
        );
        assert_eq!(envelope.members.as_bytes(), br#","payload":"p""#);
    }

    #[test]
    fn what_is_not_a_document_is_refused() {
        for json in [
            "",
            "null",
            "[]",
            "1",
            "{",
            "{\"a\":}",
            "{\"a\":1}x",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(
                matches!(parse(json), Err(InvalidDocument::NotAnObject)),
                "{json}"
            );
        }
        assert!(matches!(
            Envelope::parse(b"{\"a\":\"\xff\"}"),
            Err(InvalidDocument::NotAnObject)
        ));
        assert!(matches!(
            parse(r#"{"_id":1}"#),
            Err(InvalidDocument::NotAnObject)
        ));
        assert!(matches!(
            parse(r#"{"_id":"a","_id":"b"}"#),
            Err(InvalidDocument::NotAnObject)
        ));
        assert!(matches!(
            parse(r#"{"_id":""}"#),
            Err(InvalidDocument::Id(_))
        ));
        assert!(matches!(
            parse(r#"{"_id":"_x"}"#),
            Err(InvalidDocument::Id(_))
        ));
        assert!(matches!(
            parse(r#"{"_id":"_design/"}"#),
            Err(InvalidDocument::Id(_))
        ));
        assert!(matches!(
            parse(r#"{"_rev":"x"}"#),
            Err(InvalidDocument::Rev)
        ));
        assert!(matches!(
            parse(r#"{"_deleted":1}"#),
            Err(InvalidDocument::Deleted)
        ));
        assert!(matches!(
            parse(r#"{"_revisions":{}}"#),
            Err(InvalidDocument::Revisions)
        ));
        assert!(matches!(
            parse(r#"{"_attachments":{"a":{}}}"#),
            Err(InvalidDocument::Attachments(InvalidAttachment::NoContent))
        ));
        assert!(matches!(
            parse(r#"{"_foo":1}"#),
            Err(InvalidDocument::UnknownMember)
        ));
    }

    #[test]
    fn an_ancestry_that_contradicts_the_revision_is_refused() {
        let json = format!(
            r#"{{"_rev":"{REV}","_revisions":{{"start":1,"ids":["00000000000000000000000000000000"]}}}}"#
        );
        assert!(matches!(parse(&json), Err(InvalidDocument::Revisions)));
    }

    #[test]
    fn one_byte_over_the_longest_id_is_refused() {
        let id = "i".repeat(MAX_DOCUMENT_ID_BYTES);
        assert!(id.parse::<DocumentId>().is_ok());
        assert_eq!(
            format!("{id}i").parse::<DocumentId>(),
            Err(InvalidDocumentId::TooLong)
        );
    }

    #[test]
    fn deep_nesting_is_only_bytes() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            parse(&deep).unwrap().members.as_bytes().len(),
            deep.len() - 1
        );
    }

    #[test]
    fn a_local_document_counts_its_writes() {
        let local =
            LocalEnvelope::parse(br#"{"_id":"_local/x","_rev":"0-3","last_seq":4}"#).unwrap();
        assert_eq!(local.rev, Some(LocalRev(3)));
        assert_eq!(local.members.as_bytes(), br#","last_seq":4"#);
        for json in [r#"{"_rev":"1-x"}"#, r#"{"_rev":"0-"}"#, r#"{"_rev":3}"#] {
            assert!(LocalEnvelope::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn further_members_are_spliced_in_at_the_end() {
        let mut out = Vec::new();
        splice(br#"{"_id":"x"}"#, &[("_conflicts", "[]")], &mut out);
        assert_eq!(out, br#"{"_id":"x","_conflicts":[]}"#);
    }
}
