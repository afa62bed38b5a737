//! The storage node cannot decrypt: what it is built from holds no key handling and no cipher.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::process::Command;

/// Whatever opens a user's ciphertext, or could be used to. TLS (`rustls`, `aws-lc-rs`) is not among it: it carries what is said
/// to other nodes and to clients, signs for the node's own certificate (`rcgen`, `instant-acme`), and nothing here calls it for
/// anything else.
const FORBIDDEN: &[&str] = &[
    "adyton-keys",
    "adyton-client",
    "adyton-node",
    "adyton-sandbox",
    "dryoc",
    "crypto_secretbox",
    "crypto_box",
    "salsa20",
    "chacha20",
    "poly1305",
    "aes",
    "aes-gcm",
    "aead",
    "cipher",
    "libsodium-sys-stable",
    "sodiumoxide",
    "ring",
    "openssl",
    "curve25519-dalek",
];

#[test]
fn storage_has_no_keys_and_no_cipher() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "adyton-storage",
            "--edges",
            "normal,build",
        ])
        .args(["--prefix", "none", "--format", "{p}", "--no-dedupe"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: std::collections::BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.contains("redb") && names.contains("adyton-protocol"),
        "the list is a list"
    );
    for name in FORBIDDEN {
        assert!(!names.contains(name), "adyton-storage depends on {name}");
    }
}
