//! JWTs by which an app proves who it is: signed by the key of its DID, or by a key that its document names.
//!
//! A `did:vda` contains the address of its controller's key, and the signature tells which key made it: nothing has to be looked
//! up, and no document that somebody serves can lie about it.

use std::time::{Duration, SystemTime};

use adyton_protocol::did::Did;
use adyton_protocol::signature::Signature;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::{Client, ClientAuthentication};
use crate::dpop::time;
use crate::form::Parameters;
use crate::jwk::Algorithm;
use crate::jws::Jws;
use crate::origin::Origin;
use crate::refused::{ErrorCode, Refused};
use crate::replay::OnceId;

/// Longest JWT, in bytes.
pub const MAX_JWT_BYTES: usize = 32 * 1024;
/// Longest life of one.
pub const MAX_LIFE: Duration = Duration::from_secs(600);
/// How far ahead of ours the client's clock may be.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Longest `jti`.
const MAX_ID: usize = 128;
/// The `client_assertion_type` of RFC 7523.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The type of a signed request (RFC 9101 section 10.8).
const REQUEST_TYPE: &str = "oauth-authz-req+jwt";

/// A statement that its signer is this client, made for this node. To be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assertion {
    once: OnceId,
    until: SystemTime,
}

impl Assertion {
    /// What may be used once, and until when it could be used again.
    pub fn once(&self) -> (OnceId, SystemTime) {
        (self.once, self.until)
    }

    /// The refusal of a second use.
    pub const USED: Refused = Refused::new(
        ErrorCode::InvalidClient,
        "the client's assertion was used before",
    );
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Value>,
    exp: Option<f64>,
    iat: Option<f64>,
    nbf: Option<f64>,
    jti: Option<String>,
}

/// Checks that the client of a token request, or of a pushed request, is the one that it says (RFC 7523 section 3).
pub fn authenticate(
    parameters: &Parameters,
    client: &Client,
    origin: &Origin,
    now: SystemTime,
) -> Result<Option<Assertion>, Refused> {
    let refused = |reason| Refused::new(ErrorCode::InvalidClient, reason);
    if parameters.one("client_secret").is_some() {
        return Err(refused("clients of this node have no secrets"));
    }
    let assertion = parameters.one("client_assertion");
    let kind = parameters.one("client_assertion_type");
    let text = match (client.authentication(), assertion, kind) {
        (ClientAuthentication::PublicClient, None, None) => return Ok(None),
        (ClientAuthentication::PublicClient, _, _) => {
            return Err(refused("the client's document names no key"));
        }
        (_, Some(text), Some(ASSERTION_TYPE)) => text,
        (_, None, _) => return Err(refused("the client must sign a client_assertion")),
        (_, Some(_), _) => {
            return Err(refused(
                "client_assertion_type must be the jwt-bearer of RFC 7523",
            ));
        }
    };
    let jws = Jws::parse(text, MAX_JWT_BYTES)
        .map_err(|_| refused("client_assertion is not a signed JWT"))?;
    if jws
        .header()
        .typ
        .as_deref()
        .is_some_and(|typ| typ.eq_ignore_ascii_case(REQUEST_TYPE))
    {
        return Err(refused("client_assertion is a JWT of another type"));
    }
    if !signed_by(&jws, client.authentication()) {
        return Err(refused(
            "client_assertion was not signed by the client's key",
        ));
    }
    let claims: Claims = jws
        .unverified_payload()
        .map_err(|_| refused("client_assertion has claims of the wrong types"))?;
    let id = client.id().as_str();
    if claims.iss.as_deref() != Some(id) || claims.sub.as_deref() != Some(id) {
        return Err(refused(
            "iss and sub of client_assertion must be the client_id",
        ));
    }
    checked(&claims, origin, now).map(Some).map_err(refused)
}

/// A request whose parameters are claims that the key of a DID signed (RFC 9101), among them the redirect URI: the DID's
/// controller says itself where it may be answered.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// The parameters. Those beside the signed ones count for nothing.
    pub parameters: Parameters,
    /// To be used once.
    pub assertion: Assertion,
}

impl SignedRequest {
    /// Checks a signed request of this DID.
    pub fn verify(
        text: &str,
        did: &Did,
        origin: &Origin,
        now: SystemTime,
    ) -> Result<Self, Refused> {
        let refused = |reason| Refused::new(ErrorCode::InvalidRequestObject, reason);
        let jws =
            Jws::parse(text, MAX_JWT_BYTES).map_err(|_| refused("request is not a signed JWT"))?;
        if jws.header().typ.as_deref() != Some(REQUEST_TYPE) {
            return Err(refused("request has another type than oauth-authz-req+jwt"));
        }
        if !signed_by(&jws, &ClientAuthentication::Did(did.clone())) {
            return Err(refused("request was not signed by the key of the DID"));
        }
        let unread = |_| refused("request has claims of the wrong types");
        let claims: Claims = jws.unverified_payload().map_err(unread)?;
        let members: Map<String, Value> = jws.unverified_payload().map_err(unread)?;
        let is_client = |text: Option<&str>| {
            text.and_then(|text| text.parse::<Did>().ok()).as_ref() == Some(did)
        };
        let named = members.get("client_id").and_then(Value::as_str);
        if !is_client(claims.iss.as_deref()) || !is_client(named) {
            return Err(refused("iss and client_id of request must be the DID"));
        }
        // A request must not pass for an assertion (RFC 9101 section 10.8).
        if claims.sub.is_some() {
            return Err(refused("request must not have sub"));
        }
        let assertion = checked(&claims, origin, now).map_err(refused)?;
        let mut pairs = Vec::new();
        for (name, value) in members {
            match (name.as_str(), value) {
                ("iss" | "aud" | "exp" | "iat" | "nbf" | "jti", _) => {}
                ("request" | "request_uri", _) => {
                    return Err(refused("request must not contain another request"));
                }
                (_, Value::String(text)) => pairs.push((name, text)),
                ("authorization_details", list @ Value::Array(_)) => {
                    pairs.push((name, list.to_string()));
                }
                ("resource", Value::Array(list)) => {
                    for item in list {
                        let Value::String(text) = item else {
                            return Err(refused("resource must be texts"));
                        };
                        pairs.push((name.clone(), text));
                    }
                }
                _ => return Err(refused("the parameters in request must be texts")),
            }
        }
        Ok(Self {
            parameters: Parameters::of_pairs(pairs)?,
            assertion,
        })
    }
}

fn checked(claims: &Claims, origin: &Origin, now: SystemTime) -> Result<Assertion, &'static str> {
    let for_us = match &claims.aud {
        Some(Value::String(one)) => one == origin.as_str(),
        Some(Value::Array(list)) => {
            matches!(list.as_slice(), [Value::String(one)] if one == origin.as_str())
        }
        _ => false,
    };
    if !for_us {
        return Err("aud must be the issuer of this node, and nobody else");
    }
    let until = claims.exp.and_then(time).ok_or("exp is needed")?;
    if until <= now {
        return Err("the JWT has expired");
    }
    if until > now + MAX_LIFE {
        return Err("exp may be at most ten minutes ahead");
    }
    for since in [claims.iat, claims.nbf].into_iter().flatten() {
        if time(since).is_none_or(|since| since > now + MAX_AHEAD) {
            return Err("the JWT is from the future");
        }
    }
    let id = claims.jti.as_deref().ok_or("jti is needed")?;
    if !(1..=MAX_ID).contains(&id.len()) {
        return Err("jti has 1 to 128 bytes");
    }
    let signer = claims.iss.as_deref().unwrap_or_default();
    Ok(Assertion {
        once: OnceId::of(&[
            b"jwt",
            signer.to_ascii_lowercase().as_bytes(),
            id.as_bytes(),
        ]),
        until,
    })
}

fn signed_by(jws: &Jws<'_>, authentication: &ClientAuthentication) -> bool {
    let alg = jws.header().alg.as_str();
    match authentication {
        ClientAuthentication::PublicClient => false,
        ClientAuthentication::Keys(keys) => keys.iter().any(|key| {
            Algorithm::named(alg) == Some(key.algorithm())
                && key.signed(jws.signed().as_bytes(), jws.signature())
        }),
        ClientAuthentication::Did(did) => {
            alg == "ES256K" && jws.signature().len() == 64 && by_controller(did, jws)
        }
    }
}

/// ES256K leaves out which of two keys made a signature; it was the controller's if one of them has its address.
fn by_controller(did: &Did, jws: &Jws<'_>) -> bool {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, jws.signed().as_bytes()).as_ref());
    [27, 28].into_iter().any(|parity| {
        let bytes = [jws.signature(), &[parity]].concat();
        Signature::from_bytes(&bytes)
            .is_ok_and(|signature| signature.verify(hash, &did.address()).is_ok())
    })
}
