//! From a key file and a storage node to an open session.

use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::EgressPolicy;
use adyton_client::identity::open_context;
use adyton_client::session::Session;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;

use crate::account;
use crate::args::VaultArgs;
use crate::failure::Failure;

/// A vault whose owner is logged in.
#[derive(Debug)]
pub struct OpenVault {
    /// What a node of the owner's choice needs to act for the owner. A secret.
    pub context_session: ContextSession,
    /// The session with the storage node.
    pub session: Session,
}

/// Opens the vault that the arguments name. The first time, the account's DID document and the
/// context are made.
pub async fn open_vault(args: &VaultArgs, clock: &Clock) -> Result<OpenVault, Failure> {
    let account = account::load(&args.account)?;
    open_vault_of(&account, args, clock).await
}

/// Opens the vault of an account.
pub async fn open_vault_of(
    account: &Account,
    args: &VaultArgs,
    clock: &Clock,
) -> Result<OpenVault, Failure> {
    if args.storage.is_empty() {
        return Err(Failure::new("no storage node is given")
            .hint("name one with --storage URL; `adyton-storage` starts one on your machine"));
    }
    let transport = transport(args)?;
    let unusable =
        |error: &dyn std::error::Error| Failure::of("cannot use the storage node", error);
    let nodes = args
        .storage
        .iter()
        .map(|endpoint| StorageNode::new(transport.clone(), endpoint.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&error))?;
    let resolver = StorageNodeResolver::new(nodes.clone());
    let network = args.account.network;
    let context_session = open_context(account, network, &args.context, &nodes, &resolver, clock)
        .await
        .map_err(|error| {
            let doing = format!("cannot open the context {:?}", args.context.as_str());
            Failure::of(doing, &error).hint("is the storage node running at the address given?")
        })?;
    let session = Session::open(&context_session, transport, clock.clone())
        .await
        .map_err(|error| Failure::of("cannot open a session with the storage node", &error))?;
    Ok(OpenVault {
        context_session,
        session,
    })
}

/// Connections to public servers only, unless the person named this machine.
fn transport(args: &VaultArgs) -> Result<Transport, Failure> {
    let public = args
        .storage
        .iter()
        .all(|endpoint| EgressPolicy::PublicHttps.check(endpoint).is_ok());
    let policy = if public {
        EgressPolicy::PublicHttps
    } else {
        EgressPolicy::AlsoLoopback
    };
    Transport::new(policy).map_err(|error| Failure::of("TLS does not work here", &error))
}
