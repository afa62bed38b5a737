//! What a caller asks for with `Accept-Signature`: RFC 9421 section 5.

use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::components::{ALGORITHM, Component, TAG};
use crate::binding::AnswerKey;

/// Longest `Accept-Signature` that is read.
const MAX_FIELD_BYTES: usize = 2048;

/// Longest nonce that is signed.
const MAX_NONCE_BYTES: usize = 256;

/// One request for a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub(super) label: String,
    pub(super) nonce: Option<String>,
}

impl Asked {
    /// Reads the field. The member with the tag `adyton` is ours; without one, nothing is asked of us.
    ///
    /// A signature covers all that we ever sign, so a shorter list is served with a longer one; a component, an algorithm
    /// or a key that we do not have is refused, so that nobody takes an answer for more than it is.
    ///
    /// # Errors
    /// [`AskedError`]: the caller must ask otherwise.
    pub fn parse(field: &str, key: &AnswerKey) -> Result<Option<Self>, AskedError> {
        if field.len() > MAX_FIELD_BYTES {
            return Err(AskedError::TooLong);
        }
        let members: Dictionary = Parser::new(field)
            .parse()
            .map_err(|_| AskedError::Malformed)?;
        let mut ours = members
            .into_iter()
            .filter_map(|(label, member)| match member {
                ListEntry::InnerList(list) if has_text(&list, "tag", TAG) => Some((label, list)),
                ListEntry::InnerList(_) | ListEntry::Item(_) => None,
            });
        let Some((label, list)) = ours.next() else {
            return Ok(None);
        };
        if ours.next().is_some() {
            return Err(AskedError::Several);
        }
        if !list.items.iter().all(|item| Component::of(item).is_some()) {
            return Err(AskedError::Component);
        }
        let mut nonce = None;
        for (name, value) in &list.params {
            match (name.as_str(), value) {
                ("created", BareItem::Boolean(true)) | ("tag", _) => {}
                ("alg", BareItem::String(value)) if value.as_str() == ALGORITHM => {}
                ("keyid", BareItem::String(value)) if value.as_str() == key.id() => {}
                ("nonce", BareItem::String(value)) if value.as_str().len() <= MAX_NONCE_BYTES => {
                    nonce = Some(value.as_str().to_owned());
                }
                _ => return Err(AskedError::Parameter),
            }
        }
        Ok(Some(Self {
            label: label.as_str().to_owned(),
            nonce,
        }))
    }
}

pub(super) fn has_text(list: &InnerList, name: &str, expected: &str) -> bool {
    list.params
        .get(name)
        .and_then(BareItem::as_string)
        .is_some_and(|value| value.as_str() == expected)
}

/// Why a signature cannot be made as asked. The fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskedError {
    /// Over the limit.
    #[error("accept-signature is longer than {MAX_FIELD_BYTES} bytes")]
    TooLong,
    /// Not a structured field of the promised type.
    #[error("accept-signature is not a dictionary of lists (rfc 9421 section 5.1)")]
    Malformed,
    /// Two with our tag.
    #[error("accept-signature asks for more than one signature with the tag \"{TAG}\"")]
    Several,
    /// A component that is not signed here.
    #[error(
        "accept-signature names a component that is not signed here; signed are \"@status\", \"content-digest\", \
         \"content-type\", \"@method\";req, \"@target-uri\";req, \"content-digest\";req"
    )]
    Component,
    /// A parameter that cannot be given.
    #[error(
        "accept-signature has a parameter that cannot be given; known are created, nonce (at most {MAX_NONCE_BYTES} \
         bytes), alg=\"{ALGORITHM}\", keyid (of this node's key) and tag"
    )]
    Parameter,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: AnswerKey = AnswerKey::new([1; 32]);

    fn parse(field: &str) -> Result<Option<Asked>, AskedError> {
        Asked::parse(field, &KEY)
    }

    #[test]
    fn a_request_with_our_tag_is_taken_and_others_are_not_ours() {
        let asked = |label: &str, nonce: Option<&str>| {
            Ok(Some(Asked {
                label: label.to_owned(),
                nonce: nonce.map(str::to_owned),
            }))
        };
        assert_eq!(parse("sig1=();tag=\"adyton\""), asked("sig1", None));
        let all = format!(
            "a=(\"@status\" \"content-digest\" \"content-type\" \"@method\";req \"@target-uri\";req \
             \"content-digest\";req);created;nonce=\"n\";alg=\"ed25519\";keyid=\"{}\";tag=\"adyton\"",
            KEY.id()
        );
        assert_eq!(parse(&all), asked("a", Some("n")));
        let second = "x=(\"@authority\");tag=\"y\", z=();tag=\"adyton\", q=1";
        assert_eq!(parse(second), asked("z", None));
        for other in [
            "",
            "sig1=()",
            "sig1=();tag=\"other\"",
            "sig1=();tag=adyton",
            "a=1",
        ] {
            assert_eq!(parse(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let cases = [
            ("sig1=(", AskedError::Malformed),
            (
                "a=();tag=\"adyton\", b=();tag=\"adyton\"",
                AskedError::Several,
            ),
            ("a=(\"@authority\");tag=\"adyton\"", AskedError::Component),
            ("a=(\"@status\";req);tag=\"adyton\"", AskedError::Component),
            (
                "a=(\"authorization\";req);tag=\"adyton\"",
                AskedError::Component,
            ),
            (
                "a=();tag=\"adyton\";alg=\"rsa-pss-sha512\"",
                AskedError::Parameter,
            ),
            ("a=();tag=\"adyton\";keyid=\"other\"", AskedError::Parameter),
            ("a=();tag=\"adyton\";expires", AskedError::Parameter),
            ("a=();tag=\"adyton\";created=1", AskedError::Parameter),
            ("a=();tag=\"adyton\";nonce=1", AskedError::Parameter),
        ];
        for (field, error) in cases {
            assert_eq!(parse(field), Err(error), "{field}");
        }
    }

    #[test]
    fn one_byte_over_a_limit_is_refused() {
        let nonce = |bytes| {
            parse(&format!(
                "a=();tag=\"adyton\";nonce=\"{}\"",
                "n".repeat(bytes)
            ))
        };
        assert!(nonce(MAX_NONCE_BYTES).is_ok());
        assert_eq!(nonce(MAX_NONCE_BYTES + 1), Err(AskedError::Parameter));
        let long = |bytes: usize| format!("a=();tag=\"{}\"", "t".repeat(bytes - 11));
        assert_eq!(parse(&long(MAX_FIELD_BYTES)), Ok(None));
        assert_eq!(parse(&long(MAX_FIELD_BYTES + 1)), Err(AskedError::TooLong));
    }
}
