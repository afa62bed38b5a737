//! The parent of an enclave, as a program.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use adyton_host::config::Config;
use adyton_host::host::Host;
use adyton_host::log::Log;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// The configuration cannot be used.
const WRONG_CONFIGURATION: u8 = 2;

/// The enclave's parent: passes bytes in and out, hands over the configuration, starts it again.
///
/// It sees ciphertext only, and needs no secret.
///
/// Exit status: 0 ended by a signal, 1 cannot start, 2 wrong configuration or arguments.
#[derive(Debug, Parser)]
#[command(name = "adyton-host", version)]
struct Args {
    /// The host's configuration (TOML)
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// Only say whether the configuration, and the node's, can be used
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let log = Log::stderr();
    let config = match Config::read(&args.config) {
        Ok(config) => config,
        Err(error) => {
            log.say(&format!("error: {}: {error}", args.config.display()));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if args.check {
        log.say("the configuration can be used");
        return ExitCode::SUCCESS;
    }
    match serve(config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config, log: &Log) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let enclave = config.enclave.clone();
        let host = Host::bind(config, log.clone()).await?;
        for address in host.addresses() {
            log.say(&format!("listening on {address}, for {enclave}"));
        }
        host.run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        log.say("ended");
        Ok(())
    })
}
