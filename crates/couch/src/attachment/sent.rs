//! `_attachments` as a peer sends it: each attachment with its content in base64, as a stub, or to follow.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{AttachmentDigest, AttachmentName, ContentType, Encoding, InvalidAttachment};
use crate::limits::MAX_ATTACHMENTS;
use crate::wire::Object;

/// An attachment in a document that somebody wants to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentAttachment {
    /// Its name.
    pub name: AttachmentName,
    /// Its media type.
    pub content_type: ContentType,
    /// The generation in which the content came, as the sender says.
    pub revpos: Option<u64>,
    /// The digest of the content, as the sender says.
    pub digest: Option<AttachmentDigest>,
    /// The content.
    pub content: SentContent,
}

/// Where the content of a sent attachment is.
#[derive(Clone, PartialEq, Eq)]
pub enum SentContent {
    /// Here, decoded from base64.
    Inline(Vec<u8>),
    /// In a later part of the same multipart body.
    Follows {
        /// How that part is encoded.
        encoding: Encoding,
        /// Bytes of that part, when said.
        bytes: Option<u64>,
    },
    /// Where the document already has it, under the same name.
    Stub,
}

impl fmt::Debug for SentContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Follows { encoding, bytes } => write!(f, "Follows({encoding:?}, {bytes:?})"),
            Self::Stub => f.write_str("Stub"),
        }
    }
}

/// Reads the value of `_attachments`, in the order in which it is written.
pub fn read_attachments(json: &str) -> Result<Vec<SentAttachment>, InvalidAttachment> {
    let raw: Raw<'_> = serde_json::from_str(json).map_err(|_| InvalidAttachment::Shape)?;
    if raw.too_many {
        return Err(InvalidAttachment::TooMany);
    }
    let mut names = std::collections::HashSet::with_capacity(raw.attachments.len());
    let mut out = Vec::with_capacity(raw.attachments.len());
    for (name, Object(attachment)) in raw.attachments {
        let sent = attachment.read(name.parse()?)?;
        if !names.insert(sent.name.clone()) {
            return Err(InvalidAttachment::Twice);
        }
        out.push(sent);
    }
    Ok(out)
}

struct Raw<'a> {
    attachments: Vec<(String, Object<RawAttachment<'a>>)>,
    too_many: bool,
}

/// The members that mean something; others are ignored, as CouchDB does.
#[derive(Deserialize)]
struct RawAttachment<'a> {
    content_type: Option<String>,
    revpos: Option<u64>,
    digest: Option<String>,
    length: Option<u64>,
    encoding: Option<String>,
    encoded_length: Option<u64>,
    #[serde(default)]
    stub: bool,
    #[serde(default)]
    follows: bool,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RawAttachment<'_> {
    fn read(self, name: AttachmentName) -> Result<SentAttachment, InvalidAttachment> {
        let encoding = match self.encoding.as_deref() {
            None | Some("identity") => Encoding::Identity,
            Some("gzip") => Encoding::Gzip,
            Some(_) => return Err(InvalidAttachment::Encoding),
        };
        let content = if self.stub {
            SentContent::Stub
        } else if self.follows {
            let bytes = match encoding {
                Encoding::Identity => self.length,
                Encoding::Gzip => self.encoded_length,
            };
            SentContent::Follows { encoding, bytes }
        } else {
            // Inline data is never encoded, whatever is said beside it.
            SentContent::Inline(decode(self.data.ok_or(InvalidAttachment::NoContent)?)?)
        };
        let content_type = self.content_type.map(|text| text.parse()).transpose()?;
        Ok(SentAttachment {
            name,
            content_type: content_type.unwrap_or_default(),
            revpos: self.revpos,
            digest: self.digest.map(|text| text.parse()).transpose()?,
            content,
        })
    }
}

/// The bytes behind a JSON text of base64, which is not copied when it has no escapes.
fn decode(json: &RawValue) -> Result<Vec<u8>, InvalidAttachment> {
    let text = json.get();
    let plain = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .ok_or(InvalidAttachment::Data)?;
    let decoded = if plain.contains('\\') {
        let text: String = serde_json::from_str(text).map_err(|_| InvalidAttachment::Data)?;
        STANDARD.decode(text)
    } else {
        STANDARD.decode(plain)
    };
    decoded.map_err(|_| InvalidAttachment::Data)
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attachments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                let mut attachments = Vec::new();
                let mut too_many = false;
                while let Some(name) = map.next_key::<String>()? {
                    if attachments.len() == MAX_ATTACHMENTS {
                        too_many = true;
                        map.next_value::<de::IgnoredAny>()?;
                    } else {
                        attachments.push((name, map.next_value()?));
                    }
                }
                Ok(Raw {
                    attachments,
                    too_many,
                })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_are_read_in_order() {
        let json = r#"{
            "z":{"content_type":"text/plain","data":"aGVsbG8="},
            "a":{"stub":true,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","revpos":3,"length":5,"x":[]},
            "m":{"follows":true,"length":9,"encoding":"gzip","encoded_length":7}
        }"#;
        let read = read_attachments(json).unwrap();
        let names: Vec<&str> = read.iter().map(|sent| sent.name.as_str()).collect();
        assert_eq!(names, ["z", "a", "m"]);
        assert_eq!(read[0].content, SentContent::Inline(b"hello".to_vec()));
        assert_eq!(
            (&read[1].content, read[1].revpos),
            (&SentContent::Stub, Some(3))
        );
        let follows = SentContent::Follows {
            encoding: Encoding::Gzip,
            bytes: Some(7),
        };
        assert_eq!(read[2].content, follows);
        assert_eq!(read[2].content_type.as_str(), "application/octet-stream");
        // An escaped slash is a slash.
        let json = r#"{"a":{"data":"\/\/8="}}"#;
        assert_eq!(
            read_attachments(json).unwrap()[0].content,
            SentContent::Inline(vec![255, 255])
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, expected) in [
            ("[]", InvalidAttachment::Shape),
            (r#"{"a":1}"#, InvalidAttachment::Shape),
            (r#"{"a":{"stub":1}}"#, InvalidAttachment::Shape),
            (r#"{"a":{}}"#, InvalidAttachment::NoContent),
            (r#"{"a":{"data":"?"}}"#, InvalidAttachment::Data),
            (r#"{"a":{"data":1}}"#, InvalidAttachment::Data),
            (r#"{"_a":{"data":""}}"#, InvalidAttachment::Name),
            (
                r#"{"a":{"data":""},"a":{"data":""}}"#,
                InvalidAttachment::Twice,
            ),
            (
                r#"{"a":{"stub":true,"digest":"x"}}"#,
                InvalidAttachment::Digest,
            ),
            (
                r#"{"a":{"follows":true,"encoding":"br"}}"#,
                InvalidAttachment::Encoding,
            ),
        ] {
            assert_eq!(read_attachments(json), Err(expected), "{json}");
        }
    }

    #[test]
    fn one_attachment_over_the_limit_is_too_many() {
        let json = |n: usize| {
            let members: Vec<String> = (0..n)
                .map(|i| format!("\"{i}\":{{\"data\":\"\"}}"))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(
            read_attachments(&json(MAX_ATTACHMENTS)).unwrap().len(),
            MAX_ATTACHMENTS
        );
        assert_eq!(
            read_attachments(&json(MAX_ATTACHMENTS + 1)),
            Err(InvalidAttachment::TooMany)
        );
    }
}
