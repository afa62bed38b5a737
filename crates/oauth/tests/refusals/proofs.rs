use std::time::Duration;

use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata;
use adyton_oauth::did_signature::{ASSERTION_TYPE, Assertion, authenticate};
use adyton_oauth::dpop::{DpopProof, Expected, MAX_PROOF_BYTES};
use adyton_oauth::form::Parameters;
use adyton_oauth::refused::Refused;
use adyton_oauth::replay::{OnceId, Replays};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64_simd::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::{Case, NOW, case, now, origin};

const TOKEN: &str = "adyt_token";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn jwk(&self) -> Value {
        match self {
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Self::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) })
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn jwt(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        format!("{signed}.{}", encode(self.sign(signed.as_bytes())))
    }
}

fn p256() -> Key {
    Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

fn header(key: &Key) -> Value {
    let alg = match key {
        Key::P256(_) => "ES256",
        Key::Ed25519(_) => "EdDSA",
    };
    json!({ "typ": "dpop+jwt", "alg": alg, "jwk": key.jwk() })
}

fn claims() -> Value {
    let ath = encode(digest(&SHA256, TOKEN.as_bytes()));
    json!({ "jti": "1", "htm": "POST", "htu": "https://node.example/oauth/token", "iat": NOW, "ath": ath })
}

fn verify(text: &str, access_token: Option<&str>) -> Result<DpopProof, Refused> {
    DpopProof::verify(
        text,
        &Expected {
            method: "POST",
            origin: &origin(),
            path: "/oauth/token",
            access_token,
            now: now(),
        },
    )
}

fn with_header(says: &'static str, member: &str, value: Value, reason: &str) -> Case {
    let key = p256();
    let mut header = header(&key);
    header[member] = value;
    case(
        says,
        verify(&key.jwt(&header, &claims()), Some(TOKEN)),
        reason,
    )
}

fn with_claim(says: &'static str, member: &str, value: Value, reason: &str) -> Case {
    let key = p256();
    let mut claims = claims();
    claims[member] = value;
    case(
        says,
        verify(&key.jwt(&header(&key), &claims), Some(TOKEN)),
        reason,
    )
}

fn text(says: &'static str, text: &str, reason: &str) -> Case {
    case(says, verify(text, Some(TOKEN)), reason)
}

/// A client whose document names this key asserts who it is.
fn asserted(named: &Key, text: &str) -> Result<Option<Assertion>, Refused> {
    let Ok(ClientId::Document(url)) = ClientId::parse(CLIENT) else {
        panic!("{CLIENT}")
    };
    let document = json!({
        "client_id": CLIENT, "redirect_uris": ["https://app.example/back"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [named.jwk()] },
    });
    let client = client_metadata::parse(&url, document.to_string().as_bytes()).unwrap();
    let pairs = [
        ("client_assertion", text),
        ("client_assertion_type", ASSERTION_TYPE),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let parameters = Parameters::of_pairs(pairs).unwrap();
    authenticate(&parameters, &client, &origin(), now())
}

const CLIENT: &str = "https://app.example/client.json";

fn keys() -> Vec<Case> {
    let claims = json!({
        "iss": CLIENT, "sub": CLIENT, "aud": "https://node.example", "jti": "1", "exp": NOW + 60,
    });
    let (p256, ed25519) = (p256(), Key::Ed25519(Ed25519KeyPair::generate().unwrap()));
    for (key, alg) in [(&p256, "ES256"), (&ed25519, "EdDSA")] {
        let text = key.jwt(&json!({ "alg": alg }), &claims);
        assert!(asserted(key, &text).unwrap().is_some());
    }
    let good = p256.jwt(&json!({ "alg": "ES256" }), &claims);
    let other_name = p256.jwt(&json!({ "alg": "ES256K" }), &claims);
    let reason = "client_assertion was not signed by the client's key";
    vec![
        case(
            "an assertion by a key that the document does not name",
            asserted(&ed25519, &good),
            reason,
        ),
        case(
            "an assertion that calls its algorithm another",
            asserted(&p256, &other_name),
            reason,
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut all = keys();
    all.extend(proofs());
    all
}

fn proofs() -> Vec<Case> {
    let ed25519 = Key::Ed25519(Ed25519KeyPair::generate().unwrap());
    for key in [p256(), ed25519] {
        let proof = verify(&key.jwt(&header(&key), &claims()), Some(TOKEN)).unwrap();
        let again = verify(&key.jwt(&header(&key), &claims()), None).unwrap();
        assert_eq!(proof.key(), again.key());
    }
    // Syntax of the target is normalised; query and fragment do not count (RFC 9449 section 4.3).
    for target in [
        "https://NODE.example:443/oauth/token",
        "https://node.example/oauth/token?a=b#c",
        "https://node.example/oauth/./token",
    ] {
        let (key, mut claims) = (p256(), claims());
        claims["htu"] = json!(target);
        assert!(
            verify(&key.jwt(&header(&key), &claims), Some(TOKEN)).is_ok(),
            "{target}"
        );
    }
    let key = p256();
    let good = key.jwt(&header(&key), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = p256().jwt(&header(&key), &claims());
    let unsigned = format!(
        "{}.{}.",
        encode(json!({"typ":"dpop+jwt","alg":"none","jwk":key.jwk()}).to_string()),
        encode(claims().to_string())
    );
    let mut private = key.jwk();
    private["d"] = json!("A".repeat(43));
    let edwards = json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43) });
    let secret = json!({ "kty": "oct", "k": "AQAB" });
    let off_curve =
        json!({ "kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43) });
    let twice = {
        let header = encode(header(&key).to_string());
        let claims = encode(format!(r#"{{"htm":"GET",{}"#, &claims().to_string()[1..]));
        let signed = format!("{header}.{claims}");
        format!("{signed}.{}", encode(key.sign(signed.as_bytes())))
    };
    let long = format!("{good}{}", "A".repeat(MAX_PROOF_BYTES));
    let proof = verify(&good, Some(TOKEN)).unwrap();
    let mut replays = Replays::new(2);
    let mut use_once = |(id, until), now| replays.use_once(id, until, now, DpopProof::USED);
    assert!(use_once(proof.once(), now()).is_ok());
    let again = use_once(proof.once(), now());
    let still = use_once(proof.once(), now() + Duration::from_secs(119));
    let second = (OnceId::of(&[b"second"]), now() + Duration::from_secs(1));
    assert!(use_once(second, now()).is_ok());
    let third = (OnceId::of(&[b"third"]), now() + Duration::from_secs(60));
    let full = use_once(third, now());
    // What cannot be used any more makes room.
    assert!(use_once(third, now() + Duration::from_secs(2)).is_ok());
    let not_jwt = "the DPoP proof is not a signed JWT";
    let lacks = "the DPoP proof lacks jti, htm, htu or iat";
    let target = "the DPoP proof is for another URL";
    let other_key = "the key of the DPoP proof is for another algorithm";
    vec![
        text("a proof that is nothing", "", not_jwt),
        text("a proof of two parts", signed, not_jwt),
        text("a proof of four parts", &format!("{good}.x"), not_jwt),
        text("a proof with padding", &format!("{good}="), not_jwt),
        text("a proof one byte too long", &long, not_jwt),
        text("a proof with a claim twice", &twice, lacks),
        text(
            "a proof that another key signed",
            &other,
            "the DPoP proof was not signed by its key",
        ),
        text(
            "a proof whose signature is cut",
            &format!("{signed}.{}", &signature[..40]),
            "the DPoP proof was not signed by its key",
        ),
        text(
            "a proof without a signature",
            &unsigned,
            "a DPoP proof is signed with ES256 or EdDSA",
        ),
        with_header(
            "a proof that is another JWT",
            "typ",
            json!("JWT"),
            "the DPoP proof has another type than dpop+jwt",
        ),
        with_header(
            "a proof without a type",
            "typ",
            Value::Null,
            "the DPoP proof has another type than dpop+jwt",
        ),
        with_header(
            "a proof with a shared secret's algorithm",
            "alg",
            json!("HS256"),
            "a DPoP proof is signed with ES256 or EdDSA",
        ),
        with_header(
            "a proof with RSA",
            "alg",
            json!("RS256"),
            "a DPoP proof is signed with ES256 or EdDSA",
        ),
        with_header(
            "a proof with an algorithm in small letters",
            "alg",
            json!("es256"),
            "a DPoP proof is signed with ES256 or EdDSA",
        ),
        with_header(
            "a proof with another curve's algorithm",
            "alg",
            json!("EdDSA"),
            other_key,
        ),
        with_header(
            "a proof with another curve's key",
            "jwk",
            edwards,
            other_key,
        ),
        with_header("a proof with a private key in it", "jwk", private, not_jwt),
        with_header("a proof with a shared secret in it", "jwk", secret, not_jwt),
        with_header(
            "a proof with a key that is no point of the curve",
            "jwk",
            off_curve,
            "the DPoP proof was not signed by its key",
        ),
        with_header(
            "a proof without a key",
            "jwk",
            Value::Null,
            "the DPoP proof has no key in it",
        ),
        with_header(
            "a proof with an extension that must be understood",
            "crit",
            json!(["exp"]),
            not_jwt,
        ),
        with_claim("a proof without an id", "jti", Value::Null, lacks),
        with_claim(
            "a proof with an empty id",
            "jti",
            json!(""),
            "the jti of a DPoP proof has 1 to 128 bytes",
        ),
        with_claim(
            "a proof with an id one byte too long",
            "jti",
            json!("x".repeat(129)),
            "the jti of a DPoP proof has 1 to 128 bytes",
        ),
        with_claim("a proof without a method", "htm", Value::Null, lacks),
        with_claim(
            "a proof for another method",
            "htm",
            json!("GET"),
            "the DPoP proof is for another method",
        ),
        with_claim(
            "a proof for a method in small letters",
            "htm",
            json!("post"),
            "the DPoP proof is for another method",
        ),
        with_claim("a proof without a target", "htu", Value::Null, lacks),
        with_claim(
            "a proof for another path",
            "htu",
            json!("https://node.example/oauth/par"),
            target,
        ),
        with_claim(
            "a proof for another host",
            "htu",
            json!("https://evil.example/oauth/token"),
            target,
        ),
        with_claim(
            "a proof for another port",
            "htu",
            json!("https://node.example:8443/oauth/token"),
            target,
        ),
        with_claim(
            "a proof for plain http",
            "htu",
            json!("http://node.example/oauth/token"),
            target,
        ),
        with_claim(
            "a proof with a user name in its target",
            "htu",
            json!("https://a@node.example/oauth/token"),
            target,
        ),
        with_claim(
            "a proof for a target that is relative",
            "htu",
            json!("/oauth/token"),
            target,
        ),
        with_claim("a proof without a time", "iat", Value::Null, lacks),
        with_claim("a proof with a time in words", "iat", json!("now"), lacks),
        with_claim(
            "a proof of two minutes and a second ago",
            "iat",
            json!(NOW - 121),
            "the DPoP proof is too old",
        ),
        with_claim(
            "a proof from half a minute and a second ahead",
            "iat",
            json!(NOW + 31),
            "the DPoP proof is from the future",
        ),
        with_claim(
            "a proof from the end of time",
            "iat",
            json!(1e300),
            "the DPoP proof has no valid time",
        ),
        with_claim(
            "a proof from before all time",
            "iat",
            json!(-1),
            "the DPoP proof has no valid time",
        ),
        with_claim(
            "a proof without a token",
            "ath",
            Value::Null,
            "the DPoP proof names no access token (ath)",
        ),
        with_claim(
            "a proof for another token",
            "ath",
            json!(encode([7; 32])),
            "the DPoP proof is for another access token",
        ),
        with_claim(
            "a proof for half of the token's hash",
            "ath",
            json!(encode([7; 16])),
            "the DPoP proof is for another access token",
        ),
        case(
            "a proof that was used before",
            again,
            "the DPoP proof was used before",
        ),
        case(
            "a proof that was used almost two minutes ago",
            still,
            "the DPoP proof was used before",
        ),
        case(
            "anything, when no more can be remembered",
            full,
            "the node remembers too many requests; try again in a minute",
        ),
    ]
}
