//! Query parameters: names and values as texts, booleans and numbers as CouchDB spells them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::CouchError;

/// Refuses a query string whose bytes are no text: put into words, many of them would say the same.
pub fn legible(query: &str) -> Result<(), CouchError> {
    // Names and values end at ASCII characters, so all of it is text if each of them is.
    match percent_decode_str(query).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(CouchError::bad_request("The query is no text.")),
    }
}

/// The parameters of a query string, in order.
pub(super) fn parameters(
    query: &str,
) -> Result<impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>, CouchError> {
    legible(query)?;
    Ok(url::form_urlencoded::parse(query.as_bytes()))
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
