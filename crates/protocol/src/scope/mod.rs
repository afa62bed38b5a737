//! Scopes: what a user allows an app to do. A closed, typed set (`spec/user-data-api.md` §2.5).
//!
//! Every scope resolves to a [`Resource`] or to one named API capability when it is parsed. What
//! cannot be parsed is refused; nothing is dropped in silence, and nothing is ever widened.

mod api;
mod grantable;
mod instant;
mod narrowing;
mod part;
mod terms;

use std::fmt;

pub use api::ApiScope;
pub use grantable::{GrantableDatabase, NeverGrantable};
pub use instant::Instant;
pub use narrowing::{FieldName, InvalidFieldName, Narrowing, Target, Window, time_field};
pub use part::{NotGranted, Part};
pub use terms::{Covered, InvalidTerms, Rate, Terms};

use crate::database::DatabaseName;
use crate::schema::{SchemaDirectory, SchemaUri};

/// What may be done with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read records.
    Read,
    /// Create and change records.
    Write,
    /// Delete records.
    Delete,
}

impl Action {
    /// All actions, in the order in which scopes print them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// The letter in a scope.
    pub const fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Delete => 'd',
        }
    }
}

/// A non-empty set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actions {
    read: bool,
    write: bool,
    delete: bool,
}

impl Actions {
    /// Reading alone: what `ds:<schema>` without letters means.
    pub const READ: Self = Self {
        read: true,
        write: false,
        delete: false,
    };

    /// Parses letters such as `r`, `rw`, `rwd`. Each letter at most once, in any order.
    fn parse(letters: &str) -> Option<Self> {
        let mut actions = Self {
            read: false,
            write: false,
            delete: false,
        };
        for letter in letters.chars() {
            let flag = match letter {
                'r' => &mut actions.read,
                'w' => &mut actions.write,
                'd' => &mut actions.delete,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        (!letters.is_empty()).then_some(actions)
    }

    /// What either has.
    const fn either(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            delete: self.delete || other.delete,
        }
    }

    /// What both have; `None` when that is nothing.
    fn common(self, other: Self) -> Option<Self> {
        let both = Self {
            read: self.read && other.read,
            write: self.write && other.write,
            delete: self.delete && other.delete,
        };
        Action::ALL
            .iter()
            .any(|one| both.contains(*one))
            .then_some(both)
    }

    /// Does the set have this action?
    pub const fn contains(self, action: Action) -> bool {
        match action {
            Action::Read => self.read,
            Action::Write => self.write,
            Action::Delete => self.delete,
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Action::ALL
            .into_iter()
            .filter(|action| self.contains(*action))
            .try_for_each(|action| write!(f, "{}", action.letter()))
    }
}

/// What a request touches: a database, and within it the records of one schema or all of them.
///
/// The `ds` and `db` routes reach the same records by two names; both become this one type before
/// anything is decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    database: DatabaseName,
    schema: Option<SchemaUri>,
}

impl Resource {
    /// All records of a database.
    pub const fn whole_database(database: DatabaseName) -> Self {
        Self {
            database,
            schema: None,
        }
    }

    /// The records of one schema. `None` when the directory does not know the schema.
    pub fn datastore(schema: SchemaUri, directory: &impl SchemaDirectory) -> Option<Self> {
        Some(Self {
            database: directory.database_of(&schema)?,
            schema: Some(schema),
        })
    }

    /// The database.
    pub const fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// The schema that limits it, if any.
    pub const fn schema(&self) -> Option<&SchemaUri> {
        self.schema.as_ref()
    }
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A capability of the API, such as `api:ds-query`.
    Api(ApiScope),
    /// The records of one schema: `ds:rw:<schema>`.
    Datastore {
        /// What may be done.
        actions: Actions,
        /// The schema as granted.
        schema: SchemaUri,
        /// The database that holds its records.
        database: GrantableDatabase,
    },
    /// A whole database: `db:r:<name>`.
    Database {
        /// What may be done.
        actions: Actions,
        /// The database.
        database: GrantableDatabase,
    },
}

/// The text is not a scope that can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidScope {
    /// It does not start with `api:`, `ds:` or `db:`.
    #[error("unknown kind of scope: expected api:, ds: or db:")]
    Kind,
    /// The capability does not exist.
    #[error("unknown api scope")]
    UnknownApi,
    /// The letters are not a set of r, w and d.
    #[error("permissions must be letters of r, w and d, each at most once")]
    Actions,
    /// The schema is not one that this node knows.
    #[error(
        "unknown schema: only schemas of the published registries and the user's own can be granted"
    )]
    UnknownSchema,
    /// The database name is not valid.
    #[error("invalid database name")]
    Database,
    /// The database holds keys, tokens or the like.
    #[error("this database is never granted to an app")]
    NeverGrantable,
    /// The text is longer than [`Scope::MAX_LENGTH`].
    #[error("the scope is too long")]
    TooLong,
}

impl Scope {
    /// Longest accepted scope, in bytes.
    pub const MAX_LENGTH: usize = 1200;

    /// Parses one scope. `ds:<schema>` without letters grants reading (the form of the original
    /// SDK's example, which there granted nothing).
    pub fn parse(text: &str, directory: &impl SchemaDirectory) -> Result<Self, InvalidScope> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidScope::TooLong);
        }
        if let Some(name) = text.strip_prefix("api:") {
            return ApiScope::parse(name)
                .map(Self::Api)
                .ok_or(InvalidScope::UnknownApi);
        }
        if let Some(rest) = text.strip_prefix("ds:") {
            let (actions, target) = match rest.split_once(':') {
                Some((letters, target)) if !letters.starts_with("http") => (
                    Actions::parse(letters).ok_or(InvalidScope::Actions)?,
                    target,
                ),
                _ => (Actions::READ, rest),
            };
            return Self::datastore(actions, target, directory);
        }
        if let Some(rest) = text.strip_prefix("db:") {
            let (letters, name) = rest.split_once(':').ok_or(InvalidScope::Actions)?;
            let actions = Actions::parse(letters).ok_or(InvalidScope::Actions)?;
            if let Some(encoded) = name.strip_prefix("base64/") {
                return Self::datastore(actions, encoded, directory);
            }
            let name = Some(name)
                .filter(|name| !name.is_empty())
                .ok_or(InvalidScope::Database)?;
            let name = DatabaseName::new(name).map_err(|_| InvalidScope::Database)?;
            let database =
                GrantableDatabase::new(name).map_err(|_| InvalidScope::NeverGrantable)?;
            return Ok(Self::Database { actions, database });
        }
        Err(InvalidScope::Kind)
    }

    fn datastore(
        actions: Actions,
        target: &str,
        directory: &impl SchemaDirectory,
    ) -> Result<Self, InvalidScope> {
        let target = target.strip_prefix("base64/").unwrap_or(target);
        let schema = SchemaUri::parse_lenient(target).map_err(|_| InvalidScope::UnknownSchema)?;
        let name = directory
            .database_of(&schema)
            .ok_or(InvalidScope::UnknownSchema)?;
        let database = GrantableDatabase::new(name).map_err(|_| InvalidScope::NeverGrantable)?;
        Ok(Self::Datastore {
            actions,
            schema,
            database,
        })
    }

    /// What it opens; nothing when it is a capability of the API.
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Api(_) => None,
            Self::Datastore {
                schema, database, ..
            } => Some(Target::Datastore {
                schema: schema.clone(),
                database: database.clone(),
            }),
            Self::Database { database, .. } => Some(Target::Database(database.clone())),
        }
    }

    /// All that it opens, as a request names it.
    pub fn resource(&self) -> Option<Resource> {
        let (schema, database) = match self {
            Self::Api(_) => return None,
            Self::Datastore {
                schema, database, ..
            } => (Some(schema.clone()), database),
            Self::Database { database, .. } => (None, database),
        };
        Some(Resource {
            database: database.name().clone(),
            schema,
        })
    }

    /// Does this scope alone allow `action` on `resource`?
    fn covers(&self, action: Action, resource: &Resource) -> bool {
        match self {
            Self::Api(_) => false,
            Self::Datastore {
                actions,
                schema,
                database,
            } => {
                actions.contains(action)
                    && database.name() == resource.database()
                    && resource.schema() == Some(schema)
            }
            Self::Database { actions, database } => {
                actions.contains(action) && database.name() == resource.database()
            }
        }
    }
}

impl fmt::Display for Scope {
    /// The canonical form, which parses to an equal scope.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(scope) => write!(f, "api:{}", scope.name()),
            Self::Datastore {
                actions, schema, ..
            } => write!(f, "ds:{actions}:{schema}"),
            Self::Database { actions, database } => write!(f, "db:{actions}:{}", database.name()),
        }
    }
}

/// All that an app was granted. Order is kept, duplicates are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeSet(Vec<Scope>);

/// One of several scopes was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scope {}: {reason}", .index + 1)]
pub struct InvalidScopeAt {
    /// Position in the list, from 0.
    pub index: usize,
    /// Why.
    pub reason: InvalidScope,
}

/// More scopes than [`ScopeSet::MAX_SCOPES`], or none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidScopeSet {
    /// No scope was given.
    #[error("at least one scope is needed")]
    Empty,
    /// Too many were given.
    #[error("at most {} scopes can be granted together", ScopeSet::MAX_SCOPES)]
    TooMany,
    /// One of them is not valid; all are refused.
    #[error(transparent)]
    Scope(#[from] InvalidScopeAt),
}

impl ScopeSet {
    /// Most scopes in one set.
    pub const MAX_SCOPES: usize = 128;

    /// Parses a list. One bad scope refuses all.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        directory: &impl SchemaDirectory,
    ) -> Result<Self, InvalidScopeSet> {
        let mut scopes = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            if index >= Self::MAX_SCOPES {
                return Err(InvalidScopeSet::TooMany);
            }
            let scope =
                Scope::parse(text, directory).map_err(|reason| InvalidScopeAt { index, reason })?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if scopes.is_empty() {
            Err(InvalidScopeSet::Empty)
        } else {
            Ok(Self(scopes))
        }
    }

    /// Is this capability of the API granted?
    pub fn allows_api(&self, scope: ApiScope) -> bool {
        self.0.contains(&Scope::Api(scope))
    }

    /// May `action` be done on `resource`? Actions of several scopes do not add up to more than each
    /// grants: one scope must cover the whole question.
    pub fn allows(&self, action: Action, resource: &Resource) -> bool {
        self.covering(action, resource).next().is_some()
    }

    /// The scopes that each allow `action` on `resource`.
    fn covering<'s>(
        &'s self,
        action: Action,
        resource: &'s Resource,
    ) -> impl Iterator<Item = &'s Scope> {
        self.0
            .iter()
            .filter(move |scope| scope.covers(action, resource))
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// The scopes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// The canonical texts, in order.
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(Scope::to_string).collect()
    }
}

#[cfg(test)]
mod tests;
