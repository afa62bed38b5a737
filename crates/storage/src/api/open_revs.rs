//! The answer to `open_revs`: several revisions of one document, from one view, some at a time. A document may have a thousand
//! large leaves, so they are never in memory together.

use std::sync::Arc;

use adyton_couch::attachment::Encodings;
use adyton_couch::document::DocumentId;
use adyton_couch::multipart::Boundary;
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::DocumentQuery;

use super::contents::{self, ContentPlace, Wish, boundary, push_related, text};
use super::pieces::{Piece, PieceProducer, PieceSource};
use super::read::{self, Extras};
use super::reply;
use crate::databases::DatabaseError;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// How the revisions are told.
pub(super) enum Form {
    /// `[{"ok":…},{"missing":…}]`.
    List,
    /// Each in a part of its own, those with contents as parts in parts.
    Mixed(Boundary),
}

/// The answer under way.
pub(super) struct OpenRevsSource {
    file: Arc<DatabaseFile>,
    view: Arc<View>,
    row: DocumentRow,
    revisions: std::vec::IntoIter<Result<Leaf, Rev>>,
    extras: Extras,
    wish: Wish,
    encodings: Encodings,
    pub(super) form: Form,
    at: Place,
}

/// How far the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// At least one revision was told.
    Revisions,
    Done,
}

impl OpenRevsSource {
    pub(super) fn new(
        file: Arc<DatabaseFile>,
        view: View,
        id: &DocumentId,
        query: &DocumentQuery,
        mixed: bool,
    ) -> Result<Self, DatabaseError> {
        let (row, revisions) = read::chosen_of_many(&view, id.as_str(), query)?;
        let (form, place) = match mixed {
            true => (Form::Mixed(boundary()?), ContentPlace::Part),
            false => (Form::List, ContentPlace::Inline),
        };
        Ok(Self {
            file,
            view: Arc::new(view),
            row,
            revisions: revisions.into_iter(),
            extras: Extras {
                revisions: query.revs,
                ..Extras::default()
            },
            wish: contents::wish(query, place),
            encodings: query.encodings,
            form,
            at: Place::Start,
        })
    }

    fn revision(
        &self,
        revision: Result<Leaf, Rev>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let first = self.at == Place::Start;
        let told = match &revision {
            Ok(leaf) => Ok(contents::revision(
                &self.view,
                &self.row,
                *leaf,
                self.extras,
                &self.wish,
            )?),
            Err(rev) => Err(text(format!("{{\"missing\":\"{rev}\"}}").as_bytes())),
        };
        match &self.form {
            Form::List => {
                pieces.push(text(if first { b"[" } else { b"," }));
                match told {
                    Ok(told) => {
                        pieces.push(text(b"{\"ok\":"));
                        pieces.extend(told.pieces);
                        pieces.push(text(b"}"));
                    }
                    Err(missing) => pieces.push(missing),
                }
            }
            Form::Mixed(boundary) => {
                let before =
                    |kind: &str| text(&boundary.before_part(first, &[("Content-Type", kind)]));
                match told {
                    Ok(told) if told.parts.is_empty() => {
                        pieces.push(before(reply::JSON));
                        pieces.extend(told.pieces);
                    }
                    Ok(told) => {
                        let inner = contents::boundary()?;
                        pieces.push(before(&inner.content_type("related")));
                        push_related(told, &inner, self.encodings, pieces);
                    }
                    Err(missing) => {
                        pieces.push(before("application/json; error=\"true\""));
                        pieces.push(missing);
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&self) -> Piece {
        match (&self.form, self.at) {
            (Form::List, Place::Start) => text(b"[]"),
            (Form::List, Place::Revisions | Place::Done) => text(b"]"),
            (Form::Mixed(boundary), _) => text(&boundary.end()),
        }
    }
}

impl PieceSource for OpenRevsSource {
    fn next_pieces(&mut self) -> Result<Option<PieceProducer>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES as u64 {
            let Some(revision) = self.revisions.next() else {
                pieces.push(self.end());
                self.at = Place::Done;
                break;
            };
            let before = pieces.len();
            self.revision(revision, &mut pieces)?;
            self.at = Place::Revisions;
            bytes += pieces.iter().skip(before).map(Piece::length).sum::<u64>();
        }
        let (file, view) = (Arc::clone(&self.file), Arc::clone(&self.view));
        Ok(Some(PieceProducer::sharing(file, view, pieces)))
    }
}
