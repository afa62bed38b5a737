//! Quotes that Intel's hardware made, with Intel's collateral: the samples inside the crate `dcap-qvl`, read from where
//! cargo keeps its source (pinned by `Cargo.lock`), so that nothing of them is copied here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::nitro::{Pcr, RootHash};
use adyton_attest::tdx::quote::{QuoteError, VerifiedQuote};
use adyton_attest::tdx::{Collateral, INTEL_SGX_ROOT};

fn samples() -> PathBuf {
    // Of this platform: what others need was never downloaded here.
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    let platform = format!("{}-unknown-linux-{libc}", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--locked",
            "--features",
            "tdx",
            "--filter-platform",
            &platform,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "dcap-qvl")
        .unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("sample")
}

struct Sample {
    quote: Vec<u8>,
    collateral: Collateral,
}

fn sample(name: &str) -> Sample {
    let folder = samples();
    let json = std::fs::read(folder.join(format!("{name}_collateral.json"))).unwrap();
    Sample {
        quote: std::fs::read(folder.join(name)).unwrap(),
        collateral: Collateral::from_json(&json).unwrap(),
    }
}

impl Sample {
    /// A day after Intel signed the levels.
    fn own_time(&self) -> SystemTime {
        let info: serde_json::Value = serde_json::from_str(&self.collateral.tcb_info).unwrap();
        let issued = info["issueDate"].as_str().unwrap();
        let format = time::format_description::well_known::Rfc3339;
        let issued = time::OffsetDateTime::parse(issued, &format).unwrap();
        SystemTime::from(issued) + Duration::from_secs(24 * 3600)
    }

    fn verify(&self, at: SystemTime) -> Result<VerifiedQuote, QuoteError> {
        VerifiedQuote::verify(&self.quote, &self.collateral, &[INTEL_SGX_ROOT], at)
    }
}

const NAMES: [&str; 2] = ["tdx_quote", "tdx_quote_td15ex"];

#[test]
fn genuine_quotes_verify_at_their_own_time() {
    for name in NAMES {
        let sample = sample(name);
        let quote = sample.verify(sample.own_time()).unwrap();
        assert_eq!(quote.root(), INTEL_SGX_ROOT);
        // What stands in the bytes: version 5 quotes have six more in front of the report.
        let report = if sample.quote[0] == 5 { 48 + 6 } else { 48 };
        let register = |at: usize| Pcr::new(sample.quote[report + at..][..48].try_into().unwrap());
        assert_eq!(quote.registers().mrtd, register(136));
        assert_eq!(quote.registers().rtmr, [328, 376, 424, 472].map(register));
        assert_eq!(quote.report_data()[..], sample.quote[report + 520..][..64]);
        assert!(quote.valid_until() > sample.own_time());
    }
}

#[test]
fn a_genuine_quote_of_a_platform_below_every_level_is_refused() {
    let outdated = sample("tdx_quote_outdated");
    let verdict = outdated.verify(outdated.own_time());
    assert!(
        matches!(verdict, Err(QuoteError::Chain(reason)) if reason.contains("No matching TCB level"))
    );
}

#[test]
fn genuine_quotes_fail_before_and_after_their_time() {
    for name in NAMES {
        let sample = sample(name);
        for at in [
            UNIX_EPOCH + Duration::from_secs(1_500_000_000),
            sample.own_time() - Duration::from_secs(3 * 24 * 3600),
            sample.own_time() + Duration::from_secs(40 * 24 * 3600),
            UNIX_EPOCH + Duration::from_secs(2_600_000_000),
        ] {
            assert!(
                matches!(sample.verify(at), Err(QuoteError::Chain(_))),
                "{name}"
            );
        }
    }
}

#[test]
fn a_genuine_quote_under_another_trusted_root_is_refused() {
    let sample = sample(NAMES[0]);
    let other = RootHash::of(b"another root");
    let verdict = VerifiedQuote::verify(
        &sample.quote,
        &sample.collateral,
        &[other],
        sample.own_time(),
    );
    assert_eq!(
        verdict,
        Err(QuoteError::Root {
            found: INTEL_SGX_ROOT
        })
    );
}

#[test]
fn a_flipped_bit_of_a_genuine_quote_is_refused() {
    for name in NAMES {
        let sample = sample(name);
        let at = sample.own_time();
        let genuine = sample.verify(at).unwrap();
        // The header, the guest's report and its signature; every fifth byte.
        let signed = 48 + 584 + 4 + 64;
        for byte in (0..signed).step_by(5) {
            let mut quote = sample.quote.clone();
            quote[byte] ^= 1 << (byte % 8);
            let verdict = VerifiedQuote::verify(&quote, &sample.collateral, &[INTEL_SGX_ROOT], at);
            assert_ne!(verdict.as_ref(), Ok(&genuine), "{name} byte {byte}");
            assert!(verdict.is_err(), "{name} byte {byte}");
        }
    }
}

#[test]
fn collateral_of_another_platform_does_not_vouch() {
    let (first, other) = (sample("tdx_quote"), sample("tdx_quote_td15ex"));
    let verdict = VerifiedQuote::verify(
        &first.quote,
        &other.collateral,
        &[INTEL_SGX_ROOT],
        other.own_time(),
    );
    assert!(matches!(verdict, Err(QuoteError::Chain(_))));
}

#[test]
fn an_sgx_enclaves_quote_is_no_guests() {
    let sample = sample("sgx_quote");
    assert!(sample.verify(sample.own_time()).is_err());
}
