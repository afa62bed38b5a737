//! Answers with many records: written piece by piece from the records in memory, never built whole.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::memory::{Document, Projection};
use crate::vault::Answer;

/// Small records are gathered into pieces of about this size, in bytes.
const PIECE: usize = 64 * 1024;

/// The answer to a query.
pub(super) fn query_response(
    answer: Answer,
    fields: Option<Projection>,
    limit: usize,
    skip: usize,
) -> Response {
    let Answer { page, unreadable } = answer;
    let mut tail = String::new();
    // Writing to a String cannot fail.
    let _: Result<(), _> = write!(
        tail,
        "],\"limit\":{limit},\"skip\":{skip},\"dbRows\":{},\"total\":{},\"unreadable\":{unreadable}}}",
        page.rows, page.total
    );
    let writer = Writer {
        documents: page.documents.into_iter(),
        fields,
        tail: Some(tail),
        begun: false,
        held: None,
    };
    let pieces = stream::unfold(writer, |mut writer| async move {
        let piece = writer.next()?;
        Some((Ok::<_, Infallible>(piece), writer))
    });
    let mut response = Body::from_stream(pieces).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One record, in the member `item`.
pub(super) fn item_response(document: &Document) -> Response {
    let mut body = Vec::with_capacity(document.served_len() + 10);
    body.extend_from_slice(b"{\"item\":");
    document.write_to(&mut body);
    body.push(b'}');
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}

struct Writer {
    documents: std::vec::IntoIter<Document>,
    fields: Option<Projection>,
    tail: Option<String>,
    begun: bool,
    /// The rest of a large record, sent without copying it.
    held: Option<Bytes>,
}

impl Writer {
    fn next(&mut self) -> Option<Bytes> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let mut piece = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            piece.extend_from_slice(b"{\"items\":[");
        } else if !self.documents.as_slice().is_empty() {
            piece.push(b',');
        }
        while let Some(document) = self.documents.next() {
            match &self.fields {
                Some(fields) => fields.write(&document, &mut piece),
                None if document.served_len() > PIECE / 4 => {
                    let [head, object] = document.served();
                    piece.extend_from_slice(&head);
                    self.held = Some(object);
                }
                None => document.write_to(&mut piece),
            }
            if self.held.is_some() || piece.len() >= PIECE {
                return Some(Bytes::from(piece));
            }
            if !self.documents.as_slice().is_empty() {
                piece.push(b',');
            }
        }
        let mut last = BytesMut::from(piece.as_slice());
        last.extend_from_slice(self.tail.take()?.as_bytes());
        Some(last.freeze())
    }
}
