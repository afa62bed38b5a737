//! Every text that a user's key signs towards nodes, verbatim (`spec/protocol.md` §§5.1, 6.4, 9, 10.3, 19.3).
//!
//! These are protocol constants. The key signs nothing that is not made here (an allow-list: the
//! protocol has no domain separation, so a free choice of text would be an oracle).

use serde_json::{Value, json};

use crate::address::Address;
use crate::canonical_json::{self, NotCanonical};
use crate::context::{ContextHash, ContextName};
use crate::database::DatabaseName;
use crate::did::Did;
use crate::hash::keccak256;

/// A text made by this module, ready to be signed or checked.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsentText(String);

impl ConsentText {
    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest that is signed. No consent text looks like hex, so it is the hash of its UTF-8.
    pub fn digest(&self) -> [u8; 32] {
        keccak256(self.0.as_bytes())
    }
}

/// Unlocks a context: the signature over this text is the seed of all its keys.
pub fn unlock(did: &Did, context: &ContextName) -> ConsentText {
    ConsentText(format!(
        "Do you wish to unlock this storage context: \"{context}\"?\n\n{}",
        did.lowercase()
    ))
}

/// Logs in to a storage node.
pub fn authenticate(did: &Did, context: &ContextName, auth_request_id: &str) -> ConsentText {
    ConsentText(format!(
        "Authenticate this application context: \"{context}\"?\n\n{}\n{auth_request_id}",
        did.lowercase()
    ))
}

/// Ends the tokens of one device on a storage node.
pub fn invalidate_device(did: &Did, context: &ContextName, device_id: &str) -> ConsentText {
    ConsentText(format!(
        "Invalidate device for this application context: \"{context}\"?\n\n{}\n{device_id}",
        did.lowercase()
    ))
}

/// Deletes a context with all its databases from a storage node. `server` has no trailing slash.
pub fn destroy_context(
    did: &Did,
    context: &ContextName,
    server: &str,
    timestamp: u64,
) -> ConsentText {
    ConsentText(format!(
        "Delete context ({context}) from server: \"{server}\"?\n\n{}\n{timestamp}",
        did.lowercase()
    ))
}

/// Asks a storage node for the name behind a context hash. `server` has no trailing slash.
pub fn context_hash_lookup(
    did: &Did,
    hash: &ContextHash,
    server: &str,
    timestamp: u64,
) -> ConsentText {
    ConsentText(format!(
        "Obtain context hash ({hash}) for server: \"{server}\"?\n\n{}\n{timestamp}",
        did.lowercase()
    ))
}

/// Deletes a DID document from a storage node. `minutes` is the Unix time in minutes, rounded.
pub fn delete_did_document(did: &Did, minutes: u64) -> ConsentText {
    ConsentText(format!(
        "Delete DID Document {} at {minutes}",
        did.lowercase()
    ))
}

/// Signs in to a notification server for a recipient.
pub fn notification(recipient: &Did, sender_context: &ContextName) -> ConsentText {
    ConsentText(format!(
        "Access the notification service using context: \"{sender_context}\"?\n\n{}",
        recipient.lowercase()
    ))
}

/// Makes the key of a database: the signature by the context's signing key is its pre-image.
pub fn own_database(name: &DatabaseName) -> ConsentText {
    ConsentText(format!("Authorized to own database: {name}"))
}

/// Allows an app what a request in the original's form says (`spec/user-data-api.md` §2.2). The request is JSON; a text that is not is
/// refused, so that this signs none of the other texts.
pub fn legacy_request(json: &str) -> Option<ConsentText> {
    let object: Option<serde_json::Map<String, Value>> = serde_json::from_str(json).ok();
    object.map(|_| ConsentText(json.to_owned()))
}

/// What a user answers to an app that asks for data: ours, not the original's.
#[derive(Debug, Clone, Copy)]
pub struct AppConsent<'c> {
    /// The id of the request.
    pub nonce: &'c str,
    /// The origin of the node.
    pub audience: &'c str,
    /// The app's `client_id`.
    pub client: &'c str,
    /// Where the answer goes.
    pub redirect_uri: &'c str,
    /// The terms, as JSON.
    pub terms: &'c Value,
    /// From when on it holds, in seconds since 1970.
    pub not_before: u64,
    /// Until when it can be handed in.
    pub not_after: u64,
}

/// Allows an app what the terms say, in answer to one request at one node: canonical JSON, which no other text here is.
pub fn app_consent(consent: &AppConsent<'_>) -> Result<ConsentText, NotCanonical> {
    let value = json!({
        "nonce": consent.nonce,
        "audience": consent.audience,
        "client": consent.client,
        "redirectUri": consent.redirect_uri,
        "terms": consent.terms,
        "notBefore": consent.not_before,
        "notAfter": consent.not_after,
    });
    canonical_json::to_string(&value).map(ConsentText)
}

/// States that a DID owns a context signing key: both addresses in lower case, nothing between.
pub fn context_proof(did: &Did, context_signer: &Address) -> ConsentText {
    ConsentText(format!(
        "{}{}",
        did.address().lowercase(),
        context_signer.lowercase()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `web/tests/keys.spec.ts` holds the browser to the same text.
    #[test]
    fn the_consent_to_an_app_is_canonical_json() {
        let terms = json!({ "scopes": ["ds:r:social-email"], "purpose": "Sort \"letters\" – ż", "expiresIn": 3600 });
        let text = app_consent(&AppConsent {
            nonce: "request-1",
            audience: "https://node.example",
            client: "https://app.example/client.json",
            redirect_uri: "https://app.example/back?a=b",
            terms: &terms,
            not_before: 1_763_900_000,
            not_after: 1_763_900_300,
        });
        assert_eq!(
            text.unwrap().as_str(),
            r#"{"audience":"https://node.example","client":"https://app.example/client.json","nonce":"request-1","notAfter":1763900300,"notBefore":1763900000,"redirectUri":"https://app.example/back?a=b","terms":{"expiresIn":3600,"purpose":"Sort \"letters\" – ż","scopes":["ds:r:social-email"]}}"#
        );
    }
}
