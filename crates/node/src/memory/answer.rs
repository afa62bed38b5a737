//! Answering queries: candidates, matches, order, page.
//!
//! 1. Choose the candidates (`access`). 2. Keep those that match. 3. Walk them in order until the
//!    page is full: along the index of the first sort field where there is one, along an index made
//!    of the matches alone where there is none; records that are equal so far are ordered by the
//!    next field, and at last by `_id`.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use adyton_couch::collate::{compare_text, write_key};
use adyton_couch::lazy_json::MemberNames;
use adyton_couch::selector::{FieldPath, Selector};

use super::access::{Access, Building};
use super::budget::OverBudget;
use super::cursor::{Cursor, MAX_SORT_KEY, Order};
use super::document::Document;
use super::documents::Documents;
use super::filter::Filter;
use super::index::{Index, field};
use super::query::{Direction, Page, Query, QueryError, SortKey};
use super::view::View;

/// With fewer matches than this, sorting them is cheaper than building an index.
const WORTH_AN_INDEX: usize = 256;
/// What a match costs while a query runs: its number, and its bit.
pub(super) const MATCH_BYTES: usize = 8;

impl Documents {
    /// Answers a query within a view. May build indexes, which are kept for later.
    ///
    /// # Errors
    /// When the query touches what the view leaves out, which is known before anything is read; when there is no
    /// memory to sort the matches in.
    pub fn query(&self, view: &View, query: &Query) -> Result<Page, QueryError> {
        view.may_select(&query.selector)?;
        view.may_sort(&query.sort)?;
        let after = query.after.as_ref();
        if after.is_some_and(|cursor| !cursor.is_of(view, query)) {
            return Err(QueryError::CursorOfAnother);
        }
        let access = self.access(&query.selector, Filter::of(self, view), Building::Wanted);
        let conjunction = query.selector.conjunction();
        let asks_for_all = conjunction.is_whole && conjunction.conjuncts.is_empty();
        let limit = query.limit.min(Query::MAX_LIMIT);
        let end = query.skip.saturating_add(limit);
        let (total, numbers) = match self.walk_only(&access, query) {
            Some(index) => self.page_along(&index, &access, query, end)?,
            None => self.page_of_matches(&access, query, end)?,
        };
        let page = numbers.get(query.skip..end.min(numbers.len()));
        let page = page.unwrap_or_default();
        let counted = self.budget().reserve(page.len() * size_of::<Document>())?;
        let mut documents = Vec::with_capacity(page.len());
        for number in page {
            documents.extend(self.shown(view, *number)?);
        }
        let goes_on = numbers.len() > end;
        let last = page.last().filter(|_| goes_on);
        Ok(Page {
            documents,
            total,
            limit,
            next: last.map(|last| Cursor::at(self, view, query, *last)),
            rows: match asks_for_all {
                true => total,
                false => self.count_all(view),
            },
            counted,
        })
    }

    /// How many records a selector takes within a view.
    ///
    /// # Errors
    /// When the selector touches what the view leaves out; when there is no memory to count in.
    pub fn count(&self, view: &View, selector: &Selector) -> Result<usize, QueryError> {
        view.may_select(selector)?;
        let access = self.access(selector, Filter::of(self, view), Building::Wanted);
        if access.is_exact {
            return Ok(self.count_seen(&access));
        }
        let _counted = self.budget().reserve(access.count * MATCH_BYTES)?;
        Ok(self.matches(&access, selector).len())
    }

    /// How many records a view shows.
    #[must_use]
    pub fn count_all(&self, view: &View) -> usize {
        let filter = Filter::of(self, view);
        match filter.is_all() {
            true => self.len(),
            false => {
                self.count_seen(&self.access(&Selector::everything(), filter, Building::Wanted))
            }
        }
    }

    /// How many of the candidates are seen.
    fn count_seen(&self, access: &Access<'_>) -> usize {
        match access.filter.is_all() {
            true => access.count,
            false => self
                .candidates(access)
                .filter(|number| self.has(&access.filter, *number))
                .count(),
        }
    }

    /// The index along which the page can be read without looking for all matches first: when the
    /// candidates are the matches, and lie in the order wanted.
    fn walk_only(&self, access: &Access<'_>, query: &Query) -> Option<Arc<Index>> {
        if !access.is_exact {
            return None;
        }
        let order = match query.sort.first() {
            Some(key) => key.path.clone(),
            None => by_id()?,
        };
        match &access.index {
            Some((index, _)) => (*index.path() == order).then(|| index.clone()),
            None => self.index(&order),
        }
    }

    /// The numbers of the records up to the page's end and one more if there is one, read along the index that gives
    /// the candidates, or along that of all records.
    fn page_along(
        &self,
        index: &Index,
        access: &Access<'_>,
        query: &Query,
        end: usize,
    ) -> Result<(usize, Vec<u32>), OverBudget> {
        let everything = 0..index.len();
        let (ranges, missing) = match &access.index {
            Some((_, ranges)) => (ranges.as_slice(), &[][..]),
            None => (from_ref(&everything), index.missing()),
        };
        let mut walk = Walk::until(self, end);
        let has = |number: u32| self.has(&access.filter, number);
        match &query.after {
            None => walk.along(index, ranges, missing, has, &query.sort)?,
            Some(cursor) => {
                let order = Order::of(&query.sort);
                let has = |number| has(number) && order.is_behind(self, number, cursor);
                let rest = rest(index, ranges, cursor, &query.sort);
                walk.along(index, &rest, missing, has, &query.sort)?;
            }
        }
        Ok((self.count_seen(access), walk.found))
    }

    /// The numbers of the records up to the page's end and one more if there is one, out of all matches.
    fn page_of_matches(
        &self,
        access: &Access<'_>,
        query: &Query,
        end: usize,
    ) -> Result<(usize, Vec<u32>), OverBudget> {
        let _counted = self.budget().reserve(access.count * MATCH_BYTES)?;
        let mut matches = self.matches(access, &query.selector);
        let total = matches.len();
        let order = match query.sort.first() {
            Some(key) => Some(key.path.clone()),
            None => by_id(),
        };
        let known = order.as_ref().and_then(|path| self.indexes.find(path));
        let index = match (known, &order) {
            (Some(index), _) if total >= WORTH_AN_INDEX => Some(index),
            (None, Some(path)) if total >= WORTH_AN_INDEX && end > 0 => self.index(path),
            _ => None,
        };
        if let Some(cursor) = &query.after {
            let order = Order::of(&query.sort);
            matches.retain(|number| order.is_behind(self, *number, cursor));
        }
        let mut walk = Walk::until(self, end);
        match index {
            Some(index) => {
                let mut marks = vec![0_u64; self.slot_count().div_ceil(64)];
                for number in &matches {
                    if let Some(word) = marks.get_mut(*number as usize / 64) {
                        *word |= 1 << (number % 64);
                    }
                }
                let has = |number: u32| {
                    marks
                        .get(number as usize / 64)
                        .is_some_and(|word| word >> (number % 64) & 1 == 1)
                };
                let all = 0..index.len();
                walk.along(&index, from_ref(&all), index.missing(), has, &query.sort)?;
            }
            None => walk.sorted(matches, &query.sort)?,
        }
        Ok((total, walk.found))
    }
}

/// What is left of ranges in an index behind a cursor; of the records with its very key, all. The null ones stand at the
/// beginning of an index and at the end of an order, so that they are always left.
fn rest(
    index: &Index,
    ranges: &[Range<usize>],
    cursor: &Cursor,
    sort: &[SortKey],
) -> Vec<Range<usize>> {
    let nulls = index.nulls();
    let descending = sort
        .first()
        .is_some_and(|key| key.direction == Direction::Descending);
    let left = match cursor.first_key() {
        None => 0..0,
        Some(key) if descending => nulls.end..index.upper(&key),
        Some(key) => index.lower(&key).max(nulls.end)..index.len(),
    };
    let both = ranges.iter().flat_map(|range| {
        [&nulls, &left].map(|part| range.start.max(part.start)..range.end.min(part.end))
    });
    both.filter(|range| range.start < range.end).collect()
}

fn by_id() -> Option<FieldPath> {
    FieldPath::parse("_id").ok()
}

/// Collects records in order until there are enough.
struct Walk<'d> {
    documents: &'d Documents,
    found: Vec<u32>,
    needed: usize,
}

impl<'d> Walk<'d> {
    /// Collects until the end of a page, and one more to know whether there is one.
    fn until(documents: &'d Documents, end: usize) -> Self {
        Self {
            documents,
            found: Vec::new(),
            needed: end.saturating_add(1),
        }
    }

    fn is_done(&self) -> bool {
        self.found.len() >= self.needed
    }

    /// Collects the records that `has` lets through, in the order of `index`, whose field is that
    /// of the first sort key (or `_id`, if there is none).
    fn along(
        &mut self,
        index: &Index,
        ranges: &[Range<usize>],
        missing: &[u32],
        has: impl Fn(u32) -> bool,
        sort: &[SortKey],
    ) -> Result<(), OverBudget> {
        let nulls = index.nulls();
        let (direction, rest) = match sort.split_first() {
            Some((first, rest)) => (first.direction, rest),
            None => (Direction::Ascending, sort),
        };
        let clamp = |range: &Range<usize>| range.start.max(nulls.end)..range.end.max(nulls.end);
        match direction {
            Direction::Ascending => {
                for range in ranges.iter().map(clamp) {
                    let mut at = range.start;
                    while at < range.end && !self.is_done() {
                        let group = index.group(at, range.clone());
                        at = group.end;
                        self.group(index, group, &has, direction, rest)?;
                    }
                }
            }
            Direction::Descending => {
                for range in ranges.iter().rev().map(clamp) {
                    let mut end = range.end;
                    while end > range.start && !self.is_done() {
                        let group = index.group(end - 1, range.clone());
                        end = group.start;
                        self.group(index, group, &has, direction, rest)?;
                    }
                }
            }
        }
        if self.is_done() {
            return Ok(());
        }
        let null = ranges
            .iter()
            .map(|range| range.start.max(nulls.start)..range.end.min(nulls.end));
        let null = null.filter(|range| range.start < range.end);
        let last = null
            .flat_map(|range| index.entries(range))
            .map(|entry| entry.slot)
            .chain(missing.iter().copied())
            .filter(|number| has(*number))
            .collect();
        self.sorted(last, rest)
    }

    /// Collects records with one key.
    fn group(
        &mut self,
        index: &Index,
        group: Range<usize>,
        has: &impl Fn(u32) -> bool,
        direction: Direction,
        rest: &[SortKey],
    ) -> Result<(), OverBudget> {
        let entries = index.entries(group.clone());
        if let [only] = entries {
            if has(only.slot) {
                self.found.push(only.slot);
            }
            return Ok(());
        }
        let numbers: Vec<u32> = entries
            .iter()
            .map(|entry| entry.slot)
            .filter(|number| has(*number))
            .collect();
        if index.is_cut(group.start) {
            return self.by_whole_keys(index.path(), numbers, direction, rest);
        }
        self.sorted(numbers, rest)
    }

    /// Collects records in the order of `sort`, then of `_id`.
    fn sorted(&mut self, mut numbers: Vec<u32>, sort: &[SortKey]) -> Result<(), OverBudget> {
        let Some((first, _)) = sort.split_first() else {
            self.sorted_by_id(&mut numbers);
            return Ok(());
        };
        if numbers.len() < 2 {
            self.found.extend(numbers);
            return Ok(());
        }
        let index = self.documents.index_of(&first.path, &numbers)?;
        self.along(
            &index,
            from_ref(&(0..index.len())),
            index.missing(),
            |_| true,
            sort,
        )
    }

    fn sorted_by_id(&mut self, numbers: &mut Vec<u32>) {
        let documents = self.documents;
        let order =
            |left: &u32, right: &u32| compare_text(documents.id(*left), documents.id(*right));
        let wanted = self.needed.saturating_sub(self.found.len());
        if wanted < numbers.len() {
            if wanted > 0 {
                numbers.select_nth_unstable_by(wanted, order);
            }
            numbers.truncate(wanted);
        }
        numbers.sort_unstable_by(order);
        self.found.append(numbers);
    }

    /// Collects records whose keys begin alike, by their whole keys.
    fn by_whole_keys(
        &mut self,
        path: &FieldPath,
        numbers: Vec<u32>,
        direction: Direction,
        rest: &[SortKey],
    ) -> Result<(), OverBudget> {
        let mut names = MemberNames::default();
        names.slot(path.first());
        let mut counted = self.documents.budget().reserve(0)?;
        let mut keys: Vec<(Vec<u8>, u32)> = Vec::with_capacity(numbers.len());
        for number in numbers {
            let value = field(&names, path, self.documents.object(number));
            let mut key = Vec::new();
            if let Some(value) = value {
                write_key(value, MAX_SORT_KEY, &mut key);
            }
            counted.resize(counted.bytes() + key.capacity() + size_of::<(Vec<u8>, u32)>())?;
            keys.push((key, number));
        }
        keys.sort_by(|left, right| match direction {
            Direction::Ascending => left.0.cmp(&right.0),
            Direction::Descending => right.0.cmp(&left.0),
        });
        for group in keys.chunk_by(|left, right| left.0 == right.0) {
            if self.is_done() {
                break;
            }
            self.sorted(group.iter().map(|(_, number)| *number).collect(), rest)?;
        }
        Ok(())
    }
}
