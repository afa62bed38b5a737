//! Documents told with the contents of their attachments: in base64 within the JSON, or as further parts behind it.

use std::sync::Arc;

use adyton_couch::attachment::{Encoding, Encodings, Told, opening, stubs};
use adyton_couch::document::DocumentId;
use adyton_couch::multipart::{Boundary, quoted};
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, DocumentQuery};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderValue};

use super::App;
use super::asked::Head;
use super::documents::{Done, tag};
use super::open_revs::OpenRevsSource;
use super::pieces::{Piece, PieceProducer, Sending};
use super::read::{self, Extras};
use super::reply::{self, Reply};
use crate::access::Permit;
use crate::databases::DatabaseError;
use crate::store::attachments::Attached;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::store::{StoreError, blocking};
use crate::stream::{Reader, produce};

/// Which attachments are told with their contents, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) attachments: AttachmentsWanted,
    pub(crate) encodings: Encodings,
    pub(crate) place: ContentPlace,
}

/// Where a content that is told stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ContentPlace {
    /// In the document, in base64.
    #[default]
    Inline,
    /// In a part of its own.
    Part,
}

/// A revision's text, and the contents that belong in parts behind it.
pub(crate) struct Revision {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) parts: Vec<Attached>,
}

/// Whether a reader is answered here, and not from the stored text of one revision alone.
pub(super) fn concern(query: &DocumentQuery) -> bool {
    query.attachments != AttachmentsWanted::Stubs
        || query.encodings == Encodings::Told
        || query.open_revs.is_some()
}

/// What an answer is made from, and for whom.
pub(super) type Source = (Arc<DatabaseFile>, Reader);

impl App {
    /// `GET /{db}/{id}` for those whom [`concern`] lets in.
    pub(super) async fn get_contents(
        &self,
        permit: Permit,
        id: DocumentId,
        query: DocumentQuery,
        head: &Head,
    ) -> Done {
        let file = self.databases.file(&permit).await?;
        let reader = Reader::new(self.databases.files()?, permit);
        let related = accepts(&head.headers, "multipart/related");
        let mixed = accepts(&head.headers, "multipart/mixed");
        blocking(move || {
            let view = file.view()?;
            Ok(match &query.open_revs {
                None => one((file, reader), &view, &id, &query, related),
                Some(_) => many((file, reader), view, &id, &query, mixed),
            })
        })
        .await?
    }
}

fn one(
    source: Source,
    view: &View,
    id: &DocumentId,
    query: &DocumentQuery,
    related: bool,
) -> Result<Reply, DatabaseError> {
    let (row, leaf) = read::chosen(view, id.as_str(), query)?;
    let place = match related {
        true => ContentPlace::Part,
        false => ContentPlace::Inline,
    };
    let told = revision(view, &row, leaf, read::extras(query), &wish(query, place))?;
    let mut reply = if told.parts.is_empty() {
        answer(source, told.pieces, reply::JSON)
    } else {
        let boundary = boundary()?;
        let mut pieces = Vec::new();
        push_related(told, &boundary, query.encodings, &mut pieces);
        answer(source, pieces, &boundary.content_type("related"))
    };
    tag(&mut reply, &leaf.rev.to_string());
    Ok(reply)
}

fn many(
    (file, reader): Source,
    view: View,
    id: &DocumentId,
    query: &DocumentQuery,
    mixed: bool,
) -> Result<Reply, DatabaseError> {
    let source = OpenRevsSource::new(view, id, query, mixed)?;
    let content_type = source.form.content_type();
    let stream = produce(Sending::new(source), file, reader);
    Ok(reply::stream_of(&content_type, stream))
}

/// A document with its contents behind it.
pub(crate) fn push_related(
    told: Revision,
    boundary: &Boundary,
    encodings: Encodings,
    pieces: &mut Vec<Piece>,
) {
    let json = [("Content-Type", reply::JSON)];
    pieces.push(text(&boundary.before_part(true, &json)));
    pieces.extend(told.pieces);
    for attached in told.parts {
        let attachment = &attached.attachment;
        let kept = encodings == Encodings::Told || attachment.encoding == Encoding::Identity;
        let disposition = format!("attachment; filename={}", quoted(attachment.name.as_str()));
        let length = match kept {
            true => attachment.encoded_length,
            false => attachment.length,
        };
        let length = length.to_string();
        let mut headers = vec![
            ("Content-Disposition", disposition.as_str()),
            ("Content-Type", attachment.content_type.in_header()),
            ("Content-Length", length.as_str()),
        ];
        if kept && attachment.encoding == Encoding::Gzip {
            headers.push(("Content-Encoding", "gzip"));
        }
        pieces.push(text(&boundary.before_part(false, &headers)));
        pieces.push(match kept {
            true => Piece::whole(&attached),
            false => Piece::Decoded(attached),
        });
    }
    pieces.push(text(&boundary.end()));
}

/// One revision's text, with the contents that are wished for.
pub(crate) fn revision(
    view: &View,
    row: &DocumentRow,
    leaf: Leaf,
    extras: Extras,
    wish: &Wish,
) -> Result<Revision, StoreError> {
    let mut stored = Vec::new();
    read::revision(view, row, leaf, extras, &mut stored)?;
    let plain = wish.attachments == AttachmentsWanted::Stubs && wish.encodings == Encodings::Undone;
    let attached = match leaf.body {
        Some(body) if !plain => view.attached(body)?,
        Some(_) | None => Vec::new(),
    };
    let mut stored = stored.into_iter();
    let mut told = Revision {
        pieces: Vec::new(),
        parts: Vec::new(),
    };
    if !attached.is_empty() {
        let body = stored.next().unwrap_or_default();
        let tail = stubs(attached.iter().map(|attached| &attached.attachment));
        // What follows the stubs in the stored text: a brace, or nothing when further members come.
        let after = usize::from(!body.ends_with(&tail));
        let end = body
            .len()
            .checked_sub(tail.len() + after)
            .ok_or(StoreError::Corrupt("a document without its attachments"))?;
        told.pieces.push(Piece::Text(body.slice(..end)));
        let since = since(row, leaf, &wish.attachments);
        write_attachments(attached, since, wish, &mut told);
        told.pieces
            .push(Piece::Text(body.slice(body.len() - after..)));
    }
    told.pieces.extend(stored.map(Piece::Text));
    Ok(told)
}

fn write_attachments(attached: Vec<Attached>, since: u64, wish: &Wish, told: &mut Revision) {
    let mut out = Vec::new();
    for (i, attached) in attached.into_iter().enumerate() {
        let attachment = &attached.attachment;
        out.extend_from_slice(opening(i == 0));
        let wanted = attachment.revpos > since;
        match (wanted, wish.place) {
            (false, _) => attachment.write(Told::Stub, wish.encodings, &mut out),
            (true, ContentPlace::Part) => {
                attachment.write(Told::Follows, wish.encodings, &mut out);
                told.parts.push(attached);
            }
            (true, ContentPlace::Inline) => {
                attachment.write_before_data(&mut out);
                told.pieces.push(text(&std::mem::take(&mut out)));
                attachment.write_after_data(wish.encodings, &mut out);
                told.pieces.push(Piece::Base64(attached));
            }
        }
    }
    out.push(b'}');
    told.pieces.push(text(&out));
}

/// The generation up to which the reader has the contents: of the deepest ancestor that the reader names.
fn since(row: &DocumentRow, leaf: Leaf, wanted: &AttachmentsWanted) -> u64 {
    match wanted {
        AttachmentsWanted::Stubs => u64::MAX,
        AttachmentsWanted::All => 0,
        AttachmentsWanted::Since(revs) => {
            let path = row.tree.revisions(leaf.rev);
            let deepest = path.iter().find(|rev| revs.contains(rev));
            deepest.map_or(0, |rev| rev.generation())
        }
    }
}

/// An answer made of pieces, with its length.
pub(super) fn answer((file, reader): Source, pieces: Vec<Piece>, content_type: &str) -> Reply {
    let length: u64 = pieces.iter().map(Piece::length).sum();
    let mut reply = reply::stream(produce(PieceProducer::new(pieces), file, reader));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    reply
}

/// Whether a request's `Accept` names this media type, in any of its lines. `*/*` does not: who can read parts says so.
pub(super) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let named = values.filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|range| {
        let mut words = range.split(';').map(str::trim);
        let given = words.next().unwrap_or_default();
        given.eq_ignore_ascii_case(kind)
            && !words.any(|word| {
                word.strip_prefix("q=")
                    .is_some_and(|weight| weight.parse::<f32>() == Ok(0.0))
            })
    })
}

pub(super) fn wish(query: &DocumentQuery, place: ContentPlace) -> Wish {
    Wish {
        attachments: query.attachments.clone(),
        encodings: query.encodings,
        place,
    }
}

pub(crate) fn boundary() -> Result<Boundary, StoreError> {
    let name = hex::encode(crate::store::random::<16>()?);
    Boundary::new(&name).map_err(|_| StoreError::Corrupt("a made boundary"))
}

pub(super) fn text(bytes: &[u8]) -> Piece {
    Piece::Text(Bytes::copy_from_slice(bytes))
}
