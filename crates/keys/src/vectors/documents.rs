//! What is published or sent: DID documents, contexts, sessions, logins, the registry, messages.

use adyton_protocol::address::Address;
use adyton_protocol::context::ContextHash;
use adyton_protocol::context_config::{ContextConfig, normalise_url};
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::{ContextEndpoints, DidDocument, UnsignedDidDocument};
use adyton_protocol::hash::{self, hash_text, hash_value, keccak256};
use adyton_protocol::jwt::verify_es256k;
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_protocol::{consent, did_registry};
use serde_json::Value;

use super::{
    account, account_of, array, bytes, canonical, context, did, list, load, optional_list, text,
};
use crate::account::Account;
use crate::keyring::Keyring;

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
