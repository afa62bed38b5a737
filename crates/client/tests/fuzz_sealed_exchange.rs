//! Fuzz target: hostile sealed requests, answers and binary messages are errors, never a panic.

#![allow(clippy::unwrap_used)]

use adyton_attest::HpkeKey;
use adyton_client::sealed_exchange::{
    Aead, open_request, read_request, read_response, seal_request, write_request, write_response,
};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use bytes::Bytes;

const SEEDS: [&[u8]; 5] = [
    b"\x00\x03GET\x05https\x0bexample.com\x01/",
    b"\x00\x04POST\x05https\x01h\x02/a\x08\x04date\x02no\x05hello\x00\x00",
    b"\x01\x40\x64\x00\x40\xc8\x04\x01a\x01b\x03abc",
    b"\x01\x00\x20\x00\x01\x00\x01AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    b"\x00\xff\xff\xff\xff\xff\xff\xff\xff",
];

fn check(input: &[u8], private: &PrivateKey, public: &HpkeKey) {
    assert!(open_request(input, private, public).is_err());
    let (_, secret) = seal_request(Vec::new(), public, Aead::Aes128Gcm).unwrap();
    assert!(secret.open(input).is_err());
    if let Ok(request) = read_request(Bytes::copy_from_slice(input)) {
        let again = read_request(write_request(&request).unwrap().into()).unwrap();
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
        assert_eq!(again.body(), request.body());
    }
    if let Ok(response) = read_response(Bytes::copy_from_slice(input)) {
        let written = write_response(response.status(), response.headers(), response.body());
        assert_eq!(
            read_response(written.into()).unwrap().body(),
            response.body()
        );
    }
}

#[test]
fn hostile_messages_are_refused_in_order() {
    let private = PrivateKey::generate(&X25519).unwrap();
    let public = private.compute_public_key().unwrap();
    let public = HpkeKey::new(public.as_ref().try_into().unwrap());
    SEEDS.iter().for_each(|seed| check(seed, &private, &public));
    bolero::check!().for_each(|input: &[u8]| check(input, &private, &public));
}
