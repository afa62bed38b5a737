//! What lies in databases: boxes, records, their signatures, their names.

use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::Network;
use adyton_protocol::schema::resolve_path;
use adyton_protocol::uri::RecordUri;
use adyton_protocol::{canonical_json, hash, record_signature};
use serde_json::{Map, Value};

use super::{account_of, array, bytes, canonical, context, list, load, optional_list, text, unhex};
use crate::keyring::Keyring;
use crate::record_cipher::{OpenError, RecordCipher};
use crate::sealed_box::SealedBox;
use crate::secret::SecretBytes;

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
