//! Answers with many records: written piece by piece from the records in memory, never built whole.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::compressed_answers::Separable;
use crate::memory::{Document, Parts, Projection, Reservation};
use crate::vault::{Answer, Found};

/// Small records are gathered into pieces of about this size, in bytes.
const PIECE: usize = 64 * 1024;

/// The answer to a query.
pub(super) fn query_response(answer: Answer, fields: Option<Projection>, skip: usize) -> Response {
    let Answer { page, unreadable } = answer;
    let mut tail = String::new();
    let limit = page.limit;
    let cursor = page
        .next
        .map(|next| format!(",\"cursor\":\"{}\"", next.to_text()));
    // Writing to a String cannot fail.
    let _: Result<(), _> = write!(
        tail,
        "],\"limit\":{limit},\"skip\":{skip},\"dbRows\":{},\"total\":{},\"unreadable\":{unreadable}{}}}",
        page.rows,
        page.total,
        cursor.unwrap_or_default()
    );
    Writer::response(page.documents, page.counted, fields, tail)
}

/// The answer to a request for several records by their ids.
pub(super) fn found_response(found: Found) -> Response {
    let missing = serde_json::to_string(&found.missing).unwrap_or_default();
    let tail = format!("],\"missing\":{missing}}}");
    Writer::response(found.documents, found.counted, None, tail)
}

/// One record, in the member `item`.
pub(super) fn item_response(document: &Document) -> Response {
    // In pieces, because the record is not copied: who asks often and reads slowly holds it once.
    let [head, object] = document.served();
    let pieces = [
        Bytes::from_static(b"{\"item\":"),
        head,
        object,
        Bytes::from_static(b"}"),
    ];
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    let mut response = (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response();
    // One record is apart from all others.
    response.extensions_mut().insert(Separable::default());
    response
}

struct Writer {
    documents: std::vec::IntoIter<Document>,
    _counted: Reservation,
    fields: Option<Projection>,
    tail: Option<String>,
    begun: bool,
    /// The rest of a large record, sent without copying it.
    held: VecDeque<Bytes>,
    separable: Separable,
}

impl Writer {
    fn response(
        documents: Vec<Document>,
        counted: Reservation,
        fields: Option<Projection>,
        tail: String,
    ) -> Response {
        let writer = Self {
            documents: documents.into_iter(),
            _counted: counted,
            fields,
            tail: Some(tail),
            begun: false,
            held: VecDeque::new(),
            separable: Separable::default(),
        };
        let separable = writer.separable.clone();
        let pieces = stream::unfold(writer, |mut writer| async move {
            let piece = writer.next()?;
            Some((Ok::<_, Infallible>(piece), writer))
        });
        let mut response = Body::from_stream(pieces).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(separable);
        response
    }

    fn next(&mut self) -> Option<Bytes> {
        if let Some(held) = self.held.pop_front() {
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
                Some(fields) => {
                    let mut parts = Parts::after(std::mem::take(&mut piece));
                    fields.write(&document, &mut parts);
                    let (whole, rest) = parts.into_pieces();
                    self.held.extend(whole);
                    piece = rest;
                    if let Some(first) = self.held.pop_front() {
                        self.held.push_back(Bytes::from(piece));
                        return Some(first);
                    }
                }
                None if document.served_len() > PIECE / 4 => {
                    let [head, object] = document.served();
                    piece.extend_from_slice(&head);
                    self.held.push_back(object);
                }
                None => document.write_to(&mut piece),
            }
            if !self.held.is_empty() || piece.len() >= PIECE || self.separable.is_wanted() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Budget, Documents, Query, View};
    use adyton_client::pull::PlainBatch;
    use adyton_couch::rev::Rev;
    use adyton_couch::selector::Selector;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    fn documents(budget: &Budget, count: usize, length: usize) -> Documents {
        let mut documents = Documents::new(budget.clone());
        let mut batch = PlainBatch::default();
        for n in 0..count {
            let record = json!({ "_id": format!("id\"{n}"), "text": "x".repeat(length) });
            let text = record.to_string();
            let id = record["_id"].as_str().unwrap();
            batch.push(id, Rev::LOWEST, text.as_bytes()).unwrap();
        }
        documents.apply(batch).unwrap();
        documents
    }

    async fn pieces(response: Response) -> Vec<Bytes> {
        let mut body = response.into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        pieces
    }

    #[tokio::test]
    async fn a_record_is_served_from_where_it_lies() {
        let documents = documents(&Budget::new(1 << 24), 1, 1 << 20);
        let document = documents
            .get(&View::whole_database(), "id\"0")
            .unwrap()
            .unwrap();
        let pieces = pieces(item_response(&document)).await;
        let held = document.object().as_ptr_range();
        let copied = pieces
            .iter()
            .filter(|piece| !held.contains(&piece.as_ptr()));
        assert!(copied.map(Bytes::len).sum::<usize>() < 100);
        let item: Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(item["item"]["_id"], "id\"0");
    }

    #[tokio::test]
    async fn an_answer_takes_room_until_it_is_read_and_is_json_at_every_length() {
        for (count, length) in [
            (0, 10),
            (1, 10),
            (1, 100_000),
            (7, 10),
            (7, 40_000),
            (900, 90),
        ] {
            for fields in [None, Some(json!(["_id", "text"])), Some(json!(["absent"]))] {
                let budget = Budget::new(1 << 26);
                let documents = documents(&budget, count, length);
                let before = budget.used();
                let mut query = Query::new(Selector::everything());
                query.limit = usize::MAX;
                let page = documents.query(&View::whole_database(), &query).unwrap();
                let answer = Answer {
                    page,
                    unreadable: 0,
                };
                let fields = fields.map(|fields| Projection::parse(&fields).unwrap());
                let response = query_response(answer, fields, 0);
                let indexed = budget.used() - before;
                assert!(indexed >= count * size_of::<Document>());
                let body: Value = serde_json::from_slice(&pieces(response).await.concat()).unwrap();
                assert_eq!(body["items"].as_array().unwrap().len(), count);
                assert_eq!(
                    budget.used(),
                    before + indexed - count * size_of::<Document>()
                );
            }
        }
    }
}
