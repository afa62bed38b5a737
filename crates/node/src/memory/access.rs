//! Where a query finds its candidates: the index that leaves the fewest, or all records.

use std::ops::Range;
use std::sync::Arc;

use adyton_couch::lazy_json::Kind;
use adyton_couch::selector::{Bound, Conjunct, Conjunction, FieldPath, Relation, Selector};

use super::documents::Documents;
use super::filter::Filter;
use super::index::{Index, MAX_KEY};
use crate::computing::has_read;

/// Databases with fewer records than this are simply read.
pub(super) const WORTH_AN_INDEX: usize = 64;
/// How many indexes one query may cause to be built for its selector.
const MOST_BUILT: usize = 2;

/// The candidates of a selector within a view.
pub(super) struct Access<'v> {
    /// The index and the positions in it; `None`: all records.
    pub(super) index: Option<(Arc<Index>, Vec<Range<usize>>)>,
    /// Whether all candidates match, so that the selector need not be asked.
    pub(super) is_exact: bool,
    /// How many candidates there are.
    pub(super) count: usize,
    /// What candidates must pass to be seen at all.
    pub(super) filter: Filter<'v>,
}

/// Where candidates are found.
pub(super) struct Candidates {
    pub(super) index: Option<(Arc<Index>, Vec<Range<usize>>)>,
    pub(super) is_exact: bool,
    pub(super) count: usize,
}

impl Candidates {
    /// Those of `records` that fulfil a conjunction, by the index that leaves the fewest. At most [`MOST_BUILT`] are
    /// asked of `build`, the others of `known`.
    pub(super) fn of(
        conjunction: &Conjunction<'_>,
        records: usize,
        known: impl Fn(&FieldPath) -> Option<Arc<Index>>,
        build: impl Fn(&FieldPath) -> Option<Arc<Index>>,
    ) -> Self {
        let mut best = Self {
            index: None,
            is_exact: conjunction.conjuncts.is_empty() && conjunction.is_whole,
            count: records,
        };
        let mut seen: Vec<&FieldPath> = Vec::new();
        let mut built = 0;
        for conjunct in &conjunction.conjuncts {
            if seen.contains(&conjunct.path) {
                continue;
            }
            seen.push(conjunct.path);
            let index = known(conjunct.path).or_else(|| {
                built += 1;
                (built <= MOST_BUILT).then(|| build(conjunct.path))?
            });
            let Some(index) = index else { continue };
            let (ranges, is_exact) = ranges(&index, conjunct.path, conjunction);
            let count = ranges.iter().map(ExactSizeIterator::len).sum();
            if count < best.count || (is_exact && !best.is_exact && count <= best.count) {
                best = Self {
                    index: Some((index, ranges)),
                    is_exact,
                    count,
                };
            }
        }
        best
    }
}

impl Documents {
    /// Chooses how to find what the selector takes within a view. Builds indexes if `build` says so.
    pub(super) fn access<'v>(
        &self,
        selector: &Selector,
        filter: Filter<'v>,
        build: Building,
    ) -> Access<'v> {
        let conjunction = selector.conjunction();
        let Candidates {
            index,
            is_exact,
            count,
        } = Candidates::of(
            &conjunction,
            self.len(),
            |path| self.indexes.find(path),
            |path| match build {
                Building::Wanted => self.index(path),
                Building::Unwanted => None,
            },
        );
        let chosen = Access {
            index,
            is_exact,
            count,
            filter,
        };
        self.in_time(chosen, &conjunction, build)
    }

    /// Narrows candidates to those of the view's window, if an index knows them.
    fn in_time<'v>(
        &self,
        mut access: Access<'v>,
        conjunction: &Conjunction<'_>,
        build: Building,
    ) -> Access<'v> {
        let Some((path, window)) = access.filter.time() else {
            return access;
        };
        let times = match build {
            Building::Wanted => self.index(path),
            Building::Unwanted => self.indexes.find(path),
        };
        let Some(times) = times else {
            return access;
        };
        let during = times.during(window);
        let in_time = match access.index.take() {
            Some((index, ranges)) if Arc::ptr_eq(&index, &times) => {
                let both = intersection(&ranges, &during);
                Some((index, both, access.is_exact))
            }
            chosen => {
                let count: usize = during.iter().map(ExactSizeIterator::len).sum();
                if count < access.count || chosen.is_none() {
                    let takes_all = conjunction.conjuncts.is_empty() && conjunction.is_whole;
                    Some((times, during, takes_all))
                } else {
                    access.index = chosen;
                    None
                }
            }
        };
        if let Some((index, ranges, is_exact)) = in_time {
            access.count = ranges.iter().map(ExactSizeIterator::len).sum();
            access.index = Some((index, ranges));
            access.is_exact = is_exact;
            access.filter = access.filter.in_time();
        }
        access
    }

    /// The index on `path`, built if need be and worth it.
    pub(super) fn index(&self, path: &FieldPath) -> Option<Arc<Index>> {
        if self.len() < WORTH_AN_INDEX || !can_be_indexed(path) {
            return None;
        }
        let slots = self.occupied().map(|(number, _)| number);
        self.indexes.find_or_build(path, slots, |slot| {
            let object = self.object(slot);
            has_read(object.len());
            object
        })
    }

    /// The candidates that are seen and that the selector takes.
    pub(super) fn matches(&self, access: &Access<'_>, selector: &Selector) -> Vec<u32> {
        self.candidates(access)
            .filter(|number| {
                has_read(self.object(*number).len());
                self.takes(*number, access, selector)
            })
            .collect()
    }

    /// The candidates, seen or not.
    pub(super) fn candidates<'a>(
        &'a self,
        access: &'a Access<'_>,
    ) -> impl Iterator<Item = u32> + 'a {
        let all = access
            .index
            .is_none()
            .then(|| self.occupied().map(|(number, _)| number));
        let found = access.index.iter().flat_map(|(index, ranges)| {
            ranges
                .iter()
                .flat_map(|range| index.entries(range.clone()))
                .map(|entry| entry.slot)
        });
        all.into_iter().flatten().chain(found)
    }

    /// Whether the record is seen.
    #[inline]
    pub(super) fn has(&self, filter: &Filter<'_>, number: u32) -> bool {
        filter.is_all()
            || self
                .slot(number)
                .is_some_and(|slot| filter.has(self, number, slot))
    }

    /// Whether the record is seen and, unless that is known, the selector takes it.
    #[inline]
    pub(super) fn takes(&self, number: u32, access: &Access<'_>, selector: &Selector) -> bool {
        let Some(slot) = self.slot(number) else {
            return false;
        };
        if !access.filter.has(self, number, slot) {
            return false;
        }
        if access.is_exact {
            return true;
        }
        if selector.reads("_rev") {
            let rev = format!("\"{}\"", slot.rev);
            let further = adyton_couch::lazy_json::LazyValue::first_of(rev.as_bytes());
            let further: Vec<_> = further.map(|rev| ("_rev", rev)).into_iter().collect();
            return selector.takes_with(self.object(number), &further);
        }
        selector.takes(self.object(number))
    }
}

/// Whether a query may build indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Building {
    Wanted,
    Unwanted,
}

/// What lies in both of two lists of ranges, each in order and without overlap.
fn intersection(left: &[Range<usize>], right: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut both = Vec::new();
    let mut right = right.iter().peekable();
    for range in left {
        while let Some(other) = right.peek() {
            let (start, end) = (range.start.max(other.start), range.end.min(other.end));
            if start < end {
                both.push(start..end);
            }
            if other.end > range.end {
                break;
            }
            right.next();
        }
    }
    both
}

/// Whether there can be an index on a field: the revision is not in the text that indexes read.
pub(super) fn can_be_indexed(path: &FieldPath) -> bool {
    path.first() != "_rev"
}

/// The positions in `index` of the records that fulfil the conjuncts on `path`, and whether they
/// are exactly what the whole conjunction takes.
fn ranges(
    index: &Index,
    path: &FieldPath,
    conjunction: &Conjunction<'_>,
) -> (Vec<Range<usize>>, bool) {
    let mut span = 0..index.len();
    let mut list: Option<Vec<Range<usize>>> = None;
    let mut is_exact = conjunction.is_whole;
    for Conjunct { path: other, bound } in &conjunction.conjuncts {
        if *other != path {
            is_exact = false;
            continue;
        }
        match bound {
            Bound::Compare(relation, operand) => {
                let key = operand.key().as_bytes();
                // Of keys this long the index knows only the beginning: take all that begin alike.
                let is_cut = key.len() >= MAX_KEY;
                is_exact &= !is_cut;
                let (above, below) = (index.lower(key), index.upper(key));
                let (from, to) = match relation {
                    Relation::Equal => (above, below),
                    Relation::Less if !is_cut => (0, above),
                    Relation::Less | Relation::LessOrEqual => (0, below),
                    Relation::Greater if !is_cut => (below, index.len()),
                    Relation::Greater | Relation::GreaterOrEqual => (above, index.len()),
                };
                span = span.start.max(from)..span.end.min(to);
            }
            Bound::OneOf(operands) => {
                if list.is_some() {
                    // A second list on the same field is left to the selector.
                    is_exact = false;
                    continue;
                }
                let arrays = index.kinds(Kind::Array, Kind::Object);
                is_exact &= arrays.is_empty();
                let mut ranges = vec![arrays];
                for operand in operands
                    .iter()
                    .filter(|operand| operand.kind() != Kind::Null)
                {
                    let key = operand.key().as_bytes();
                    is_exact &= key.len() < MAX_KEY;
                    ranges.push(index.lower(key)..index.upper(key));
                }
                list = Some(ranges);
            }
        }
    }
    if span.start >= span.end {
        return (Vec::new(), is_exact);
    }
    let Some(mut list) = list else {
        return (vec![span], is_exact);
    };
    list.sort_unstable_by_key(|range| (range.start, range.end));
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for range in list {
        let start = range
            .start
            .max(span.start)
            .max(ranges.last().map_or(0, |last| last.end));
        let end = range.end.min(span.end);
        if start < end {
            ranges.push(start..end);
        }
    }
    (ranges, is_exact)
}
