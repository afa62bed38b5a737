//! The answers to `_revs_diff` and `_missing_revs`, some documents at a time: each may name a thousand ancestors.

use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::rev::Rev;
use adyton_couch::wire::{AskedRevs, ForeignRevs, RevsAsked};
use bytes::Bytes;
use serde_json::json;

use crate::server::body::Claim;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::stream::{BATCH_BYTES, Producer};

/// What a look at a document counts for, so that a batch ends where nothing is missing, too.
const LOOK_BYTES: usize = 100;

/// Which answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingForm {
    /// `_revs_diff`: with the ancestors that a peer may send changes from.
    Diff,
    /// `_missing_revs`: the missing ones alone.
    Revs,
}

/// The answer under way.
pub(super) struct MissingRevsProducer {
    asked: std::vec::IntoIter<(String, AskedRevs)>,
    _held: Claim,
    form: MissingForm,
    at: Place,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// The opening was told, and no document.
    Opened,
    Documents,
    Done,
}

impl MissingRevsProducer {
    /// `held` is the room that the question takes.
    pub(super) fn new((asked, held): (RevsAsked, Claim), form: MissingForm) -> Self {
        Self {
            asked: asked.0.into_iter(),
            _held: held,
            form,
            at: Place::Start,
        }
    }

    /// Appends what is missing of a document, if anything is.
    fn document(
        &mut self,
        view: &View,
        (id, asked): (String, AskedRevs),
        text: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let row = view.document(&id)?.unwrap_or_default();
        let missing: Vec<Rev> = row.tree.missing(&asked.revs).collect();
        let generations = missing.iter().map(Rev::generation);
        let Some(deepest) = generations.chain(asked.foreign.deepest()).max() else {
            return Ok(());
        };
        if self.at == Place::Documents {
            text.extend_from_slice(b",\n");
        }
        self.at = Place::Documents;
        write_json_text(&id, text);
        text.push(b':');
        if self.form == MissingForm::Diff {
            text.extend_from_slice(b"{\"missing\":");
        }
        write_missing(&missing, &asked.foreign, text);
        if self.form == MissingForm::Diff {
            let ancestors = row.tree.possible_ancestors(deepest);
            if !ancestors.is_empty() {
                text.extend_from_slice(b",\"possible_ancestors\":");
                text.extend_from_slice(json!(ancestors).to_string().as_bytes());
            }
            text.push(b'}');
        }
        Ok(())
    }
}

/// Appends the list of what is missing: what could be here and is not, and what only others can have.
fn write_missing(missing: &[Rev], foreign: &ForeignRevs, text: &mut Vec<u8>) {
    text.push(b'[');
    for (at, rev) in missing.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        write_json_text(&rev.to_string(), text);
    }
    if !missing.is_empty() && !foreign.is_empty() {
        text.push(b',');
    }
    text.extend_from_slice(foreign.as_json().as_bytes());
    text.push(b']');
}

impl Producer for MissingRevsProducer {
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
        let mut text: Vec<u8> = match (self.at, self.form) {
            (Place::Done, _) => return Ok(None),
            (Place::Start, MissingForm::Diff) => b"{".to_vec(),
            (Place::Start, MissingForm::Revs) => b"{\"missing_revs\":{".to_vec(),
            (Place::Opened | Place::Documents, _) => Vec::new(),
        };
        if self.at == Place::Start {
            self.at = Place::Opened;
        }
        let view = file.view()?;
        let mut looks = 0;
        while text.len() + looks * LOOK_BYTES < BATCH_BYTES {
            let Some(asked) = self.asked.next() else {
                let end: &[u8] = match self.form {
                    MissingForm::Diff => b"}",
                    MissingForm::Revs => b"}}",
                };
                text.extend_from_slice(end);
                self.at = Place::Done;
                break;
            };
            self.document(&view, asked, &mut text)?;
            looks += 1;
        }
        Ok(Some(vec![text.into()]))
    }

    fn is_complete(&self) -> bool {
        self.at == Place::Done
    }
}
