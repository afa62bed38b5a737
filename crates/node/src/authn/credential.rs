//! Finding the credential of a request: one, in a header, or a refusal.

use std::fmt;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};
use zeroize::Zeroizing;

use super::possession::UncheckedProof;
use crate::grants::TokenSecret;

/// A credential as it was sent, not yet checked.
pub enum Credential {
    /// A context session in base64: the owner.
    Session(Zeroizing<String>),
    /// An access token: an app.
    Bearer(TokenSecret),
    /// An access token with a proof of the key that it is bound to.
    Proven(TokenSecret, Box<UncheckedProof>),
}

/// There is not exactly one usable credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// No credential.
    #[error("send X-API-Key (your context session) or Authorization: Bearer (an access token)")]
    Missing,
    /// More than one.
    #[error("send exactly one credential: X-API-Key or Authorization, once")]
    Ambiguous,
    /// A credential stands in the URL, where logs and histories keep it.
    #[error(
        "credentials are never accepted in a URL: use X-API-Key or Authorization; treat what was sent as leaked"
    )]
    InUrl,
    /// A private key or seed phrase was sent.
    #[error(
        "private keys and seed phrases are never accepted: send a context session in X-API-Key"
    )]
    PrivateKey,
    /// The header is not `Bearer <token>`, or the token cannot be one of ours.
    #[error("not an access token of this node: expected Authorization: Bearer adyt_…")]
    Malformed,
    /// The scheme is `DPoP`, and there is not exactly one proof.
    #[error("Authorization: DPoP needs exactly one header DPoP with a proof")]
    NoProof,
}

/// Query parameters in which clients of the original server put secrets.
const SECRET_PARAMETERS: [&str; 6] = [
    "api_key",
    "key",
    "token",
    "auth_token",
    "access_token",
    "apikey",
];

impl Credential {
    /// Takes the credential out of a request's head.
    pub fn of(head: &Parts) -> Result<Self, CredentialError> {
        if secret_in_url(&head.uri) {
            return Err(CredentialError::InUrl);
        }
        if head.headers.contains_key("key") {
            return Err(CredentialError::PrivateKey);
        }
        let session = only(&head.headers, &HeaderName::from_static("x-api-key"))?;
        let authorization = only(&head.headers, &http::header::AUTHORIZATION)?;
        match (session, authorization) {
            (None, None) => Err(CredentialError::Missing),
            (Some(_), Some(_)) => Err(CredentialError::Ambiguous),
            (Some(session), None) => Ok(Self::Session(Zeroizing::new(session.to_owned()))),
            (None, Some(value)) => {
                let (scheme, token) = value.split_once(' ').ok_or(CredentialError::Malformed)?;
                let secret = || TokenSecret::parse(token.trim()).ok_or(CredentialError::Malformed);
                if scheme.eq_ignore_ascii_case("bearer") {
                    return secret().map(Self::Bearer);
                }
                if !scheme.eq_ignore_ascii_case("dpop") {
                    return Err(CredentialError::Malformed);
                }
                let proof = UncheckedProof::of(head).ok_or(CredentialError::NoProof)?;
                Ok(Self::Proven(secret()?, Box::new(proof)))
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Whether a query has a parameter in which clients put secrets.
pub(crate) fn secret_in_url(uri: &Uri) -> bool {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .any(|name| SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()))
}

/// The one value of a header; two are ambiguous.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, CredentialError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| CredentialError::Malformed),
        (Some(_), Some(_)) => Err(CredentialError::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(uri: &str, headers: &[(&str, &str)]) -> Result<Credential, CredentialError> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Credential::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn exactly_one_credential_in_a_header_is_accepted() {
        let token = TokenSecret::generate().expose();
        let bearer = format!("Bearer {}", *token);
        assert!(matches!(
            credential("/x", &[("x-api-key", "abc")]),
            Ok(Credential::Session(_))
        ));
        assert!(matches!(
            credential("/x", &[("authorization", &bearer)]),
            Ok(Credential::Bearer(_))
        ));
        for (uri, headers, error) in [
            ("/x", &[][..], CredentialError::Missing),
            (
                "/x",
                &[("x-api-key", "a"), ("authorization", bearer.as_str())],
                CredentialError::Ambiguous,
            ),
            (
                "/x",
                &[("x-api-key", "a"), ("x-api-key", "b")],
                CredentialError::Ambiguous,
            ),
            (
                "/x",
                &[("authorization", &bearer), ("authorization", &bearer)],
                CredentialError::Ambiguous,
            ),
            (
                "/x",
                &[("authorization", "Basic abc")],
                CredentialError::Malformed,
            ),
            (
                "/x",
                &[("authorization", token.as_str())],
                CredentialError::Malformed,
            ),
            (
                "/x",
                &[("authorization", "Bearer adyt_short")],
                CredentialError::Malformed,
            ),
            (
                "/x",
                &[("authorization", &bearer.replace("Bearer", "DPoP"))],
                CredentialError::NoProof,
            ),
            ("/x?api_key=abc", &[], CredentialError::InUrl),
            (
                "/x?a=b&KEY=abc",
                &[("x-api-key", "a")],
                CredentialError::InUrl,
            ),
            ("/x", &[("key", "0x11")], CredentialError::PrivateKey),
        ] {
            assert_eq!(credential(uri, headers).unwrap_err(), error, "{uri}");
        }
    }
}
