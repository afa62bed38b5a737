//! The storage node as a program.

#![forbid(unsafe_code)]

mod open_files;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adyton_storage::{BackupError, Config, ConfigError, ConfigFile, Copied, Reload, Storage};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{self, SignalKind};
use tokio::task::JoinSet;

/// How long a thread for blocking work stays without work: each keeps its stack and memory of the allocator.
const BLOCKING_THREAD_REST: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps users' ciphertext and feeds its changes. It has no way to decrypt anything.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    work: Option<Work>,
    /// Configuration file (TOML). Flags count more than the file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, for example 127.0.0.1:5000. Port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Directory for everything that the node keeps.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// How clients reach this node: http(s)://host[:port]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Network: myrtle, banksia, devnet or local.
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

/// Work on a node's directory, instead of serving it.
#[derive(Subcommand)]
enum Work {
    /// Reads everything that a node keeps, and tells what is not whole. The node must not run.
    Check {
        /// The node's directory.
        directory: PathBuf,
    },
    /// Makes a backup of the directory of a node that does not run. (A running one makes it when it gets SIGUSR1.)
    Backup {
        /// The node's directory.
        directory: PathBuf,
        /// An empty directory, or one that is not there.
        target: PathBuf,
    },
    /// Makes a node's directory of a backup.
    Restore {
        /// The backup.
        source: PathBuf,
        /// An empty directory, or one that is not there.
        directory: PathBuf,
    },
}

impl Arguments {
    fn config(self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            Some(path) => ConfigFile::read(path)?,
            None => ConfigFile::default(),
        };
        let network = self.network.or(file.network);
        if network.is_none() {
            tracing::warn!("no `network` is given: banksia, the test net");
        }
        ConfigFile {
            listen: self.listen.or(file.listen),
            data: self.data.or(file.data),
            public_url: self.public_url.or(file.public_url),
            network,
            ..file
        }
        .into_config()
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let arguments = Arguments::parse();
    let done = match arguments.work {
        None => arguments.config().map_err(anything).and_then(run),
        Some(work) => work.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Anything = Box<dyn std::error::Error>;

fn anything(error: ConfigError) -> Anything {
    error.into()
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_keep_alive(BLOCKING_THREAD_REST)
        .enable_all()
        .build()
}

impl Work {
    #[expect(
        clippy::print_stdout,
        reason = "what was done is this program's output"
    )]
    fn run(self) -> Result<ExitCode, Anything> {
        match self {
            Self::Check { directory } => {
                let report = adyton_storage::check(&directory)?;
                for (file, what, times) in &report.faults {
                    println!("{}: {what} ({times})", file.display());
                }
                for (what, times) in &report.notices {
                    println!("note: {what} ({times})");
                }
                let (databases, bytes) = (report.databases, report.bytes);
                let faults = report.faults.len();
                println!("{databases} databases, {bytes} bytes: {faults} kinds of faults");
                return Ok(match faults {
                    0 => ExitCode::SUCCESS,
                    _ => ExitCode::FAILURE,
                });
            }
            Self::Backup { directory, target } => {
                let backup = adyton_storage::back_up(&directory, &target);
                println!("backed up: {}", runtime()?.block_on(backup)?);
            }
            Self::Restore { source, directory } => {
                let copied = adyton_storage::restore(&source, &directory)?;
                println!("restored: {copied}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
fn run(mut config: Config) -> Result<ExitCode, Anything> {
    if let Some(allowed) = open_files::raise(config.limits.open_files()) {
        config.limits.fit_into(allowed);
        let (connections, databases) = (config.limits.connections, config.limits.open_databases);
        tracing::warn!(connections, databases, "so many are open at a time instead");
    }
    runtime()?.block_on(async {
        // Before it can be told anything: a signal that nobody takes ends the program.
        let mut signals = Signals::new()?;
        let storage = Arc::new(Storage::start(config).await?);
        println!(
            "listening on {}://{} as {}",
            if storage.speaks_tls() {
                "https"
            } else {
                "http"
            },
            storage.address(),
            storage.public_url()
        );
        // At most one at a time: the node refuses a second.
        let mut backups = JoinSet::new();
        while let Some(signal) = signals.next().await? {
            match signal {
                Signal::Backup => {
                    let storage = Arc::clone(&storage);
                    backups.spawn(async move { told(storage.backup_by_time().await) });
                }
                Signal::Certificate => reload(&storage),
            }
            while backups.try_join_next().is_some() {}
        }
        // What is copied of a backup that did not end is no backup.
        backups.shutdown().await;
        if let Some(storage) = Arc::into_inner(storage) {
            storage.shutdown().await;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn told(backup: Option<Result<Copied, BackupError>>) {
    match backup {
        None => tracing::error!("no backup: the configuration names no directory, `backups`"),
        Some(Ok(copied)) => tracing::info!("a backup was made: {copied}"),
        Some(Err(error)) => tracing::error!(%error, "no backup was made"),
    }
}

/// A few kilobytes, read when the operator asks for it.
fn reload(storage: &Storage) {
    match storage.reload_certificate() {
        Ok(Reload::New) => tracing::info!("another certificate is shown from now on"),
        Ok(Reload::Same) => tracing::info!("the certificate is the same"),
        Ok(Reload::Asked) => {
            tracing::info!("if the certificate is due, its authority is asked now")
        }
        Err(error) => tracing::error!(%error, "the certificate stays as it was"),
    }
}

/// What an operator tells a running node.
enum Signal {
    /// SIGUSR1.
    Backup,
    /// SIGHUP.
    Certificate,
}

struct Signals {
    backup: unix::Signal,
    certificate: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            backup: unix::signal(SignalKind::user_defined1())?,
            certificate: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next one. None: Ctrl-C, or SIGTERM of a service manager.
    async fn next(&mut self) -> std::io::Result<Option<Signal>> {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None),
            _ = self.terminate.recv() => Ok(None),
            _ = self.backup.recv() => Ok(Some(Signal::Backup)),
            _ = self.certificate.recv() => Ok(Some(Signal::Certificate)),
        }
    }
}
