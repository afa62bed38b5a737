//! The confidential node as a program, in a real enclave. There is no other mode: without the enclave's device it does
//! not start, so that nobody takes a node that proves nothing for one that does.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::attester::Attester;
use adyton_attest::attester::nsm::{NsmAttester, NsmDevice};
use adyton_attest::{ConfigDigest, with_causes};
use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_node::harden;
use adyton_node::machine;
use adyton_node::node::Node;
use adyton_node::server::ListenAddress;
use adyton_node::tee::{DstackAttester, NoTee, Tee};
use adyton_node::zeroing_allocator::ZeroingAllocator;
use adyton_vsock::cid::HostCid;
use adyton_vsock::stream::VsockStream;
use adyton_vsock::{notice, port};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Decrypted data passes through all of this program: what it frees is wiped.
#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

/// How long the host may take to read a notice.
const NOTICE_TIME: Duration = Duration::from_secs(2);

/// No enclave, no node.
const NO_ENCLAVE: u8 = 2;

/// A confidential node: holds users' data in memory only, and proves what it runs.
///
/// It runs in an AWS Nitro enclave or in an Intel TDX guest under dstack, and nowhere else. `adyton demo` shows a simulated one.
///
/// Exit status: 0 ended by a signal, 1 cannot start, 2 this machine is no enclave (or wrong arguments).
#[derive(Debug, Parser)]
#[command(name = "adyton-node", version)]
struct Args {
    /// The configuration (TOML). It is measured, and shown to whoever asks for evidence
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    harden::quiet_panics();
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let reason = format!("error: {}", failure.message);
            say(&reason);
            if failure.host_should_know {
                notify(&reason);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// The order matters: the device is opened while files still can be, every thread (the device's, the runtime's) is started
/// after that is over, and the listener comes last, inside [`Node::start`].
fn run(args: &Args) -> Result<(), Failure> {
    let config = read(&args.config)?;
    let on_vsock = matches!(config.listen, ListenAddress::Vsock(_));
    run_with(config).map_err(|failure| Failure {
        host_should_know: failure.host_should_know || on_vsock,
        ..failure
    })
}

fn run_with(mut config: Config) -> Result<(), Failure> {
    fit(&mut config, machine::memory());
    let process = harden::process().map_err(|error| cannot("harden the process", &error))?;
    let tee = Tee::choose(config.tee, Path::exists).map_err(|error| no_enclave(&error))?;
    let device = match tee {
        Tee::Nitro => Some(NsmDevice::open().map_err(|error| no_enclave(&error))?),
        Tee::Dstack(_) => None,
    };
    let thread = harden::thread().map_err(|error| cannot("harden the node's threads", &error))?;
    say(&format!("{process}; {thread}"));
    let attester: Arc<dyn Attester> = match (tee, device) {
        (Tee::Dstack(agent), _) => {
            Arc::new(DstackAttester::new(agent, config.dstack_collateral.clone()))
        }
        (Tee::Nitro, Some(device)) => {
            Arc::new(NsmAttester::start(device).map_err(|error| cannot("ask the device", &error))?)
        }
        (Tee::Nitro, None) => return Err(no_enclave(&NoTee::Nitro)),
    };
    let runtime = Node::runtime().map_err(|error| cannot("start", &error))?;
    runtime.block_on(serve(config, attester))
}

/// No more memory than there is: the configuration is measured, the machine is not.
fn fit(config: &mut Config, machine: Option<u64>) {
    let Some(machine) = machine else { return };
    let wanted = config.vault.node_bytes;
    config.vault = config.vault.on_machine_with(machine);
    let given = config.vault.node_bytes;
    if given < wanted {
        say(&format!(
            "node_memory_mib is {}, which this machine with {} MiB does not have: {} MiB are used",
            wanted >> 20,
            machine >> 20,
            given >> 20
        ));
    }
}

async fn serve(config: Config, attester: Arc<dyn Attester>) -> Result<(), Failure> {
    let hear = |kind| signal(kind).map_err(|error| cannot("listen for the end signal", &error));
    let (mut terminate, mut interrupt) = (
        hear(SignalKind::terminate())?,
        hear(SignalKind::interrupt())?,
    );
    let digest = ConfigDigest::of(&config.text);
    let node = Node::start(config, attester, Clock::system())
        .await
        .map_err(|error| cannot("start", &error))?;
    let listening = format!(
        "listening on {} with the TLS key {} and the configuration {digest}",
        node.address(),
        node.spki().pin(),
    );
    say(&listening);
    let on_vsock = matches!(node.address(), ListenAddress::Vsock(_));
    let telling = on_vsock.then(|| tokio::task::spawn_blocking(move || notify(&listening)));
    let drained = node
        .serve(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    if let Some(telling) = telling {
        // It has its own time limit, long over.
        let _: Result<(), _> = telling.await;
    }
    say(&format!("ended; connections cut: {}", drained.cut));
    Ok(())
}

struct Failure {
    message: String,
    status: u8,
    host_should_know: bool,
}

fn no_enclave(error: &dyn Error) -> Failure {
    Failure {
        message: format!(
            "{}\nThis program proves what it runs, or does not run. On any other machine, \
             `adyton demo` shows a simulated node.",
            with_causes(error)
        ),
        status: NO_ENCLAVE,
        host_should_know: is_first_process(),
    }
}

/// The kernel starts an enclave's node, or the init that becomes it, as its first process.
fn is_first_process() -> bool {
    process::id() == 1
}

fn cannot(what: &str, error: &dyn Error) -> Failure {
    Failure {
        message: format!("cannot {what}: {}", with_causes(error)),
        status: 1,
        host_should_know: is_first_process(),
    }
}

fn read(path: &Path) -> Result<Config, Failure> {
    let what = format!("use the configuration {}", path.display());
    let mut text = String::new();
    // One byte more than allowed, so that a longer file is refused and not cut.
    File::open(path)
        .and_then(|file| {
            file.take(Config::MAX_BYTES as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| cannot(&what, &error))?;
    Config::parse(&text).map_err(|error| cannot(&what, &error))
}

/// Tells the enclave's host that there is a node, or why there is none. Nobody reads the console of an enclave that is not in debug mode.
fn notify(reason: &str) {
    // Nobody is left to tell if this fails; and a host that does not listen is not waited for.
    let told =
        VsockStream::connect_host(&HostCid::unknown(), port::NOTICES).and_then(|mut host| {
            host.set_timeout(NOTICE_TIME)?;
            host.write_all(notice::line(reason).as_bytes())?;
            host.finish()?;
            // The host ends first, or it may lose what was said.
            host.read(&mut [0]).map(drop)
        });
    drop(told);
}

/// Facts about the node itself, for its operator. Never about a user.
fn say(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
