//! The storage node as a program.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use adyton_storage::{Config, ConfigError, ConfigFile, Storage};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps users' ciphertext and feeds its changes. It has no way to decrypt anything.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
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

impl Arguments {
    fn config(self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            Some(path) => ConfigFile::parse(&std::fs::read_to_string(path)?)?,
            None => ConfigFile::default(),
        };
        ConfigFile {
            listen: self.listen.or(file.listen),
            data: self.data.or(file.data),
            public_url: self.public_url.or(file.public_url),
            network: self.network.or(file.network),
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
    let done = Arguments::parse().config().map_err(anything).and_then(run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
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

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
fn run(config: Config) -> Result<(), Anything> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let storage = Storage::start(config).await?;
        println!(
            "listening on http://{} as {}",
            storage.address(),
            storage.public_url()
        );
        wait_for_the_end().await?;
        storage.shutdown().await;
        Ok(())
    })
}

/// Ctrl-C, or SIGTERM of a service manager.
async fn wait_for_the_end() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
