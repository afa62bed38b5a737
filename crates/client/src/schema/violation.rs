//! One rule that one record breaks, in the form that Ajv made common.
//!
//! Ajv's wording is kept because clients of the original API read it. Nothing here is taken from
//! the record but the path to the place: values stay out of responses and logs.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde::Serialize;
use serde_json::{Value, json};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Where in the record, as a JSON pointer.
    pub instance_path: String,
    /// Which rule of the schema, as a URI fragment with a JSON pointer.
    pub schema_path: String,
    /// The keyword of that rule.
    pub keyword: String,
    /// What the rule asks for.
    pub params: Value,
    /// The rule in words.
    pub message: String,
}

impl Violation {
    pub(super) fn of(error: &ValidationError<'_>) -> Self {
        let keyword = error.kind().keyword().to_owned();
        let (params, message) = rule(error.kind(), &keyword);
        Self {
            instance_path: error.instance_path().to_string(),
            schema_path: format!("#{}", error.schema_path()),
            keyword,
            params,
            message,
        }
    }
}

impl Violation {
    /// A record that is too large to be held to a schema that nobody vouches for, or comes after too much of that.
    pub(super) fn too_large() -> Self {
        Self::of_the_whole(
            "must be smaller, or its schema must: together, and with the records before it, they are too large to be checked",
        )
    }

    /// A record that does not fit, and has so many values that telling where would take more memory than there is for it.
    pub(super) fn not_described() -> Self {
        Self::of_the_whole("must fit its schema, and does not: it is too large to say where")
    }

    fn of_the_whole(message: &str) -> Self {
        Self {
            instance_path: String::new(),
            schema_path: "#".to_owned(),
            keyword: "$id".to_owned(),
            params: json!({}),
            message: message.to_owned(),
        }
    }
}

/// The rule's parameters and its words: both come from the schema.
fn rule(kind: &Kind, keyword: &str) -> (Value, String) {
    match kind {
        Kind::Required { property } => (
            json!({ "missingProperty": property }),
            format!(
                "must have required property '{}'",
                property.as_str().unwrap_or_default()
            ),
        ),
        Kind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(wanted) => wanted.to_string(),
                TypeKind::Multiple(several) => several
                    .iter()
                    .map(|one| one.to_string())
                    .collect::<Vec<_>>()
                    .join(","),
            };
            let message = format!("must be {wanted}");
            (json!({ "type": wanted }), message)
        }
        Kind::Enum { options } => (
            json!({ "allowedValues": **options }),
            "must be equal to one of the allowed values".to_owned(),
        ),
        Kind::Constant { expected_value } => (
            json!({ "allowedValue": **expected_value }),
            "must be equal to constant".to_owned(),
        ),
        Kind::Format { format } => (
            json!({ "format": format }),
            format!("must match format \"{format}\""),
        ),
        Kind::Pattern { pattern } => (
            json!({ "pattern": pattern }),
            format!("must match pattern \"{pattern}\""),
        ),
        Kind::MaxLength { limit } => (
            json!({ "limit": limit }),
            format!("must NOT have more than {limit} characters"),
        ),
        Kind::MinLength { limit } => (
            json!({ "limit": limit }),
            format!("must NOT have fewer than {limit} characters"),
        ),
        Kind::Minimum { limit } => (
            json!({ "comparison": ">=", "limit": limit }),
            format!("must be >= {limit}"),
        ),
        Kind::Maximum { limit } => (
            json!({ "comparison": "<=", "limit": limit }),
            format!("must be <= {limit}"),
        ),
        // The library's enum is open. A keyword without words of its own still has a name.
        _ => (
            json!({}),
            format!("must pass \"{keyword}\" keyword validation"),
        ),
    }
}
