//! `COPY /{db}/{id}`: a revision under another id, with its attachments, whose contents are not kept twice.

use adyton_couch::document::{DocumentId, DocumentKind};
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{CouchError, Destination, DocumentQuery};
use http::StatusCode;

use super::App;
use super::asked::{Admitted, Head};
use super::attachments::members_of;
use super::documents::{Done, may_write, said_rev};
use super::read;
use crate::databases::DatabaseError;
use crate::store::attachments::{AttachmentWrite, Source};
use crate::store::blocking;
use crate::store::database::View;
use crate::store::write::{DocumentWrite, WriteKind};

/// The method's name. It is no standard one.
pub(super) const COPY: &str = "COPY";

impl App {
    pub(super) async fn copy_document(&self, id: DocumentId, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        let destination = destination(&head)?;
        may_write(permit.rights(), &destination.id, Liveness::Live)?;
        let mut query = DocumentQuery::parse(&head.query)?;
        query.rev = said_rev(query.rev, &head)?;
        let file = self.databases.file(&permit).await?;
        let write = blocking(move || Ok(copied(&file.view()?, &id, &query, destination)));
        self.write_one(&permit, write.await??, None, StatusCode::CREATED)
            .await
    }
}

/// Where a copy goes.
pub(super) fn destination(head: &Head) -> Result<Destination, CouchError> {
    let value = head.headers.get("destination").map(|value| value.to_str());
    let Some(Ok(value)) = value else {
        let reason = "Destination header is mandatory for COPY.";
        return Err(CouchError::bad_request(reason));
    };
    let destination = Destination::parse(value)?;
    match destination.id.kind() {
        DocumentKind::Local => {
            let reason = "Local documents are written with PUT.";
            Err(CouchError::bad_request(reason))
        }
        DocumentKind::Ordinary | DocumentKind::Design => Ok(destination),
    }
}

fn copied(
    view: &View,
    id: &DocumentId,
    query: &DocumentQuery,
    destination: Destination,
) -> Result<DocumentWrite, DatabaseError> {
    let (_, leaf) = read::chosen(view, id.as_str(), query)?;
    if leaf.deleted {
        return Err(CouchError::deleted().into());
    }
    let (members, attached) = members_of(view, id, leaf)?;
    let attachments = attached.into_iter().map(|attached| AttachmentWrite {
        name: attached.attachment.name.clone(),
        source: Source::Stored(Box::new(attached)),
    });
    Ok(DocumentWrite {
        id: destination.id,
        liveness: Liveness::Live,
        members,
        attachments: attachments.collect(),
        kind: WriteKind::Edit {
            base: destination.rev,
        },
    })
}
