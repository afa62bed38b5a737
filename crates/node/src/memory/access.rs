//! Where a query finds its candidates: the index that leaves the fewest, or all records.

use std::ops::Range;
use std::sync::Arc;

use adyton_couch::lazy_json::Kind;
use adyton_couch::selector::{Bound, Conjunct, Conjunction, FieldPath, Relation, Selector};

use super::documents::{Documents, Filter};
use super::index::{Index, MAX_KEY};

/// Databases with fewer records than this are simply read.
const WORTH_AN_INDEX: usize = 64;
/// How many indexes one query may cause to be built for its selector.
const MOST_BUILT: usize = 2;

/// The candidates of a selector.
pub(super) struct Access {
    /// The index and the positions in it; `None`: all records.
    pub(super) index: Option<(Arc<Index>, Vec<Range<usize>>)>,
    /// Whether all candidates match, so that the selector need not be asked.
    pub(super) is_exact: bool,
    /// How many candidates there are.
    pub(super) count: usize,
}

impl Documents {
    /// Chooses how to find what the selector takes. Builds indexes if `build` says so.
    pub(super) fn access(&self, selector: &Selector, build: Building) -> Access {
        let conjunction = selector.conjunction();
        let mut best = Access {
            index: None,
            is_exact: conjunction.conjuncts.is_empty() && conjunction.is_whole,
            count: self.len(),
        };
        let mut seen: Vec<&FieldPath> = Vec::new();
        let mut built = 0;
        for conjunct in &conjunction.conjuncts {
            if seen.contains(&conjunct.path) {
                continue;
            }
            seen.push(conjunct.path);
            let known = self.indexes.find(conjunct.path);
            let index = match known {
                Some(index) => index,
                None if build == Building::Wanted && built < MOST_BUILT => {
                    built += 1;
                    let Some(index) = self.index(conjunct.path) else {
                        continue;
                    };
                    index
                }
                None => continue,
            };
            let (ranges, is_exact) = ranges(&index, conjunct.path, &conjunction);
            let count = ranges.iter().map(ExactSizeIterator::len).sum();
            if count < best.count || (is_exact && !best.is_exact && count <= best.count) {
                best = Access {
                    index: Some((index, ranges)),
                    is_exact,
                    count,
                };
            }
        }
        best
    }

    /// The index on `path`, built if need be and worth it.
    pub(super) fn index(&self, path: &FieldPath) -> Option<Arc<Index>> {
        // The revision is not in the text that indexes read.
        if self.len() < WORTH_AN_INDEX || path.first() == "_rev" {
            return None;
        }
        let slots = self.occupied().map(|(number, _)| number);
        self.indexes
            .find_or_build(path, slots, |slot| self.object(slot))
    }

    /// The candidates that the filter lets through and the selector takes.
    pub(super) fn matches(
        &self,
        access: &Access,
        filter: Filter<'_>,
        selector: &Selector,
    ) -> Vec<u32> {
        let takes = |number: u32| self.takes(number, filter, selector, access.is_exact);
        match &access.index {
            None => self
                .occupied()
                .map(|(number, _)| number)
                .filter(|number| takes(*number))
                .collect(),
            Some((index, ranges)) => ranges
                .iter()
                .flat_map(|range| index.entries(range.clone()))
                .map(|entry| entry.slot)
                .filter(|number| takes(*number))
                .collect(),
        }
    }

    /// Whether the filter lets the record through and, unless that is known, the selector takes it.
    #[inline]
    pub(super) fn takes(
        &self,
        number: u32,
        filter: Filter<'_>,
        selector: &Selector,
        known: bool,
    ) -> bool {
        let Some(slot) = self.slot(number) else {
            return false;
        };
        if !self.has(filter, number, slot) {
            return false;
        }
        if known {
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
