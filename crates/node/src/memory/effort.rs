//! Whether a question is quickly answered: known before it is asked, from the indexes that are there.
//!
//! Reads no record and builds nothing. What is not sure to be quick is not quick.

use adyton_couch::selector::{FieldPath, Selector};

use super::access::Building;
use super::documents::Documents;
use super::filter::Filter;
use super::query::SortKey;
use super::view::View;

/// Most records that a quick answer looks at.
const FEW_RECORDS: usize = 2_000;
/// Most bytes of records that a quick answer reads.
const FEW_BYTES: usize = 4 << 20;
/// Most entries of an index that a quick answer walks.
const SHORT_WALK: usize = 20_000;
/// Fewer matches than this are sorted without an index.
const SORTED_QUICKLY: usize = 256;

impl Documents {
    /// Whether everything that is here can be read quickly.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.len() <= FEW_RECORDS && self.held() <= FEW_BYTES
    }

    /// Whether the records of a view that a selector takes are quickly found, and quickly put in this order.
    #[must_use]
    pub fn is_quick(&self, view: &View, selector: &Selector, sort: &[SortKey]) -> bool {
        if self.is_small() {
            return true;
        }
        let conjunction = selector.conjunction();
        // Without its index, answering would begin with building it.
        let has_index = |path: &FieldPath| self.indexes.find(path).is_some();
        let time = Filter::of(self, view)
            .time()
            .map(|(path, _)| has_index(path));
        if time == Some(false)
            || !conjunction
                .conjuncts
                .iter()
                .all(|conjunct| has_index(conjunct.path))
        {
            return false;
        }
        let access = self.access(selector, Filter::of(self, view), Building::Unwanted);
        let Some((index, _)) = &access.index else {
            return false;
        };
        if access.is_exact {
            let in_order = sort.first().is_some_and(|key| key.path == *index.path());
            if in_order && sort.len() == 1 {
                return access.count <= SHORT_WALK;
            }
        }
        let bytes = access.count.saturating_mul(self.held() / self.len().max(1));
        let is_sorted = match sort.first() {
            _ if access.count < SORTED_QUICKLY => true,
            Some(key) => has_index(&key.path),
            None => FieldPath::parse("_id").is_ok_and(|path| has_index(&path)),
        };
        access.count <= FEW_RECORDS && bytes <= FEW_BYTES && is_sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Budget, Direction, View};
    use adyton_client::pull::PlainBatch;
    use adyton_couch::rev::Rev;
    use serde_json::json;

    fn documents(count: usize) -> Documents {
        let mut documents = Documents::new(Budget::new(1 << 30));
        let mut batch = PlainBatch::default();
        for n in 0..count {
            let text = json!({ "_id": n.to_string(), "group": n % 100, "at": n }).to_string();
            batch
                .push(&n.to_string(), Rev::LOWEST, text.as_bytes())
                .unwrap();
        }
        documents.apply(batch).unwrap();
        documents
    }

    fn selector(text: &serde_json::Value) -> Selector {
        Selector::parse(&text.to_string()).unwrap()
    }

    fn by(path: &str) -> Vec<SortKey> {
        vec![SortKey {
            path: FieldPath::parse(path).unwrap(),
            direction: Direction::Descending,
        }]
    }

    #[test]
    fn a_question_is_quick_once_its_indexes_are_there() {
        let documents = documents(5_000);
        let one_group = selector(&json!({ "group": 7 }));
        assert!(!documents.is_quick(&View::whole_database(), &one_group, &[]));
        documents
            .count(&View::whole_database(), &one_group)
            .unwrap();
        assert!(documents.is_quick(&View::whole_database(), &one_group, &[]));
        assert!(documents.is_quick(&View::whole_database(), &one_group, &by("at")));
        // Many of them; and a field whose index would have to be built.
        let many = selector(&json!({ "group": { "$gte": 7 } }));
        assert!(!documents.is_quick(&View::whole_database(), &many, &by("at")));
        assert!(documents.is_quick(&View::whole_database(), &many, &by("group")));
        let other = selector(&json!({ "group": 7, "at": 7 }));
        assert!(!documents.is_quick(&View::whole_database(), &other, &[]));
        // Nothing to begin with.
        let scan = selector(&json!({ "group": { "$regex": "x" } }));
        assert!(!documents.is_quick(&View::whole_database(), &scan, &[]));
        assert!(!documents.is_quick(&View::whole_database(), &selector(&json!({})), &[]));
    }

    #[test]
    fn everything_about_a_small_database_is_quick() {
        let documents = documents(2_000);
        assert!(documents.is_quick(
            &View::whole_database(),
            &selector(&json!({ "at": { "$regex": "x" } })),
            &by("at")
        ));
    }
}
