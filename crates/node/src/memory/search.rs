//! Searching the words of records, through a view: one schema, or several in one space.
//!
//! Guarantees: a question about a field that is left out is refused before anything is looked at; totals, scores,
//! facets and order come from what the view shows alone (`adyton_search` holds that); what comes out are
//! [`Document`]s as the view shows them.

use std::cmp::Ordering;
use std::sync::Arc;

use adyton_couch::lazy_json::LazyValue;
use adyton_couch::selector::FieldPath;
use adyton_protocol::scope::Instant;
use adyton_search::{
    After, Bits, FieldSet, Gathered, Highlighter, Hit, Index, Match, Options, Query, Sight,
    Statistics,
};

use super::budget::Reservation;
use super::document::Document;
use super::documents::Documents;
use super::query::QueryError;
use super::view::{FieldNotGranted, View};
use super::words::{Words, each_text};

/// Most values of a facet that are told.
const FACET_VALUES: usize = 50;
/// Most pieces of a field that are shown.
const PIECES: usize = 3;
/// Most hits that threads are made of.
const THREAD_HITS: usize = 400;

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Search {
    /// What was typed: for the receipt.
    pub typed: String,
    /// The words.
    pub query: Query,
    /// How they are meant.
    pub options: Options,
    /// Most records.
    pub limit: usize,
    /// Of each kind, this many are there, if they match.
    pub least_of_each: usize,
    /// Behind which record to go on.
    pub after: Option<Place>,
    /// What is counted among the matches, by name.
    pub facets: Vec<String>,
    /// Whether pieces of the texts are shown.
    pub highlight: bool,
}

/// The place of a record in the order of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Its score.
    pub score: f32,
    /// Its time, in milliseconds since 1970.
    pub time: i64,
    /// Which of the kinds it is.
    pub kind: usize,
    /// Its id.
    pub id: String,
}

/// A kind of records to search, as a caller sees them.
#[derive(Clone, Copy)]
pub struct Searched<'d> {
    /// The records.
    pub documents: &'d Documents,
    /// What the caller sees. It is of one schema.
    pub view: &'d View,
}

/// A record that was found.
#[derive(Debug)]
pub struct Finding {
    /// Which of the kinds it is.
    pub kind: usize,
    /// The record.
    pub document: Document,
    /// How well it fits.
    pub score: f32,
    /// Its time, in milliseconds since 1970.
    pub time: i64,
    /// The words by which it was found.
    pub matches: Vec<Match>,
    /// Pieces of its texts, by field.
    pub pieces: Vec<(String, Vec<String>)>,
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// The records, best first.
    pub items: Vec<Finding>,
    /// How many match of each kind.
    pub totals: Vec<usize>,
    /// What was counted: name, and values with how many have them.
    pub facets: Vec<(String, Vec<(String, usize)>)>,
    /// Where to go on, if there is more.
    pub next: Option<Place>,
    /// Covers the handles.
    pub counted: Reservation,
}

/// Messages of one conversation around those that were found.
#[derive(Debug)]
pub struct Thread {
    /// The conversation.
    pub group: String,
    /// How well its best message fits.
    pub score: f32,
    /// Its messages, in the order of their time.
    pub messages: Vec<Document>,
    /// The ids of those that were found.
    pub found: Vec<String>,
}

/// What a view shows of an index of words.
struct Shown {
    words: Arc<Words>,
    docs: Option<Bits>,
    without: FieldSet,
    without_time: bool,
}

impl Shown {
    /// `None` when the index is not complete.
    fn of(target: &Searched<'_>) -> Option<Self> {
        let schema = target.view.schema()?;
        let words = target.documents.words_of(schema)?;
        let state = words.read();
        if !state.is_complete {
            return None;
        }
        let may_ask = |path: &str| {
            FieldPath::parse(path).is_ok_and(|path| target.view.may_ask(&path).is_ok())
        };
        let is_narrow = target.view.leaves_out_fields();
        let without = state.index.left_out(is_narrow.then_some(&may_ask));
        let without_time = !may_ask(&state.index.plan().time);
        let window = target.view.window();
        let docs = (!window.is_always()).then(|| {
            let is_seen = |doc: &u32| {
                let time = state.index.time_of(*doc);
                time.is_some_and(|time| window.contains(Instant::of_milliseconds(time)))
            };
            state.index.documents().filter(is_seen).collect()
        });
        drop(state);
        Some(Self {
            words,
            docs,
            without,
            without_time,
        })
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            docs: self.docs.as_ref(),
            without: self.without,
            without_time: self.without_time,
        }
    }
}

/// Searches several kinds of records in one space. `None` when the words of some are not complete: read more of them,
/// and try again.
///
/// # Errors
/// When the search asks about fields that are left out, or there is no memory for it.
pub fn search(targets: &[Searched<'_>], search: &Search) -> Result<Option<Findings>, QueryError> {
    let Some(first) = targets.first() else {
        return Err(QueryError::WrongOption(
            "searchTypes",
            "at least one kind of records",
        ));
    };
    let budget = first.documents.budget();
    let shown: Option<Vec<Shown>> = targets.iter().map(Shown::of).collect();
    let Some(shown) = shown else {
        return Ok(None);
    };
    let states: Vec<_> = shown.iter().map(|shown| shown.words.read()).collect();
    let words = search.query.words();
    let answering: usize = states
        .iter()
        .map(|state| state.index.bytes_to_answer(words))
        .sum();
    let _answering = budget.reserve(answering)?;
    for ((shown, state), target) in shown.iter().zip(&states).zip(targets) {
        check_facets(&state.index, shown, target.view, &search.facets)?;
    }
    let mut gathered = Vec::with_capacity(states.len());
    let mut statistics = Statistics::default();
    for (shown, state) in shown.iter().zip(&states) {
        let found = Gathered::new(&state.index, &search.query, &search.options, &shown.sight());
        let found = found.map_err(|_| FieldNotGranted)?;
        statistics.add(&found);
        gathered.push(found);
    }
    let kinds = Kinds {
        targets,
        shown: &shown,
        gathered: &gathered,
        statistics: &statistics,
        search,
    };
    let (hits, next) = kinds.page();
    let counted = budget.reserve(hits.len() * size_of::<Finding>())?;
    let mut items = Vec::with_capacity(hits.len());
    for (kind, hit) in hits {
        items.extend(kinds.finding(kind, hit)?);
    }
    Ok(Some(Findings {
        items,
        totals: gathered.iter().map(|found| found.matches().len()).collect(),
        facets: kinds.facets(),
        next,
        counted,
    }))
}

/// Searches messages and shows them in their conversations: around each that is found, `size` messages in the order
/// of their time. Stretches that meet become one when `merge` is set; the best `limit` are returned.
///
/// # Errors
/// When the search asks about fields that are left out, or there is no memory for it.
pub fn search_threads(
    target: Searched<'_>,
    search: &Search,
    size: usize,
    merge: bool,
) -> Result<Option<(Vec<Thread>, Reservation)>, QueryError> {
    let Some(shown) = Shown::of(&target) else {
        return Ok(None);
    };
    let state = shown.words.read();
    let index = &state.index;
    let documents = target.documents;
    let answering = index.bytes_to_answer(search.query.words() + 2);
    let _answering = documents.budget().reserve(answering)?;
    let group = index.plan().group.clone().unwrap_or_default();
    for path in [&group, &index.plan().time] {
        target.view.may_ask(&FieldPath::parse(path)?)?;
    }
    let gathered = Gathered::new(index, &search.query, &search.options, &shown.sight());
    let gathered = gathered.map_err(|_| FieldNotGranted)?;
    let mut statistics = Statistics::default();
    statistics.add(&gathered);
    let by_id = |one, other| documents.id(one).cmp(documents.id(other));
    let hits = gathered.rank(
        &statistics,
        THREAD_HITS,
        None,
        &shown.sight(),
        &by_id,
        &|_| false,
    );
    let counted = documents
        .budget()
        .reserve(search.limit * (size + 1) * size_of::<Document>())?;
    let mut conversations: Vec<(u32, Vec<u32>)> = Vec::new();
    let mut stretches: Vec<Stretch> = Vec::new();
    for hit in hits {
        let Some(group) = index.group_of(hit.doc) else {
            continue;
        };
        let at = match conversations.iter().position(|(known, _)| *known == group) {
            Some(at) => at,
            None if stretches.len() >= search.limit => continue,
            None => {
                let is_seen =
                    |doc: &u32| shown.docs.as_ref().is_none_or(|docs| docs.contains(*doc));
                let mut members: Vec<u32> = index.in_group(group).filter(is_seen).collect();
                members.sort_by(|one, other| {
                    let times = index.time_of(*one).cmp(&index.time_of(*other));
                    times.then_with(|| by_id(*one, *other))
                });
                conversations.push((group, members));
                conversations.len() - 1
            }
        };
        let Some((_, members)) = conversations.get(at) else {
            continue;
        };
        let Some(place) = members.iter().position(|doc| *doc == hit.doc) else {
            continue;
        };
        let from = place
            .saturating_sub(size / 2)
            .min(members.len().saturating_sub(size));
        let new = Stretch {
            conversation: at,
            from,
            to: (from + size).min(members.len()),
            found: vec![hit],
        };
        let met = stretches.iter().position(|old| merge && old.meets(&new));
        let has_room = stretches.len() < search.limit;
        match met.and_then(|at| stretches.get_mut(at)) {
            Some(old) => old.take_in(new),
            None if has_room => stretches.push(new),
            None => {}
        }
    }
    if merge {
        join(&mut stretches);
    }
    let mut threads = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        let Some((_, members)) = conversations.get(stretch.conversation) else {
            continue;
        };
        let members = members.get(stretch.from..stretch.to).unwrap_or_default();
        let mut messages = Vec::with_capacity(members.len());
        for doc in members {
            messages.extend(documents.shown(target.view, *doc)?);
        }
        let name =
            |document: &Document| Some(document.member(&group)?.as_text()?.decode().into_owned());
        let id = |hit: &Hit| String::from_utf8_lossy(documents.id(hit.doc)).into_owned();
        threads.push(Thread {
            group: messages.first().and_then(name).unwrap_or_default(),
            score: stretch.found.first().map_or(0.0, |hit| hit.score),
            messages,
            found: stretch.found.iter().map(id).collect(),
        });
    }
    Ok(Some((threads, counted)))
}

/// A part of a conversation.
struct Stretch {
    conversation: usize,
    from: usize,
    to: usize,
    /// Best first.
    found: Vec<Hit>,
}

impl Stretch {
    fn meets(&self, other: &Self) -> bool {
        self.conversation == other.conversation && self.from <= other.to && other.from <= self.to
    }

    fn take_in(&mut self, other: Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.found.extend(other.found);
    }
}

/// A stretch that grew may meet another now.
fn join(stretches: &mut Vec<Stretch>) {
    let mut joined: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for mut stretch in std::mem::take(stretches) {
        while let Some(at) = joined.iter().position(|other| other.meets(&stretch)) {
            let mut other = joined.remove(at);
            other.take_in(stretch);
            stretch = other;
        }
        joined.push(stretch);
    }
    joined.sort_by(|one, other| {
        let best = |stretch: &Stretch| stretch.found.first().map_or(0.0, |hit| hit.score);
        best(other).total_cmp(&best(one))
    });
    *stretches = joined;
}

/// Facets that are not of a field: the months of the records.
const MONTH: &str = "month";
/// And which kind they are of.
const TYPE: &str = "type";

fn check_facets(
    index: &Index,
    shown: &Shown,
    view: &View,
    wanted: &[String],
) -> Result<(), QueryError> {
    for name in wanted {
        let facets = &index.plan().facets;
        match facets.iter().find(|(known, _)| known == name) {
            Some((_, field)) => view.may_ask(&FieldPath::parse(field)?)?,
            None if name == MONTH && shown.without_time => return Err(FieldNotGranted.into()),
            None if [MONTH, TYPE, "sender"].contains(&name.as_str()) => {}
            None => {
                return Err(QueryError::WrongOption(
                    "facets",
                    "a list of type, sender and month",
                ));
            }
        }
    }
    Ok(())
}

struct Kinds<'s> {
    targets: &'s [Searched<'s>],
    shown: &'s [Shown],
    gathered: &'s [Gathered<'s>],
    statistics: &'s Statistics,
    search: &'s Search,
}

impl Kinds<'_> {
    /// The records of a page, and where the next one begins.
    fn page(&self) -> (Vec<(usize, Hit)>, Option<Place>) {
        let limit = self.search.limit;
        let least = match self.targets.len() {
            0 | 1 => 0,
            // Half of a page is for what fits best, whatever it is.
            several => self.search.least_of_each.min(limit / 2 / several),
        };
        // Those of which some are always there stand on the first page, and on no other.
        let mut first: Vec<(usize, Hit)> = Vec::new();
        let mut rest: Vec<(usize, Hit)> = Vec::new();
        for kind in 0..self.targets.len() {
            let best = self.ranked(kind, least, None);
            let wanted = limit + 1 + best.len();
            let others = self.ranked(kind, wanted, self.search.after.as_ref());
            let is_first = |hit: &Hit| best.iter().any(|other| other.doc == hit.doc);
            rest.extend(
                others
                    .into_iter()
                    .filter(|hit| !is_first(hit))
                    .map(|hit| (kind, hit)),
            );
            first.extend(best.into_iter().map(|hit| (kind, hit)));
        }
        rest.sort_by(|one, other| self.order(one, other));
        if self.search.after.is_some() {
            first.clear();
        }
        let room = limit - first.len().min(limit);
        let goes_on = rest.len() > room;
        rest.truncate(room);
        let last = rest.last().filter(|_| goes_on);
        let next = last.and_then(|(kind, hit)| {
            let id = self.targets.get(*kind)?.documents.id(hit.doc);
            Some(Place {
                score: hit.score,
                time: hit.time,
                kind: *kind,
                id: String::from_utf8_lossy(id).into_owned(),
            })
        });
        first.append(&mut rest);
        first.sort_by(|one, other| self.order(one, other));
        (first, next)
    }

    fn ranked(&self, kind: usize, limit: usize, after: Option<&Place>) -> Vec<Hit> {
        let (Some(target), Some(shown), Some(gathered)) = (
            self.targets.get(kind),
            self.shown.get(kind),
            self.gathered.get(kind),
        ) else {
            return Vec::new();
        };
        if limit == 0 {
            return Vec::new();
        }
        let id = |doc| target.documents.id(doc);
        let is_behind = |doc| {
            after.is_some_and(|after| match kind.cmp(&after.kind) {
                Ordering::Less => false,
                Ordering::Equal => id(doc) > after.id.as_bytes(),
                Ordering::Greater => true,
            })
        };
        let from = after.map(|after| After {
            score: after.score,
            time: after.time,
        });
        let by_id = |one, other| id(one).cmp(id(other));
        gathered.rank(
            self.statistics,
            limit,
            from,
            &shown.sight(),
            &by_id,
            &is_behind,
        )
    }

    fn order(&self, one: &(usize, Hit), other: &(usize, Hit)) -> Ordering {
        let id = |(kind, hit): &(usize, Hit)| {
            self.targets
                .get(*kind)
                .map_or(&[][..], |target| target.documents.id(hit.doc))
        };
        one.1
            .order(&other.1)
            .then(one.0.cmp(&other.0))
            .then_with(|| id(one).cmp(id(other)))
    }

    fn finding(&self, kind: usize, hit: Hit) -> Result<Option<Finding>, QueryError> {
        let (Some(target), Some(gathered)) = (self.targets.get(kind), self.gathered.get(kind))
        else {
            return Ok(None);
        };
        let Some(document) = target.documents.shown(target.view, hit.doc)? else {
            return Ok(None);
        };
        let matches = gathered.explain(&self.search.query, hit.doc);
        let pieces = match self.search.highlight {
            true => pieces_of(gathered.index(), &document, &matches),
            false => Vec::new(),
        };
        Ok(Some(Finding {
            kind,
            document,
            score: hit.score,
            time: hit.time,
            matches,
            pieces,
        }))
    }

    fn facets(&self) -> Vec<(String, Vec<(String, usize)>)> {
        let several = self.targets.len() > 1;
        let of = |name: &String| {
            let mut counts: std::collections::BTreeMap<String, usize> = Default::default();
            for gathered in self.gathered {
                let facets = &gathered.index().plan().facets;
                let found = match facets.iter().position(|(known, _)| known == name) {
                    _ if name == MONTH => gathered.months(FACET_VALUES),
                    Some(at) if !(several && name == TYPE) => gathered.facet(at, FACET_VALUES),
                    _ => Vec::new(),
                };
                for (value, count) in found {
                    *counts.entry(value).or_insert(0) += count;
                }
            }
            let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
            match name == MONTH {
                true => counts.reverse(),
                false => counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count)),
            }
            counts.truncate(FACET_VALUES);
            (name.clone(), counts)
        };
        self.search.facets.iter().map(of).collect()
    }
}

/// Pieces of the texts that a view shows of a record.
fn pieces_of(index: &Index, document: &Document, matches: &[Match]) -> Vec<(String, Vec<String>)> {
    let plan = index.plan();
    let fields: Vec<(String, Vec<String>, u8)> = (0_u8..)
        .zip(&plan.fields)
        .filter(|(_, field)| {
            matches
                .iter()
                .any(|found| found.fields.contains(&field.path))
        })
        .filter_map(|(number, field)| {
            let mut steps = field.path.split('.').map(str::to_owned);
            Some((steps.next()?, steps.collect(), number))
        })
        .collect();
    let Some(record) = LazyValue::first_of(document.object()) else {
        return Vec::new();
    };
    let mut highlighter = Highlighter::new(matches);
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    each_text(record, &fields, &mut |field, text| {
        let Some(planned) = plan.fields.get(usize::from(field)) else {
            return;
        };
        let pieces = highlighter.pieces(text, planned.is_mail, PIECES);
        if pieces.is_empty() {
            return;
        }
        match found.iter_mut().find(|(path, _)| *path == planned.path) {
            Some((_, known)) => known.extend(pieces),
            None => found.push((planned.path.clone(), pieces)),
        }
    });
    found
        .iter_mut()
        .for_each(|(_, pieces)| pieces.truncate(PIECES));
    found
}
