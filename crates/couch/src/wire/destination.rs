//! `Destination`: where a `COPY` puts a document.

use percent_encoding::percent_decode_str;

use super::error::CouchError;
use super::query::parameters;
use crate::document::{DocumentId, InvalidDocument};
use crate::rev::Rev;

/// The document that is made or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its id.
    pub id: DocumentId,
    /// The revision that is replaced; none: there is no such document yet.
    pub rev: Option<Rev>,
}

impl Destination {
    /// Reads the header: `{id}` or `{id}?rev={rev}`, the id percent-encoded, relative to the database.
    pub fn parse(value: &str) -> Result<Self, CouchError> {
        const BAD_REV: CouchError = CouchError::bad_request("Invalid rev format");
        if value.starts_with("http://") || value.starts_with("https://") {
            return Err(CouchError::bad_request("Destination URL must be relative."));
        }
        let (id, query) = value.split_once('?').unwrap_or((value, ""));
        let id = percent_decode_str(id)
            .decode_utf8()
            .map_err(|_| CouchError::bad_request("The destination is no text."))?;
        let mut rev = None;
        for (name, value) in parameters(query)? {
            match &*name {
                "rev" => rev = Some(value.parse().map_err(|_| BAD_REV)?),
                _ => {
                    let reason = "A destination says its revision, and nothing else.";
                    return Err(CouchError::bad_request(reason));
                }
            }
        }
        let id = id.parse().map_err(InvalidDocument::Id)?;
        Ok(Self { id, rev })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    #[test]
    fn a_destination_is_an_id_and_perhaps_a_revision() {
        let read = |text: &str| Destination::parse(text).unwrap();
        assert_eq!(read("a%2Fb%20%C3%A4").id.as_str(), "a/b ä");
        assert_eq!(read("_design/x").id.as_str(), "_design/x");
        assert_eq!(read("a").rev, None);
        let with = read(&format!("a?rev={REV}"));
        assert_eq!(with.rev.unwrap().to_string(), REV);
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in [
            "",
            "_x",
            "%FF",
            "http://example.org/db/a",
            "a?rev=x",
            "a?rev",
            "a?batch=ok",
        ] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
    }
}
