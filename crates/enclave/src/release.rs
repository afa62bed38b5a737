//! `release`: manifests of images, signed by the holders of the project's keys.
//!
//! The format and what is checked are [`adyton_attest::release`]'s. Here are only the files: a manifest is written once
//! and signed in place by one holder after the other, or copies are signed apart and joined.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use adyton_attest::Policy;
use adyton_attest::measurement::{BuiltImage, MAX_RECORD_BYTES};
use adyton_attest::policy::MAX_POLICY_BYTES;
use adyton_attest::release::{Draft, MAX_RELEASE_BYTES, ReleaseSigner, UnverifiedRelease};
use adyton_enclave::digest::Sha256Hex;
use zeroize::Zeroizing;

use crate::args::{NewManifest, ReleaseCommand};

/// Longest key file.
const MAX_KEY_BYTES: usize = 4096;

/// What was released.
const NAME: &str = "adyton";

pub(crate) fn run(command: &ReleaseCommand) -> Result<String, Box<dyn Error>> {
    match command {
        ReleaseCommand::Key { file } => new_key(file),
        ReleaseCommand::New(manifest) => new_manifest(manifest),
        ReleaseCommand::Message { manifest } => {
            let release = read_manifest(manifest)?;
            Ok(String::from_utf8(release.message())?)
        }
        ReleaseCommand::Sign { manifest, key } => sign(manifest, key),
        ReleaseCommand::Join { manifest, copies } => join(manifest, copies),
        ReleaseCommand::Check { manifest, policy } => check(manifest, policy),
    }
}

/// A new key in a file that only its owner reads, or the public half of the one that is there.
fn new_key(path: &Path) -> Result<String, Box<dyn Error>> {
    if path.exists() {
        return Ok(format!("{}\n", read_key(path)?.key()));
    }
    let signer = ReleaseSigner::generate()?;
    let text = signer.to_pem()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(format!("{}\n", signer.key()))
}

fn new_manifest(wanted: &NewManifest) -> Result<String, Box<dyn Error>> {
    let mut nitro = Vec::new();
    let mut record = None;
    for path in &wanted.measurements {
        let bytes = read(path, MAX_RECORD_BYTES)?;
        let image = BuiltImage::from_json(&bytes)?;
        // The manifest has room for one record; with more than one image each has its own.
        record = Some(Sha256Hex::of(&bytes).to_string());
        let name = image.name.unwrap_or_else(|| "unnamed image".to_owned());
        nitro.push((name, image.pcrs));
    }
    let draft = Draft {
        seq: wanted.seq,
        name: NAME.to_owned(),
        release: wanted.release.clone(),
        commit: wanted.commit.clone(),
        not_after: wanted.not_after.clone(),
        measurements_sha256: record.filter(|_| wanted.measurements.len() == 1),
        nitro,
    };
    // What is wrong with it is found before anybody signs it.
    Ok(UnverifiedRelease::parse(draft.to_text().as_bytes())?.to_text())
}

fn sign(path: &Path, key: &Path) -> Result<String, Box<dyn Error>> {
    let release = read_manifest(path)?;
    let signer = read_key(key)?;
    let signed = release.signed_by(&signer);
    replace(path, &signed.to_text())?;
    Ok(format!("{}: {}\n", signer.key(), summary(&signed)))
}

fn join(path: &Path, copies: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut release = read_manifest(path)?;
    for copy in copies {
        release = release
            .joined_with(&read_manifest(copy)?)
            .map_err(|error| format!("{}: {error}", copy.display()))?;
    }
    replace(path, &release.to_text())?;
    Ok(format!("{}\n", summary(&release)))
}

fn check(path: &Path, policy: &Path) -> Result<String, Box<dyn Error>> {
    let release = read_manifest(path)?;
    let text = String::from_utf8(read(policy, MAX_POLICY_BYTES)?)?;
    let mut lines = format!("{}\n", summary(&release));
    let accepted = Policy::from_toml(&text)?.with_release(release)?;
    for image in accepted.released_nitro() {
        lines.push_str(&format!("\"{}\"\n", image.name().escape_debug()));
        for (index, pcr) in image.pcrs() {
            lines.push_str(&format!("  PCR{index} {pcr}\n"));
        }
    }
    let signers = accepted
        .release()
        .map_or(&[][..], |release| release.signed_by());
    for key in signers {
        lines.push_str(&format!("signed by {key}\n"));
    }
    lines.push_str("The policy accepts this manifest.\n");
    Ok(lines)
}

fn summary(release: &UnverifiedRelease) -> String {
    let manifest = release.unverified_manifest();
    format!(
        "{} {}, number {}, commit {}, {} signature(s)",
        manifest.name().escape_debug(),
        manifest.release().escape_debug(),
        manifest.seq(),
        manifest.commit(),
        release.unverified_signers().count()
    )
}

fn read_manifest(path: &Path) -> Result<UnverifiedRelease, Box<dyn Error>> {
    let release = UnverifiedRelease::parse(&read(path, MAX_RELEASE_BYTES)?);
    release.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn read_key(path: &Path) -> Result<ReleaseSigner, Box<dyn Error>> {
    let bytes = Zeroizing::new(read(path, MAX_KEY_BYTES)?);
    let signer = ReleaseSigner::from_pem(std::str::from_utf8(&bytes)?);
    signer.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// At most one byte over the limit, so that a longer file is refused by its reader and not cut.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let cannot = |error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(limit)?.saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// The old content or the new one, whatever happens in between.
fn replace(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    fs::write(&new, text)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    Ok(())
}
