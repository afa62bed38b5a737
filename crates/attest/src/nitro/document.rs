//! Steps 1 to 4 in one place: a document is opened, read, and then believed or not.
//!
//! Guarantees: a [`VerifiedDocument`] cannot be made otherwise. Refuses to know a clock: the time is handed in.

use std::time::SystemTime;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::chain::{Chain, ChainError, RootHash};
use super::claims::{self, Certificates, Claims, ClaimsError};
use super::envelope::{Envelope, EnvelopeError};

/// A document that is well-formed (steps 1 and 2). Anyone can make one.
#[derive(Debug)]
pub struct UnverifiedDocument {
    envelope: Envelope,
    claims: Claims,
    certificates: Certificates,
}

impl UnverifiedDocument {
    /// Steps 1 and 2.
    ///
    /// # Errors
    /// [`DocumentError::Envelope`] or [`DocumentError::Claims`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let envelope = Envelope::parse(bytes)?;
        let (claims, certificates) = claims::parse(&envelope.payload)?;
        Ok(Self {
            envelope,
            claims,
            certificates,
        })
    }

    /// What it says, before anyone checked. For reports, never for decisions.
    #[must_use]
    pub fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// The root that it names, before anyone checked. For reports, never for decisions.
    #[must_use]
    pub fn unverified_root(&self) -> Option<(RootHash, String)> {
        let der = self.certificates.bundle.first()?;
        Some((RootHash::of(der), super::chain::unverified_subject(der)))
    }

    /// Steps 3 and 4.
    ///
    /// # Errors
    /// [`DocumentError::Chain`] or [`DocumentError::Signature`].
    pub fn verify(
        self,
        trusted: &[RootHash],
        now: SystemTime,
    ) -> Result<VerifiedDocument, DocumentError> {
        // 3. The certificates lead to a trusted root.
        let chain = Chain::verify(&self.certificates, trusted, now)?;
        // 4. The last certificate's key signed exactly these bytes.
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chain.leaf_key())
            .verify(&self.envelope.signed, &self.envelope.signature)
            .map_err(|_| DocumentError::Signature)?;
        Ok(VerifiedDocument {
            claims: self.claims,
            chain,
        })
    }
}

/// A document that a TEE under a trusted root signed (steps 1 to 4). Made by [`UnverifiedDocument::verify`] alone.
#[derive(Debug)]
pub struct VerifiedDocument {
    claims: Claims,
    chain: Chain,
}

impl VerifiedDocument {
    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The certificates it rests on.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// Why a document is not believed. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Step 1.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Step 2.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Step 3.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Step 4.
    #[error("the signature is not by the key of the document's certificate")]
    Signature,
}
