//! Account keys on the owner's own disk: made, written with mode 0600, read back.

use std::path::Path;

use adyton_keys::account::Account;
use adyton_protocol::did::Network;
use rand_core::{OsRng, TryRngCore};
use serde_json::json;

use crate::args::AccountArgs;
use crate::failure::Failure;
use crate::secret_file::{self, Kind};

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
    secret_file::write(path, Kind::Key, &secret)?;
    Ok(account)
}

/// Reads an account from its key file.
pub fn load(args: &AccountArgs) -> Result<Account, Failure> {
    let path = args.key_file.as_path();
    let secret = secret_file::read(path, Kind::Key)?;
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
    fn a_failure_never_shows_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        secret_file::write(&path, Kind::Key, "0xnot-a-key-but-secret").unwrap();
        let failure = load(&args(&path)).unwrap_err();
        assert!(
            !format!("{failure}{failure:?}").contains("but-secret"),
            "{failure}"
        );
        let failure = load(&args(&folder.path().join("none"))).unwrap_err();
        assert!(failure.to_string().contains("adyton account new"));
    }
}
