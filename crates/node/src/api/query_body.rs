//! The body of a query: `{"query": {…}, "options": {…}}`, with the aliases that clients send.

use adyton_couch::selector::Selector;
use serde_json::{Map, Value};

use super::json_body::JsonObject;
use super::problem::ApiProblem;
use crate::memory::{Cursor, Projection, Query, QueryError, SortKey};

/// Names under which clients send the selector.
pub(super) const SELECTOR_NAMES: [&str; 4] = ["query", "selector", "filter", "filters"];

/// A parsed query.
#[derive(Debug)]
pub(super) struct QueryBody {
    pub(super) query: Query,
    pub(super) fields: Option<Projection>,
}

/// Takes the selector out of a body.
pub(super) fn take_selector(body: &mut JsonObject) -> Result<Option<Selector>, ApiProblem> {
    let mut found = None;
    for name in SELECTOR_NAMES {
        if let Some(value) = body.take(name)
            && found.replace(value).is_some()
        {
            return Err(ApiProblem::malformed(
                "give the selector once: query, selector, filter or filters",
            ));
        }
    }
    found
        .map(|selector| parse_selector(&selector.to_string()))
        .transpose()
}

/// The selector in a text.
pub(super) fn parse_selector(text: &str) -> Result<Selector, ApiProblem> {
    Ok(Selector::parse(text).map_err(QueryError::from)?)
}

/// What stands in `options`, or beside the selector as CouchDB has it.
const OPTION_NAMES: [&str; 7] = [
    "sort",
    "limit",
    "skip",
    "fields",
    "cursor",
    "bookmark",
    "use_index",
];

impl QueryBody {
    /// Reads a body.
    pub(super) fn parse(mut body: JsonObject) -> Result<Self, ApiProblem> {
        let mut query = Query::new(take_selector(&mut body)?.unwrap_or_else(Selector::everything));
        let mut options = match body.take("options") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(options)) => options,
            Some(_) => return Err(ApiProblem::malformed("`options` must be an object")),
        };
        for name in OPTION_NAMES {
            if let Some(value) = body.take(name)
                && options.insert(name.to_owned(), value).is_some()
            {
                return Err(ApiProblem::malformed(format!(
                    "give `{name}` once: in `options` or beside it"
                )));
            }
        }
        let known = [&SELECTOR_NAMES[..], &["options"], &OPTION_NAMES].concat();
        let _counted = body.nothing_else(&known)?;
        let mut given = |name: &str| options.remove(name).filter(|value| !value.is_null());
        if let Some(sort) = given("sort") {
            query.sort = SortKey::parse_list(&sort)?;
        }
        if let Some(limit) = given("limit") {
            query.limit = number("limit", &limit)?;
        }
        if let Some(skip) = given("skip") {
            query.skip = number("skip", &skip)?;
        }
        let fields = match given("fields") {
            None => None,
            Some(fields) => Some(Projection::parse(&fields)?),
        };
        // CouchDB's name for it, too.
        query.after = match (given("cursor"), given("bookmark")) {
            (None, None) => None,
            (Some(Value::String(text)), None) | (None, Some(Value::String(text))) => {
                Some(Cursor::parse(&text).map_err(QueryError::from)?)
            }
            _ => {
                return Err(ApiProblem::malformed(
                    "`cursor` must be the text that the page before gave",
                ));
            }
        };
        // A hint for the original's engine. Ours chooses by itself, for any sort.
        given("use_index");
        match options.is_empty() {
            true => Ok(Self { query, fields }),
            false => Err(ApiProblem::unknown_member("`options`", &OPTION_NAMES)),
        }
    }
}

fn number(name: &str, value: &Value) -> Result<usize, ApiProblem> {
    value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| ApiProblem::malformed(format!("`{name}` must be a whole number from 0")))
}
