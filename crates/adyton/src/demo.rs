//! `adyton demo`: the whole chain on one machine, with lines to try it.
//!
//! A storage node (or several) keeps ciphertext; a confidential node in a SIMULATED TEE proves what it is, decrypts in its memory
//! alone, and answers a token that may read mail and nothing else. Before anything is shown, the demo has asked the
//! node itself, as the app it shows. Guarantees: the only secret it prints is that app's token.

mod lines;
mod network;
mod place;
mod ready;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use adyton_attest::Policy;
use adyton_client::attested_node::NodeCredential;
use adyton_client::clock::Clock;
use adyton_client::session::Session;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::SandboxError;
use adyton_sandbox::storage_nodes::storage_addresses;
use adyton_sandbox::{Options, Sandbox};
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::lines::{Lines, Subject};
use self::network::Network;
use self::place::Place;
use self::ready::Ready;
use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::import::{Mailbox, Report};
use crate::node_access::{Node, not_json};
use crate::signals::Signals;

/// Three years of an invented person's mail.
const SAMPLE: &[u8] = include_bytes!("../sample/sample.mbox");

/// Where the nodes listen if nobody said otherwise and it is free.
const NODE_PORT: u16 = 8443;
const STORAGE_PORT: u16 = 5100;

/// What the demo's app may do: query and fetch mail, and nothing else.
const SCOPES: [&str; 3] = ["api:ds-query", "api:ds-get-by-id", "ds:r:social-email"];

/// How long the demo's token works.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// More names in the certificate than the node's default, and all of its memory for the one who is here.
const NODE_CONFIG: &str = "names = [\"localhost\", \"127.0.0.1\", \"::1\"]\n\
    [limits]\nnode_memory_mib = 4096\ntenant_memory_mib = 4096\n";

/// Runs the demo until the person has seen enough.
pub async fn run(args: &DemoArgs, json: bool, clock: &Clock) -> Result<(), Failure> {
    let started = Instant::now();
    let mut signals = Signals::listen()?;
    let (mut running, ready) = tokio::select! {
        prepared = prepare(args, json, clock, started) => prepared?,
        () = signals.next() => return Err(interrupted(args)),
    };
    let said = if json { ready.json() } else { ready.text() };
    // A reader that went away early does not end the demo.
    let mut out = io::stdout();
    let _ = out.write_all(said.as_bytes()).and_then(|()| out.flush());
    drop((said, ready));
    if !args.exit_after_ready {
        running.until_enough(&mut signals).await;
        tell("Ending. Requests under way are finished; once more ends at once.");
    }
    tokio::select! {
        () = running.sandbox.shutdown() => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// What lives until the end. The temporary files go last.
struct Running {
    sandbox: Sandbox,
    network: Network,
    _place: Place,
}

impl Running {
    /// Does what is typed, where there are several storage nodes, until a signal comes.
    async fn until_enough(&mut self, signals: &mut Signals) {
        if self.sandbox.storage().count() == 1 {
            return signals.next().await;
        }
        let mut typed = network::typed();
        loop {
            let line = tokio::select! {
                () = signals.next() => return,
                line = typed.recv() => line,
            };
            let Some(line) = line else {
                return signals.next().await;
            };
            let said = tokio::select! {
                () = signals.next() => return,
                said = self.network.obey(&line, &mut self.sandbox) => said,
            };
            let mut out = io::stdout();
            // Nobody is left to tell if this fails.
            let _ = writeln!(out, "{said}").and_then(|()| out.flush());
        }
    }
}

async fn prepare(
    args: &DemoArgs,
    json: bool,
    clock: &Clock,
    started: Instant,
) -> Result<(Running, Ready), Failure> {
    // A mailbox that cannot be read is told before anything starts.
    let mailbox = match &args.mbox {
        Some(path) => Mailbox::File(path.clone()),
        None => Mailbox::Bundled(SAMPLE),
    };
    let owner = mailbox.owner(&[])?;
    let place = Place::open(args.data.as_deref())?;
    let sandbox = start(args, &place).await?;
    place.remember_storage(sandbox.storage().urls())?;
    let (account, is_new) = place.account()?;
    let context = sandbox
        .open_context(&account, &ContextName::vault())
        .await
        .map_err(|error| Failure::of("cannot open the demo's vault", &error))?;
    let session = Session::open(&context, sandbox.transport().clone(), clock.clone())
        .await
        .map_err(|error| Failure::of("cannot open a session with the storage node", &error))?;
    let mail = mailbox.import(owner, &session, json).await?;
    let app = grant_and_ask(&sandbox, &context, clock).await?;

    let files = place.write_files(sandbox.certificate_pem(), sandbox.policy(), &app.token)?;
    let key_file = place.key_file();
    let storage: Vec<String> = sandbox.storage().urls().map(str::to_owned).collect();
    let lines = Lines::new(&Subject {
        node: &sandbox.node_url(),
        storage: &storage,
        token: &app.token,
        key_file: &key_file,
        files: &files,
    });
    let ready = Ready {
        node: sandbox.node_url(),
        storage,
        storage_directory: place.storage_directory(),
        is_kept: args.data.is_some(),
        did: account.did().as_given().to_owned(),
        is_new,
        key_file,
        mailbox: mailbox.to_string(),
        mail,
        app,
        hardening: sandbox.hardening(),
        files,
        lines,
        took: started.elapsed(),
    };
    let running = Running {
        sandbox,
        network: Network::new(context, session, clock.clone()),
        _place: place,
    };
    Ok((running, ready))
}

async fn start(args: &DemoArgs, place: &Place) -> Result<Sandbox, Failure> {
    let remembered = place.remembered_storage()?;
    let storage_listen = storage_listen(args, remembered.as_deref())?;
    let first = storage_listen.first().copied();
    let first = first.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let node_listen = args.listen.unwrap_or_else(|| free_or_any(NODE_PORT));
    let options = Options {
        data: Some(place.storage_directory()),
        storage_listen,
        node_listen,
        node_config: NODE_CONFIG.to_owned(),
    };
    Sandbox::start(options)
        .await
        .map_err(|error| {
            let failure = not_started(&error, first, node_listen);
            match (&error, &remembered) {
                (SandboxError::Storage(_), Some(_)) => failure.hint(format!(
                    "this data belongs to a storage node at {first}; end what else listens there or uses this directory"
                )),
                _ => failure,
            }
        })
}

/// Where the storage nodes listen: where they did, where the person said, or at the usual address if that is free.
fn storage_listen(
    args: &DemoArgs,
    remembered: Option<&[SocketAddr]>,
) -> Result<Vec<SocketAddr>, Failure> {
    let count = args.storage_nodes;
    if let Some(kept) = remembered {
        let first = kept.first();
        return match args.storage_listen {
            Some(asked) if first != Some(&asked) => Err(Failure::new(format!(
                "the data in this directory belongs to a storage node at {}, not at {asked}",
                first.map(ToString::to_string).unwrap_or_default()
            ))
            .hint("leave --storage-listen out, or take another --data directory")),
            // The default is what the directory says.
            _ if kept.len() != usize::from(count) && count != 1 => Err(Failure::new(format!(
                "the data in this directory belongs to {} storage nodes, not to {count}",
                kept.len()
            ))
            .hint("leave --storage-nodes out, or take another --data directory")),
            _ => Ok(kept.to_vec()),
        };
    }
    let usual = || free_or_any(STORAGE_PORT);
    let first = args.storage_listen.unwrap_or_else(usual);
    if count == 1 {
        return Ok(vec![first]);
    }
    match first.ip() == Ipv4Addr::LOCALHOST {
        true => Ok(storage_addresses(count, first.port())),
        false => Err(Failure::new(
            "several storage nodes begin at 127.0.0.1, with a host of their own each",
        )
        .hint("name 127.0.0.1 and a port with --storage-listen")),
    }
}

/// The usual address if it is free, or else any.
fn free_or_any(port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn not_started(error: &SandboxError, storage: SocketAddr, node: SocketAddr) -> Failure {
    let failure = Failure::of("the demo cannot start", error);
    let (address, flag) = match error {
        SandboxError::Storage(_) => (storage, "--storage-listen"),
        _ => (node, "--listen"),
    };
    match io_cause(error) {
        Some(io::ErrorKind::AddrInUse) => failure.hint(format!(
            "another program listens on {address}; end it, or choose another address with {flag} (port 0: any)"
        )),
        Some(io::ErrorKind::PermissionDenied) => failure.hint(format!(
            "you may not use {address} or the data directory; choose another with {flag} or --data"
        )),
        _ => match error {
            SandboxError::Storage(_) => {
                failure.hint("is another storage node using this data directory?")
            }
            _ => failure,
        },
    }
}

/// The input or output that failed, somewhere behind an error.
fn io_cause(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

/// An app that was allowed to read mail, and what the node answered it.
struct App {
    token: Zeroizing<String>,
    expires: String,
    /// How many emails the node counted for it.
    emails: u64,
    /// How long that took: pulled, decrypted, indexed, counted.
    took: Duration,
}

/// As the owner, allow an app to read mail; as the app, ask how much there is.
async fn grant_and_ask(
    sandbox: &Sandbox,
    context: &ContextSession,
    clock: &Clock,
) -> Result<App, Failure> {
    let policy = Policy::from_toml(sandbox.policy())
        .map_err(|error| Failure::of("the simulation's own policy cannot be used", &error))?;
    let mut node = Node::connect_by(&sandbox.node_url(), &policy, clock).await?;
    let owner = NodeCredential::Session(context.expose_api_key());
    let asked = json!({ "scopes": SCOPES, "expiresIn": TOKEN_LIFE.as_secs() });
    let mut minted = node
        .ask_json(Method::POST, "/auth/token", &owner, Some(&asked))
        .await?;
    let mut text = |name: &str| match minted.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(not_json()),
    };
    let token = Zeroizing::new(text("token")?);
    let expires = text("expiresAt")?;
    let credential = NodeCredential::Token(token.clone());
    let asked = Instant::now();
    let count = node
        .ask_json(
            Method::POST,
            "/ds/count/social-email",
            &credential,
            Some(&json!({})),
        )
        .await?;
    let emails = count.get("count").and_then(Value::as_u64);
    Ok(App {
        token,
        expires,
        emails: emails.ok_or_else(not_json)?,
        took: asked.elapsed(),
    })
}

fn interrupted(args: &DemoArgs) -> Failure {
    let failure = Failure::new("interrupted before everything was ready");
    match &args.data {
        Some(data) => failure.hint(format!(
            "what is imported stays in {}; the same command goes on from there",
            data.display()
        )),
        None => failure,
    }
}

fn tell(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
