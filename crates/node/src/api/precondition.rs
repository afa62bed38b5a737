//! What a request says about the version that it is about: `If-Match` and `If-None-Match` (RFC 9110 section 13), with a
//! record's revision as its entity tag.
//!
//! Weak tags count like strong ones: an answer is weakened when it is compressed, and its revision is the same.

use adyton_couch::rev::Rev;
use adyton_protocol::problem::ProblemKind;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::problem::ApiProblem;
use crate::vault::VaultError;

/// Most tags in one header; each is compared.
const MAX_TAGS: usize = 64;

/// What a writer expects of the record that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing is said in a header; the record itself may say something.
    Unsaid,
    /// Whatever is there, as long as there is something.
    Anything,
    /// This revision.
    Rev(String),
}

impl Expected {
    /// Reads `If-Match`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiProblem> {
        let Some(tags) = Tags::of(headers, &IF_MATCH)? else {
            return Ok(Self::Unsaid);
        };
        match tags {
            Tags::Any => Ok(Self::Anything),
            Tags::These(revs) => match <[String; 1]>::try_from(revs) {
                Ok([rev]) => Ok(Self::Rev(rev)),
                Err(_) => Err(ApiProblem::malformed(
                    "If-Match names one revision, as ETag gave it, or *",
                )),
            },
        }
    }

    /// Writes the expected revision into a record that names none; two that differ are a mistake.
    pub(super) fn write_into(&self, record: &mut Map<String, Value>) -> Result<(), ApiProblem> {
        let Self::Rev(rev) = self else { return Ok(()) };
        match record.get("_rev") {
            None | Some(Value::Null) => {
                record.insert("_rev".to_owned(), rev.clone().into());
                Ok(())
            }
            Some(Value::String(named)) if named == rev => Ok(()),
            Some(_) => Err(ApiProblem::malformed(
                "If-Match and the record's `_rev` name different revisions",
            )),
        }
    }

    /// The problem of a write: a collision is a failed precondition for those who set one.
    pub(super) fn problem(&self, error: VaultError) -> ApiProblem {
        let is_collision = matches!(error, VaultError::Conflict { .. });
        match (self, error.into()) {
            (Self::Unsaid, problem) => problem,
            (_, problem) if is_collision => ApiProblem::again(
                problem,
                ProblemKind::PreconditionFailed,
                "the record does not have the revision that If-Match names",
            ),
            (_, problem) => problem,
        }
    }
}

/// Whether a record is only wanted if it is not there, or not of these revisions: `If-None-Match`.
#[derive(Debug)]
pub(super) struct Unwanted(Option<Tags>);

impl Unwanted {
    /// Reads the header. One that cannot be read asks for nothing, and gets the whole answer.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(Tags::of(headers, &IF_NONE_MATCH).ok().flatten())
    }

    /// Does the caller have this revision?
    pub(super) fn has(&self, rev: Rev) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::These(revs)) => revs.contains(&rev.to_string()),
        }
    }

    /// Is nothing wanted but a record that was not there?
    pub(super) fn is_anything(&self) -> bool {
        matches!(self.0, Some(Tags::Any))
    }
}

#[derive(Debug)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiProblem> {
        let mut revs = Vec::new();
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or("?").trim();
            if text == "*" {
                return Ok(Some(Self::Any));
            }
            for tag in text.split(',').map(str::trim) {
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                // Without quotes, too: that is how `_rev` is copied.
                let rev = tag
                    .strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .unwrap_or(tag);
                if rev.is_empty() || rev.contains('"') || revs.len() == MAX_TAGS {
                    return Err(ApiProblem::malformed(
                        "If-Match and If-None-Match are revisions in quotation marks, or *",
                    ));
                }
                revs.push(rev.to_owned());
            }
        }
        Ok((!revs.is_empty()).then_some(Self::These(revs)))
    }
}

/// Names the version that an answer shows.
pub(super) fn tagged(mut response: Response, rev: Rev) -> Response {
    // A revision is digits, a dash and hexadecimal digits.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{rev}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The caller has this version already.
pub(super) fn not_modified(rev: Rev) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), rev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn if_match_names_one_revision_or_whatever_is_there() {
        let rev = || Ok(Expected::Rev(REV.to_owned()));
        for (value, expected) in [
            (format!("\"{REV}\""), rev()),
            (format!("W/\"{REV}\""), rev()),
            (REV.to_owned(), rev()),
            ("*".to_owned(), Ok(Expected::Anything)),
            (format!("\"{REV}\", \"2-b\""), Err(())),
            (format!("\"{REV}"), Err(())),
            ("\"\"".to_owned(), Err(())),
            (String::new(), Err(())),
            (vec!["a"; MAX_TAGS + 1].join(","), Err(())),
        ] {
            let read = Expected::of(&headers(IF_MATCH, &value)).map_err(|_| ());
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(Expected::of(&HeaderMap::new()).unwrap(), Expected::Unsaid);
    }

    #[test]
    fn a_revision_in_the_header_and_another_in_the_record_are_a_mistake() {
        let expected = Expected::Rev(REV.to_owned());
        for (record, fits) in [
            (json!({}), true),
            (json!({ "_rev": null }), true),
            (json!({ "_rev": REV }), true),
            (json!({ "_rev": "2-b" }), false),
            (json!({ "_rev": 7 }), false),
        ] {
            let Value::Object(mut record) = record else {
                panic!()
            };
            assert_eq!(expected.write_into(&mut record).is_ok(), fits);
            assert!(!fits || record["_rev"] == REV);
        }
    }

    #[test]
    fn if_none_match_takes_a_list_and_ignores_nonsense() {
        let rev: Rev = REV.parse().unwrap();
        for (value, has) in [
            ("*", true),
            (&*format!("\"2-b\", W/\"{REV}\""), true),
            ("\"2-b\"", false),
            ("\"", false),
        ] {
            assert_eq!(
                Unwanted::of(&headers(IF_NONE_MATCH, value)).has(rev),
                has,
                "{value}"
            );
        }
        assert!(!Unwanted::of(&HeaderMap::new()).has(rev));
    }
}
