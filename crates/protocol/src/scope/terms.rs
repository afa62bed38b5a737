//! The terms of a grant: scopes, how they are narrowed, for what, how long and how often.
//!
//! Guarantees: terms exist only when every scope can be granted and every narrowing has an effect; their text is
//! canonical, so equal terms have equal texts. What is not understood refuses all.

use serde_json::{Map, Value, json};

use super::instant::Instant;
use super::narrowing::{FieldName, InvalidFieldName, Narrowing, Target, Window};
use super::{
    Action, Actions, InvalidScope, InvalidScopeAt, InvalidScopeSet, Resource, Scope, ScopeSet,
};
use crate::database::DatabaseName;
use crate::schema::{SchemaDirectory, SchemaUri};

/// What a grant allows.
#[derive(Debug, Clone)]
pub struct Terms {
    pub(super) scopes: ScopeSet,
    /// Sorted by target; each target once.
    pub(super) narrow: Vec<Narrowing>,
    pub(super) purpose: Option<String>,
    pub(super) expires_in: Option<u64>,
    pub(super) rate: Option<Rate>,
}

/// What the schemas in terms were when they were granted: a user's own may have become another one since.
impl SchemaDirectory for Terms {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        self.scopes.iter().find_map(|scope| match scope {
            Scope::Datastore {
                schema: granted,
                database,
                ..
            } if granted == schema => Some(database.name().clone()),
            _ => None,
        })
    }
}

/// How often a grant may be used: so many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// Seconds.
    pub seconds: u32,
}

/// The terms cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTerms {
    /// More text than [`Terms::MAX_LENGTH`].
    #[error("the terms are longer than {} bytes", Terms::MAX_LENGTH)]
    TooLong,
    /// Not a JSON object.
    #[error("the terms must be a json object")]
    NotAnObject,
    /// A member that terms do not have.
    #[error("the terms, a narrowing or a rate have a member that is not known")]
    Unknown,
    /// A member of another form: its name, and what it must be.
    #[error("`{0}` must be {1}")]
    Wrong(&'static str, &'static str),
    /// The scopes are not valid.
    #[error(transparent)]
    Scopes(#[from] InvalidScopeSet),
    /// A narrowing's target is not valid.
    #[error("a narrowing's target: {0}")]
    Target(InvalidScope),
    /// A field that cannot be left out.
    #[error("`without`: {0}")]
    Field(#[from] InvalidFieldName),
    /// A target is narrowed twice.
    #[error("a target is narrowed twice")]
    Twice,
    /// A narrowing of what no scope opens.
    #[error("a narrowing is about what no scope opens")]
    NothingToNarrow,
    /// A narrowing that another scope makes void.
    #[error("a datastore is narrowed, but its whole database is opened wider")]
    Void,
}

impl Terms {
    /// Longest text of terms, in bytes.
    pub const MAX_LENGTH: usize = 256 * 1024;
    /// Most narrowings.
    pub const MAX_NARROWINGS: usize = 64;
    /// Longest purpose, in bytes.
    pub const MAX_PURPOSE: usize = 512;
    /// Longest life of a grant, in seconds.
    pub const MAX_EXPIRES_IN: u64 = 366 * 24 * 3600;
    /// Most requests in a rate.
    pub const MAX_RATE_REQUESTS: u32 = 1_000_000;
    /// Longest time of a rate, in seconds.
    pub const MAX_RATE_SECONDS: u32 = 31 * 24 * 3600;

    /// Parses the JSON text of terms.
    pub fn parse(text: &str, directory: &impl SchemaDirectory) -> Result<Self, InvalidTerms> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidTerms::TooLong);
        }
        let value = serde_json::from_str(text).map_err(|_| InvalidTerms::NotAnObject)?;
        Self::from_value(value, directory)
    }

    /// Reads terms out of a larger JSON text, whose length its reader has limited.
    pub fn from_value(
        value: Value,
        directory: &impl SchemaDirectory,
    ) -> Result<Self, InvalidTerms> {
        let mut members = Members::of(value).ok_or(InvalidTerms::NotAnObject)?;
        let scopes = members.take("scopes").unwrap_or_default();
        let scopes: Vec<String> = serde_json::from_value(scopes)
            .map_err(|_| InvalidTerms::Wrong("scopes", "a list of texts"))?;
        let scopes = ScopeSet::parse(scopes.iter().map(String::as_str), directory)?;
        let purpose = match members.take("purpose") {
            None => None,
            Some(value) => Some(purpose(&value)?),
        };
        let expires_in = match members.take("expiresIn") {
            None => None,
            Some(value) => Some(number(
                &value,
                Self::MAX_EXPIRES_IN,
                InvalidTerms::Wrong("expiresIn", "a number of seconds, at most 366 days"),
            )?),
        };
        let rate = members.take("rate").map(rate).transpose()?;
        let narrow = match members.take("narrow") {
            None => Vec::new(),
            Some(Value::Array(list)) if list.len() <= Self::MAX_NARROWINGS => list
                .into_iter()
                .map(|value| narrowing(value, directory))
                .collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(InvalidTerms::Wrong(
                    "narrow",
                    "a list of at most 64 narrowings",
                ));
            }
        };
        members.nothing_else()?;
        let mut terms = Self {
            scopes,
            narrow: Vec::new(),
            purpose,
            expires_in,
            rate,
        };
        terms.narrow_to(narrow)?;
        Ok(terms)
    }

    fn narrow_to(&mut self, mut narrow: Vec<Narrowing>) -> Result<(), InvalidTerms> {
        narrow.sort_by_cached_key(|narrowing| narrowing.target.to_string());
        let mut pairs = narrow.iter().zip(narrow.iter().skip(1));
        if pairs.any(|(one, next)| one.target == next.target) {
            return Err(InvalidTerms::Twice);
        }
        let is_opened = |narrowing: &Narrowing| {
            let is_target = |scope: &Scope| scope.target().as_ref() == Some(&narrowing.target);
            self.scopes.iter().any(is_target)
        };
        if !narrow.iter().all(is_opened) {
            return Err(InvalidTerms::NothingToNarrow);
        }
        self.narrow = narrow;
        // A narrowed datastore inside of a database that is opened wider would not be narrowed at all.
        for narrowing in &self.narrow {
            let Target::Datastore { database, .. } = &narrowing.target else {
                continue;
            };
            let whole = Target::Database(database.clone());
            let is_void = self.scopes.iter().any(|scope| {
                scope.target().as_ref() == Some(&whole)
                    && !Narrowing::is_within(self.narrowing_of(&whole), Some(narrowing))
            });
            if is_void {
                return Err(InvalidTerms::Void);
            }
        }
        Ok(())
    }

    /// The scopes.
    pub const fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The narrowings, sorted by target.
    pub fn narrowings(&self) -> &[Narrowing] {
        &self.narrow
    }

    /// What the app says that it does with the data.
    pub fn purpose(&self) -> Option<&str> {
        self.purpose.as_deref()
    }

    /// How many seconds the grant lives, if it says.
    pub const fn expires_in(&self) -> Option<u64> {
        self.expires_in
    }

    /// How often it may be used, if it says.
    pub const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Whether `action` may be done on `resource`, and how narrowly.
    ///
    /// One scope must cover the whole question, and its narrowing holds. Where the scope of a datastore and that of
    /// its whole database both do, the datastore's is the wider one ([`InvalidTerms::Void`]) and holds.
    pub fn covers(&self, action: Action, resource: &Resource) -> Option<Covered<'_>> {
        let mut covering = self.scopes.covering(action, resource);
        let first = covering.next()?;
        let scope = covering
            .chain([first])
            .max_by_key(|scope| matches!(scope, Scope::Datastore { .. }))?;
        Some(Covered {
            narrowing: self.narrowing_of(&scope.target()?),
        })
    }

    fn narrowing_of(&self, target: &Target) -> Option<&Narrowing> {
        self.narrow.iter().find(|one| one.target == *target)
    }

    /// Whether these terms allow nothing that `requested` does not.
    pub fn is_within(&self, requested: &Self) -> bool {
        let scopes = self.scopes.iter().all(|scope| match scope {
            Scope::Api(api) => requested.scopes.allows_api(*api),
            Scope::Datastore { actions, .. } | Scope::Database { actions, .. } => {
                let mut actions = Action::ALL.into_iter().filter(|one| actions.contains(*one));
                scope.resource().is_some_and(|resource| {
                    actions.all(|action| self.is_covered_within(requested, action, &resource))
                })
            }
        });
        let expires = requested
            .expires_in
            .is_none_or(|most| self.expires_in.is_some_and(|life| life <= most));
        let rate = requested.rate.is_none_or(|most| {
            self.rate
                .is_some_and(|rate| rate.requests <= most.requests && rate.seconds >= most.seconds)
        });
        scopes && expires && rate && self.purpose == requested.purpose
    }

    fn is_covered_within(&self, requested: &Self, action: Action, resource: &Resource) -> bool {
        match (
            self.covers(action, resource),
            requested.covers(action, resource),
        ) {
            (Some(here), Some(there)) => Narrowing::is_within(here.narrowing, there.narrowing),
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// The terms as JSON: scopes, narrowings and fields sorted, nothing that says nothing.
    pub fn to_value(&self) -> Value {
        let mut scopes = self.scopes.to_texts();
        scopes.sort_unstable();
        let mut members = Map::from_iter([("scopes".to_owned(), json!(scopes))]);
        if !self.narrow.is_empty() {
            let narrow: Vec<Value> = self.narrow.iter().map(value_of).collect();
            members.insert("narrow".to_owned(), narrow.into());
        }
        if let Some(purpose) = &self.purpose {
            members.insert("purpose".to_owned(), json!(purpose));
        }
        if let Some(seconds) = self.expires_in {
            members.insert("expiresIn".to_owned(), json!(seconds));
        }
        if let Some(rate) = self.rate {
            let rate = json!({ "requests": rate.requests, "seconds": rate.seconds });
            members.insert("rate".to_owned(), rate);
        }
        Value::Object(members)
    }

    /// The canonical text: as RFC 8785 would write it.
    pub fn to_text(&self) -> String {
        // Members of serde_json's objects are sorted, and there are no numbers that can be written in two ways.
        self.to_value().to_string()
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        self.to_value() == other.to_value()
    }
}

impl Eq for Terms {}

/// The answer that an action on a resource is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered<'t> {
    /// How narrowly; `None`: all of it.
    pub narrowing: Option<&'t Narrowing>,
}

/// The members of an object, taken one by one. What is null is as if it were not there.
struct Members(Map<String, Value>);

impl Members {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn nothing_else(self) -> Result<(), InvalidTerms> {
        self.0.is_empty().then_some(()).ok_or(InvalidTerms::Unknown)
    }
}

fn purpose(value: &Value) -> Result<String, InvalidTerms> {
    let text = value.as_str().filter(|text| {
        let has_length = (1..=Terms::MAX_PURPOSE).contains(&text.len());
        has_length && *text == text.trim() && !text.chars().any(char::is_control)
    });
    text.map(str::to_owned).ok_or(InvalidTerms::Wrong(
        "purpose",
        "a text of one line, at most 512 bytes",
    ))
}

fn number(value: &Value, most: u64, wrong: InvalidTerms) -> Result<u64, InvalidTerms> {
    let number = value.as_u64().filter(|number| (1..=most).contains(number));
    number.ok_or(wrong)
}

fn rate(value: Value) -> Result<Rate, InvalidTerms> {
    let wrong = InvalidTerms::Wrong("rate", "an object of requests and seconds, both above 0");
    let mut members = Members::of(value).ok_or(wrong.clone())?;
    let mut one = |name: &str, most: u32| {
        let value = members.take(name).ok_or(wrong.clone())?;
        let number = number(&value, most.into(), wrong.clone())?;
        u32::try_from(number).map_err(|_| wrong.clone())
    };
    let rate = Rate {
        requests: one("requests", Terms::MAX_RATE_REQUESTS)?,
        seconds: one("seconds", Terms::MAX_RATE_SECONDS)?,
    };
    members.nothing_else()?;
    Ok(rate)
}

fn narrowing(value: Value, directory: &impl SchemaDirectory) -> Result<Narrowing, InvalidTerms> {
    let wrong = InvalidTerms::Wrong("narrow", "a list of objects with a target");
    let mut members = Members::of(value).ok_or(wrong.clone())?;
    let target = match members.take("target") {
        Some(Value::String(text)) => target(&text, directory)?,
        _ => return Err(wrong),
    };
    let mut moment = |name| match members.take(name) {
        None => Ok::<_, InvalidTerms>(None),
        Some(value) => {
            let wrong = InvalidTerms::Wrong(name, "a moment such as 2026-01-01T00:00:00Z");
            let text = value.as_str().ok_or(wrong.clone())?;
            let moment = Instant::parse(text.as_bytes()).ok_or(wrong.clone())?;
            // What cannot be written again as a date of four digits' years is refused.
            moment.date().ok_or(wrong)?;
            Ok(Some(moment))
        }
    };
    let (from, until) = (moment("from")?, moment("until")?);
    let window =
        Window::new(from, until).ok_or(InvalidTerms::Wrong("until", "later than `from`"))?;
    let without = match members.take("without") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= Narrowing::MAX_FIELDS => list
            .iter()
            .map(|field| {
                let text = field.as_str().ok_or(InvalidFieldName::Text)?;
                Ok(FieldName::parse(text)?)
            })
            .collect::<Result<_, InvalidTerms>>()?,
        Some(_) => {
            return Err(InvalidTerms::Wrong(
                "without",
                "a list of at most 64 fields",
            ));
        }
    };
    members.nothing_else()?;
    if window.is_always() && without.is_empty() {
        return Err(InvalidTerms::Wrong(
            "narrow",
            "a list of narrowings, each with from, until or without",
        ));
    }
    Ok(Narrowing::new(target, window, without))
}

/// A target is a scope without its letters, in any spelling that scopes have.
fn target(text: &str, directory: &impl SchemaDirectory) -> Result<Target, InvalidTerms> {
    let scope = match text.split_once(':') {
        Some(("ds", _)) => Scope::parse(text, directory),
        Some(("db", name)) => Scope::parse(&format!("db:r:{name}"), directory),
        _ => Err(InvalidScope::Kind),
    };
    let scope = scope.map_err(InvalidTerms::Target)?;
    // The letters of a scope are no part of its target: who writes them means something else.
    let letters = text
        .strip_prefix("ds:")
        .and_then(|rest| rest.split_once(':'));
    let has_letters = letters.is_some_and(|(letters, _)| Actions::parse(letters).is_some());
    match has_letters {
        true => Err(InvalidTerms::Target(InvalidScope::Actions)),
        false => scope
            .target()
            .ok_or(InvalidTerms::Target(InvalidScope::Kind)),
    }
}

fn value_of(narrowing: &Narrowing) -> Value {
    let mut members = Map::from_iter([("target".to_owned(), json!(narrowing.target.to_string()))]);
    let window = &narrowing.window;
    for (name, moment) in [("from", window.from()), ("until", window.until())] {
        if let Some(moment) = moment {
            members.insert(name.to_owned(), json!(moment.to_string()));
        }
    }
    if !narrowing.without.is_empty() {
        let fields: Vec<&str> = narrowing.without.iter().map(FieldName::as_str).collect();
        members.insert("without".to_owned(), json!(fields));
    }
    Value::Object(members)
}

impl InvalidTerms {
    /// The scope that is not valid, if one of them is the reason.
    pub const fn scope(&self) -> Option<&InvalidScopeAt> {
        match self {
            Self::Scopes(InvalidScopeSet::Scope(at)) => Some(at),
            _ => None,
        }
    }

    /// Whether the terms name a schema that the directory does not have: with another directory they may be valid.
    pub const fn is_unknown_schema(&self) -> bool {
        let reason = match self {
            Self::Scopes(InvalidScopeSet::Scope(at)) => &at.reason,
            Self::Target(reason) => reason,
            _ => return false,
        };
        matches!(reason, InvalidScope::UnknownSchema)
    }
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
