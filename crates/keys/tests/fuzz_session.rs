//! Hostile bytes where a context session is expected: an error, never a panic.
#![allow(clippy::unwrap_used)]

use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::did::Anchor;

const VALID: &str = include_str!("../../../vectors/context_session.json");

#[test]
fn a_session_parser_survives_anything() {
    let file: serde_json::Value = serde_json::from_str(VALID).unwrap();
    let session = file["session"].to_string();
    bolero::check!().for_each(|bytes: &[u8]| {
        let _: Result<_, _> = ContextSession::parse_json(bytes);
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _: Result<_, _> = ContextSession::parse_api_key(text);
            let _: Result<_, _> = Account::from_secret_text(text, Anchor::Polamoy);
        }
        // A genuine session with foreign bytes in the middle.
        let at = bytes.len() * 7 % session.len();
        let mut mixed = session.clone().into_bytes();
        for (place, byte) in mixed.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
        if let Ok(parsed) = ContextSession::parse_json(&mixed) {
            // Whatever still parses still belongs to its DID.
            assert!(parsed.keyring().is_ok());
        }
    });
}
