//! Who is calling: exactly one credential, checked, becomes a [`Principal`].
//!
//! Guarantees: a `Principal` exists only for a session whose seed belongs to its DID, or for a live
//! grant. Refuses to know: what the caller may do (that is [`crate::authz`]).

mod credential;
mod principal;

pub(crate) use credential::secret_in_url;
pub use credential::{Credential, CredentialError};
pub use principal::{Authority, Principal, TenantId};

use crate::grants::{GrantError, Grants};

/// The credential was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// None, more than one, or in the wrong place.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The session is malformed, or its seed was not made by its DID.
    #[error("the context session in X-API-Key is not valid: {0}")]
    Session(#[from] adyton_keys::context_session::InvalidSession),
    /// The token is unknown, expired or revoked.
    #[error(transparent)]
    Token(#[from] GrantError),
}

/// Checks a credential. The only maker of [`Principal`]s.
pub fn authenticate(
    credential: &Credential,
    grants: &Grants,
) -> Result<Principal, AuthenticationError> {
    match credential {
        Credential::Session(text) => Principal::owner(text),
        Credential::Bearer(token) => Ok(Principal::app(grants.find(token)?)),
    }
}
