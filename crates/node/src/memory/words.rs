//! The words of the records of one schema: an index that is built a slice at a time and then follows every batch.
//!
//! Guarantees: what it says of records is what their text says, after every batch; it is counted in the budget, and
//! dropped when it does not fit; building never holds the records for longer than a slice takes. Which words count,
//! and how, is for `adyton_search` to know.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use adyton_couch::lazy_json::LazyValue;
use adyton_couch::selector::{FieldPath, walk};
use adyton_protocol::scope::time_field;
use adyton_search::{Draft, Index, Plan};

use super::budget::{Budget, OverBudget, Reservation};
use super::documents::Documents;
use super::filter::Filter;
use super::view::{View, moment};
use crate::computing::has_read;

/// Bytes of records that are read in one slice: a few milliseconds.
const SLICE_BYTES: usize = 1 << 20;
/// Records that are read in one slice.
const SLICE_RECORDS: usize = 4_000;
/// Most schemas of one database that are indexed at a time.
const MOST: usize = 8;
/// How deep the texts of a record of which nothing is known may lie.
const MAX_DEPTH: usize = 5;
/// Most elements of a list that are read.
const MAX_ELEMENTS: usize = 200;

/// The indexes of one database, by schema.
#[derive(Default)]
pub(super) struct AllWords {
    kept: Mutex<Vec<Arc<Words>>>,
}

/// The index of one schema.
pub(super) struct Words {
    schema: Box<str>,
    state: RwLock<State>,
}

pub(super) struct State {
    pub(super) index: Index,
    reader: Reader,
    /// The first slot that was not read yet.
    next: u32,
    pub(super) is_complete: bool,
    counted: Reservation,
}

impl AllWords {
    /// The index of a schema, if there is one.
    pub(super) fn find(&self, schema: &str) -> Option<Arc<Words>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|words| *words.schema == *schema).cloned()
    }

    fn find_or_begin(&self, schema: &str, budget: &Budget) -> Result<Arc<Words>, OverBudget> {
        if let Some(found) = self.find(schema) {
            return Ok(found);
        }
        let words = Arc::new(Words::begin(schema, budget)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.remove(0);
        }
        kept.push(Arc::clone(&words));
        Ok(words)
    }

    fn forget(&self, words: &Arc<Words>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|other| !Arc::ptr_eq(other, words));
    }

    pub(super) fn clear(&mut self) {
        self.kept
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What the indexes take.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|words| words.read().counted.bytes()).sum()
    }

    /// Brings all indexes up to date; those that no longer fit are dropped.
    pub(super) fn update(&mut self, documents: &Documents, touched: &[u32]) {
        self.kept
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|words| words.update(documents, touched).is_ok());
    }
}

impl Documents {
    /// Reads more records of a schema into its index of words, for a few milliseconds. True when the index is
    /// complete.
    ///
    /// # Errors
    /// When the budget has no room for the index.
    pub fn read_words(&self, schema: &str) -> Result<bool, OverBudget> {
        let words = self.words.find_or_begin(schema, self.budget())?;
        words
            .read_slice(self)
            .inspect_err(|_| self.words.forget(&words))
    }

    /// Whether the words of a schema can be searched at once.
    #[must_use]
    pub fn has_words(&self, schema: &str) -> bool {
        let found = self.words.find(schema);
        found.is_some_and(|words| words.read().is_complete)
    }
}

impl Words {
    fn begin(schema: &str, budget: &Budget) -> Result<Self, OverBudget> {
        let mut plan = Plan::for_schema(schema);
        // What time a record has is told by one table, for windows and for searches.
        time_field(Some(schema)).clone_into(&mut plan.time);
        let reader = Reader::of(&plan);
        Ok(Self {
            schema: schema.into(),
            state: RwLock::new(State {
                index: Index::new(plan),
                reader,
                next: 0,
                is_complete: false,
                counted: budget.reserve(0)?,
            }),
        })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_slice(&self, documents: &Documents) -> Result<bool, OverBudget> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_complete {
            return Ok(true);
        }
        let State {
            index,
            reader,
            next,
            is_complete,
            counted,
        } = &mut *state;
        // Room first: for what the slice may add.
        counted.resize(index.bytes() + 2 * SLICE_BYTES)?;
        let view = View::of_schema(&self.schema);
        let filter = Filter::of(documents, &view);
        let (mut bytes, mut records) = (0, 0);
        let end = documents.slot_count();
        while (*next as usize) < end && bytes < SLICE_BYTES && records < SLICE_RECORDS {
            let number = *next;
            *next += 1;
            records += 1;
            let Some(slot) = documents.slot(number) else {
                continue;
            };
            if filter.has(documents, number, slot) {
                let object = documents.object(number);
                bytes += object.len();
                has_read(object.len());
                index.put(number, |draft| reader.read(object, draft));
            }
        }
        index.settle();
        *is_complete = *next as usize >= end;
        counted.resize(index.bytes())?;
        Ok(*is_complete)
    }

    fn update(&self, documents: &Documents, touched: &[u32]) -> Result<(), OverBudget> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State {
            index,
            reader,
            next,
            is_complete,
            counted,
        } = &mut *state;
        let view = View::of_schema(&self.schema);
        let filter = Filter::of(documents, &view);
        for number in touched {
            let slot = documents.slot(*number);
            let is_one = slot.is_some_and(|slot| filter.has(documents, *number, slot));
            // What was not read yet is read when it is its turn.
            if is_one && (*is_complete || number < next) {
                let object = documents.object(*number);
                index.put(*number, |draft| reader.read(object, draft));
            } else {
                index.remove(*number);
            }
        }
        index.settle();
        counted.resize(index.bytes())
    }
}

/// Reads records as a plan says.
struct Reader {
    /// Member, the path below it, and the field.
    fields: Vec<(String, Vec<String>, u8)>,
    is_open: bool,
    time: Option<FieldPath>,
    group: Option<FieldPath>,
    facets: Vec<Option<FieldPath>>,
}

impl Reader {
    fn of(plan: &Plan) -> Self {
        let path = |text: &String| FieldPath::parse(text).ok();
        Self {
            fields: (0_u8..)
                .zip(&plan.fields)
                .filter_map(|(number, field)| {
                    let mut steps = field.path.split('.').map(str::to_owned);
                    Some((steps.next()?, steps.collect(), number))
                })
                .collect(),
            is_open: plan.is_open,
            time: path(&plan.time),
            group: plan.group.as_ref().and_then(path),
            facets: plan.facets.iter().map(|(_, field)| path(field)).collect(),
        }
    }

    fn read(&self, object: &[u8], draft: &mut Draft<'_>) {
        let Some(record) = LazyValue::first_of(object) else {
            return;
        };
        match self.is_open {
            true => everything(record, &mut String::new(), MAX_DEPTH, draft),
            false => {
                each_text(record, &self.fields, &mut |field, text| {
                    draft.text(field, text)
                });
            }
        }
        if let Some(path) = &self.time
            && let Some(time) = moment(walk(record, path.steps()))
        {
            draft.time(time.milliseconds());
        }
        if let Some(group) = self.group.as_ref().and_then(|path| text_at(record, path)) {
            draft.group(&group);
        }
        for (facet, path) in self.facets.iter().enumerate() {
            if let Some(value) = path.as_ref().and_then(|path| text_at(record, path)) {
                draft.facet(facet, &value);
            }
        }
    }
}

fn text_at<'r>(record: LazyValue<'r>, path: &FieldPath) -> Option<std::borrow::Cow<'r, str>> {
    Some(walk(record, path.steps())?.as_text()?.decode())
}

/// The texts of a record in some fields.
pub(super) fn each_text(
    record: LazyValue<'_>,
    fields: &[(String, Vec<String>, u8)],
    each: &mut impl FnMut(u8, &str),
) {
    for member in record.members().into_iter().flatten() {
        for (name, below, field) in fields {
            if member.name.is(name) {
                texts_below(member.value, below, &mut |text| each(*field, text));
            }
        }
    }
}

fn texts_below(value: LazyValue<'_>, steps: &[String], each: &mut impl FnMut(&str)) {
    if let Some(elements) = value.elements() {
        for element in elements.take(MAX_ELEMENTS) {
            // A list in a list has no name of its own.
            if element.elements().is_none() {
                texts_below(element, steps, each);
            }
        }
        return;
    }
    match steps.split_first() {
        None => {
            if let Some(text) = value.as_text() {
                each(&text.decode());
            }
        }
        Some((step, rest)) => {
            if let Some(inner) = value.member(step) {
                texts_below(inner, rest, each);
            }
        }
    }
}

/// All texts of a record of which nothing is known.
fn everything(value: LazyValue<'_>, path: &mut String, depth: usize, draft: &mut Draft<'_>) {
    if let Some(text) = value.as_text() {
        if let Some(field) = draft.field(path) {
            draft.text(field, &text.decode());
        }
    } else if let Some(elements) = value.elements().filter(|_| depth > 0) {
        for element in elements.take(MAX_ELEMENTS) {
            everything(element, path, depth - 1, draft);
        }
    } else if let Some(members) = value.members().filter(|_| depth > 0) {
        for member in members.take(MAX_ELEMENTS) {
            let name = member.name.decode();
            if !Plan::takes(&name) {
                continue;
            }
            let before = path.len();
            if before > 0 {
                path.push('.');
            }
            path.push_str(&name);
            everything(member.value, path, depth - 1, draft);
            path.truncate(before);
        }
    }
}
