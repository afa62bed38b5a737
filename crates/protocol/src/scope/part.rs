//! A part of what terms open: some of their scopes, each with all of its letters or some.
//!
//! Guarantees: what a part leaves of terms opens nothing that they do not, nor anything that was not named; it is
//! narrowed as they are. Refuses to know who holds it.

use super::{Actions, Narrowing, Scope, ScopeSet, Terms};

/// Which of the scopes of some terms are left. Small: it holds no names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part(Box<[Left]>);

/// What is left of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A capability of the API.
    Capability,
    Actions(Actions),
}

/// More than the terms allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of the scopes was not granted")]
pub struct NotGranted;

impl Part {
    /// Bytes that a part of so many scopes takes.
    pub const fn bytes(scopes: usize) -> usize {
        scopes * size_of::<Left>()
    }
}

impl Terms {
    /// The part that these scopes name; `None` when that is all. Each must be one of the terms' own, with the same letters or
    /// fewer: the scope of a datastore is no part of the scope of its database.
    pub fn part(&self, asked: &ScopeSet) -> Result<Option<Part>, NotGranted> {
        let is_granted = |asked: &Scope| self.scopes.iter().any(|granted| contains(granted, asked));
        if !asked.iter().all(is_granted) {
            return Err(NotGranted);
        }
        let left: Box<[Left]> = self.scopes.iter().map(|one| left_of(one, asked)).collect();
        let is_whole = |(scope, left): (&Scope, &Left)| left_of_all(scope) == *left;
        let is_all = self.scopes.iter().zip(&left).all(is_whole);
        Ok((!is_all).then_some(Part(left)))
    }

    /// The terms, with no more of their scopes than this part. Narrowings, purpose, life and rate stay as they are.
    pub fn only(&self, part: &Part) -> Self {
        let mut scopes = Vec::new();
        for (scope, left) in self.scopes.iter().zip(&part.0) {
            // Two scopes of one target may have the same letters left.
            scopes.extend(rest_of(scope, *left).filter(|rest| !scopes.contains(rest)));
        }
        let is_there = |narrowing: &&Narrowing| {
            let target = Some(narrowing.target());
            scopes.iter().any(|scope| scope.target().as_ref() == target)
        };
        Self {
            narrow: self.narrow.iter().filter(is_there).cloned().collect(),
            scopes: ScopeSet(scopes),
            purpose: self.purpose.clone(),
            expires_in: self.expires_in,
            rate: self.rate,
        }
    }
}

/// Whether one scope alone is all that another one is.
fn contains(granted: &Scope, asked: &Scope) -> bool {
    match (actions_of(granted), actions_of(asked)) {
        (Some(more), Some(less)) => {
            granted.target() == asked.target() && less.common(more) == Some(less)
        }
        (None, None) => granted == asked,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

const fn actions_of(scope: &Scope) -> Option<Actions> {
    match scope {
        Scope::Api(_) => None,
        Scope::Datastore { actions, .. } | Scope::Database { actions, .. } => Some(*actions),
    }
}

fn left_of_all(scope: &Scope) -> Left {
    actions_of(scope).map_or(Left::Capability, Left::Actions)
}

/// What all that was asked together leaves of a scope.
fn left_of(scope: &Scope, asked: &ScopeSet) -> Left {
    let Some(granted) = actions_of(scope) else {
        return match asked.iter().any(|one| one == scope) {
            true => Left::Capability,
            false => Left::Nothing,
        };
    };
    let same = asked.iter().filter(|one| one.target() == scope.target());
    let asked = same.filter_map(actions_of).reduce(Actions::either);
    let left = asked.and_then(|asked| asked.common(granted));
    left.map_or(Left::Nothing, Left::Actions)
}

/// The scope with what is left of it. Held against the scope once more: a part of other terms opens nothing here.
fn rest_of(scope: &Scope, left: Left) -> Option<Scope> {
    let less = |granted: Actions| match left {
        Left::Actions(actions) => actions.common(granted),
        Left::Nothing | Left::Capability => None,
    };
    match scope {
        Scope::Api(_) => (left == Left::Capability).then(|| scope.clone()),
        Scope::Datastore {
            actions,
            schema,
            database,
        } => Some(Scope::Datastore {
            actions: less(*actions)?,
            schema: schema.clone(),
            database: database.clone(),
        }),
        Scope::Database { actions, database } => Some(Scope::Database {
            actions: less(*actions)?,
            database: database.clone(),
        }),
    }
}
