//! The program, as operators run it. Apart from `support`, which examples use, too: they have no program.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs it to its end.
pub fn run(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adyton-storage"));
    command.args(arguments).output().unwrap()
}

/// A node, which may not listen yet. Where it listens stands in its output; its log goes to `log`.
pub fn spawn(config: &Path, log: impl Into<Stdio>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_adyton-storage"))
        .arg("--config")
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A node that listens, and where.
pub fn start(config: &Path, log: impl Into<Stdio>) -> (Child, SocketAddr) {
    let mut child = spawn(config, log);
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).unwrap();
    (child, address.split(' ').next().unwrap().parse().unwrap())
}

pub fn signal(child: &Child, name: &str) {
    let mut kill = Command::new("kill");
    kill.args([name, &child.id().to_string()]);
    assert!(kill.status().unwrap().success());
}
