//! Who is calling: exactly one credential, checked, becomes a [`Principal`].
//!
//! Guarantees: a `Principal` exists only for a session whose seed belongs to its DID, or for a live
//! grant. Refuses to know: what the caller may do (that is [`crate::authz`]).

mod credential;
mod origins;
mod possession;
mod principal;

pub(crate) use credential::secret_in_url;
pub use credential::{Credential, CredentialError};
pub use origins::Origins;
pub use possession::{Once, Possession, UncheckedProof};
pub use principal::{Authority, Principal, TenantId};

use adyton_oauth::refused::{ErrorCode, Refused};

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
    /// The token is bound to a key, and the proof of it is missing or wrong; or there is a proof and no such token.
    #[error(transparent)]
    Proof(#[from] Refused),
}

/// Checks a credential. The only maker of [`Principal`]s.
pub fn authenticate(
    credential: &Credential,
    grants: &Grants,
    possession: &Possession,
) -> Result<Principal, AuthenticationError> {
    const UNPROVEN: Refused = Refused::new(
        ErrorCode::InvalidDpopProof,
        "this access token is bound to a key: send it with the scheme DPoP and a proof",
    );
    const UNBOUND: Refused = Refused::new(
        ErrorCode::InvalidDpopProof,
        "this access token is not bound to the key of the DPoP proof",
    );
    let grant = match credential {
        Credential::Session(text) => return Principal::owner(text),
        Credential::Bearer(token) => {
            let grant = grants.find(token)?;
            match grant.key() {
                None => grant,
                Some(_) => return Err(UNPROVEN.into()),
            }
        }
        Credential::Proven(token, proof) => {
            let grant = grants.find(token)?;
            let proof = possession.check(proof, Some(&token.expose()))?;
            if grant.key() != Some(proof.key()) {
                return Err(UNBOUND.into());
            }
            possession.use_proof(&proof)?;
            grant
        }
    };
    let left = grant.count_use()?;
    Ok(Principal::app(grant, left))
}
