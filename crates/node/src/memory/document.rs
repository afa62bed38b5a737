//! A record as others may hold it: shared, unchanging, as it was when it was asked for.

use std::fmt;
use std::sync::Arc;

use adyton_couch::lazy_json::LazyValue;
use bytes::Bytes;

use super::budget::{Budget, OverBudget};
use super::slab::Slab;
use adyton_couch::rev::Rev;
use zeroize::Zeroizing;

/// A handle on one record, as its holder may see it: what a view leaves out is not in it. It keeps the record's bytes alive and as they are, whatever happens to
/// the database meanwhile; drop it soon.
#[derive(Clone)]
pub struct Document {
    pub(super) slab: Arc<Slab>,
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) id_at: u32,
    pub(super) id_len: u16,
    pub(super) rev: Rev,
}

impl Document {
    /// A record that has a text of its own.
    pub(super) fn copied(
        text: &[u8],
        id: &[u8],
        rev: Rev,
        budget: &Budget,
    ) -> Result<Self, OverBudget> {
        let bytes = text.len() + id.len();
        let counted = budget.reserve(bytes + Slab::OVERHEAD)?;
        let mut both = Zeroizing::new(Vec::with_capacity(bytes));
        both.extend_from_slice(text);
        both.extend_from_slice(id);
        // Records and ids are limited far below what these numbers can say.
        let len = u32::try_from(text.len()).map_err(|_| OverBudget)?;
        let id_len = u16::try_from(id.len()).map_err(|_| OverBudget)?;
        Ok(Self {
            slab: Arc::new(Slab::new(both, counted)),
            at: 0,
            len,
            id_at: len,
            id_len,
            rev,
        })
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> &str {
        std::str::from_utf8(self.slab.text(self.id_at, self.id_len.into())).unwrap_or_default()
    }

    /// The record's revision.
    #[must_use]
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// The record's JSON text, without `_rev`.
    #[must_use]
    pub fn object(&self) -> &[u8] {
        self.slab.text(self.at, self.len as usize)
    }

    /// The record's member of that name (not `_rev`).
    #[must_use]
    pub fn member(&self, name: &str) -> Option<LazyValue<'_>> {
        LazyValue::first_of(self.object())?.member(name)
    }

    /// How many bytes [`Document::write_to`] writes.
    #[must_use]
    pub fn served_len(&self) -> usize {
        self.head().len() + self.object().len() - 1
    }

    /// Writes the record as it is served: its text with `_rev` as the first member.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head().as_bytes());
        out.extend_from_slice(self.object().get(1..).unwrap_or_default());
    }

    /// The record as it is served, in two pieces; the second is the held plaintext itself, which
    /// stays alive until the piece is dropped.
    #[must_use]
    pub fn served(&self) -> [Bytes; 2] {
        let object = Bytes::from_owner(Object(self.clone()));
        [
            Bytes::from(self.head()),
            object.slice(1.min(object.len())..),
        ]
    }

    /// A part of [`Document::object`], uncopied.
    pub(super) fn slice_of(&self, part: &[u8]) -> Bytes {
        Bytes::from_owner(Object(self.clone())).slice_ref(part)
    }

    fn head(&self) -> String {
        // The object has at least its `_id`, so a comma is always right.
        format!("{{\"_rev\":\"{}\",", self.rev)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Document(..)")
    }
}

struct Object(Document);

impl AsRef<[u8]> for Object {
    fn as_ref(&self) -> &[u8] {
        self.0.object()
    }
}
