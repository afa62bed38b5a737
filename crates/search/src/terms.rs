//! The words of an index: found by spelling, by beginning, by likeness and by stem.
//!
//! Guarantees: a word that no document has any more is wiped when the change that removed it is settled; a number
//! means one word for as long as the word lives.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::postings::Postings;
use crate::text::{Language, Languages};

#[derive(Default)]
pub(crate) struct Terms {
    hasher: DefaultHashBuilder,
    by_spelling: HashTable<u32>,
    by_stem: HashTable<Stemmed>,
    terms: Vec<Term>,
    free: Vec<u32>,
    /// Spellings, one behind the other.
    text: Vec<u8>,
    /// Bytes of `text` that belong to nobody.
    dead: usize,
    /// Living words in the order of their spelling, as of the last time that changes were settled.
    sorted: Vec<u32>,
    /// Words that came since, and words that may have gone.
    came: Vec<u32>,
    went: Vec<u32>,
    /// What the postings take beside the list itself.
    postings_heap: isize,
}

pub(crate) struct Term {
    at: u32,
    len: u8,
    is_alive: bool,
    /// The languages by whose stems it is found.
    stemmed: Languages,
    /// The languages in which it is one of the commonest words.
    pub(crate) common_in: Languages,
    /// How many documents have it.
    pub(crate) docs: u32,
    postings: Postings,
}

#[derive(Clone, Copy)]
struct Stemmed {
    hash: u32,
    term: u32,
}

impl Terms {
    /// The number of a word, which is a new one if need be.
    pub(crate) fn intern(&mut self, word: &str) -> u32 {
        let hash = self.hasher.hash_one(word);
        let (terms, text) = (&self.terms, &self.text);
        let is_it = |number: &u32| spelling(terms, text, *number) == word;
        if let Some(number) = self.by_spelling.find(hash, is_it) {
            return *number;
        }
        let term = Term {
            at: u32::try_from(self.text.len()).unwrap_or(u32::MAX),
            len: u8::try_from(word.len()).unwrap_or(u8::MAX),
            is_alive: true,
            stemmed: Languages::default(),
            common_in: Languages::where_common(word),
            docs: 0,
            postings: Postings::EMPTY,
        };
        self.text.extend_from_slice(word.as_bytes());
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.terms.get_mut(number as usize) {
                    *place = term;
                }
                number
            }
            None => {
                self.terms.push(term);
                self.terms.len() as u32 - 1
            }
        };
        let (terms, text, hasher) = (&self.terms, &self.text, &self.hasher);
        self.by_spelling.insert_unique(hash, number, |number| {
            hasher.hash_one(spelling(terms, text, *number))
        });
        self.came.push(number);
        number
    }

    /// The number of a word that there is.
    pub(crate) fn find(&self, word: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(word);
        self.by_spelling
            .find(hash, |number| self.word(*number) == word)
            .copied()
    }

    pub(crate) fn word(&self, number: u32) -> &str {
        spelling(&self.terms, &self.text, number)
    }

    pub(crate) fn term(&self, number: u32) -> Option<&Term> {
        self.terms.get(number as usize).filter(|term| term.is_alive)
    }

    pub(crate) fn postings(&self, number: u32) -> &Postings {
        self.term(number)
            .map_or(&Postings::EMPTY, |term| &term.postings)
    }

    pub(crate) fn insert(&mut self, number: u32, doc: u32, payload: &[u8]) {
        if let Some(term) = self.terms.get_mut(number as usize) {
            term.docs += 1;
            self.postings_heap += term.postings.insert(doc, payload);
        }
    }

    pub(crate) fn remove(&mut self, number: u32, doc: u32) {
        if let Some(term) = self.terms.get_mut(number as usize) {
            let (was_there, change) = term.postings.remove(doc);
            term.docs = term.docs.saturating_sub(u32::from(was_there));
            self.postings_heap += change;
            if term.docs == 0 {
                self.went.push(number);
            }
        }
    }

    /// Makes a word findable by its stem, as texts in `language` have it.
    pub(crate) fn stem(&mut self, number: u32, language: Language) {
        let Some(term) = self.terms.get_mut(number as usize) else {
            return;
        };
        // Said of the text's language even where the word is of another one: asked once, and not with every document.
        if term.stemmed.contains(language) {
            return;
        }
        term.stemmed.insert(language);
        let Some(own) = language.of_word(self.word(number)) else {
            return;
        };
        let hash = own
            .stem(self.word(number))
            .map(|stem| self.stem_hash(own, &stem));
        let Some(term) = self.terms.get_mut(number as usize) else {
            return;
        };
        if own != language {
            if term.stemmed.contains(own) {
                return;
            }
            term.stemmed.insert(own);
        }
        if let Some(hash) = hash {
            let stemmed = Stemmed { hash, term: number };
            self.by_stem
                .insert_unique(spread(hash), stemmed, |stemmed| spread(stemmed.hash));
        }
    }

    /// The words that have this stem in texts of this language.
    pub(crate) fn with_stem(&self, language: Language, stem: &str, found: &mut Vec<u32>) {
        let hash = self.stem_hash(language, stem);
        for stemmed in self.by_stem.iter_hash(spread(hash)) {
            let has_it = |term: &Term| term.stemmed.contains(language);
            if stemmed.hash == hash
                && self.term(stemmed.term).is_some_and(has_it)
                && language.stem(self.word(stemmed.term)).as_deref() == Some(stem)
            {
                found.push(stemmed.term);
            }
        }
    }

    /// The words that begin with `prefix`, in the order of their spelling.
    pub(crate) fn with_prefix(&self, prefix: &str) -> &[u32] {
        let range = self.range_of(prefix);
        self.sorted.get(range).unwrap_or_default()
    }

    /// How many words there are.
    pub(crate) fn len(&self) -> usize {
        self.by_spelling.len()
    }

    /// Brings the order of the words up to date, and wipes those that no document has.
    pub(crate) fn settle(&mut self) {
        self.went.extend_from_slice(&self.came);
        let mut gone = std::mem::take(&mut self.went);
        gone.retain(|number| self.term(*number).is_some_and(|term| term.docs == 0));
        gone.sort_unstable();
        gone.dedup();
        for number in &gone {
            self.forget(*number);
        }
        if !gone.is_empty() {
            let terms = &self.terms;
            self.sorted.retain(|number| {
                terms
                    .get(*number as usize)
                    .is_some_and(|term| term.is_alive)
            });
        }
        let mut came = std::mem::take(&mut self.came);
        came.retain(|number| self.term(*number).is_some());
        came.sort_unstable_by(|one, other| self.word(*one).cmp(self.word(*other)));
        came.dedup();
        self.merge(&came);
        // Free for others only now: until here a number may have stood in one of the lists.
        self.free.extend(gone);
        if self.dead * 3 > self.text.len() {
            self.gather();
        }
    }

    /// Bytes that all of this takes.
    pub(crate) fn bytes(&self) -> usize {
        self.by_spelling.allocation_size()
            + self.by_stem.allocation_size()
            + self.terms.capacity() * size_of::<Term>()
            + self.text.capacity()
            + (self.free.capacity()
                + self.sorted.capacity()
                + self.came.capacity()
                + self.went.capacity())
                * 4
            + usize::try_from(self.postings_heap).unwrap_or(0)
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    fn forget(&mut self, number: u32) {
        let word = self.word(number).to_owned();
        let hash = self.hasher.hash_one(word.as_str());
        if let Ok(entry) = self.by_spelling.find_entry(hash, |found| *found == number) {
            entry.remove();
        }
        let stemmed = self
            .term(number)
            .map(|term| term.stemmed)
            .unwrap_or_default();
        for language in stemmed.iter() {
            let Some(stem) = language.stem(&word) else {
                continue;
            };
            let hash = self.stem_hash(language, &stem);
            let is_it = |stemmed: &Stemmed| stemmed.term == number && stemmed.hash == hash;
            if let Ok(entry) = self.by_stem.find_entry(spread(hash), is_it) {
                entry.remove();
            }
        }
        let Some(term) = self.terms.get_mut(number as usize) else {
            return;
        };
        let place = term.at as usize..term.at as usize + usize::from(term.len);
        (term.is_alive, term.len, term.postings) = (false, 0, Postings::EMPTY);
        if let Some(text) = self.text.get_mut(place) {
            self.dead += text.len();
            text.fill(0);
        }
    }

    /// Puts `came`, which is in order, into the order of all.
    fn merge(&mut self, came: &[u32]) {
        if came.is_empty() {
            return;
        }
        let places: Vec<usize> = came
            .iter()
            .map(|number| {
                let word = self.word(*number);
                self.sorted
                    .partition_point(|other| self.word(*other) < word)
            })
            .collect();
        let mut end = self.sorted.len();
        self.sorted.resize(end + came.len(), 0);
        // From the back, so that every number moves once.
        for (shift, (place, number)) in places.into_iter().zip(came).enumerate().rev() {
            self.sorted.copy_within(place..end, place + shift + 1);
            if let Some(free) = self.sorted.get_mut(place + shift) {
                *free = *number;
            }
            end = place;
        }
    }

    /// Moves the living spellings together.
    fn gather(&mut self) {
        let mut text = Vec::with_capacity(self.text.len() - self.dead);
        for term in &mut self.terms {
            let at = term.at as usize;
            if let Some(word) = self.text.get(at..at + usize::from(term.len)) {
                term.at = u32::try_from(text.len()).unwrap_or(u32::MAX);
                text.extend_from_slice(word);
            }
        }
        (self.text, self.dead) = (text, 0);
    }

    fn range_of(&self, prefix: &str) -> Range<usize> {
        let from = self
            .sorted
            .partition_point(|number| self.word(*number) < prefix);
        let beyond = |number: &u32| {
            let word = self.word(*number);
            word < prefix || word.starts_with(prefix)
        };
        from..self.sorted.partition_point(beyond)
    }

    fn stem_hash(&self, language: Language, stem: &str) -> u32 {
        self.hasher.hash_one((language as u8, stem)) as u32
    }
}

impl Term {
    pub(crate) fn is_common(&self) -> bool {
        !self.common_in.is_empty()
    }
}

fn spelling<'t>(terms: &[Term], text: &'t [u8], number: u32) -> &'t str {
    let Some(term) = terms.get(number as usize) else {
        return "";
    };
    let at = term.at as usize;
    let word = text.get(at..at + usize::from(term.len));
    std::str::from_utf8(word.unwrap_or_default()).unwrap_or_default()
}

/// The table looks at the highest and the lowest bits of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// How many changes of a letter (another, one more, one less, two swapped) make one word of the other, if at most `most`.
pub(crate) fn distance(one: &[char], other: &[char], most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let width = other.len() + 1;
    let mut rows = [vec![0; width], (0..width).collect(), vec![0; width]];
    for (i, left) in one.iter().enumerate() {
        let [before, last, row] = &mut rows;
        let mut best = i + 1;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, right) in other.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(last, j) + usize::from(left != right))
                .min(at(last, j + 1) + 1)
                .min(at(row, j) + 1);
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(right) && other.get(j - 1) == Some(left);
            if swapped {
                cost = cost.min(at(before, j - 1) + 1);
            }
            if let Some(place) = row.get_mut(j + 1) {
                *place = cost;
            }
            best = best.min(cost);
        }
        if best > most {
            return None;
        }
        rows.rotate_left(1);
    }
    let [_, last, _] = &rows;
    last.last().copied().filter(|cost| *cost <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_spelling_beginning_and_stem() {
        let mut terms = Terms::default();
        for (doc, word) in ["invoice", "invoices", "inbox", "zebra", "invite"]
            .into_iter()
            .enumerate()
        {
            let number = terms.intern(word);
            terms.insert(number, doc as u32, &[0xA0, 0]);
            terms.stem(number, Language::English);
        }
        terms.settle();
        let words = |numbers: &[u32]| -> Vec<String> {
            numbers
                .iter()
                .map(|number| terms.word(*number).to_owned())
                .collect()
        };
        assert_eq!(
            words(terms.with_prefix("inv")),
            ["invite", "invoice", "invoices"]
        );
        assert_eq!(words(terms.with_prefix("zebra")), ["zebra"]);
        assert!(terms.with_prefix("b").is_empty());
        let mut found = Vec::new();
        let stem = Language::English.stem("invoicing").unwrap();
        terms.with_stem(Language::English, &stem, &mut found);
        found.sort_unstable();
        assert_eq!(words(&found), ["invoice", "invoices"]);
        assert!(terms.find("zebras").is_none());
    }

    #[test]
    fn a_word_that_nobody_has_is_wiped() {
        let mut terms = Terms::default();
        for word in ["canary", "dog"] {
            let number = terms.intern(word);
            terms.insert(number, 1, &[0xA0, 0]);
            terms.stem(number, Language::English);
        }
        terms.settle();
        terms.remove(terms.find("canary").unwrap(), 1);
        terms.settle();
        assert_eq!((terms.len(), terms.find("canary")), (1, None));
        assert!(!terms.text().windows(6).any(|text| text == b"canary"));
        assert_eq!(terms.with_prefix("").len(), 1);
        let again = terms.intern("cat");
        terms.insert(again, 2, &[0xA0, 0]);
        terms.settle();
        assert_eq!(terms.word(again), "cat");
        let kept = terms.with_prefix("");
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn distance_counts_changes_of_letters() {
        let chars = |word: &str| -> Vec<char> { word.chars().collect() };
        for (one, other, expected) in [
            ("house", "house", Some(0)),
            ("house", "hosue", Some(1)),
            ("house", "houses", Some(1)),
            ("house", "hxusx", Some(2)),
            ("house", "mouse", Some(1)),
            ("house", "hat", None),
            ("recieve", "receive", Some(1)),
            ("", "ab", Some(2)),
        ] {
            assert_eq!(
                distance(&chars(one), &chars(other), 2),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                distance(&chars(other), &chars(one), 2),
                expected,
                "{other} {one}"
            );
        }
    }
}
