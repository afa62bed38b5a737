//! `PUT /{db}/{id}` with `multipart/related`: a document, and behind it the contents of the attachments that it says will follow.

use adyton_couch::attachment::{AttachmentName, SentAttachment, SentContent};
use adyton_couch::document::{DocumentId, Envelope};
use adyton_couch::limits::MAX_ATTACHMENTS;
use adyton_couch::multipart::{self, Boundary, InvalidMultipart, Part, parameter};
use adyton_couch::wire::{CouchError, DocumentQuery, ErrorKind};
use bytes::Bytes;
use http::header;

use super::App;
use super::asked::{Admitted, Head};
use super::documents::{Done, said_rev};
use super::incoming;
use super::parsed::{grow, parsed};
use super::reply;
use crate::server::body::Claim;

/// The boundary of a `multipart/related` request; none when the request is something else.
pub(super) fn related(head: &Head) -> Option<Result<Boundary, CouchError>> {
    let kind = head.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence
        .eq_ignore_ascii_case("multipart/related")
        .then(|| Boundary::of_content_type(kind).map_err(refusal))
}

impl App {
    pub(super) async fn put_multipart(
        &self,
        id: DocumentId,
        boundary: Boundary,
        asked: Admitted,
    ) -> Done {
        let mut query = DocumentQuery::parse(&asked.head().query)?;
        query.rev = said_rev(query.rev, asked.head())?;
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let most = self.limits.document_bytes;
        let read = parsed(body, move |body| {
            let held = body.claim_more(0).map_err(reply::couch_refusal)?;
            read_parts(&body.into_shared(), held, &boundary, most)
        });
        let (document, parts) = read.await?;
        self.put_envelope(&permit, id, query, document, parts).await
    }
}

/// The parts of a body, of which the document has at most so many bytes. `held` becomes the room that the document takes besides.
fn read_parts(
    body: &Bytes,
    mut held: Claim,
    boundary: &Boundary,
    most: usize,
) -> Result<Parts, CouchError> {
    let parts = multipart::parts(body, boundary, MAX_ATTACHMENTS + 1).map_err(refusal)?;
    let (document, parts) = parts.split_first().ok_or(CouchError::bad_request(
        "The multipart body holds no document.",
    ))?;
    if document.body.len() > most {
        let reason = "The document is too large.";
        return Err(CouchError::new(ErrorKind::TooLarge, reason));
    }
    grow(&mut held, document.body.len() as u64)?;
    let envelope = Envelope::parse(document.body)?;
    grow(&mut held, incoming::bytes(&envelope.attachments))?;
    let parts = named(&envelope.attachments, parts)?;
    let parts = parts
        .into_iter()
        .map(|(name, part)| (name, body.slice_ref(part)))
        .collect();
    Ok(((envelope, held), parts))
}

/// The document with the room that it takes, and the contents, which are shares of the request's body.
type Parts = ((Envelope, Claim), Vec<(AttachmentName, Bytes)>);

/// Which part holds which attachment: by their file names when every part has one that is awaited, else in the document's order.
fn named<'a>(
    sent: &[SentAttachment],
    parts: &[Part<'a>],
) -> Result<Vec<(AttachmentName, &'a [u8])>, CouchError> {
    let follows = |sent: &&SentAttachment| matches!(sent.content, SentContent::Follows { .. });
    let awaited: Vec<&AttachmentName> =
        sent.iter().filter(follows).map(|sent| &sent.name).collect();
    if awaited.len() != parts.len() {
        let reason = "The document announces another number of attachments than follow.";
        return Err(CouchError::bad_request(reason));
    }
    let by_name: Option<Vec<(AttachmentName, &[u8])>> = parts
        .iter()
        .map(|part| {
            let name = parameter(part.header("content-disposition")?, "filename")?;
            let awaited = awaited.iter().find(|awaited| awaited.as_str() == name)?;
            Some(((*awaited).clone(), part.body))
        })
        .collect();
    let by_name = by_name.filter(|named| {
        let names: std::collections::HashSet<_> = named.iter().map(|(name, _)| name).collect();
        names.len() == awaited.len()
    });
    Ok(by_name.unwrap_or_else(|| {
        let bodies = parts.iter().map(|part| part.body);
        awaited.into_iter().cloned().zip(bodies).collect()
    }))
}

fn refusal(invalid: InvalidMultipart) -> CouchError {
    let kind = match invalid {
        InvalidMultipart::TooManyParts => ErrorKind::TooLarge,
        _ => ErrorKind::BadRequest,
    };
    CouchError {
        kind,
        reason: invalid.to_string().into(),
    }
}
