//! The answer to `open_revs`: several revisions of one document, some at a time. A document may have a thousand large leaves, so they
//! are never in memory together.
//!
//! Guarantees: the leaves are chosen and the first batch is told from one view, so what fits a batch is whole. Of a leaf that is
//! replaced before its turn comes, what replaced it is told (or that it is missing, where only itself was asked for).

use std::collections::VecDeque;

use adyton_couch::attachment::Encodings;
use adyton_couch::document::DocumentId;
use adyton_couch::multipart::Boundary;
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, DocumentQuery, OpenRevs};

use super::contents::{self, ContentPlace, Revision, Wish, boundary, push_related, text};
use super::pieces::{Piece, PieceProducer, PieceSource};
use super::read::{self, Extras};
use super::reply;
use crate::databases::DatabaseError;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// How several revisions are told.
pub(super) enum Form {
    /// As JSON.
    List,
    /// Each in a part of its own, those with contents as parts in parts.
    Parts(Parts),
}

/// What separates the revisions.
pub(super) struct Parts {
    boundary: Boundary,
    /// Behind `multipart/`.
    subtype: &'static str,
}

impl Form {
    /// Parts of this kind.
    pub(super) fn parts(subtype: &'static str) -> Result<Self, StoreError> {
        let boundary = boundary()?;
        Ok(Self::Parts(Parts { boundary, subtype }))
    }

    pub(super) fn content_type(&self) -> String {
        match self {
            Self::List => reply::JSON.to_owned(),
            Self::Parts(parts) => parts.boundary.content_type(parts.subtype),
        }
    }

    /// Where contents are told.
    pub(super) fn content_place(&self) -> ContentPlace {
        match self {
            Self::List => ContentPlace::Inline,
            Self::Parts(_) => ContentPlace::Part,
        }
    }

    /// Who reads parts is told the contents, as by CouchDB; who does not, when he asks for them.
    pub(super) fn contents(&self, wanted: &AttachmentsWanted) -> AttachmentsWanted {
        match (self, wanted) {
            (Self::Parts(_), AttachmentsWanted::Stubs) => AttachmentsWanted::All,
            (Self::List | Self::Parts(_), wanted) => wanted.clone(),
        }
    }
}

impl Parts {
    /// What stands before a part of this type.
    pub(super) fn before(&self, first: bool, kind: &str) -> Piece {
        text(&self.boundary.before_part(first, &[("Content-Type", kind)]))
    }

    /// Appends a revision.
    pub(super) fn push(
        &self,
        first: bool,
        told: Revision,
        encodings: Encodings,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        if told.parts.is_empty() {
            pieces.push(self.before(first, reply::JSON));
            pieces.extend(told.pieces);
        } else {
            let inner = boundary()?;
            pieces.push(self.before(first, &inner.content_type("related")));
            push_related(told, &inner, encodings, pieces);
        }
        Ok(())
    }

    /// What ends the last part.
    pub(super) fn end(&self) -> Piece {
        text(&self.boundary.end())
    }

    /// A body without parts.
    pub(super) fn nothing(&self) -> Piece {
        let end = self.boundary.end();
        text(end.trim_ascii_start())
    }
}

/// The answer under way.
pub(super) struct OpenRevsSource {
    id: String,
    revisions: VecDeque<Result<Leaf, Rev>>,
    /// A leaf that is replaced is followed.
    follow: bool,
    /// What was read with the view that the revisions were chosen from.
    begun: Option<Vec<Piece>>,
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
        view: View,
        id: &DocumentId,
        query: &DocumentQuery,
        mixed: bool,
    ) -> Result<Self, DatabaseError> {
        let (row, revisions) = read::chosen_of_many(&view, id.as_str(), query)?;
        let form = match mixed {
            true => Form::parts("mixed")?,
            false => Form::List,
        };
        let wish = Wish {
            attachments: form.contents(&query.attachments),
            ..contents::wish(query, form.content_place())
        };
        let mut source = Self {
            id: id.as_str().to_owned(),
            revisions: revisions.into(),
            follow: query.latest || query.open_revs == Some(OpenRevs::All),
            begun: None,
            extras: Extras {
                revisions: query.revs,
                ..Extras::default()
            },
            wish,
            encodings: query.encodings,
            form,
            at: Place::Start,
        };
        let pieces = source.some(&view, &row)?;
        source.begun = Some(PieceProducer::begun(view, pieces)?);
        Ok(source)
    }

    /// The leaf that tells of one that was chosen, perhaps from an earlier view. If there are several by now, the others are next.
    fn leaf(&mut self, row: &DocumentRow, chosen: Rev) -> Result<Leaf, Rev> {
        let mut found = read::found_for(row, chosen, self.follow).into_iter();
        let leaf = found.next().ok_or(chosen);
        for other in found.rev() {
            self.revisions.push_front(Ok(other));
        }
        leaf
    }

    fn revision(
        &mut self,
        (view, row): (&View, &DocumentRow),
        revision: Result<Leaf, Rev>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let first = self.at == Place::Start;
        let told = match revision.and_then(|leaf| self.leaf(row, leaf.rev)) {
            Ok(leaf) => {
                let told = contents::revision(view, row, leaf, self.extras, &self.wish)?;
                Ok(told)
            }
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
            Form::Parts(parts) => match told {
                Ok(told) => parts.push(first, told, self.encodings, pieces)?,
                Err(missing) => {
                    pieces.push(parts.before(first, "application/json; error=\"true\""));
                    pieces.push(missing);
                }
            },
        }
        Ok(())
    }

    /// The next revisions, up to a batch.
    fn some(&mut self, view: &View, row: &DocumentRow) -> Result<Vec<Piece>, StoreError> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES as u64 {
            let Some(revision) = self.revisions.pop_front() else {
                pieces.push(self.end());
                self.at = Place::Done;
                break;
            };
            let before = pieces.len();
            self.revision((view, row), revision, &mut pieces)?;
            self.at = Place::Revisions;
            bytes += pieces.iter().skip(before).map(Piece::length).sum::<u64>();
        }
        Ok(pieces)
    }

    fn end(&self) -> Piece {
        match (&self.form, self.at) {
            (Form::List, Place::Start) => text(b"[]"),
            (Form::List, Place::Revisions | Place::Done) => text(b"]"),
            (Form::Parts(parts), Place::Start) => parts.nothing(),
            (Form::Parts(parts), Place::Revisions | Place::Done) => parts.end(),
        }
    }
}

impl PieceSource for OpenRevsSource {
    fn next_pieces(&mut self, file: &DatabaseFile) -> Result<Option<Vec<Piece>>, StoreError> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun));
        }
        if self.at == Place::Done {
            return Ok(None);
        }
        let view = file.view()?;
        let row = view.document(&self.id)?.unwrap_or_default();
        let pieces = self.some(&view, &row)?;
        Ok(Some(pieces))
    }

    fn is_complete(&self) -> bool {
        self.at == Place::Done && self.begun.is_none()
    }
}
