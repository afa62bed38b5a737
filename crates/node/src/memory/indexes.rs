//! The indexes of one database: built when first asked for, dropped when memory is short.
//!
//! Guarantees: at most [`Indexes::MOST`], all counted in the budget, all up to date after every
//! batch. An index that cannot be kept within the budget is dropped; that costs time, never answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use adyton_couch::selector::FieldPath;

use super::budget::Budget;
use super::index::Index;

pub(super) struct Indexes {
    budget: Budget,
    kept: RwLock<Vec<Kept>>,
    clock: AtomicU64,
}

struct Kept {
    index: Arc<Index>,
    used: AtomicU64,
}

impl Indexes {
    /// The most indexes of one database.
    pub(super) const MOST: usize = 8;

    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            kept: RwLock::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// The index on `path`, if there is one.
    pub(super) fn find(&self, path: &FieldPath) -> Option<Arc<Index>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|kept| kept.index.path() == path)?;
        found.used.store(self.tick(), Ordering::Relaxed);
        Some(Arc::clone(&found.index))
    }

    /// The index on `path`, built now if there is none. `None` when the budget has no room for it.
    pub(super) fn find_or_build<'d>(
        &self,
        path: &FieldPath,
        slots: impl Iterator<Item = u32>,
        object: impl Fn(u32) -> &'d [u8],
    ) -> Option<Arc<Index>> {
        if let Some(found) = self.find(path) {
            return Some(found);
        }
        let counted = self.budget.reserve(0).ok()?;
        let index = Arc::new(Index::build(path.clone(), slots, object, counted).ok()?);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= Self::MOST {
            let oldest = kept
                .iter()
                .enumerate()
                .min_by_key(|(_, kept)| kept.used.load(Ordering::Relaxed))
                .map(|(at, _)| at);
            oldest.map(|at| kept.swap_remove(at));
        }
        kept.push(Kept {
            index: Arc::clone(&index),
            used: AtomicU64::new(self.tick()),
        });
        Some(index)
    }

    /// Brings all indexes up to date; those that no longer fit are dropped.
    pub(super) fn update<'d>(&mut self, touched: &[u32], object: impl Fn(u32) -> Option<&'d [u8]>) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.retain_mut(|kept| {
            Arc::get_mut(&mut kept.index)
                .is_some_and(|index| index.update(touched, &object).is_ok())
        });
    }

    pub(super) fn clear(&mut self) {
        self.kept
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What the indexes take.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|kept| kept.index.bytes()).sum()
    }

    /// The paths of the indexes there are.
    pub(super) fn paths(&self) -> Vec<String> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(|kept| kept.index.path().to_string())
            .collect()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, needle: &[u8]) -> bool {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|kept| kept.index.contains(needle))
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}
