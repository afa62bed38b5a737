//! The keys of one context (`spec/protocol.md` §5).

use std::fmt;

use adyton_protocol::canonical_json::NotCanonical;
use adyton_protocol::consent::{self, ConsentText};
use adyton_protocol::context::ContextName;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::did::Did;
use adyton_protocol::hash::keccak256;
use adyton_protocol::record_signature;
use adyton_protocol::signature::{PublicKey, Signature};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::account::master_key;
use crate::database_key::DatabaseKey;
use crate::sealed_box::SealedBox;
use crate::secret::SecretBytes;
use crate::signing_key::{InvalidSecretKey, SigningKey};

/// The seed of a context: the *text* of the unlock signature. Whoever has it has all keys of the
/// context, for ever; it cannot be rotated.
pub struct ContextSeed(Zeroizing<String>);

impl ContextSeed {
    pub(crate) fn of_unlock_signature(signature: &Signature) -> Self {
        Self(Zeroizing::new(signature.to_string()))
    }

    pub(crate) fn of_text(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ContextSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextSeed(..)")
    }
}

/// All keys of one context.
#[derive(Debug)]
pub struct Keyring {
    pub(crate) sign: SigningKey,
    pub(crate) asym: SecretBytes<32>,
}

impl Keyring {
    /// Derives the keyring. Fails only for a seed whose signing key falls outside the curve's range,
    /// which no unlock signature does in practice (chance 2^-128).
    pub fn of_seed(seed: &ContextSeed) -> Result<Self, InvalidSecretKey> {
        let branch = |name: &str| {
            let text = Zeroizing::new(format!("{}-{name}", seed.expose()));
            Zeroizing::new(keccak256(text.as_bytes()))
        };
        let (mut master, _chain) = master_key(branch("sign").as_slice());
        Ok(Self {
            sign: SigningKey::take(&mut master)?,
            asym: SecretBytes::take(&mut branch("asym")),
        })
    }

    /// The context's signing key, public half.
    pub fn sign_public_key(&self) -> &PublicKey {
        self.sign.public()
    }

    /// The context's X25519 key, public half.
    pub fn asym_public_key(&self) -> [u8; 32] {
        SealedBox::public_key_of(&self.asym)
    }

    /// The box shared with the holder of another X25519 key. `None` for a key that is not a point of
    /// full order, with which no secret can be shared.
    pub fn shared_box(&self, peer: &[u8; 32]) -> Option<SealedBox> {
        SealedBox::shared(peer, &self.asym)
    }

    /// The key of an own database. Depends on its name only, not on permissions.
    pub fn database_key(&self, name: &DatabaseName) -> DatabaseKey {
        let signature = self.sign.sign_digest(consent::own_database(name).digest());
        let text = Zeroizing::new(format!("{signature}-sym"));
        let mut key = keccak256(text.as_bytes());
        DatabaseKey::of_bytes(SecretBytes::take(&mut key))
    }

    /// Signs one of the protocol's consent texts with the context's key, as releases 4.0 to 4.3 of
    /// the original client log in.
    pub fn sign_consent(&self, text: &ConsentText) -> Signature {
        self.sign.sign_digest(text.digest())
    }

    /// Adds this context's signature to a record (`spec/protocol.md` §12.2). Other signers' entries are kept.
    pub fn sign_record(
        &self,
        record: &mut Map<String, Value>,
        signer: &Did,
        context: &ContextName,
    ) -> Result<(), NotCanonical> {
        let signature = self.sign.sign_digest(record_signature::digest(record)?);
        let entry = json!({ "secp256k1": signature.to_string() });
        let key = record_signature::signature_key(signer, context);
        match record.get_mut("signatures") {
            Some(Value::Object(signatures)) => {
                signatures.insert(key, entry);
            }
            _ => {
                record.insert("signatures".to_owned(), json!({ key: entry }));
            }
        }
        Ok(())
    }
}
