//! The nodes as processes of their own: this test program once more, told by the environment what to be.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_node::harden;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::{NETWORK, RunningNode};
use adyton_storage::Storage;
use serde_json::{Value, json};

/// Says what a child is.
const ROLE: &str = "ADYTON_TEST_ROLE";
/// What it needs for that: the node's configuration, or the storage node's configuration or folder.
const INPUT: &str = "ADYTON_TEST_INPUT";

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A confidential node, closed as the real one is.
    Node,
    /// The same, but its memory can be read by other processes of this user.
    ReadableNode,
    /// A storage node.
    Storage,
    /// A storage node with a configuration file.
    ConfiguredStorage,
}

impl Role {
    const ALL: [Self; 4] = [
        Self::Node,
        Self::ReadableNode,
        Self::Storage,
        Self::ConfiguredStorage,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::ReadableNode => "readable-node",
            Self::Storage => "storage",
            Self::ConfiguredStorage => "configured-storage",
        }
    }
}

/// A running child. Killed on drop.
pub struct Process {
    child: Child,
    /// Closing it ends the child in good order.
    stdin: Option<ChildStdin>,
    hello: Value,
    said: Vec<JoinHandle<Vec<u8>>>,
}

impl Process {
    /// Starts this program again, behind `before` (a tracer and its arguments, or nothing), in `folder`. The program
    /// must have a test `child` that calls [`serve_if_asked`].
    pub fn start(role: Role, input: &str, folder: &Path, before: &[String]) -> Self {
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap().to_owned();
        let arguments = ["--exact", "child", "--nocapture", "--test-threads=1"];
        let words: Vec<String> = before
            .iter()
            .cloned()
            .chain([program])
            .chain(arguments.map(str::to_owned))
            .collect();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env(ROLE, role.name())
            .env(INPUT, input)
            .env("TMPDIR", folder)
            .env("HOME", folder)
            .env("RUST_BACKTRACE", "1")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said).unwrap();
            said
        });
        let mut first = String::new();
        let hello = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let errors = String::from_utf8_lossy(&errors.join().unwrap()).into_owned();
                panic!("{role:?} did not start: {first}{errors}");
            }
            first.push_str(&line);
            // The test harness writes the test's name first, on the same line.
            if let Some(at) = line.find('{') {
                break serde_json::from_str(&line[at..]).unwrap();
            }
        };
        let output = std::thread::spawn(move || {
            let mut said = first.into_bytes();
            stdout.read_to_end(&mut said).unwrap();
            said
        });
        Self {
            stdin: child.stdin.take(),
            child,
            hello,
            said: vec![output, errors],
        }
    }

    /// A text that it said at its start.
    pub fn hello(&self, name: &str) -> &str {
        self.hello[name].as_str().unwrap()
    }

    /// The process that serves (behind a tracer, the tracer's child).
    pub fn id(&self) -> u64 {
        self.hello["id"].as_u64().unwrap()
    }

    /// Ends it in good order. Returns everything that it printed.
    pub fn end(mut self) -> (ExitStatus, Vec<u8>) {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        let said = self.said.drain(..).flat_map(|said| said.join().unwrap());
        let said = said.collect();
        (status, said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _: Result<(), _> = self.child.kill();
        let _: Result<_, _> = self.child.wait();
    }
}

/// Serves when this process was started by [`Process::start`]; otherwise it does nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "the parent says so by the environment"
)]
pub fn serve_if_asked(prepare: impl FnOnce()) {
    let Ok(name) = std::env::var(ROLE) else {
        return;
    };
    let input = std::env::var(INPUT).unwrap();
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    prepare();
    match role.unwrap() {
        Role::Node => serve_node(&input, true),
        Role::ReadableNode => serve_node(&input, false),
        Role::Storage => {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut config = adyton_storage::Config::new(listen, input.into());
            config.network = NETWORK;
            serve_storage(config);
        }
        Role::ConfiguredStorage => {
            let file = adyton_storage::ConfigFile::parse(&input).unwrap();
            serve_storage(file.into_config().unwrap());
        }
    }
}

/// As `adyton-node` does it: first the process, then this thread, then everything that it starts.
fn serve_node(config: &str, closed: bool) {
    harden::quiet_panics();
    if closed {
        harden::process().unwrap();
    }
    let hardening = harden::thread().unwrap();
    runtime().block_on(async {
        let clock = Clock::system();
        let ticking = clock.clone();
        let tee = SimulatedTee::start(Arc::new(move || ticking.now())).unwrap();
        let config = Config::parse(config).unwrap();
        let node = RunningNode::start(config, Arc::new(tee), clock)
            .await
            .unwrap();
        say(&json!({
            "url": format!("https://{}", node.address()),
            "id": std::process::id(),
            "hardening": hardening.to_string(),
            "forbidsWriting": if hardening.forbids_writing() { "yes" } else { "no" },
        }));
        until_closed().await;
        node.shutdown().await;
    });
}

fn serve_storage(config: adyton_storage::Config) {
    runtime().block_on(async {
        let storage = Storage::start(config).await.unwrap();
        say(&json!({
            "url": storage.public_url(),
            "address": storage.address().to_string(),
            "id": std::process::id(),
        }));
        until_closed().await;
        storage.shutdown().await;
    });
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().unwrap()
}

fn say(hello: &Value) {
    let mut out = std::io::stdout();
    writeln!(out, "{hello}").unwrap();
    out.flush().unwrap();
}

async fn until_closed() {
    let reading = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    reading.await.unwrap().unwrap();
}
