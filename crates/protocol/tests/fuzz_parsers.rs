//! Hostile bytes where names and messages are expected: an error, never a panic, and what is accepted is
//! printed so that it is accepted again.
#![allow(clippy::unwrap_used)]

use adyton_protocol::address::Address;
use adyton_protocol::context::ContextHash;
use adyton_protocol::context_config::{ContextConfig, normalise_url};
use adyton_protocol::database::{DatabaseHash, DatabaseName, Permissions};
use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;
use adyton_protocol::did_registry::parse_lookup_result;
use adyton_protocol::jwt::verify_es256k;
use adyton_protocol::record_signature::versionless_schema;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::Scope;
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_protocol::uri::RecordUri;

/// Every schema is known: the most permissive directory there can be.
struct Everything;

impl SchemaDirectory for Everything {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        DatabaseName::new(schema.as_str().replace("https://", "")).ok()
    }
}

#[test]
fn texts() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        if let Ok(did) = text.parse::<Did>() {
            assert_eq!(did.as_given().parse::<Did>().unwrap(), did);
            assert_eq!(
                did.lowercase().parse::<Did>().unwrap().address(),
                did.address()
            );
        }
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.checksummed().parse::<Address>().unwrap(), address);
        }
        if let Ok(hash) = text.parse::<ContextHash>() {
            assert_eq!(hash.to_string(), text.to_lowercase());
        }
        if let Ok(hash) = text.parse::<DatabaseHash>() {
            assert_eq!(hash.to_string(), text);
        }
        if let Ok(signature) = text.parse::<Signature>() {
            assert!(signature.to_string().parse::<Signature>().unwrap() == signature);
            let _: Result<_, _> = signature.recover([7; 32]);
        }
        if let Ok(uri) = RecordUri::parse(text) {
            let _: String = uri.to_base58();
        }
        if let Some(url) = normalise_url(text) {
            assert_eq!(normalise_url(&url).unwrap(), url);
        }
        let _: Result<_, _> = RecordUri::parse_base58(text);
        let _: Result<_, _> = text.parse::<PublicKey>();
        let _: String = versionless_schema(text);
    });
}

#[test]
fn scopes_and_schemas() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for text in [
            text.to_string(),
            format!("ds:{text}"),
            format!("db:r:{text}"),
            format!("ds:rw:base64/{text}"),
        ] {
            if let Ok(schema) = SchemaUri::parse_lenient(&text) {
                assert_eq!(
                    SchemaUri::parse_lenient(&schema.to_base64()).unwrap(),
                    schema
                );
            }
            if let Ok(scope) = Scope::parse(&text, &Everything) {
                assert_eq!(
                    Scope::parse(&scope.to_string(), &Everything).unwrap(),
                    scope
                );
            }
        }
    });
}

#[test]
fn registry_answers() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _: Result<_, _> = parse_lookup_result(bytes);
        // Deep enough that offsets and lengths are read.
        let mut data = vec![0; 96];
        data.extend_from_slice(bytes);
        let _: Result<_, _> = parse_lookup_result(&data);
    });
}

#[test]
fn documents_and_tokens() {
    let did: Did = "did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
        .parse()
        .unwrap();
    let key: PublicKey = "0271b45b3e212ec32d8e7bc6571752264444ce2fb73d2467821d15be39c6949adf"
        .parse()
        .unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(value) = serde_json::from_slice(bytes) {
            // Nobody has signed these bytes.
            assert!(DidDocument::verify(value, &did).is_err());
        }
        let _: Result<ContextConfig, _> = serde_json::from_slice(bytes);
        let _: Result<Permissions, _> = serde_json::from_slice(bytes);
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert!(verify_es256k(text, &key).is_err());
        }
    });
}
