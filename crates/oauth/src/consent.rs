//! What a user's context key signed: consent to a request of an app, in our form and in the original's.
//!
//! Both say who asked, what was allowed, when, and (ours always) at which node and for which one request, so that a signature that
//! somebody else gets to see is good for nothing else. Neither is a credential: approving takes the owner's session beside it.

use std::time::{Duration, SystemTime};

use adyton_protocol::address::Address;
use adyton_protocol::canonical_json;
use adyton_protocol::did::Did;
use adyton_protocol::hash::keccak256;
use adyton_protocol::signature::Signature;
use serde::Deserialize;
use serde_json::Value;

use crate::client_id::ClientId;
use crate::dpop::time;
use crate::origin::Origin;
use crate::redirect_uri::RedirectUri;
use crate::replay::OnceId;

/// Longest text, in bytes.
pub const MAX_CONSENT_BYTES: usize = 300 * 1024;
/// Longest time for which a consent can be used.
pub const MAX_VALIDITY: Duration = Duration::from_secs(15 * 60);
/// How far ahead of ours the user's clock may be.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);
/// How old a consent in the original's form may be (`spec/user-data-api.md` §2.3).
pub const LEGACY_MAX_AGE: Duration = Duration::from_secs(120);
/// Longest nonce.
const MAX_NONCE: usize = 128;

/// The text is no consent to this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConsent {
    /// It is longer than [`MAX_CONSENT_BYTES`].
    #[error("the consent is too long")]
    TooLong,
    /// Not the JSON that a consent is, members missing or too many.
    #[error("the consent is not a JSON object with exactly the members of a consent")]
    Malformed,
    /// Another text for the same consent would have another signature.
    #[error("the consent is not written canonically: members sorted, no spaces")]
    NotCanonical,
    /// The signature is not by the user's context key.
    #[error("the consent was not signed by the key of the user's context")]
    Signature,
    /// It answers another request.
    #[error("the consent answers another request")]
    OtherRequest,
    /// It was given to another node.
    #[error("the consent is for another node")]
    OtherNode,
    /// It names another app.
    #[error("the consent names another app")]
    OtherClient,
    /// It leads elsewhere.
    #[error("the consent names another redirect URI")]
    OtherRedirect,
    /// It is somebody else's.
    #[error("the consent is of another user")]
    OtherUser,
    /// Its time has not come.
    #[error("the consent is from the future")]
    Early,
    /// Its time is over.
    #[error("the consent is too old")]
    Late,
    /// It would hold for too long.
    #[error("a consent holds for a quarter of an hour at most")]
    TooLasting,
    /// The payer is neither app nor user.
    #[error("the payer must be app or user")]
    Payer,
}

/// A consent in our form, whose signature and circumstances were checked. What it allows is still to be held against the
/// request: [`crate::approval::Requested::narrow`].
#[derive(Debug)]
pub struct Consent {
    terms: Value,
}

/// What a consent must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// The id of the request.
    pub nonce: &'e str,
    /// The node.
    pub audience: &'e Origin,
    /// The app.
    pub client: &'e ClientId,
    /// Where the answer goes.
    pub redirect_uri: &'e RedirectUri,
    /// The address of the user's context key.
    pub signer: &'e Address,
    /// The time.
    pub now: SystemTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    nonce: String,
    audience: String,
    client: String,
    redirect_uri: String,
    terms: Value,
    /// Seconds since 1970, both.
    not_before: u64,
    not_after: u64,
}

impl Consent {
    /// Checks a consent.
    pub fn verify(
        text: &str,
        signature: &Signature,
        expected: &Expected<'_>,
    ) -> Result<Self, InvalidConsent> {
        let wire = read(text)?;
        signed(text, signature, expected.signer)?;
        if wire.nonce != expected.nonce {
            return Err(InvalidConsent::OtherRequest);
        }
        if wire.audience != expected.audience.as_str() {
            return Err(InvalidConsent::OtherNode);
        }
        if wire.client != expected.client.as_str() {
            return Err(InvalidConsent::OtherClient);
        }
        if wire.redirect_uri != expected.redirect_uri.as_str() {
            return Err(InvalidConsent::OtherRedirect);
        }
        let moment = |seconds: u64| time(seconds as f64).ok_or(InvalidConsent::Malformed);
        let (from, until) = (moment(wire.not_before)?, moment(wire.not_after)?);
        if from > expected.now + MAX_AHEAD {
            return Err(InvalidConsent::Early);
        }
        if until <= expected.now {
            return Err(InvalidConsent::Late);
        }
        if until > from + MAX_VALIDITY {
            return Err(InvalidConsent::TooLasting);
        }
        Ok(Self { terms: wire.terms })
    }

    /// The terms, to be parsed by the one parser of terms.
    pub fn terms(&self) -> &Value {
        &self.terms
    }
}

fn read(text: &str) -> Result<Wire, InvalidConsent> {
    if text.len() > MAX_CONSENT_BYTES {
        return Err(InvalidConsent::TooLong);
    }
    let value: Value = serde_json::from_str(text).map_err(|_| InvalidConsent::Malformed)?;
    let canonical = canonical_json::to_string(&value);
    if canonical.as_deref() != Ok(text) {
        return Err(InvalidConsent::NotCanonical);
    }
    serde_json::from_value(value).map_err(|_| InvalidConsent::Malformed)
}

fn signed(text: &str, signature: &Signature, signer: &Address) -> Result<(), InvalidConsent> {
    // A consent is an object in JSON and looks like no hex: its digest is the hash of its UTF-8 (`spec/protocol.md` §3.3).
    signature
        .verify(keccak256(text.as_bytes()), signer)
        .map(|_key| ())
        .map_err(|_| InvalidConsent::Signature)
}

/// A consent in the form of the original (`spec/user-data-api.md` §2.2), checked as far as it can be.
#[derive(Debug)]
pub struct LegacyConsent {
    scopes: Vec<String>,
    once: OnceId,
    until: SystemTime,
}

/// What a consent in the original's form must say.
#[derive(Debug, Clone, Copy)]
pub struct LegacyExpected<'e> {
    /// The user.
    pub user: &'e Did,
    /// The address of the user's context key.
    pub signer: &'e Address,
    /// The app that the request names.
    pub client: &'e ClientId,
    /// The node, if the consent names one.
    pub audience: &'e Origin,
    /// Where the answer goes, if the consent says it.
    pub redirect_uri: &'e str,
    /// The time.
    pub now: SystemTime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegacyWire {
    #[serde(rename = "appDID")]
    app_did: String,
    #[serde(rename = "userDID")]
    user_did: String,
    scopes: Vec<String>,
    payer: String,
    timestamp: f64,
    nonce: Option<String>,
    audience: Option<String>,
    #[serde(rename = "redirectUri")]
    redirect_uri: Option<String>,
}

impl LegacyConsent {
    /// Checks a consent. The original looks at the past alone and lets the future in (defect 12); here both ends hold, and the
    /// digest of the text is good once.
    pub fn verify(
        text: &str,
        signature: &Signature,
        expected: &LegacyExpected<'_>,
    ) -> Result<Self, InvalidConsent> {
        if text.len() > MAX_CONSENT_BYTES {
            return Err(InvalidConsent::TooLong);
        }
        let wire: LegacyWire = serde_json::from_str(text).map_err(|_| InvalidConsent::Malformed)?;
        signed(text, signature, expected.signer)?;
        if wire.user_did.parse::<Did>().as_ref() != Ok(expected.user) {
            return Err(InvalidConsent::OtherUser);
        }
        if ClientId::parse(&wire.app_did).as_ref() != Ok(expected.client) {
            return Err(InvalidConsent::OtherClient);
        }
        if !matches!(wire.payer.as_str(), "app" | "user") {
            return Err(InvalidConsent::Payer);
        }
        if wire.nonce.is_some_and(|nonce| nonce.len() > MAX_NONCE) {
            return Err(InvalidConsent::Malformed);
        }
        if wire
            .audience
            .is_some_and(|to| to != expected.audience.as_str())
        {
            return Err(InvalidConsent::OtherNode);
        }
        if wire
            .redirect_uri
            .is_some_and(|to| to != expected.redirect_uri)
        {
            return Err(InvalidConsent::OtherRedirect);
        }
        let signed_at = time(wire.timestamp).ok_or(InvalidConsent::Malformed)?;
        if signed_at > expected.now + MAX_AHEAD {
            return Err(InvalidConsent::Early);
        }
        let until = signed_at + LEGACY_MAX_AGE;
        if until < expected.now {
            return Err(InvalidConsent::Late);
        }
        Ok(Self {
            scopes: wire.scopes,
            once: OnceId::of(&[b"legacy consent", &keccak256(text.as_bytes())]),
            until,
        })
    }

    /// The scopes, to be parsed by the one parser of scopes.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// What may be used once, and until when it could be used again.
    pub fn once(&self) -> (OnceId, SystemTime) {
        (self.once, self.until)
    }
}
