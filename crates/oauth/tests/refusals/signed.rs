use adyton_oauth::client::Client;
use adyton_oauth::did_signature::{ASSERTION_TYPE, Assertion, SignedRequest, authenticate};
use adyton_oauth::form::Parameters;
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_oauth::refused::Refused;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::signature::{PublicKey, Signature};
use base64_simd::URL_SAFE_NO_PAD;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Case, NOW, authorization, case, now, origin};

pub struct Signer(SecretKey);

impl Signer {
    pub fn new(seed: u8) -> Self {
        Self(SecretKey::from_secret_bytes([seed; 32]).unwrap())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&self.0))
    }

    pub fn did(&self) -> Did {
        Did::of_account(Anchor::Polpos, self.public().address())
    }

    pub fn sign(&self, digest: [u8; 32]) -> Signature {
        let message = Message::from_digest(digest);
        Signature::from_recoverable(RecoverableSignature::sign_ecdsa_recoverable(
            message, &self.0,
        ))
    }

    fn jwt(&self, header: &Value, claims: &Value) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
        let (header, claims) = (header.to_string(), claims.to_string());
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = self
            .sign(Sha256::digest(signed.as_bytes()).into())
            .to_bytes();
        format!("{signed}.{}", encode(&signature[..64]))
    }
}

fn assertion_claims(did: &Did) -> Value {
    json!({
        "iss": did.as_given(), "sub": did.as_given(), "aud": "https://node.example",
        "jti": "1", "iat": NOW, "exp": NOW + 300,
    })
}

fn assert_client(text: &str, kind: Option<&str>, did: &Did) -> Result<Option<Assertion>, Refused> {
    let uri = RedirectUri::parse("https://app.example/back").unwrap();
    let client = Client::of_did(did, vec![uri]);
    let pairs = [
        ("client_assertion", Some(text)),
        ("client_assertion_type", kind),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let parameters = Parameters::of_pairs(pairs).unwrap();
    authenticate(&parameters, &client, &origin(), now())
}

fn assertion(says: &'static str, member: &str, value: Value, reason: &str) -> Case {
    let signer = Signer::new(1);
    let mut claims = assertion_claims(&signer.did());
    claims[member] = value;
    let text = signer.jwt(&json!({ "alg": "ES256K" }), &claims);
    case(
        says,
        assert_client(&text, Some(ASSERTION_TYPE), &signer.did()),
        reason,
    )
}

fn request_claims(did: &Did) -> Value {
    json!({
        "iss": did.as_given(), "client_id": did.as_given(), "aud": "https://node.example",
        "jti": "1", "exp": NOW + 300, "redirect_uri": "https://app.example/back",
        "response_type": "code", "scope": "api:ds-query",
        "authorization_details": [{ "type": "adyton_terms", "expiresIn": 60 }],
        "resource": ["https://node.example"],
    })
}

fn request(says: &'static str, member: &str, value: Value, reason: &str) -> Case {
    let signer = Signer::new(1);
    let mut claims = request_claims(&signer.did());
    claims[member] = value;
    let header = json!({ "alg": "ES256K", "typ": "oauth-authz-req+jwt" });
    let text = signer.jwt(&header, &claims);
    case(
        says,
        SignedRequest::verify(&text, &signer.did(), &origin(), now()),
        reason,
    )
}

fn request_header(says: &'static str, header: &Value, reason: &str) -> Case {
    let signer = Signer::new(1);
    let text = signer.jwt(header, &request_claims(&signer.did()));
    case(
        says,
        SignedRequest::verify(&text, &signer.did(), &origin(), now()),
        reason,
    )
}

fn public(says: &'static str, pairs: &[(&str, &str)], reason: &str) -> Case {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let parameters = Parameters::of_pairs(pairs).unwrap();
    let client = authorization::client();
    case(
        says,
        authenticate(&parameters, &client, &origin(), now()),
        reason,
    )
}

pub fn cases() -> Vec<Case> {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let did = signer.did();
    let plain = json!({ "alg": "ES256K" });
    let typed = json!({ "alg": "ES256K", "typ": "oauth-authz-req+jwt" });
    let good = signer.jwt(&plain, &assertion_claims(&did));
    assert!(
        assert_client(&good, Some(ASSERTION_TYPE), &did)
            .unwrap()
            .is_some()
    );
    let asked = signer.jwt(&typed, &request_claims(&did));
    let verified = SignedRequest::verify(&asked, &did, &origin(), now()).unwrap();
    assert_eq!(
        verified.parameters.one("redirect_uri"),
        Some("https://app.example/back")
    );
    assert!(
        verified
            .parameters
            .one("authorization_details")
            .unwrap()
            .starts_with("[{")
    );
    assert_eq!(verified.parameters.resources(), ["https://node.example"]);
    assert!(verified.parameters.one("iss").is_none());

    let forged = other.jwt(&plain, &assertion_claims(&did));
    let forged_request = other.jwt(&typed, &request_claims(&did));
    let mut both = assertion_claims(&did);
    for (name, value) in request_claims(&did).as_object().unwrap() {
        both[name] = value.clone();
    }
    let as_request = signer.jwt(&typed, &both);
    let as_assertion = signer.jwt(&plain, &both);
    let not_by_key = "client_assertion was not signed by the client's key";
    let must_sign = "the client must sign a client_assertion";
    let kind = "client_assertion_type must be the jwt-bearer of RFC 7523";
    let for_us = "aud must be the issuer of this node, and nobody else";
    let names = "iss and sub of client_assertion must be the client_id";
    let type_of_request = "request has another type than oauth-authz-req+jwt";
    vec![
        case(
            "a DID that signs nothing",
            assert_client("", Some(ASSERTION_TYPE), &did),
            must_sign,
        ),
        case(
            "an assertion without its type",
            assert_client(&good, None, &did),
            kind,
        ),
        case(
            "an assertion of another type",
            assert_client(
                &good,
                Some("urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
                &did,
            ),
            kind,
        ),
        case(
            "an assertion that somebody else signed",
            assert_client(&forged, Some(ASSERTION_TYPE), &did),
            not_by_key,
        ),
        case(
            "somebody else's assertion",
            assert_client(&good, Some(ASSERTION_TYPE), &other.did()),
            not_by_key,
        ),
        case(
            "an assertion that is no JWT",
            assert_client("x.y", Some(ASSERTION_TYPE), &did),
            "client_assertion is not a signed JWT",
        ),
        case(
            "a signed request that passes for an assertion",
            assert_client(&as_request, Some(ASSERTION_TYPE), &did),
            "client_assertion is a JWT of another type",
        ),
        assertion("an assertion without a signer", "iss", Value::Null, names),
        assertion(
            "an assertion about somebody else",
            "sub",
            json!(other.did().as_given()),
            names,
        ),
        assertion(
            "an assertion by somebody else's name",
            "iss",
            json!(other.did().as_given()),
            names,
        ),
        assertion("an assertion for nobody", "aud", Value::Null, for_us),
        assertion(
            "an assertion for another node",
            "aud",
            json!("https://evil.example"),
            for_us,
        ),
        assertion(
            "an assertion for us and another node",
            "aud",
            json!(["https://node.example", "https://evil.example"]),
            for_us,
        ),
        assertion(
            "an assertion without an end",
            "exp",
            Value::Null,
            "exp is needed",
        ),
        assertion(
            "an assertion that has ended",
            "exp",
            json!(NOW),
            "the JWT has expired",
        ),
        assertion(
            "an assertion of eleven minutes",
            "exp",
            json!(NOW + 660),
            "exp may be at most ten minutes ahead",
        ),
        assertion(
            "an assertion made in the future",
            "iat",
            json!(NOW + 61),
            "the JWT is from the future",
        ),
        assertion(
            "an assertion that is not valid yet",
            "nbf",
            json!(NOW + 61),
            "the JWT is from the future",
        ),
        assertion(
            "an assertion without an id",
            "jti",
            Value::Null,
            "jti is needed",
        ),
        assertion(
            "an assertion with an endless id",
            "jti",
            json!("x".repeat(129)),
            "jti has 1 to 128 bytes",
        ),
        assertion(
            "an assertion with a text for a time",
            "exp",
            json!("soon"),
            "client_assertion has claims of the wrong types",
        ),
        public(
            "a secret from a public client",
            &[("client_secret", "x")],
            "clients of this node have no secrets",
        ),
        public(
            "an assertion from a client without a key",
            &[
                ("client_assertion", "a.b.c"),
                ("client_assertion_type", ASSERTION_TYPE),
            ],
            "the client's document names no key",
        ),
        case(
            "a request that somebody else signed",
            SignedRequest::verify(&forged_request, &did, &origin(), now()),
            "request was not signed by the key of the DID",
        ),
        case(
            "an assertion that passes for a request",
            SignedRequest::verify(&as_assertion, &did, &origin(), now()),
            type_of_request,
        ),
        case(
            "a request that is no JWT",
            SignedRequest::verify("e30", &did, &origin(), now()),
            "request is not a signed JWT",
        ),
        request_header(
            "a request of another type",
            &json!({ "alg": "ES256K", "typ": "JWT" }),
            type_of_request,
        ),
        request_header(
            "a request without a signature",
            &json!({ "alg": "none", "typ": "oauth-authz-req+jwt" }),
            "request was not signed by the key of the DID",
        ),
        request_header(
            "a request with another algorithm",
            &json!({ "alg": "ES256", "typ": "oauth-authz-req+jwt" }),
            "request was not signed by the key of the DID",
        ),
        request_header(
            "a request with an extension that must be understood",
            &json!({ "alg": "ES256K", "typ": "oauth-authz-req+jwt", "crit": ["b64"], "b64": false }),
            "request is not a signed JWT",
        ),
        request(
            "a request in another's name",
            "iss",
            json!(other.did().as_given()),
            "iss and client_id of request must be the DID",
        ),
        request(
            "a request of another client in it",
            "client_id",
            json!(other.did().as_given()),
            "iss and client_id of request must be the DID",
        ),
        request(
            "a request that could be an assertion",
            "sub",
            json!(did.as_given()),
            "request must not have sub",
        ),
        request(
            "a request for another node",
            "aud",
            json!("https://evil.example"),
            for_us,
        ),
        request(
            "a request without an end",
            "exp",
            Value::Null,
            "exp is needed",
        ),
        request(
            "a request that has ended",
            "exp",
            json!(NOW - 1),
            "the JWT has expired",
        ),
        request(
            "a request without an id",
            "jti",
            Value::Null,
            "jti is needed",
        ),
        request(
            "a request within a request",
            "request",
            json!("x"),
            "request must not contain another request",
        ),
        request(
            "a request that names another one",
            "request_uri",
            json!("https://app.example/r"),
            "request must not contain another request",
        ),
        request(
            "a request with a number for a parameter",
            "scope",
            json!(7),
            "the parameters in request must be texts",
        ),
        request(
            "a request with a number for a resource",
            "resource",
            json!([7]),
            "resource must be texts",
        ),
        request(
            "a request with a control character",
            "state",
            json!("a\u{0}b"),
            "a parameter has a control character",
        ),
    ]
}
