//! The node's own key: it signs the answers of the middleware so that they can be held against the node.

use adyton_protocol::address::Address;
use adyton_protocol::canonical_json::NotCanonical;
use adyton_protocol::hash::{HashError, hash_value, keccak256};
use adyton_protocol::signature::{PublicKey, Signature};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use serde_json::Value;

/// The node's signing key, made at first start.
pub(crate) struct Identity {
    secret: SecretKey,
    public: PublicKey,
}

/// The stored bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored node key is not a key")]
pub(crate) struct InvalidIdentity;

impl Identity {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidIdentity> {
        let secret = SecretKey::from_secret_bytes(bytes).map_err(|_| InvalidIdentity)?;
        let public = PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&secret));
        Ok(Self { secret, public })
    }

    /// `0x` and the uncompressed public key.
    pub(crate) fn public_key_hex(&self) -> String {
        format!("0x{}", hex::encode(self.public.uncompressed()))
    }

    pub(crate) fn address(&self) -> Address {
        self.public.address()
    }

    /// Signs a JSON value as the protocol signs objects.
    pub(crate) fn sign_value(&self, value: &Value) -> Result<Signature, NotCanonical> {
        match hash_value(value) {
            Ok(digest) => Ok(self.sign_digest(digest)),
            Err(HashError::NotCanonical(error)) => Err(error),
            // Only a bare text can be odd hex; answers are objects.
            Err(_) => Err(NotCanonical::LargeInteger),
        }
    }

    /// Signs a text as Ethereum wallets sign messages.
    pub(crate) fn sign_message(&self, text: &str) -> Signature {
        let prefixed = format!("\u{19}Ethereum Signed Message:\n{}{text}", text.len());
        self.sign_digest(keccak256(prefixed.as_bytes()))
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Signature {
        let message = Message::from_digest(digest);
        Signature::from_recoverable(RecoverableSignature::sign_ecdsa_recoverable(
            message,
            &self.secret,
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_signed_by_the_nodes_address() {
        let identity = Identity::from_bytes([7; 32]).unwrap();
        let value = json!({"status": "success", "b": [1, {"a": null}]});
        let signature = identity.sign_value(&value).unwrap();
        let digest = hash_value(&value).unwrap();
        assert!(signature.verify(digest, &identity.address()).is_ok());
        assert!(signature.verify([0; 32], &identity.address()).is_err());
        assert!(Identity::from_bytes([0; 32]).is_err());
    }
}
