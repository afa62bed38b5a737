//! The servers that are measured, each started as a process on an empty directory.

use std::path::Path;
use std::process::Command;

use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::keyring::Keyring;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::NETWORK;
use http::Method;
use http::header::HeaderValue;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

use super::wire::{Address, Wire};
use crate::Outcome;
use crate::server::Server;

/// What our node is configured with besides its address: nobody is to be turned away here.
const CONFIG: &str = "connections = 16384\naccount-bytes = 1099511627776\nrequests-per-minute = 1000000000\n\
     requests-per-minute-per-address = 1000000000\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Adyton,
    /// Every batch of LevelDB flushed before its writer is answered, as CouchDB does.
    ExpressSynced,
    /// As PouchDB comes: what is answered may be lost with the machine.
    ExpressUnsynced,
}

impl Kind {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Adyton => "Adyton",
            Self::ExpressSynced => "express-pouchdb, flushed",
            Self::ExpressUnsynced => "express-pouchdb, not flushed",
        }
    }

    /// In names of files, and for the other server's program.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Adyton => "adyton",
            Self::ExpressSynced => "synced",
            Self::ExpressUnsynced => "unsynced",
        }
    }
}

/// A running server. Ends when dropped.
pub(super) struct Peer {
    pub(super) server: Server,
    pub(super) address: Address,
    /// Who owns the databases, on a server that knows owners.
    pub(super) owner: Option<Owner>,
}

/// A person with an account on our node.
pub(super) struct Owner {
    pub(super) account: Account,
    pub(super) context: ContextName,
    pub(super) keyring: Keyring,
    pub(super) node: StorageNode,
}

impl Peer {
    pub(super) async fn start(kind: Kind, directory: &Path, packages: &Path) -> Outcome<Self> {
        let server = match kind {
            Kind::Adyton => Server::listening(&mut ours(directory)?)?,
            Kind::ExpressSynced | Kind::ExpressUnsynced => {
                if !packages.join("node_modules").is_dir() {
                    let (packages, hint) = (packages.display(), "npm ci --ignore-scripts");
                    return Err(format!("in {packages}, first: {hint} (or ask for --alone)").into());
                }
                let mut program = Command::new("node");
                program.arg("--no-warnings");
                program.current_dir(packages).arg("src/served_on_disk.js");
                Server::listening(program.arg(directory).arg(kind.word()))?
            }
        };
        let authority = server.said("url").trim_start_matches("http://").to_owned();
        let mut peer = Self {
            server,
            address: Address {
                authority,
                authorization: None,
            },
            owner: None,
        };
        if kind == Kind::Adyton {
            peer.log_in().await?;
        }
        Ok(peer)
    }

    /// Makes a person with a DID of their own, and logs them in.
    async fn log_in(&mut self) -> Outcome<()> {
        let transport = Transport::new(Reach::AlsoThisMachine)?;
        let (account, _words) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        let node = StorageNode::new(transport, self.server.said("url").parse()?)?;
        let context = ContextName::vault();
        let nodes = [node.clone()];
        let resolver = StorageNodeResolver::new(nodes.to_vec());
        let clock = Clock::system();
        let session = open_context(&account, NETWORK, &context, &nodes, &resolver, &clock).await?;
        let token = session.auths().next().ok_or("no token")?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.access_token))?;
        authorization.set_sensitive(true);
        self.address.authorization = Some(authorization);
        self.owner = Some(Owner {
            keyring: session.keyring()?,
            account,
            context,
            node,
        });
        Ok(())
    }

    pub(super) async fn connect(&self) -> Outcome<Wire> {
        Wire::connect(&self.address).await
    }

    /// Makes a database, and returns its path.
    pub(super) async fn database(&self, name: &str) -> Outcome<String> {
        let mut wire = self.connect().await?;
        if self.owner.is_none() {
            wire.send(Method::PUT, &format!("/{name}"), "").await?;
            return Ok(format!("/{name}"));
        }
        let permissions = json!({ "read": "owner", "write": "owner" });
        let call = json!({ "databaseName": name, "options": { "permissions": permissions } });
        let path = "/user/createDatabase";
        let answer = wire.send(Method::POST, path, call.to_string()).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let hash = answer.get("databaseHash").and_then(Value::as_str);
        Ok(format!("/{}", hash.ok_or("no database was made")?))
    }
}

/// The storage node's own program, built beside this one.
fn ours(directory: &Path) -> Outcome<Command> {
    let program = std::env::current_exe()?.with_file_name("adyton-storage");
    if !program.is_file() {
        let hint = "cargo build --release -p adyton-bench -p adyton-storage";
        return Err(format!("the storage node's program is not there; first: {hint}").into());
    }
    let config = directory.join("config.toml");
    std::fs::write(&config, CONFIG)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config);
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--network",
        NETWORK.name(),
        "--data",
    ]);
    command.arg(directory.join("data"));
    Ok(command)
}
