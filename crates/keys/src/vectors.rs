//! Runs the vectors that the original implementation made (`vectors/*.json`, or the folder named by
//! `ADYTON_VECTORS`). A file that the folder lacks is skipped and named.

use std::path::PathBuf;

use adyton_protocol::address::Address;
use adyton_protocol::canonical_json::{self, to_string_lossy_like_reference};
use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::context_config::{ContextConfig, normalise_url};
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::{Anchor, Did, Network};
use adyton_protocol::did_document::{ContextEndpoints, DidDocument, UnsignedDidDocument};
use adyton_protocol::did_registry;
use adyton_protocol::hash::{self, hash_text, hash_value, keccak256};
use adyton_protocol::jwt::verify_es256k;
use adyton_protocol::record_signature;
use adyton_protocol::schema::resolve_path;
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_protocol::uri::RecordUri;
use serde_json::{Map, Value};

use crate::account::Account;
use crate::context_session::{ContextSession, InvalidSession};
use crate::keyring::{ContextSeed, Keyring};
use crate::record_cipher::{OpenError, RecordCipher};
use crate::sealed_box::SealedBox;
use crate::secret::SecretBytes;
use crate::signing_key::SigningKey;

/// The parsed file, or `None` (and a line that says so) when the folder lacks it.
#[allow(
    clippy::disallowed_methods,
    reason = "other vector sets are run by the same tests"
)]
fn load(file: &str) -> Option<Value> {
    let folder = std::env::var_os("ADYTON_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
        PathBuf::from,
    );
    match std::fs::read_to_string(folder.join(file)) {
        // A strict parser rejects a lone surrogate; those two vectors hold their text inside a
        // string, so the file itself parses.
        Ok(text) => {
            let mut vectors = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
            expand_repeats(&mut vectors);
            Some(vectors)
        }
        Err(_) => {
            println!("skipped: {file} is not in {}", folder.display());
            None
        }
    }
}

/// Long inputs are written as `"seed_repeat": {"unit": "x", "count": 1000}`.
fn expand_repeats(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(expand_repeats),
        Value::Object(members) => {
            members.values_mut().for_each(expand_repeats);
            let repeats: Vec<(String, Value)> = members
                .iter()
                .filter_map(|(key, member)| {
                    let count = usize::try_from(member["count"].as_u64()?).ok()?;
                    let long = member["unit"].as_str()?.repeat(count);
                    Some((key.strip_suffix("_repeat")?.to_owned(), long.into()))
                })
                .collect();
            members.extend(repeats);
        }
        _ => {}
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

fn bytes(value: &Value, member: &str) -> Vec<u8> {
    unhex(text(value, member))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap()
}

fn array<const N: usize>(value: &Value, member: &str) -> [u8; N] {
    bytes(value, member).try_into().unwrap()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    let items = value[member]
        .as_array()
        .unwrap_or_else(|| panic!("no list `{member}`"));
    assert!(!items.is_empty(), "`{member}` is empty");
    items
}

/// A list that another vector set may lack.
fn optional_list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

fn did(value: &Value, member: &str) -> Did {
    text(value, member).parse().unwrap()
}

fn context(value: &Value) -> ContextName {
    ContextName::new(text(value, "context_name")).unwrap()
}

fn account(secret: &str, anchor: Anchor) -> Account {
    Account::from_secret_text(secret, anchor).unwrap()
}

fn account_of(value: &Value, member: &str) -> Account {
    account(text(value, member), Anchor::Polamoy)
}

/// What the reference hashes: our canonical form, and where we refuse, the reference's lossy one.
fn canonical(value: &Value) -> String {
    canonical_json::to_string(value).unwrap_or_else(|_| to_string_lossy_like_reference(value))
}

fn digest_of_data(value: &Value) -> [u8; 32] {
    match value {
        Value::String(text) => hash_text(text).unwrap(),
        other => keccak256(canonical(other).as_bytes()),
    }
}

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
    assert_eq!(keyring.sym.expose().to_vec(), bytes(vector, "sym_key"));
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
fn sym_encrypt() {
    let Some(file) = load("sym_encrypt.json") else {
        return;
    };
    let sealed_box = SealedBox::of_key(SecretBytes::take(&mut array(&file, "key")));
    for vector in list(&file, "vectors") {
        let plain = text(vector, "encrypted_bytes_text");
        if let Ok(value) = serde_json::from_str::<Value>(text(vector, "plaintext_json")) {
            assert_eq!(canonical(&value), plain);
            if let Ok(strict) = canonical_json::to_string(&value) {
                assert_eq!(
                    sealed_box.open(text(vector, "output_base64")).unwrap(),
                    serde_json::from_str::<Value>(&strict).unwrap()
                );
            }
        }
        assert_box(&sealed_box, plain.as_bytes(), vector);
    }
    for vector in optional_list(&file, "buffer_vectors") {
        assert_box(&sealed_box, &bytes(vector, "plaintext_bytes"), vector);
    }
}

#[test]
fn asym_encrypt() {
    let Some(file) = load("asym_encrypt.json") else {
        return;
    };
    let sender = SecretBytes::take(&mut array::<32>(&file, "sender_secret"));
    let recipient = SecretBytes::take(&mut array::<32>(&file, "recipient_secret"));
    assert_eq!(
        SealedBox::public_key_of(&sender).to_vec(),
        bytes(&file, "sender_public")
    );
    assert_eq!(
        SealedBox::public_key_of(&recipient).to_vec(),
        bytes(&file, "recipient_public")
    );
    let sealing = SealedBox::shared(&array(&file, "recipient_public"), &sender).unwrap();
    let opening = SealedBox::shared(&array(&file, "sender_public"), &recipient).unwrap();
    assert_eq!(sealing.key().to_vec(), bytes(&file, "shared_key"));
    for vector in list(&file, "vectors") {
        assert_box(
            &sealing,
            text(vector, "encrypted_bytes_text").as_bytes(),
            vector,
        );
        assert_eq!(
            opening.open(text(vector, "output_base64")).unwrap(),
            vector["decrypted_by_recipient"]
        );
    }
}

/// Sealing with the recorded nonce gives the recorded bytes, opening gives the plaintext back, and
/// one flipped bit is refused.
fn assert_box(sealed_box: &SealedBox, plain: &[u8], vector: &Value) {
    let sealed = text(vector, "output_base64");
    assert_eq!(
        sealed_box.seal_bytes_with_nonce(plain, &array(vector, "nonce")),
        sealed
    );
    assert_eq!(*sealed_box.open_bytes(sealed).unwrap(), plain);
    let mut flipped = base64_simd::STANDARD.decode_to_vec(sealed).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(
        sealed_box
            .open_bytes(&base64_simd::STANDARD.encode_to_string(flipped))
            .is_err()
    );
}

#[test]
fn encrypted_records() {
    let Some(file) = load("encrypted_records.json") else {
        return;
    };
    let keyring = Keyring::of_seed(&account_of(&file, "account").unlock(&context(&file))).unwrap();
    let name = DatabaseName::new(text(&file, "database_name")).unwrap();
    let cipher = RecordCipher::of(&keyring.database_key(&name));
    assert_eq!(
        cipher.sealed_box().key().to_vec(),
        bytes(&file, "record_key")
    );
    for vector in list(&file, "vectors") {
        let Some(payload) = vector["stored_document"]["payload"].as_str() else {
            continue;
        };
        let plain: Value = serde_json::from_slice(&cipher.open(payload).unwrap()).unwrap();
        let written: Value = serde_json::from_str(text(vector, "document_json")).unwrap();
        assert_eq!(plain["_id"], vector["stored_document"]["_id"]);
        assert_eq!(plain, written, "{}", vector["description"]);
        if let Some(nonce) = vector["payload_nonce"].as_str() {
            let plain = cipher.open(payload).unwrap();
            let sealed = cipher
                .sealed_box()
                .seal_bytes_with_nonce(&plain, &unhex(nonce).try_into().unwrap());
            assert_eq!(sealed, payload);
        }
    }
    let stored = &file["index_design_doc_stored_locally"]["doc"];
    if let Some(payload) = stored["payload"].as_str() {
        let plain: Value = serde_json::from_slice(&cipher.open(payload).unwrap()).unwrap();
        assert_eq!(plain["_id"], stored["_id"]);
    }
    let other = RecordCipher::of(&keyring.database_key(&DatabaseName::new("other").unwrap()));
    let payload = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|v| v["stored_document"]["payload"].as_str());
    assert_eq!(
        other.open(payload.unwrap()).unwrap_err(),
        OpenError::Rejected
    );
}

#[test]
fn storage_database() {
    let Some(file) = load("storage_database.json") else {
        return;
    };
    let account = account_of(&file, "account");
    let context = context(&file);
    let keyring = Keyring::of_seed(&account.unlock(&context)).unwrap();
    let name = DatabaseName::registry();
    assert_eq!(name.as_str(), text(&file, "database_name"));
    assert_eq!(
        DatabaseHash::of(account.did(), &context, &name).to_string(),
        text(&file, "database_hash")
    );
    let cipher = RecordCipher::of(&keyring.database_key(&name));
    for (stored, expected) in list(&file, "encrypted_documents")
        .iter()
        .zip(list(&file, "decrypted_records_as_returned_by_client"))
    {
        let plain = cipher
            .open(text(&stored["couchdb_document"], "payload"))
            .unwrap();
        assert_eq!(
            std::str::from_utf8(&plain).unwrap(),
            text(stored, "decrypted_payload_text")
        );
        let record: Map<String, Value> = serde_json::from_slice(&plain).unwrap();
        assert_eq!(
            record_signature::signed_text(&record).unwrap(),
            text(stored, "signed_text")
        );
        assert!(
            record_signature::verify(&record, account.did(), &context, keyring.sign_public_key())
                .is_some()
        );
        let database = DatabaseName::new(text(expected, "dbName")).unwrap();
        assert_eq!(
            *keyring.database_key(&database).expose_hex(),
            text(&expected["encryptionKey"], "key")
        );
        assert_eq!(
            DatabaseHash::of(account.did(), &context, &database).to_string(),
            text(expected, "_id")
        );
    }
}

#[test]
fn record_signatures() {
    let Some(file) = load("record_signature.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let account = account_of(vector, "account");
        let context = context(vector);
        let keyring = Keyring::of_seed(&account.unlock(&context)).unwrap();
        let mut record = vector["input_record"].as_object().unwrap().clone();
        assert_eq!(
            record_signature::signed_text(&record).unwrap(),
            text(vector, "signed_text")
        );
        assert_eq!(
            hash::to_hex(&record_signature::digest(&record).unwrap()),
            text(vector, "digest")
        );
        keyring
            .sign_record(&mut record, account.did(), &context)
            .unwrap();
        assert_eq!(Value::Object(record.clone()), vector["output_record"]);
        assert_eq!(
            record_signature::signature_key(account.did(), &context),
            text(vector, "signature_key")
        );
        let key = keyring.sign_public_key();
        assert!(record_signature::verify(&record, account.did(), &context, key).is_some());
        // The old form: the bare text.
        let mut old = record.clone();
        old["signatures"][text(vector, "signature_key")] = vector["signature"].clone();
        assert!(record_signature::verify(&old, account.did(), &context, key).is_some());
        record.insert("tampered".to_owned(), Value::Bool(true));
        assert!(record_signature::verify(&record, account.did(), &context, key).is_none());
    }
    for vector in optional_list(&file, "versionless_schema") {
        assert_eq!(
            record_signature::versionless_schema(text(vector, "input")),
            text(vector, "output")
        );
    }
}

#[test]
fn did_documents() {
    let Some(file) = load("did_document.json") else {
        return;
    };
    let mut earlier: Option<DidDocument> = None;
    for vector in list(&file, "vectors") {
        let did = did(vector, "did");
        let account = account(text(vector, "private_key"), did.anchor());
        let document = DidDocument::verify(vector["document"].clone(), &did).unwrap();
        assert_eq!(document.to_json(), vector["document"]);
        let mut unsigned = document.to_json();
        unsigned.as_object_mut().unwrap().remove("proof");
        assert_eq!(
            canonical(&unsigned),
            text(vector, "proof_preimage_sorted_json")
        );
        assert_eq!(
            hash::to_hex(&hash_value(&unsigned).unwrap()),
            text(vector, "proof_digest")
        );
        // Tampering, a stranger's DID and a stranger's proof are refused.
        let mut tampered = vector["document"].clone();
        tampered["updated"] = "2031-01-01T00:00:00Z".into();
        assert!(DidDocument::verify(tampered, &did).is_err());
        assert!(
            DidDocument::verify(
                vector["document"].clone(),
                &Did::of_account(did.anchor(), Address::from_bytes([9; 20]))
            )
            .is_err()
        );
        for context in vector["contexts"].as_array().into_iter().flatten() {
            let name = self::context(context);
            let keyring = Keyring::of_seed(&account.unlock(&name)).unwrap();
            let keys = account.context_keys(&keyring);
            assert_eq!(keys.proof.to_string(), text(context, "proof"));
            let text_signed = consent::context_proof(&did, &keys.sign.address());
            assert_eq!(text_signed.as_str(), text(context, "proof_string"));
            let hash = ContextHash::of(&did, &name);
            let found = [
                Network::Banksia,
                Network::Myrtle,
                Network::Devnet,
                Network::Local,
            ]
            .into_iter()
            .find_map(|network| document.context_keys(network, &hash).unwrap());
            // An update may have removed the context.
            match found {
                Some(found) => assert_eq!(found, keys),
                None => assert!(document.version_id() > 0),
            }
        }
        assert_remade(vector, &account, &document);
        if let Some(previous) = earlier.take().filter(|previous| {
            previous.did() == document.did() && previous.version_id() < document.version_id()
        }) {
            document.clone().as_successor_of(&previous).unwrap();
            assert!(previous.as_successor_of(&document).is_err());
        }
        earlier = Some(document);
    }
}

/// A first version is made again, byte for byte, from the keys and the endpoints in it.
fn assert_remade(vector: &Value, account: &Account, document: &DidDocument) {
    if document.version_id() != 0 {
        return;
    }
    let created = time::OffsetDateTime::parse(
        text(&vector["document"], "created"),
        &time::format_description::well_known::Rfc3339,
    );
    let mut unsigned =
        UnsignedDidDocument::new(account.did(), account.public_key(), created.unwrap());
    for context in vector["contexts"].as_array().into_iter().flatten() {
        let name = self::context(context);
        let hash = ContextHash::of(account.did(), &name);
        for network in [Network::Banksia, Network::Myrtle] {
            let endpoints = document.context_endpoints(network, &hash);
            if endpoints != ContextEndpoints::default() {
                let keyring = Keyring::of_seed(&account.unlock(&name)).unwrap();
                unsigned.add_context(network, &name, &account.context_keys(&keyring), &endpoints);
            }
        }
    }
    assert_eq!(
        account.sign_document(unsigned).unwrap().to_json(),
        vector["document"]
    );
}

#[test]
fn context_configs() {
    let (Some(file), Some(documents)) = (load("context_config.json"), load("did_document.json"))
    else {
        return;
    };
    for vector in optional_list(&file, "standardize_urls") {
        assert_eq!(
            normalise_url(text(vector, "input")).unwrap(),
            text(vector, "output")
        );
    }
    // The documents behind the recorded configurations are not in the file; those of
    // did_document.json with the same context give the same configuration.
    let mut compared = 0;
    for vector in list(&documents, "vectors") {
        let document =
            DidDocument::verify(vector["document"].clone(), &did(vector, "did")).unwrap();
        for recorded in optional_list(&file, "banksia_lowercase_did") {
            let Ok(hash) = text(recorded, "id").parse() else {
                continue;
            };
            let Some(config) =
                ContextConfig::of_document(&document, Network::Banksia, &hash).unwrap()
            else {
                continue;
            };
            assert_eq!(serde_json::to_value(config).unwrap(), *recorded);
            compared += 1;
        }
    }
    for recorded in optional_list(&file, "banksia_lowercase_did") {
        let config: ContextConfig = serde_json::from_value(recorded.clone()).unwrap();
        assert_eq!(serde_json::to_value(config).unwrap(), *recorded);
        compared += 1;
    }
    assert!(compared > 0 || optional_list(&file, "banksia_lowercase_did").is_empty());
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

#[test]
fn storage_node_auth() {
    let Some(file) = load("storage_node_auth.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let account = account_of(&file, "private_key");
        let (context, did) = (context(vector), did(vector, "did"));
        let keyring = Keyring::of_seed(&account.unlock(&context)).unwrap();
        let auth = consent::authenticate(&did, &context, text(vector, "auth_request_id"));
        assert_eq!(auth.as_str(), text(&vector["authenticate"], "message"));
        assert_eq!(
            account.sign_consent(&auth).to_string(),
            text(&vector["authenticate"], "signature_by_did_key")
        );
        assert_eq!(
            keyring.sign_consent(&auth).to_string(),
            text(&vector["authenticate"], "signature_by_context_sign_key")
        );
        let hash = ContextHash::of(&did, &context);
        assert_eq!(hash.couch_user(), text(vector, "couchdb_username"));
        assert_eq!(hash.bare_hex(), text(vector, "server_did_context_hash"));
        // The other texts: the variable parts are read out of the recorded message.
        let last_line = |member: &str| {
            text(&vector[member], "message")
                .rsplit('\n')
                .next()
                .unwrap()
                .to_owned()
        };
        let server = |member: &str| {
            text(&vector[member], "message")
                .rsplit('"')
                .nth(1)
                .unwrap()
                .to_owned()
        };
        let number = |member: &str| last_line(member).parse::<u64>().unwrap();
        let minutes = text(&vector["delete_did_document"], "message")
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let texts = [
            (
                "invalidate_device",
                consent::invalidate_device(&did, &context, &last_line("invalidate_device")),
            ),
            (
                "destroy_context",
                consent::destroy_context(
                    &did,
                    &context,
                    &server("destroy_context"),
                    number("destroy_context"),
                ),
            ),
            (
                "context_hash_lookup",
                consent::context_hash_lookup(
                    &did,
                    &hash,
                    &server("context_hash_lookup"),
                    number("context_hash_lookup"),
                ),
            ),
            (
                "delete_did_document",
                consent::delete_did_document(&did, minutes),
            ),
        ];
        for (member, made) in texts {
            assert_eq!(made.as_str(), text(&vector[member], "message"));
            assert_eq!(
                account.sign_consent(&made).to_string(),
                text(&vector[member], "signature_by_did_key")
            );
        }
        let notification = consent::notification(&did, &context);
        assert_eq!(
            notification.as_str(),
            text(&vector["notification_basic_auth"], "message")
        );
        assert_eq!(
            keyring.sign_consent(&notification).to_string(),
            text(
                &vector["notification_basic_auth"],
                "password_signature_by_context_sign_key"
            )
        );
    }
    let signed = &file["signed_response"];
    let node: PublicKey = text(signed, "node_public_key").parse().unwrap();
    let mut response = signed["response"].clone();
    let signature = response
        .as_object_mut()
        .unwrap()
        .remove("signature")
        .unwrap();
    let signature: Signature = signature.as_str().unwrap().parse().unwrap();
    assert!(
        signature
            .verify(hash_value(&response).unwrap(), &node.address())
            .is_ok()
    );
}

#[test]
fn did_registry_calls() {
    let Some(file) = load("did_registry.json") else {
        return;
    };
    let lookup = &file["lookup"];
    let address: Address = text(lookup, "did_address").parse().unwrap();
    let hex = |data: &[u8]| format!("0x{}", hex::encode(data));
    assert_eq!(
        hex(&did_registry::lookup_call(&address)),
        text(lookup, "call_data")
    );
    assert_eq!(
        hex(&did_registry::nonce_call(&address)),
        text(&file, "nonce_call_data")
    );
    assert_eq!(
        hex(&did_registry::user_names_call(&address)),
        text(&file["get_user_name_list"], "call_data")
    );
    assert_eq!(
        hex(&did_registry::find_did_call(text(
            &file["find_did"],
            "username"
        ))),
        text(&file["find_did"], "call_data")
    );
    let result = bytes(lookup, "sample_result");
    let found = did_registry::parse_lookup_result(&result).unwrap();
    assert_eq!(
        found.controller.lowercase(),
        text(&lookup["decoded"], "controller")
    );
    assert_eq!(
        serde_json::to_value(&found.endpoints).unwrap(),
        lookup["decoded"]["endpoints"]
    );
    assert!(
        did_registry::parse_lookup_result(&bytes(lookup, "empty_endpoints_result"))
            .unwrap()
            .endpoints
            .is_empty()
    );
    for cut in 0..result.len() {
        // A truncated answer is an error or has lost only padding, and never a panic.
        if let Ok(partial) = did_registry::parse_lookup_result(&result[..cut]) {
            assert_eq!(partial, found);
        }
    }
    assert_eq!(
        hex(&did_registry::UNREGISTERED_DID),
        text(&file["error_selectors"], "error UnregisteredDID()")
    );
    let signature = |value: &Value| text(value, "signature").parse::<Signature>().unwrap();
    for vector in optional_list(&file, "register") {
        let endpoints: Vec<String> = serde_json::from_value(vector["endpoints"].clone()).unwrap();
        let message =
            did_registry::register_message(&address, &endpoints, vector["nonce"].as_u64().unwrap());
        assert_eq!(hex(&message), text(vector, "packed_message"));
        assert!(
            signature(vector)
                .verify(keccak256(&message), &address)
                .is_ok()
        );
        assert_eq!(
            hex(&did_registry::register_call(
                &address,
                &endpoints,
                &signature(vector).to_bytes()
            )),
            text(vector, "call_data")
        );
    }
    let revoke = &file["revoke"];
    let message = did_registry::revoke_message(&address, revoke["nonce"].as_u64().unwrap());
    assert_eq!(hex(&message), text(revoke, "packed_message"));
    assert_eq!(
        hex(&did_registry::revoke_call(
            &address,
            &signature(revoke).to_bytes()
        )),
        text(revoke, "call_data")
    );
    let change = &file["set_controller"];
    let message = did_registry::set_controller_message(
        &address,
        &text(change, "controller").parse().unwrap(),
        change["nonce"].as_u64().unwrap(),
    );
    assert_eq!(hex(&message), text(change, "packed_message"));
    assert!(
        signature(change)
            .verify(keccak256(&message), &address)
            .is_ok()
    );
    for vector in optional_list(&file, "interpret_identifier") {
        let parsed = text(vector, "input").parse::<Did>();
        match vector["output"]["network"].as_str() {
            Some(network) => {
                let did = parsed.unwrap();
                assert_eq!(did.anchor().name(), network);
                assert_eq!(
                    did.address().checksummed(),
                    text(&vector["output"], "address")
                );
            }
            None => assert!(parsed.is_err(), "{vector}"),
        }
    }
    for (network, anchor) in file["network_anchors"].as_object().unwrap() {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.anchor().name(), anchor.as_str().unwrap());
        assert_eq!(
            network.anchor().chain_id_hex(),
            text(&file["anchor_chain_ids"], network.anchor().name())
        );
    }
}

#[test]
fn jwts_and_messages() {
    if let Some(file) = load("did_jwt.json") {
        let key: PublicKey = text(&file, "sign_public_key").parse().unwrap();
        let payload = verify_es256k(text(&file, "jwt"), &key).unwrap();
        assert_eq!(
            payload,
            serde_json::from_str::<Value>(text(&file, "payload_text")).unwrap()
        );
        let other = *account_of(&file, "account").public_key();
        assert!(verify_es256k(text(&file, "jwt"), &other).is_err());
    }
    if let Some(file) = load("verifiable_credential.json") {
        let key: PublicKey = text(&file, "sign_public_key").parse().unwrap();
        for vector in list(&file, "vectors") {
            let payload = verify_es256k(text(vector, "jwt"), &key).unwrap();
            assert_eq!(
                payload,
                serde_json::from_str::<Value>(text(vector, "jwt_payload_text")).unwrap()
            );
            for (name, signed) in vector["proof_strings"].as_object().into_iter().flatten() {
                let proof: Signature = text(&vector["vc_object"]["proofs"], name).parse().unwrap();
                let digest = hash_text(signed.as_str().unwrap()).unwrap();
                assert!(proof.verify(digest, &key.address()).is_ok(), "{name}");
            }
        }
    }
    if let Some(file) = load("messaging.json") {
        let (sender, recipient) = (&file["sender"], &file["recipient"]);
        let keyring =
            Keyring::of_seed(&account_of(recipient, "account").unlock(&context(recipient)))
                .unwrap();
        assert_eq!(
            keyring.asym_public_key().to_vec(),
            bytes(recipient, "asym_public_key")
        );
        let item = &file["inbox_item"];
        let opening = keyring.shared_box(&array(item, "key")).unwrap();
        assert_eq!(opening.key().to_vec(), bytes(&file, "shared_key"));
        let jwt = opening.open(text(item, "content")).unwrap();
        assert_eq!(jwt, file["jwt"]);
        let sender_keys =
            Keyring::of_seed(&account_of(sender, "account").unlock(&context(sender))).unwrap();
        let payload = verify_es256k(jwt.as_str().unwrap(), sender_keys.sign_public_key()).unwrap();
        assert_eq!(payload, file["jwt_payload"]);
    }
}

#[test]
fn verida_uris() {
    let Some(file) = load("verida_uri.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let made = RecordUri {
            did: text(vector, "did").to_owned(),
            network: text(vector, "network").to_owned(),
            context: text(vector, "context_name").to_owned(),
            database: text(vector, "database_name").to_owned(),
            record: vector["item_id"].as_str().map(str::to_owned),
            attributes: serde_json::from_value(vector["deep_attributes"].clone())
                .unwrap_or_default(),
            key_hex: vector["key_hex"].as_str().map(str::to_owned),
        };
        assert_eq!(made.to_string(), text(vector, "uri"));
        assert_eq!(made.to_base58(), text(vector, "encoded_base58"));
        assert_eq!(made.to_web_address(), text(vector, "wrapped"));
        let parsed = RecordUri::parse_base58(text(vector, "encoded_base58")).unwrap();
        let exploded = &vector["exploded"];
        // The original does not decode the database part of a name that was cut at its `/`.
        assert_eq!(
            parsed.context.trim_end(),
            text(exploded, "contextName").trim_end()
        );
        assert_eq!(parsed.database, text(exploded, "dbName"));
        assert_eq!(parsed.record.as_deref(), exploded["recordId"].as_str());
        assert_eq!(
            serde_json::to_value(&parsed.attributes).unwrap(),
            exploded["deepAttributes"]
        );
        assert_eq!(parsed.key_hex.as_deref(), exploded["query"]["key"].as_str());
    }
}

#[test]
fn schema_paths() {
    let Some(file) = load("schema_path.json") else {
        return;
    };
    for vector in list(&file, "vectors") {
        let network: Network = text(vector, "network").parse().unwrap();
        assert_eq!(
            resolve_path(network, text(vector, "input")),
            text(vector, "resolved")
        );
    }
}
