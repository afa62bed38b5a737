//! Accounts: the key behind a DID (`spec/protocol.md` §4).

use adyton_protocol::consent::{self, ConsentText};
use adyton_protocol::context::ContextName;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_document::{
    ContextKeys, DidDocument, DidDocumentError, UnsignedDidDocument,
};
use adyton_protocol::did_registry::register_message;
use adyton_protocol::hash::keccak256;
use adyton_protocol::signature::{PublicKey, Signature};
use aws_lc_rs::hmac;
use rand_core::CryptoRng;
use secp256k1::{Scalar, SecretKey};
use zeroize::Zeroizing;

use crate::keyring::{ContextSeed, Keyring};
use crate::signing_key::SigningKey;

/// The account key of a user. It owns everything: it unlocks contexts, signs DID documents and logins.
#[derive(Debug)]
pub struct Account {
    key: SigningKey,
    did: Did,
}

/// The text is neither a private key nor a mnemonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccount {
    /// It starts with `0x` but is not a private key.
    #[error("not a private key: expected 0x and 64 hex digits of a secp256k1 key")]
    PrivateKey,
    /// It is not an English BIP-39 mnemonic.
    #[error("not a mnemonic: expected 12 to 24 English BIP-39 words")]
    Mnemonic,
}

impl Account {
    /// Reads a private key (`0x…`) or, in any other case, a BIP-39 mnemonic with an empty
    /// passphrase and the path `m/44'/60'/0'/0/0`.
    pub fn from_secret_text(text: &str, anchor: Anchor) -> Result<Self, InvalidAccount> {
        let mut secret = Zeroizing::new([0; 32]);
        if let Some(digits) = text.strip_prefix("0x") {
            hex::decode_to_slice(digits, &mut *secret).map_err(|_| InvalidAccount::PrivateKey)?;
        } else {
            *secret = ethereum_key_of_mnemonic(text)?;
        }
        let key = SigningKey::take(&mut secret).map_err(|_| InvalidAccount::PrivateKey)?;
        Ok(Self::of_key(key, anchor))
    }

    /// Makes a new account. Returns it with its mnemonic of 12 words, which is the only copy.
    pub fn generate(anchor: Anchor, rng: &mut impl CryptoRng) -> (Self, Zeroizing<String>) {
        loop {
            let mut entropy = Zeroizing::new([0; 16]);
            rng.fill_bytes(&mut *entropy);
            let Ok(mnemonic) = bip39::Mnemonic::from_entropy(&*entropy) else {
                continue;
            };
            let words = Zeroizing::new(mnemonic.to_string());
            // A key outside the curve's range has a chance of 2^-128; the next entropy will do.
            if let Ok(account) = Self::from_secret_text(&words, anchor) {
                return (account, words);
            }
        }
    }

    fn of_key(key: SigningKey, anchor: Anchor) -> Self {
        let did = Did::of_account(anchor, key.public().address());
        Self { key, did }
    }

    /// The account's DID.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The account's public key.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public()
    }

    /// The private key as `0x` and hex, for the owner's own safe-keeping.
    pub fn expose_private_key(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("0x{}", hex::encode(self.key.expose())))
    }

    /// Signs one of the protocol's consent texts.
    pub fn sign_consent(&self, text: &ConsentText) -> Signature {
        self.key.sign_digest(text.digest())
    }

    /// Unlocks a context: the same seed on every device, for ever.
    pub fn unlock(&self, context: &ContextName) -> ContextSeed {
        ContextSeed::of_unlock_signature(&self.sign_consent(&consent::unlock(&self.did, context)))
    }

    /// The public keys of a context and this account's proof over its signing key.
    pub fn context_keys(&self, keyring: &Keyring) -> ContextKeys {
        let sign = *keyring.sign_public_key();
        let proof = self.sign_consent(&consent::context_proof(&self.did, &sign.address()));
        ContextKeys {
            sign,
            asym: keyring.asym_public_key(),
            proof,
        }
    }

    /// Signs the list of places where this account's document lies, for the registry's next turn (`spec/protocol.md` §7.2).
    pub fn sign_registration(&self, places: &[String], nonce: u64) -> Signature {
        let message = register_message(&self.did.address(), places, nonce);
        self.key.sign_digest(keccak256(&message))
    }

    /// Signs a DID document.
    pub fn sign_document(
        &self,
        unsigned: UnsignedDidDocument,
    ) -> Result<DidDocument, DidDocumentError> {
        let digest = unsigned.proof_digest()?;
        unsigned.sign_with(&self.key.sign_digest(digest))
    }
}

/// BIP-39 with an empty passphrase, then BIP-32 along `m/44'/60'/0'/0/0`.
fn ethereum_key_of_mnemonic(words: &str) -> Result<[u8; 32], InvalidAccount> {
    const HARDENED: u32 = 1 << 31;
    const PATH: [u32; 5] = [44 + HARDENED, 60 + HARDENED, HARDENED, 0, 0];
    let mnemonic = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, words)
        .map_err(|_| InvalidAccount::Mnemonic)?;
    let seed = Zeroizing::new(mnemonic.to_seed_normalized(""));
    let (mut key, mut chain) = master_key(&*seed);
    for index in PATH {
        (key, chain) = child_key(&key, &chain, index).ok_or(InvalidAccount::Mnemonic)?;
    }
    Ok(*key)
}

type Half = Zeroizing<[u8; 32]>;

/// BIP-32 master key and chain code of a seed.
pub(crate) fn master_key(seed: &[u8]) -> (Half, Half) {
    hmac_halves(b"Bitcoin seed", &[seed])
}

/// BIP-32 private child derivation. `None` for the 2^-127 of indexes that have no child.
fn child_key(key: &Half, chain: &Half, index: u32) -> Option<(Half, Half)> {
    let mut parent = SecretKey::from_secret_bytes(**key).ok()?;
    let index_bytes = index.to_be_bytes();
    let (tweak, chain) = if index >> 31 == 1 {
        hmac_halves(chain.as_slice(), &[&[0], key.as_slice(), &index_bytes])
    } else {
        let public = secp256k1::PublicKey::from_secret_key(&parent).serialize();
        hmac_halves(chain.as_slice(), &[&public, &index_bytes])
    };
    let child = Scalar::from_be_bytes(*tweak)
        .ok()
        .and_then(|tweak| parent.add_tweak(&tweak).ok());
    parent.non_secure_erase();
    let mut child = child?;
    let bytes = Zeroizing::new(child.to_secret_bytes());
    child.non_secure_erase();
    Some((bytes, chain))
}

fn hmac_halves(key: &[u8], parts: &[&[u8]]) -> (Half, Half) {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, key));
    parts.iter().for_each(|part| context.update(part));
    let tag = context.sign();
    let (mut left, mut right) = (Half::default(), Half::default());
    let (l, r) = tag.as_ref().split_at(32);
    left.copy_from_slice(l);
    right.copy_from_slice(r);
    (left, right)
}
