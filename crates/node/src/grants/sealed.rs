//! The owner's session inside a grant: sealed with the grant's key, which only the grant's tokens open.
//!
//! Guarantees: the node keeps neither the key nor a token; whoever has the store without a live token has ciphertext. This is the
//! one place where a session is sealed and opened.

use adyton_keys::SecretBytes;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_keys::sealed_box::SealedBox;
use rand_core::{OsRng, RngCore, TryRngCore};

use super::token::TokenSecret;

/// The key of a grant. Exists for the length of a request.
#[derive(Debug)]
pub(super) struct GrantKey(SecretBytes<32>);

/// A grant's key, sealed for one token.
#[derive(Debug, Clone)]
pub(super) struct WrappedKey(String);

/// An owner's session, sealed with a grant's key.
#[derive(Debug)]
pub(super) struct SealedSession(String);

impl GrantKey {
    /// A new key.
    pub(super) fn generate() -> Self {
        let mut bytes = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        Self(SecretBytes::take(&mut bytes))
    }

    /// Seals the key for a token.
    pub(super) fn wrap(&self, token: &TokenSecret) -> WrappedKey {
        let seal = SealedBox::of_key(token.sealing_key());
        WrappedKey(seal.seal_bytes(self.0.expose(), &mut OsRng.unwrap_err()))
    }

    /// Seals a session.
    pub(super) fn seal(&self, session: &ContextSession) -> SealedSession {
        SealedSession(
            self.seal_box()
                .seal_bytes(&session.expose_json(), &mut OsRng.unwrap_err()),
        )
    }

    fn seal_box(&self) -> SealedBox {
        let mut copy = *self.0.expose();
        SealedBox::of_key(SecretBytes::take(&mut copy))
    }
}

impl WrappedKey {
    /// What was kept of one.
    pub(super) fn of_kept(text: String) -> Self {
        Self(text)
    }

    /// To be kept.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The key, for whoever has the token. `None`: it was sealed for another one.
    pub(super) fn open(&self, token: &TokenSecret) -> Option<GrantKey> {
        let plain = SealedBox::of_key(token.sealing_key())
            .open_bytes(&self.0)
            .ok()?;
        let mut bytes: [u8; 32] = plain.as_slice().try_into().ok()?;
        Some(GrantKey(SecretBytes::take(&mut bytes)))
    }
}

impl SealedSession {
    /// What was kept of one.
    pub(super) fn of_kept(text: String) -> Self {
        Self(text)
    }

    /// To be kept.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The session, for whoever has the grant's key.
    pub(super) fn open(&self, key: &GrantKey) -> Result<ContextSession, InvalidSession> {
        let json = key
            .seal_box()
            .open_bytes(&self.0)
            .map_err(|_| InvalidSession::Malformed)?;
        ContextSession::parse_json(&json)
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }
}
