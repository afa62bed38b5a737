//! A root made for one test, and below it a chain in the shape of AWS's: regional, zonal, instance, leaf.
//!
//! The emulated security module signs with the leaf. Nothing trusts the root but a policy that names its hash and says
//! `allow_simulated = true`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use adyton_attest::nitro::RootHash;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};

/// The name of the root, for whoever looks at a certificate.
pub const ROOT_NAME: &str = "TEST adyton rig root - trusts nothing";

/// How far before its making a certificate starts: clocks differ.
const EARLIER: Duration = Duration::from_secs(300);

const HOUR: Duration = Duration::from_secs(3600);

/// The authorities below the root, and how many hours they live.
const AUTHORITIES: [(&str, u32); 3] = [
    ("TEST regional", 20 * 24),
    ("TEST zonal", 6 * 24),
    ("TEST instance", 24),
];

/// How many hours a leaf lives.
const LEAF_HOURS: u32 = 3;

/// A chain with the key of its leaf.
pub struct TestPki {
    /// Root first, as in a document.
    chain: Vec<Vec<u8>>,
    leaf: Vec<u8>,
    leaf_key: KeyPair,
}

impl TestPki {
    /// Makes all keys and certificates anew.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] when one cannot be made.
    pub fn make(now: SystemTime) -> Result<Self, PkiError> {
        let mut params = params(ROOT_NAME, now, HOUR * 24 * 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = p384()?;
        let mut chain = vec![params.self_signed(&key)?.der().to_vec()];
        let mut above = (params, key);
        for (below, (name, hours)) in (0..=2_u8).rev().zip(AUTHORITIES) {
            let mut params = self::params(name, now, HOUR * hours);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = p384()?;
            let issuer = Issuer::from_params(&above.0, &above.1);
            chain.push(params.signed_by(&key, &issuer)?.der().to_vec());
            above = (params, key);
        }
        let mut params = self::params("TEST leaf", now, HOUR * LEAF_HOURS);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
        ];
        let leaf_key = p384()?;
        let issuer = Issuer::from_params(&above.0, &above.1);
        let leaf = params.signed_by(&leaf_key, &issuer)?.der().to_vec();
        Ok(Self {
            chain,
            leaf,
            leaf_key,
        })
    }

    /// By what a policy names the root.
    #[must_use]
    pub fn root(&self) -> RootHash {
        RootHash::of(self.chain.first().map(Vec::as_slice).unwrap_or_default())
    }

    /// Writes the files that the emulated security module reads (see `enclave/rig/qemu/README.md`).
    ///
    /// # Errors
    /// [`PkiError::File`] when a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), PkiError> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("key.pem"), self.leaf_key.serialize_pem())?;
        fs::write(folder.join("leaf.der"), &self.leaf)?;
        for (at, der) in self.chain.iter().enumerate() {
            fs::write(folder.join(format!("chain-{at}.der")), der)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for TestPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestPki({})", self.root())
    }
}

fn params(name: &str, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + life).into();
    params
}

fn p384() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
}

/// There is no chain, or no files of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A key or certificate cannot be made.
    #[error("a test certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("the test certificates cannot be written")]
    File(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_that_the_patch_reads_and_fit_a_document() {
        let folder = tempfile::tempdir().unwrap();
        let pki = TestPki::make(SystemTime::UNIX_EPOCH + HOUR * 500_000).unwrap();
        pki.write(folder.path()).unwrap();
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert!(read("key.pem").starts_with(b"-----BEGIN PRIVATE KEY-----"));
        assert_eq!(RootHash::of(&read("chain-0.der")), pki.root());
        for name in [
            "leaf.der",
            "chain-0.der",
            "chain-1.der",
            "chain-2.der",
            "chain-3.der",
        ] {
            assert!((1..=1024).contains(&read(name).len()), "{name}");
        }
        assert!(!folder.path().join("chain-4.der").exists());
    }
}
