//! Any bytes as a client metadata document: read or refused, never a panic; what is read can be shown and answered.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata::{self, MAX_REDIRECT_URIS};
use adyton_oauth::client_name::{ClientName, MAX_NAME_CHARS};
use adyton_oauth::redirect_uri::RedirectUri;

fn check(bytes: &[u8]) {
    let Ok(ClientId::Document(url)) = ClientId::parse("https://app.example/c") else {
        panic!()
    };
    if let Ok(client) = client_metadata::parse(&url, bytes) {
        assert!((1..=MAX_REDIRECT_URIS).contains(&client.redirect_uris().len()));
        assert_eq!(client.id().as_str(), "https://app.example/c");
        for uri in client.redirect_uris() {
            assert_eq!(RedirectUri::parse(uri.as_str()).as_ref(), Ok(uri));
        }
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = ClientName::parse(&text) {
        let name = name.as_str();
        assert!(name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(char::is_control));
        assert!(!name.contains(['<', '>', '"', '\u{202e}']));
    }
    if let Ok(uri) = RedirectUri::parse(&text) {
        let answered = uri.with([("code", "a b&c"), ("state", "#")]);
        assert!(answered.ends_with("code=a%20b%26c&state=%23"), "{answered}");
        assert!(!answered.contains('#'));
    }
    if let Ok(id) = ClientId::parse(&text) {
        assert_eq!(ClientId::parse(id.as_str()), Ok(id));
    }
}

#[test]
fn any_bytes_as_a_client_metadata_document() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        r#"{"client_id":"https://app.example/c","client_name":"Notes","redirect_uris":["https://app.example/b"]}"#,
        r#"{"client_id":"https://app.example/c","redirect_uris":["com.example.app:/b"],"jwks":{"keys":[]}}"#,
        "https://app.example/b?",
        "https://app.example/b?a&",
        "http://[::1]:9/b",
        "did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a?x=y",
        "Ab\u{301}c",
        "",
    ] {
        check(seed.as_bytes());
    }
}
