//! What can be typed after `adyton`.

use std::path::PathBuf;

use adyton_client::endpoint::Endpoint;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Network;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Your data on nodes that prove what they run.
#[derive(Debug, Parser)]
#[command(name = "adyton", version, about, propagate_version = true)]
pub struct Cli {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account, or look at one.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Bring data into your vault.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Print the completions of a shell.
    ///
    /// For example: adyton completions bash > ~/.local/share/bash-completion/completions/adyton
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The commands about accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make a new account and write its key to a file that only you can read.
    New {
        /// Where the key goes. An existing file is never overwritten.
        #[arg(long, value_name = "FILE", default_value = "adyton.key")]
        out: PathBuf,
        /// Write the private key in hexadecimal instead of twelve words.
        #[arg(long)]
        private_key: bool,
        /// The network the account is for: myrtle, banksia, devnet or local.
        #[arg(long, value_name = "NAME", default_value = "banksia", value_parser = network)]
        network: Network,
    },
    /// Print the DID of an account.
    Show {
        /// The account.
        #[command(flatten)]
        account: AccountArgs,
    },
    /// Log in to your storage node and print the session, the value of the header X-API-Key.
    ///
    /// Whoever has this text has everything in the context. It is for your own use only.
    Session {
        /// The vault.
        #[command(flatten)]
        vault: VaultArgs,
    },
}

/// The commands that import.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Import a mailbox file: mbox of any program, Gmail Takeout, or a single message.
    ///
    /// A message that is in the vault already is left alone, so the same command, run again, goes
    /// on where it stopped. A message that cannot be read is reported with its place and skipped.
    Mbox(MboxArgs),
}

/// How to import a mailbox file.
#[derive(Debug, Args)]
pub struct MboxArgs {
    /// The mailbox file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// An address of yours. Decides which messages you sent. Can be given several times.
    ///
    /// Without it, the file is searched for the address that mail is delivered to.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Vec<String>,
    /// Read everything, store nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The vault.
    #[command(flatten)]
    pub vault: VaultArgs,
}

/// Which account.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// The key file of the account.
    #[arg(long = "account", value_name = "FILE", default_value = "adyton.key")]
    pub key_file: PathBuf,
    /// The network of the account: myrtle, banksia, devnet or local.
    #[arg(long, value_name = "NAME", default_value = "banksia", value_parser = network)]
    pub network: Network,
}

/// Which vault: an account, a context, and where it is stored.
#[derive(Debug, Args)]
pub struct VaultArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// A storage node of the vault. Can be given several times.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub storage: Vec<Endpoint>,
    /// The context of the vault.
    #[arg(long, value_name = "NAME", default_value = "Verida: Vault", value_parser = context)]
    pub context: ContextName,
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse()
        .map_err(|error| format!("{error}; expected for example https://node.example.org"))
}

fn context(text: &str) -> Result<ContextName, String> {
    ContextName::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_explains_itself() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let name = argument.get_id();
                assert!(
                    argument.get_help().is_some(),
                    "{} {name}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn json_may_stand_anywhere() {
        for line in ["adyton --json account show", "adyton account show --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.json && matches!(cli.command, Command::Account(_)));
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let line = "adyton import mbox a.mbox --storage ftp://x";
        let error = Cli::try_parse_from(line.split(' '))
            .unwrap_err()
            .to_string();
        assert!(error.contains("not an http or https URL"), "{error}");
    }
}
