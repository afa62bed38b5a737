//! Answering a query: which documents match, and which of them fit best.
//!
//! In two steps, so that several indexes can be asked in one space: [`Gathered`] is what one index has for a query;
//! [`Statistics`] are what all of them know together about how rare each word is; [`Gathered::rank`] makes scores of
//! both. Guarantees: what the caller does not see has no influence on anything that comes out, be it a total, a
//! score, an order or a spelling.

use std::cmp::Ordering;

use crate::bits::Bits;
use crate::expand::Variant;
use crate::gather::{LeafHits, Weights, gather_leaf};
use crate::index::{Index, NO_TIME};
use crate::plan::FieldSet;
use crate::postings::Entry;
use crate::query::{Leaf, Node, Query};
use crate::text::{Language, Languages};

/// How soon more of the same word counts less.
const K1: f32 = 1.2;

/// What a caller sees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sight<'s> {
    /// The documents; `None` for all.
    pub docs: Option<&'s Bits>,
    /// Fields that are left out.
    pub without: FieldSet,
    /// Whether the time of documents is left out.
    pub without_time: bool,
}

/// How a query is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How words without operators between them go together.
    pub combine: Combine,
    /// Which words may go on.
    pub prefix: Prefix,
    /// Whether typing errors are looked through.
    pub spelling: Spelling,
    /// Most letters that may be wrong.
    pub most_errors: usize,
    /// What the weights of fields are multiplied with: (path or name, factor).
    pub boosts: Vec<(String, f32)>,
    /// Only these fields (paths or names); empty for all.
    pub fields: Vec<String>,
    /// Now, in milliseconds since 1970: what is near counts a little more.
    pub now: Option<i64>,
}

/// How words without operators between them go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Combine {
    /// One of them is enough; more are better.
    #[default]
    Any,
    /// All must be there.
    All,
    /// The first must be there, and none of the others.
    FirstAlone,
}

/// Which words may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefix {
    /// The last one, and those with a star.
    #[default]
    Last,
    /// All.
    Every,
    /// Those with a star.
    Starred,
}

/// Whether typing errors are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// When a word is hardly found as it stands.
    #[default]
    WhenFew,
    /// Always.
    Tolerant,
    /// Never.
    Exact,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            combine: Combine::default(),
            prefix: Prefix::default(),
            spelling: Spelling::default(),
            most_errors: 2,
            boosts: Vec::new(),
            fields: Vec::new(),
            now: None,
        }
    }
}

/// The query asks about a field that the caller does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keywords ask about a field that was not granted")]
pub struct FieldNotSeen;

/// What one index has for a query.
pub struct Gathered<'i> {
    index: &'i Index,
    leaves: Vec<LeafHits>,
    matches: Bits,
    docs: usize,
    /// How much each leaf may raise a score: nothing, when it was asked not to be there.
    counts: Vec<f32>,
    now: Option<i64>,
}

/// How rare the words of a query are, in all indexes that are asked together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    docs: usize,
    with_leaf: Vec<usize>,
}

/// Where an answer goes on: behind the last one that was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct After {
    /// Its score.
    pub score: f32,
    /// Its time, `i64::MIN` for none.
    pub time: i64,
}

/// A document that matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The document.
    pub doc: u32,
    /// How well it fits.
    pub score: f32,
    /// When it is, `i64::MIN` when that is not known or not to be seen.
    pub time: i64,
}

impl Hit {
    /// Better first, then later first. What is equal then is for the caller to order.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(other.time.cmp(&self.time))
    }
}

/// A word that a document matches by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The word as asked for, folded.
    pub asked: String,
    /// The word that the document has.
    pub found: String,
    /// The fields that have it.
    pub fields: Vec<String>,
}

impl Sight<'_> {
    /// Everything.
    pub const ALL: Sight<'static> = Sight {
        docs: None,
        without: FieldSet::ALL.without(FieldSet::ALL),
        without_time: false,
    };

    pub(crate) fn sees_doc(&self, doc: u32) -> bool {
        self.docs.is_none_or(|docs| docs.contains(doc))
    }

    fn sees_entry(&self, entry: Entry<'_>) -> bool {
        self.sees_doc(entry.doc)
            && (self.without.is_empty()
                || entry
                    .fields()
                    .any(|hits| !self.without.contains(hits.field)))
    }

    /// Whether a word stands anywhere where the caller sees it.
    pub(crate) fn sees(&self, index: &Index, term: u32) -> bool {
        index
            .terms
            .postings(term)
            .entries()
            .any(|entry| self.sees_entry(entry))
    }

    /// The languages of documents that the caller sees and that have a word, of the first of them; none if there are
    /// no such documents.
    pub(crate) fn languages_of(&self, index: &Index, term: u32) -> Languages {
        const FIRST: usize = 256;
        let entries = index.terms.postings(term).entries();
        let seen = entries.filter(|entry| self.sees_entry(*entry)).take(FIRST);
        let mut found = Languages::default();
        seen.for_each(|entry| found.insert_number(index.language_of(entry.doc)));
        match found.is_empty() {
            true => Languages::ALL,
            false => found,
        }
    }

    /// How many documents that the caller sees have a word, counted up to `enough`.
    pub(crate) fn documents_with(&self, index: &Index, word: &Variant, enough: usize) -> usize {
        let entries = index.terms.postings(word.term).entries();
        entries
            .filter(|entry| self.sees_entry(*entry) && word.counts_in(index, entry.doc))
            .take(enough)
            .count()
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.docs.is_none() && self.without.is_empty()
    }
}

impl<'i> Gathered<'i> {
    /// Asks an index.
    ///
    /// # Errors
    /// When the query asks about fields that are left out: before anything is looked at.
    pub fn new(
        index: &'i Index,
        query: &Query,
        options: &Options,
        sight: &Sight<'_>,
    ) -> Result<Self, FieldNotSeen> {
        let only = named(index, options.fields.iter().map(String::as_str), sight)?;
        let _ = named(
            index,
            options.boosts.iter().map(|(name, _)| name.as_str()),
            sight,
        )?;
        let _ = named(index, query.fields(), sight)?;
        if sight.without_time && query.asks_time() {
            return Err(FieldNotSeen);
        }
        let seen = FieldSet::ALL.without(sight.without);
        let allowed = match options.fields.is_empty() {
            true => seen,
            false => seen.common(only),
        };
        let present = match sight.docs {
            None => index.present.clone(),
            Some(docs) => {
                let mut both = index.present.clone();
                both.keep_common(docs);
                both
            }
        };
        let docs = match sight.docs {
            None => index.len(),
            Some(_) => present.len(),
        };
        let weights = Weights::new(index, options, sight);
        let last = query.leaves.len().wrapping_sub(1);
        let leaves: Vec<LeafHits> = query
            .leaves
            .iter()
            .enumerate()
            .map(|(at, leaf)| {
                let is_open = match options.prefix {
                    Prefix::Last => leaf.ends_open,
                    Prefix::Every => !leaf.is_exact,
                    Prefix::Starred => leaf.ends_open && (at != last || leaf.text.ends_with('*')),
                };
                gather_leaf(index, leaf, is_open, options, sight, &weights, allowed)
            })
            .collect();
        let mut matches = matching(&query.root, &leaves, options.combine, &present)
            .unwrap_or_else(|| present.clone());
        if query.root == Node::Nothing && !query.asks_time() {
            matches = Bits::default();
        }
        if query.asks_time() {
            let (from, to) = (
                query.after.unwrap_or(i64::MIN + 1),
                query.before.unwrap_or(i64::MAX),
            );
            let outside: Bits = matches
                .iter()
                .filter(|doc| {
                    !index
                        .time_of(*doc)
                        .is_some_and(|time| from <= time && time < to)
                })
                .collect();
            matches.take_away(&outside);
        }
        let mut counts = emphasis(query);
        silence(&query.root, false, &mut counts);
        Ok(Self {
            index,
            leaves,
            matches,
            docs,
            counts,
            now: options.now.filter(|_| !sight.without_time),
        })
    }

    /// The index that was asked.
    #[must_use]
    pub fn index(&self) -> &'i Index {
        self.index
    }

    /// The documents that match.
    #[must_use]
    pub fn matches(&self) -> &Bits {
        &self.matches
    }

    /// The best `limit` documents behind `after`. `tie` orders documents that are equal in score and time, by
    /// something that the caller may know; `is_behind` says whether such a one stands behind the last one given.
    #[must_use]
    pub fn rank(
        &self,
        statistics: &Statistics,
        limit: usize,
        after: Option<After>,
        sight: &Sight<'_>,
        tie: &dyn Fn(u32, u32) -> Ordering,
        is_behind: &dyn Fn(u32) -> bool,
    ) -> Vec<Hit> {
        let mut scores = vec![0_f32; self.index.extent()];
        let mut having = vec![0_f32; self.index.extent()];
        let mut asked = 0.0;
        for (at, leaf) in self.leaves.iter().enumerate() {
            let emphasis = self.counts.get(at).copied().unwrap_or(0.0);
            if emphasis == 0.0 {
                continue;
            }
            let rarity = emphasis * statistics.rarity(at);
            asked += rarity;
            for (doc, amount) in &leaf.hits {
                let share = amount / (K1 + amount);
                if let Some(score) = scores.get_mut(*doc as usize) {
                    *score += rarity * share * (K1 + 1.0);
                }
                if let Some(having) = having.get_mut(*doc as usize) {
                    *having += rarity * amount.min(1.0);
                }
            }
        }
        let has_words = asked > 0.0;
        let mut best: Vec<Hit> = Vec::new();
        let mut worst = f32::NEG_INFINITY;
        let room = limit
            .saturating_mul(2)
            .clamp(64, 4096)
            .max(limit.saturating_add(64));
        let order = |one: &Hit, other: &Hit| one.order(other).then_with(|| tie(one.doc, other.doc));
        for doc in self.matches.iter() {
            let time = match sight.without_time {
                true => NO_TIME,
                false => self.index.time_of(doc).unwrap_or(NO_TIME),
            };
            let mut score = 0.0;
            if has_words {
                let part = having.get(doc as usize).copied().unwrap_or(0.0) / asked;
                score = scores.get(doc as usize).copied().unwrap_or(0.0)
                    * (0.2 + 0.8 * part)
                    * self.nearness(time);
            }
            if score < worst {
                continue;
            }
            let hit = Hit { doc, score, time };
            if let Some(after) = after {
                let last = Hit {
                    doc,
                    score: after.score,
                    time: after.time,
                };
                match last.order(&hit) {
                    Ordering::Less => {}
                    Ordering::Equal if is_behind(doc) => {}
                    Ordering::Equal | Ordering::Greater => continue,
                }
            }
            best.push(hit);
            if best.len() >= room {
                best.select_nth_unstable_by(limit, order);
                best.truncate(limit);
                worst = best
                    .iter()
                    .map(|hit| hit.score)
                    .fold(f32::INFINITY, f32::min);
            }
        }
        best.sort_unstable_by(order);
        best.truncate(limit);
        best
    }

    /// By which words a document matches.
    #[must_use]
    pub fn explain(&self, query: &Query, doc: u32) -> Vec<Match> {
        let mut found = Vec::new();
        for (asked, leaf) in query.leaves.iter().zip(&self.leaves) {
            if leaf
                .hits
                .binary_search_by_key(&doc, |(doc, _)| *doc)
                .is_err()
            {
                continue;
            }
            for (at, variant) in leaf.variants.iter().enumerate() {
                let entry = self.index.terms.postings(variant.term).entry(doc);
                let Some(entry) = entry.filter(|_| variant.counts_in(self.index, doc)) else {
                    continue;
                };
                let fields: Vec<String> = entry
                    .fields()
                    .filter(|hits| leaf.fields.contains(hits.field))
                    .map(|hits| self.index.path(hits.field).to_owned())
                    .collect();
                if !fields.is_empty() {
                    let place = if leaf.is_phrase { at } else { 0 };
                    found.push(Match {
                        asked: asked.words.get(place).cloned().unwrap_or_default(),
                        found: self.index.terms.word(variant.term).to_owned(),
                        fields,
                    });
                }
            }
        }
        found
    }

    /// How often each value of a facet occurs among the matches.
    #[must_use]
    pub fn facet(&self, facet: usize, most: usize) -> Vec<(String, usize)> {
        let column = self.index.columns.get(facet);
        column.map_or_else(Vec::new, |column| column.count(self.matches.iter(), most))
    }

    /// How many matches there are in each month (`2026-01`), the latest first.
    #[must_use]
    pub fn months(&self, most: usize) -> Vec<(String, usize)> {
        let mut months = std::collections::BTreeMap::new();
        for doc in self.matches.iter() {
            if let Some(month) = self.index.time_of(doc).and_then(month_of) {
                *months.entry(month).or_insert(0) += 1;
            }
        }
        let name = |(month, count): (i32, usize)| {
            (
                format!(
                    "{:04}-{:02}",
                    month.div_euclid(12),
                    month.rem_euclid(12) + 1
                ),
                count,
            )
        };
        months.into_iter().rev().take(most).map(name).collect()
    }

    /// What is near in time counts a little more.
    fn nearness(&self, time: i64) -> f32 {
        const MOST: f32 = 0.15;
        const HALF_LIFE_DAYS: f32 = 180.0;
        let Some(now) = self.now.filter(|_| time != NO_TIME) else {
            return 1.0;
        };
        let days = now.saturating_sub(time).unsigned_abs() as f32 / 86_400_000.0;
        1.0 + MOST * (-days / HALF_LIFE_DAYS).exp2()
    }
}

impl Statistics {
    /// Takes in what an index has.
    pub fn add(&mut self, gathered: &Gathered<'_>) {
        self.docs += gathered.docs;
        self.with_leaf.resize(gathered.leaves.len(), 0);
        for (sum, leaf) in self.with_leaf.iter_mut().zip(&gathered.leaves) {
            *sum += leaf.docs;
        }
    }

    fn rarity(&self, leaf: usize) -> f32 {
        let with = self.with_leaf.get(leaf).copied().unwrap_or(0) as f32;
        let all = (self.docs as f32).max(with);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

/// The documents that a part of a query takes; `None` for all.
fn matching(node: &Node, leaves: &[LeafHits], combine: Combine, present: &Bits) -> Option<Bits> {
    match node {
        Node::Nothing => None,
        Node::Leaf(at) => leaves
            .get(*at)
            .map(|leaf| leaf.hits.iter().map(|(doc, _)| *doc).collect()),
        Node::Must(inner) => matching(inner, leaves, combine, present),
        Node::Not(inner) => {
            let mut rest = present.clone();
            match matching(inner, leaves, combine, present) {
                Some(taken) => rest.take_away(&taken),
                None => rest = Bits::default(),
            }
            Some(rest)
        }
        Node::All(nodes) => all_of(nodes, leaves, combine, present),
        Node::Any(nodes) => any_of(nodes, leaves, combine, present),
        Node::Sequence(nodes) => {
            let is_free = |node: &&Node| !matches!(node, Node::Not(_) | Node::Must(_));
            let (free, bound): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_free);
            let free = match combine {
                _ if free.is_empty() => None,
                Combine::All => all_of(free, leaves, combine, present),
                Combine::Any => any_of(free, leaves, combine, present),
                Combine::FirstAlone => {
                    let mut nodes = free.into_iter();
                    let first = all_of(nodes.next(), leaves, combine, present);
                    first.map(|mut first| {
                        for node in nodes {
                            match matching(node, leaves, combine, present) {
                                Some(other) => first.take_away(&other),
                                None => first = Bits::default(),
                            }
                        }
                        first
                    })
                }
            };
            let bound = all_of(bound, leaves, combine, present);
            both(free, bound)
        }
    }
}

fn all_of<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
    leaves: &[LeafHits],
    combine: Combine,
    present: &Bits,
) -> Option<Bits> {
    nodes
        .into_iter()
        .map(|node| matching(node, leaves, combine, present))
        .fold(None, both)
}

fn any_of<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
    leaves: &[LeafHits],
    combine: Combine,
    present: &Bits,
) -> Option<Bits> {
    let mut all = Bits::default();
    for node in nodes {
        all.add(&matching(node, leaves, combine, present)?);
    }
    Some(all)
}

fn both(one: Option<Bits>, other: Option<Bits>) -> Option<Bits> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.keep_common(&other);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

/// How much each leaf counts: the commonest words of the query's language little, when there are others.
fn emphasis(query: &Query) -> Vec<f32> {
    const COMMON: f32 = 0.2;
    let common_in = |leaf: &Leaf| match leaf.words.as_slice() {
        [word] if !leaf.is_exact => Languages::where_common(word),
        _ => Languages::default(),
    };
    let mut evidence = [0; Language::COUNT];
    for leaf in &query.leaves {
        for language in common_in(leaf).iter() {
            if let Some(count) = evidence.get_mut(language as usize) {
                *count += 1;
            }
        }
    }
    let language = Language::guess(&evidence);
    let is_common = |leaf: &Leaf| common_in(leaf).contains(language);
    let all = query.leaves.iter().all(is_common);
    let weight = |leaf: &Leaf| if !all && is_common(leaf) { COMMON } else { 1.0 };
    query.leaves.iter().map(weight).collect()
}

/// Marks the leaves that are asked not to be there.
fn silence(node: &Node, is_denied: bool, counts: &mut [f32]) {
    match node {
        Node::Nothing => {}
        Node::Leaf(at) => {
            if let Some(counts) = counts.get_mut(*at).filter(|_| is_denied) {
                *counts = 0.0;
            }
        }
        Node::Not(inner) => silence(inner, !is_denied, counts),
        Node::Must(inner) => silence(inner, is_denied, counts),
        Node::All(nodes) | Node::Any(nodes) | Node::Sequence(nodes) => {
            nodes
                .iter()
                .for_each(|node| silence(node, is_denied, counts));
        }
    }
}

/// The fields that names mean, unless one of them is left out.
fn named<'n>(
    index: &Index,
    names: impl Iterator<Item = &'n str>,
    sight: &Sight<'_>,
) -> Result<FieldSet, FieldNotSeen> {
    let mut all = FieldSet::default();
    for name in names {
        let fields = index.named(name);
        if !fields.common(sight.without).is_empty() {
            return Err(FieldNotSeen);
        }
        all = all.union(fields);
    }
    Ok(all)
}

/// Months since the year 0.
fn month_of(time: i64) -> Option<i32> {
    let date = time::OffsetDateTime::from_unix_timestamp(time.div_euclid(1000)).ok()?;
    Some(date.year() * 12 + i32::from(u8::from(date.month())) - 1)
}
