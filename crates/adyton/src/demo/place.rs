//! Where the demo keeps things: the vault's ciphertext and the account's key for as long as the person wants, and
//! what a second terminal needs for as long as the demo runs.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use adyton_keys::account::Account;
use adyton_sandbox::cluster::NETWORK;
use tempfile::TempDir;

use crate::account::{self, KeyForm};
use crate::args::AccountArgs;
use crate::failure::Failure;
use crate::secret_file::{self, Kind};

/// Longest text of the remembered addresses.
const MAX_ADDRESS_BYTES: u64 = 256;

/// The demo's directories. The temporary one is removed on drop.
#[derive(Debug)]
pub(super) struct Place {
    home: PathBuf,
    temporary: TempDir,
    /// Held for as long as the demo runs, so that two of them never share a directory.
    _lock: Option<File>,
}

/// What a second terminal needs.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) policy: PathBuf,
    pub(super) token: PathBuf,
}

impl Place {
    /// Opens the person's directory, or a temporary one.
    pub(super) fn open(data: Option<&Path>) -> Result<Self, Failure> {
        let temporary = tempfile::Builder::new()
            .prefix("adyton-demo-")
            .tempdir()
            .map_err(|error| Failure::of("cannot make a temporary directory", &error))?;
        let (home, lock) = match data {
            None => (temporary.path().to_owned(), None),
            Some(data) => (data.to_owned(), Some(lock(data)?)),
        };
        Ok(Self {
            home,
            temporary,
            _lock: lock,
        })
    }

    /// Where the first storage node keeps ciphertext, and others beside it. Nothing else is in there.
    pub(super) fn storage_directory(&self) -> PathBuf {
        self.home.join("storage")
    }

    /// Where the account's key is.
    pub(super) fn key_file(&self) -> PathBuf {
        self.home.join("account.key")
    }

    /// The demo's account: the one of the last start, or a new one. Tells whether it is new.
    pub(super) fn account(&self) -> Result<(Account, bool), Failure> {
        let key_file = self.key_file();
        if !key_file.exists() {
            let account = account::create(&key_file, NETWORK, KeyForm::Mnemonic)?;
            return Ok((account, true));
        }
        let account = account::load(&AccountArgs {
            key_file,
            network: NETWORK,
        })?;
        Ok((account, false))
    }

    /// Where the storage nodes listened at the last start. The vault's DID document names them, so they stay.
    pub(super) fn remembered_storage(&self) -> Result<Option<Vec<SocketAddr>>, Failure> {
        let path = self.address_file();
        let wrong = || {
            Failure::new(format!("{} holds no address", path.display()))
                .hint("take another --data directory")
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() <= MAX_ADDRESS_BYTES => {}
            _ => return Err(wrong()),
        }
        let text = fs::read_to_string(&path).map_err(|_| wrong())?;
        let addresses = text.lines().map(str::parse).collect::<Result<Vec<_>, _>>();
        match addresses.map_err(|_| wrong())? {
            none if none.is_empty() => Err(wrong()),
            addresses => Ok(Some(addresses)),
        }
    }

    /// Remembers where the storage nodes listen, one on a line.
    pub(super) fn remember_storage<'a>(
        &self,
        urls: impl Iterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let lines = urls.map(|url| format!("{}\n", url.strip_prefix("http://").unwrap_or(url)));
        write(&self.address_file(), &lines.collect::<String>())
    }

    /// Writes what a second terminal needs.
    pub(super) fn write_files(
        &self,
        certificate: &str,
        policy: &str,
        token: &str,
    ) -> Result<Files, Failure> {
        let folder = self.temporary.path();
        let files = Files {
            certificate: folder.join("certificate.pem"),
            policy: folder.join("policy.toml"),
            token: folder.join("token"),
        };
        write(&files.certificate, certificate)?;
        write(&files.policy, policy)?;
        secret_file::write(&files.token, Kind::Token, token)?;
        Ok(files)
    }

    fn address_file(&self) -> PathBuf {
        self.home.join("storage-address")
    }
}

/// Makes the directory if it is not there, and takes it for this process alone.
fn lock(data: &Path) -> Result<File, Failure> {
    let doing = format!("cannot use the data directory {}", data.display());
    let failed = |error: &io::Error| Failure::of(&doing, error);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data).map_err(|error| failed(&error))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data.join("demo.lock"))
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
            "{} is in use by another demo",
            data.display()
        ))
        .hint("end the other one first, or take another --data directory")),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::of(format_args!("cannot write {}", path.display()), &error))
}
