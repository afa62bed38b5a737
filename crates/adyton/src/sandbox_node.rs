//! `adyton sandbox-node`: a confidential node in a SIMULATED TEE and nothing else in the process, for tests that watch
//! its system calls, kill it, or fill it up.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::RunningNode;
use serde_json::json;

use crate::args::SandboxNodeArgs;
use crate::failure::Failure;
use crate::signals::Signals;

/// Runs the node until a signal comes. Its URL is printed once it serves and the files are there.
pub async fn run(args: &SandboxNodeArgs, json: bool, clock: &Clock) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let config = Config::parse(&read(&args.config)?)
        .map_err(|error| Failure::of(args.config.display(), &error))?;
    let ticking = clock.clone();
    let tee = SimulatedTee::start(Arc::new(move || ticking.now()))
        .map_err(|error| Failure::of("the simulated TEE does not start", &error))?;
    let tee = Arc::new(tee);
    let node = RunningNode::start(config, Arc::clone(&tee), clock.clone())
        .await
        .map_err(|error| Failure::of("the node does not start", &error))?;
    // Only now does the policy name the configuration that was measured.
    write(&args.policy_out, &tee.policy())?;
    if let Some(path) = &args.certificate_out {
        write(path, node.certificate_pem())?;
    }
    let url = format!("https://{}", node.address());
    let said = if json {
        json!({ "node": url, "simulated": true }).to_string()
    } else {
        url
    };
    let mut out = io::stdout();
    // A reader that went away does not end the node.
    let _ = writeln!(out, "{said}").and_then(|()| out.flush());
    let _ = writeln!(io::stderr(), "SIMULATED TEE: this node proves nothing");
    signals.next().await;
    node.shutdown().await;
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    // One byte more than allowed, so that a longer file is refused and not cut.
    let read = File::open(path).and_then(|file| {
        file.take(Config::MAX_BYTES as u64 + 1)
            .read_to_string(&mut text)
    });
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::of(
            format_args!("cannot read {}", path.display()),
            &error,
        )),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::of(format_args!("cannot write {}", path.display()), &error))
}
