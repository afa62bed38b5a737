//! Fuzz target: hostile compose files are refused, never a panic; one that is not names every image by digest.
#![allow(clippy::unwrap_used)]

use adyton_enclave::oyster::Compose;

const SEEDS: [&str; 6] = [
    "services:\n  a:\n    image: a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    "services: {a: {image: 'b'}}",
    "a: &a [*a]",
    "? [a]\n: b",
    "%YAML 9.9\n---\n!!binary |\n  a",
    "services:\n  <<: *a",
];

fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(compose) = Compose::parse(text)
    {
        assert_eq!(compose.text(), text);
        assert!(!compose.images().is_empty());
        for image in compose.images() {
            assert!(image.image.contains("@sha256:"));
        }
    }
}

#[test]
fn hostile_compose_files_are_refused_in_order() {
    SEEDS.iter().for_each(|seed| check(seed.as_bytes()));
    bolero::check!().for_each(check);
}
