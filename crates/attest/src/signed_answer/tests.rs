use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;

/// RFC 9421 section B.1.4, `test-key-ed25519`.
const RFC_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";

fn rfc_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&STANDARD.decode(RFC_KEY).unwrap()).unwrap()
}

fn public(key: &Ed25519KeyPair) -> AnswerKey {
    AnswerKey::new(key.public_key().as_ref().try_into().unwrap())
}

fn moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_618_884_473)
}

/// An exchange, signed by a node.
fn signed(place: Place, request_body: &[u8]) -> StoredAnswer {
    let key = rfc_key();
    let asked = Asked::parse("sig1=();nonce=\"n-1\";tag=\"adyton\"", &public(&key)).unwrap();
    let body = b"{\"items\":[]}".to_vec();
    let request_digest = (!request_body.is_empty()).then(|| content_digest(request_body));
    let digest = content_digest(&body);
    let answered = Answered {
        method: "POST",
        target_uri: "https://node.example:8443/api/rest/v1/ds/query/x?y=1",
        request_digest: request_digest.as_deref(),
        status: 200,
        content_type: Some("application/json"),
        content_digest: &digest,
        place,
    };
    let to_be_signed = answered
        .to_be_signed(&asked.unwrap(), moment(), &public(&key))
        .unwrap();
    let (input, signature) = to_be_signed.fields(key.sign(to_be_signed.base()).as_ref());
    let fields = [
        ("content-digest", digest.clone()),
        ("signature-input", input),
        ("signature", signature),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    let plain = [("content-type".to_owned(), "application/json".to_owned())];
    let (headers, trailers) = match place {
        Place::Headers => (plain.into_iter().chain(fields).collect(), [].into()),
        Place::Trailers => (plain.into(), fields.into()),
    };
    StoredAnswer {
        method: answered.method.to_owned(),
        target_uri: answered.target_uri.to_owned(),
        request_body: request_body.to_vec(),
        status: 200,
        headers,
        trailers,
        body,
        request_digest,
    }
}

/// The verdict on an exchange after a lie.
fn after(lie: impl FnOnce(&mut StoredAnswer)) -> SignedAnswerError {
    let mut answer = signed(Place::Headers, b"{\"q\":1}");
    lie(&mut answer);
    verify(&answer, &public(&rfc_key())).expect_err("a lie was believed")
}

fn rewrite(answer: &mut StoredAnswer, field: &str, from: &str, to: &str) {
    let value = answer.headers.get_mut(field).unwrap();
    assert!(value.contains(from), "{value}");
    *value = value.replacen(from, to, 1);
}

#[test]
fn the_signed_text_and_the_signature_are_those_of_the_rfc() {
    // RFC 9421 section B.2.6: other components than ours, so the lines are written here and the rest is ours.
    let lines = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
                 \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n";
    let input = "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                 ;created=1618884473;keyid=\"test-key-ed25519\"";
    let base = lines.to_owned() + &base(&[], input);
    let expected =
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
    assert_eq!(STANDARD.encode(rfc_key().sign(base.as_bytes())), expected);
    // And a list that is read is written as it was.
    let list = Parser::new(&format!("s={input}"))
        .parse::<Dictionary>()
        .unwrap();
    let Some(ListEntry::InnerList(list)) = list.get("s").cloned() else {
        panic!("no list")
    };
    assert_eq!(serialized(list).unwrap(), input);
}

#[test]
fn the_signed_text_is_the_one_that_is_written_down() {
    let key = AnswerKey::new([1; 32]);
    let asked = Asked::parse("a=();nonce=\"n\";tag=\"adyton\"", &key).unwrap();
    let answered = Answered {
        method: "GET",
        target_uri: "https://h/p?q",
        request_digest: None,
        status: 404,
        content_type: Some("application/problem+json"),
        content_digest: "sha-256=:AA==:",
        place: Place::Trailers,
    };
    let signed = answered
        .to_be_signed(&asked.unwrap(), moment(), &key)
        .unwrap();
    let expected = format!(
        "\"@status\": 404\n\"content-digest\";tr: sha-256=:AA==:\n\"content-type\": application/problem+json\n\
         \"@method\";req: GET\n\"@target-uri\";req: https://h/p?q\n\
         \"@signature-params\": (\"@status\" \"content-digest\";tr \"content-type\" \"@method\";req \
         \"@target-uri\";req);created=1618884473;keyid=\"{}\";alg=\"ed25519\";nonce=\"n\";tag=\"adyton\"",
        key.id()
    );
    assert_eq!(std::str::from_utf8(signed.base()).unwrap(), expected);
}

#[test]
fn a_signed_answer_is_verified_wherever_the_signature_stands() {
    for place in [Place::Headers, Place::Trailers] {
        for body in [&b""[..], b"{\"q\":1}"] {
            let answer = signed(place, body);
            let verified = verify(&answer, &public(&rfc_key())).unwrap();
            assert_eq!(verified.created(), moment());
            assert_eq!(verified.nonce(), Some("n-1"));
            let read = StoredAnswer::from_json(&answer.to_json()).unwrap();
            assert_eq!(read, answer);
        }
    }
}

#[test]
fn an_answer_to_another_request_or_with_another_status_is_refused() {
    let lies: [fn(&mut StoredAnswer); 5] = [
        |answer| answer.status = 201,
        |answer| answer.method = "GET".to_owned(),
        |answer| answer.target_uri.push('2'),
        |answer| rewrite(answer, "content-type", "application/json", "text/html"),
        |answer| rewrite(answer, "signature-input", "n-1", "n-2"),
    ];
    for lie in lies {
        assert_eq!(after(lie), SignedAnswerError::Signature);
    }
    let earlier = after(|answer| rewrite(answer, "signature-input", "1618884473", "1618884472"));
    assert_eq!(earlier, SignedAnswerError::Signature);
}

#[test]
fn another_body_is_refused() {
    let body = after(|answer| answer.body.push(b' '));
    assert_eq!(body, SignedAnswerError::Body);
    let both = after(|answer| {
        answer.body = b"{}".to_vec();
        let digest = content_digest(b"{}");
        answer.headers.insert("content-digest".to_owned(), digest);
    });
    assert_eq!(both, SignedAnswerError::Signature);
    let request = after(|answer| answer.request_body.push(b' '));
    assert_eq!(request, SignedAnswerError::RequestBody);
    let both = after(|answer| {
        answer.request_body = b"{}".to_vec();
        answer.request_digest = Some(content_digest(b"{}"));
    });
    assert_eq!(both, SignedAnswerError::Signature);
}

#[test]
fn a_signature_covers_all_that_the_exchange_has() {
    // The request's body is taken away, or put beside a request that had none.
    let away = after(|answer| {
        answer.request_digest = None;
        answer.request_body.clear();
    });
    assert_eq!(away, SignedAnswerError::Coverage);
    let mut beside = signed(Place::Headers, b"");
    beside.request_body = b"{}".to_vec();
    let refused = verify(&beside, &public(&rfc_key())).unwrap_err();
    assert_eq!(refused, SignedAnswerError::RequestBody);
    for part in ["\"@status\" ", " \"content-type\"", " \"@target-uri\";req"] {
        let less = after(|answer| rewrite(answer, "signature-input", part, ""));
        assert_eq!(less, SignedAnswerError::Coverage, "{part}");
    }
    let other = after(|answer| rewrite(answer, "signature-input", "\"@status\"", "\"@authority\""));
    assert_eq!(other, SignedAnswerError::Coverage);
    let order = after(|answer| {
        rewrite(
            answer,
            "signature-input",
            "\"@status\" \"content-digest\"",
            "\"content-digest\" \"@status\"",
        );
    });
    assert_eq!(order, SignedAnswerError::Coverage);
    // A digest from the headers is none from the trailers.
    let moved = after(|answer| answer.trailers = std::mem::take(&mut answer.headers));
    assert_eq!(moved, SignedAnswerError::Coverage);
}

#[test]
fn a_foreign_key_algorithm_or_tag_is_refused() {
    let answer = signed(Place::Headers, b"");
    let other = Ed25519KeyPair::generate().unwrap();
    let refused = verify(&answer, &public(&other)).unwrap_err();
    assert_eq!(refused, SignedAnswerError::Key);
    // The other key's name on this key's signature.
    let mut renamed = answer;
    let (from, to) = (public(&rfc_key()).id(), public(&other).id());
    rewrite(&mut renamed, "signature-input", &from, &to);
    let refused = verify(&renamed, &public(&other)).unwrap_err();
    assert_eq!(refused, SignedAnswerError::Signature);

    let algorithm = after(|answer| rewrite(answer, "signature-input", "ed25519", "hmac-sha256"));
    assert_eq!(algorithm, SignedAnswerError::Algorithm);
    let tag = after(|answer| rewrite(answer, "signature-input", "adyton", "other"));
    assert_eq!(tag, SignedAnswerError::Tag);
    let two = after(|answer| {
        let input = answer.headers["signature-input"].clone();
        let second = format!("{input}, {}", input.replacen("sig1", "sig2", 1));
        answer.headers.insert("signature-input".to_owned(), second);
    });
    assert_eq!(two, SignedAnswerError::Tag);
    let label = after(|answer| rewrite(answer, "signature", "sig1", "sig2"));
    assert_eq!(label, SignedAnswerError::Malformed);
    let untimed = after(|answer| rewrite(answer, "signature-input", ";created=1618884473", ""));
    assert_eq!(untimed, SignedAnswerError::Parameters);
}

#[test]
fn a_missing_field_or_a_line_break_is_refused() {
    for field in ["signature-input", "signature", "content-digest"] {
        let missing = after(|answer| {
            answer.headers.remove(field);
        });
        assert_eq!(missing, SignedAnswerError::Missing { field });
    }
    let line = after(|answer| answer.method.push_str("\n\"@target-uri\";req: x"));
    assert_eq!(line, SignedAnswerError::Value);
    let garbage = after(|answer| {
        answer
            .headers
            .insert("signature-input".to_owned(), "(((".to_owned());
    });
    assert_eq!(garbage, SignedAnswerError::Malformed);
}

#[test]
fn every_bit_of_a_signature_counts() {
    let answer = signed(Place::Headers, b"");
    let encoded = answer.headers["signature"].clone();
    let bytes = STANDARD
        .decode(encoded.trim_start_matches("sig1=:").trim_end_matches(':'))
        .unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut answer = answer.clone();
        let field = format!("sig1=:{}:", STANDARD.encode(flipped));
        answer.headers.insert("signature".to_owned(), field);
        let refused = verify(&answer, &public(&rfc_key()));
        assert_eq!(refused, Err(SignedAnswerError::Signature), "{bit}");
    }
}

#[test]
fn a_file_that_is_no_stored_answer_is_refused() {
    let good: serde_json::Value =
        serde_json::from_slice(&signed(Place::Headers, b"").to_json()).unwrap();
    let read = |change: fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value);
        StoredAnswer::from_json(&serde_json::to_vec(&value).unwrap()).unwrap_err()
    };
    let version = read(|value| value["v"] = 2.into());
    assert!(matches!(version, StoredAnswerError::Version { found: 2 }));
    let more = read(|value| value["more"] = 2.into());
    assert!(matches!(more, StoredAnswerError::Json(_)));
    let body = read(|value| value["answer"]["body"] = "?".into());
    assert!(matches!(body, StoredAnswerError::Base64));
    let doubled = read(|value| value["answer"]["headers"]["Signature"] = "x".into());
    assert!(matches!(doubled, StoredAnswerError::Doubled));
}
