//! Watching a database: what a caller who sees a part of it is told of each change.
//!
//! Guarantees: who is told of a record could see it, before the change or after it; a record that leaves the caller's part
//! of the database is gone for it, and one that never was in it is never told, not even by its deletion. A caller that
//! applies everything it is told, in order, has what a query would give.

use adyton_couch::rev::Rev;
use adyton_couch::selector::Selector;

use super::access::{Access, Building};
use super::answer::MATCH_BYTES;
use super::budget::{OverBudget, Reservation};
use super::changes::{Change, Now, Was, WasOf};
use super::document::Document;
use super::documents::Documents;
use super::filter::Filter;
use super::query::QueryError;
use super::schemas::Schemas;
use super::view::View;

/// Most changes or records that are looked at in one go.
const MOST_LOOKED_AT: usize = 256;
/// When the records to be told have this many bytes, the rest waits for the next go.
const MANY_BYTES: usize = 64 * 1024;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With the next change.
    Now,
    /// With the records that are there, one by one.
    Start,
    /// With the first change after this position.
    After(u64),
}

/// How far a caller was told, and of which records.
#[derive(Debug)]
pub struct Watching {
    /// The next change to tell.
    position: u64,
    /// A bit for each slot whose record the caller was told of, or could have asked for.
    known: Vec<u64>,
    /// The next slot to tell, while the records that were there are told.
    backlog: Option<u32>,
    counted: Reservation,
}

/// What a caller is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// A record that the caller did not have.
    Created(Document),
    /// A record that the caller had is now this.
    Updated(Document),
    /// The record is no longer one that the selector takes, from this revision on.
    Left(Box<str>, Rev),
    /// The record is gone, as far as the caller can see, from this revision on: a deletion's own, or that of a version which
    /// the caller does not see. Which of the two cannot be told from it.
    Deleted(Box<str>, Rev),
    /// All records that were there when the watch began have been told.
    Complete,
}

/// The changes that the caller was not told are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap;

/// One go.
#[derive(Debug)]
pub struct Tidings {
    /// What is told, in order, each with the position behind it; none while records are told that would be missed.
    pub told: Vec<(Told, Option<u64>)>,
    /// Whether there is more to look at now.
    pub more: bool,
}

impl Watching {
    /// The position to come back to; none while records are told that would be missed.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.backlog.is_none().then_some(self.position)
    }

    fn knows(&self, slot: u32) -> bool {
        self.known
            .get(slot as usize / 64)
            .is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn set(&mut self, slot: u32, known: bool) -> Result<(), OverBudget> {
        let at = slot as usize / 64;
        if at >= self.known.len() {
            if !known {
                return Ok(());
            }
            if at >= self.known.capacity() {
                let words = at + 1 + at / 4;
                self.counted.resize(words * size_of::<u64>())?;
                self.known.reserve_exact(words - self.known.len());
            }
            self.known.resize(at + 1, 0);
        }
        if let Some(word) = self.known.get_mut(at) {
            *word = *word & !(1 << (slot % 64)) | u64::from(known) << (slot % 64);
        }
        Ok(())
    }
}

impl Documents {
    /// Remembers changes from now on, so that they can be watched.
    pub fn begin_changes(&mut self) {
        self.changes.begin();
    }

    /// Begins to watch what a selector takes within a view.
    ///
    /// # Errors
    /// When the selector touches what the view leaves out; when there is no memory for it.
    pub fn watch(
        &self,
        view: &View,
        selector: &Selector,
        since: Since,
    ) -> Result<Result<Watching, Gap>, QueryError> {
        view.may_select(selector)?;
        let end = self.changes.end();
        let mut watching = Watching {
            position: end,
            known: Vec::new(),
            backlog: None,
            counted: self.budget().reserve(0)?,
        };
        if since == Since::Start {
            watching.backlog = Some(0);
            return Ok(Ok(watching));
        }
        let access = self.access(selector, Filter::of(self, view), Building::Wanted);
        {
            let _counted = self.budget().reserve(access.count * MATCH_BYTES)?;
            for slot in self.matches(&access, selector) {
                watching.set(slot, true)?;
            }
        }
        if let Since::After(position) = since {
            let Some(missed) = self.changes.since(position) else {
                return Ok(Err(Gap));
            };
            // Back through time: what the caller may have had at its position. Whether the selector took it then cannot
            // be known, because its text is gone; who is told that a record left which it never had loses nothing.
            for (_, change) in missed.rev() {
                watching.set(change.slot, self.was_in(view, change.was.as_ref()))?;
            }
            watching.position = position;
        }
        Ok(Ok(watching))
    }

    /// What is to be told next.
    ///
    /// # Errors
    /// When there is no memory for it, or changes are forgotten: then the watch cannot go on.
    pub fn tell(
        &self,
        watching: &mut Watching,
        view: &View,
        selector: &Selector,
    ) -> Result<Result<Tidings, Gap>, OverBudget> {
        // One record at a time: no index helps.
        let access = Access {
            index: None,
            is_exact: false,
            count: self.len(),
            filter: Filter::of(self, view),
        };
        let takes = |slot| self.takes(slot, &access, selector);
        let Some(changes) = self.changes.since(watching.position) else {
            return Ok(Err(Gap));
        };
        let mut tidings = Tidings {
            told: Vec::new(),
            more: false,
        };
        let mut bytes = 0;
        if let Some(first) = watching.backlog {
            // What changed since the watch began is told as a change, and not twice.
            let changed: Vec<u32> = changes.map(|(_, change)| change.slot).collect();
            let until = self.slot_count().min(first as usize + MOST_LOOKED_AT);
            let mut next = first;
            while (next as usize) < until && bytes < MANY_BYTES {
                if !changed.contains(&next)
                    && takes(next)
                    && let Some(document) = self.shown(view, next)?
                {
                    watching.set(next, true)?;
                    bytes += document.served_len();
                    tidings.told.push((Told::Created(document), None));
                }
                next += 1;
            }
            let is_complete = next as usize >= self.slot_count();
            watching.backlog = (!is_complete).then_some(next);
            if is_complete {
                tidings.told.push((Told::Complete, Some(watching.position)));
            }
            tidings.more = true;
            return Ok(Ok(tidings));
        }
        let pending = changes.len();
        for (looked_at, (position, change)) in changes.enumerate() {
            if looked_at >= MOST_LOOKED_AT || bytes >= MANY_BYTES {
                tidings.more = looked_at < pending;
                return Ok(Ok(tidings));
            }
            if let Some(told) = self.told(watching, change, view, &access, takes(change.slot))? {
                if let Told::Created(document) | Told::Updated(document) = &told {
                    bytes += document.served_len();
                }
                tidings.told.push((told, Some(position + 1)));
            }
            watching.position = position + 1;
        }
        Ok(Ok(tidings))
    }

    /// What a caller is told of one change. `takes`: whether what is in the slot now is for the caller.
    fn told(
        &self,
        watching: &mut Watching,
        change: &Change,
        view: &View,
        access: &Access<'_>,
        takes: bool,
    ) -> Result<Option<Told>, OverBudget> {
        let knew = watching.knows(change.slot);
        match &change.now {
            Now::Gone(id, rev) => {
                watching.set(change.slot, false)?;
                Ok(knew.then(|| Told::Deleted(id.clone(), *rev)))
            }
            Now::Record(rev) => {
                if self.slot(change.slot).is_none_or(|slot| slot.rev != *rev) {
                    // It has changed again since: a later change tells.
                    return Ok(None);
                }
                watching.set(change.slot, takes)?;
                if takes {
                    let document = self.shown(view, change.slot)?;
                    return Ok(document.map(|document| match knew {
                        true => Told::Updated(document),
                        false => Told::Created(document),
                    }));
                }
                let id = std::str::from_utf8(self.id(change.slot)).unwrap_or_default();
                Ok(knew.then(|| match self.has(&access.filter, change.slot) {
                    true => Told::Left(id.into(), *rev),
                    false => Told::Deleted(id.into(), *rev),
                }))
            }
        }
    }

    /// Whether the view showed a record before it changed.
    fn was_in(&self, view: &View, was: Option<&Was>) -> bool {
        let Some(Was { schema, at }) = was else {
            return false;
        };
        let is_of_schema = view.schema().is_none_or(|wanted| match schema {
            WasOf::Code(Schemas::NONE) => false,
            WasOf::Code(code) => self.schemas().find(wanted) == Some(*code),
            WasOf::Name(name) => **name == *wanted,
        });
        let window = view.window();
        is_of_schema && (window.is_always() || at.is_some_and(|at| window.contains(at)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use adyton_client::pull::PlainBatch;
    use adyton_couch::rev::RevHash;
    use adyton_protocol::scope::{Instant, Window};
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Budget, Query, View};

    /// A database that is being changed, with a number for each revision.
    struct Scene {
        documents: Documents,
        edits: u64,
    }

    impl Scene {
        fn of(documents: Documents) -> Self {
            Self {
                documents,
                edits: 0,
            }
        }

        fn next_rev(&mut self) -> Rev {
            self.edits += 1;
            let mut hash = [0; 16];
            hash[..8].copy_from_slice(&self.edits.to_be_bytes());
            Rev::new(1, RevHash::from_bytes(hash)).unwrap()
        }

        fn put(&mut self, id: &str, schema: &str, n: u8) {
            let rev = self.next_rev();
            let day = n + 1;
            let text = format!(
                r#"{{"_id":"{id}","schema":"{schema}","n":{n},"insertedAt":"2026-01-0{day}T00:00:00Z"}}"#
            );
            let mut batch = PlainBatch::default();
            batch.push(id, rev, text.as_bytes()).unwrap();
            self.documents.apply(batch).unwrap();
        }

        fn remove(&mut self, id: &str) {
            let mut batch = PlainBatch::default();
            batch.remove(id, self.next_rev());
            self.documents.apply(batch).unwrap();
        }

        fn query(&self, view: &View, selector: &Selector) -> BTreeMap<String, String> {
            let query = Query {
                limit: usize::MAX,
                ..Query::new(selector.clone())
            };
            let page = self.documents.query(view, &query).unwrap();
            page.documents.iter().map(copy_of).collect()
        }
    }

    fn copy_of(document: &Document) -> (String, String) {
        let mut text = Vec::new();
        document.write_to(&mut text);
        (document.id().to_owned(), String::from_utf8(text).unwrap())
    }

    fn begun() -> Documents {
        let mut documents = Documents::new(Budget::new(64 << 20));
        documents.begin_changes();
        documents
    }

    /// Reads everything there is to tell, and applies it to a copy.
    fn follow(
        scene: &Scene,
        watching: &mut Watching,
        (view, selector): (&View, &Selector),
        copy: &mut BTreeMap<String, String>,
    ) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let tidings = scene.documents.tell(watching, view, selector);
            let tidings = tidings.unwrap().unwrap();
            for (told, _) in tidings.told {
                words.push(match told {
                    Told::Created(document) | Told::Updated(document) => {
                        let (id, text) = copy_of(&document);
                        match copy.insert(id.clone(), text) {
                            None => format!("+{id}"),
                            Some(_) => format!("={id}"),
                        }
                    }
                    Told::Left(id, _) => {
                        copy.remove(&*id);
                        format!("<{id}")
                    }
                    Told::Deleted(id, _) => {
                        copy.remove(&*id);
                        format!("-{id}")
                    }
                    Told::Complete => "complete".to_owned(),
                });
            }
            if !tidings.more {
                return words;
            }
        }
    }

    /// The revisions of what is gone for the caller, by id.
    fn gone(scene: &Scene, watching: &mut Watching, view: &View) -> Vec<(String, Rev)> {
        let all = Selector::everything();
        let tidings = scene.documents.tell(watching, view, &all);
        let told = tidings.unwrap().unwrap().told.into_iter();
        told.map(|(told, _)| match told {
            Told::Deleted(id, rev) => (id.into(), rev),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn what_is_gone_is_told_with_the_revision_that_it_went_with_whether_it_exists_elsewhere_or_not()
    {
        let mut scene = Scene::of(begun());
        let view = View::of_schema("s");
        for id in ["deleted", "moved"] {
            scene.put(id, "s", 1);
        }
        let watching = scene
            .documents
            .watch(&view, &Selector::everything(), Since::Now);
        let mut watching = watching.unwrap().unwrap();
        scene.remove("deleted");
        scene.put("moved", "other", 1);
        let [first, second] = [3, 4].map(|edit: u64| {
            let mut hash = [0; 16];
            hash[..8].copy_from_slice(&edit.to_be_bytes());
            Rev::new(1, RevHash::from_bytes(hash)).unwrap()
        });
        assert_eq!(
            gone(&scene, &mut watching, &view),
            [("deleted".to_owned(), first), ("moved".to_owned(), second)]
        );
        // What happens to it where the caller does not see it is not told.
        scene.put("moved", "other", 2);
        scene.remove("moved");
        assert_eq!(gone(&scene, &mut watching, &view), []);
    }

    #[test]
    fn created_updated_and_deleted_are_told_as_they_happen() {
        let mut scene = Scene::of(begun());
        let all = Selector::everything();
        let what = (&View::whole_database(), &all);
        scene.put("old", "s", 1);
        let watching = scene.documents.watch(what.0, what.1, Since::Now);
        let mut watching = watching.unwrap().unwrap();
        let mut copy = scene.query(what.0, what.1);
        scene.put("new", "s", 1);
        scene.put("old", "s", 2);
        assert_eq!(
            follow(&scene, &mut watching, what, &mut copy),
            ["+new", "=old"]
        );
        scene.remove("new");
        scene.remove("never there");
        assert_eq!(follow(&scene, &mut watching, what, &mut copy), ["-new"]);
    }

    #[test]
    fn a_record_that_leaves_the_filter_is_told_and_one_that_never_was_in_it_is_not() {
        let mut scene = Scene::of(begun());
        let one = Selector::parse(r#"{"n":1}"#).unwrap();
        let what = (&View::of_schema("s"), &one);
        for (id, schema, n) in [("in", "s", 1), ("out", "s", 2), ("foreign", "t", 1)] {
            scene.put(id, schema, n);
        }
        let watching = scene.documents.watch(what.0, what.1, Since::Now);
        let mut watching = watching.unwrap().unwrap();
        let mut copy = scene.query(what.0, what.1);
        scene.put("in", "s", 2);
        scene.put("out", "s", 3);
        scene.put("foreign", "t", 1);
        scene.remove("foreign");
        scene.remove("out");
        assert_eq!(follow(&scene, &mut watching, what, &mut copy), ["<in"]);
        scene.put("in", "s", 1);
        assert_eq!(follow(&scene, &mut watching, what, &mut copy), ["+in"]);
        // Of another schema now: for this caller there is no such record any more.
        scene.put("in", "t", 1);
        assert_eq!(follow(&scene, &mut watching, what, &mut copy), ["-in"]);
        assert!(copy.is_empty());
    }

    #[test]
    fn who_was_away_is_told_what_it_missed_and_nothing_that_it_could_not_see() {
        let mut scene = Scene::of(begun());
        let all = Selector::everything();
        let what = (&View::of_schema("s"), &all);
        for (id, schema) in [("a", "s"), ("b", "s"), ("foreign", "t")] {
            scene.put(id, schema, 1);
        }
        let before = scene.documents.watch(what.0, what.1, Since::Now).unwrap();
        let position = before.unwrap().position().unwrap();
        let mut copy = scene.query(what.0, what.1);
        scene.remove("a");
        scene.remove("foreign");
        // Takes the place of the one before, and of the record that was there first.
        scene.put("c", "s", 1);
        scene.put("b", "t", 1);
        let resumed = scene
            .documents
            .watch(what.0, what.1, Since::After(position));
        let mut resumed = resumed.unwrap().unwrap();
        let told = follow(&scene, &mut resumed, what, &mut copy);
        assert_eq!(told, ["-a", "+c", "-b"]);
        assert_eq!(copy, scene.query(what.0, what.1));
    }

    #[test]
    fn who_was_away_for_too_long_must_begin_again() {
        let mut scene = Scene::of(begun());
        let all = Selector::everything();
        let what = (&View::whole_database(), &all);
        let watching = scene.documents.watch(what.0, what.1, Since::Now);
        let mut watching = watching.unwrap().unwrap();
        let position = watching.position().unwrap();
        scene.put("a", "s", 1);
        scene.documents.changes.clear();
        let told = scene.documents.tell(&mut watching, what.0, what.1);
        assert_eq!(told.unwrap().unwrap_err(), Gap);
        for nowhere in [position, 1_000_000, u64::MAX] {
            let again = scene.documents.watch(what.0, what.1, Since::After(nowhere));
            assert_eq!(again.unwrap().unwrap_err(), Gap, "{nowhere}");
        }
    }

    #[test]
    fn what_a_watch_remembers_is_counted_until_it_ends() {
        let budget = Budget::new(1 << 20);
        let mut documents = Documents::new(budget.clone());
        documents.begin_changes();
        let mut scene = Scene::of(documents);
        for n in 0..1000 {
            scene.put(&format!("id{n}"), "s", 1);
        }
        let before = budget.used();
        let all = Selector::everything();
        let watching = scene
            .documents
            .watch(&View::whole_database(), &all, Since::Now);
        let taken = budget.used() - before;
        assert!((1000 / 8..400).contains(&taken), "{taken}");
        drop(watching);
        assert_eq!(budget.used(), before);
        let held = budget.reserve(budget.limit() - before).unwrap();
        let refused = scene
            .documents
            .watch(&View::whole_database(), &all, Since::Now);
        assert_eq!(refused.unwrap_err(), OverBudget.into());
        drop(held);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, bool, u8),
        Remove(u8),
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..12_u8, any::<bool>(), 0..3_u8).prop_map(|(id, own, n)| Step::Put(id, own, n)),
            2 => (0..12_u8).prop_map(Step::Remove),
            1 => Just(Step::Read),
        ]
    }

    proptest! {
        /// Whatever happens, and wherever a watch begins, comes back or falls asleep: its copy is what a query gives, and
        /// no record is ever told that the view never showed.
        #[test]
        fn a_copy_that_follows_a_watch_is_what_a_query_gives(
            before in proptest::collection::vec(step(), 0..20),
            steps in proptest::collection::vec(step(), 0..60),
            away in 0..60_usize,
            from_start: bool,
            filtered: bool,
            windowed: bool,
        ) {
            let mut scene = Scene::of(begun());
            let selector = match filtered {
                true => Selector::parse(r#"{"n":1}"#).unwrap(),
                false => Selector::everything(),
            };
            let mut view = View::of_schema("own");
            if windowed {
                let moment = |text: &str| Instant::parse(text.as_bytes());
                view = view.during(Window::new(moment("2026-01-02"), moment("2026-01-03")).unwrap());
            }
            let what = (&view, &selector);
            // One namespace of ids for each schema, and a few that change from one to the other.
            let change = |scene: &mut Scene, step: &Step| match step {
                Step::Put(id @ 0..2, own, n) => scene.put(&format!("both{id}"), if *own { "own" } else { "other" }, *n),
                Step::Put(id, true, n) => scene.put(&format!("own{id}"), "own", *n),
                Step::Put(id, false, n) => scene.put(&format!("other{id}"), "other", *n),
                Step::Remove(id @ 0..2) => scene.remove(&format!("both{id}")),
                Step::Remove(id) => {
                    scene.remove(&format!("own{id}"));
                    scene.remove(&format!("other{id}"));
                }
                Step::Read => {}
            };
            before.iter().for_each(|step| change(&mut scene, step));
            let (since, mut copy) = match from_start {
                true => (Since::Start, BTreeMap::new()),
                false => (Since::Now, scene.query(what.0, what.1)),
            };
            let mut watching = scene.documents.watch(what.0, what.1, since).unwrap().unwrap();
            let everything = Selector::everything();
            let mut shown: BTreeSet<String> = scene.query(&view, &everything).into_keys().collect();
            for (at, step) in steps.iter().enumerate() {
                change(&mut scene, step);
                shown.extend(scene.query(&view, &everything).into_keys());
                if matches!(step, Step::Read) {
                    let told = follow(&scene, &mut watching, what, &mut copy);
                    let seen = |word: &String| word == "complete" || shown.contains(&word[1..]);
                    prop_assert!(told.iter().all(seen), "{told:?}");
                    prop_assert_eq!(&copy, &scene.query(what.0, what.1));
                }
                if at == away && let Some(position) = watching.position() {
                    let since = Since::After(position);
                    watching = scene.documents.watch(what.0, what.1, since).unwrap().unwrap();
                }
            }
            follow(&scene, &mut watching, what, &mut copy);
            prop_assert_eq!(copy, scene.query(what.0, what.1));
        }
    }
}
