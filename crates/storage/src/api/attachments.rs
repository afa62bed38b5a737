//! `/{db}/{id}/{attachment}`: one attachment read, put beside what a document has, or taken away.

use adyton_couch::attachment::{AttachmentDigest, AttachmentName, ContentType, Encoding};
use adyton_couch::document::{DocumentId, Members};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::{Leaf, Liveness};
use adyton_couch::wire::{CouchError, DocumentQuery, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::App;
use super::asked::{Admitted, Asked, Head};
use super::contents::{Source as AnswerSource, answer};
use super::documents::{Done, may_write, method_not_allowed, said_rev};
use super::incoming;
use super::pieces::Piece;
use super::read;
use super::reply::{self, Reply};
use crate::databases::DatabaseError;
use crate::store::attachments::{Attached, AttachmentWrite, Source};
use crate::store::database::View;
use crate::store::write::{DocumentWrite, WriteKind};
use crate::store::{StoreError, blocking};
use crate::stream::Reader;

impl App {
    pub(super) async fn attachment(
        &self,
        hash: DatabaseHash,
        id: DocumentId,
        name: AttachmentName,
        asked: Asked,
    ) -> Reply {
        let asked = match asked.admit(self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let done = match asked.head().method.clone() {
            Method::GET => self.get_attachment(id, name, asked).await,
            Method::PUT => self.put_attachment(id, name, asked).await,
            Method::DELETE => self.delete_attachment(id, name, asked).await,
            _ => Err(method_not_allowed()),
        };
        done.unwrap_or_else(|error| reply::couch_failure(&error))
    }

    async fn get_attachment(&self, id: DocumentId, name: AttachmentName, asked: Admitted) -> Done {
        let (permit, Head { query, headers, .. }) = asked.bodiless();
        let query = DocumentQuery::parse(&query)?;
        let file = self.databases.file(&permit).await?;
        let reader = Reader::new(self.databases.files()?, permit);
        blocking(move || {
            let view = file.view()?;
            let found = find(&view, &id, &name, &query);
            Ok(found.and_then(|found| tell((file, reader), found, &headers)))
        })
        .await?
    }

    async fn put_attachment(&self, id: DocumentId, name: AttachmentName, asked: Admitted) -> Done {
        may_write(asked.rights(), &id, Liveness::Live)?;
        let head = asked.head();
        let base = base(head)?;
        let content_type = match head.headers.get(header::CONTENT_TYPE) {
            None => ContentType::default(),
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(CouchError::bad_request("Invalid Content-Type"))?,
        };
        let encoding = encoding(&head.headers)?;
        let digest = content_md5(&head.headers)?;
        let (body, permit, _head) = asked
            .read_as_it_is(self, self.limits.attachment_bytes)
            .await?;
        may_write(permit.rights(), &id, Liveness::Live)?;
        let body = body.into_shared();
        let file = self.databases.file(&permit).await?;
        let limits = self.limits.clone();
        let write = blocking(move || {
            let incoming = incoming::attachment(
                name.clone(),
                (content_type, None),
                (encoding, body),
                digest,
                &limits,
            );
            let new = match incoming {
                Ok(new) => new,
                Err(refusal) => return Ok(Err(refusal.into())),
            };
            let before = before(&file.view()?, &id, base);
            Ok(before.map(|mut before| {
                match before.attachments.iter_mut().find(|old| old.name == name) {
                    Some(old) => *old = new,
                    None => before.attachments.push(new),
                }
                before.into_write(id)
            }))
        })
        .await??;
        if write.attachments.len() > adyton_couch::limits::MAX_ATTACHMENTS {
            let reason = "The document has too many attachments.";
            return Err(CouchError::new(ErrorKind::TooLarge, reason).into());
        }
        self.write_one(&permit, write, None, StatusCode::CREATED)
            .await
    }

    async fn delete_attachment(
        &self,
        id: DocumentId,
        name: AttachmentName,
        asked: Admitted,
    ) -> Done {
        let (permit, head) = asked.bodiless();
        may_write(permit.rights(), &id, Liveness::Live)?;
        let base = base(&head)?;
        let file = self.databases.file(&permit).await?;
        let write = blocking(move || {
            let view = file.view()?;
            if base.is_none() && view.document(id.as_str())?.is_none() {
                return Ok(Err(CouchError::missing().into()));
            }
            Ok(before(&view, &id, base).and_then(|mut before| {
                let had = before.attachments.len();
                before.attachments.retain(|old| old.name != name);
                if before.attachments.len() == had {
                    return Err(no_attachment());
                }
                Ok(before.into_write(id))
            }))
        })
        .await??;
        self.write_one(&permit, write, None, StatusCode::OK).await
    }
}

/// A revision that an attachment is put to or taken from. It is read before the write, which is refused if it is no leaf any more.
struct Before {
    base: Option<Rev>,
    members: Members,
    attachments: Vec<AttachmentWrite>,
}

impl Before {
    fn into_write(self, id: DocumentId) -> DocumentWrite {
        DocumentWrite {
            id,
            liveness: Liveness::Live,
            members: self.members,
            attachments: self.attachments,
            kind: WriteKind::Edit { base: self.base },
        }
    }
}

fn before(view: &View, id: &DocumentId, base: Option<Rev>) -> Result<Before, DatabaseError> {
    let row = view.document(id.as_str())?.unwrap_or_default();
    let leaf = match (base, row.tree.winner()) {
        (None, None) => None,
        (None, Some(winner)) if winner.deleted => None,
        (None, Some(_)) => return Err(CouchError::conflict().into()),
        (Some(base), _) => match row.tree.leaf(base).filter(|leaf| !leaf.deleted) {
            Some(leaf) => Some(leaf),
            None => return Err(CouchError::conflict().into()),
        },
    };
    let Some(leaf) = leaf else {
        return Ok(Before {
            base: None,
            members: Members::default(),
            attachments: Vec::new(),
        });
    };
    let (members, attached) = members_of(view, id, leaf)?;
    let kept = attached.into_iter().map(|kept| AttachmentWrite {
        name: kept.attachment.name,
        source: Source::Kept {
            digest: Some(kept.attachment.digest),
            revpos: None,
        },
    });
    Ok(Before {
        base: Some(leaf.rev),
        members,
        attachments: kept.collect(),
    })
}

/// What the author of a living revision wrote.
pub(super) fn members_of(
    view: &View,
    id: &DocumentId,
    leaf: Leaf,
) -> Result<(Members, Vec<Attached>), StoreError> {
    let body = leaf.body.ok_or(StoreError::Corrupt("a leaf has no body"))?;
    let attached = view.attached(body)?;
    let tail = adyton_couch::attachment::stubs(attached.iter().map(|kept| &kept.attachment));
    let text = view.body(body)?;
    let members = Members::of_rendered(&text, id, &leaf.rev, Liveness::Live, tail.len()).ok_or(
        StoreError::Corrupt("a body does not begin as it was written"),
    )?;
    Ok((members, attached))
}

fn find(
    view: &View,
    id: &DocumentId,
    name: &AttachmentName,
    query: &DocumentQuery,
) -> Result<Attached, DatabaseError> {
    let (_, leaf) = read::chosen(view, id.as_str(), query)?;
    let body = leaf.body.ok_or(StoreError::Corrupt("a leaf has no body"))?;
    let mut attached = view.attached(body)?.into_iter();
    attached
        .find(|attached| attached.attachment.name == *name)
        .ok_or_else(no_attachment)
}

/// The content, or the part of it that is asked for.
fn tell(
    source: AnswerSource,
    attached: Attached,
    asked: &HeaderMap,
) -> Result<Reply, DatabaseError> {
    let attachment = attached.attachment.clone();
    let etag = format!("\"{}\"", attachment.digest.to_base64());
    let plain = attachment.encoding == Encoding::Identity;
    let known = asked
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|tag| names(tag, &etag))) {
        let mut reply = reply::bytes(StatusCode::NOT_MODIFIED, reply::JSON, "");
        reply.headers_mut().remove(header::CONTENT_TYPE);
        put(&mut reply, header::ETAG, &etag);
        return Ok(reply);
    }
    let if_range = asked
        .get(header::IF_RANGE)
        .and_then(|value| value.to_str().ok());
    let range = asked
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .filter(|_| plain && if_range.is_none_or(|tag| names(tag, &etag)))
        .map_or(Range::All, |value| Range::parse(value, attachment.length));
    let zipped = !plain && accepts_gzip(asked);
    let piece = match (range, plain || zipped) {
        (Range::None, _) => {
            let reason = "Requested range not satisfiable";
            let error = CouchError::new(ErrorKind::RangeNotSatisfiable, reason);
            let mut reply = reply::couch_error(&error);
            let length = format!("bytes */{}", attachment.length);
            put(&mut reply, header::CONTENT_RANGE, &length);
            return Ok(reply);
        }
        (Range::Part { from, to }, _) => Piece::Kept {
            blob: attached.blob,
            from,
            to,
        },
        (Range::All, true) => Piece::whole(&attached),
        (Range::All, false) => Piece::Decoded(attached),
    };
    let mut reply = answer(source, vec![piece], attachment.content_type.in_header());
    put(&mut reply, header::ETAG, &etag);
    put(&mut reply, header::CACHE_CONTROL, "must-revalidate");
    // What somebody stored is never a page of ours.
    put(&mut reply, header::CONTENT_SECURITY_POLICY, "sandbox");
    put(&mut reply, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if plain {
        put(&mut reply, header::ACCEPT_RANGES, "bytes");
    } else {
        put(&mut reply, header::ACCEPT_RANGES, "none");
        put(&mut reply, header::VARY, "accept-encoding");
    }
    if zipped {
        put(&mut reply, header::CONTENT_ENCODING, "gzip");
    }
    if let Range::Part { from, to } = range {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        let told = format!("bytes {from}-{}/{}", to - 1, attachment.length);
        put(&mut reply, header::CONTENT_RANGE, &told);
    } else if plain || zipped {
        let md5 = header::HeaderName::from_static("content-md5");
        put(&mut reply, md5, &attachment.digest.to_base64());
    }
    Ok(reply)
}

/// What of a content a `Range` header asks for (RFC 9110 §14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    All,
    /// From one byte up to another; never empty.
    Part {
        from: u64,
        to: u64,
    },
    /// Nothing of it exists.
    None,
}

impl Range {
    /// Reads one range. Several, or something else, is answered with the whole, as the RFC allows.
    fn parse(value: &str, length: u64) -> Self {
        let Some((first, last)) = value
            .strip_prefix("bytes=")
            .filter(|ranges| !ranges.contains(','))
            .and_then(|range| range.trim().split_once('-'))
        else {
            return Self::All;
        };
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u64>().ok(),
            false => None,
        };
        let (from, to) = match (first, last) {
            ("", last) => match number(last) {
                Some(count) => (length.saturating_sub(count), length),
                None => return Self::All,
            },
            (first, "") => match number(first) {
                Some(from) => (from, length),
                None => return Self::All,
            },
            (first, last) => match (number(first), number(last)) {
                (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1)),
                _ => return Self::All,
            },
        };
        let to = to.min(length);
        if from < to {
            Self::Part { from, to }
        } else {
            Self::None
        }
    }
}

/// Whether an entity tag of a list names this one. CouchDB's clients send weak ones, and the bare digest.
fn names(tag: &str, etag: &str) -> bool {
    let tag = tag.trim();
    tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == etag.trim_matches('"')
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.parse::<f32>() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// How the body of a request is encoded.
fn encoding(headers: &HeaderMap) -> Result<Encoding, CouchError> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"" | b"identity") => Ok(Encoding::Identity),
        Some(b"gzip") => Ok(Encoding::Gzip),
        Some(_) => {
            let reason = "Only gzip and identity content-encodings are supported";
            Err(CouchError::new(ErrorKind::BadContentType, reason))
        }
    }
}

fn content_md5(headers: &HeaderMap) -> Result<Option<AttachmentDigest>, CouchError> {
    const WRONG: CouchError = CouchError::bad_request("Invalid Content-MD5");
    let value = headers.get("content-md5").map(|value| value.to_str());
    value
        .map(|text| AttachmentDigest::from_base64(text.map_err(|_| WRONG)?).map_err(|_| WRONG))
        .transpose()
}

/// The revision that a write builds on: `rev`, or `If-Match`.
fn base(head: &Head) -> Result<Option<Rev>, DatabaseError> {
    let query = DocumentQuery::parse(&head.query)?;
    said_rev(query.rev, head)
}

fn no_attachment() -> DatabaseError {
    CouchError::new(ErrorKind::NotFound, "Document is missing attachment").into()
}

fn put(reply: &mut Reply, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_exists() {
        let part = |from, to| Range::Part { from, to };
        for (header, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-30", part(0, 10)),
            ("bytes=3-99", part(3, 10)),
            ("bytes=0-18446744073709551615", part(0, 10)),
            ("bytes=10-", Range::None),
            ("bytes=-0", Range::None),
            ("bytes=5-3", Range::All),
            ("bytes=0-1,3-4", Range::All),
            ("bytes=a-b", Range::All),
            ("bytes=+1-2", Range::All),
            ("items=0-1", Range::All),
        ] {
            assert_eq!(Range::parse(header, 10), expected, "{header}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Range::None);
    }
}
