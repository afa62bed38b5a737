//! Measures what the README claims about speed and memory, each server in a process of its own, so that
//! processor time and memory are the server's alone. See `README.md` beside this file.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing figures is its work"
)]

mod dataset;
mod evidence;
mod figures;
mod floor;
mod gets;
mod search;
mod server;
mod storage;
mod synthetic;
mod tenants;

use std::path::PathBuf;
use std::process::ExitCode;

use adyton_node::zeroing_allocator::ZeroingAllocator;
use clap::{Parser, Subcommand};

/// The allocator of the node's own program: what it costs is part of the figures.
#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

#[derive(Parser)]
#[command(about = "Measures a cold load, queries and memory on this machine")]
struct Arguments {
    /// Emails of the first data set (61 KB of JSON each).
    #[arg(long, default_value_t = 1000)]
    emails: usize,
    /// Chat messages of the second data set (300 bytes of JSON each).
    #[arg(long, default_value_t = 100_000)]
    chats: usize,
    /// Cold loads of each data set; the median is reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(subcommand)]
    server: Option<Server>,
}

#[derive(Subcommand)]
enum Server {
    /// Measures bound evidence from a slow device over real TLS connections, instead of everything else.
    Evidence(evidence::Load),
    /// Measures how many small records a second are given by id, instead of everything else.
    Gets(gets::Load),
    /// Measures how fast words are found, instead of everything else.
    Search(search::Load),
    /// Measures how much one tenant at its limit moves the answers of another, instead of everything else.
    Tenants(tenants::Load),
    /// Runs a server that answers with evidence (used by the benchmark itself).
    #[command(hide = true)]
    Attesting {
        form: evidence::Form,
        device_ms: u64,
    },
    /// Measures the storage node beside express-pouchdb, instead of everything else.
    Storage(storage::Load),
    /// Runs a storage node (used by the benchmark itself).
    #[command(hide = true)]
    Keeping { data: PathBuf },
    /// Runs a confidential node in a simulated TEE (used by the benchmark itself).
    #[command(hide = true)]
    Node,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.server {
        Some(Server::Keeping { data }) => server::run_storage(data).await,
        Some(Server::Storage(load)) => storage::measure(&load).await,
        Some(Server::Gets(load)) => gets::measure(&load).await,
        Some(Server::Search(load)) => search::measure(&load).await,
        Some(Server::Tenants(load)) => tenants::measure(&load).await,
        Some(Server::Evidence(load)) => evidence::measure(&load).await,
        Some(Server::Attesting { form, device_ms }) => server::run_attesting(form, device_ms).await,
        Some(Server::Node) => server::run_node().await,
        None => figures::measure(arguments.emails, arguments.chats, arguments.rounds).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Any failure ends the benchmark; its text is enough.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
