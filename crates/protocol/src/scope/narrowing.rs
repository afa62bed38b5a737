//! How a user narrows what a scope opens: to a span of time, and without some of the fields.

use std::fmt;

use super::grantable::GrantableDatabase;
use super::instant::Instant;
use crate::schema::SchemaUri;

/// What a narrowing is about: exactly the target of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The records of one schema: `ds:<schema>`.
    Datastore {
        /// The schema.
        schema: SchemaUri,
        /// The database that holds its records.
        database: GrantableDatabase,
    },
    /// A whole database: `db:<name>`.
    Database(GrantableDatabase),
}

impl Target {
    /// The database in which the records are.
    pub const fn database(&self) -> &GrantableDatabase {
        match self {
            Self::Datastore { database, .. } | Self::Database(database) => database,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datastore { schema, .. } => write!(f, "ds:{schema}"),
            Self::Database(database) => write!(f, "db:{}", database.name()),
        }
    }
}

/// A span of time: from a moment on, and until before another. Without either it is all of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Window {
    from: Option<Instant>,
    until: Option<Instant>,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self {
        from: None,
        until: None,
    };

    /// The span between two moments; `None` when nothing lies between them.
    pub fn new(from: Option<Instant>, until: Option<Instant>) -> Option<Self> {
        let is_empty = matches!((from, until), (Some(from), Some(until)) if from >= until);
        (!is_empty).then_some(Self { from, until })
    }

    /// The first moment in it.
    pub const fn from(&self) -> Option<Instant> {
        self.from
    }

    /// The first moment after it.
    pub const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it is all of time, so that records without a time belong to it, too.
    pub const fn is_always(&self) -> bool {
        self.from.is_none() && self.until.is_none()
    }

    /// Whether a moment lies in it.
    pub fn contains(&self, moment: Instant) -> bool {
        self.from.is_none_or(|from| from <= moment) && self.until.is_none_or(|until| moment < until)
    }

    /// Whether whatever lies in this lies in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        let begins = other
            .from
            .is_none_or(|bound| self.from.is_some_and(|from| from >= bound));
        let ends = other
            .until
            .is_none_or(|bound| self.until.is_some_and(|until| until <= bound));
        begins && ends
    }
}

/// The field that says when a record of this schema happened (`spec/user-data-api.md` §4.1). Every record has
/// `insertedAt`, so that is the time of all others.
pub fn time_field(schema: Option<&str>) -> &'static str {
    let path = schema.and_then(|schema| {
        let rest = schema.strip_prefix("https://common.schemas.verida.io/")?;
        let (path, _version) = rest.split_once("/v")?;
        Some(path)
    });
    match path {
        Some("social/email" | "social/chat/message") => "sentAt",
        Some("social/event") => "start.dateTime",
        Some("social/following") => "followedTimestamp",
        _ => "insertedAt",
    }
}

/// The dotted path of a field that is left out. It goes through lists: `attachments.textContent` is the text of
/// every attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(String);

/// The text cannot name a field that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFieldName {
    /// Too long, too many steps, an empty step, or a character that paths give a meaning.
    #[error(
        "not a field: up to {} names with dots between them, without numbers, backslash, dollar or control characters",
        FieldName::MAX_STEPS
    )]
    Text,
    /// Without it a record cannot be served or told apart.
    #[error("_id, _rev and schema are part of every record and cannot be left out")]
    Needed,
}

impl FieldName {
    /// Longest accepted path, in bytes.
    pub const MAX_LENGTH: usize = 256;
    /// Most names in a path.
    pub const MAX_STEPS: usize = 8;

    /// Checks a path.
    pub fn parse(text: &str) -> Result<Self, InvalidFieldName> {
        let is_name = |step: &str| {
            // A number steps into one element of a list; what is left out, is so in all of them.
            !step.is_empty()
                && step.parse::<usize>().is_err()
                && !step.contains(|c: char| c == '\\' || c == '$' || c.is_control())
        };
        let is_path = text.len() <= Self::MAX_LENGTH
            && text.split('.').count() <= Self::MAX_STEPS
            && text.split('.').all(is_name);
        match text {
            _ if !is_path => Err(InvalidFieldName::Text),
            "_id" | "_rev" | "schema" => Err(InvalidFieldName::Needed),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The path, names with dots between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names, from the outside in.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this is `other`, or lies inside it.
    fn is_inside(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// How one target of a grant is narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowing {
    pub(super) target: Target,
    pub(super) window: Window,
    /// Sorted, none inside another.
    pub(super) without: Vec<FieldName>,
}

impl Narrowing {
    /// Most fields that can be left out of one target.
    pub const MAX_FIELDS: usize = 64;

    /// A narrowing; what lies inside another left-out field is not named again.
    pub(super) fn new(target: Target, window: Window, mut without: Vec<FieldName>) -> Self {
        without.sort();
        without.dedup();
        let all = without.clone();
        without.retain(|field| {
            let is_outermost = |other: &FieldName| other == field || !field.is_inside(other);
            all.iter().all(is_outermost)
        });
        Self {
            target,
            window,
            without,
        }
    }

    /// What is narrowed.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Only records whose time lies in this are there.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// These fields are not there.
    pub fn without(&self) -> &[FieldName] {
        &self.without
    }

    /// Whether whatever this leaves is left by `other`, too. `None` narrows nothing.
    pub(super) fn is_within(narrowing: Option<&Self>, other: Option<&Self>) -> bool {
        let Some(other) = other else { return true };
        let (window, without) = narrowing.map_or((Window::ALWAYS, &[][..]), |narrowing| {
            (narrowing.window, narrowing.without())
        });
        let leaves_out = |field: &FieldName| without.iter().any(|left| field.is_inside(left));
        window.is_within(&other.window) && other.without.iter().all(leaves_out)
    }
}
