//! Account keys on the owner's own disk: made, written with mode 0600, read back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use adyton_keys::account::Account;
use adyton_protocol::did::Network;
use rand_core::{OsRng, TryRngCore};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::AccountArgs;
use crate::failure::Failure;

/// A key file is not larger than this: 24 words fit many times.
const MAX_KEY_FILE_BYTES: u64 = 4 << 10;

/// How the key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Twelve English words.
    Mnemonic,
    /// `0x` and 64 hexadecimal digits.
    PrivateKey,
}

/// Makes an account and writes its key to a new file.
pub fn create(path: &Path, network: Network, form: KeyForm) -> Result<Account, Failure> {
    let (account, words) = Account::generate(network.anchor(), &mut OsRng.unwrap_err());
    let secret = match form {
        KeyForm::Mnemonic => words,
        KeyForm::PrivateKey => account.expose_private_key(),
    };
    write_secret(path, &secret).map_err(|error| {
        let failure = Failure::of(
            format_args!("cannot write the key to {}", path.display()),
            &error,
        );
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                failure.hint("choose another name with --out; a key is never overwritten")
            }
            _ => failure,
        }
    })?;
    Ok(account)
}

/// Reads an account from its key file.
pub fn load(args: &AccountArgs) -> Result<Account, Failure> {
    let path = args.key_file.as_path();
    let secret = read_secret(path)?;
    Account::from_secret_text(secret.trim(), args.network.anchor())
        .map_err(|error| Failure::of(format_args!("{} holds no account", path.display()), &error))
}

/// What `account new` says.
pub fn describe_new(account: &Account, path: &Path, json: bool) -> String {
    let did = account.did().as_given();
    if json {
        return json!({ "did": did, "keyFile": path.display().to_string() }).to_string();
    }
    format!(
        "Your DID   {did}\nYour key   {} (mode 0600)\n\n\
         Keep a copy of the key where only you find it. Nobody can give you another one.",
        path.display()
    )
}

/// What `account show` says.
pub fn describe(account: &Account, json: bool) -> String {
    let did = account.did().as_given();
    if json {
        json!({ "did": did }).to_string()
    } else {
        did.to_owned()
    }
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let failure = Failure::of(
            format_args!("cannot read the key file {}", path.display()),
            &error,
        );
        if missing {
            failure.hint("make one with `adyton account new`, or name yours with --account FILE")
        } else {
            failure
        }
    };
    let file = File::open(path).map_err(failed)?;
    check_mode(path, &file.metadata().map_err(failed)?)?;
    // Room for all of it at once: a string that grows would leave copies behind.
    let mut secret = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES as usize));
    file.take(MAX_KEY_FILE_BYTES)
        .read_to_string(&mut secret)
        .map_err(failed)?;
    Ok(secret)
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Failure> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(Failure::new(format!(
        "others can read the key file {shown} (mode {mode:04o})"
    ))
    .hint(format!("chmod 600 {shown}")))
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), Failure> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(path: &Path) -> AccountArgs {
        AccountArgs {
            key_file: path.to_owned(),
            network: Network::Banksia,
        }
    }

    #[test]
    fn an_account_comes_back_from_its_file_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        for (name, form) in [("words", KeyForm::Mnemonic), ("key", KeyForm::PrivateKey)] {
            let path = folder.path().join(name);
            let made = create(&path, Network::Banksia, form).unwrap();
            assert_eq!(load(&args(&path)).unwrap().did(), made.did());
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(
                text.split_whitespace().count(),
                if name == "words" { 12 } else { 1 }
            );
        }
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, Network::Banksia, KeyForm::Mnemonic).unwrap();
        let before = std::fs::read(&path).unwrap();
        let failure = create(&path, Network::Banksia, KeyForm::Mnemonic).unwrap_err();
        assert!(failure.to_string().contains("never overwritten"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    #[cfg(unix)]
    fn a_key_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, Network::Banksia, KeyForm::Mnemonic).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o640).unwrap();
        assert!(
            load(&args(&path))
                .unwrap_err()
                .to_string()
                .contains("chmod 600")
        );
        mode(0o400).unwrap();
        load(&args(&path)).unwrap();
    }

    #[test]
    fn a_failure_never_shows_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_secret(&path, "0xnot-a-key-but-secret").unwrap();
        let failure = load(&args(&path)).unwrap_err();
        assert!(
            !format!("{failure}{failure:?}").contains("but-secret"),
            "{failure}"
        );
        let failure = load(&args(&folder.path().join("none"))).unwrap_err();
        assert!(failure.to_string().contains("adyton account new"));
    }
}
