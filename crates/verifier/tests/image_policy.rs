//! The real program makes a policy of an image's measurements, and reads it itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod program;

use std::fs;

use adyton_attest::nitro::Pcr;
use adyton_attest::{ConfigDigest, Policy};
use program::verify;

fn measurements(zero: bool) -> String {
    let pcr = |index: u8| {
        let pcr = if zero { Pcr::ZERO } else { Pcr::of(&[index]) };
        pcr.to_string()
    };
    serde_json::json!({
        "version": 1,
        "name": "adytön \"0.1.0\"",
        "measurements": {"PCR0": pcr(0), "PCR1": pcr(1), "PCR2": pcr(2)},
        "inputs": {"cmdline": "quiet"},
    })
    .to_string()
}

#[test]
fn measurements_and_a_configuration_make_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("measurements.json"), measurements(false)).unwrap();
    fs::write(path("node.toml"), "listen = \"vsock:8443\"\n").unwrap();

    let ran = verify(&["policy", "--measurements", &path("measurements.json")]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let policy = Policy::from_toml(&ran.out).unwrap();
    let [image] = policy.nitro() else {
        panic!("one image")
    };
    assert_eq!(image.name(), "adytön \"0.1.0\"");
    let registers: Vec<u8> = image.pcrs().keys().copied().collect();
    assert_eq!(registers, [0, 1, 2]);
    assert_eq!(image.pcrs()[&2], Pcr::of(&[2]));
    assert!(image.root().is_hardware_vendor() && !policy.allow_simulated());
    assert!(
        ran.out.contains("any configuration is accepted"),
        "{}",
        ran.out
    );

    let ran = verify(&[
        "policy",
        "--measurements",
        &path("measurements.json"),
        "--config",
        &path("node.toml"),
        "--name",
        "mine",
    ]);
    let policy = Policy::from_toml(&ran.out).unwrap();
    let image = &policy.nitro()[0];
    let config = Pcr::of_config(&ConfigDigest::of("listen = \"vsock:8443\"\n"));
    assert_eq!(
        (image.name(), image.pcrs().get(&17)),
        ("mine", Some(&config))
    );
}

#[test]
fn measurements_of_debug_mode_make_no_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("measurements.json");
    for (text, words) in [
        (measurements(true), "debug mode"),
        ("{}".to_owned(), "measurements"),
        (measurements(false).replace("PCR2", "PCR8"), "PCR2"),
    ] {
        fs::write(&path, text).unwrap();
        let ran = verify(&["policy", "--measurements", path.to_str().unwrap()]);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    let ran = verify(&["policy", "--measurements", "/no/such/file"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("/no/such/file"), "{}", ran.err);
}
