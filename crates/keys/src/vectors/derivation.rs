//! Hashes, signatures, and keys made of keys.

use adyton_protocol::address::Address;
use adyton_protocol::canonical_json::{self, to_string_lossy_like_reference};
use adyton_protocol::consent;
use adyton_protocol::context::ContextHash;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::{Anchor, Network};
use adyton_protocol::hash::{self, hash_text, keccak256};
use adyton_protocol::signature::{PublicKey, Signature};
use serde_json::Value;

use super::{
    account, array, bytes, canonical, context, did, digest_of_data, list, load, optional_list,
    text, unhex,
};
use crate::context_session::{ContextSession, InvalidSession};
use crate::keyring::{ContextSeed, Keyring};
use crate::record_cipher::RecordCipher;
use crate::signing_key::SigningKey;

#[test]
fn hashing() {
    let Some(file) = load("hashing.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let input = &vector["input"];
        assert_eq!(
            hash::to_hex(&digest_of_data(input)),
            text(vector, "hash"),
            "{}",
            vector["description"]
        );
        if let Some(sorted) = vector["sorted_json"].as_str() {
            assert_eq!(canonical(input), sorted);
        }
    }
    for vector in optional_list(&file, "errors") {
        assert!(hash_text(text(vector, "input")).is_err());
    }
}

#[test]
fn json_sortify() {
    let Some(file) = load("json_sortify.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let input = text(vector, "input_json");
        let Ok(value) = serde_json::from_str::<Value>(input) else {
            assert!(
                input.contains("\\ud"),
                "only a lone surrogate may fail to parse: {input}"
            );
            continue;
        };
        let expected = text(vector, "output");
        assert_eq!(to_string_lossy_like_reference(&value), expected);
        // Strict canonicalisation is the same, or a refusal of what the reference loses.
        if let Ok(strict) = canonical_json::to_string(&value) {
            assert_eq!(strict, expected);
        }
    }
}

#[test]
fn signatures() {
    let Some(file) = load("signatures.json") else {
        return;
    };
    let key = SigningKey::take(&mut array(&file, "private_key")).unwrap();
    let address: Address = text(&file, "address").parse().unwrap();
    assert_eq!(key.public().address(), address);
    for vector in list(&file, "vectors") {
        let digest = match vector["data_hex"].as_str() {
            Some(data) => keccak256(&unhex(data)),
            None => digest_of_data(&serde_json::from_str(text(vector, "data_json")).unwrap()),
        };
        if let Some(expected) = vector["digest"].as_str() {
            assert_eq!(hash::to_hex(&digest), expected);
        }
        let signature: Signature = text(vector, "signature").parse().unwrap();
        assert_eq!(
            key.sign_digest(digest).to_string(),
            text(vector, "signature")
        );
        assert_eq!(signature.recover(digest).unwrap().address(), address);
        assert!(signature.verify(digest, &address).is_ok());
        assert!(signature.verify(keccak256(b"other"), &address).is_err());
        assert!(
            signature
                .verify(digest, &Address::from_bytes([1; 20]))
                .is_err()
        );
        let compact = compact_form(&signature);
        assert_eq!(
            Signature::from_bytes(&compact).unwrap().to_string(),
            text(vector, "signature")
        );
    }
    for member in ["public_key_compressed", "public_key_uncompressed"] {
        let public: PublicKey = text(&file, member).parse().unwrap();
        assert_eq!(public.address(), address);
    }
}

/// EIP-2098: the parity goes into the top bit of s.
fn compact_form(signature: &Signature) -> Vec<u8> {
    let bytes = signature.to_bytes();
    let mut compact = bytes[..64].to_vec();
    compact[32] |= (bytes[64] - 27) << 7;
    compact
}

#[test]
fn wallets() {
    let Some(file) = load("wallets.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let anchor = match text(vector, "anchor") {
            "polpos" => Anchor::Polpos,
            _ => Anchor::Polamoy,
        };
        let account = account(text(vector, "input"), anchor);
        assert_eq!(*account.expose_private_key(), text(vector, "private_key"));
        assert_eq!(
            account.public_key().uncompressed().to_vec(),
            bytes(vector, "public_key_uncompressed")
        );
        assert_eq!(account.did().as_given(), text(vector, "did"));
        let lower = vector["did_lower"]
            .as_str()
            .map_or_else(|| text(vector, "did").to_lowercase(), str::to_owned);
        assert_eq!(account.did().lowercase(), lower);
    }
}

#[test]
fn keyring() {
    let Some(file) = load("keyring.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let network: Network = text(vector, "network").parse().unwrap();
        let account = account(text(vector, "account"), network.anchor());
        let context = context(vector);
        assert_eq!(account.did().as_given(), text(vector, "did"));
        let message = consent::unlock(account.did(), &context);
        assert_eq!(message.as_str(), text(vector, "consent_message"));
        assert_eq!(
            hash::to_hex(&message.digest()),
            text(vector, "consent_message_hash")
        );
        let seed = account.unlock(&context);
        assert_eq!(seed.expose(), text(vector, "seed_signature"));
        let keyring = Keyring::of_seed(&seed).unwrap();
        assert_raw_keys(&keyring, vector);
        assert_eq!(
            keyring.sign.public().address().checksummed(),
            text(vector, "sign_public_address")
        );
        let base58 = |bytes: &[u8]| bs58::encode(bytes).into_string();
        assert_eq!(
            base58(&keyring.sign.public().compressed()),
            text(vector, "sign_public_key_base58")
        );
        assert_eq!(
            base58(&keyring.asym_public_key()),
            text(vector, "asym_public_key_base58")
        );
    }
}

#[test]
fn keyring_raw_seed() {
    let Some(file) = load("keyring_raw_seed.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let keyring = Keyring::of_seed(&ContextSeed::of_text(text(vector, "seed"))).unwrap();
        assert_raw_keys(&keyring, vector);
    }
}

fn assert_raw_keys(keyring: &Keyring, vector: &Value) {
    assert_eq!(
        keyring.sign.expose().to_vec(),
        bytes(vector, "sign_private_key")
    );
    assert_eq!(
        keyring.asym.expose().to_vec(),
        bytes(vector, "asym_private_key")
    );
    if let Some(public) = vector["sign_public_key_compressed"].as_str() {
        assert_eq!(keyring.sign.public().compressed().to_vec(), unhex(public));
        assert_eq!(
            keyring.asym_public_key().to_vec(),
            bytes(vector, "asym_public_key")
        );
    }
}

#[test]
fn context_hash() {
    let Some(file) = load("context_hash.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let hash = ContextHash::of(&did(vector, "did"), &context(vector));
        assert_eq!(hash.to_string(), text(vector, "context_hash"));
    }
}

#[test]
fn database_hash() {
    let Some(file) = load("database_hash.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let name = DatabaseName::new(text(vector, "database_name")).unwrap();
        let hash = DatabaseHash::of(&did(vector, "did"), &context(vector), &name);
        assert_eq!(hash.to_string(), text(vector, "database_hash"));
        assert_eq!(
            text(vector, "database_hash")
                .parse::<DatabaseHash>()
                .unwrap(),
            hash
        );
    }
}

#[test]
fn database_key() {
    let Some(file) = load("database_key.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let network: Network = text(vector, "network").parse().unwrap();
        let account = account(text(vector, "account"), network.anchor());
        let keyring = Keyring::of_seed(&account.unlock(&context(vector))).unwrap();
        assert_eq!(
            keyring.sign.expose().to_vec(),
            bytes(vector, "sign_private_key")
        );
        let name = DatabaseName::new(text(vector, "database_name")).unwrap();
        let message = consent::own_database(&name);
        assert_eq!(message.as_str(), text(vector, "consent_message"));
        assert_eq!(
            keyring.sign_consent(&message).to_string(),
            text(vector, "consent_signature")
        );
        let key = keyring.database_key(&name);
        assert_eq!(
            format!("0x{}", *key.expose_hex()),
            text(vector, "database_key")
        );
        let cipher = RecordCipher::of(&key);
        assert_eq!(
            cipher.sealed_box().key().to_vec(),
            bytes(vector, "record_key")
        );
        let plain = cipher.open(text(vector, "sample_payload_base64")).unwrap();
        assert_eq!(*plain, text(vector, "sample_plaintext").as_bytes());
    }
}

#[test]
fn context_session() {
    let Some(file) = load("context_session.json") else {
        return;
    };
    let session = ContextSession::parse_api_key(text(&file, "x_api_key")).unwrap();
    assert_eq!(session.did().as_given(), text(&file["session"], "did"));
    assert_eq!(
        session.context().as_str(),
        text(&file["session"], "contextName")
    );
    assert_raw_keys(&session.keyring().unwrap(), &file["derived_keyring"]);
    let again: Value = serde_json::from_slice(&session.expose_json()).unwrap();
    assert_eq!(again, file["session"]);
    let printed = ContextSession::parse_api_key(&session.expose_api_key()).unwrap();
    assert_eq!(*printed.expose_json(), *session.expose_json());

    let with = |member: &str, value: Value| {
        let mut changed = file["session"].clone();
        changed[member] = value;
        ContextSession::parse_json(changed.to_string().as_bytes()).unwrap_err()
    };
    assert_eq!(
        with("contextName", "Other".into()),
        InvalidSession::Signature
    );
    assert_eq!(with("did", Value::Null), InvalidSession::Malformed);
    assert_eq!(
        with(
            "did",
            "did:vda:polamoy:0x2c7536E3605D9C16a7a3D7b1898e529396a65c23".into()
        ),
        InvalidSession::Signature
    );
    let upper = text(&file["session"], "signature")
        .to_uppercase()
        .replacen("0X", "0x", 1);
    assert_eq!(with("signature", upper.into()), InvalidSession::Signature);
    assert_eq!(
        ContextSession::parse_api_key("%%%").unwrap_err(),
        InvalidSession::Malformed
    );
    let huge = "A".repeat(crate::context_session::MAX_SESSION_BYTES + 1);
    assert_eq!(
        ContextSession::parse_api_key(&huge).unwrap_err(),
        InvalidSession::Malformed
    );
}
