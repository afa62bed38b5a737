//! Attachments as documents tell of them: names, digests, and the three ways in which `_attachments` gives a content.
//!
//! Guarantees: a name, a media type and a digest that were read print as one header line and one JSON text; an attachment is
//! told in CouchDB's order of members. Knows nothing of where contents are kept.

mod sent;

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::document::write_json_text;
use crate::limits::{
    MAX_ATTACHMENT_NAME_BYTES, MAX_CONTENT_TYPE_BYTES, MAX_CONTENT_TYPE_HEADER_BYTES,
};

pub use sent::{SentAttachment, SentContent, read_attachments};

/// The name of an attachment within its document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AttachmentName(String);

/// What an attachment was given as its media type: any text on one line. What is none is told in documents, and in no header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ContentType(String);

/// `md5-<base64>`: what CouchDB calls a content. A name for peers, never an authority: MD5 collides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachmentDigest([u8; 16]);

/// How the kept bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are.
    #[default]
    Identity,
    /// `Content-Encoding: gzip`.
    Gzip,
}

/// What of an attachment is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAttachment {
    /// `_attachments`, or a member of it, is not an object of the expected shape.
    #[error("_attachments must be an object of attachments")]
    Shape,
    /// Empty, longer than [`MAX_ATTACHMENT_NAME_BYTES`], with a leading underscore, or with control characters.
    #[error(
        "an attachment's name must not be empty, too long, start with an underscore or hold control characters"
    )]
    Name,
    /// The same name twice.
    #[error("an attachment is given twice")]
    Twice,
    /// Longer than [`MAX_CONTENT_TYPE_BYTES`].
    #[error("an attachment's content_type is too long")]
    ContentType,
    /// Not `md5-<base64 of 16 bytes>`.
    #[error("an attachment's digest is not an md5 digest")]
    Digest,
    /// Not base64.
    #[error("attachment data is not valid base64")]
    Data,
    /// Neither identity nor gzip.
    #[error("an attachment's encoding is not supported")]
    Encoding,
    /// Neither content nor stub.
    #[error("an attachment needs `data`, `stub` or `follows`")]
    NoContent,
    /// More than [`crate::limits::MAX_ATTACHMENTS`].
    #[error("a document has too many attachments")]
    TooMany,
}

impl AttachmentName {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttachmentName {
    type Err = InvalidAttachment;

    fn from_str(text: &str) -> Result<Self, InvalidAttachment> {
        let good = !text.is_empty()
            && text.len() <= MAX_ATTACHMENT_NAME_BYTES
            && !text.starts_with('_')
            && !text.chars().any(char::is_control);
        good.then(|| Self(text.to_owned()))
            .ok_or(InvalidAttachment::Name)
    }
}

impl fmt::Display for AttachmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ContentType {
    /// The text, as documents tell it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of a `Content-Type` header: the text if it can be one, else that nothing is known.
    pub fn in_header(&self) -> &str {
        let can = !self.0.trim().is_empty()
            && self.0.len() <= MAX_CONTENT_TYPE_HEADER_BYTES
            && self.0.bytes().all(|b| (b' '..=b'~').contains(&b));
        if can { &self.0 } else { UNKNOWN }
    }
}

/// The media type of what nobody knows (RFC 2046 §4.5.1).
const UNKNOWN: &str = "application/octet-stream";

impl Default for ContentType {
    fn default() -> Self {
        Self(UNKNOWN.to_owned())
    }
}

impl FromStr for ContentType {
    type Err = InvalidAttachment;

    /// Control characters are left out, so that it is on one line.
    fn from_str(text: &str) -> Result<Self, InvalidAttachment> {
        if text.len() > MAX_CONTENT_TYPE_BYTES {
            return Err(InvalidAttachment::ContentType);
        }
        Ok(Self(text.chars().filter(|c| !c.is_control()).collect()))
    }
}

impl AttachmentDigest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The base64 of it, as in `Content-MD5` and entity tags.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads a `Content-MD5` header (RFC 1864).
    pub fn from_base64(text: &str) -> Result<Self, InvalidAttachment> {
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| InvalidAttachment::Digest)?;
        let bytes = bytes.try_into().map_err(|_| InvalidAttachment::Digest)?;
        Ok(Self(bytes))
    }
}

impl FromStr for AttachmentDigest {
    type Err = InvalidAttachment;

    fn from_str(text: &str) -> Result<Self, InvalidAttachment> {
        let text = text.strip_prefix("md5-").ok_or(InvalidAttachment::Digest)?;
        Self::from_base64(text)
    }
}

impl fmt::Display for AttachmentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "md5-{}", self.to_base64())
    }
}

impl Serialize for AttachmentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! deserialize_from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
deserialize_from_text!(AttachmentName, ContentType, AttachmentDigest);

/// What is known of an attachment of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub name: AttachmentName,
    /// Its media type.
    pub content_type: ContentType,
    /// The generation in which this content came.
    pub revpos: u64,
    /// Of the bytes as they are kept.
    pub digest: AttachmentDigest,
    /// Bytes of the content, decoded.
    pub length: u64,
    /// How it is kept.
    pub encoding: Encoding,
    /// Bytes of the content as it is kept.
    pub encoded_length: u64,
}

/// In which way an attachment is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// That it is there.
    Stub,
    /// Its content comes in a later part of the same multipart answer.
    Follows,
}

/// Whether encodings are told (`att_encoding_info`), and encoded contents sent as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encodings {
    /// Everything is decoded.
    #[default]
    Undone,
    /// Everything is as it is kept.
    Told,
}

impl Encodings {
    /// What `att_encoding_info=true` and `att_encoding_info=false` mean.
    pub(crate) fn told_if(wanted: bool) -> Self {
        match wanted {
            true => Self::Told,
            false => Self::Undone,
        }
    }
}

impl Attachment {
    /// Appends `"name":{…}`.
    pub fn write(&self, told: Told, encodings: Encodings, out: &mut Vec<u8>) {
        self.write_head(out);
        let told = match told {
            Told::Stub => "stub",
            Told::Follows => "follows",
        };
        out.extend_from_slice(format!(",\"length\":{},\"{told}\":true", self.length).as_bytes());
        self.write_end(encodings, out);
    }

    /// Appends `"name":{…,"data":"`: what comes before the base64 of the decoded content.
    pub fn write_before_data(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        out.extend_from_slice(b",\"data\":\"");
    }

    /// Appends what comes after the base64.
    pub fn write_after_data(&self, encodings: Encodings, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_end(encodings, out);
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        write_json_text(self.name.as_str(), out);
        out.extend_from_slice(b":{\"content_type\":");
        write_json_text(self.content_type.as_str(), out);
        let rest = format!(",\"revpos\":{},\"digest\":\"{}\"", self.revpos, self.digest);
        out.extend_from_slice(rest.as_bytes());
    }

    fn write_end(&self, encodings: Encodings, out: &mut Vec<u8>) {
        if let (Encodings::Told, Encoding::Gzip) = (encodings, self.encoding) {
            let info = format!(
                ",\"encoding\":\"gzip\",\"encoded_length\":{}",
                self.encoded_length
            );
            out.extend_from_slice(info.as_bytes());
        }
        out.push(b'}');
    }
}

/// The member `,"_attachments":{…}` with stubs only; nothing for no attachments. It is the last member of a stored document.
pub fn stubs<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Vec<u8> {
    let mut out = Vec::new();
    for attachment in attachments {
        out.extend_from_slice(opening(out.is_empty()));
        attachment.write(Told::Stub, Encodings::Undone, &mut out);
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// What comes before the first, or a further, attachment of the member.
pub fn opening(first: bool) -> &'static [u8] {
    if first { b",\"_attachments\":{" } else { b"," }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            name: "a\"b.txt".parse().unwrap(),
            content_type: "text/plain".parse().unwrap(),
            revpos: 2,
            digest: "md5-XUFAKrxLKna5cZ2REBfFkg==".parse().unwrap(),
            length: 5,
            encoding: Encoding::Gzip,
            encoded_length: 25,
        }
    }

    #[test]
    fn an_attachment_is_told_in_couchdbs_words() {
        let mut out = Vec::new();
        attachment().write(Told::Stub, Encodings::Undone, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""a\"b.txt":{"content_type":"text/plain","revpos":2,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","length":5,"stub":true}"#
        );
        let mut out = Vec::new();
        attachment().write(Told::Follows, Encodings::Told, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with(r#""length":5,"follows":true,"encoding":"gzip","encoded_length":25}"#),
            "{text}"
        );
        let mut out = Vec::new();
        attachment().write_before_data(&mut out);
        attachment().write_after_data(Encodings::Undone, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(r#","data":""}"#), "{text}");
        assert_eq!(stubs([]), b"");
        assert!(stubs([&attachment()]).starts_with(b",\"_attachments\":{\"a"));
    }

    #[test]
    fn names_media_types_and_digests_are_read_or_refused() {
        let longest = "n".repeat(MAX_ATTACHMENT_NAME_BYTES);
        for name in ["a", "a/b c.png", "é", longest.as_str()] {
            assert_eq!(name.parse::<AttachmentName>().unwrap().as_str(), name);
        }
        let over = format!("{longest}n");
        for name in ["", "_a", "a\nb", "a\u{7f}", over.as_str()] {
            assert_eq!(name.parse::<AttachmentName>(), Err(InvalidAttachment::Name));
        }
        let longest = "t".repeat(MAX_CONTENT_TYPE_BYTES);
        let in_header = "t".repeat(MAX_CONTENT_TYPE_HEADER_BYTES);
        let over_header = format!("{in_header}t");
        for (kind, kept, told) in [
            ("text/plain", "text/plain", "text/plain"),
            ("", "", UNKNOWN),
            ("text/plain\r\nx: y", "text/plainx: y", "text/plainx: y"),
            ("é", "é", UNKNOWN),
            (&in_header, &in_header, &in_header),
            (&over_header, &over_header, UNKNOWN),
            (&longest, &longest, UNKNOWN),
        ] {
            let kind: ContentType = kind.parse().unwrap();
            assert_eq!((kind.as_str(), kind.in_header()), (kept, told));
        }
        assert_eq!(
            format!("{longest}t").parse::<ContentType>(),
            Err(InvalidAttachment::ContentType)
        );
        let empty = "md5-1B2M2Y8AsgTpgAmY7PhCfg==";
        assert_eq!(
            empty.parse::<AttachmentDigest>().unwrap().to_string(),
            empty
        );
        for digest in [
            "",
            "1B2M2Y8AsgTpgAmY7PhCfg==",
            "sha1-AA==",
            "md5-AA==",
            "md5-",
        ] {
            assert_eq!(
                digest.parse::<AttachmentDigest>(),
                Err(InvalidAttachment::Digest)
            );
        }
    }
}
