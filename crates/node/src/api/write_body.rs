//! The bodies of writes. A record comes wrapped, `{"record": {…}, "options": {…}}`, as the original's server wants it, or
//! bare, as its documentation shows it.
//!
//! The rule that tells them apart looks at one name: a body with a member `record` is wrapped, and then has no members but
//! `record` and `options`; any other is the record itself. A record that has a member `record` of its own must be wrapped.

use serde_json::{Map, Value};

use super::json_body::JsonObject;
use super::problem::ApiProblem;
use crate::memory::Reservation;

/// Most records of one bulk write, and ids of one bulk read.
pub(super) const MAX_BULK: usize = 1000;

/// A record to write, and how.
#[derive(Debug)]
pub(super) struct RecordBody {
    pub(super) record: Map<String, Value>,
    pub(super) options: WriteOptions,
    /// Covers the body as long as it is worked on.
    pub(super) _counted: Reservation,
}

/// What a client says about a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WriteOptions {
    /// A new record, also when it names an id.
    pub(super) insert: bool,
    /// A new version of whatever is there now.
    pub(super) force: bool,
}

impl RecordBody {
    /// Reads a body.
    pub(super) fn parse(mut body: JsonObject) -> Result<Self, ApiProblem> {
        let Some(record) = body.take("record") else {
            let (record, counted) = body.into_members();
            if record.keys().all(|name| name == "options") {
                return Err(no_record());
            }
            return Ok(Self {
                record,
                options: WriteOptions::default(),
                _counted: counted,
            });
        };
        let Value::Object(record) = record else {
            return Err(no_record());
        };
        let options = WriteOptions::take(&mut body)?;
        let counted = body.nothing_else(&["record", "options"])?;
        Ok(Self {
            record,
            options,
            _counted: counted,
        })
    }
}

impl WriteOptions {
    fn take(body: &mut JsonObject) -> Result<Self, ApiProblem> {
        let mut options = match body.take("options") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(options)) => options,
            Some(_) => return Err(ApiProblem::malformed("`options` must be an object")),
        };
        let mut flag = |name: &str| match options.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(ApiProblem::malformed(format!(
                "the option `{name}` is true or false"
            ))),
        };
        let parsed = Self {
            insert: flag("forceInsert")?,
            // The original's `force` also forks a record's history. Nobody wants that; they want to win.
            force: flag("forceUpdate")? | flag("force")?,
        };
        match (options.is_empty(), parsed.insert && parsed.force) {
            (false, _) => Err(ApiProblem::unknown_member(
                "`options`",
                &["forceInsert", "forceUpdate", "force"],
            )),
            (true, true) => Err(ApiProblem::malformed(
                "a record cannot be inserted and updated at once: give forceInsert or forceUpdate",
            )),
            (true, false) => Ok(parsed),
        }
    }
}

fn no_record() -> ApiProblem {
    ApiProblem::malformed("the request body must be a record, or have it in a member `record`")
}

/// The records of a bulk write: `{"records": [{…}, …]}`.
pub(super) fn records_of(
    mut body: JsonObject,
) -> Result<(Vec<Map<String, Value>>, Reservation), ApiProblem> {
    let records = match (body.take("records"), body.take("docs")) {
        (Some(Value::Array(records)), None) | (None, Some(Value::Array(records))) => records,
        _ => {
            return Err(ApiProblem::malformed(
                "the request body needs a member `records` (or `docs`), a list of records",
            ));
        }
    };
    let counted = body.nothing_else(&["records"])?;
    if records.len() > MAX_BULK {
        return Err(too_many("records"));
    }
    let records = records.into_iter().map(|record| match record {
        Value::Object(record) => Some(record),
        _ => None,
    });
    let records: Option<Vec<_>> = records.collect();
    let records =
        records.ok_or_else(|| ApiProblem::malformed("each of `records` must be an object"))?;
    Ok((records, counted))
}

/// The ids of a bulk read: `{"ids": ["…", …]}`.
pub(super) fn ids_of(mut body: JsonObject) -> Result<(Vec<String>, Reservation), ApiProblem> {
    let wrong = || {
        ApiProblem::malformed("the request body needs a member `ids` (or `keys`), a list of texts")
    };
    let ids = match (body.take("ids"), body.take("keys")) {
        (Some(ids), None) | (None, Some(ids)) => ids,
        _ => return Err(wrong()),
    };
    let counted = body.nothing_else(&["ids"])?;
    let ids: Vec<String> = serde_json::from_value(ids).map_err(|_| wrong())?;
    if ids.len() > MAX_BULK {
        return Err(too_many("ids"));
    }
    Ok((ids, counted))
}

fn too_many(what: &str) -> ApiProblem {
    ApiProblem::new(
        adyton_protocol::problem::ProblemKind::RequestTooLarge,
        format!("more than {MAX_BULK} {what} in one request"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(body: Value) -> Result<(Value, WriteOptions), String> {
        RecordBody::parse(JsonObject::of(body))
            .map(|body| (Value::Object(body.record), body.options))
            .map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn a_record_comes_wrapped_or_bare() {
        let record = json!({ "_id": "a", "n": 1 });
        let none = WriteOptions::default();
        let force = WriteOptions {
            force: true,
            ..none
        };
        let insert = WriteOptions {
            insert: true,
            ..none
        };
        for (body, record, options) in [
            (record.clone(), record.clone(), none),
            (json!({ "record": record }), record.clone(), none),
            (json!({ "record": {} }), json!({}), none),
            (
                json!({ "record": record, "options": null }),
                record.clone(),
                none,
            ),
            (
                json!({ "record": record, "options": { "forceUpdate": true } }),
                record.clone(),
                force,
            ),
            (
                json!({ "record": record, "options": { "force": true } }),
                record.clone(),
                force,
            ),
            (
                json!({ "record": record, "options": { "forceInsert": true } }),
                record,
                insert,
            ),
            // A bare record may have a member of that name.
            (
                json!({ "n": 1, "options": 7 }),
                json!({ "n": 1, "options": 7 }),
                none,
            ),
            // And a wrapped one a member `record`.
            (
                json!({ "record": { "record": 1 } }),
                json!({ "record": 1 }),
                none,
            ),
        ] {
            assert_eq!(parsed(body.clone()), Ok((record, options)), "{body}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_names_that_are_known() {
        for (body, part) in [
            (json!({}), "must be a record"),
            (json!({ "options": {} }), "must be a record"),
            (json!({ "record": 1 }), "must be a record"),
            (json!({ "record": {}, "n": 1 }), "it knows record, options"),
            (json!({ "record": {}, "options": 1 }), "must be an object"),
            (
                json!({ "record": {}, "options": { "forceUpdate": 1 } }),
                "true or false",
            ),
            (
                json!({ "record": {}, "options": { "forced": true } }),
                "forceUpdate, force",
            ),
            (
                json!({ "record": {}, "options": { "force": true, "forceInsert": true } }),
                "at once",
            ),
        ] {
            let detail = parsed(body.clone()).unwrap_err();
            assert!(detail.contains(part), "{body}: {detail}");
        }
    }

    #[test]
    fn a_bulk_has_a_thousand_and_no_more() {
        let bulk =
            |count: usize| records_of(JsonObject::of(json!({ "records": vec![json!({}); count] })));
        assert_eq!(bulk(MAX_BULK).unwrap().0.len(), MAX_BULK);
        assert!(
            bulk(MAX_BULK + 1)
                .unwrap_err()
                .detail()
                .contains("1000 records")
        );
        let ids = |count: usize| ids_of(JsonObject::of(json!({ "keys": vec!["a"; count] })));
        assert_eq!(ids(MAX_BULK).unwrap().0.len(), MAX_BULK);
        assert!(ids(MAX_BULK + 1).is_err());
        for wrong in [
            json!({}),
            json!({ "records": [1] }),
            json!({ "ids": [1] }),
            json!({ "records": [], "x": 1 }),
        ] {
            let both = (
                records_of(JsonObject::of(wrong.clone())),
                ids_of(JsonObject::of(wrong)),
            );
            assert!(both.0.is_err() && both.1.is_err());
        }
    }
}
