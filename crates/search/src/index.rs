//! The index: documents under numbers that the caller chose, changed in any order, always exact.
//!
//! Guarantees: putting a document again replaces it; after a change is settled nothing of what was replaced or removed
//! is left in memory that is ours (what is freed is for the allocator to wipe). Refuses to know: JSON, files, time.

use crate::bits::Bits;
use crate::column::Column;
use crate::plan::{FieldSet, MAX_FIELDS, OTHER_FIELD, Plan, PlannedField, aliases};
use crate::postings::{push_varint, read_varint, write_payload};
use crate::terms::Terms;
use crate::text::{Language, Reading, Words};

/// Most words of one field of a document that are indexed.
pub const MAX_WORDS: u32 = 100_000;
/// A time that is not known.
pub(crate) const NO_TIME: i64 = i64::MIN;
const PLACE_BITS: u32 = 27;

/// An inverted index in memory.
pub struct Index {
    plan: Plan,
    pub(crate) terms: Terms,
    pub(crate) present: Bits,
    docs: usize,
    /// By document: the length of each field, roughly; `stride` of them.
    lengths: Vec<u8>,
    stride: usize,
    /// By field: the lengths of all documents together, and how many have it.
    totals: Vec<(u64, u64)>,
    /// By document: milliseconds since 1970.
    times: Vec<i64>,
    /// By document: the language that it was taken to be in.
    languages: Vec<u8>,
    /// By document: its words, so that they can be taken back.
    words: Vec<Box<[u8]>>,
    words_heap: usize,
    pub(crate) columns: Vec<Column>,
    groups: Column,
    /// How many documents were taken to be in each language.
    pub(crate) spoken: [u32; Language::COUNT],
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    words: Words,
    /// Word, field and place, each as one number.
    hits: Vec<u64>,
    payload: Vec<u8>,
    list: Vec<u8>,
}

/// A document on its way into the index.
pub struct Draft<'i> {
    index: &'i mut Index,
    doc: u32,
    scratch: Scratch,
    evidence: [u32; Language::COUNT],
    /// By field: how many places are taken.
    taken: [u32; MAX_FIELDS],
    /// By field: how many words it has.
    counts: [u32; MAX_FIELDS],
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let columns = plan.facets.iter().map(|_| Column::default()).collect();
        let stride = plan.fields.len();
        Self {
            totals: vec![(0, 0); stride],
            plan,
            terms: Terms::default(),
            present: Bits::default(),
            docs: 0,
            lengths: Vec::new(),
            stride,
            times: Vec::new(),
            languages: Vec::new(),
            words: Vec::new(),
            words_heap: 0,
            columns,
            groups: Column::default(),
            spoken: [0; Language::COUNT],
            scratch: Scratch::default(),
        }
    }

    /// What it was made for.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many documents it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.docs
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.docs == 0
    }

    /// Whether it has this document.
    #[must_use]
    pub fn contains(&self, doc: u32) -> bool {
        self.present.contains(doc)
    }

    /// The documents, ascending.
    pub fn documents(&self) -> impl Iterator<Item = u32> {
        self.present.iter()
    }

    /// How many different words it has.
    #[must_use]
    pub fn distinct_words(&self) -> usize {
        self.terms.len()
    }

    /// Puts a document, in place of the one that had its number. Call [`Index::settle`] after the last one.
    pub fn put(&mut self, doc: u32, fill: impl FnOnce(&mut Draft<'_>)) {
        self.remove(doc);
        let scratch = std::mem::take(&mut self.scratch);
        let at = doc as usize;
        if at >= self.times.len() {
            self.times.resize(at + 1, NO_TIME);
            self.languages.resize(at + 1, 0);
            self.words.resize_with(at + 1, Box::default);
        }
        self.lengths.resize(self.times.len() * self.stride, 0);
        let mut draft = Draft {
            index: self,
            doc,
            scratch,
            evidence: [0; Language::COUNT],
            taken: [0; MAX_FIELDS],
            counts: [0; MAX_FIELDS],
        };
        fill(&mut draft);
        let (mut scratch, evidence, counts) = (draft.scratch, draft.evidence, draft.counts);
        self.finish(doc, &mut scratch, &evidence, &counts);
        scratch.hits.clear();
        self.scratch = scratch;
    }

    /// Removes a document; false when it is not there. Call [`Index::settle`] after the last one.
    pub fn remove(&mut self, doc: u32) -> bool {
        if !self.present.remove(doc) {
            return false;
        }
        self.docs -= 1;
        let at = doc as usize;
        let words = self
            .words
            .get_mut(at)
            .map(std::mem::take)
            .unwrap_or_default();
        self.words_heap -= words.len();
        let mut rest = &*words;
        let language = self.languages.get(at).copied().map(usize::from);
        if let Some(count) = language.and_then(|language| self.spoken.get_mut(language)) {
            *count = count.saturating_sub(1);
        }
        let mut term = 0;
        while let Some(gap) = read_varint(&mut rest) {
            term += gap;
            self.terms.remove(term, doc);
        }
        for field in 0..self.stride {
            let place = at * self.stride + field;
            let length = self.lengths.get_mut(place).map_or(0, std::mem::take);
            if let Some((sum, count)) = self.totals.get_mut(field) {
                *sum -= u64::from(length_of(length));
                *count -= u64::from(length > 0);
            }
        }
        if let Some(time) = self.times.get_mut(at) {
            *time = NO_TIME;
        }
        self.columns.iter_mut().for_each(|column| column.clear(doc));
        self.groups.clear(doc);
        true
    }

    /// Ends a series of changes: what they added is found, what they removed is wiped.
    pub fn settle(&mut self) {
        self.terms.settle();
        // What a document leaves there on its way is text, too.
        self.scratch = Scratch::default();
    }

    /// What it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.terms.bytes()
            + self.present.bytes()
            + self.lengths.capacity()
            + self.times.capacity() * size_of::<i64>()
            + self.languages.capacity()
            + self.words.capacity() * size_of::<Box<[u8]>>()
            + self.words_heap
            + self.columns.iter().map(Column::bytes).sum::<usize>()
            + self.groups.bytes()
            + self.scratch.hits.capacity() * 8
            + size_of::<Self>()
    }

    /// What answering a query with so many words may take beside it, in bytes.
    #[must_use]
    pub fn bytes_to_answer(&self, words: usize) -> usize {
        (words + 2) * self.times.len() * size_of::<(u32, f32)>()
    }

    /// The number of a field, which an open plan may meet for the first time.
    pub fn field(&mut self, path: &str) -> Option<u8> {
        if let Some(field) = self.find_field(path) {
            return Some(field);
        }
        if !self.plan.is_open {
            return None;
        }
        if self.plan.fields.len() > usize::from(OTHER_FIELD) {
            return Some(OTHER_FIELD);
        }
        let is_last = self.plan.fields.len() == usize::from(OTHER_FIELD);
        self.plan.fields.push(PlannedField {
            path: if is_last {
                String::new()
            } else {
                path.to_owned()
            },
            weight: Plan::weight_of(path),
            is_mail: false,
        });
        self.widen();
        Some(self.plan.fields.len() as u8 - 1)
    }

    fn find_field(&self, path: &str) -> Option<u8> {
        let at = self
            .plan
            .fields
            .iter()
            .position(|field| field.path == path)?;
        u8::try_from(at).ok()
    }

    /// The path of a field.
    pub(crate) fn path(&self, field: u8) -> &str {
        match self.plan.fields.get(usize::from(field)) {
            Some(planned) if !planned.path.is_empty() => &planned.path,
            _ => "…",
        }
    }

    /// The fields that a name in a query means: an alias, or a path. None when it means nothing here.
    #[must_use]
    pub fn named(&self, name: &str) -> FieldSet {
        let mut found = FieldSet::default();
        // MiniSearch has each element of a list as a field of its own: `attachments_0.textContent`.
        let (first, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
        let plain = match first.rsplit_once('_') {
            Some((list, number)) if number.parse::<u8>().is_ok() => format!("{list}{rest}"),
            _ => name.to_owned(),
        };
        for path in aliases(name).iter().copied().chain([name, &plain]) {
            for (at, field) in (0_u8..).zip(&self.plan.fields) {
                if field.path == path {
                    found = found.with(at);
                }
            }
        }
        found
    }

    /// The fields that are left out for whoever may not ask for all paths; `None`: for whoever may.
    #[must_use]
    pub fn left_out(&self, may_ask: Option<&dyn Fn(&str) -> bool>) -> FieldSet {
        let mut found = FieldSet::default();
        let Some(may_ask) = may_ask else {
            return found;
        };
        for (at, field) in (0_u8..).zip(&self.plan.fields) {
            // What is in the shared field is not known any more.
            if field.path.is_empty() || !may_ask(&field.path) {
                found = found.with(at);
            }
        }
        found
    }

    /// When a document is, in milliseconds since 1970.
    #[must_use]
    pub fn time_of(&self, doc: u32) -> Option<i64> {
        self.times
            .get(doc as usize)
            .copied()
            .filter(|time| *time != NO_TIME)
    }

    /// The conversation of a document, as a number that means it while it exists.
    #[must_use]
    pub fn group_of(&self, doc: u32) -> Option<u32> {
        self.groups.number_of(doc)
    }

    /// The documents of a conversation.
    pub fn in_group(&self, group: u32) -> impl Iterator<Item = u32> {
        self.groups.having(group)
    }

    /// The language that a document was taken to be in, by its number.
    #[inline]
    pub(crate) fn language_of(&self, doc: u32) -> u8 {
        self.languages.get(doc as usize).copied().unwrap_or(0)
    }

    /// One more than the highest number that a document has had.
    pub(crate) fn extent(&self) -> usize {
        self.times.len()
    }

    /// The length of a document's field, as its code.
    #[inline]
    pub(crate) fn length_code(&self, doc: u32, field: u8) -> u8 {
        self.lengths
            .get(doc as usize * self.stride + usize::from(field))
            .copied()
            .unwrap_or(0)
    }

    /// The mean length of each field in the documents that have it: of all, or of some.
    pub(crate) fn mean_lengths(&self, some: Option<&Bits>) -> Vec<f32> {
        let mut totals = self.totals.clone();
        if let Some(some) = some {
            totals.fill((0, 0));
            for doc in some.iter().filter(|doc| self.present.contains(*doc)) {
                for (field, (sum, count)) in (0_u8..).zip(&mut totals) {
                    let code = self.length_code(doc, field);
                    *sum += u64::from(length_of(code));
                    *count += u64::from(code > 0);
                }
            }
        }
        totals
            .into_iter()
            .map(|(sum, count)| (sum as f32 / count.max(1) as f32).max(1.0))
            .collect()
    }

    fn finish(
        &mut self,
        doc: u32,
        scratch: &mut Scratch,
        evidence: &[u32; Language::COUNT],
        counts: &[u32; MAX_FIELDS],
    ) {
        let language = Language::guess(evidence);
        let Scratch {
            hits,
            payload,
            list,
            ..
        } = scratch;
        hits.sort_unstable();
        list.clear();
        let mut previous = 0;
        for of_word in hits.chunk_by(|one, other| one >> 32 == other >> 32) {
            let Some(term) = of_word.first().map(|hit| (hit >> 32) as u32) else {
                continue;
            };
            let mut last = None;
            let places = of_word.iter().map(|hit| {
                let field = (hit >> PLACE_BITS & 0x1F) as u8;
                (field, *hit as u32 & ((1 << PLACE_BITS) - 1))
            });
            debug_assert!(
                places
                    .clone()
                    .all(|place| last.replace(place) != Some(place))
            );
            write_payload(places, payload);
            self.terms.insert(term, doc, payload);
            self.terms.stem(term, language);
            push_varint(term - previous, list);
            previous = term;
        }
        for (field, count) in counts.iter().enumerate().take(self.stride) {
            let code = code_of(*count);
            if let Some(place) = self.lengths.get_mut(doc as usize * self.stride + field) {
                *place = code;
            }
            if let Some((sum, having)) = self.totals.get_mut(field) {
                *sum += u64::from(length_of(code));
                *having += u64::from(code > 0);
            }
        }
        if let Some(place) = self.words.get_mut(doc as usize) {
            *place = list.as_slice().into();
            self.words_heap += list.len();
        }
        if let Some(place) = self.languages.get_mut(doc as usize) {
            *place = language as u8;
        }
        if let Some(count) = self.spoken.get_mut(language as usize) {
            *count += 1;
        }
        self.present.insert(doc);
        self.docs += 1;
    }

    /// Makes room for a field that came.
    fn widen(&mut self) {
        let (old, new) = (self.stride, self.stride + 1);
        let mut lengths = vec![0; self.times.len() * new];
        if old > 0 {
            for (to, from) in lengths
                .chunks_exact_mut(new)
                .zip(self.lengths.chunks_exact(old))
            {
                if let Some(to) = to.get_mut(..old) {
                    to.copy_from_slice(from);
                }
            }
        }
        (self.lengths, self.stride) = (lengths, new);
        self.totals.push((0, 0));
    }
}

impl Draft<'_> {
    /// The number of a field, see [`Index::field`].
    pub fn field(&mut self, path: &str) -> Option<u8> {
        self.index.field(path)
    }

    /// Adds a text of a field. Texts of one field stand one behind the other, but no phrase goes across.
    pub fn text(&mut self, field: u8, text: &str) {
        /// What lies between two texts.
        const GAP: u32 = 100;
        let Some(planned) = self.index.plan.fields.get(usize::from(field)) else {
            return;
        };
        let reading = match planned.is_mail {
            true => Reading::Mail,
            false => Reading::Text,
        };
        let Some(taken) = self.taken.get_mut(usize::from(field)) else {
            return;
        };
        let from = if *taken == 0 { 0 } else { *taken + GAP };
        let (terms, hits, evidence) = (
            &mut self.index.terms,
            &mut self.scratch.hits,
            &mut self.evidence,
        );
        let before = self.counts.get(usize::from(field)).copied().unwrap_or(0);
        let (mut end, mut count, room) = (from, 0, MAX_WORDS.saturating_sub(before));
        self.scratch.words.read(text, reading, |word| {
            let place = from + word.position;
            if count >= room || place >= 1 << PLACE_BITS {
                return false;
            }
            let number = terms.intern(word.folded);
            if let Some(term) = terms.term(number)
                && term.is_common()
            {
                for language in term.common_in.iter() {
                    if let Some(count) = evidence.get_mut(language as usize) {
                        *count += 1;
                    }
                }
            }
            hits.push(u64::from(number) << 32 | u64::from(field) << PLACE_BITS | u64::from(place));
            (end, count) = (place + 1, count + 1);
            true
        });
        *taken = end;
        if let Some(all) = self.counts.get_mut(usize::from(field)) {
            *all += count;
        }
    }

    /// Says when the document is, in milliseconds since 1970.
    pub fn time(&mut self, time: i64) {
        if let Some(place) = self.index.times.get_mut(self.doc as usize) {
            *place = time;
        }
    }

    /// Says to which conversation the document belongs.
    pub fn group(&mut self, group: &str) {
        self.index.groups.set(self.doc, group);
    }

    /// Sets what is counted for this document, by the place in [`Plan::facets`].
    pub fn facet(&mut self, facet: usize, value: &str) {
        if let Some(column) = self.index.columns.get_mut(facet) {
            column.set(self.doc, value);
        }
    }
}

/// A length as one byte: exact when short, within 3 % when long.
fn code_of(length: u32) -> u8 {
    let code = 24.0 * (1.0 + length as f32 / 8.0).log2();
    (code.round() as u32).clamp(u32::from(length > 0), 255) as u8
}

/// The length that a byte stands for.
pub(crate) fn length_of(code: u8) -> u32 {
    (8.0 * ((f32::from(code) / 24.0).exp2() - 1.0)).round() as u32
}
