//! What may be built from what: the dependency lists are part of the security argument, so they are tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use adyton_protocol::problem::ProblemKind;

/// Each of our packages and those of ours that it may be built from. A level never looks up; a package that is not
/// named here does not exist.
const LAYERS: &[(&str, &[&str])] = &[
    ("adyton-protocol", &[]),
    ("adyton-couch", &[]),
    ("adyton-attest", &[]),
    ("adyton-oauth", &["adyton-protocol"]),
    ("adyton-vsock", &[]),
    ("adyton-egress", &[]),
    ("adyton-search", &[]),
    ("adyton-resolver", &["adyton-protocol"]),
    ("adyton-init", &["adyton-vsock"]),
    ("adyton-enclave", &["adyton-attest"]),
    ("adyton-keys", &["adyton-protocol"]),
    (
        "adyton-client",
        &[
            "adyton-protocol",
            "adyton-keys",
            "adyton-couch",
            "adyton-attest",
            "adyton-resolver",
            "adyton-vsock",
            "adyton-egress",
        ],
    ),
    (
        "adyton-storage",
        &[
            "adyton-protocol",
            "adyton-couch",
            "adyton-resolver",
            "adyton-egress",
        ],
    ),
    (
        "adyton-node",
        &[
            "adyton-protocol",
            "adyton-keys",
            "adyton-couch",
            "adyton-attest",
            "adyton-client",
            "adyton-oauth",
            "adyton-resolver",
            "adyton-vsock",
            "adyton-search",
            "adyton-egress",
        ],
    ),
    ("adyton-host", &["adyton-vsock", "adyton-egress"]),
    ("adyton-verifier", &["adyton-protocol", "adyton-attest"]),
    ("adyton-sandbox", EVERYTHING_BUT_SANDBOX),
    ("adyton-rig", &["adyton-attest"]),
    ("adyton", EVERYTHING),
    ("adyton-bench", EVERYTHING),
];

const EVERYTHING_BUT_SANDBOX: &[&str] = &[
    "adyton-resolver",
    "adyton-protocol",
    "adyton-keys",
    "adyton-couch",
    "adyton-attest",
    "adyton-client",
    "adyton-storage",
    "adyton-node",
];

const EVERYTHING: &[&str] = &[
    "adyton-search",
    "adyton-resolver",
    "adyton-protocol",
    "adyton-keys",
    "adyton-couch",
    "adyton-attest",
    "adyton-client",
    "adyton-storage",
    "adyton-node",
    "adyton-verifier",
    "adyton-sandbox",
];

/// The programs that a person trusts, and the parts of them that others build on.
const SHIPPED: &[&str] = &[
    "adyton-protocol",
    "adyton-keys",
    "adyton-couch",
    "adyton-attest",
    "adyton-client",
    "adyton-oauth",
    "adyton-node",
    "adyton-storage",
    "adyton-verifier",
    "adyton-vsock",
    "adyton-egress",
    "adyton-search",
    "adyton-resolver",
    "adyton-host",
];

/// Whatever opens a user's ciphertext, or could be used to. TLS brings its own ciphers to the verifier and to the storage node
/// (`aws-lc-rs`), which have no way to a key.
const CIPHERS: &[&str] = &[
    "adyton-keys",
    "adyton-client",
    "aead",
    "aes",
    "aes-gcm",
    "bip39",
    "chacha20",
    "chacha20poly1305",
    "cipher",
    "crypto_box",
    "crypto_secretbox",
    "curve25519-dalek",
    "dryoc",
    "libsodium-sys",
    "libsodium-sys-stable",
    "openssl",
    "poly1305",
    "ring",
    "rust-crypto",
    "salsa20",
    "sodiumoxide",
    "x25519-dalek",
    "xsalsa20poly1305",
];

/// Most packages that a shipped node may be built from; each is code that sees plaintext.
const MAX_PACKAGES_OF_NODE: usize = 250;

/// The only files with unsafe code, each with its reason in it.
const UNSAFE_FILES: &[&str] = &[
    "crates/attest/src/attester/nsm/device.rs",
    "crates/init/src/kernel.rs",
    "crates/node/src/harden.rs",
    "crates/node/src/harden/system_calls.rs",
    "crates/node/src/zeroing_allocator.rs",
    "crates/node/tests/harden.rs",
    "crates/node/tests/server.rs",
    "crates/node/tests/zeroing_allocator.rs",
];

/// The only crate roots that say `deny` (a module of theirs is excused) instead of `forbid`.
const DENYING_ROOTS: &[&str] = &[
    "crates/attest/src/lib.rs",
    "crates/init/src/main.rs",
    "crates/node/src/lib.rs",
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// What `cargo tree` says for a package on this machine, one `name version` a line.
fn graph(package: &str, edges: &str) -> BTreeSet<(String, String)> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", package])
        .args(["--edges", edges, "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{package}: {said}");
    let text = String::from_utf8(tree.stdout).unwrap();
    let packages: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect();
    assert!(
        packages.iter().any(|(name, _)| name == package),
        "the list of {package} is a list"
    );
    packages
}

/// A dependency may not change, by a feature that all share, what another package of ours hashes and signs: with
/// `preserve_order`, the members of every JSON object would stand in another order.
#[test]
fn no_package_changes_the_order_of_json_members() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--workspace",
            "--all-features",
        ])
        .args(["--edges", "features,normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success());
    let text = String::from_utf8(tree.stdout).unwrap();
    for package in SHIPPED {
        assert!(text.contains(&format!("{package} ")), "{package}");
    }
    assert!(!text.contains("preserve_order"));
}

fn names(package: &str, edges: &str) -> BTreeSet<String> {
    let packages = graph(package, edges);
    packages.into_iter().map(|(name, _)| name).collect()
}

/// The `Cargo.toml` of every member, with the folder that it is in.
fn manifests() -> Vec<(PathBuf, toml::Table)> {
    let root = root();
    let mut folders = vec![root.join("bench"), root.join("rig")];
    folders.extend(
        fs::read_dir(root.join("crates"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    folders
        .into_iter()
        .map(|folder| {
            let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            (folder, text.parse().unwrap())
        })
        .collect()
}

fn packages_of(manifest: &toml::Table, section: &str) -> Vec<String> {
    let section = manifest.get(section).and_then(toml::Value::as_table);
    section
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn no_package_is_built_from_a_higher_one() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for (folder, manifest) in manifests() {
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let below = layers
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} ({}) has no layer", folder.display()));
        for used in packages_of(&manifest, "dependencies") {
            assert!(
                !used.starts_with("adyton") || below.contains(&used.as_str()),
                "{name} is built from {used}"
            );
        }
        // What is hidden behind a target or a build script would be missed here.
        assert!(
            !manifest.contains_key("target") && !manifest.contains_key("build-dependencies"),
            "{name}: this test does not look into these sections"
        );
        seen.insert(name);
    }
    assert_eq!(seen, layers.keys().map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_foundations_are_built_from_nothing_of_ours() {
    for package in [
        "adyton-protocol",
        "adyton-couch",
        "adyton-attest",
        "adyton-vsock",
        "adyton-egress",
    ] {
        let ours: Vec<_> = names(package, "normal,build")
            .into_iter()
            .filter(|name| name.starts_with("adyton") && name != package)
            .collect();
        assert!(ours.is_empty(), "{package} is built from {ours:?}");
    }
}

#[test]
fn a_verdict_needs_no_network() {
    let attest = names("adyton-attest", "normal,build");
    for name in ["tokio", "hyper", "rustls", "url"] {
        assert!(!attest.contains(name), "adyton-attest alone needs {name}");
    }
}

#[test]
fn no_shipped_package_contains_the_simulation() {
    for package in SHIPPED {
        let built_from = names(package, "normal,build");
        assert!(!built_from.contains("adyton-sandbox"), "{package}");
        // Nor what only tests are for.
        for name in ["bolero", "proptest", "tempfile", "adyton-bench"] {
            assert!(!built_from.contains(name), "{package} ships {name}");
        }
    }
}

#[test]
fn the_host_has_no_cryptography_at_all() {
    let host = names("adyton-host", "normal,build");
    for cipher in CIPHERS {
        assert!(
            !host.contains(*cipher),
            "adyton-host is built from {cipher}"
        );
    }
    // Neither TLS nor keys nor hashes nor randomness for them: what it passes on, it cannot read, and it proves nothing.
    for name in &host {
        for word in [
            "tls",
            "crypto",
            "aws-lc",
            "secp256k1",
            "ed25519",
            "rsa",
            "sha2",
            "sha3",
            "hmac",
            "hpke",
            "x509",
            "webpki",
            "adyton-attest",
            "adyton-protocol",
            "adyton-node",
            "rand",
        ] {
            assert!(!name.contains(word), "adyton-host is built from {name}");
        }
    }
}

#[test]
fn storage_and_verifier_cannot_decrypt() {
    for package in ["adyton-storage", "adyton-verifier"] {
        let built_from = names(package, "normal,build");
        for cipher in CIPHERS {
            assert!(
                !built_from.contains(*cipher),
                "{package} is built from {cipher}"
            );
        }
    }
    // One resolver, which reaches the registry and other nodes by TLS, is all that the storage node and those who hold keys share.
    for name in ["adyton-keys", "adyton-client", "adyton-node"] {
        assert!(!names("adyton-resolver", "normal,build").contains(name));
    }
}

#[test]
fn what_is_banned_is_not_there() {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let banned: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|ban| ban.get("wrappers").is_none())
        .map(|ban| ban["crate"].as_str().unwrap())
        .collect();
    assert!(banned.contains(&"openssl-sys") && banned.contains(&"ring"));
    for (package, _) in LAYERS {
        let built_from = names(package, "normal,build,dev");
        for name in &banned {
            assert!(!built_from.contains(*name), "{package} uses {name}");
        }
    }
}

#[test]
fn every_package_comes_from_the_registry_with_a_checksum() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    let mut ours = 0;
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(toml::Value::as_str) {
            Some(source) => {
                assert_eq!(
                    source, "registry+https://github.com/rust-lang/crates.io-index",
                    "{name}"
                );
                assert_eq!(package["checksum"].as_str().unwrap().len(), 64, "{name}");
            }
            None => {
                assert!(LAYERS.iter().any(|(known, _)| *known == name), "{name}");
                ours += 1;
            }
        }
    }
    assert_eq!(ours, LAYERS.len());
}

#[test]
fn a_node_is_built_from_few_enough_packages_to_name_them() {
    let node = graph("adyton-node", "normal");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in &node {
        versions.entry(name).or_default().push(version);
    }
    println!(
        "adyton-node is built from {} packages (at most {MAX_PACKAGES_OF_NODE})",
        node.len()
    );
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("more than once: {name} {}", versions.join(" "));
    }
    assert!(node.len() <= MAX_PACKAGES_OF_NODE, "{}", node.len());
}

/// Every Rust file of the workspace, by its path from the root.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root.join("crates"), &mut found);
    walk(&root.join("bench"), &mut found);
    walk(&root.join("rig"), &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(&root).unwrap().to_str().unwrap();
            (path.to_owned(), text)
        })
        .collect()
}

/// Whether the keyword stands in code: comments and the names of lints do not count.
fn has_unsafe(text: &str) -> bool {
    text.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .any(|word| word == concat!("un", "safe"))
    })
}

#[test]
fn unsafe_code_is_in_the_excused_files_only() {
    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, text)| has_unsafe(text))
        .map(|(path, _)| path)
        .collect();
    let excused: BTreeSet<String> = UNSAFE_FILES.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(found, excused);
}

#[test]
fn every_crate_root_forbids_unsafe_code() {
    let roots: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"))
        .collect();
    assert!(roots.len() >= LAYERS.len());
    for (path, text) in roots {
        let word = match DENYING_ROOTS.contains(&path.as_str()) {
            true => "deny",
            false => "forbid",
        };
        let says = text.contains(&format!("#![{word}(unsafe_code)]"));
        assert!(says, "{path} lacks the line that has {word}");
    }
}

#[test]
fn the_document_of_problems_explains_each_and_no_other() {
    let text = fs::read_to_string(root().join("docs/problems.md")).unwrap();
    let mut sections = text.split("\n## ");
    let _introduction = sections.next();
    let sections: Vec<&str> = sections.collect();
    let explained: Vec<&str> = sections
        .iter()
        .map(|section| section.lines().next().unwrap())
        .collect();
    assert_eq!(explained, ProblemKind::ALL.map(ProblemKind::slug).to_vec());
    for (section, kind) in sections.iter().zip(ProblemKind::ALL) {
        let facts = format!("**{}** · {}.", kind.status(), kind.title());
        assert!(section.contains(&facts), "{} lacks: {facts}", kind.slug());
        assert!(
            section.contains("What to do: "),
            "{} says what to do",
            kind.slug()
        );
    }
}
