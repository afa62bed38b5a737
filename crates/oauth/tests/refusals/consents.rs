use adyton_oauth::client_id::ClientId;
use adyton_oauth::consent::{
    Consent, Expected, InvalidConsent, LegacyConsent, LegacyExpected, MAX_CONSENT_BYTES,
};
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_protocol::canonical_json;
use adyton_protocol::hash::keccak256;
use serde_json::{Value, json};

use crate::signed::Signer;
use crate::{Case, NOW, case, now, origin};

fn consent() -> Value {
    json!({
        "nonce": "request-1", "audience": "https://node.example", "client": "https://app.example/client.json",
        "redirectUri": "https://app.example/back", "terms": { "scopes": ["api:ds-query"] },
        "notBefore": NOW - 60, "notAfter": NOW + 600,
    })
}

fn verify(text: &str, signer: &Signer) -> Result<Consent, InvalidConsent> {
    let signature = signer.sign(keccak256(text.as_bytes()));
    Consent::verify(
        text,
        &signature,
        &Expected {
            nonce: "request-1",
            audience: &origin(),
            client: &ClientId::parse("https://app.example/client.json").unwrap(),
            redirect_uri: &RedirectUri::parse("https://app.example/back").unwrap(),
            signer: &Signer::new(1).public().address(),
            now: now(),
        },
    )
}

fn with(says: &'static str, member: &str, value: Value, refusal: InvalidConsent) -> Case {
    let mut consent = consent();
    match value {
        Value::Null => {
            consent.as_object_mut().unwrap().remove(member);
        }
        value => consent[member] = value,
    }
    let text = canonical_json::to_string(&consent).unwrap();
    case(says, verify(&text, &Signer::new(1)), refusal)
}

fn text(says: &'static str, text: &str, refusal: InvalidConsent) -> Case {
    case(says, verify(text, &Signer::new(1)), refusal)
}

fn legacy() -> Value {
    let (user, app) = (Signer::new(3).did(), Signer::new(4).did());
    json!({
        "appDID": app.as_given(), "userDID": user.as_given(), "scopes": ["api:ds-query"],
        "payer": "app", "timestamp": NOW,
    })
}

fn verify_legacy(text: &str, signer: &Signer) -> Result<LegacyConsent, InvalidConsent> {
    let signature = signer.sign(keccak256(text.as_bytes()));
    LegacyConsent::verify(
        text,
        &signature,
        &LegacyExpected {
            user: &Signer::new(3).did(),
            signer: &Signer::new(1).public().address(),
            client: &ClientId::Did(Signer::new(4).did()),
            audience: &origin(),
            redirect_uri: "https://app.example/back",
            now: now(),
        },
    )
}

fn with_legacy(says: &'static str, member: &str, value: Value, refusal: InvalidConsent) -> Case {
    let mut consent = legacy();
    match value {
        Value::Null => {
            consent.as_object_mut().unwrap().remove(member);
        }
        value => consent[member] = value,
    }
    case(
        says,
        verify_legacy(&consent.to_string(), &Signer::new(1)),
        refusal,
    )
}

pub fn cases() -> Vec<Case> {
    use InvalidConsent::*;
    let good = canonical_json::to_string(&consent()).unwrap();
    let verified = verify(&good, &Signer::new(1)).unwrap();
    assert_eq!(verified.terms(), &consent()["terms"]);
    // Exactly what the original signs: five members, no nonce, no audience.
    let accepted = verify_legacy(&legacy().to_string(), &Signer::new(1)).unwrap();
    assert_eq!(accepted.scopes(), ["api:ds-query"]);
    let other = Signer::new(4).did();
    let spaced = good.replacen(':', ": ", 1);
    let unsorted = format!(
        r#"{{"nonce":"request-1",{}"#,
        &good[1..].replace(r#""nonce":"request-1","#, "")
    );
    let twice = format!(r#"{{"audience":"https://evil.example",{}"#, &good[1..]);
    let long = format!("\"{}\"", "x".repeat(MAX_CONSENT_BYTES));
    vec![
        text("a consent that is nothing", "", Malformed),
        text("a consent that is a list", "[]", Malformed),
        text("a consent with a space in it", &spaced, NotCanonical),
        text(
            "a consent whose members are not sorted",
            &unsorted,
            NotCanonical,
        ),
        text("a consent with a member twice", &twice, NotCanonical),
        text(
            "a consent with something after it",
            &format!("{good} "),
            NotCanonical,
        ),
        text("a consent that is too long", &long, TooLong),
        case(
            "a consent that another key signed",
            verify(&good, &Signer::new(2)),
            Signature,
        ),
        with(
            "a consent to another request",
            "nonce",
            json!("request-2"),
            OtherRequest,
        ),
        with(
            "a consent at another node",
            "audience",
            json!("https://evil.example"),
            OtherNode,
        ),
        with(
            "a consent at this node's name with a slash",
            "audience",
            json!("https://node.example/"),
            OtherNode,
        ),
        with(
            "a consent to another app",
            "client",
            json!("https://bank.example/c"),
            OtherClient,
        ),
        with(
            "a consent that leads elsewhere",
            "redirectUri",
            json!("https://evil.example/back"),
            OtherRedirect,
        ),
        with("a consent without a nonce", "nonce", Value::Null, Malformed),
        with(
            "a consent without an audience",
            "audience",
            Value::Null,
            Malformed,
        ),
        with("a consent without terms", "terms", Value::Null, Malformed),
        with(
            "a consent without a beginning",
            "notBefore",
            Value::Null,
            Malformed,
        ),
        with(
            "a consent without an end to it",
            "notAfter",
            Value::Null,
            Malformed,
        ),
        with(
            "a consent with a member more",
            "admin",
            json!(true),
            Malformed,
        ),
        with(
            "a consent from a minute and a second ahead",
            "notBefore",
            json!(NOW + 61),
            Early,
        ),
        with("a consent that has ended", "notAfter", json!(NOW), Late),
        with(
            "a consent for a quarter of an hour and a second",
            "notAfter",
            json!(NOW - 60 + 901),
            TooLasting,
        ),
        with(
            "a consent with a negative time",
            "notBefore",
            json!(-1),
            Malformed,
        ),
        with(
            "a consent with half a second",
            "notBefore",
            json!(0.5),
            Malformed,
        ),
        with(
            "a consent with a time beyond all time",
            "notAfter",
            json!(1u64 << 52),
            Malformed,
        ),
        case(
            "a consent of the original's form that another key signed",
            verify_legacy(&legacy().to_string(), &Signer::new(2)),
            Signature,
        ),
        case(
            "a consent of the original's form that is no JSON",
            verify_legacy("{", &Signer::new(1)),
            Malformed,
        ),
        with_legacy(
            "the original's consent for another app",
            "appDID",
            json!(Signer::new(5).did().as_given()),
            OtherClient,
        ),
        with_legacy(
            "the original's consent for an app without a DID",
            "appDID",
            json!("undefined"),
            OtherClient,
        ),
        with_legacy(
            "the original's consent of another user",
            "userDID",
            json!(other.as_given()),
            OtherUser,
        ),
        with_legacy(
            "the original's consent without a user",
            "userDID",
            Value::Null,
            Malformed,
        ),
        with_legacy(
            "the original's consent without scopes",
            "scopes",
            Value::Null,
            Malformed,
        ),
        with_legacy(
            "the original's consent with a text for scopes",
            "scopes",
            json!("api:ds-query"),
            Malformed,
        ),
        with_legacy(
            "the original's consent that somebody else pays",
            "payer",
            json!("nobody"),
            Payer,
        ),
        with_legacy(
            "the original's consent of two minutes and a second ago",
            "timestamp",
            json!(NOW - 121),
            Late,
        ),
        with_legacy(
            "the original's consent from the future",
            "timestamp",
            json!(NOW + 61),
            Early,
        ),
        with_legacy(
            "the original's consent in milliseconds",
            "timestamp",
            json!(NOW * 1000),
            Malformed,
        ),
        with_legacy(
            "the original's consent without a time",
            "timestamp",
            Value::Null,
            Malformed,
        ),
        with_legacy(
            "the original's consent at another node",
            "audience",
            json!("https://evil.example"),
            OtherNode,
        ),
        with_legacy(
            "the original's consent that leads elsewhere",
            "redirectUri",
            json!("https://evil.example"),
            OtherRedirect,
        ),
        with_legacy(
            "the original's consent with a member more",
            "admin",
            json!(true),
            Malformed,
        ),
        with_legacy(
            "the original's consent with an endless nonce",
            "nonce",
            json!("x".repeat(129)),
            Malformed,
        ),
    ]
}
