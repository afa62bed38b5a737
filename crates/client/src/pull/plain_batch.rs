//! Decrypted records on their way into memory.
//!
//! Guarantees: what is in a [`PlainBatch`] is whole JSON objects with distinct top-level names,
//! each with the id it was announced under; the members that the storage node has the last word on
//! (`_rev`, `_deleted`, `_conflicts`) are cut out of the text. Plaintext is zeroized when the batch
//! is dropped, and handed on without a copy. Refuses to know: keys, schemas, the network.

use std::fmt;
use std::ops::Range;

use adyton_couch::lazy_json::{Kind, Member, NotAnObject, read_object};
use adyton_couch::rev::Rev;
use zeroize::{Zeroize, Zeroizing};

/// The members that the storage node has the last word on.
const OUTER_MEMBERS: [&str; 3] = ["_rev", "_deleted", "_conflicts"];

/// Why a record was not taken into a batch. The batch is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The plaintext is no JSON object, has a top-level name twice, or is nested deeper than
    /// [`adyton_couch::lazy_json::MAX_DEPTH`].
    #[error("record is not a json object")]
    NotAnObject,
    /// The plaintext says it is another record.
    #[error("record has another id inside than outside")]
    WrongId,
    /// An id longer than [`PlainBatch::MAX_ID_BYTES`].
    #[error("record id is too long")]
    IdTooLong,
    /// The batch would be longer than [`PlainBatch::MAX_BYTES`].
    #[error("record is too long")]
    TooLong,
}

/// Records in the order in which they are to be applied.
#[derive(Default)]
pub struct PlainBatch {
    /// Zeroes behind `used`.
    bytes: Zeroizing<Vec<u8>>,
    used: usize,
    rows: Vec<PlainRow>,
}

/// One change. Ranges point into the bytes of the batch.
pub enum PlainRow {
    /// The record is now this.
    Record {
        /// Where its id stands.
        id: Range<usize>,
        /// Its revision.
        rev: Rev,
        /// Where its JSON text stands.
        object: Range<usize>,
        /// Where its schema stands.
        schema: SchemaText,
    },
    /// The record is gone.
    Removed {
        /// Its id.
        id: Box<str>,
        /// The revision with which it went.
        rev: Rev,
    },
}

/// Where a record names its schema.
#[derive(Clone)]
pub enum SchemaText {
    /// Nowhere.
    Absent,
    /// Between these quotes.
    At(Range<usize>),
    /// In a string with escapes.
    Escaped,
}

impl PlainBatch {
    /// The most bytes of one batch; offsets are kept in 32 bits.
    pub const MAX_BYTES: usize = 1 << 30;
    /// The longest id.
    pub const MAX_ID_BYTES: usize = 4096;

    /// An empty batch with room for `bytes` of plaintext (1 MiB is a good size).
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; bytes]),
            used: 0,
            rows: Vec::new(),
        }
    }

    /// Takes in a record of `length` bytes, which `decrypt` writes where they will stay.
    ///
    /// # Errors
    /// What `decrypt` says, or why its output is no record. The bytes are wiped then.
    pub fn push_with<E: From<RecordError>>(
        &mut self,
        id: &str,
        rev: Rev,
        length: usize,
        decrypt: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if id.len() > Self::MAX_ID_BYTES {
            return Err(RecordError::IdTooLong.into());
        }
        let start = self.used;
        let end = start.checked_add(length).ok_or(RecordError::TooLong)?;
        self.make_room(end + id.len())?;
        let taken = match self.bytes.get_mut(start..end) {
            Some(room) => decrypt(room).and_then(|()| Ok(self.take_in(id, rev, start..end)?)),
            None => Err(RecordError::TooLong.into()),
        };
        if taken.is_err() {
            self.bytes
                .get_mut(start..)
                .into_iter()
                .for_each(Zeroize::zeroize);
        }
        taken
    }

    /// Takes in a record that is plaintext already.
    ///
    /// # Errors
    /// Why `plaintext` is no record.
    pub fn push(&mut self, id: &str, rev: Rev, plaintext: &[u8]) -> Result<(), RecordError> {
        self.push_with(id, rev, plaintext.len(), |room| {
            room.copy_from_slice(plaintext);
            Ok(())
        })
    }

    /// Says that the record `id` is gone with this revision.
    pub fn remove(&mut self, id: &str, rev: Rev) {
        let id = id.into();
        self.rows.push(PlainRow::Removed { id, rev });
    }

    /// The ids of the changed records, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| match row {
            PlainRow::Record { id, .. } => std::str::from_utf8(self.bytes.get(id.clone())?).ok(),
            PlainRow::Removed { id, .. } => Some(id),
        })
    }

    /// How many changes are in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many bytes of plaintext are in the batch.
    #[must_use]
    pub fn plaintext_bytes(&self) -> usize {
        self.used
    }

    /// Whether `length` more bytes fit without growing.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        self.bytes.len() - self.used >= length
    }

    /// The changes, in order.
    #[must_use]
    pub fn rows(&self) -> &[PlainRow] {
        &self.rows
    }

    /// The bytes (as many as are used, or some zeroes more) and the rows that point into them.
    #[must_use]
    pub fn into_parts(mut self) -> (Zeroizing<Vec<u8>>, Vec<PlainRow>) {
        let wasteful = self.used < self.bytes.len() / 4 * 3;
        let bytes = if wasteful {
            Zeroizing::new(self.bytes.get(..self.used).unwrap_or_default().to_vec())
        } else {
            std::mem::take(&mut self.bytes)
        };
        (bytes, self.rows)
    }

    fn make_room(&mut self, end: usize) -> Result<(), RecordError> {
        if end > Self::MAX_BYTES {
            return Err(RecordError::TooLong);
        }
        if end > self.bytes.len() {
            let size = if self.used == 0 {
                end
            } else {
                end + self.bytes.len()
            };
            let mut larger = Zeroizing::new(vec![0; size]);
            for (new, old) in larger.iter_mut().zip(self.bytes.iter()).take(self.used) {
                *new = *old;
            }
            self.bytes = larger;
        }
        Ok(())
    }

    /// Makes a row of the record at `object`, the last bytes of the batch.
    fn take_in(&mut self, id: &str, rev: Rev, object: Range<usize>) -> Result<(), RecordError> {
        let text = self
            .bytes
            .get_mut(object.clone())
            .ok_or(RecordError::TooLong)?;
        let head = Head::of(text, id)?;
        let (kept, placed) = head.cut(text);
        let moved = |range: Range<usize>| range.start + object.start..range.end + object.start;
        self.used = object.end;
        let id = match placed.id {
            Some(found) => moved(found),
            None => {
                // Escaped in the text: its meaning is kept behind the record.
                let room = object.end..object.end + id.len();
                if let Some(room) = self.bytes.get_mut(room.clone()) {
                    room.copy_from_slice(id.as_bytes());
                }
                self.used = room.end;
                room
            }
        };
        let schema = match placed.schema {
            SchemaText::At(range) => SchemaText::At(moved(range)),
            other => other,
        };
        self.rows.push(PlainRow::Record {
            id,
            rev,
            object: moved(kept),
            schema,
        });
        Ok(())
    }
}

impl fmt::Debug for PlainBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PlainBatch({} rows, {} bytes)",
            self.rows.len(),
            self.used
        )
    }
}

/// Where the members are that the vault wants to know of.
struct Head {
    /// The object, without whitespace around it.
    object: Range<usize>,
    placed: Placed,
    /// Members to cut out, each with one comma, in order.
    cuts: Vec<Range<usize>>,
}

/// Places of strings, between their quotes.
#[derive(Clone)]
struct Placed {
    /// `None` when it has escapes.
    id: Option<Range<usize>>,
    schema: SchemaText,
}

impl Placed {
    fn places(&mut self) -> impl Iterator<Item = &mut Range<usize>> {
        let schema = match &mut self.schema {
            SchemaText::At(range) => Some(range),
            SchemaText::Absent | SchemaText::Escaped => None,
        };
        self.id.iter_mut().chain(schema)
    }
}

impl Head {
    /// Reads the text once and checks everything that a batch promises.
    fn of(text: &[u8], id: &str) -> Result<Self, RecordError> {
        let start = text.len() - text.trim_ascii_start().len();
        let mut reading = Reading {
            id,
            start,
            names: Vec::with_capacity(32),
            escaped_names: Vec::new(),
            previous_end: start + 1,
            cut_first: None,
            id_is_right: false,
            placed: Placed {
                id: None,
                schema: SchemaText::Absent,
            },
            cuts: Vec::new(),
        };
        let object = read_object(text, |member| reading.see(member))
            .map_err(|NotAnObject| RecordError::NotAnObject)?;
        reading.end(object)
    }

    /// Cuts, moving the shorter side each time, and wipes what was there. Returns where the object
    /// is now.
    fn cut(&self, text: &mut [u8]) -> (Range<usize>, Placed) {
        let (mut object, mut placed) = (self.object.clone(), self.placed.clone());
        let mut shift_right = 0;
        for cut in self.cuts.iter().rev() {
            let (from, to) = (cut.start + shift_right, cut.end + shift_right);
            let length = to - from;
            let places = placed.places();
            if from - object.start < object.end - to {
                text.copy_within(object.start..from, object.start + length);
                text.get_mut(object.start..object.start + length)
                    .into_iter()
                    .for_each(<[u8]>::zeroize);
                places.filter(|place| place.start < from).for_each(|place| {
                    *place = place.start + length..place.end + length;
                });
                object.start += length;
                shift_right += length;
            } else {
                text.copy_within(to..object.end, from);
                text.get_mut(object.end - length..object.end)
                    .into_iter()
                    .for_each(<[u8]>::zeroize);
                places.filter(|place| place.start >= to).for_each(|place| {
                    *place = place.start - length..place.end - length;
                });
                object.end -= length;
            }
        }
        (object, placed)
    }
}

/// What was seen on the way through the members of a record.
struct Reading<'a> {
    id: &'a str,
    start: usize,
    names: Vec<&'a [u8]>,
    escaped_names: Vec<Box<str>>,
    /// Where the last member ended that stays or was cut with the comma before it.
    previous_end: usize,
    /// Where a member begins that is to be cut with the comma behind it.
    cut_first: Option<usize>,
    id_is_right: bool,
    placed: Placed,
    cuts: Vec<Range<usize>>,
}

impl<'a> Reading<'a> {
    fn see(&mut self, member: Member<'a>) {
        if member.name.is_escaped() {
            self.escaped_names.push(member.name.decode().into());
        } else {
            self.names.push(member.name.raw());
        }
        let (from, to) = (self.start + member.start, self.start + member.end);
        if let Some(cut_from) = self.cut_first.take() {
            self.cuts.push(cut_from..from);
            self.previous_end = from;
        }
        let plain = || {
            let text = member.value.as_text().filter(|text| !text.is_escaped())?;
            Some(to - 1 - text.raw().len()..to - 1)
        };
        if member.name.is("_id") {
            self.id_is_right = member
                .value
                .as_text()
                .is_some_and(|inner| inner.is(self.id));
            self.placed.id = plain();
        } else if member.name.is("schema") {
            self.placed.schema = match (member.value.kind(), plain()) {
                (Kind::Text, Some(place)) => SchemaText::At(place),
                (Kind::Text, None) => SchemaText::Escaped,
                _ => SchemaText::Absent,
            };
        } else if OUTER_MEMBERS.iter().any(|name| member.name.is(name)) {
            if self.previous_end == self.start + 1 || self.previous_end == from {
                self.cut_first = Some(from);
            } else {
                self.cuts.push(self.previous_end..to);
                self.previous_end = to;
            }
            return;
        }
        self.previous_end = to;
    }

    fn end(self, object: Range<usize>) -> Result<Head, RecordError> {
        let mut names = self.names;
        names.extend(self.escaped_names.iter().map(|name| name.as_bytes()));
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(RecordError::NotAnObject);
        }
        if !self.id_is_right {
            return Err(RecordError::WrongId);
        }
        Ok(Head {
            object,
            placed: self.placed,
            cuts: self.cuts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: Rev = Rev::LOWEST;

    fn taken(id: &str, text: &str) -> Result<(String, String, Option<String>), RecordError> {
        let mut batch = PlainBatch::with_capacity(1 << 12);
        batch.push("first", REV, br#"{"_id":"first"}"#)?;
        batch.push(id, REV, text.as_bytes())?;
        let (bytes, rows) = batch.into_parts();
        let PlainRow::Record {
            id, object, schema, ..
        } = &rows[1]
        else {
            panic!()
        };
        let text = |range: &Range<usize>| String::from_utf8(bytes[range.clone()].to_vec()).unwrap();
        let schema = match schema {
            SchemaText::At(range) => Some(text(range)),
            SchemaText::Absent | SchemaText::Escaped => None,
        };
        Ok((text(id), text(object), schema))
    }

    #[test]
    fn the_outer_members_are_cut_wherever_they_stand() {
        for (text, kept) in [
            (r#"{"_id":"a","_rev":"1-x","b":1}"#, r#"{"_id":"a","b":1}"#),
            (r#"{"_rev":"1-x","_id":"a","b":1}"#, r#"{"_id":"a","b":1}"#),
            (r#"{"_id":"a","b":1,"_rev":"1-x"}"#, r#"{"_id":"a","b":1}"#),
            (
                r#" { "_rev" : "1-x" , "_id" : "a" } "#,
                r#"{ "_id" : "a" }"#,
            ),
            (r#"{"_id":"a" , "_rev":"1-x" }"#, r#"{"_id":"a" }"#),
            (
                r#"{"_rev":"1-x","_deleted":false,"_id":"a"}"#,
                r#"{"_id":"a"}"#,
            ),
            (
                r#"{"_rev":"1","_id":"a","_deleted":false,"b":{"_rev":1},"_conflicts":[1]}"#,
                r#"{"_id":"a","b":{"_rev":1}}"#,
            ),
            (
                r#"{"_id":"a","_conflicts":[],"_deleted":true,"_rev":"1"}"#,
                r#"{"_id":"a"}"#,
            ),
            (r#"{"\u005frev":"1","_id":"a"}"#, r#"{"_id":"a"}"#),
            (r#"{"_id":"a"}"#, r#"{"_id":"a"}"#),
        ] {
            assert_eq!(taken("a", text).unwrap().1, kept, "{text}");
        }
    }

    #[test]
    fn id_and_schema_are_found_after_cutting() {
        let long = "x".repeat(500);
        for text in [
            format!(r#"{{"_rev":"1","schema":"https://s/","_id":"id 1","x":"{long}"}}"#),
            format!(r#"{{"x":"{long}","schema":"https://s/","_rev":"1","_id":"id 1"}}"#),
            format!(
                r#"{{"schema":"https://s/","x":"{long}","_id":"id 1","_rev":"1","_deleted":false}}"#
            ),
        ] {
            let (id, object, schema) = taken("id 1", &text).unwrap();
            assert_eq!(
                (id.as_str(), schema.as_deref()),
                ("id 1", Some("https://s/")),
                "{text}"
            );
            assert!(object.starts_with('{') && object.ends_with('}') && !object.contains("_rev"));
        }
    }

    #[test]
    fn an_escaped_id_is_kept_by_its_meaning() {
        let (id, object, _) = taken("a/é", r#"{"_id":"a\/\u00e9"}"#).unwrap();
        assert_eq!(
            (id.as_str(), object.as_str()),
            ("a/é", r#"{"_id":"a\/\u00e9"}"#)
        );
    }

    #[test]
    fn what_is_no_record_is_refused_and_wiped() {
        let not_an_object = [
            "",
            "[]",
            "1",
            "{",
            r#"{"_id":"a"} x"#,
            r#"{"_id":"a","b":}"#,
            r#"{"_id":"a","b":1,"b":2}"#,
            r#"{"_id":"a","\u005fid":"a"}"#,
        ];
        for text in not_an_object {
            assert_eq!(
                taken("a", text).unwrap_err(),
                RecordError::NotAnObject,
                "{text}"
            );
        }
        for text in [r#"{"b":1}"#, r#"{"_id":"b"}"#, r#"{"_id":1}"#, "{}"] {
            assert_eq!(
                taken("a", text).unwrap_err(),
                RecordError::WrongId,
                "{text}"
            );
        }
        let mut batch = PlainBatch::with_capacity(64);
        batch.push("a", REV, b"not json").unwrap_err();
        batch.push("a", REV, b"{\"_id\":\"\xff\"}").unwrap_err();
        assert!(batch.is_empty() && batch.bytes.iter().all(|byte| *byte == 0));
        batch
            .push_with("a", REV, 10, |room| {
                room.fill(7);
                Err::<(), _>(RecordError::TooLong)
            })
            .unwrap_err();
        assert!(batch.bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn limits_refuse_one_byte_more() {
        let mut batch = PlainBatch::default();
        let id = "i".repeat(PlainBatch::MAX_ID_BYTES);
        batch
            .push(&id, REV, format!(r#"{{"_id":"{id}"}}"#).as_bytes())
            .unwrap();
        let id = format!("{id}i");
        let refused = batch.push(&id, REV, format!(r#"{{"_id":"{id}"}}"#).as_bytes());
        assert_eq!(refused.unwrap_err(), RecordError::IdTooLong);
        let refused = batch.push_with("a", REV, PlainBatch::MAX_BYTES, |_| {
            Ok::<(), RecordError>(())
        });
        assert_eq!(refused.unwrap_err(), RecordError::TooLong);
        let refused = batch.push_with("a", REV, usize::MAX, |_| Ok::<(), RecordError>(()));
        assert_eq!(refused.unwrap_err(), RecordError::TooLong);
    }

    #[test]
    fn a_batch_grows_when_it_must() {
        let mut batch = PlainBatch::with_capacity(16);
        for n in 0..100 {
            let id = n.to_string();
            batch
                .push(&id, REV, format!(r#"{{"_id":"{id}"}}"#).as_bytes())
                .unwrap();
        }
        let (bytes, rows) = batch.into_parts();
        assert_eq!(rows.len(), 100);
        for (n, row) in rows.iter().enumerate() {
            let PlainRow::Record { object, .. } = row else {
                panic!()
            };
            assert_eq!(
                bytes[object.clone()],
                *format!(r#"{{"_id":"{n}"}}"#).as_bytes()
            );
        }
    }
}
