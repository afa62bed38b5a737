use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata::{self, MAX_DOCUMENT_BYTES, MAX_REDIRECT_URIS};
use serde_json::{Value, json};

use crate::{Case, case};

const URL: &str = "https://app.example/client.json";

fn document() -> Value {
    json!({
        "client_id": URL, "client_name": "Notes", "redirect_uris": ["https://app.example/back"],
        "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "logo_uri": "https://app.example/logo.png", "tos_uri": null,
    })
}

fn read(says: &'static str, bytes: &[u8], refusal: &str) -> Case {
    let Ok(ClientId::Document(url)) = ClientId::parse(URL) else {
        panic!("{URL}")
    };
    let read = client_metadata::parse(&url, bytes).map_err(|error| format!("{error:?}"));
    case(says, read, refusal)
}

/// The document with one member changed; null takes it away.
fn with(says: &'static str, member: &str, value: Value, refusal: &str) -> Case {
    let mut document = document();
    document[member] = value;
    read(says, document.to_string().as_bytes(), refusal)
}

pub fn cases() -> Vec<Case> {
    let Ok(ClientId::Document(url)) = ClientId::parse(URL) else {
        panic!("{URL}")
    };
    let client = client_metadata::parse(&url, document().to_string().as_bytes()).unwrap();
    assert_eq!(
        (client.name(), client.host()),
        (Some("Notes"), Some("app.example"))
    );
    let key = json!({ "kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43) });
    let mut private = key.clone();
    private["d"] = json!("A".repeat(43));
    let mut encryption = key.clone();
    encryption["use"] = json!("enc");
    let with_keys = |says, keys: Value, refusal| {
        let mut document = document();
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        document["jwks"] = json!({ "keys": keys });
        read(says, document.to_string().as_bytes(), refusal)
    };
    let many = vec!["https://app.example/back"; MAX_REDIRECT_URIS + 1];
    let twice = document()
        .to_string()
        .replacen('{', &format!("{{\"client_id\":\"{URL}\","), 1);
    let long = document().to_string() + &" ".repeat(MAX_DOCUMENT_BYTES);
    vec![
        read("a document that is not JSON", b"<html>", "Malformed"),
        read("a document that is a list", b"[]", "Malformed"),
        read("an empty document", b"", "Malformed"),
        read(
            "a document with a member twice",
            twice.as_bytes(),
            "Malformed",
        ),
        read("a document one byte too long", long.as_bytes(), "TooLong"),
        with(
            "a document without client_id",
            "client_id",
            Value::Null,
            "Malformed",
        ),
        with(
            "a document of another client",
            "client_id",
            json!("https://bank.example/c"),
            "OtherClient",
        ),
        with(
            "a document with another spelling of its client",
            "client_id",
            json!("https://APP.example/client.json"),
            "OtherClient",
        ),
        with(
            "a document with a number for a name",
            "client_name",
            json!(7),
            "Malformed",
        ),
        with(
            "a document with a name that fools",
            "client_name",
            json!("Bаnk"),
            "Name(MixedAlphabets)",
        ),
        with(
            "a document without redirect URIs",
            "redirect_uris",
            Value::Null,
            "Malformed",
        ),
        with(
            "a document with an empty list of redirect URIs",
            "redirect_uris",
            json!([]),
            "RedirectUris",
        ),
        with(
            "a document with one redirect URI too many",
            "redirect_uris",
            json!(many),
            "RedirectUris",
        ),
        with(
            "a document with a text for redirect URIs",
            "redirect_uris",
            json!("https://app.example/back"),
            "Malformed",
        ),
        with(
            "a document with one bad redirect URI among good ones",
            "redirect_uris",
            json!(["https://app.example/back", "javascript:x"]),
            "RedirectUri(Scheme)",
        ),
        with(
            "a document with a wildcard for a redirect URI",
            "redirect_uris",
            json!(["https://*"]),
            "RedirectUri(Syntax)",
        ),
        with(
            "a document with a shared secret",
            "client_secret",
            json!("x"),
            "SharedSecret",
        ),
        with(
            "a document with the end of a secret",
            "client_secret_expires_at",
            json!(0),
            "SharedSecret",
        ),
        with(
            "a document that authenticates with a secret in the body",
            "token_endpoint_auth_method",
            json!("client_secret_post"),
            "Authentication",
        ),
        with(
            "a document that authenticates with a secret in a header",
            "token_endpoint_auth_method",
            json!("client_secret_basic"),
            "Authentication",
        ),
        with(
            "a document that authenticates with a certificate",
            "token_endpoint_auth_method",
            json!("tls_client_auth"),
            "Authentication",
        ),
        with(
            "a document that signs without a key",
            "token_endpoint_auth_method",
            json!("private_key_jwt"),
            "Keys",
        ),
        with(
            "a document that does not use codes",
            "grant_types",
            json!(["implicit"]),
            "GrantTypes",
        ),
        with(
            "a document that wants tokens in the redirect",
            "response_types",
            json!(["token"]),
            "GrantTypes",
        ),
        with(
            "a document with a word for a setting",
            "dpop_bound_access_tokens",
            json!("yes"),
            "Malformed",
        ),
        with_keys("a document with an empty list of keys", json!([]), "Keys"),
        with_keys("a document with too many keys", json!(vec![key; 9]), "Keys"),
        with_keys(
            "a document with a private key in it",
            json!([private]),
            "Malformed",
        ),
        with_keys(
            "a document with a key for encryption",
            json!([encryption]),
            "Malformed",
        ),
        with_keys(
            "a document with an RSA key",
            json!([{ "kty": "RSA", "n": "AQ", "e": "AQAB" }]),
            "Malformed",
        ),
        with_keys(
            "a document with a shared key",
            json!([{ "kty": "oct", "k": "AQ" }]),
            "Malformed",
        ),
    ]
}
