//! How a question would be answered.
//!
//! Guarantees: whoever does not see the whole database is told what would be done if what they see were all of it. Which
//! indexes there are tells what others ask for, and how much an index holds tells what is not shown: neither is said.

use std::sync::Arc;

use adyton_couch::selector::FieldPath;

use super::access::{Candidates, WORTH_AN_INDEX, can_be_indexed};
use super::budget::OverBudget;
use super::documents::Documents;
use super::filter::Filter;
use super::index::Index;
use super::query::{Explanation, Query, QueryError};
use super::view::View;

impl Documents {
    /// How a query would be answered within a view. Keeps nothing.
    ///
    /// # Errors
    /// When the query touches what the view leaves out; when there is no memory to find out.
    pub fn explain(&self, view: &View, query: &Query) -> Result<Explanation, QueryError> {
        view.may_select(&query.selector)?;
        view.may_sort(&query.sort)?;
        let conjunction = query.selector.conjunction();
        let order = query.sort.first().map(|key| &key.path);
        let (candidates, order, indexed) = if view.is_whole_database() {
            let known = |path: &FieldPath| self.indexes.find(path);
            let candidates = Candidates::of(&conjunction, self.len(), known, |_| None);
            let order = order.filter(|path| self.indexes.find(path).is_some());
            (candidates, order, self.indexes.paths())
        } else {
            let seen = self.seen(view)?;
            let is_worth = |path: &FieldPath| seen.len() >= WORTH_AN_INDEX && can_be_indexed(path);
            let build = |path: &FieldPath| {
                is_worth(path).then(|| self.index_of(path, &seen).ok().map(Arc::new))?
            };
            let candidates = Candidates::of(&conjunction, seen.len(), |_| None, build);
            (candidates, order.filter(|path| is_worth(path)), Vec::new())
        };
        Ok(Explanation {
            index: candidates
                .index
                .as_ref()
                .map(|(index, _)| index.path().to_string()),
            candidates: candidates.count,
            covered: candidates.is_exact,
            order: order.map(ToString::to_string),
            indexed,
        })
    }

    /// The numbers of the records that a view shows.
    pub(super) fn seen(&self, view: &View) -> Result<Vec<u32>, OverBudget> {
        let filter = Filter::of(self, view);
        let _counted = self.budget().reserve(self.len() * size_of::<u32>())?;
        let mut seen = Vec::with_capacity(self.len());
        seen.extend(
            self.occupied()
                .filter(|(number, slot)| filter.has(self, *number, slot))
                .map(|(number, _)| number),
        );
        Ok(seen)
    }

    /// An index of some of the records, which nobody else will use.
    pub(super) fn index_of(&self, path: &FieldPath, numbers: &[u32]) -> Result<Index, OverBudget> {
        let counted = self.budget().reserve(0)?;
        let object = |number| self.object(number);
        Index::build(path.clone(), numbers.iter().copied(), object, counted)
    }
}
