//! Step 2: one spoiled field at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use adyton_attest::nitro::claims::{
    self, Certificates, Claims, ClaimsError, MAX_CABUNDLE, MAX_CERTIFICATE_BYTES,
    MAX_MODULE_ID_BYTES, MAX_NONCE_BYTES, MAX_PUBLIC_KEY_BYTES, MAX_USER_DATA_BYTES,
};
use adyton_attest::nitro::{Pcr, Pcrs};
use ciborium::value::Value;

fn genuine() -> (Claims, Certificates) {
    let claims = Claims {
        module_id: "i-0f-enc01".to_owned(),
        timestamp_ms: 1_734_075_478_960,
        pcrs: (0..16).map(|index| (index, Pcr::of(&[index]))).collect(),
        public_key: Some(vec![1]),
        user_data: None,
        nonce: Some(vec![]),
    };
    (
        claims,
        Certificates {
            leaf: vec![1; 600],
            bundle: vec![vec![2; 500], vec![3; 700]],
        },
    )
}

fn fields() -> Vec<(Value, Value)> {
    let (claims, certificates) = genuine();
    let payload = claims::write(&claims, &certificates);
    ciborium::from_reader::<Value, _>(&payload[..])
        .unwrap()
        .into_map()
        .unwrap()
}

fn parse(fields: Vec<(Value, Value)>) -> Result<(Claims, Certificates), ClaimsError> {
    let mut payload = Vec::new();
    ciborium::into_writer(&Value::Map(fields), &mut payload).unwrap();
    claims::parse(&payload)
}

fn with(field: &str, value: Value) -> Result<(Claims, Certificates), ClaimsError> {
    let mut fields = fields();
    fields
        .iter_mut()
        .find(|(key, _)| key.as_text() == Some(field))
        .expect("a field")
        .1 = value;
    parse(fields)
}

const FIELDS: [&str; 9] = [
    "module_id",
    "digest",
    "timestamp",
    "pcrs",
    "certificate",
    "cabundle",
    "public_key",
    "user_data",
    "nonce",
];

#[test]
fn claims_are_read_back_as_written() {
    let (claims, certificates) = genuine();
    assert_eq!(
        claims::parse(&claims::write(&claims, &certificates)),
        Ok((claims, certificates))
    );
}

#[test]
fn a_missing_field_is_refused() {
    for field in FIELDS {
        let mut fields = fields();
        fields.retain(|(key, _)| key.as_text() != Some(field));
        assert_eq!(parse(fields), Err(ClaimsError::Missing { field }));
    }
}

#[test]
fn a_doubled_field_is_refused_even_with_the_same_value() {
    for field in FIELDS {
        let mut fields = fields();
        let again = fields
            .iter()
            .find(|(key, _)| key.as_text() == Some(field))
            .unwrap()
            .clone();
        fields.push(again);
        assert_eq!(parse(fields), Err(ClaimsError::Duplicate { field }));
    }
}

#[test]
fn an_unknown_key_is_refused() {
    for key in [
        Value::from("debug"),
        Value::from(1),
        Value::Bytes(b"nonce".to_vec()),
        Value::Null,
    ] {
        let mut fields = fields();
        fields.push((key, Value::Null));
        assert_eq!(parse(fields), Err(ClaimsError::Key));
    }
}

#[test]
fn a_field_of_another_type_is_refused() {
    for field in FIELDS {
        for wrong in [
            Value::Bool(true),
            Value::Float(1.0),
            Value::Tag(1, Box::new(Value::from(1))),
        ] {
            assert_eq!(with(field, wrong), Err(ClaimsError::Type { field }));
        }
    }
    assert_eq!(
        with("nonce", Value::from("text")),
        Err(ClaimsError::Type { field: "nonce" })
    );
    assert_eq!(
        with("certificate", Value::Null),
        Err(ClaimsError::Type {
            field: "certificate"
        })
    );
}

#[test]
fn another_digest_is_refused() {
    for digest in ["SHA256", "SHA512", "sha384", ""] {
        assert_eq!(
            with("digest", Value::from(digest)),
            Err(ClaimsError::Digest)
        );
    }
}

#[test]
fn a_timestamp_is_a_positive_number() {
    for wrong in [Value::from(0), Value::from(-1)] {
        assert_eq!(
            with("timestamp", wrong),
            Err(ClaimsError::Range { field: "timestamp" })
        );
    }
    let (claims, _) = with("timestamp", Value::from(u64::MAX)).unwrap();
    assert_eq!(claims.timestamp_ms, u64::MAX);
    // Far beyond any clock, and no panic.
    assert!(claims.issued() > std::time::UNIX_EPOCH);
}

#[test]
fn byte_fields_end_at_their_limits() {
    let bytes = |length: usize| Value::Bytes(vec![7; length]);
    let limits = [
        ("certificate", 1, MAX_CERTIFICATE_BYTES),
        ("public_key", 1, MAX_PUBLIC_KEY_BYTES),
        ("user_data", 0, MAX_USER_DATA_BYTES),
        ("nonce", 0, MAX_NONCE_BYTES),
    ];
    for (field, least, most) in limits {
        assert!(with(field, bytes(least)).is_ok(), "{field}");
        assert!(with(field, bytes(most)).is_ok(), "{field}");
        assert_eq!(
            with(field, bytes(most + 1)),
            Err(ClaimsError::Range { field })
        );
        if least == 1 {
            assert_eq!(with(field, bytes(0)), Err(ClaimsError::Range { field }));
        }
    }
}

#[test]
fn the_bundle_ends_at_its_limits() {
    let bundle = |count: usize, length: usize| {
        with(
            "cabundle",
            Value::Array(vec![Value::Bytes(vec![7; length]); count]),
        )
        .map(|_| ())
    };
    let refused = Err(ClaimsError::Range { field: "cabundle" });
    assert_eq!(bundle(1, 1), Ok(()));
    assert_eq!(bundle(MAX_CABUNDLE, MAX_CERTIFICATE_BYTES), Ok(()));
    for (count, length) in [
        (0, 1),
        (MAX_CABUNDLE + 1, 1),
        (1, 0),
        (1, MAX_CERTIFICATE_BYTES + 1),
    ] {
        assert_eq!(bundle(count, length), refused, "{count} {length}");
    }
}

#[test]
fn the_module_id_is_short_and_printable() {
    let refused = Err(ClaimsError::Range { field: "module_id" });
    assert!(with("module_id", Value::from("x".repeat(MAX_MODULE_ID_BYTES))).is_ok());
    for wrong in [
        String::new(),
        "x".repeat(MAX_MODULE_ID_BYTES + 1),
        "a\u{1b}[2J".into(),
        "ä".into(),
    ] {
        assert_eq!(with("module_id", Value::from(wrong)), refused);
    }
}

#[test]
fn registers_are_48_bytes_under_numbers_up_to_31_each_once() {
    let pcr = |length: usize| Value::Bytes(vec![7; length]);
    let pcrs = |entries: Vec<(Value, Value)>| {
        with("pcrs", Value::Map(entries)).map(|(claims, _)| claims.pcrs)
    };
    let refused = Err(ClaimsError::Range { field: "pcrs" });

    let all: Pcrs = pcrs((0..32).map(|index| (Value::from(index), pcr(48))).collect()).unwrap();
    assert_eq!(all.len(), 32);
    assert_eq!(pcrs(vec![]), refused);
    for (index, length) in [
        (32, 48),
        (-1, 48),
        (256, 48),
        (0, 47),
        (0, 49),
        (0, 32),
        (0, 0),
    ] {
        assert_eq!(
            pcrs(vec![(Value::from(index), pcr(length))]),
            refused,
            "{index} {length}"
        );
    }
    let twice = vec![(Value::from(3), pcr(48)), (Value::from(3), pcr(48))];
    assert_eq!(pcrs(twice), Err(ClaimsError::Duplicate { field: "pcrs" }));
    for entry in [
        (Value::from("0"), pcr(48)),
        (Value::from(0), Value::from("x".repeat(48))),
    ] {
        assert_eq!(pcrs(vec![entry]), Err(ClaimsError::Type { field: "pcrs" }));
    }
}

#[test]
fn a_payload_is_one_map_and_nothing_behind_it() {
    let (claims, certificates) = genuine();
    let mut payload = claims::write(&claims, &certificates);
    payload.push(0);
    assert_eq!(claims::parse(&payload), Err(ClaimsError::NotAMap));
    for wrong in [
        &[][..],
        &[0xf6],
        &[0x80],
        &[0xff],
        &[0x81; 4000],
        &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
    ] {
        assert_eq!(claims::parse(wrong), Err(ClaimsError::NotAMap));
    }
}
