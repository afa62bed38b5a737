//! The two servers as child processes: start, address, processor time, memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::attester::SealedAttester;
use adyton_client::clock::Clock;
use adyton_node::attestation::{Attestation, NodeKeys};
use adyton_node::config::Config;
use adyton_node::server::Limits;
use adyton_node::tls::TlsIdentity;
use adyton_sandbox::cluster::{NETWORK, RunningNode};
use adyton_sandbox::{SimulatedTee, SlowDevice};
use adyton_storage::Storage;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Outcome;
use crate::evidence::{self, Form};

/// A server in a process of its own. Killed on drop.
pub(crate) struct Server {
    child: Child,
    hello: Value,
}

impl Server {
    pub(crate) fn storage(data: &Path) -> Outcome<Self> {
        Self::start(
            Command::new(std::env::current_exe()?)
                .arg("keeping")
                .arg(data),
        )
    }

    pub(crate) fn node() -> Outcome<Self> {
        Self::start(Command::new(std::env::current_exe()?).arg("node"))
    }

    pub(crate) fn attesting(form: Form, device_ms: u64) -> Outcome<Self> {
        let device_ms = device_ms.to_string();
        Self::start(Command::new(std::env::current_exe()?).args([
            "attesting",
            form.name(),
            &device_ms,
        ]))
    }

    /// A program that says `listening on URL` first.
    pub(crate) fn listening(command: &mut Command) -> Outcome<Self> {
        Self::begin(command, |line| {
            let url = line.strip_prefix("listening on ");
            let url = url.and_then(|rest| rest.split_whitespace().next());
            Ok(json!({ "url": url.ok_or("the server does not start")? }))
        })
    }

    fn start(command: &mut Command) -> Outcome<Self> {
        Self::begin(command, |line| Ok(serde_json::from_str(line)?))
    }

    fn begin(command: &mut Command, read: fn(&str) -> Outcome<Value>) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut server = Self {
            child,
            hello: Value::Null,
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        server.hello = read(&line)?;
        Ok(server)
    }

    /// A text that the server said at its start.
    pub(crate) fn said(&self, name: &str) -> &str {
        self.hello
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Processor time used so far, user and system.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        // The schedstat of the process itself counts its first thread only.
        let mut nanoseconds: u64 = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text
                .split(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory in bytes, now.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|n| n.parse::<u64>().ok());
        Ok(kib.ok_or("no VmRSS")? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _: Result<(), _> = self.child.kill();
        let _: Result<_, _> = self.child.wait();
    }
}

pub(crate) async fn run_storage(data: PathBuf) -> Outcome<()> {
    let mut config = adyton_storage::Config::new(any_port(), data);
    config.network = NETWORK;
    config.limits.account_bytes = u64::MAX;
    let storage = Storage::start(config).await?;
    hello(&json!({ "url": storage.public_url() }))?;
    until_closed().await;
    storage.shutdown().await;
    Ok(())
}

pub(crate) async fn run_node() -> Outcome<()> {
    let clock = Clock::system();
    let ticking = clock.clone();
    let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now()))?);
    let config = format!(
        "listen = \"{}\"\nallow_loopback_storage = true\n[limits]\nrequests_per_minute = 1000000000\n",
        any_port()
    );
    let node = RunningNode::start(Config::parse(&config)?, Arc::clone(&tee), clock).await?;
    hello(&json!({ "url": format!("https://{}", node.address()), "policy": tee.policy() }))?;
    until_closed().await;
    node.shutdown().await;
    Ok(())
}

/// A node's listener with its attestation route, or with one that asks the device for each asker.
pub(crate) async fn run_attesting(form: Form, device_ms: u64) -> Outcome<()> {
    let clock = Clock::system();
    let ticking = clock.clone();
    let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now()))?);
    let device = Arc::new(SlowDevice::new(
        tee.clone(),
        Duration::from_millis(device_ms),
    ));
    let sealed = SealedAttester::seal(device.clone(), "listen = \"127.0.0.1:0\"\n").await?;
    let identity = TlsIdentity::generate(&["localhost".to_owned()], clock.now())?;
    let keys = NodeKeys::generate()?.attested(identity.spki());
    let router = match form {
        Form::Batched => Attestation::new(sealed, keys, clock).router(),
        Form::Direct => evidence::direct_router(sealed, keys, clock),
    };
    let listener = TcpListener::bind(any_port()).await?;
    let server = adyton_node::server::Server::new(
        listener,
        identity.into_server_config()?,
        router,
        Limits::default(),
    );
    let url = format!("https://{}", server.address()?);
    hello(&json!({ "url": url, "policy": tee.policy() }))?;
    server.run(until_closed()).await;
    Ok(())
}

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn hello(value: &Value) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// The parent closes our standard input when it ends.
async fn until_closed() {
    let reading = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _: Result<_, _> = reading.await;
}
