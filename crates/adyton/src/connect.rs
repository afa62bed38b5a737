//! From a key file and a storage node to an open session.

use adyton_client::clock::Clock;
use adyton_client::did_directory::DidDirectory;
use adyton_client::did_resolver::{DidResolver, RegistryResolver, StorageNodeResolver};
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::session::Session;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_resolver::registry::Source;
use url::Url;

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
    // First where, then what: a storage node that asks the directory, too, lets in whoever is registered.
    register(account, args, &transport).await?;
    let resolver = resolver(args, &nodes, &transport, clock)?;
    let network = args.account.network;
    let opening = open_context(account, network, &args.context, &nodes, &*resolver, clock);
    let context_session = opening.await.map_err(|error| {
        let doing = format!("cannot open the context {:?}", args.context.as_str());
        Failure::of(doing, &error).hint("is the storage node running at the address given?")
    })?;
    let session = Session::open(&context_session, transport, clock.clone())
        .await
        .map_err(|error| Failure::of("cannot open a session with the storage node", &error))?;
    let session = match args.ack {
        Some(ack) => session.with_ack(ack),
        None => session,
    };
    Ok(OpenVault {
        context_session,
        session,
    })
}

/// How the account's document is found.
fn resolver(
    args: &VaultArgs,
    nodes: &[StorageNode],
    transport: &Transport,
    clock: &Clock,
) -> Result<Box<dyn DidResolver>, Failure> {
    let source = match (args.did_rpc.is_empty(), args.did_directory.is_empty()) {
        (true, true) => return Ok(Box::new(StorageNodeResolver::new(nodes.to_vec()))),
        (false, _) => Source::Chain(args.account.network.anchor(), args.did_rpc.clone()),
        (true, false) => {
            let urls = args
                .did_directory
                .iter()
                .map(|base| Url::parse(base.as_str()));
            let bases = urls.collect::<Result<_, _>>();
            Source::Directories(
                bases.map_err(|error| Failure::of("cannot use the directory", &error))?,
            )
        }
    };
    Ok(Box::new(RegistryResolver::new(
        source,
        transport.clone(),
        clock,
    )))
}

/// Tells the directories where the account's document lies: on the storage nodes given. One of them must be told; those that are away
/// are told by a later command, and clients ask all of them meanwhile.
async fn register(
    account: &Account,
    args: &VaultArgs,
    transport: &Transport,
) -> Result<(), Failure> {
    let did = account.did().lowercase();
    let places = args
        .storage
        .iter()
        .map(|node| node.join(&format!("did/{did}")));
    let places: Vec<String> = places.collect();
    let (mut told, mut failure) = (false, None);
    for endpoint in &args.did_directory {
        let failed = |error: &dyn std::error::Error| {
            Failure::of("cannot register the account with the directory", error)
                .hint("is it a storage node with `registry = \"directory\"`?")
        };
        let directory = DidDirectory::new(transport.clone(), endpoint.clone());
        let directory = directory.map_err(|error| failed(&error))?;
        match directory.register(account, &places).await {
            Ok(()) => told = true,
            Err(error) => failure = Some(failed(&error)),
        }
    }
    match failure {
        Some(failure) if !told => Err(failure),
        Some(_) | None => Ok(()),
    }
}

/// Connections to public servers only, unless the person named this machine.
fn transport(args: &VaultArgs) -> Result<Transport, Failure> {
    let public = args
        .storage
        .iter()
        .chain(&args.did_directory)
        .all(|endpoint| endpoint.within(&Reach::Public).is_ok());
    let reach = match public {
        true => Reach::Public,
        false => Reach::AlsoThisMachine,
    };
    Transport::new(reach).map_err(|error| Failure::of("TLS does not work here", &error))
}
