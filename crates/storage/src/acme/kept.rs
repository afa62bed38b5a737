//! What the node keeps of an authority: account, certificate and key, and the tries since. For the node's own user of the system.
//!
//! Guarantees: a file is as it was, or whole and new (another name, `fsync`, rename, `fsync` of the directory). Certificate and key
//! are one file, so that they fit. Each authority has its own directory: a try with another one takes nothing from the first.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::schedule::Attempts;
use crate::private_files::{new_file, own_directory};
use crate::tls::{Pair, TlsError, chain, pair, read_file};

/// The key in PEM, then the certificates in PEM, the node's own first.
const CERTIFICATE: &str = "certificate.pem";
/// JSON: the account's URL, its key, the directory.
const ACCOUNT: &str = "account.json";
/// JSON: [`Attempts`].
const ATTEMPTS: &str = "attempts.json";
/// Bytes of either.
const MAX_JSON_BYTES: u64 = 64 << 10;

pub(super) struct Kept {
    directory: PathBuf,
}

impl Kept {
    pub(super) fn open(data: &Path, authority: &Url) -> io::Result<Self> {
        let all = data.join("acme");
        let name = Sha256::digest(authority.as_str());
        let directory = all.join(hex::encode(name.split_at(8).0));
        own_directory(&all)?;
        own_directory(&directory)?;
        Ok(Self { directory })
    }

    /// The certificate with its key. None: there is none yet.
    pub(super) fn pair(&self) -> Result<Option<Pair>, TlsError> {
        let pem = match read_file(&self.directory.join(CERTIFICATE), "certificate") {
            Err(TlsError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        pair(chain(&pem)?, &pem).map(Some)
    }

    /// What is kept of other authorities and can be used. What cannot is theirs alone.
    pub(super) fn pairs_of_others(&self) -> Vec<Pair> {
        let all = self.directory.parent().map(std::fs::read_dir);
        let found = all.into_iter().flatten().flatten().flatten();
        found
            .map(|entry| entry.path())
            .filter(|path| *path != self.directory)
            .filter_map(|directory| Self { directory }.pair().ok().flatten())
            .collect()
    }

    pub(super) fn keep_pair(&self, pem: &str) -> io::Result<()> {
        self.write(CERTIFICATE, pem.as_bytes())
    }

    /// The account. None: there is none yet, or nothing that can be used.
    pub(super) fn account(&self) -> io::Result<Option<AccountCredentials>> {
        let json = self.read(ACCOUNT)?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> io::Result<()> {
        self.write(ACCOUNT, &Zeroizing::new(serde_json::to_vec(account)?))
    }

    pub(super) fn attempts(&self) -> io::Result<Option<Attempts>> {
        let json = self.read(ATTEMPTS)?;
        let attempts = json.map(|json| serde_json::from_slice(&json));
        Ok(attempts.transpose()?)
    }

    pub(super) fn keep_attempts(&self, attempts: &Attempts) -> io::Result<()> {
        self.write(ATTEMPTS, &serde_json::to_vec(attempts)?)
    }

    fn read(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = match File::open(self.directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let room = usize::try_from(MAX_JSON_BYTES).unwrap_or(0) + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(MAX_JSON_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.directory.join(format!("{name}.new"));
        // Of a start that did not end.
        gone(&new)?;
        let mut file = new_file(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.directory.join(name))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_kept_is_for_the_node_alone_and_apart_for_each_authority() {
        let data = tempfile::tempdir().unwrap();
        let kept = Kept::open(data.path(), &url("https://a.example/dir")).unwrap();
        assert!(kept.pair().unwrap().is_none() && kept.account().unwrap().is_none());
        assert_eq!(kept.attempts().unwrap(), None);
        let attempts = Attempts::new(&["a.example".to_owned()]);
        // A rest of a write that did not end is no hindrance.
        std::fs::write(kept.directory.join("attempts.json.new"), "half").unwrap();
        kept.keep_attempts(&attempts).unwrap();
        kept.keep_attempts(&attempts).unwrap();
        assert_eq!(kept.attempts().unwrap(), Some(attempts));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept.directory.join(ATTEMPTS)), 0o600);
        assert_eq!(mode(&kept.directory), 0o700);
        assert_eq!(mode(&data.path().join("acme")), 0o700);
        let other = Kept::open(data.path(), &url("https://b.example/dir")).unwrap();
        assert_eq!(other.attempts().unwrap(), None);
        assert_eq!(std::fs::read_dir(&kept.directory).unwrap().count(), 1);
    }

    #[test]
    fn damaged_files_are_an_error_or_nothing_and_never_a_key() {
        let data = tempfile::tempdir().unwrap();
        let kept = Kept::open(data.path(), &url("https://a.example/dir")).unwrap();
        for rest in ["", "-----BEGIN PRIVATE KEY-----\n", "\0\0\0\0", "{}"] {
            for name in [CERTIFICATE, ACCOUNT, ATTEMPTS] {
                std::fs::write(kept.directory.join(name), rest).unwrap();
            }
            assert!(kept.pair().is_err(), "{rest}");
            assert!(kept.account().unwrap().is_none(), "{rest}");
            assert!(kept.attempts().is_err(), "{rest}");
        }
        // A certificate of one key with another key.
        let made = || rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let pem = |key: &rcgen::KeyPair| format!("{}{}", key.serialize_pem(), one.cert.pem());
        kept.keep_pair(&pem(&other.signing_key)).unwrap();
        assert!(matches!(kept.pair(), Err(TlsError::Pair(_))));
        kept.keep_pair(&pem(&one.signing_key)).unwrap();
        assert!(kept.pair().unwrap().is_some());
        // Its own is no other authority's, and a directory in which nothing is whole is passed over.
        assert!(kept.pairs_of_others().is_empty());
        let other = Kept::open(data.path(), &url("https://b.example/dir")).unwrap();
        assert_eq!(other.pairs_of_others().len(), 1);
        std::fs::write(other.directory.join(CERTIFICATE), "half").unwrap();
        assert!(kept.pairs_of_others().is_empty());
    }
}
