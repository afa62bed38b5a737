//! Query parameters: names and values as texts, booleans and numbers as CouchDB spells them.

use std::borrow::Cow;

use super::error::CouchError;

/// The parameters of a query string, in order.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes())
}

pub(super) fn boolean(text: &str) -> Result<bool, CouchError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(CouchError::bad_request(
            "A boolean parameter must be `true` or `false`.",
        )),
    }
}

pub(super) fn number(text: &str) -> Result<u64, CouchError> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse()
            .map_err(|_| CouchError::bad_request("A numeric parameter is too large."))
    } else {
        Err(CouchError::bad_request(
            "A numeric parameter must be a non-negative integer.",
        ))
    }
}

/// A parameter that is a JSON string (`"abc"`); other JSON is refused.
pub(super) fn json_text(text: &str) -> Result<String, CouchError> {
    serde_json::from_str(text)
        .map_err(|_| CouchError::bad_request("A key parameter must be a JSON string."))
}
