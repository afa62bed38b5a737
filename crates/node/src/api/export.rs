//! All records of a resource as NDJSON: one record a line, in the order of their ids.
//!
//! Guarantees: page after page is asked for while the caller reads, so no lock is held between them and no more than one page
//! is held at a time; a grant that ends, ends its exports at the next page; an answer that ends well is whole, and one that cannot go on is cut off, not ended. Each record is as it
//! was when its page was read.

use std::io;
use std::sync::Arc;

use adyton_couch::selector::Selector;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::problem::ApiProblem;
use crate::authz::{Permit, Read};
use crate::compressed_answers::Separable;
use crate::memory::{Document, Query, QueryError};
use crate::vault::{Answer, Vault};

/// Records that are held at a time.
const PAGE: usize = 256;
/// Small records are gathered into pieces of about this size, in bytes.
const PIECE: usize = 64 * 1024;

/// An export under way.
pub(super) struct Export {
    vault: Arc<Vault>,
    permit: Permit<Read>,
    page: Answer,
    /// How many of the page have been written.
    written: usize,
    separable: Separable,
}

impl Export {
    /// Reads the first page, so that what cannot be begun is a problem like any other, and then answers.
    pub(super) async fn begin(
        vault: Arc<Vault>,
        permit: Permit<Read>,
    ) -> Result<Response, ApiProblem> {
        let page = page_after(&vault, &permit, None).await?;
        let export = Self {
            vault,
            permit,
            page,
            written: 0,
            separable: Separable::default(),
        };
        let separable = export.separable.clone();
        let pieces = stream::try_unfold(export, |mut export| async move {
            let piece = export.next().await?;
            Ok::<_, io::Error>(piece.map(|piece| (piece, export)))
        });
        let headers = [(CONTENT_TYPE, "application/x-ndjson")];
        let mut response = (headers, Body::from_stream(pieces)).into_response();
        response.extensions_mut().insert(separable);
        Ok(response)
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let documents = &self.page.page.documents;
        if self.written == documents.len() {
            let Some(last) = documents.last().filter(|_| documents.len() == PAGE) else {
                return Ok(None);
            };
            let last = last.id().to_owned();
            // The caller learns that it is not whole by the way it ends; why is not for a body.
            if self.permit.life().is_some_and(|life| life.end().is_some()) {
                return Err(io::Error::other("the grant has ended"));
            }
            let next = page_after(&self.vault, &self.permit, Some(&last)).await;
            self.page = next.map_err(|_| io::Error::other("the export cannot go on"))?;
            self.written = 0;
        }
        let rest = self.page.page.documents.get(self.written..);
        let mut piece = Vec::new();
        for document in rest.unwrap_or_default() {
            self.written += 1;
            write_line(document, &mut piece);
            if piece.len() >= PIECE || self.separable.is_wanted() {
                break;
            }
        }
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

fn write_line(document: &Document, out: &mut Vec<u8>) {
    let begin = out.len();
    document.write_to(out);
    // JSON may be written over several lines, and then it is here: a line break is no part of a JSON text's strings.
    for byte in out.iter_mut().skip(begin) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

async fn page_after(
    vault: &Vault,
    permit: &Permit<Read>,
    last: Option<&str>,
) -> Result<Answer, ApiProblem> {
    let selector = match last {
        None => Selector::everything(),
        Some(last) => Selector::parse(&json!({ "_id": { "$gt": last } }).to_string())
            .map_err(QueryError::from)?,
    };
    let mut query = Query::new(selector);
    query.limit = PAGE;
    Ok(vault.query(permit, query).await?)
}
