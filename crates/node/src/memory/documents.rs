//! The records of one database, in memory: found by id, changed by batches.
//!
//! Guarantees: a batch is applied whole or, when the budget does not allow it, not at all; after
//! that nothing of a replaced or removed record is left in memory that is ours; each record costs
//! about 60 bytes beside its text, and its id costs nothing, because it is read from the text.
//! Refuses to know: where records come from, who asks for them, and which of two revisions wins:
//! the feed says so, and the last one said counts.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::budget::{Budget, OverBudget, Reservation};
use super::changes::{Change, Changes, Now, Was, WasOf};
use super::document::Document;
use super::filter::Filter;
use super::indexes::Indexes;
use super::schemas::Schemas;
use super::slabs::{self, Place, Slabs};
use super::slots::{Slot, Slots};
use super::view::{View, moment};
use super::words::{AllWords, Words};
use adyton_client::pull::{PlainBatch, PlainRow, SchemaText};
use adyton_couch::lazy_json::LazyValue;
use adyton_couch::rev::Rev;
use adyton_couch::selector::{FieldPath, walk};
use adyton_protocol::scope::time_field;
use zeroize::Zeroizing;

/// The records of one database.
pub struct Documents {
    budget: Budget,
    slots: Slots,
    /// Slot numbers, by the hash of the id.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slabs: Slabs,
    schemas: Schemas,
    /// Covers `slots`, `ids` and `schemas`.
    counted: Reservation,
    pub(super) indexes: Indexes,
    pub(super) changes: Changes,
    pub(super) words: AllWords,
}

/// What a batch changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that were new.
    pub inserted: usize,
    /// Records that were there and have other content now.
    pub updated: usize,
    /// Records that were there and are gone.
    pub removed: usize,
}

/// What a database takes of its budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The text of the records.
    pub plaintext: usize,
    /// What it takes to find them.
    pub overhead: usize,
    /// What it takes to find them faster.
    pub indexes: usize,
}

impl Documents {
    /// The longest schema name by which a record is told from others after it is gone.
    const LONGEST_SCHEMA: usize = 2048;

    /// No records. All that comes is counted in `budget`, which other databases may share.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            slots: Slots::default(),
            ids: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slabs: Slabs::default(),
            schemas: Schemas::default(),
            counted: budget.reserve_beyond_limit(0),
            indexes: Indexes::new(budget.clone()),
            changes: Changes::new(&budget),
            words: AllWords::default(),
            budget,
        }
    }

    /// Applies the changes of a batch in their order. Readers see all of it or, before, none.
    ///
    /// # Errors
    /// When the budget does not allow it, even after all indexes were dropped. Nothing has changed
    /// then.
    pub fn apply(&mut self, batch: PlainBatch) -> Result<Applied, OverBudget> {
        let records = batch
            .rows()
            .iter()
            .filter(|row| matches!(row, PlainRow::Record { .. }))
            .count();
        let (bytes, rows) = batch.into_parts();
        let counted = match self.reserve(bytes.capacity(), records) {
            Ok(counted) => counted,
            Err(OverBudget) => {
                self.drop_indexes();
                self.changes.clear();
                self.reserve(bytes.capacity(), records)?
            }
        };
        let slab = (records > 0).then(|| self.slabs.add(bytes, records, counted));
        let mut applied = Applied::default();
        let mut touched = Vec::new();
        for row in rows {
            match (row, slab) {
                (PlainRow::Removed { id, rev }, _) => {
                    self.remove(&id, rev, &mut applied, &mut touched);
                }
                (
                    PlainRow::Record {
                        id,
                        rev,
                        object,
                        schema,
                    },
                    Some(slab),
                ) => {
                    let schema = match schema {
                        SchemaText::At(range) => {
                            let name = self.slabs.text(slab, range.start as u32, range.len());
                            self.schemas.code(name)
                        }
                        SchemaText::Escaped => Schemas::OTHER,
                        SchemaText::Absent => Schemas::NONE,
                    };
                    // Batches are limited to `PlainBatch::MAX_BYTES`, ids to `MAX_ID_BYTES`.
                    let place = Place {
                        slab,
                        at: object.start as u32,
                        len: object.len() as u32,
                        id_at: id.start as u32,
                        id_len: id.len() as u16,
                    };
                    self.put(Slot { place, schema, rev }, &mut applied, &mut touched);
                }
                (PlainRow::Record { .. }, None) => {}
            }
        }
        self.slabs.tidy(&mut self.slots, &self.budget);
        self.update_indexes(touched);
        self.recount();
        self.changes.settle();
        Ok(applied)
    }

    /// The record with that id as the view shows it, if it does.
    ///
    /// # Errors
    /// When there is no memory to show it without what the view leaves out.
    pub fn get(&self, view: &View, id: &str) -> Result<Option<Document>, OverBudget> {
        match self.find_in(view, id) {
            Some(number) => self.shown(view, number),
            None => Ok(None),
        }
    }

    /// Those of the records with these ids that the view shows, in this order, and what covers the handles.
    ///
    /// # Errors
    /// When there is no memory for the handles, or to show records without what the view leaves out.
    pub fn by_ids(
        &self,
        view: &View,
        ids: &[String],
    ) -> Result<(Vec<Document>, Reservation), OverBudget> {
        let counted = self.budget.reserve(ids.len() * size_of::<Document>())?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.get(view, id)?);
        }
        Ok((found, counted))
    }

    /// The revision of the record with that id, if the view shows it.
    #[must_use]
    pub fn rev(&self, view: &View, id: &str) -> Option<Rev> {
        let number = self.find_in(view, id)?;
        self.slots.slot(number).map(|slot| slot.rev)
    }

    fn find_in(&self, view: &View, id: &str) -> Option<u32> {
        let number = self.find(id)?;
        let slot = self.slots.slot(number)?;
        Filter::of(self, view)
            .has(self, number, slot)
            .then_some(number)
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What this database takes of its budget.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let plaintext = self
            .slots
            .occupied()
            .map(|(_, slot)| slot.place.len as usize)
            .sum();
        Usage {
            plaintext,
            overhead: (self.counted.bytes() + self.slabs.counted()).saturating_sub(plaintext),
            indexes: self.indexes.bytes() + self.words.bytes(),
        }
    }

    /// What the records take of the budget, without indexes. Unlike [`Documents::usage`] it does not look at each.
    pub(super) fn held(&self) -> usize {
        self.counted.bytes() + self.slabs.counted()
    }

    /// Drops all indexes; queries build again what they need.
    pub fn drop_indexes(&mut self) {
        self.indexes.clear();
        self.words.clear();
    }

    fn put(&mut self, new: Slot, applied: &mut Applied, touched: &mut Vec<u32>) {
        let place = new.place;
        let id = self
            .slabs
            .text(place.slab, place.id_at, place.id_len.into());
        let hash = self.hasher.hash_one(id);
        let (slabs, slots) = (&self.slabs, &self.slots);
        let known = self
            .ids
            .find(hash, |slot| slots.id(*slot, slabs) == id)
            .copied();
        let was = known.and_then(|slot| self.was(slot));
        let slot = match known {
            Some(slot) => {
                if let Some(old) = self.slots.slot(slot) {
                    self.schemas.went(old.schema);
                    self.slabs.moved_out(old.place);
                }
                applied.updated += 1;
                slot
            }
            None => {
                let slot = self.slots.vacancy();
                let (slabs, slots, hasher) = (&self.slabs, &self.slots, &self.hasher);
                self.ids
                    .insert_unique(hash, slot, |slot| hasher.hash_one(slots.id(*slot, slabs)));
                applied.inserted += 1;
                slot
            }
        };
        self.schemas.came(new.schema);
        self.slots.set(slot, new);
        self.slabs.moved_in(place.slab, slot);
        touched.push(slot);
        let now = Now::Record(new.rev);
        self.note(Change { slot, was, now });
    }

    fn remove(&mut self, id: &str, rev: Rev, applied: &mut Applied, touched: &mut Vec<u32>) {
        let Some(slot) = self.find(id) else { return };
        let was = self.was(slot);
        let hash = self.hasher.hash_one(id.as_bytes());
        if let Ok(entry) = self.ids.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        if let Some(old) = self.slots.vacate(slot) {
            self.schemas.went(old.schema);
            self.slabs.moved_out(old.place);
        }
        applied.removed += 1;
        touched.push(slot);
        let now = Now::Gone(id.into(), rev);
        self.note(Change { slot, was, now });
    }

    fn note(&mut self, change: Change) {
        if self.changes.is_begun() {
            self.changes.note(change);
        }
    }

    /// What decides who can see a record that is about to change.
    fn was(&self, number: u32) -> Option<Was> {
        let slot = self
            .slots
            .slot(number)
            .filter(|_| self.changes.is_begun())?;
        let object = LazyValue::first_of(self.object(number));
        let named = match slot.schema {
            Schemas::OTHER => object.and_then(|object| object.member("schema")?.as_text()),
            _ => None,
        };
        let named = named.map(|name| name.decode());
        let name = named.as_deref().or_else(|| self.schemas.name(slot.schema));
        let path = FieldPath::parse(time_field(name)).ok();
        let time = object
            .zip(path)
            .and_then(|(object, path)| walk(object, path.steps()));
        let at = moment(time);
        let schema = match named {
            Some(name) if name.len() <= Self::LONGEST_SCHEMA => WasOf::Name(name.into()),
            // Longer than any that a caller can name.
            Some(_) => WasOf::Name(Box::default()),
            None => WasOf::Code(slot.schema),
        };
        Some(Was { schema, at })
    }

    fn find(&self, id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(id.as_bytes());
        let is_it = |slot: &u32| self.slots.id(*slot, &self.slabs) == id.as_bytes();
        self.ids.find(hash, is_it).copied()
    }

    fn update_indexes(&mut self, mut touched: Vec<u32>) {
        touched.sort_unstable();
        touched.dedup();
        let Self {
            indexes,
            slots,
            slabs,
            ..
        } = self;
        indexes.update(&touched, |slot| {
            let place = slots.slot(slot)?.place;
            Some(slabs.text(place.slab, place.at, place.len as usize))
        });
        let mut words = std::mem::take(&mut self.words);
        words.update(self, &touched);
        self.words = words;
    }

    /// Reserves all that a batch can need, so that applying it cannot fail half-way.
    fn reserve(&mut self, bytes: usize, records: usize) -> Result<Reservation, OverBudget> {
        let counted = if records == 0 {
            self.budget.reserve(0)?
        } else {
            slabs::reserve(&self.budget, bytes, records)?
        };
        let new = records.saturating_sub(self.slots.vacancies());
        let slots = self.slots.room_for(new);
        let ids = Self::ids_bytes(self.ids.len() + records).max(self.ids.allocation_size());
        self.counted.resize(
            self.counted
                .bytes()
                .max(slots * size_of::<Slot>() + ids + Schemas::BYTES),
        )?;
        self.slots.make_room(slots);
        Ok(counted)
    }

    /// Counts what it is, after it was counted what it could become.
    fn recount(&mut self) {
        let exact = self.slots.bytes() + self.ids.allocation_size() + Schemas::BYTES;
        self.counted.resize_beyond_limit(exact);
    }

    /// An upper bound of what the id table takes for `len` ids.
    fn ids_bytes(len: usize) -> usize {
        (len * 8 / 7 + 16).next_power_of_two() * (size_of::<u32>() + 1) + 32
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The index of a schema's words, if there is one.
    pub(super) fn words_of(&self, schema: &str) -> Option<Arc<Words>> {
        self.words.find(schema)
    }

    pub(super) fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    pub(super) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.slot(slot)
    }

    pub(super) fn occupied(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.occupied()
    }

    /// One more than the highest slot number.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn object(&self, slot: u32) -> &[u8] {
        self.slots.slot(slot).map_or(&[], |slot| {
            self.slabs
                .text(slot.place.slab, slot.place.at, slot.place.len as usize)
        })
    }

    #[inline]
    pub(super) fn id(&self, slot: u32) -> &[u8] {
        self.slots.id(slot, &self.slabs)
    }

    /// The record as the view shows it: where it lies or, if something is left out, a copy without that.
    pub(super) fn shown(&self, view: &View, number: u32) -> Result<Option<Document>, OverBudget> {
        let Some(Slot { place, rev, .. }) = self.slots.slot(number).copied() else {
            return Ok(None);
        };
        let mut text = Zeroizing::new(Vec::new());
        if view.leaves_out_fields() {
            // What is written is no longer than what is there.
            let counted = self.budget.reserve(place.len as usize)?;
            text.reserve_exact(place.len as usize);
            if view.write(self.object(number), &mut text) {
                let document = Document::copied(&text, self.id(number), rev, &self.budget);
                drop(counted);
                return document.map(Some);
            }
        }
        let Place {
            at,
            len,
            id_at,
            id_len,
            ..
        } = place;
        Ok(self.slabs.slab(place.slab).map(|slab| Document {
            slab: slab.clone(),
            at,
            len,
            id_at,
            id_len,
            rev,
        }))
    }

    #[cfg(test)]
    pub(super) fn holds(&self, needle: &[u8]) -> bool {
        self.slabs.contains(needle) || self.indexes.contains(needle)
    }

    #[cfg(test)]
    pub(super) fn slabs(&self) -> &Slabs {
        &self.slabs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(generation: u64) -> Rev {
        Rev::new(generation, adyton_couch::rev::RevHash::from_bytes([7; 16])).unwrap()
    }

    fn record(id: &str, text: &str) -> String {
        format!(r#"{{"_id":"{id}","schema":"https://s/","text":"{text}"}}"#)
    }

    fn put(documents: &mut Documents, records: &[(&str, &str)]) -> Applied {
        let mut batch = PlainBatch::with_capacity(records.len() * 64);
        for (id, text) in records {
            batch.push(id, rev(1), record(id, text).as_bytes()).unwrap();
        }
        documents.apply(batch).unwrap()
    }

    fn remove(documents: &mut Documents, id: &str) -> Applied {
        let mut batch = PlainBatch::default();
        batch.remove(id, rev(2));
        documents.apply(batch).unwrap()
    }

    fn text(documents: &Documents, id: &str) -> Option<String> {
        let document = documents.get(&View::whole_database(), id).unwrap()?;
        Some(String::from_utf8(document.object().to_vec()).unwrap())
    }

    fn empty() -> Documents {
        Documents::new(Budget::new(64 << 20))
    }

    #[test]
    fn a_batch_says_what_it_changed() {
        let mut documents = empty();
        let applied = put(&mut documents, &[("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(
            applied,
            Applied {
                inserted: 2,
                updated: 1,
                removed: 0
            }
        );
        assert_eq!(
            remove(&mut documents, "a"),
            Applied {
                inserted: 0,
                updated: 0,
                removed: 1
            }
        );
        assert_eq!(remove(&mut documents, "a"), Applied::default());
        assert_eq!((documents.len(), text(&documents, "a")), (1, None));
        assert_eq!(text(&documents, "b").unwrap(), record("b", "2"));
    }

    #[test]
    fn nothing_of_a_replaced_or_removed_record_is_left() {
        let mut documents = empty();
        let many: Vec<String> = (0..200).map(|n| format!("id{n}")).collect();
        let all: Vec<(&str, &str)> = many.iter().map(|id| (id.as_str(), "ordinary")).collect();
        put(
            &mut documents,
            &[("old", "canary one"), ("gone", "canary two")],
        );
        put(&mut documents, &all);
        put(
            &mut documents,
            &[("id7", "canary three"), ("id8", "canary four")],
        );
        let selector = adyton_couch::selector::Selector::parse(r#"{"text":"canary one"}"#).unwrap();
        assert_eq!(documents.count(&View::whole_database(), &selector), Ok(1));
        assert!(documents.holds(b"canary one") && !documents.indexes.paths().is_empty());
        put(&mut documents, &[("old", "new"), ("id7", "new")]);
        remove(&mut documents, "gone");
        remove(&mut documents, "id8");
        assert!(!documents.holds(b"canary"));
        assert_eq!(documents.count(&View::whole_database(), &selector), Ok(0));
    }

    #[test]
    fn a_reader_keeps_what_it_has_while_the_record_changes() {
        let mut documents = empty();
        let budget = documents.budget().clone();
        put(&mut documents, &[("a", "canary"), ("b", "other")]);
        let held = documents
            .get(&View::whole_database(), "a")
            .unwrap()
            .unwrap();
        let [_, tail] = held.served();
        put(&mut documents, &[("a", "new")]);
        assert_eq!(held.object(), record("a", "canary").as_bytes());
        assert!(!documents.holds(b"canary"));
        assert_eq!(text(&documents, "b").unwrap(), record("b", "other"));
        let with_reader = budget.used();
        drop(held);
        assert_eq!(
            budget.used(),
            with_reader,
            "the second handle still holds it"
        );
        assert!(tail.ends_with(b"\"canary\"}"));
        drop(tail);
        assert!(budget.used() < with_reader);
    }

    #[test]
    fn small_batches_do_not_pile_up() {
        let mut documents = empty();
        let texts: Vec<String> = (0..2000).map(|n| format!("number {n}")).collect();
        for (n, text) in texts.iter().enumerate() {
            put(&mut documents, &[(&format!("id{}", n % 500), text)]);
        }
        assert!(
            documents.slabs().count() <= 34,
            "{}",
            documents.slabs().count()
        );
        let usage = documents.usage();
        assert!(documents.slabs().len() < usage.plaintext * 2);
        for n in 0..500 {
            assert_eq!(
                text(&documents, &format!("id{n}")).unwrap(),
                record(&format!("id{n}"), &texts[1500 + n])
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let budget = Budget::new(200_000);
        let mut documents = Documents::new(budget.clone());
        let mut stored = 0;
        let filler = "x".repeat(1000);
        let before = loop {
            let before = (documents.usage(), budget.used());
            let mut batch = PlainBatch::with_capacity(1 << 12);
            for n in 0..3 {
                let id = format!("id{}", stored + n);
                batch
                    .push(&id, rev(1), record(&id, &filler).as_bytes())
                    .unwrap();
            }
            match documents.apply(batch) {
                Ok(_) => stored += 3,
                Err(OverBudget) => break before,
            }
        };
        assert_eq!(before, (documents.usage(), budget.used()));
        assert!(budget.used() <= budget.limit() && stored > 100);
        assert_eq!(documents.len(), stored);
        assert_eq!(text(&documents, "id99").unwrap(), record("id99", &filler));
        remove(&mut documents, "id0");
        assert_eq!(documents.len(), stored - 1);
    }

    #[test]
    fn indexes_give_way_to_records() {
        let budget = Budget::new(400_000);
        let mut documents = Documents::new(budget.clone());
        let ids: Vec<String> = (0..1000).map(|n| format!("id{n}")).collect();
        let all: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        put(&mut documents, &all);
        let selector = adyton_couch::selector::Selector::parse(r#"{"text":"id5"}"#).unwrap();
        documents.count(&View::whole_database(), &selector).unwrap();
        assert!(documents.usage().indexes > 0);
        let free = budget.limit() - budget.used();
        let mut batch = PlainBatch::with_capacity(free);
        batch
            .push(
                "big",
                rev(1),
                record("big", &"x".repeat(free - 100)).as_bytes(),
            )
            .unwrap();
        documents.apply(batch).unwrap();
        assert_eq!(documents.usage().indexes, 0);
        assert_eq!(documents.count(&View::whole_database(), &selector), Ok(1));
    }

    #[test]
    fn a_schema_is_seen_however_it_is_written() {
        let mut documents = empty();
        let mut batch = PlainBatch::default();
        for n in 0..100 {
            let id = format!("id{n}");
            let text = format!(r#"{{"_id":"{id}","schema":"https:\/\/s\/{n}"}}"#);
            batch.push(&id, rev(1), text.as_bytes()).unwrap();
            let id = format!("plain{n}");
            let text = format!(r#"{{"_id":"{id}","schema":"https://s/{n}"}}"#);
            batch.push(&id, rev(1), text.as_bytes()).unwrap();
        }
        batch
            .push("none", rev(1), br#"{"_id":"none","schema":7}"#)
            .unwrap();
        documents.apply(batch).unwrap();
        for n in 0..100 {
            let name = format!("https://s/{n}");
            let view = View::of_schema(&name);
            assert_eq!(documents.count_all(&view), 2);
            assert!(documents.rev(&view, &format!("id{n}")).is_some());
            assert!(documents.rev(&view, "none").is_none());
        }
        assert_eq!(documents.count_all(&View::whole_database()), 201);
        assert_eq!(documents.count_all(&View::of_schema("https://s/100")), 0);
    }
}
