//! The program `adyton`: reads the arguments, runs one command, prints what it says.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use adyton::account::{self, KeyForm};
use adyton::args::{AccountCommand, Cli, Command, ImportCommand};
use adyton::connect::open_vault;
use adyton::failure::Failure;
use adyton::query::Found;
use adyton::{demo, import, query, receipts, sandbox_node, token};
use adyton_client::clock::Clock;
use adyton_node::harden;
use adyton_node::zeroing_allocator::ZeroingAllocator;
use clap::{CommandFactory, Parser};
use zeroize::Zeroizing;

/// Keys, tokens and mail pass through this program: what it frees is wiped.
#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

fn main() -> ExitCode {
    // For the same reason: a panic says where and not what, and there are no core dumps.
    harden::quiet_panics();
    let cli = Cli::parse();
    let json = cli.json;
    let hardened = harden::process()
        .map_err(|error| Failure::of("cannot close this process to others", &error));
    let printed = hardened.and_then(|_| run(cli)).and_then(|said| {
        if said.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", said.trim_end()).and_then(|()| out.flush()) {
            // A reader that went away has read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::of("cannot print", &error))
            }
            _ => Ok(()),
        }
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = if json {
                failure.to_json()
            } else {
                failure.to_string()
            };
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "{text}");
            failure.status().into()
        }
    }
}

/// Runs a command. What it says may be a secret that the person asked for.
fn run(cli: Cli) -> Result<Zeroizing<String>, Failure> {
    let clock = Clock::system();
    let said = match cli.command {
        Command::Completions { shell } => return completions(shell),
        Command::Account(AccountCommand::New {
            out,
            private_key,
            network,
        }) => {
            let form = if private_key {
                KeyForm::PrivateKey
            } else {
                KeyForm::Mnemonic
            };
            let account = account::create(&out, network, form)?;
            account::describe_new(&account, &out, cli.json)
        }
        Command::Account(AccountCommand::Show { account }) => {
            account::describe(&account::load(&account)?, cli.json)
        }
        Command::Account(AccountCommand::Session { vault }) => {
            let vault = runtime()?.block_on(open_vault(&vault, &clock))?;
            return Ok(vault.context_session.expose_api_key());
        }
        Command::Token(command) => {
            return runtime()?.block_on(token::run(&command, cli.json, &clock));
        }
        Command::Query(args) => {
            let found = runtime()?.block_on(query::run(&args, cli.json, &clock))?;
            return Ok(noted(found));
        }
        Command::Receipts(args) => {
            let found = runtime()?.block_on(receipts::run(&args, cli.json, &clock))?;
            return Ok(noted(found));
        }
        Command::Demo(args) => {
            runtime()?.block_on(demo::run(&args, cli.json, &clock))?;
            String::new()
        }
        Command::SandboxNode(args) => {
            runtime()?.block_on(sandbox_node::run(&args, cli.json, &clock))?;
            String::new()
        }
        Command::Import(ImportCommand::Mbox(args)) => runtime()?
            .block_on(import::run(&args, cli.json, &clock))?
            .text(cli.json),
    };
    Ok(Zeroizing::new(said))
}

/// Tells the note, and leaves the text.
fn noted(found: Found) -> Zeroizing<String> {
    if let Some(note) = found.note {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "{note}");
    }
    found.text
}

fn completions(shell: clap_complete::Shell) -> Result<Zeroizing<String>, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "adyton", &mut script);
    let script = String::from_utf8(script);
    script
        .map(Zeroizing::new)
        .map_err(|error| Failure::of("cannot write the completions", &error))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|error| Failure::of("cannot start", &error))
}
