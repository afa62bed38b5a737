//! The real program: keys, manifests, signatures of holders who work apart, and OpenSSL's as well.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic
)]

#[path = "../../sandbox/tests/lacking/mod.rs"]
mod lacking;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder with the record of a build in it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(96));
        let record = format!(
            r#"{{"version":1,"name":"x86_64","measurements":{{"PCR0":"{one}","PCR1":"{two}","PCR2":"{three}"}}}}"#
        );
        fs::write(desk.path("measurements.json"), record).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs in the folder; what it printed, or how it failed.
    fn run(&self, line: &str) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_adyton-enclave"))
            .arg("release")
            .args(line.split(' '))
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    fn manifest(&self, name: &str, seq: u64) {
        let commit = "c0ffee00".repeat(5);
        let line = format!("new --measurements measurements.json --seq {seq} --commit {commit}");
        fs::write(self.path(name), self.run(&line).unwrap()).unwrap();
    }

    fn policy(&self, threshold: usize, keys: &[String]) {
        let text =
            format!("version = 1\n[release_keys]\nthreshold = {threshold}\nkeys = {keys:?}\n");
        fs::write(self.path("policy.toml"), text).unwrap();
    }
}

#[test]
fn two_of_three_holders_release_an_image() {
    let desk = Desk::new();
    let keys = ["a", "b", "c"].map(|name| {
        let key = desk.run(&format!("key {name}.key")).unwrap();
        assert_eq!(desk.run(&format!("key {name}.key")).unwrap(), key);
        key.trim().to_owned()
    });
    let mode = fs::metadata(desk.path("a.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    desk.policy(2, &keys);
    desk.manifest("adyton.release", 14);
    let text = fs::read_to_string(desk.path("adyton.release")).unwrap();
    assert!(text.contains("seq = 14\nname = \"adyton\"\n"), "{text}");
    assert!(text.contains("measurements_sha256 = \""), "{text}");

    let check = "check adyton.release --policy policy.toml";
    assert!(
        desk.run(check)
            .unwrap_err()
            .contains("the policy asks for 2")
    );
    // One signs in place, another a copy.
    fs::copy(desk.path("adyton.release"), desk.path("copy.release")).unwrap();
    desk.run("sign adyton.release --key a.key").unwrap();
    assert!(
        desk.run(check)
            .unwrap_err()
            .contains("1 of the release keys")
    );
    desk.run("sign copy.release --key c.key").unwrap();
    let joined = desk.run("join adyton.release copy.release").unwrap();
    assert!(joined.contains("number 14"), "{joined}");
    let accepted = desk.run(check).unwrap();
    assert!(
        accepted.contains(&format!("PCR2 {}", "3".repeat(96))),
        "{accepted}"
    );
    for key in [&keys[0], &keys[2]] {
        assert!(accepted.contains(&format!("signed by {key}")), "{accepted}");
    }

    // A copy of another manifest is none.
    desk.manifest("later.release", 15);
    assert!(desk.run("join adyton.release later.release").is_err());
}

#[test]
fn what_nobody_should_sign_is_not_written() {
    let desk = Desk::new();
    let refused = |line: &str| desk.run(line).unwrap_err();
    let commit = "c0ffee00".repeat(5);
    let new = "new --measurements measurements.json";
    assert!(refused(&format!("{new} --seq 0 --commit {commit}")).contains("seq is 0"));
    assert!(refused(&format!("{new} --seq 1 --commit main")).contains("commit"));
    let late = format!("{new} --seq 1 --commit {commit} --not-after tomorrow");
    assert!(refused(&late).contains("not_after"));
    let record = fs::read_to_string(desk.path("measurements.json")).unwrap();
    let debug = record.replace(&"2".repeat(96), &"0".repeat(96));
    fs::write(desk.path("measurements.json"), debug).unwrap();
    assert!(refused(&format!("{new} --seq 1 --commit {commit}")).contains("debug mode"));
}

/// A key that OpenSSL keeps, for those whose key is in a token.
#[test]
fn a_signature_of_openssl_counts() {
    let desk = Desk::new();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(desk.0.path())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then_some(output.stdout)
    };
    if openssl(&["genpkey", "-algorithm", "ed25519", "-out", "o.key"]).is_none() {
        lacking::skip("there is no openssl on this machine that knows ed25519");
        return;
    }
    let key = desk.run("key o.key").unwrap().trim().to_owned();
    desk.policy(1, std::slice::from_ref(&key));
    desk.manifest("adyton.release", 1);
    let message = desk.run("message adyton.release").unwrap();
    fs::write(desk.path("message"), message).unwrap();
    let sign = [
        "pkeyutl", "-sign", "-rawin", "-inkey", "o.key", "-in", "message",
    ];
    fs::write(desk.path("signature"), openssl(&sign).unwrap()).unwrap();
    let base64 = openssl(&["base64", "-A", "-in", "signature"]).unwrap();
    let manifest = fs::read_to_string(desk.path("adyton.release")).unwrap();
    let line = format!("{key} {}", String::from_utf8(base64).unwrap());
    let signed = format!("{manifest}-----signatures-----\n{line}\n");
    fs::write(desk.path("adyton.release"), signed).unwrap();
    let accepted = desk
        .run("check adyton.release --policy policy.toml")
        .unwrap();
    assert!(accepted.contains(&format!("signed by {key}")), "{accepted}");
}
