//! What can be typed after `adyton`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adyton_client::ack::Ack;
use adyton_client::endpoint::Endpoint;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::{Did, Network};
use adyton_protocol::schema::SchemaUri;
use adyton_resolver::web::plain_url;
use adyton_sandbox::storage_nodes::MAX_STORAGE_NODES;
use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use crate::query::{SortField, selector};
use crate::token::span;

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
    /// Show it all on this machine: both nodes, your mail or a sample, a token, and lines to try.
    ///
    /// The confidential node runs in a SIMULATED TEE. It shows how things work and proves nothing.
    Demo(DemoArgs),
    /// Make an account, or look at one.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Bring data into your vault.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Allow an app to use some of your data, see what is allowed, take it back.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask a node for records of a schema.
    ///
    /// The node is appraised first; one that the policy does not trust gets nothing to see.
    Query(QueryArgs),
    /// See what apps did with your data, and check that nothing of it was taken away.
    ///
    /// Read from your storage node and opened here: no confidential node is asked. The exit status is 3 when the receipts do
    /// not hold together.
    Receipts(ReceiptsArgs),
    /// Run a confidential node in a SIMULATED TEE and nothing else, for tests that watch it.
    #[command(hide = true)]
    SandboxNode(SandboxNodeArgs),
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
    /// On how many of the vault's storage nodes a write must be before it counts: 1, quorum or all [default: quorum where there are
    /// three or more, else 1].
    #[arg(long, value_name = "HOW-MANY", value_parser = ack)]
    pub ack: Option<Ack>,
    /// Resolve the account's DID through the registry on its network's chain, asked here (JSON-RPC). Can be given several times.
    ///
    /// Without it and without --did-directory, the storage nodes given are asked for the account's document.
    #[arg(long, value_name = "URL", value_parser = rpc, conflicts_with = "did_directory")]
    pub did_rpc: Vec<Url>,
    /// Resolve the account's DID through this directory, and register it there. Can be given several times.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub did_directory: Vec<Endpoint>,
    /// The context of the vault.
    #[arg(long, value_name = "NAME", default_value = "Verida: Vault", value_parser = context)]
    pub context: ContextName,
}

/// What the demo does.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Import this mailbox file instead of the bundled sample.
    #[arg(long, value_name = "FILE")]
    pub mbox: Option<PathBuf>,
    /// Keep the account and its data here, and go on with them at the next start.
    ///
    /// Without it, everything is in a temporary directory that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the confidential node listens [default: 127.0.0.1:8443, or any free port].
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub listen: Option<SocketAddr>,
    /// Where the storage node listens [default: 127.0.0.1:5100, or any free port].
    ///
    /// With several, where the first one does; the others listen on the same port of 127.0.0.2 and so on.
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub storage_listen: Option<SocketAddr>,
    /// How many storage nodes hold the vault together, 1 to 5. Several can be stopped and started again from the demo's terminal.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u8).range(1..=i64::from(MAX_STORAGE_NODES)))]
    pub storage_nodes: u8,
    /// End as soon as everything is ready and told, for a script that only wants to see that.
    #[arg(long)]
    pub exit_after_ready: bool,
}

/// A confidential node in a simulated TEE, alone.
#[derive(Debug, Args)]
pub struct SandboxNodeArgs {
    /// The node's configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where the policy that accepts this one start goes.
    #[arg(long, value_name = "FILE")]
    pub policy_out: PathBuf,
    /// Where the node's certificate goes.
    #[arg(long, value_name = "FILE")]
    pub certificate_out: Option<PathBuf>,
}

/// The commands about access tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for an app: it may do what its scopes say and nothing else.
    New(NewTokenArgs),
    /// List the tokens that are good now.
    List {
        /// Whose, and on which node.
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Take a token back. It stops working at once.
    Revoke {
        /// The token's id, as `adyton token list` shows it. Not the token.
        #[arg(value_name = "ID")]
        id: Uuid,
        /// Whose, and on which node.
        #[command(flatten)]
        owner: OwnerArgs,
    },
}

/// What a new token may do.
#[derive(Debug, Args)]
pub struct NewTokenArgs {
    /// What it may do, for example api:ds-query or ds:r:social-email. Can be given several times.
    #[arg(long, value_name = "SCOPE", required = true)]
    pub scope: Vec<String>,
    /// The DID of the app that it is for.
    #[arg(long, value_name = "DID", value_parser = did)]
    pub app: Option<Did>,
    /// How long it works, for example 30d or 12h [default: the node's, 30d].
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub expires: Option<Duration>,
    /// Write the token to a file that only you can read, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Whose data, and on which node.
    #[command(flatten)]
    pub owner: OwnerArgs,
}

/// What to ask for.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The schema: a short name such as social-email, or its URL.
    #[arg(value_name = "SCHEMA", value_parser = schema)]
    pub schema: SchemaUri,
    /// Only records that this selector matches, for example {"fromName":"Ada"}.
    #[arg(long = "where", value_name = "JSON", value_parser = selector)]
    pub selector: Option<Map<String, Value>>,
    /// Sort by this field: sentAt, sentAt:asc or sentAt:desc. Several after commas.
    #[arg(
        long,
        value_name = "FIELD",
        value_delimiter = ',',
        conflicts_with = "count"
    )]
    pub sort: Vec<SortField>,
    /// Return at most so many.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "count")]
    pub limit: u64,
    /// Leave out so many at the beginning.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "count")]
    pub skip: u64,
    /// Only these fields of each record. Several after commas.
    #[arg(
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        conflicts_with = "count"
    )]
    pub fields: Vec<String>,
    /// Only how many match.
    #[arg(long)]
    pub count: bool,
    /// Ask with the access token in this file, as an app; `-` reads it from standard input.
    ///
    /// Without it, ask as the owner of the account.
    #[arg(
        long,
        value_name = "FILE",
        value_parser = token_source,
        conflicts_with_all = ["key_file", "network", "storage", "context"]
    )]
    pub token_file: Option<TokenSource>,
    /// The node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
    /// The vault, without a token.
    #[command(flatten)]
    pub vault: VaultArgs,
}

/// Which receipts.
#[derive(Debug, Args)]
pub struct ReceiptsArgs {
    /// Check the chain instead of listing: what was altered, taken away or put in between is named.
    #[arg(long)]
    pub check: bool,
    /// A hash that an earlier check ended with: it must still be there.
    #[arg(long, value_name = "HASH", requires = "check", value_parser = receipt_hash)]
    pub known: Option<String>,
    /// List at most so many accesses, the newest.
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "check")]
    pub limit: usize,
    /// The vault.
    #[command(flatten)]
    pub vault: VaultArgs,
}

/// A node, and what makes it trustworthy.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The confidential node, as https://host or https://host:port.
    #[arg(long, value_name = "URL")]
    pub node: String,
    /// What you trust: measurements, release keys and limits (TOML). Without it no node is trusted.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A release manifest that the policy's release keys signed.
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub manifest: Option<PathBuf>,
}

/// An owner on a node.
#[derive(Debug, Args)]
pub struct OwnerArgs {
    /// The node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// The vault.
    #[command(flatten)]
    pub vault: VaultArgs,
}

/// Where a token is read from. Never an argument: those can be read by others on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `-`
    StandardInput,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

fn token_source(text: &str) -> Result<TokenSource, String> {
    match text {
        "-" => Ok(TokenSource::StandardInput),
        // The text is not repeated: it is a secret.
        text if text.starts_with("adyt_") => Err(
            "this is a token, and now others on this machine may have seen it: revoke it, and name a file".to_owned(),
        ),
        text => Ok(TokenSource::File(text.into())),
    }
}

fn schema(text: &str) -> Result<SchemaUri, String> {
    SchemaUri::parse_lenient(text).map_err(|error| error.to_string())
}

fn receipt_hash(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hash {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            Err("expected 64 hexadecimal digits, as `adyton receipts --check` ends with".to_owned())
        }
    }
}

fn did(text: &str) -> Result<Did, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "expected an address and a port, for example 127.0.0.1:8443".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("a simulation listens on this machine only, for example on 127.0.0.1:8443".to_owned())
    }
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse()
        .map_err(|error| format!("{error}; expected for example https://node.example.org"))
}

fn ack(text: &str) -> Result<Ack, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn rpc(text: &str) -> Result<Url, String> {
    plain_url(text).ok_or_else(|| "expected an https URL without credentials in it".to_owned())
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
    fn a_token_is_never_an_argument() {
        let line = "adyton query social-email --node https://h --token-file adyt_secret";
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert!(error.to_string().contains("revoke it"), "{error}");
    }

    #[test]
    fn nobody_asks_as_an_app_and_as_an_owner_at_once() {
        let line = "adyton query social-email --node https://h --token-file t";
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
        let line = format!("{line} --storage https://s");
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }

    #[test]
    fn a_simulation_is_not_offered_to_the_network() {
        for flag in ["--listen", "--storage-listen"] {
            for address in ["0.0.0.0:8443", "192.168.1.7:1", "[::]:1", "8443"] {
                assert!(Cli::try_parse_from(["adyton", "demo", flag, address]).is_err());
            }
            assert!(Cli::try_parse_from(["adyton", "demo", flag, "127.0.0.1:0"]).is_ok());
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
